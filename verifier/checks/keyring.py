"""Check 3: the keyring is signed by a threshold of the keys to which the root delegates it."""

from __future__ import annotations

from protocol.attestation.bundle import KEYRING_PATH, BundleFiles
from protocol.attestation.keyring import Keyring, open_keyring
from protocol.attestation.root import Root
from verifier.walk import Established


def check(files: BundleFiles, root: Root) -> Established[Keyring]:
    """Return the keyring."""
    keyring = open_keyring(files[KEYRING_PATH], root)
    version = f"keyring version {keyring.version} of {keyring.issued_on}"
    return Established(keyring, f"{version} with {len(keyring.keys)} keys, signed as the root asks")
