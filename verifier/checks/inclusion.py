"""Check 6: every statement is in the log at its own index, was witnessed when it was logged, and is there still.

The index is bound by the size in the *signed* checkpoint, never by what a proof says of itself: leaf 4 of 5 would pass
as leaf 2 of 3. The checkpoint of that moment must be a beginning of the final log, whose tiles give its root again.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocol.attestation.bundle import BundleFiles, StatementFile
from protocol.attestation.digest import DIGEST_BYTES
from protocol.attestation.keyring import EnrolledKey, Keyring
from protocol.attestation.sigstore_bundle import LogEntry, parse_sigstore_bundle
from protocol.errors import VerificationError
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.entry import check_entry
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.merkle import leaf_hash, node_hash, root_of
from protocol.tlog.policy import Policy
from protocol.tlog.tiles import TILE_WIDTH, tile_at
from verifier.checks.log import quorum_times
from verifier.facts import Final, Logged
from verifier.walk import Established, Findings, false

_HEIGHT = TILE_WIDTH.bit_length() - 1


def check(files: BundleFiles, keyring: Keyring, policy: Policy, final: Final) -> Established[tuple[Logged, ...]]:
    """Return the statement files as the log has them, in the order of their indexes."""
    findings = Findings()
    logged: list[Logged] = []
    tiles = files.tiles()
    for file in sorted([*files.statements(), *files.beside()], key=lambda file: file.log_index):
        with findings.collecting():
            logged.append(_statement(file, keyring, policy, final, tiles))
    findings.settle()
    return Established(
        tuple(logged), f"{len(logged)} statements, each at its own index, witnessed when it was logged, and there still"
    )


def _statement(
    file: StatementFile, keyring: Keyring, policy: Policy, final: Final, tiles: Mapping[str, bytes]
) -> Logged:
    try:
        bundle = parse_sigstore_bundle(file.data)
        signer = _signer(bundle.entry, keyring)
        seen = check_entry(bundle.envelope, signer.key, bundle.entry, policy)
        _check_place(file, bundle.entry, final)
        _check_beginning(seen.checkpoint, final.view.checkpoint, tiles)
        witnessed = quorum_times(seen, policy, "this file")
    except VerificationError as error:
        observed = f"{file.path}: {error.observed}"
        raise VerificationError(code=error.code, observed=observed, expected=error.expected, hint=error.hint) from error
    return Logged(
        index=file.log_index,
        path=file.path,
        predicate_name=file.predicate_name,
        envelope=bundle.envelope,
        signer=signer,
        leaf_hash=leaf_hash(bundle.entry.body),
        seen=seen,
        witnessed=witnessed,
    )


def _signer(entry: LogEntry, keyring: Keyring) -> EnrolledKey:
    """Return the enrolled key that the log entry names; the key hint of the envelope selects nothing."""
    key = parse_leaf(entry.body).key
    signer = keyring.find(key.key_id)
    if signer is None:
        raise false("UNKNOWN_KEY", observed=f"an entry by key {key.key_id}", expected="a key of the keyring")
    return signer


def _check_place(file: StatementFile, entry: LogEntry, final: Final) -> None:
    if entry.log_index != file.log_index:
        raise false(
            "OTHER_INDEX", observed=f"log index {entry.log_index}", expected=f"{file.log_index}, as the file is named"
        )
    if final.view.entries.get(entry.log_index) != entry.body:
        raise false(
            "NOT_IN_FINAL_LOG", observed=f"another entry {entry.log_index}, or none", expected="this statement's entry"
        )


def _check_beginning(then: Checkpoint, now: Checkpoint, tiles: Mapping[str, bytes]) -> None:
    """Return if the tree of `then` is a beginning of the tree of `now`, whose tiles these are."""
    if then.size > now.size or root_at(tiles, then.size, now.size) != then.root:
        raise false(
            "LOG_FORKED",
            observed=f"a checkpoint of size {then.size} with root {then.root.hex()}",
            expected=f"a beginning of the final log of size {now.size}",
        )


def root_at(tiles: Mapping[str, bytes], size: int, now: int) -> bytes:
    """Return the root over the first `size` leaves of a log of `now` leaves, from tiles that were verified.

    Raises VerificationError LOG_INCOMPLETE where the bundle lacks a tile that this takes.
    """
    subtrees: list[bytes] = []  # from the smallest, which is the rightmost
    level, left = 0, size
    while left:
        if left % TILE_WIDTH:
            hashes = _first_hashes(tiles, level, left, now)
            end = len(hashes)
            while end:
                span = end & -end
                subtrees.append(root_of(hashes[end - span : end]))
                end -= span
        level, left = level + 1, left >> _HEIGHT
    value = subtrees[0] if subtrees else root_of(())
    for subtree in subtrees[1:]:
        value = node_hash(subtree, value)
    return value


def _first_hashes(tiles: Mapping[str, bytes], level: int, count: int, now: int) -> list[bytes]:
    """Return the hashes of the tile of this level that a tree with `count` complete subtrees there ends in."""
    ref = tile_at(level, count // TILE_WIDTH, now)
    data = tiles.get(ref.to_path()) if ref is not None else None
    if data is None:
        raise false(
            "LOG_INCOMPLETE", observed=f"no tile {count // TILE_WIDTH} of level {level}", expected="a path to the root"
        )
    return [data[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES] for at in range(count % TILE_WIDTH)]
