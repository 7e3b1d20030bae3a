"""What goes wrong: one lane a fault, one window of 6 s at 300 W, everything else as it should be.

The last three are no fault of the device but work that is to look like less.
"""

from __future__ import annotations

from typing import Final

from benchmarks.peers.cases import CONSTANT_MW, Edit, Lane
from benchmarks.peers.waves import Wave
from protocol.units import NS_PER_MS, NS_PER_S

LENGTH_NS: Final = 6 * NS_PER_S
HALF_NS: Final = LENGTH_NS // 2
COUNTED_BEFORE_MJ: Final = 500_000_000  # what a device in service has counted; a reset takes it back to nothing
LOST: Final = 15  # NVML_ERROR_GPU_IS_LOST
NOT_SUPPORTED: Final = 3
THERMAL: Final = 0x40  # hardware thermal slowdown (nvml.h)
SOMEBODY: Final = 1  # init: a process that is no sandbox's
HANG_MS: Final = 2_000
TRICKLE_MW: Final = 30_000

STEADY: Final = Wave(inside="always", high_mw=CONSTANT_MW)


def _fault(
    name: str, *edits: Edit, wave: Wave = STEADY, beyond_ns: int = 0, charged_ns: int = 0, **facts: object
) -> Lane:
    return Lane(
        name=name,
        shape=name,
        tick_ms=100,
        wave=wave,
        windows=(("6 s", LENGTH_NS),),
        facts={"offset_mj": COUNTED_BEFORE_MJ, **facts},
        edits=edits,
        beyond_ns=beyond_ns,
        charged_ns=charged_ns,
    )


def _at(after_ns: int, **facts: object) -> Edit:
    return Edit(after_ns=after_ns, facts=facts)


def lanes() -> list[Lane]:
    """Return one lane for each fault."""
    return [
        _fault("none"),
        _fault("counter not supported", error_83=NOT_SUPPORTED),
        _fault("counter reset at 3 s", _at(HALF_NS, reset_ns="now")),
        _fault("counter frozen from 3 s", _at(HALF_NS, frozen_ns="now")),
        _fault("counter at 0.57 of the truth", gain_permille=570, offset_mj=0),
        _fault("zero power readings", stuck_mw=0),
        _fault(
            "neither counter nor power (vGPU)",
            error_83=NOT_SUPPORTED,
            error_185=NOT_SUPPORTED,
            error_power=NOT_SUPPORTED,
        ),
        _fault("device lost at 3 s", _at(HALF_NS, error=LOST)),
        _fault(
            "driver hangs for 2 s", _at(NS_PER_S * 2, hang_ms=HANG_MS), _at(NS_PER_S * 2 + 1_100 * NS_PER_MS, hang_ms=0)
        ),
        _fault("thermal slowdown from 3 s", _at(HALF_NS, reasons=THERMAL)),
        _fault("power limit changed at 3 s", _at(HALF_NS, limit_mw=CONSTANT_MW + 50_000)),
        _fault("a foreign process from 3 s", _at(HALF_NS, pid=SOMEBODY)),
        _fault("answers early, works on for 1 s", wave=Wave(), beyond_ns=NS_PER_S, charged_ns=NS_PER_S),
        _fault(
            "trickles 30 W for 2 s after",
            wave=Wave(trickle_mw=TRICKLE_MW, trickle_ns=2 * NS_PER_S),
            charged_ns=2 * NS_PER_S,
        ),
    ]
