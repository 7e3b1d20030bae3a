"""C2SP checkpoints: the log's origin, its size and its root, as three lines that are signed as a note.

The rules (c2sp.org/tlog-checkpoint): the size is decimal ASCII without sign or leading zero, the root canonical base64
of 32 bytes, and there are no extension lines, so that a size and a root have one spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocol.attestation.digest import DIGEST_BYTES
from protocol.attestation.encoding import b64decode, b64encode
from protocol.attestation.refusal import refuse
from protocol.errors import VerificationError
from protocol.tlog.note import is_key_name

MAX_TREE_SIZE = (1 << 63) - 1

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LINES = 4  # three lines and what follows the last newline


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log says about itself: its name, its number of leaves, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def to_body(self) -> bytes:
        """Return the three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root)}\n".encode()


def parse_checkpoint(body: bytes) -> Checkpoint:
    """Read the text of a checkpoint note; VerificationError MALFORMED_CHECKPOINT."""
    try:
        lines = body.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("bytes that are not UTF-8", "UTF-8") from error
    if len(lines) != _LINES or lines[-1]:
        raise _malformed(f"{len(lines) - 1} lines", "origin, size and root")
    origin, size, root = lines[:3]
    if not is_key_name(origin):
        raise _malformed(repr(origin[:60]), "the name of a log")
    if _SIZE.fullmatch(size) is None or int(size) > MAX_TREE_SIZE:
        raise _malformed(f"the size {size[:24]!r}", "a decimal number without sign or leading zero")
    digest = b64decode(root)
    if len(digest) != DIGEST_BYTES:
        raise _malformed(f"a root of {len(digest)} bytes", f"{DIGEST_BYTES} bytes")
    return Checkpoint(origin=origin, size=int(size), root=digest)


def _malformed(observed: str, expected: str) -> VerificationError:
    return refuse("MALFORMED_CHECKPOINT", observed=observed, expected=expected)
