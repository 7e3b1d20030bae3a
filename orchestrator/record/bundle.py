"""Publishing: a range of the log, from a first plan to a last result, as the one canonical tar of its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.disk import disk_errors, write_atomic
from orchestrator.record.beside import Kept, of_campaigns
from orchestrator.record.domain import domain_trust
from orchestrator.record.log import read_entries
from orchestrator.record.store import EvidenceStore
from orchestrator.record.trust import Trust
from protocol.attestation.bundle import (
    CHECKPOINT_PATH,
    KEYRING_PATH,
    LOG_PREFIX,
    POLICY_PATH,
    VERIFY_PATH,
    evidence_path,
    root_path,
    write_tar,
)
from protocol.attestation.keys import PublicKey
from protocol.attestation.predicates import CampaignPlan, read_predicate
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import CAMPAIGN_PLAN, parse_statement
from protocol.attestation.verify_txt import verify_text
from protocol.errors import RecordUnsound, VerificationError
from protocol.tlog.entry import open_checkpoint
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.tiles import ENTRIES, TILE_WIDTH, encode_entries, tile_bytes, tiles_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A bundle that was written: its path, its size in bytes, and how many files it holds."""

    path: Path
    size: int
    files: int


def export(home: Path, first_index: int, last_index: int, evidence: EvidenceStore, out_path: Path) -> Exported:
    """Write the bundle of the log entries first to last, both included, and return what was written.

    The evidence is whatever the statements of the range refer to by digest; beside them stands what vendors and
    auditors said of these campaigns. The same range gives the same bytes as long as the log has not grown.
    RecordUnsound EVIDENCE_LOST, NOT_IN_LOG, or UNFIT_BUNDLE where a limit of the format is exceeded; StorageFull leaves
    what was at `out_path` before.
    """
    trust = domain_trust(home)
    try:
        statements = _statements(home, first_index, last_index, evidence)
        beside = _beside(home, first_index, statements)
        log = _log(home, trust, (first_index, last_index), [item.link.log_index for item in beside])
        spoken = {f"statements/{item.name}": item.data for item in beside}
        files = {**_trust(trust), **log, **statements, **spoken, VERIFY_PATH: verify_text(_speaker(statements))}
        write_atomic(out_path, write_tar(files))
    except VerificationError as error:
        raise _unfit("UNFIT_BUNDLE", str(error), "a bundle that our own verifier reads") from error
    return Exported(path=out_path, size=out_path.stat().st_size, files=len(files))


def _trust(trust: Trust) -> dict[str, bytes]:
    oldest = trust.root.version - len(trust.roots) + 1
    return {
        **{root_path(version): data for version, data in enumerate(trust.roots, oldest)},
        KEYRING_PATH: trust.keyring_bytes,
        POLICY_PATH: trust.policy_bytes,
    }


def _speaker(files: Mapping[str, bytes]) -> PublicKey:
    """Return the one key that signed the statements of a range; what former keys signed is published on its own."""
    statements = [parse_sigstore_bundle(data) for path, data in files.items() if path.startswith("statements/")]
    keys = {parse_leaf(statement.entry.body).key for statement in statements}
    if len(keys) != 1:
        raise _unfit(
            "UNFIT_BUNDLE", f"a range that {len(keys)} keys of the runner signed", "one key in the whole range"
        )
    return keys.pop()


def _beside(home: Path, first: int, files: Mapping[str, bytes]) -> tuple[Kept, ...]:
    """Return what vendors and auditors said of the campaigns in these files."""
    campaigns, named = [], []
    for path, data in files.items():
        if path.endswith(f"-{CAMPAIGN_PLAN}.sigstore.json"):
            envelope = parse_sigstore_bundle(data).envelope
            plan = read_predicate(parse_statement(envelope.payload))
            campaigns.append(envelope.statement_id)
            if isinstance(plan, CampaignPlan) and plan.submission_statement is not None:
                named.append(plan.submission_statement)
    return of_campaigns(home, campaigns, named, first)


def _log(home: Path, trust: Trust, span: tuple[int, int], beside: Sequence[int]) -> dict[str, bytes]:
    """Return the files that open a span of the log, what stands after it as far as is spoken beside, and the rest."""
    first, last = span
    with disk_errors("log/checkpoint"):
        note = (home / CHECKPOINT_PATH).read_bytes()
    size = open_checkpoint(note, trust.policy).checkpoint.size
    if not 0 <= first <= last < size:
        raise _unfit("NOT_IN_LOG", f"entries {first} to {last}", f"entries below the {size} that are witnessed")
    entries = read_entries(home / "log")[:size]
    tree = Tree(leaf_hash(entry) for entry in entries)
    files = {CHECKPOINT_PATH: note}
    wanted = set(tiles_of(size, first, max([last, *beside])))
    for index in beside:
        wanted.update(tiles_of(size, index, index))
    for ref in sorted(wanted):
        start = ref.number * TILE_WIDTH
        bundle = encode_entries(entries[start : start + ref.width]) if ref.level == ENTRIES else tile_bytes(tree, ref)
        files[LOG_PREFIX + ref.to_path()] = bundle
    return files


def _statements(home: Path, first: int, last: int, evidence: EvidenceStore) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for path in _statement_files(home, first, last):
        with disk_errors(path.name):
            data = path.read_bytes()
        files[f"statements/{path.name}"] = data
        predicate = read_predicate(parse_statement(parse_sigstore_bundle(data).envelope.payload))
        files.update({evidence_path(digest): evidence.get(digest) for digest in predicate.evidence()})
    return files


def _statement_files(home: Path, first: int, last: int) -> Iterator[Path]:
    for path in sorted((home / "statements").glob("*.sigstore.json")):
        if first <= int(path.name[:8]) <= last:
            yield path


def _unfit(code: str, observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code=code, observed=observed, expected=expected, hint="publish the range from a plan to its result, as recorded"
    )
