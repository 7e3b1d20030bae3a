"""How much memory a sandbox needs, from its control groups: what the kernel could not take back, and the peak.

The peak counts file cache, which the kernel drops before it kills; so the margin is judged by anonymous and shared
memory (`memory.stat`: `total_rss` and `total_shmem` on v1, `anon` and `shmem` on v2; kernel's cgroup documentation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_V1, _V2 = "memory", "unified"
_KEPT = frozenset({"total_rss", "total_shmem", "anon", "shmem"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Bytes that cannot be taken back now, and the most that was charged at any time; None where it is not counted."""

    kept: int
    peak: int | None


def memory_use(folders: Mapping[str, Path]) -> MemoryUse | None:
    """Read a session's groups, by controller; None where there is no memory controller."""
    if _V1 in folders:
        folder, prefix, peak = folders[_V1], "total_", "memory.max_usage_in_bytes"
    elif _V2 in folders:
        folder, prefix, peak = folders[_V2], "", "memory.peak"
    else:
        return None
    try:
        lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
    except OSError:
        return None
    kept = sum(int(value) for key, value in lines if key in _KEPT and key.startswith(prefix))
    return MemoryUse(kept=kept, peak=_number(folder / peak))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
