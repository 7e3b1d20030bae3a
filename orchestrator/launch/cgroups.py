"""Where a sandbox's control groups are, on v1, v2 and both at once; found through /proc, never assumed.

/proc/<pid>/cgroup says which group a process is in per hierarchy; /proc/self/mountinfo says where each hierarchy is
mounted here (formats: cgroups(7), proc(5)).
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import EngineUnavailable

UNIFIED = "unified"
_NEEDED = ("memory", "cpuacct", "pids", "blkio")  # of v1, where they are; runc of some ages leaves `unified` alone

_REMOVE_TRIES = 20
_REMOVE_PAUSE_S = 0.02
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The groups of one process: controller (or `unified`, or `name=…`) to path, as its /proc file has it."""

    paths: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Membership:
        """Read /proc/<pid>/cgroup; raises EngineUnavailable where the tree lies outside our own namespace."""
        paths: dict[str, str] = {}
        for line in text.splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(",") if controllers else (UNIFIED,):
                paths[controller] = path
        if any(path.startswith("/..") for path in paths.values()):
            raise EngineUnavailable(
                code="CGROUP_INVISIBLE",
                observed="a sandbox's control groups lie outside this process's own namespace",
                expected="the host's control group tree",
                hint="start the orchestrator's container with --cgroupns=host and --pid=host",
            )
        return cls(paths=paths)

    def is_of(self, container_id: str) -> bool:
        """Whether this is a process of the container, as cgroupfs or systemd names its groups, and has not ended.

        A process that ends leaves its v1 groups one by one before its number is free; half a membership is none.
        """
        names = {container_id, f"docker-{container_id}.scope"}
        needed = [name for name in _NEEDED if name in self.paths] or [UNIFIED]
        return all(self.paths.get(controller, "").rsplit("/", 1)[-1] in names for controller in needed)


def mounts(mountinfo: str) -> dict[str, tuple[Path, str]]:
    """Return each hierarchy's (mount point, root within the hierarchy) from the text of a mountinfo file."""
    found: dict[str, tuple[Path, str]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        kind, options = tail[0], tail[-1].split(",")
        place = (Path(_unescape(fields[4])), _unescape(fields[3]))
        if kind == "cgroup2":
            found.setdefault(UNIFIED, place)
        elif kind == "cgroup":
            for option in options:
                found.setdefault(option, place)
    return found


def directories(membership: Membership, mountinfo: str) -> dict[str, Path]:
    """Return the folder of each controller that is mounted here, for the groups of a process."""
    places = mounts(mountinfo)
    found: dict[str, Path] = {}
    for controller, path in membership.paths.items():
        if controller in places:
            mount, root = places[controller]
            inside = path.removeprefix(root) if root != "/" else path
            found[controller] = mount / inside.lstrip("/")
    return found


def oom_kills(folders: Mapping[str, Path]) -> int:
    """Return how many processes the kernel killed for memory in these groups; 0 where no counter can be read."""
    files = [(folders.get("memory"), "memory.oom_control"), (folders.get(UNIFIED), "memory.events")]
    counts = [_counter(folder / name, "oom_kill") for folder, name in files if folder is not None]
    return max(counts, default=0)


def _counter(file: Path, name: str) -> int:
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return 0
    return next((int(value) for key, value in lines if key == name), 0)


def remove(folders: Iterable[Path]) -> list[Path]:
    """Remove empty group folders, waiting briefly for the kernel to let go; return those that stayed."""
    return [folder for folder in sorted(set(folders)) if not _remove_one(folder)]


def _remove_one(folder: Path) -> bool:
    for _ in range(_REMOVE_TRIES):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno not in {errno.EBUSY, errno.ENOTEMPTY}:
                return False
            time.sleep(_REMOVE_PAUSE_S)
        else:
            return True
    return False


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda m: chr(int(m[1], 8)), text)
