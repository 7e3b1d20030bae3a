"""Reading an engine's facts: from its own description, from its processes' limits, and from this machine's kernel.

The engine does not say how many open files it may grant, and refuses to start a container that asks for more; so the
limits of its own processes are read, the peer of its socket first.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.launch.facts import EngineFacts

_UCRED = struct.Struct("3i")
_DEFAULT_SOCKET = "/var/run/docker.sock"
_ENGINE_PROCESSES = frozenset({"dockerd", "containerd"})
_NOFILE_FLOOR = 1_024  # what POSIX systems grant by default; used where no limit can be read
_POWER_FILES = ("energy*_input", "power*_input", "power*_average")


def read_facts(
    info: Mapping[str, Any], version: Mapping[str, Any], base_url: str, host: str | None, root: Path = Path("/")
) -> EngineFacts:
    """Return the facts from the engine's `info` and `version` answers and from the files below `root`."""
    options = [str(option) for option in info.get("SecurityOptions") or []]
    names = {option.removeprefix("name=").partition(",")[0] for option in options}
    runtimes = tuple(sorted(info.get("Runtimes") or {}))
    status = [" ".join(map(str, pair)) for pair in info.get("DriverStatus") or []]
    return EngineFacts(
        engine_id=str(info.get("ID", "")),
        version=str(version.get("Version", "")),
        api_version=str(version.get("ApiVersion", "")),
        kernel=str(info.get("KernelVersion", "")),
        architecture=str(info.get("Architecture", "")),
        operating_system=str(info.get("OperatingSystem", "")),
        cgroup_version=str(info.get("CgroupVersion", "1")),
        cgroup_driver=str(info.get("CgroupDriver", "")),
        rootless="rootless" in names,
        user_namespaces="userns" in names,
        seccomp="seccomp" in names,
        storage_driver=str(info.get("Driver", "")),
        containerd_store=any("io.containerd.snapshotter" in line for line in status),
        runtimes=runtimes,
        cdi=bool(info.get("DiscoveredDevices")) or bool(info.get("CDISpecDirs")),
        gpu_runtime="nvidia" in runtimes or (root / "usr/bin/nvidia-container-runtime-hook").exists(),
        swap_limit=bool(info.get("SwapLimit")),
        pids_limit=bool(info.get("PidsLimit")),
        cpu_ids=_online(root) or tuple(range(int(info.get("NCPU", 1)))),
        memory_bytes=int(info.get("MemTotal", 0)),
        nofile_hard=_nofile(base_url, host, root),
        power_paths=tuple(sorted(_power_folders(root))),
    )


def _online(root: Path) -> tuple[int, ...]:
    with suppress(OSError):
        return cpu_list((root / "sys/devices/system/cpu/online").read_text())
    return ()


def cpu_list(text: str) -> tuple[int, ...]:
    """Parse the kernel's list of processors, such as "0-3,8"."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            numbers.extend(range(int(first), int(last or first) + 1))
    return tuple(numbers)


def _nofile(base_url: str, host: str | None, root: Path) -> int:
    pids = {*_named_processes(root)} | {pid for pid in (_peer(base_url, host),) if pid is not None}
    limits = [limit for pid in pids if (limit := _hard_nofile(root / "proc" / str(pid) / "limits")) is not None]
    return min(limits, default=_NOFILE_FLOOR)


def _peer(base_url: str, host: str | None) -> int | None:
    if not base_url.startswith("http+docker://"):
        return None
    with suppress(OSError):
        return knock(host)
    return None


def knock(host: str | None) -> int | None:
    """Connect to the engine's unix socket and return the pid behind it; None where `host` names no unix socket.

    Raises OSError if nothing listens. The driver leaves its socket open when it cannot connect; this does not.
    """
    address = host or f"unix://{_DEFAULT_SOCKET}"
    if not address.startswith("unix://"):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(address.removeprefix("unix://"))
        pid, _, _ = _UCRED.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return int(pid) or None


def _named_processes(root: Path) -> Iterator[int]:
    for comm in (root / "proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if comm.read_text().strip() in _ENGINE_PROCESSES:
                yield int(comm.parent.name)


def _hard_nofile(limits: Path) -> int | None:
    with suppress(OSError):
        for line in limits.read_text().splitlines():
            if line.startswith("Max open files"):
                hard = line.split()[4]
                return int(hard) if hard.isdigit() else None
    return None


def _power_folders(root: Path) -> Iterator[str]:
    for device in (root / "sys/class/hwmon").glob("*"):
        with suppress(OSError):
            folder = device.resolve()
            if any(any(folder.glob(pattern)) for pattern in _POWER_FILES):
                yield "/" + str(folder.relative_to(root.resolve()))
