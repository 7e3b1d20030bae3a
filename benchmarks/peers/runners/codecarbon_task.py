"""CodeCarbon: OfflineEmissionsTracker, a task for each window, power measured once a second."""

import logging

from codecarbon import OfflineEmissionsTracker
from common import Tool, serve

JOULES_PER_KWH = 3.6e6


class CodeCarbon(Tool):
    """One tracker; its first task, which looks for the hardware, is over before the first window."""

    def __init__(self) -> None:
        self.tracker = OfflineEmissionsTracker(
            country_iso_code="FRA",
            measure_power_secs=1,
            save_to_file=False,
            allow_multiple_runs=True,
            log_level="critical",
        )
        logging.disable(logging.CRITICAL)
        self.tracker.start_task("first")
        self.tracker.stop_task("first")

    def begin(self, name: str) -> None:
        """Start a task."""
        self.tracker.start_task(name)

    def end(self, name: str) -> float:
        """Stop it."""
        return self.tracker.stop_task(name).gpu_energy * JOULES_PER_KWH


if __name__ == "__main__":
    serve(CodeCarbon)
