"""What an auditor remembers between bundles: the largest log and the newest keys that they verified, in one file.

Rules:
1. `jouleseal-verify --state FILE` remembers, per log origin, the largest verified checkpoint (size and root), and per
   pinned root the newest version of the root's chain and of the keyring, with the keyring's digest.
2. A log may only grow, and must begin with what is remembered; versions may only rise. An older bundle of the same log
   is therefore refused under a state file: ask for one that is exported from today's log, or leave `--state` out.
3. The file is written only after a whole bundle was verified, to a temporary name first, so that it is whole or not
   there. A file that does not exist yet remembers nothing; one that cannot be read is never taken for an empty one.
4. One verification at a time writes one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.errors import UsageError, VerificationError
from verifier.files import write_whole

STATE_FORMAT = "jouleseal-verifier-state/1"
MAX_STATE_BYTES = 1 << 20  # an auditor of a thousand domains takes about half of it
MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLog:
    """The largest verified checkpoint of one log: its size, and its root in hexadecimal."""

    size: int
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenKeys:
    """The newest root and keyring under one pinned root, and the digest of that keyring's file in hexadecimal."""

    root_version: int
    keyring_version: int
    keyring_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Logs by their origin, keys by the fingerprint of the pinned root."""

    logs: Mapping[str, SeenLog] = field(default_factory=dict)
    roots: Mapping[str, SeenKeys] = field(default_factory=dict)

    def advanced(self, *, origin: str, log: SeenLog, root: str, keys: SeenKeys) -> State:
        """Return what is remembered after one more verified bundle."""
        return State(logs={**self.logs, origin: log}, roots={**self.roots, root: keys})

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        logs: dict[str, Json] = {origin: {"size": seen.size, "root": seen.root} for origin, seen in self.logs.items()}
        roots: dict[str, Json] = {
            root: {
                "rootVersion": seen.root_version,
                "keyringVersion": seen.keyring_version,
                "keyringSha256": seen.keyring_sha256,
            }
            for root, seen in self.roots.items()
        }
        return dumps({"format": STATE_FORMAT, "logs": logs, "roots": roots})


def parse_state(data: bytes) -> State:
    """Read a state; VerificationError where the bytes are not what `State.to_bytes` writes."""
    fields = Fields(loads_canonical(data), "state")
    fields.one_of("format", (STATE_FORMAT,))
    logs, roots = (fields.open_map(name, limit=MAX_REMEMBERED) for name in ("logs", "roots"))
    state = State(
        logs={origin: _read_log(logs.child(origin)) for origin in logs.names()},
        roots={root: _read_keys(roots.child(root)) for root in roots.names()},
    )
    fields.done()
    return state


def read_state(path: Path) -> State:
    """Return the state in a file, an empty one where there is none; UsageError STATE_UNREADABLE otherwise."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_STATE_BYTES + 1)
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise _unusable(path, str(error.strerror or error)) from error
    try:
        return parse_state(data)
    except VerificationError as error:
        raise _unusable(path, error.observed) from error


def write_state(path: Path, state: State) -> None:
    """Replace the file whole; UsageError FILE_UNWRITABLE where it cannot be written."""
    write_whole(path, state.to_bytes(), option="--state")


def _read_log(fields: Fields) -> SeenLog:
    seen = SeenLog(size=fields.integer("size", minimum=1), root=fields.sha256("root"))
    fields.done()
    return seen


def _read_keys(fields: Fields) -> SeenKeys:
    seen = SeenKeys(
        root_version=fields.integer("rootVersion", minimum=1),
        keyring_version=fields.integer("keyringVersion", minimum=1),
        keyring_sha256=fields.sha256("keyringSha256"),
    )
    fields.done()
    return seen


def _unusable(path: Path, observed: str) -> UsageError:
    return UsageError(
        code="STATE_UNREADABLE",
        observed=f"--state {path}: {observed}",
        expected=f"a file that jouleseal-verify wrote ({STATE_FORMAT}), or none yet, in a folder that you may write to",
        hint="restore it from a backup; with an empty one, what you saw before is forgotten",
    )
