"""Whom an auditor asks: a service that speaks our wire, or a set of answers that was recorded from one.

Both say what they are, and answer points of one task at one precision. Nothing but their answers is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.drive.codec import decode_responses, encode_requests
from orchestrator.drive.endpoint import Endpoint as Wire
from protocol.attestation.equivalence import EndpointClaim
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Answer, Point
from protocol.wire.model import Description

HEALTH_S = 30.0
DESCRIBE_S = 10.0
LOAD_S = 600.0
UNLOAD_S = 30.0
_ONE = 1  # a point a query: what others ask with it must not matter


class Endpoint(Protocol):
    """A production service, as an auditor reaches it."""

    def claim(self) -> EndpointClaim:
        """Return what it says of itself."""

    def answers(self, task: Task, precision: Precision, points: Sequence[Point]) -> list[Answer]:
        """Return its answer to each point, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireEndpoint:
    """A service of our wire at `unix:<path>` or `<host>:<port>`; `tls` under `roots`, or this machine's certificates.

    Raises what `orchestrator.drive.endpoint` raises: DeadlineExceeded and ProtocolViolation with their codes.
    """

    target: str
    tls: bool = False
    roots: bytes | None = None

    def claim(self) -> EndpointClaim:
        """Return what the service's Describe says."""
        wire = self._dial(next(iter(REGISTRY)))
        try:
            wire.wait_healthy(HEALTH_S)
            said: Description = wire.describe(DESCRIBE_S)
        finally:
            wire.close()
        return EndpointClaim(
            kind="wire",
            model=said.model,
            model_version=said.model_version,
            engine=said.engine,
            engine_version=said.engine_version,
            recorded_sha256=None,
        )

    def answers(self, task: Task, precision: Precision, points: Sequence[Point]) -> list[Answer]:
        """Load the task and ask each point in a query of its own."""
        spec = REGISTRY[task]
        wire = self._dial(task)
        try:
            wire.wait_healthy(HEALTH_S)
            wire.load(task, precision, _ONE, LOAD_S)
            exchange = wire.open_exchange()
            try:
                requests = encode_requests(points, _ONE)
                responses = [exchange.ask(request, spec.sample_deadline_ns) for request in requests]
            finally:
                exchange.close()
            wire.unload(UNLOAD_S)
        finally:
            wire.close()
        return decode_responses(responses, points, spec, _ONE)

    def _dial(self, task: Task) -> Wire:
        return Wire.dial(self.target, REGISTRY[task], _ONE, tls=self.tls, roots=self.roots)
