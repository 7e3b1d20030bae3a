"""Models on real unix sockets: honest ones behind the vendor's server, and raw ones that send what they like."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.drive.endpoint import Endpoint
from protocol.methodology.tasks import REGISTRY, Task, TaskSpec
from protocol.wire import transport
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.server import SealedInference, start
from protocol.wire.transport import grpc, health_pb2

TIMEOUT_S = 20.0  # far beyond what any of these takes; no test waits for it


def healthy(_request: bytes, _context: Any) -> bytes:
    return health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()


@contextmanager
def connected(path: str, spec: TaskSpec, batch: int) -> Iterator[Endpoint]:
    """An endpoint on the descriptor of the socket at `path`."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    endpoint = Endpoint.connect(descriptor, spec, batch)
    try:
        yield endpoint
    finally:
        endpoint.close()
        os.close(descriptor)


@dataclass
class Raw:
    """A server without manners: each method is a function of bytes and yields bytes."""

    infer: Callable[[Iterator[bytes], Any], Iterator[bytes]] | None = None
    infer_tokens: Callable[[bytes, Any], Iterator[bytes]] | None = None
    load: Callable[[bytes, Any], Iterator[bytes]] | None = None
    describe: Callable[[bytes, Any], bytes] | None = None
    health: Callable[[bytes, Any], bytes] = healthy
    compression: Any = None

    def handlers(self) -> list[Any]:
        methods = {
            "Infer": self.infer and grpc.stream_stream_rpc_method_handler(self.infer),
            "InferTokens": self.infer_tokens and grpc.unary_stream_rpc_method_handler(self.infer_tokens),
            "Load": self.load and grpc.unary_stream_rpc_method_handler(self.load),
            "Describe": self.describe and grpc.unary_unary_rpc_method_handler(self.describe),
        }
        known = {name: handler for name, handler in methods.items() if handler}
        health = {"Check": grpc.unary_unary_rpc_method_handler(self.health)}
        return [
            grpc.method_handlers_generic_handler(transport.SERVICE, known),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
        ]


@contextmanager
def raw_server(path: str, raw: Raw, task: Task = Task.TEXT_CLASSIFICATION, batch: int = 1) -> Iterator[Endpoint]:
    """An endpoint connected to a server without manners."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(4), options=options, compression=raw.compression)
    server.add_generic_rpc_handlers(raw.handlers())
    server.add_insecure_port(f"unix:{path}")
    server.start()
    with connected(path, REGISTRY[task], batch) as endpoint:
        yield endpoint
    server.stop(0).wait()


@contextmanager
def honest_server(path: str, model: Any, task: Task, batch: int = 1) -> Iterator[Endpoint]:
    """An endpoint connected to the vendor's server around a model."""
    server = start(SealedInference(model), path)
    with connected(path, REGISTRY[task], batch) as endpoint:
        endpoint.wait_healthy(TIMEOUT_S)
        yield endpoint
    server.stop(0).wait()


def label_answer(query: int = 0, count: int = 1) -> pb.InferResponse:
    """A sound response to a query of text classification."""
    response = pb.InferResponse(query=query)
    for index in range(count):
        response.answers.add(index=index).labels.labels.add(name="positive", score=0.5)
    return response
