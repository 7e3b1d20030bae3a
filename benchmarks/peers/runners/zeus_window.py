"""Zeus: ZeusMonitor, one window of its own for each of ours."""

from common import Tool, serve
from zeus.monitor import ZeusMonitor


class Zeus(Tool):
    """A monitor over every GPU; `sync_execution` is off because no framework runs."""

    def __init__(self) -> None:
        self.monitor = ZeusMonitor(cpu_indices=[])

    def begin(self, name: str) -> None:
        """Begin a window."""
        self.monitor.begin_window(name, sync_execution=False)

    def end(self, name: str) -> float | None:
        """End it."""
        found = self.monitor.end_window(name, sync_execution=False).gpu_energy
        return sum(found.values()) if found else None


if __name__ == "__main__":
    serve(Zeus)
