"""The steps around an accelerator's window, as the account of `protocol.methodology.gated` needs them.

    idle 0; settle; arm
    open_window("run-1"); the work; close_window
    idle 1; settle; arm
    open_window("run-2"); the work; close_window
    idle 2

Idle k is the window "idle-k": a stretch of nothing, which is the hold of the window before it, a run's or a probe's.
Settle: the accelerators' 1 s mean power stays within its band for 1.5 s. Arm: two hunts for counter ticks, 1 s apart,
so that the idle slope has two well located ends. Hold: a hunt right after the work, one when 2 s have passed. Without a
leased accelerator settling and arming return at once: models and RAPL have no ticks.
"""

from __future__ import annotations

import time
from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from orchestrator.meter.interface import Power
from protocol.errors import InvalidMeasurement
from protocol.methodology.acceptance import SETTLED_FLOOR_MW, SETTLED_NS, SETTLED_SHARE
from protocol.methodology.gated import HOLD_NS
from protocol.methodology.scenario import IDLE_WINDOW_NS
from protocol.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from orchestrator.meter.client import Sampler

SETTLE_TIMEOUT_S: Final = 60.0
ARM_APART_NS: Final = NS_PER_S
LOOK_S: Final = 0.1  # the sampler's own period: nothing new is known sooner
_FLOOR_WATTS: Final = Fraction(SETTLED_FLOOR_MW, 1_000)
_MARGIN_NS: Final = 50 * NS_PER_MS


def settle(sampler: Sampler, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
    """Wait until the accelerators are at rest; raises InvalidMeasurement NOT_SETTLED after `timeout_s`."""
    if not sampler.devices:
        return
    started = time.monotonic_ns()
    kept: deque[tuple[int, Fraction]] = deque()
    while True:
        now = time.monotonic_ns()
        power = sampler.latest().channels["gpu"]
        if isinstance(power, Power):
            kept.append((now, power.watts))
        while len(kept) > 1 and kept[1][0] <= now - SETTLED_NS - _MARGIN_NS:
            kept.popleft()
        if kept and now - kept[0][0] >= SETTLED_NS + _MARGIN_NS and _within_band([watts for _, watts in kept]):
            return
        if now - started > timeout_s * NS_PER_S:
            raise InvalidMeasurement(
                code="NOT_SETTLED",
                observed=f"the accelerator's power had not come to rest after {timeout_s:g} s",
                expected="a mean power within its band for 1.5 s",
                hint="stop what else uses the device, and let it cool",
            )
        time.sleep(LOOK_S)


def arm(sampler: Sampler) -> None:
    """Locate ticks twice, a second apart; returns with a tick just past, so that the work may begin."""
    if not sampler.devices:
        return
    started = time.monotonic_ns()
    sampler.hunt()
    _sleep_until(started + ARM_APART_NS)
    sampler.hunt()


def idle(sampler: Sampler, number: int, closed_ns: int | None = None, least_ns: int | None = None) -> None:
    """Meter the idle window `number`; `closed_ns` is when the window before it ended, whose hold it then is.

    `least_ns` is how long it is where no accelerator is leased, by default that of the baseline of a run.
    """
    sampler.open_window(f"idle-{number}")
    if closed_ns is not None and sampler.devices:
        hold(sampler, closed_ns)
    else:
        time.sleep((IDLE_WINDOW_NS if least_ns is None else least_ns) / NS_PER_S)
    sampler.close_window()


def hold(sampler: Sampler, closed_ns: int) -> None:
    """Keep idle after a window that was closed at `closed_ns`: a hunt now, and one when the hold is over."""
    if not sampler.devices:
        return
    sampler.hunt()
    _sleep_until(closed_ns + HOLD_NS)
    sampler.hunt()


def _within_band(watts: list[Fraction]) -> bool:
    low, high = min(watts), max(watts)
    return high - low <= 2 * max(SETTLED_SHARE * (high + low) / 2, _FLOOR_WATTS)


def _sleep_until(instant_ns: int) -> None:
    time.sleep(max(instant_ns - time.monotonic_ns(), 0) / NS_PER_S)
