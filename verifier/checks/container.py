"""Check 1: the file is a canonical bundle of the known layout, and has every part that the list needs.

Reading refuses traversal, links, devices, unknown paths, sizes that are not there, and a tar that is not the one tar of
its files (`protocol.attestation.bundle`); what no statement refers to is found by check 13.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol.attestation.bundle import CHECKPOINT_PATH, KEYRING_PATH, POLICY_PATH, VERIFY_PATH, BundleFiles
from verifier.walk import Established, Findings, false


def check(read: Callable[[], BundleFiles]) -> Established[BundleFiles]:
    """Return the files that `read` finds."""
    files = read()
    findings = Findings()
    for path in (KEYRING_PATH, POLICY_PATH, CHECKPOINT_PATH, VERIFY_PATH):
        with findings.collecting():
            files[path]
    if not files.roots():
        findings.add(false("FILE_MISSING", observed="no root under trust/root/", expected="the root's file"))
    if not files.statements():
        findings.add(
            false("NO_STATEMENTS", observed="no file under statements/", expected="at least one whole campaign")
        )
    findings.settle()
    size = sum(len(data) for data in files.files.values())
    return Established(files, f"{len(files.files)} files, {size} bytes, all at known paths, none a link")
