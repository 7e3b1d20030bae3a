"""What grpc reports, sorted into the errors of the house; a vendor's own words are never repeated."""

from __future__ import annotations

from protocol.errors import DeadlineExceeded, ProtocolViolation
from protocol.wire.transport import grpc

_HINT = "run `jouleseal check IMAGE`: it shows the same failure with full logs"
_TOO_LARGE = "message larger than max"  # how grpc words its own bound, on a message as sent and as decompressed
_BROKEN = "Stream removed"  # how grpc words a connection that ended under a call


def violation(code: str, observed: str, expected: str) -> ProtocolViolation:
    """Return the error of a container that did not answer as the wire says."""
    return ProtocolViolation(code=code, observed=observed, expected=expected, hint=_HINT)


def late(code: str, observed: str, expected: str) -> DeadlineExceeded:
    """Return the error of a container that was too slow."""
    return DeadlineExceeded(code=code, observed=observed, expected=expected, hint=_HINT)


def fault(error: grpc.RpcError, call: str) -> ProtocolViolation:
    """Return what a status other than OK means: RESPONSE_TOO_LARGE, STREAM_BROKEN or VENDOR_STATUS."""
    status: grpc.StatusCode = error.code()
    details: str = error.details() or ""
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        return violation("RESPONSE_TOO_LARGE", f"{call} answered with more than it may", "a message within its bound")
    if status is grpc.StatusCode.UNAVAILABLE or (status is grpc.StatusCode.UNKNOWN and _BROKEN in details):
        return violation("STREAM_BROKEN", f"the connection ended during {call}", "a server that stays")
    return violation("VENDOR_STATUS", f"{call} ended with status {status.name}", "OK")
