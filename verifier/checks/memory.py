"""Check 23, with `--state` alone: what the auditor verified before is still so, and this bundle is no step back.

The log must have grown from the remembered checkpoint, which the tiles of the bundle show. Where they do not reach back
that far nothing is refused and nothing is believed: the bundle cannot be judged under this state.
"""

from __future__ import annotations

from protocol.attestation.bundle import KEYRING_PATH, BundleFiles
from protocol.attestation.digest import sha256_hex
from protocol.attestation.keyring import Keyring
from protocol.attestation.root import Root
from protocol.errors import Unverifiable, VerificationError
from verifier.checks.inclusion import root_at
from verifier.facts import Final
from verifier.state import SeenKeys, SeenLog, State
from verifier.walk import Established, Findings, false

_OLDER = "ask for a bundle that is exported from today's log and keys; without --state an old one verifies at its time"


def check(
    state: State, files: BundleFiles, *, pin: str, root: Root, keyring: Keyring, final: Final
) -> Established[State]:
    """Return what is to be remembered after this bundle; `pin` is the fingerprint of the root that was pinned."""
    keys = SeenKeys(
        root_version=root.version,
        keyring_version=keyring.version,
        keyring_sha256=sha256_hex(files[KEYRING_PATH]),
    )
    checkpoint = final.view.checkpoint
    log = SeenLog(size=checkpoint.size, root=checkpoint.root.hex())
    findings = Findings()
    known_keys, known_log = state.roots.get(pin), state.logs.get(checkpoint.origin)
    if known_keys is not None:
        _check_keys(known_keys, keys, findings)
    if known_log is not None:
        with findings.collecting():
            _check_log(known_log, log, files)
    findings.settle()
    before = "nothing was remembered of this log" if known_log is None else f"grew from size {known_log.size}"
    now = state.advanced(origin=checkpoint.origin, log=log, root=pin, keys=keys)
    return Established(now, f"log of size {log.size}: {before}; keyring version {keys.keyring_version}")


def _check_keys(known: SeenKeys, found: SeenKeys, findings: Findings) -> None:
    versions = (
        ("ROOT_ROLLED_BACK", "root", found.root_version, known.root_version),
        ("KEYRING_ROLLED_BACK", "keyring", found.keyring_version, known.keyring_version),
    )
    for code, what, now, before in versions:
        if now < before:
            findings.add(
                false(
                    code,
                    observed=f"{what} version {now}",
                    expected=f"at least version {before}, which you verified before",
                    hint=_OLDER,
                )
            )
    if found.keyring_version == known.keyring_version and found.keyring_sha256 != known.keyring_sha256:
        findings.add(
            false(
                "KEYRING_FORKED",
                observed=f"another keyring of version {found.keyring_version}",
                expected=f"the one that you verified before, with digest {known.keyring_sha256}",
            )
        )


def _check_log(known: SeenLog, found: SeenLog, files: BundleFiles) -> None:
    if found.size < known.size:
        raise false(
            "LOG_ROLLED_BACK",
            observed=f"a log of size {found.size}",
            expected=f"at least size {known.size}, which you verified before",
            hint=_OLDER,
        )
    try:
        root = root_at(files.tiles(), known.size, found.size).hex() if found.size > known.size else found.root
    except VerificationError as error:
        raise Unverifiable(
            code="LOG_GAP",
            observed=f"tiles that do not reach back to size {known.size}: {error.observed}",
            expected="tiles that show that the log began with what you verified before",
            hint="ask the operator for a bundle whose range begins earlier",
        ) from error
    if root != known.root:
        raise false(
            "LOG_FORKED",
            observed=f"a log whose first {known.size} entries have root {root}",
            expected=f"{known.root}, which you verified before",
            hint="keep both bundles: together they prove that the log's key signed two histories",
        )
