"""The mean of power.draw once a second, times the duration, as `nvidia-smi -l 1` beside a run gives it."""

import threading
import time

import pynvml
from common import Tool, serve

PERIOD_NS = 1_000_000_000


class Polling(Tool):
    """A thread that reads nvmlDeviceGetPowerUsage every second from the window's begin on."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(0)

    def begin(self, _name: str) -> None:
        """Start to read."""
        self.watts, self.late, self.stopped = [], [], threading.Event()
        self.began = time.monotonic_ns()
        self.thread = threading.Thread(target=self._poll, daemon=True)
        self.thread.start()

    def end(self, _name: str) -> float | None:
        """Stop."""
        seconds = (time.monotonic_ns() - self.began) / 1e9
        self.stopped.set()
        return sum(self.watts) / len(self.watts) * seconds if self.watts else None

    def late_ms(self) -> list[float] | None:
        """Return how late each reading was."""
        return self.late

    def _poll(self) -> None:
        due = self.began
        while True:
            self.late.append((time.monotonic_ns() - due) / 1e6)
            self.watts.append(pynvml.nvmlDeviceGetPowerUsage(self.handle) / 1e3)
            due += PERIOD_NS
            if self.stopped.wait(max(due - time.monotonic_ns(), 0) / 1e9):
                return


if __name__ == "__main__":
    serve(Polling)
