"""A sandbox's cgroup made of plain files, in the forms of versions 1 and 2."""

from __future__ import annotations

from pathlib import Path

from orchestrator.meter.interface import SandboxTarget

CONTAINER = "c0ffee" * 10


class PaperCgroup:
    """Writes the files in place, as a kernel does: a reader that keeps them open sees the new text."""

    def __init__(self, root: Path) -> None:
        self.dirs = {name: root / name for name in ("cpuacct", "memory", "blkio", "pids", "unified")}
        for path in self.dirs.values():
            path.mkdir(parents=True)
        self.write("pids", "pids.current", "3\n")
        self.write(
            "blkio", "blkio.throttle.io_service_bytes", "8:0 Read 4096\n8:0 Write 512\n8:0 Discard 9\nTotal 4617\n"
        )
        self.write("unified", "io.stat", "8:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=9 dios=0\n")
        self.use(0, 50 << 20)

    def write(self, controller: str, name: str, text: str) -> None:
        """Overwrite one file; the text is padded with blank lines, so that a reader never sees an old end."""
        with (self.dirs[controller] / name).open("r+b" if (self.dirs[controller] / name).exists() else "wb") as file:
            file.write(text.encode())
            file.truncate()

    def use(self, cpu_ns: int, memory: int) -> None:
        """Let the sandbox have used so much so far."""
        self.write("cpuacct", "cpuacct.usage", f"{cpu_ns}\n")
        self.write("unified", "cpu.stat", f"usage_usec {cpu_ns // 1000}\nuser_usec 1\nsystem_usec 1\n")
        self.write("memory", "memory.usage_in_bytes", f"{memory}\n")
        self.write("memory", "memory.max_usage_in_bytes", f"{memory + 4096}\n")
        self.write("unified", "memory.current", f"{memory}\n")
        self.write("unified", "memory.peak", f"{memory + 4096}\n")

    def only(self, *controllers: str) -> dict[str, Path]:
        return {name: self.dirs[name] for name in controllers}

    def target(self, cpus_milli: int | None = 1000) -> SandboxTarget:
        dirs = self.only("cpuacct", "memory", "blkio", "pids")
        return SandboxTarget(container_id=CONTAINER, init_pid=1, cgroup_dirs=dirs, cpus_milli=cpus_milli)
