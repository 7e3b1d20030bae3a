"""A control group of a command's own, so that what it uses can be told from what everybody else uses.

On version 1 the group is made in each hierarchy that the account needs, on version 2 once. It is removed afterwards;
processes that still run in it go back to the group above, and live.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_V1: Final = ("cpuacct", "memory", "blkio", "pids")
_NEEDED_V1: Final = ("cpuacct", "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnGroup:
    """The group's folder in each hierarchy, by the names of `interface.SandboxTarget.cgroup_dirs`."""

    name: str
    dirs: dict[str, Path]

    @classmethod
    def make(cls, name: str, root: Path = CGROUP_ROOT) -> Self:
        """Make the group; raises OSError where this machine or this user may not."""
        if (root / "cgroup.controllers").exists():
            parents = {"unified": root}
        else:
            parents = {key: root / key for key in _V1 if (root / key).is_dir()}
            absent = [key for key in _NEEDED_V1 if key not in parents]
            if absent:
                raise FileNotFoundError(2, "no such hierarchy", str(root / absent[0]))
        group = cls(name=name, dirs={})
        try:
            for key, parent in parents.items():
                (parent / name).mkdir()
                group.dirs[key] = parent / name
        except OSError:
            group.remove()
            raise
        return group

    @property
    def doors(self) -> list[str]:
        """The files into which a process writes 0 to enter the group."""
        return [str(path / "cgroup.procs") for path in self.dirs.values()]

    def processes(self) -> int:
        """Return how many processes are in the group."""
        return max(len((path / "cgroup.procs").read_text("ascii").split()) for path in self.dirs.values())

    def remove(self) -> bool:
        """Remove the group; returns False where the kernel does not let it go."""
        gone = True
        for path in self.dirs.values():
            try:
                path.rmdir()
            except OSError:
                gone = _send_back(path) and gone
        return gone


def _send_back(path: Path) -> bool:
    """Move a group's processes to the group above it and remove it; returns whether that was done."""
    try:
        for pid in (path / "cgroup.procs").read_text("ascii").split():
            (path.parent / "cgroup.procs").write_text(pid, "ascii")
        path.rmdir()
    except OSError:
        return False
    return True
