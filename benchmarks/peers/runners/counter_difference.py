"""The plain difference of the total energy counter at a window's two marks: what everybody writes first."""

import pynvml
from common import Tool, serve


class Difference(Tool):
    """Reads the counter twice, and nothing else."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(0)

    def begin(self, _name: str) -> None:
        """Read."""
        self.millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)

    def end(self, _name: str) -> float:
        """Read again."""
        return (pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) - self.millijoules) / 1e3


if __name__ == "__main__":
    serve(Difference)
