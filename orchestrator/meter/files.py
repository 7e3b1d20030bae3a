"""Small kernel files that are read again and again: kept open, read from the start, never cached."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from protocol.errors import MeterUnavailable

if TYPE_CHECKING:
    from pathlib import Path

_READ_BYTES = 16_384  # cgroup and powercap files are far smaller; of /proc/stat the first line is enough


class KernelFile:
    """One file of sysfs, procfs or cgroupfs. `pread` at 0 makes the kernel write its text anew."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path) -> None:
        """Open the file; raises OSError as `open` does, so that the caller can explain it."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def text(self) -> bytes:
        """Return the file's first bytes; raises MeterUnavailable READ_FAILED when it is gone."""
        try:
            return os.pread(self._fd, _READ_BYTES, 0)
        except OSError as error:
            raise MeterUnavailable(
                code="READ_FAILED",
                observed=f"{self.path.name}: {error.strerror}",
                expected="a file that stays readable while the session runs",
                hint="the sandbox has ended, or the device behind the file is gone",
            ) from error

    def number(self) -> int:
        """Return the file's text as one whole number; raises MeterUnavailable READ_FAILED otherwise."""
        return as_number(self.path.name, self.text())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def as_number(name: str, text: bytes) -> int:
    """Read a whole number of at least 0; raises MeterUnavailable READ_FAILED on anything else."""
    body = text.strip()
    if not body.isdigit():
        raise MeterUnavailable(
            code="READ_FAILED",
            observed=f"{name} reads {body[:40]!r}",
            expected="a whole number",
            hint="this kernel writes the file in another form than those known here",
        )
    return int(body)


def keyed_number(name: str, text: bytes, key: bytes) -> int:
    """Return the number after `key` in a file of `key number` lines; raises MeterUnavailable READ_FAILED otherwise."""
    for line in text.splitlines():
        label, _, value = line.partition(b" ")
        if label == key:
            return as_number(name, value)
    return as_number(name, b"")


def open_if_there(path: Path) -> KernelFile | None:
    """Open a file, or return None where the kernel does not offer it."""
    try:
        return KernelFile(path)
    except OSError:
        return None
