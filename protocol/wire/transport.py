"""The door to grpc: whoever needs it takes it from here, so that it is never imported before its settings are made.

The settings stand in `protocol.wire`, which importing this module imports first. Messages are bounded by us, per task,
and never compressed.
"""

from __future__ import annotations

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "jouleseal.v1.SealedInferenceService"
DESCRIBE = f"/{SERVICE}/Describe"
LOAD = f"/{SERVICE}/Load"
INFER = f"/{SERVICE}/Infer"
INFER_TOKENS = f"/{SERVICE}/InferTokens"
UNLOAD = f"/{SERVICE}/Unload"

__all__ = [
    "DESCRIBE",
    "INFER",
    "INFER_TOKENS",
    "LOAD",
    "SERVICE",
    "UNLOAD",
    "grpc",
    "health",
    "health_pb2",
    "health_pb2_grpc",
]
