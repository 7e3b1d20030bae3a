"""Check 2: the bundle's chain of roots contains the one that the auditor pinned, and every link is signed."""

from __future__ import annotations

from protocol.attestation.bundle import BundleFiles, root_path
from protocol.attestation.digest import IMAGE_DIGEST_PREFIX
from protocol.attestation.root import TARGETS_ROLE, Root, verify_chain
from verifier.demands import Demands
from verifier.walk import Established, false


def check(files: BundleFiles, demands: Demands) -> Established[Root]:
    """Return the newest root of the chain; whether it had expired is judged with the signatures, at witness time."""
    chain = files.roots()
    root = verify_chain(chain, demands.root.removeprefix(IMAGE_DIGEST_PREFIX))
    versions = range(root.version - len(chain) + 1, root.version + 1)
    if any(root_path(version) not in files.files for version in versions):
        raise false(
            "ROOT_MISNAMED",
            observed="a root file under the name of another version",
            expected=", ".join(root_path(version) for version in versions),
        )
    role = root.roles[TARGETS_ROLE]
    vouching = f"{role.threshold} of {len(role.key_ids)} keys vouch for the keyring"
    detail = f"root version {root.version} is the pinned one or follows from it; {vouching}"
    return Established(root, detail)
