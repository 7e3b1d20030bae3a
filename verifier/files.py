"""Files that the auditor names: small ones that are read whole, and new ones that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from protocol.errors import UsageError


def read_small(path: Path, *, option: str, limit: int, private: bool = False) -> bytes:
    """Return the bytes of a file of at most `limit` bytes.

    UsageError FILE_UNREADABLE, and KEY_EXPOSED for a private file that anybody but its owner may read.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(limit + 1)
    except OSError as error:
        raise _unusable(option, path, str(error.strerror or error)) from error
    if len(data) > limit:
        raise _unusable(option, path, f"more than {limit} bytes")
    if private and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            code="KEY_EXPOSED",
            observed=f"{option} {path}: mode {mode:04o}",
            expected="a file that nobody but its owner may read",
            hint="if nobody else can have read it: chmod 600; else make another key",
        )
    return data


def write_whole(path: Path, data: bytes, *, option: str) -> None:
    """Replace a file whole and durably; UsageError FILE_UNWRITABLE where that cannot be done."""
    draft = path.with_name(f"{path.name}.new")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UsageError(
            code="FILE_UNWRITABLE",
            observed=f"{option} {path}: {error.strerror or error}",
            expected="a path in a folder that you may write to",
            hint="name another file",
        ) from error


def _unusable(option: str, path: Path, observed: str) -> UsageError:
    return UsageError(
        code="FILE_UNREADABLE",
        observed=f"{option} {path}: {observed}",
        expected="a file that you may read",
        hint="see jouleseal-verify --help",
    )
