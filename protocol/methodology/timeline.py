"""The timeline of a run: one fixed-width record per query, on the host's monotonic clock.

File: the magic `JSTL0001`, then records of 32 bytes, little-endian:

    u64 sent_ns     CLOCK_MONOTONIC just before the query's bytes are handed to the socket
    u64 first_ns    when the first token had arrived; 0 where nothing was streamed (0 is no instant of a running host)
    u64 done_ns     when the whole answer had arrived
    u32 query       the query's number within its pass, from 0
    u16 pass        the pass's number within the run, from 0
    u16 samples     how many samples the query carried

Queries run in lock step: each is sent after the one before it was done. Which points a query carried follows from the
run's order (`order.py`), so a timeline reveals neither points nor answers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from operator import le
from typing import NamedTuple

from protocol.errors import VerificationError

MAGIC = b"JSTL0001"
_RECORD = struct.Struct("<QQQIHH")
RECORD_BYTES = _RECORD.size
MEDIA_TYPE = "application/vnd.jouleseal.timeline.v1"


class QueryRecord(NamedTuple):
    """One query: when it was sent, when its first token and its whole answer had arrived, and what it was.

    A tuple, in the order of the file's fields: a verifier holds hundreds of thousands of them.
    """

    sent_ns: int
    first_ns: int | None
    done_ns: int
    query: int
    passno: int
    samples: int


def pack(records: tuple[QueryRecord, ...] | list[QueryRecord]) -> bytes:
    """Write records as a timeline file."""
    return MAGIC + b"".join(
        _RECORD.pack(r.sent_ns, r.first_ns or 0, r.done_ns, r.query, r.passno, r.samples) for r in records
    )


def unpack(data: bytes) -> tuple[QueryRecord, ...]:
    """Read a timeline file; raises VerificationError TIMELINE_MALFORMED unless it is whole and in lock step."""
    body = data[len(MAGIC) :]
    if not data.startswith(MAGIC) or len(body) % RECORD_BYTES:
        raise _malformed(f"{len(data)} bytes that begin with {data[:8]!r}", f"{MAGIC!r} and whole 32-byte records")
    if not body:
        return ()
    sent, first, done, query, passno, samples = zip(*_RECORD.iter_unpack(body), strict=True)
    records = tuple(map(QueryRecord, sent, [at or None for at in first], done, query, passno, samples))
    # Whole columns are compared first, which is quick; only where something may be wrong, record after record is.
    if not (min(sent) and min(samples) and all(map(le, sent, done)) and not any(first)):
        _check_moments(records)
    if not all(map(le, done, sent[1:])):
        number = next(n for n, (before, after) in enumerate(pairwise(records)) if after.sent_ns < before.done_ns)
        raise _malformed(f"record {number + 1} was sent before record {number} was done", "lock step")
    return records


def _check_moments(records: Sequence[QueryRecord]) -> None:
    """Refuse the first record whose moments are out of order, or that carried nothing."""
    for number, record in enumerate(records):
        first_ns = record.sent_ns if record.first_ns is None else record.first_ns
        if not 0 < record.sent_ns <= first_ns <= record.done_ns or not record.samples:
            raise _malformed(f"record {number}: {record}", "0 < sent <= first token <= done, and at least one sample")


@lru_cache(maxsize=4)  # the runs of a session, and most sessions of a campaign, have one shape
def expected_shape(points: int, batch: int, passes: int) -> tuple[tuple[int, int, int], ...]:
    """Return (query, pass, samples) of every record of a run over `points` points in batches of `batch`."""
    sizes = [min(batch, points - start) for start in range(0, points, batch)]
    return tuple((query, passno, size) for passno in range(passes) for query, size in enumerate(sizes))


def _malformed(observed: str, expected: str) -> VerificationError:
    return VerificationError(
        code="TIMELINE_MALFORMED",
        observed=observed,
        expected=expected,
        hint="do not rely on this result; ask whoever published it for the original bundle",
    )
