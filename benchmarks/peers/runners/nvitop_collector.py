"""nvitop: a fresh ResourceMetricCollector for each window, its mean power times its duration."""

from common import Tool, serve
from nvitop import Device, ResourceMetricCollector


class Nvitop(Tool):
    """The collector at its default interval of a second."""

    def prepare(self, _open_ns: int) -> None:
        """Make a collector: one that was stopped for long does not sample again."""
        self.collector = ResourceMetricCollector(Device.all())

    def begin(self, _name: str) -> None:
        """Activate it."""
        self.collector.activate(tag="window")

    def end(self, _name: str) -> float | None:
        """Collect the means, and stop it."""
        found = self.collector.collect()
        self.collector.deactivate()
        watts = [value for name, value in found.items() if name.endswith("power_usage (W)/mean")]
        return sum(watts) * found["window/duration (s)"] if watts else None


if __name__ == "__main__":
    serve(Nvitop)
