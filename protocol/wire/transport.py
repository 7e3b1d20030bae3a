"""The door to grpc: its settings are made here, before it is imported, for the runner and for the vendor's server.

Rules:
  * The older poller is faster than the event engine on a unix socket: a ping-pong on a stream takes a median of 93 us
    against 118 (grpcio 1.85.1, one core). An operator's own GRPC_EXPERIMENTS stands.
  * Messages are bounded by us, per task, and never compressed.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

import grpc  # the setting above is read when it is imported

SERVICE = "jouleseal.v1.SealedInferenceService"
DESCRIBE = f"/{SERVICE}/Describe"
LOAD = f"/{SERVICE}/Load"
INFER = f"/{SERVICE}/Infer"
INFER_TOKENS = f"/{SERVICE}/InferTokens"
UNLOAD = f"/{SERVICE}/Unload"

__all__ = ["DESCRIBE", "INFER", "INFER_TOKENS", "LOAD", "SERVICE", "UNLOAD", "grpc"]
