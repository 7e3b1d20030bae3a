"""One run's stream: a query out, its answer in, in lock step, with a deadline for each answer.

A stream has no deadline for a single answer, so a watchdog cancels the stream when the answer that is due has not come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from orchestrator.drive.faults import fault, late, violation
from protocol.errors import DatasetUnavailable, JoulesealError
from protocol.wire.transport import grpc

_WATCH_S = 0.1  # how often the watchdog looks; a late answer is refused by its own times in any case
_CLOSE_S = 0.5  # how long a server may take to end a stream that has been closed
_CALL = "Infer"


class Exchange:
    """An open stream. To be used from one thread."""

    def __init__(self, infer: grpc.StreamStreamMultiCallable[bytes, bytes], request_bytes_max: int) -> None:
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = infer(iter(self._outbox.get, None))
        self._request_bytes_max = request_bytes_max
        self._put: Callable[[bytes], None] = self._outbox.put
        self._next: Callable[[], bytes] = self._call.__next__
        self._ended = threading.Event()
        self._call.add_callback(self._ended.set)
        self._due_ns: int | None = None
        self._late = False
        self._closed = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name="answer-watchdog", daemon=True)
        self._watchdog.start()

    def ask(self, request: bytes, deadline_ns: int) -> bytes:
        """Send a query and return its answer.

        `deadline_ns` is the time that the answer may take. Raises DeadlineExceeded SAMPLE_DEADLINE, and
        ProtocolViolation STREAM_ENDED, STREAM_BROKEN, RESPONSE_TOO_LARGE or VENDOR_STATUS; after any of them the stream
        is over.
        """
        if len(request) > self._request_bytes_max:
            raise _too_large(len(request), self._request_bytes_max)
        self._due_ns = time.monotonic_ns() + deadline_ns
        self._put(request)
        try:
            answer = self._next()
        except StopIteration:
            raise violation("STREAM_ENDED", "the stream ended before its query was answered", "an answer") from None
        except grpc.RpcError as error:
            raise self._why(error) from None
        self._due_ns = None
        return answer

    def close(self) -> None:
        """End the stream; it never raises, for every answer that was asked for has already come."""
        self._closed.set()
        self._outbox.put(None)
        self._ended.wait(_CLOSE_S)
        self._call.cancel()
        self._watchdog.join()

    def _why(self, error: grpc.RpcError) -> JoulesealError:
        if self._late:
            return late("SAMPLE_DEADLINE", "an answer did not come in time", "an answer within its samples' deadlines")
        return fault(error, _CALL)

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_S):
            due_ns = self._due_ns
            if due_ns is not None and time.monotonic_ns() > due_ns:
                self._late = True
                self._call.cancel()
                return


def _too_large(size: int, bound: int) -> DatasetUnavailable:
    return DatasetUnavailable(
        code="POINT_TOO_LARGE",
        observed=f"a query of {size} bytes",
        expected=f"at most {bound}, as its task allows",
        hint="leave the point out of the dataset, or raise the task's bound",
    )
