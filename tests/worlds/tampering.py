"""What somebody who holds only the files of a bundle can do to them."""

from __future__ import annotations

import json
from collections.abc import Callable

from protocol.attestation.encoding import b64decode, b64encode
from protocol.attestation.jcs import dumps


def statement_file(files: dict[str, bytes], name: str) -> str:
    """Return the path of the first statement of this kind."""
    return next(path for path in sorted(files) if path.endswith(f"-{name}.sigstore.json"))


def edit_json(files: dict[str, bytes], path: str, change: Callable[[dict], object]) -> None:
    """Change a JSON file and write it canonically, so that nothing but the change is wrong with it."""
    value = json.loads(files[path])
    change(value)
    files[path] = dumps(value)


def edit_payload(files: dict[str, bytes], name: str, change: Callable[[dict], object]) -> None:
    """Change what a statement says and leave its signature as it is."""

    def inside(bundle: dict) -> None:
        statement = json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))
        change(statement)
        bundle["dsseEnvelope"]["payload"] = b64encode(dumps(statement))

    edit_json(files, statement_file(files, name), inside)


def entry(bundle: dict) -> dict:
    """Return the log entry inside a statement file."""
    return bundle["verificationMaterial"]["tlogEntries"][0]


def flip(data: bytes, at: int, bit: int = 0) -> bytes:
    """Flip one bit."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
