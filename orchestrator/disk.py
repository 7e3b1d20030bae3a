"""Files that are there whole or not at all.

The rules: a file is written beside its place, forced to the disk, renamed into its place, and the folder is forced
too; a full disk is a StorageFull and leaves no half-written file behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from protocol.errors import RecordUnsound, StorageFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PART = ".part"
_MODE = 0o644


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn what the operating system says about a path into StorageFull or RecordUnsound WRITE_FAILED."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                observed=f"no room for {what}: {error.strerror}",
                expected="room for the evidence of a session",
                hint="free some space on the disk of the record's folder and run the same command again",
            ) from error
        raise RecordUnsound(
            code="WRITE_FAILED",
            observed=f"{what}: {error.strerror}",
            expected="a folder that can be written and a disk without errors",
            hint="check the disk and the folder's owner, then run the same command again",
        ) from error


def write_atomic(path: Path, data: bytes | Iterable[bytes], *, mode: int = _MODE) -> None:
    """Write a file whole or not at all; when this returns it survives a power cut.

    Raises StorageFull or RecordUnsound WRITE_FAILED; the file that was there before is then still there.
    """
    with disk_errors(path.name):
        part = path.with_name(path.name + _PART)
        try:
            _write_through(part, (data,) if isinstance(data, bytes) else data, mode)
            os.replace(part, path)  # noqa: PTH105  # beside fsync, the calls that a fault is injected into
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, mode: int = 0o755) -> None:
    """Make a folder and its parents, each forced to the disk; one that is there stays as it is."""
    with disk_errors(folder.name):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=mode, exist_ok=True)
            sync_folder(each.parent)


def _write_through(path: Path, chunks: Iterable[bytes], mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())
