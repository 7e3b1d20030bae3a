"""The engine as a vendor's check needs it: sandboxes whose output is kept when they go, and what an image asks for.

Rules:
 1. The profile, the launch and the read-back are those of official runs; only what happens to the output differs.
 2. Output is read before a container is removed, whoever removes it, so that a container which ended at once still
    says why. A container that is still running is killed first: output that never ends would never be read.
 3. What an image asks for is the vendor's word; it is shown, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.launch.engine import DockerEngine
from orchestrator.launch.layout import STOP_SIGNAL
from protocol.errors import EngineUnavailable
from protocol.submission import SealedImage

_NO_CHECK = "NONE"  # the engine's word for a health check that is turned off
_STOP_SAME = frozenset({"", STOP_SIGNAL, STOP_SIGNAL.removeprefix("SIG"), "15"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What an image asks for that no sandbox gives: its health check and stop signal, empty where it asks for none."""

    health_check: str
    stop_signal: str


class CheckingEngine(DockerEngine):
    """A connection that keeps the output of the last container that it removed, in `output`."""

    output: bytes = b""

    def wishes(self, image: SealedImage) -> Wishes:
        """Return what the image asks for; raises EngineUnavailable."""
        return wishes_of(self.image_settings(image))

    def remove(self, container_id: str, volume: str) -> None:
        """Keep the container's output, then remove it and its volumes."""
        with suppress(EngineUnavailable):  # it was never made, or is gone; what matters is that it goes
            self.kill(container_id)
            self.output = self.logs(container_id)
        super().remove(container_id, volume)

    def take_output(self) -> bytes:
        """Return the output that was kept and forget it."""
        output, self.output = self.output, b""
        return output


def wishes_of(config: Mapping[str, Any]) -> Wishes:
    """Return what an image's configuration asks for."""
    words = [str(word) for word in (config.get("Healthcheck") or {}).get("Test") or []]
    signal = str(config.get("StopSignal") or "")
    return Wishes(
        health_check="" if words[:1] == [_NO_CHECK] else " ".join(words[1:]),
        stop_signal="" if signal in _STOP_SAME else signal,
    )
