"""The complete server of a sealed container: `serve(model)` stands around a vendor's class and does everything else.

Rules:
  * The socket is the only door: readable and writable by its owner and by root.
  * A vendor's exception ends the call with a status that says nothing about it; the traceback goes to standard error,
    which a vendor sees when it checks its own image and nobody sees in an official run.
  * The model's methods never run at the same time, whatever the runner asks.
  * SIGTERM and SIGINT end the server within a grace period, even when the model never returns. The main thread waits
    with a timeout: a signal that arrives on a thread of grpc would otherwise never be seen.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType

from protocol.errors import UsageError
from protocol.methodology.tasks import REGISTRY
from protocol.samples import Answer, SampleInput, TokenDelta
from protocol.units import NS_PER_MS
from protocol.wire import translate
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.jouleseal.v1 import sealed_inference_pb2_grpc as pb_grpc
from protocol.wire.model import (
    DEFAULT_SOCKET,
    SOCKET_VARIABLE,
    LoadOrder,
    LoadPhase,
    Model,
    StreamingModel,
    UnloadableModel,
)
from protocol.wire.transport import SERVICE, grpc, health, health_pb2, health_pb2_grpc

COALESCE_NS = 10 * NS_PER_MS  # pieces of a streamed answer are gathered for this long, after the first
GRACE_S = 2.0  # how long a call may go on after the signal to stop
_POLL_S = 0.2  # how often the main thread looks for a signal
_WORKERS = 8  # one stream, health checks, and room
_SOCKET_PATH_MAX = 107  # sun_path of sockaddr_un, less its terminator
_INT32_MAX = (1 << 31) - 1  # the largest bound that grpc takes
_EX_STUCK = 75  # sysexits.h EX_TEMPFAIL: the model did not let go


class _Refusal(Exception):
    """Ends the call with a status of our own choosing."""

    def __init__(self, status: grpc.StatusCode, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


class _Boundary:
    """Ends the call with a status when something is raised inside it, and keeps the vendor's words to itself."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, GeneratorExit):
            return
        if isinstance(error, _Refusal):
            self._context.abort(error.status, error.reason)
        traceback.print_exception(kind, error, trace, file=sys.stderr)
        if isinstance(error, MemoryError):
            self._context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the model ran out of memory")
        self._context.abort(grpc.StatusCode.INTERNAL, "the model failed")


class SealedInference(pb_grpc.SealedInferenceServiceServicer):
    """The service around one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._description = model.describe()
        self._order: LoadOrder | None = None
        self._turn = threading.Lock()

    @property
    def stuck(self) -> bool:
        """True while the model has not come back from its last call."""
        return self._turn.locked()

    @property
    def max_request_bytes(self) -> int:
        """The largest query that any described task can be sent."""
        specs = [REGISTRY[support.task] for support in self._description.tasks]
        return max((translate.message_bounds(spec, self._description.max_batch)[0] for spec in specs), default=0)

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeResponse:  # noqa: N802, ARG002
        """Answer with the description that the model gave when the server started."""
        return translate.write_description(self._description)

    def Load(self, request: pb.LoadRequest, context: grpc.ServicerContext) -> Iterator[pb.LoadResponse]:  # noqa: N802
        """Load the model and stream its phases, READY last."""
        with _Boundary(context), self._turn:
            order = self._accept(request)
            self._order = None
            phases = iter(self._model.load(order) or ())
        while True:
            with _Boundary(context), self._turn:
                phase = next(phases, LoadPhase.READY)
                response = translate.write_phase(phase)
                if phase is LoadPhase.READY:
                    self._order = order
            yield response
            if phase is LoadPhase.READY:
                return

    def Infer(  # noqa: N802
        self, request_iterator: Iterator[pb.InferRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.InferResponse]:
        """Answer query after query until the runner closes the stream."""
        for request in request_iterator:
            with _Boundary(context), self._turn:
                response = pb.InferResponse(query=request.query)
                answers = self._model.infer(self._inputs(request.samples))
                for index, answer in enumerate(answers):
                    translate.write_answer(response.answers.add(), index, answer)
            yield response

    def InferTokens(  # noqa: N802
        self, request: pb.InferTokensRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.InferTokensResponse]:
        """Stream one answer, its first piece at once and later pieces gathered."""
        with _Boundary(context), self._turn:
            model = self._model
            if not isinstance(model, StreamingModel):
                raise _Refusal(grpc.StatusCode.UNIMPLEMENTED, "the model does not stream tokens")
            events = gather(model.infer_tokens(self._inputs([request.sample])[0]))
        while True:
            with _Boundary(context), self._turn:
                event = next(events, None)
                response = pb.InferTokensResponse()
                if isinstance(event, TokenDelta):
                    translate.write_delta(response.delta, event)
                elif event is not None:
                    translate.write_answer(response.answer, 0, event)
            if event is None:
                return
            yield response

    def Unload(self, request: pb.UnloadRequest, context: grpc.ServicerContext) -> pb.UnloadResponse:  # noqa: N802, ARG002
        """Release the model."""
        with _Boundary(context), self._turn:
            self._order = None
            if isinstance(self._model, UnloadableModel):
                self._model.unload()
        return pb.UnloadResponse()

    def _accept(self, request: pb.LoadRequest) -> LoadOrder:
        order = translate.read_load(request)
        described = {(one.task, precision) for one in self._description.tasks for precision in one.precisions}
        if order is None or (order.task, order.precision) not in described:
            raise _Refusal(grpc.StatusCode.UNIMPLEMENTED, "the task or its precision was never described")
        if not 1 <= order.batch <= self._description.max_batch:
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, "the batch is larger than the one described, or empty")
        return order

    def _inputs(self, samples: Sequence[pb.Sample]) -> list[SampleInput]:
        """Return what a query asks, checked against what was loaded."""
        if self._order is None:
            raise _Refusal(grpc.StatusCode.FAILED_PRECONDITION, "nothing is loaded")
        if not 1 <= len(samples) <= self._order.batch:
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, "more samples than the batch that was loaded, or none")
        kinds = REGISTRY[self._order.task].inputs
        inputs = [given for sample in samples if (given := translate.read_sample(sample)) and given.kind in kinds]
        if len(inputs) != len(samples):
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, "a sample holds nothing that the loaded task takes")
        return inputs


def gather(events: Iterable[TokenDelta | Answer], window_ns: int = COALESCE_NS) -> Iterator[TokenDelta | Answer]:
    """Pass the first piece on at once, join later ones for `window_ns` nanoseconds each, end with the answer.

    Pieces of the reasoning and of the answer are never joined with one another.
    """
    sent_ns: int | None = None
    held: TokenDelta | None = None
    for event in events:
        if not isinstance(event, TokenDelta):
            if held is not None:
                yield held
            yield event
            return
        if held is not None and held.reasoning != event.reasoning:
            yield held
            held = None
        held = event if held is None else _join(held, event)
        now_ns = time.monotonic_ns()
        if sent_ns is None or now_ns - sent_ns >= window_ns:
            yield held
            held, sent_ns = None, now_ns
    if held is not None:
        yield held


def _join(first: TokenDelta, second: TokenDelta) -> TokenDelta:
    return TokenDelta(tokens=first.tokens + second.tokens, text=first.text + second.text, reasoning=first.reasoning)


def _claim(path: str) -> None:
    """Make room for the socket; raises UsageError where it cannot be bound."""
    if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
        raise UsageError(
            observed=f"a socket path of {len(os.fsencode(path))} bytes",
            expected=f"at most {_SOCKET_PATH_MAX}, the room of a unix socket's address",
            hint=f"set {SOCKET_VARIABLE} to a shorter path",
            code="SOCKET_PATH_TOO_LONG",
        )
    if Path(path).is_socket():
        Path(path).unlink()


def start(service: SealedInference, socket_path: str) -> grpc.Server:
    """Start the service and its health on a unix socket; raises UsageError where the socket cannot be bound."""
    _claim(socket_path)
    options = [
        ("grpc.max_receive_message_length", min(service.max_request_bytes, _INT32_MAX)),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(ThreadPoolExecutor(_WORKERS, thread_name_prefix="wire"), options=options)
    pb_grpc.add_SealedInferenceServiceServicer_to_server(service, server)
    condition = health.HealthServicer()
    for name in ("", SERVICE):
        condition.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(condition, server)
    try:
        server.add_insecure_port(f"unix:{socket_path}")
    except RuntimeError as error:
        raise UsageError(
            observed=f"{socket_path} cannot be bound",
            expected="a folder that this user can write to",
            hint=f"create the folder, or set {SOCKET_VARIABLE}",
            code="SOCKET_NOT_BOUND",
        ) from error
    Path(socket_path).chmod(0o600)
    server.start()
    return server


def serve(model: Model, *, socket_path: str | None = None, grace_s: float = GRACE_S) -> None:
    """Serve a model until the process is told to stop; to be called from the main thread.

    The socket is `socket_path`, else the environment's JOULESEAL_SOCKET, else /run/jouleseal/model.sock. Calls that are
    going on when the signal comes may take `grace_s` more; a model that still does not return is left behind.
    """
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    service = SealedInference(model)
    server = start(service, socket_path or os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)
    while not stop.wait(_POLL_S):
        pass
    server.stop(grace_s).wait(grace_s + 1)
    if service.stuck:
        sys.stderr.flush()
        os._exit(_EX_STUCK)
