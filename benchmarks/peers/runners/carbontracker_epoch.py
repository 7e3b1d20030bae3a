"""CarbonTracker: an epoch for each window, a second between readings (its default), the GPU alone, without PUE."""

from carbontracker.tracker import CarbonTracker
from common import Tool, serve

JOULES_PER_KWH = 3.6e6
MORE_THAN_ANY = 1_000_000


class Carbon(Tool):
    """One tracker whose last epoch never comes, so that every epoch can be read."""

    def __init__(self) -> None:
        self.tracker = CarbonTracker(epochs=MORE_THAN_ANY, epochs_before_pred=0, components="gpu", verbose=0)

    def begin(self, _name: str) -> None:
        """Start an epoch."""
        self.tracker.epoch_start()

    def end(self, _name: str) -> float | None:
        """End it, and read its energy as the tracker's own total does, before the data centre's factor."""
        self.tracker.epoch_end()
        thread = self.tracker.tracker
        found = [part.energy_usage(thread.epoch_times)[-1] for part in thread.components]
        return sum(found) * JOULES_PER_KWH if found else None


if __name__ == "__main__":
    serve(Carbon)
