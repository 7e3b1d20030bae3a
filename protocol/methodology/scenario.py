"""The scenarios, precisions and counts of an official run, and what shortening one does to it."""

from __future__ import annotations

from enum import Enum

from protocol.units import NS_PER_S

METHOD_VERSION = "jouleseal-method/1"

OFFICIAL_POINTS = 1_000  # AI Energy Score: 1,000 points per task
OFFICIAL_RUNS = 10  # AI Energy Score: 10 runs per cell
WARM_UP_QUERIES = 10  # optimum-benchmark's energy scenario: 10 warm-up runs
ATTEMPTS_PER_CELL = 3  # one for a disturbance, one for an interruption; more would be shopping for a good session

IDLE_WINDOW_NS = 2 * NS_PER_S  # the idle baseline before each run and after the last
PROBE_IDLE_NS = NS_PER_S // 2  # after a probe, without an accelerator: five readings of the meter


class Scenario(Enum):
    """Latency: one sample a query (MLPerf SingleStream). Throughput: 32 samples a query (MLPerf MultiStream, 32)."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"

    @property
    def batch(self) -> int:
        """Samples per query."""
        return 1 if self is Scenario.LATENCY else 32


class Precision(Enum):
    """The number format that the model computes in, as disclosed by the vendor."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"
    INT4 = "int4"
    DEFAULT = "default"


def queries_per_pass(points: int, scenario: Scenario) -> int:
    """Return how many queries one pass over the points takes; the last query of a pass may be smaller."""
    return -(-points // scenario.batch)
