"""Asks a Python oracle about one file: `python ask_python.py ORACLE FILE`; exit code 0 is yes, 1 is no.

Runs in the environment of the oracles, not in ours. FILE is JSON: what it holds depends on the oracle.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import rfc8785
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root


def securesystemslib_says(asked: dict) -> bool:
    """Verify a DSSE envelope under one key."""
    raw = base64.b64decode(asked["spki"])[-32:].hex()
    key = SSlibKey(asked["envelope"]["signatures"][0]["keyid"], "ed25519", "ed25519", {"public": raw})
    try:
        Envelope.from_dict(asked["envelope"]).verify([key], 1)
    except (UnverifiedSignatureError, VerificationError):
        return False
    return True


def rfc8785_says(asked: dict) -> bool:
    """Say whether bytes are the canonical spelling of what they say."""
    data = base64.b64decode(asked["payload"])
    return rfc8785.dumps(json.loads(data)) == data


def tuf_says(asked: dict) -> bool:
    """Load a root file with python-tuf and verify it under its own threshold."""
    try:
        root = Metadata[Root].from_bytes(base64.b64decode(asked["root"]))
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except (RepositoryError, UnsignedMetadataError):
        return False
    return root.signed.type == "root"


ORACLES = {"securesystemslib": securesystemslib_says, "rfc8785": rfc8785_says, "tuf": tuf_says}

if __name__ == "__main__":
    sys.exit(0 if ORACLES[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text())) else 1)
