"""Builds the stand-in for NVML's library and writes the script of the devices that it plays."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

UUIDS = tuple(f"GPU-57a2d111-0000-4000-8000-{number:012d}" for number in range(1, 9))
UUID = UUIDS[0]
SOURCES = tuple(Path(__file__).parent / name for name in ("script.c", "power.c", "nvml.c"))
CONTROL = "JOULESEAL_STANDIN"
PAST_NS = 2_000_000_000  # the device has run so long when it is first seen: its 1 s mean has a past


def build(folder: Path) -> Path:
    """Compile the library into a folder of its own, as libnvidia-ml.so.1; returns the folder."""
    command = ["gcc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    output = ["-fvisibility=hidden", "-o", str(folder / "libnvidia-ml.so.1")]
    subprocess.run([*command, *output, *map(str, SOURCES)], check=True, capture_output=True)
    return folder


class Device:
    """The device as the script describes it now; `set` changes it while it is being measured.

    With `devices=N` there are several; what is set is common to all, unless `one` says it of one of them alone.
    """

    def __init__(self, script: Path, **facts: object) -> None:
        self.script = script
        self._facts: dict[str, object] = {"start_ns": time.monotonic_ns() - PAST_NS, **facts}
        self._write()

    @property
    def start_ns(self) -> int:
        return int(str(self._facts["start_ns"]))

    def set(self, **facts: object) -> None:
        self._facts.update(facts)
        self._write()

    def one(self, index: int, **facts: object) -> None:
        self.set(**{f"device {index} {key}": value for key, value in facts.items()})

    def _write(self) -> None:
        text = "".join(f"{key} {value}\n" for key, value in self._facts.items())
        beside = self.script.with_suffix(".new")
        beside.write_text(text)
        beside.rename(self.script)
