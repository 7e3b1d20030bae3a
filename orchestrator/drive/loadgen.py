"""The load generator: asks one query after another in lock step and writes down when.

Rules:
  * Inside the window it does four things for each query: hand over bytes, take bytes, read the clock twice, append.
    Requests were serialised before and responses are parsed after; records are built when the pass is over.
  * The next query is sent when the answer to the one before has arrived: MLPerf's SingleStream for one sample a query,
    MultiStream for more.
  * A run may ask the same points several times over, pass after pass without a pause, until it has lasted long enough
    for the meter.
  * An answer that took longer than its deadline fails the pass, even when it arrived before the watchdog looked.
  * Nothing is retried.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from protocol.errors import DeadlineExceeded
from protocol.methodology.timeline import QueryRecord

MAX_PASSES = 1 << 16  # what a timeline's u16 can number


class Asks(Protocol):
    """What the load generator needs of an exchange."""

    def ask(self, request: bytes, deadline_ns: int) -> bytes:
        """Send a query and return its answer, or fail after `deadline_ns`."""


class TokenEventLike(Protocol):
    """What the load generator needs of a piece of a streamed answer."""

    @property
    def at_ns(self) -> int:
        """When it arrived."""

    @property
    def message(self) -> bytes:
        """What arrived."""


class StreamsTokens(Protocol):
    """What the load generator needs of an endpoint to measure the time to the first token."""

    def infer_tokens(self, request: bytes, timeout_s: float) -> Iterator[TokenEventLike]:
        """Yield the pieces of one answer as they arrive."""


@dataclass(slots=True)
class Progress:
    """How many queries are done; the load generator writes it and a live view reads it from another thread."""

    done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What one run left behind: a record for each query, and the answers' bytes as they came, pass after pass."""

    queries: tuple[QueryRecord, ...]
    responses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRunRecord:
    """What one streamed pass left behind: a record for each query, and the messages of each answer as they came."""

    queries: tuple[QueryRecord, ...]
    messages: tuple[tuple[bytes, ...], ...]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep Python's cycle collector out of the window."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def drive_run(  # noqa: PLR0917 - the clock and the progress are left to their defaults in all but tests
    exchange: Asks,
    requests: Sequence[bytes],
    samples: Sequence[int],
    deadline_ns_per_query: Sequence[int],
    clock: Callable[[], int] = time.monotonic_ns,
    progress: Progress | None = None,
    *,
    least_ns: int = 0,
) -> RunRecord:
    """Ask every query once, in order, and return when each was sent and done, and what came back.

    All of it is repeated until `least_ns` have passed since the first query was sent. `samples` and
    `deadline_ns_per_query` stand beside `requests`; a deadline is a duration in nanoseconds. Raises what the exchange
    raises, and DeadlineExceeded SAMPLE_DEADLINE for an answer that came too late.
    """
    counted = progress or Progress()
    ask = exchange.ask
    sent: list[int] = []
    done: list[int] = []
    responses: list[bytes] = []
    with _undisturbed():
        while not done or (done[-1] - sent[0] < least_ns and len(done) < MAX_PASSES * len(requests)):
            for request, deadline_ns in zip(requests, deadline_ns_per_query, strict=True):
                sent.append(clock())
                responses.append(ask(request, deadline_ns))
                done.append(clock())
                counted.done += 1
    queries = []
    for number, (sent_ns, done_ns) in enumerate(zip(sent, done, strict=True)):
        passno, query = divmod(number, len(requests))
        _refuse_late(query, done_ns - sent_ns, deadline_ns_per_query[query])
        queries.append(QueryRecord(sent_ns, None, done_ns, query, passno, samples[query]))
    return RunRecord(queries=tuple(queries), responses=tuple(responses))


def drive_token_pass(
    endpoint: StreamsTokens,
    requests: Sequence[bytes],
    deadline_ns_per_query: Sequence[int],
    clock: Callable[[], int] = time.monotonic_ns,
    progress: Progress | None = None,
    *,
    passno: int = 0,
) -> TokenRunRecord:
    """Ask every query once for a streamed answer and return when its first piece and its end arrived.

    A query is one sample. `first_ns` is the arrival of the first message that the model sent. Raises what the endpoint
    raises, and DeadlineExceeded SAMPLE_DEADLINE for an answer that came too late.
    """
    counted = progress or Progress()
    queries: list[QueryRecord] = []
    messages: list[tuple[bytes, ...]] = []
    with _undisturbed():
        for query, (request, deadline_ns) in enumerate(zip(requests, deadline_ns_per_query, strict=True)):
            sent_ns = clock()
            events = tuple(endpoint.infer_tokens(request, deadline_ns / 1e9))
            done_ns = clock()
            first_ns = events[0].at_ns if events else None
            queries.append(QueryRecord(sent_ns, first_ns, done_ns, query, passno, 1))
            messages.append(tuple(event.message for event in events))
            counted.done += 1
    for record, deadline_ns in zip(queries, deadline_ns_per_query, strict=True):
        _refuse_late(record.query, record.done_ns - record.sent_ns, deadline_ns)
    return TokenRunRecord(queries=tuple(queries), messages=tuple(messages))


def _refuse_late(query: int, took_ns: int, deadline_ns: int) -> None:
    if took_ns > deadline_ns:
        raise DeadlineExceeded(
            code="SAMPLE_DEADLINE",
            observed=f"query {query} was answered after {took_ns} ns",
            expected=f"within {deadline_ns} ns",
            hint="make the model faster, or submit it for a scenario that it can hold",
        )
