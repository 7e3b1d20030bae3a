"""The door to a running sandbox's model: every call of the wire, with deadlines, limits and coded errors.

Rules:
  * The model is reached through an open descriptor of its socket, so that what was verified is what is connected to.
  * Every call has a deadline and every message a bound; both come from the task, and nothing is retried.
  * No exception of grpc leaves this module, whether from a call or from the iteration of its stream. A status of the
    vendor's is reported by its name; its details are never repeated.
  * Bytes of queries and answers pass through untouched; codec.py knows what they mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from orchestrator.drive.exchange import Exchange
from orchestrator.drive.faults import fault, late, violation
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task, TaskSpec
from protocol.wire import translate, transport
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.jouleseal.v1.revision import SCHEMA_REVISION
from protocol.wire.model import Description, LoadPhase
from protocol.wire.transport import grpc, health_pb2

_M = TypeVar("_M", bound=Message)

_HEALTH = "/grpc.health.v1.Health/Check"
_HEALTH_POLL_S = 0.02  # a sandbox takes about half a second to its first answer
_HEALTH_TRY_S = 1.0  # how long one question may stay open
_BACKOFF_MS = 50  # between attempts to connect
_WORDS_MAX = 128  # characters of a name or version in a description


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEvent:
    """A message of a streamed answer as it came, and when, on the monotonic clock."""

    at_ns: int
    message: bytes


class Endpoint:
    """A connection to one model. The descriptor stays the caller's and must outlive it."""

    def __init__(self, channel: grpc.Channel, spec: TaskSpec, batch: int) -> None:
        self._channel = channel
        self._spec = spec
        self._batch = batch

    @classmethod
    def connect(cls, socket_fd: int, spec: TaskSpec, batch: int) -> Endpoint:
        """Prepare a connection through an open descriptor of the socket, bounded for queries of `batch` samples.

        Nothing is sent yet: `wait_healthy` finds out whether anybody answers.
        """
        return cls.dial(f"unix:/proc/self/fd/{socket_fd}", spec, batch)

    @classmethod
    def dial(
        cls, target: str, spec: TaskSpec, batch: int, *, tls: bool = False, roots: bytes | None = None
    ) -> Endpoint:
        """Prepare a connection to a service that somebody runs: `unix:<path>` or `<host>:<port>`.

        With `tls`, under the PEM certificates in `roots`, or those of this machine.
        """
        options = [
            ("grpc.max_receive_message_length", translate.message_bounds(spec, batch)[1]),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),  # descriptors' numbers come again; connections must not
            ("grpc.initial_reconnect_backoff_ms", _BACKOFF_MS),
            ("grpc.min_reconnect_backoff_ms", _BACKOFF_MS),
            ("grpc.max_reconnect_backoff_ms", _BACKOFF_MS),
        ]
        if tls:
            credentials = grpc.ssl_channel_credentials(root_certificates=roots)
            return cls(grpc.secure_channel(target, credentials, options=options), spec, batch)
        return cls(grpc.insecure_channel(target, options=options), spec, batch)

    def wait_healthy(self, timeout_s: float, while_waiting: Callable[[], None] | None = None) -> None:
        """Ask for health until it is SERVING; raises DeadlineExceeded HEALTH_TIMEOUT.

        `while_waiting` is called after each vain attempt and may raise, as when the container has ended meanwhile.
        """
        check = self._unary(_HEALTH)
        request = health_pb2.HealthCheckRequest().SerializeToString()
        give_up = time.monotonic() + timeout_s
        seen = "nothing"
        while (left := give_up - time.monotonic()) > 0:
            try:
                answer = check(request, timeout=min(left, _HEALTH_TRY_S))
                status = _parse(health_pb2.HealthCheckResponse(), answer, "Health").status
                if status == health_pb2.HealthCheckResponse.SERVING:
                    return
                seen = f"serving status {status}"
            except grpc.RpcError as error:
                seen = f"status {error.code().name}"
            if while_waiting is not None:
                while_waiting()
            time.sleep(_HEALTH_POLL_S)
        raise late("HEALTH_TIMEOUT", f"{seen} after {timeout_s} s", "SERVING")

    def describe(self, timeout_s: float) -> Description:
        """Return the image's facts; raises ProtocolViolation where they are incomplete or of an unknown revision."""
        request = pb.DescribeRequest(client_revision=SCHEMA_REVISION).SerializeToString()
        with _guarded("DESCRIBE_TIMEOUT", "Describe"):
            answer = self._unary(transport.DESCRIBE)(request, timeout=timeout_s)
        message = _parse(pb.DescribeResponse(), answer, "Describe")
        description = translate.read_description(message)
        _check_description(description)
        return description

    def load(
        self,
        task: Task,
        precision: Precision,
        batch: int,
        timeout_s: float,
        on_phase: Callable[[LoadPhase], None] | None = None,
    ) -> None:
        """Load a task and return once it is READY, reporting phases as they come.

        Raises DeadlineExceeded LOAD_TIMEOUT, and ProtocolViolation TASK_NOT_OFFERED or LOAD_INCOMPLETE.
        """
        if task is not self._spec.task or batch > self._batch:
            raise ValueError(
                f"connected for {self._spec.task} in batches of {self._batch}, asked for {task} in {batch}"
            )
        request = translate.write_load(self._spec, precision, batch).SerializeToString()
        phase = None
        with _guarded("LOAD_TIMEOUT", "Load", not_offered=True):
            for answer in self._streamed(transport.LOAD)(request, timeout=timeout_s):
                phase = translate.read_phase(_parse(pb.LoadResponse(), answer, "Load"))
                if phase is not None and on_phase is not None:
                    on_phase(phase)
        if phase is not LoadPhase.READY:
            raise violation("LOAD_INCOMPLETE", f"loading ended in {phase}", "READY as the last phase")

    def open_exchange(self) -> Exchange:
        """Open the stream of one run."""
        infer: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(transport.INFER)
        return Exchange(infer, translate.message_bounds(self._spec, self._batch)[0])

    def infer_tokens(self, request: bytes, timeout_s: float) -> Iterator[TokenEvent]:
        """Yield the messages of one streamed answer as they arrive.

        Raises DeadlineExceeded SAMPLE_DEADLINE, and ProtocolViolation TOO_MANY_TOKENS for more pieces than tokens.
        """
        pieces_max = (self._spec.max_tokens or 0) + 1  # and the whole answer
        call = self._streamed(transport.INFER_TOKENS)(request, timeout=timeout_s)
        try:
            with _guarded("SAMPLE_DEADLINE", "InferTokens", not_offered=True):
                for count, answer in enumerate(call):
                    at_ns = time.monotonic_ns()
                    if count >= pieces_max:
                        raise violation(
                            "TOO_MANY_TOKENS", f"more than {pieces_max} pieces", "at most one for each token"
                        )
                    yield TokenEvent(at_ns=at_ns, message=answer)
        finally:
            call.cancel()

    def unload(self, timeout_s: float) -> None:
        """Release the model; raises DeadlineExceeded UNLOAD_TIMEOUT."""
        with _guarded("UNLOAD_TIMEOUT", "Unload"):
            self._unary(transport.UNLOAD)(pb.UnloadRequest().SerializeToString(), timeout=timeout_s)

    def _unary(self, path: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        return self._channel.unary_unary(path)

    def _streamed(self, path: str) -> grpc.UnaryStreamMultiCallable[bytes, bytes]:
        return self._channel.unary_stream(path)

    def close(self) -> None:
        """Close the connection; calls that are going on are cancelled."""
        self._channel.close()


@contextmanager
def _guarded(timeout_code: str, call: str, *, not_offered: bool = False) -> Iterator[None]:
    """Turn grpc's errors into ours; where `not_offered`, UNIMPLEMENTED means that the task was never described."""
    try:
        yield
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise late(timeout_code, f"{call} did not end in time", "an answer within its deadline") from None
        if not_offered and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise violation("TASK_NOT_OFFERED", f"{call} is not implemented", "what the submission names") from None
        raise fault(error, call) from None


def _parse(message: _M, data: bytes, call: str) -> _M:
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise violation("GARBAGE_BYTES", f"{len(data)} bytes from {call}", "a message of the wire") from None
    return message


def _check_description(description: Description) -> None:
    if description.minimum_client_revision > SCHEMA_REVISION:
        raise violation(
            "REVISION_UNSUPPORTED",
            f"a server that needs revision {description.minimum_client_revision}",
            f"at most {SCHEMA_REVISION}",
        )
    words = (description.model, description.model_version, description.engine, description.engine_version)
    sound = all(word.isprintable() and 0 < len(word) <= _WORDS_MAX for word in words)
    tasks = [support.task for support in description.tasks]
    offers = bool(tasks) and len(set(tasks)) == len(tasks) and all(one.precisions for one in description.tasks)
    if not (sound and offers and description.schema_revision and description.max_batch):
        raise violation(
            "DESCRIPTION_INCOMPLETE",
            "a description with something missing, repeated or too long",
            f"a revision, words of 1 to {_WORDS_MAX} printable characters, tasks with precisions, and a batch",
        )
