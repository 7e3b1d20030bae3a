"""A whole session's gated runs: every rule of `acceptance`, and every run's readings, in one answer.

Run k has the window `run-k` and the idle windows right before and after it, as in `figures`. A fault voids the
session (all runs have one sandbox, and a device that cannot be relied on in one of them cannot be in the others); a
flag is published beside the figure and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocol.methodology import acceptance
from protocol.methodology.acceptance import Fault
from protocol.methodology.gated import Gate, GatedReading, Series, combined, gate, measure, series, u_runs
from protocol.methodology.stages import IDLE_PREFIX, around
from protocol.methodology.trace import PowerTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedSession:
    """What a session's runs cost on its accelerators.

    `runs` has each run's reading by device, `setup_joules` what each device took above idle before the first run, and
    `u_runs` the standard uncertainty of the mean over the runs, in joules a run, or a sample where their numbers were
    given (None for fewer than two).
    """

    runs: tuple[Mapping[str, GatedReading], ...]
    faults: tuple[Fault, ...]
    flags: tuple[str, ...]
    setup_joules: Mapping[str, Fraction]
    u_runs: Fraction | None

    @property
    def joules(self) -> tuple[Fraction, ...]:
        """Each run's gross joules over all devices."""
        return tuple(combined(run)[0] for run in self.runs)


def account_runs(
    trace: PowerTrace, count: int, calibration: Fraction | None = None, samples: Sequence[int] | None = None
) -> GatedSession:
    """Return the readings, faults and flags of runs 1 to `count`; the record was judged by `validity` before.

    `samples` is how many each run answered: runs that repeat their points a different number of times are compared by
    what one sample cost. Raises as `gated.measure` and `gated.gate` do, and VerificationError WINDOW_ABSENT.
    """
    gates = [gate_of(trace, f"run-{k}") for k in range(1, count + 1)]
    found = {device: series(trace, device) for device in trace.sources["gpu"].devices}
    faults = [fault for gated in gates for one in found.values() for fault in acceptance.faults(trace, one, gated)]
    if faults:
        return GatedSession(runs=(), faults=tuple(faults), flags=(), setup_joules={}, u_runs=None)
    runs = [{name: measure(one, gated, calibration) for name, one in found.items()} for gated in gates]
    joules = [combined(run)[0] / size for run, size in zip(runs, samples or [1] * count, strict=True)]
    flags = [flag for run in runs for reading in run.values() for flag in reading.flags]
    flags += [fault.code for fault in acceptance.trend(joules)]
    return GatedSession(
        runs=tuple(runs),
        faults=tuple(_of_readings(trace, found, gates, runs)),
        flags=tuple(dict.fromkeys(flags)),
        setup_joules={
            name: acceptance.setup_energy(trace, one, gates[0], runs[0][name]) for name, one in found.items()
        },
        u_runs=u_runs(joules),
    )


def gate_of(trace: PowerTrace, name: str) -> Gate:
    """Return the gate of a window with the idle windows beside it; VerificationError WINDOW_ABSENT without them."""
    before, after = around(trace, name)
    window = trace.window(name)
    return gate(
        trace, window, before or trace.window(f"{name}: idle before"), after or trace.window(f"{name}: idle after")
    )


def _all_windows(
    trace: PowerTrace, gates: Sequence[Gate], readings: Sequence[GatedReading]
) -> list[tuple[Gate, GatedReading]]:
    """Return every window that is not idle, the probes among the runs, each with the reading of the run before it."""
    of_runs = {gated.window.name: (gated, reading) for gated, reading in zip(gates, readings, strict=True)}
    found: list[tuple[Gate, GatedReading]] = []
    for window in trace.windows:
        if window.name in of_runs:
            found.append(of_runs[window.name])
        elif found and not window.name.startswith(IDLE_PREFIX):
            found.append((gate_of(trace, window.name), found[-1][1]))
    return found


def account_device(
    trace: PowerTrace, device: str, gated: Gate, calibration: Fraction | None = None
) -> tuple[GatedReading | None, tuple[Fault, ...]]:
    """Return one device's reading over one window by itself, and its faults; no reading where none may be made.

    Raises as `gated.measure` does.
    """
    found = series(trace, device)
    broken = acceptance.faults(trace, found, gated)
    if broken:
        return None, tuple(broken)
    reading = measure(found, gated, calibration)
    return reading, (*acceptance.implausible(trace, reading, gated.window), *acceptance.cooling(reading))


def _of_readings(
    trace: PowerTrace, found: Mapping[str, Series], gates: list[Gate], runs: list[dict[str, GatedReading]]
) -> list[Fault]:
    """Return the faults that show only once there are figures, and those of the runs together."""
    faults: list[Fault] = []
    for gated, run in zip(gates, runs, strict=True):
        for reading in run.values():
            faults += acceptance.implausible(trace, reading, gated.window)
            faults += acceptance.cooling(reading)
        faults += acceptance.elsewhere(trace, list(run.values()), gated.window)
    for name, one in found.items():
        faults += acceptance.rehearsals(one, _all_windows(trace, gates, [run[name] for run in runs]))
        faults += acceptance.start_temperatures(trace, name, [gated.window for gated in gates])
    return faults
