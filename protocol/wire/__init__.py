"""The wire: the gRPC service that a sealed container answers on, and the server that vendors start.

A vendor's server needs this package and grpcio, protobuf and grpcio-health-checking, and is complete with

    from protocol.wire import Description, serve

    class MyModel: ...          # describe, load, infer; see protocol.wire.model.Model

    serve(MyModel())

Importing it chooses grpc's older poller, which is faster than the event engine on a unix socket: a ping-pong on a
stream takes a median of 93 us against 118 (grpcio 1.85.1, one core). grpc reads the setting while it is imported, so
that this stands where everything that imports grpc passes by. An operator's own GRPC_EXPERIMENTS is left alone.
"""

import os
from typing import TYPE_CHECKING, Any

from protocol.wire.jouleseal.v1.revision import SCHEMA_REVISION
from protocol.wire.model import DEFAULT_SOCKET, Description, LoadOrder, LoadPhase, Model, TaskSupport

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

if TYPE_CHECKING:
    from protocol.wire.server import serve

__all__ = [
    "DEFAULT_SOCKET",
    "SCHEMA_REVISION",
    "Description",
    "LoadOrder",
    "LoadPhase",
    "Model",
    "TaskSupport",
    "serve",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what a module attribute is
    """Find `serve` when it is asked for: it needs the generated code, which a fresh schema does not have yet."""
    if name == "serve":
        from protocol.wire.server import serve  # noqa: PLC0415 - the reason stands in the docstring

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
