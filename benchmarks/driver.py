"""What asking costs: the whole driver beside a bare grpcio stream and a raw socket, to the same null model, in one run.

A row is a batch. Per query, in microseconds from one send to the next, medians of interleaved rounds:
  driver  drive_run over an Exchange, as a run is driven;
  bare    the same bytes over a plain grpcio stream with a queue, and nothing else;
  raw     as many bytes out and back over a unix socket, which is what the kernel takes.
Ratios are taken within each round, so that what disturbs a round disturbs both sides; the median ratio is reported.
Bookkeeping is drive_run over an Exchange whose stream answers at once: all of our own work, and nothing of grpc's.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

from orchestrator.drive.codec import decode_responses, encode_requests
from orchestrator.drive.endpoint import Endpoint
from orchestrator.drive.exchange import Exchange
from orchestrator.drive.loadgen import drive_run
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Point, TextInput
from protocol.wire import transport
from protocol.wire.transport import grpc

SPEC = REGISTRY[Task.TEXT_CLASSIFICATION]
TEXT = "It does what it says, and it says so in a thousand characters. " * 16
ROUNDS = 15
QUERIES = 300
WARM_UP = 50
DEADLINE_NS = 60 * 10**9
TIMEOUT_S = 30.0
SIZES = struct.Struct(">II")
NULL_SERVER = Path(__file__).parents[1] / "reference_containers" / "null" / "server.py"

GOAL_RATIO = 1.15
GOAL_RATIO_BATCH = 1.10
GOAL_BOOKKEEPING_US = 10.0

Pass = Callable[[int], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One batch: medians in microseconds per query, and the ratios of the driver to the other two."""

    batch: int
    request_bytes: int
    response_bytes: int
    driver_us: float
    bare_us: float
    raw_us: float
    ratio_bare: float
    ratio_raw: float
    goal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The whole measurement."""

    rows: tuple[Row, ...]
    bookkeeping_us: float
    rounds: int
    queries: int

    def as_json(self) -> dict[str, Any]:
        """Return the table as plain values."""
        names = Row.__dataclass_fields__
        return {
            "rows": [{name: getattr(row, name) for name in names} for row in self.rows],
            "bookkeeping_us": self.bookkeeping_us,
            "bookkeeping_goal_us": GOAL_BOOKKEEPING_US,
            "rounds": self.rounds,
            "queries": self.queries,
        }

    def render(self) -> str:
        """Return the table as lines for a screen."""
        heads = f"{'batch':>5} {'driver':>9} {'bare':>9} {'raw':>9} {'driver/bare':>12} {'goal':>6} {'driver/raw':>11}"
        lines = [f"{heads}   (us per query; {self.rounds} rounds of {self.queries})"]
        lines += [
            f"{row.batch:>5} {row.driver_us:>9.1f} {row.bare_us:>9.1f} {row.raw_us:>9.1f}"
            f" {row.ratio_bare:>12.3f} {row.goal:>6.2f} {row.ratio_raw:>11.2f}"
            for row in self.rows
        ]
        lines.append(f"own bookkeeping: {self.bookkeeping_us:.2f} us per query (goal {GOAL_BOOKKEEPING_US:.0f})")
        return "\n".join(lines)


def _points(count: int) -> list[Point]:
    asked = TextInput(text=TEXT)
    return [Point(index=n, point_id=str(n), source="bench", input=asked, reference=None) for n in range(count)]


def _intervals(starts: Sequence[int]) -> list[int]:
    return [after - before for before, after in pairwise(starts)]


@contextmanager
def _driver(endpoint: Endpoint, request: bytes, batch: int) -> Iterator[Pass]:
    exchange = endpoint.open_exchange()

    def run(queries: int) -> list[int]:
        record = drive_run(exchange, [request] * queries, [batch] * queries, [DEADLINE_NS] * queries)
        return _intervals([query.sent_ns for query in record.queries])

    yield run
    exchange.close()


@contextmanager
def _bare(wire_fd: int, request: bytes) -> Iterator[Pass]:
    with grpc.insecure_channel(f"unix:/proc/self/fd/{wire_fd}") as channel:
        outbox: SimpleQueue[bytes | None] = SimpleQueue()
        infer: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(transport.INFER)
        call = infer(iter(outbox.get, None))

        def run(queries: int) -> list[int]:
            starts = []
            for _ in range(queries):
                starts.append(time.monotonic_ns())
                outbox.put(request)
                next(call)
            return _intervals(starts)

        yield run
        outbox.put(None)
        call.cancel()


@contextmanager
def _raw(raw_fd: int, request: bytes, response_bytes: int) -> Iterator[Pass]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"/proc/self/fd/{raw_fd}")
        connection.sendall(SIZES.pack(len(request), response_bytes))

        def run(queries: int) -> list[int]:
            starts = []
            for _ in range(queries):
                starts.append(time.monotonic_ns())
                connection.sendall(request)
                left = response_bytes
                while left:
                    left -= len(connection.recv(left))
            return _intervals(starts)

        yield run


def _row(wire_fd: int, raw_fd: int, batch: int, rounds: int, queries: int) -> Row:
    points = _points(batch)
    request = encode_requests(points, batch)[0]
    endpoint = Endpoint.connect(wire_fd, SPEC, batch)
    endpoint.wait_healthy(TIMEOUT_S)
    endpoint.load(SPEC.task, Precision.FP32, batch, TIMEOUT_S)
    exchange = endpoint.open_exchange()
    response = exchange.ask(request, DEADLINE_NS)
    exchange.close()
    decode_responses([response], points, SPEC, batch)
    medians: dict[str, list[float]] = {"driver": [], "bare": [], "raw": []}
    with (
        _driver(endpoint, request, batch) as driver,
        _bare(wire_fd, request) as bare,
        _raw(raw_fd, request, len(response)) as raw,
    ):
        passes = {"driver": driver, "bare": bare, "raw": raw}
        for one in passes.values():
            one(WARM_UP)
        for number in range(rounds):
            order = list(passes) if number % 2 else list(reversed(passes))
            for name in order:
                medians[name].append(statistics.median(passes[name](queries)) / 1e3)
    endpoint.unload(TIMEOUT_S)
    endpoint.close()
    return Row(
        batch=batch,
        request_bytes=len(request),
        response_bytes=len(response),
        driver_us=statistics.median(medians["driver"]),
        bare_us=statistics.median(medians["bare"]),
        raw_us=statistics.median(medians["raw"]),
        ratio_bare=_ratio(medians["driver"], medians["bare"]),
        ratio_raw=_ratio(medians["driver"], medians["raw"]),
        goal=GOAL_RATIO if batch == 1 else GOAL_RATIO_BATCH,
    )


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


class _Instant:
    """A stream that answers at once, in the place of grpc's."""

    def __init__(self, _requests: Iterator[bytes]) -> None:
        self._answers = repeat(b"")

    def __next__(self) -> bytes:
        return next(self._answers)

    def add_callback(self, ended: Callable[[], None]) -> None:
        """Report the end at once: there is nothing to wait for."""
        ended()

    def cancel(self) -> None:
        """Nothing is going on."""


def bookkeeping_us(rounds: int, queries: int) -> float:
    """Return the median over rounds of our own work per query, in microseconds."""
    exchange = Exchange(cast("Any", _Instant), SPEC.request_bytes)
    request = encode_requests(_points(1), 1)[0]
    took = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        drive_run(exchange, [request] * queries, [1] * queries, [DEADLINE_NS] * queries)
        took.append((time.perf_counter_ns() - begin) / queries / 1e3)
    exchange.close()
    return statistics.median(took)


def measure(wire_fd: int, raw_fd: int, rounds: int = ROUNDS, queries: int = QUERIES) -> Table:
    """Return the table for a null model, given open descriptors of its wire socket and of its raw socket."""
    return Table(
        rows=tuple(_row(wire_fd, raw_fd, scenario.batch, rounds, queries) for scenario in Scenario),
        bookkeeping_us=bookkeeping_us(rounds, queries),
        rounds=rounds,
        queries=queries,
    )


@contextmanager
def local_server() -> Iterator[tuple[int, int]]:
    """The null model as a process of this machine, outside any sandbox: descriptors of its two sockets."""
    with tempfile.TemporaryDirectory(prefix="js") as folder:
        paths = [Path(folder, name) for name in ("model.sock", "raw.sock")]
        environment = os.environ | {"JOULESEAL_SOCKET": str(paths[0])}
        with subprocess.Popen([sys.executable, str(NULL_SERVER)], env=environment) as process:
            give_up = time.monotonic() + TIMEOUT_S
            while not all(path.is_socket() for path in paths) and time.monotonic() < give_up:
                time.sleep(0.02)
            descriptors = [os.open(path, os.O_PATH) for path in paths]
            try:
                yield descriptors[0], descriptors[1]
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
                process.terminate()


@contextmanager
def given_sockets(wire: Path, raw: Path) -> Iterator[tuple[int, int]]:
    """Descriptors of two sockets by their paths, such as /proc/PID/root/run/jouleseal/model.sock of a sandbox."""
    descriptors = [os.open(path, os.O_PATH | os.O_NOFOLLOW) for path in (wire, raw)]
    try:
        yield descriptors[0], descriptors[1]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--local", action="store_true", help="start the null model as a process of this machine")
    where.add_argument("--sockets", nargs=2, type=Path, metavar=("WIRE", "RAW"), help="sockets of a running null model")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    arguments = parser.parse_args()
    with local_server() if arguments.local else given_sockets(*arguments.sockets) as (wire_fd, raw_fd):
        table = measure(wire_fd, raw_fd, arguments.rounds, arguments.queries)
    print(json.dumps(table.as_json(), indent=2) if arguments.json else table.render())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
