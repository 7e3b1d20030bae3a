"""Room kept free on the disk, so that a session that fails for want of room can still be recorded as aborted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder

RESERVE_BYTES = 4 << 20  # an outcome, its log tiles and a checkpoint take well under 1 MiB


@dataclass(frozen=True, slots=True)
class Reserve:
    """A file of `RESERVE_BYTES` that stands for the room; releasing it deletes the file."""

    path: Path

    def keep(self) -> None:
        """Make the file and have its blocks allocated; raises StorageFull where there is no such room."""
        make_folder(self.path.parent)
        with disk_errors("the reserve"):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)

    def release(self) -> None:
        """Give the room back to the disk."""
        with disk_errors("the reserve"):
            self.path.unlink(missing_ok=True)
