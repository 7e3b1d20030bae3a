"""What the engine and the kernel say about a running sandbox, compared with the profile field by field.

Rules:
 1. Every field that was asked for is read back. Absent, empty list, empty mapping and empty string mean the same.
 2. The engine's word is not enough: a rootless engine on control groups v1 records limits that it never sets. So the
    kernel is asked too, through /proc and the sandbox's control groups.
 3. Evidence holds no path of the host, no value of the vendor's own variables, and the filter by its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.launch.profile import LaunchProfile

_SECCOMP = "seccomp="
_FILTERED = "2"  # SECCOMP_MODE_FILTER in /proc/<pid>/status


def inspect_differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return one line per field in which the engine's answer `found` differs from the create call `expected`."""
    config, host = found.get("Config") or {}, found.get("HostConfig") or {}
    lines: list[str] = []
    for name, value in expected.items():
        if name == "HostConfig":
            lines += [
                _line(f"HostConfig.{k}", v, host.get(k)) for k, v in value.items() if not _same(k, v, host.get(k))
            ]
        elif name == "Image":
            lines += [] if found.get("Image") == value else [_line("Image", value, found.get("Image"))]
        elif name == "Env":
            lines += _environment(value, config.get("Env") or [])
        elif name in {"Labels", "Healthcheck"}:
            actual = config.get(name) or {}
            lines += [_line(f"{name}.{k}", v, actual.get(k)) for k, v in value.items() if actual.get(k) != v]
        elif not _same(name, value, config.get(name)):
            lines.append(_line(name, value, config.get(name)))
    return lines + _mounts(expected, found.get("Mounts") or [])


def _environment(expected: Sequence[str], found: Sequence[str]) -> list[str]:
    names = {entry.partition("=")[0] for entry in expected}
    actual = [entry for entry in found if entry.partition("=")[0] in names]
    loose = [entry.partition("=")[0] for entry in found if entry.startswith("LD_") and "=" in entry]
    wrong = [_line("Env", sorted(expected), sorted(actual))] if sorted(expected) != sorted(actual) else []
    return wrong + [_line(f"Env.{name}", None, "set") for name in loose]


def _mounts(expected: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[str]:
    wanted = {mount["Target"]: mount["Source"] for mount in expected["HostConfig"]["Mounts"]}
    actual = {mount.get("Destination"): mount.get("Name") for mount in found}
    return [] if wanted == actual else [_line("Mounts", wanted, actual)]


def _same(name: str, expected: object, found: object) -> bool:
    if name == "Ulimits":
        return _by_name(expected) == _by_name(found)
    if name == "DeviceRequests":
        return _plain(expected) == _plain(found)
    if _empty(expected) and _empty(found):
        return True
    if isinstance(expected, list) and isinstance(found, list):
        return sorted(map(repr, expected)) == sorted(map(repr, found))
    return expected == found


def _empty(value: object) -> bool:
    return value is None or value in ([], {}, "")


def _plain(value: object) -> list[dict[str, object]]:
    entries = value if isinstance(value, list) else []
    return [{k: v for k, v in entry.items() if not _empty(v)} for entry in entries]


def _by_name(limits: object) -> dict[str, tuple[int, int]]:
    entries = limits if isinstance(limits, list) else []
    return {entry["Name"]: (entry["Soft"], entry["Hard"]) for entry in entries}


def _line(name: str, expected: object, found: object) -> str:
    return f"{name}: {_short(expected)} was asked for, {_short(found)} was found"


def _short(value: object) -> str:
    return repr(value)[:160]


def kernel_differences(
    profile: LaunchProfile, status: Mapping[str, str], limits: Mapping[str, int | None]
) -> list[str]:
    """Return one line per field in which the kernel's word differs from the profile.

    `status` are the fields of /proc/<pid>/status of the first process; `limits` the control groups' values as
    `group_limits` reads them, None where this machine has no such file.
    """
    uid, gid = profile.user.split(":")
    facts = {
        "kernel.Uid": (" ".join([uid] * 4), status.get("Uid")),
        "kernel.Gid": (" ".join([gid] * 4), status.get("Gid")),
        "kernel.NoNewPrivs": ("1", status.get("NoNewPrivs")),
        "kernel.Seccomp": (_FILTERED, status.get("Seccomp")),
        **{f"kernel.{name}": (0, int(status.get(name, "-1"), 16)) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "kernel.memory": (profile.memory_bytes, limits.get("memory")),
        "kernel.pids": (profile.pids, limits.get("pids")),
    }
    return [_line(name, expected, found) for name, (expected, found) in facts.items() if expected != found]


def group_limits(folders: Mapping[str, Path]) -> dict[str, int | None]:
    """Return the memory and process limits that the kernel holds for the sandbox's own groups."""
    unified = folders.get("unified")
    memory = _limit(folders.get("memory"), "memory.limit_in_bytes")
    pids = _limit(folders.get("pids"), "pids.max")
    return {
        "memory": memory if memory is not None else _limit(unified, "memory.max"),
        "pids": pids if pids is not None else _limit(unified, "pids.max"),
    }


def _limit(folder: Path | None, name: str) -> int | None:
    try:
        text = (folder / name).read_text().strip() if folder is not None else ""
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def evidence(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the engine says about the fields of the profile, fit to be published (rule 3)."""
    config, host = found.get("Config") or {}, found.get("HostConfig") or {}
    ours = {entry.partition("=")[0] for entry in expected["Env"]}
    return {
        "Image": found.get("Image"),
        "Config": {
            **{k: config.get(k) for k in expected if k not in {"HostConfig", "Image", "Env", "Labels"}},
            "Env": sorted(e if e.partition("=")[0] in ours else e.partition("=")[0] for e in config.get("Env") or []),
            "Labels": {k: v for k, v in (config.get("Labels") or {}).items() if k in expected["Labels"]},
        },
        "HostConfig": {
            **{k: host.get(k) for k in expected["HostConfig"] if k != "SecurityOpt"},
            "SecurityOpt": [_hashed(option) for option in host.get("SecurityOpt") or []],
            "Runtime": host.get("Runtime"),
        },
        "Mounts": [{k: m.get(k) for k in ("Type", "Driver", "Destination", "RW")} for m in found.get("Mounts") or []],
    }


def _hashed(option: str) -> str:
    if not option.startswith(_SECCOMP):
        return option
    return f"{_SECCOMP}sha256:{hashlib.sha256(option.removeprefix(_SECCOMP).encode()).hexdigest()}"
