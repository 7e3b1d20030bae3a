"""Check 15: the meter's record of every completed session is whole, sound, and marks exactly its windows.

It is of the devices that the plan leased, and the plan's hardware class follows from what their driver said of them. So
a stand-in cannot pass for a device, nor one device for another, without the sampler's own words being changed.

The record of an aborted session is evidence of what happened, and carries no published figure: that it is there and
unchanged is check 13's; it may well be the broken record that made the session void.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol.attestation.predicates import CampaignPlan
from protocol.attestation.probed import asked_of
from protocol.errors import InvalidMeasurement, TraceGap, Unverifiable, VerificationError
from protocol.methodology.energy import validate
from protocol.methodology.hardware import CLASS_SIMULATED, device_facts, hardware_class
from protocol.methodology.stages import window_names
from protocol.methodology.trace import PowerTrace, SourceKind, parse_trace
from protocol.methodology.validity import MAX_MISSED
from verifier.facts import Session, Story, Traces
from verifier.walk import Established, Findings, counted, false

MAX_READING = (1 << 64) - 1
EDGE_TICKS = 2  # a tick at either end may fall outside the first and the last mark


def check(stories: Sequence[Story], files: Mapping[str, bytes]) -> Established[Traces]:
    """Return the parsed record of every completed session."""
    findings = Findings()
    traces: Traces = {}
    for story in stories:
        for session in story.completed:
            with findings.collecting():
                traces[session.outcome.statement_id] = _session(session, story.plan.predicate, files)
    findings.settle()
    samples = sum(len(trace.fast.times) for trace in traces.values())
    aborted = sum(not session.completed for story in stories for session in story.sessions)
    rest = f"; the records of {aborted} aborted sessions carry no figure" if aborted else ""
    return Established(
        traces,
        f"{samples} samples in {counted(len(traces), 'record')}, chained, in cadence, no counter backwards{rest}",
    )


def _session(session: Session, plan: CampaignPlan, files: Mapping[str, bytes]) -> PowerTrace:
    outcome = session.outcome.predicate
    try:
        trace = parse_trace(files[outcome.trace_sha256 or ""])
        if trace.digest != outcome.trace_chain:
            raise false(
                "TRACE_CHAIN",
                observed=f"a record whose chain ends in {trace.digest}",
                expected=f"{outcome.trace_chain}",
            )
        check_magnitude(trace)
        cell = next(cell for cell in plan.cells if cell.cell_id == outcome.cell)
        _check_windows(trace, window_names(asked_of(cell, outcome.nonce)))
        _check_devices(trace, plan)
        validate(trace)
        _check_cadence(trace)
    except (VerificationError, InvalidMeasurement, Unverifiable) as error:
        observed = f"{session.name}: {error.observed}"
        raise type(error)(code=error.code, observed=observed, expected=error.expected, hint=error.hint) from error
    return trace


def check_magnitude(trace: PowerTrace) -> None:
    """Refuse numbers that no counter of 64 bits can hold: arithmetic on them is exact, and so without end."""
    facts = [trace.period_ns, trace.host_period_ns, trace.host_cpus, trace.clock_ticks, trace.misses]
    facts += [trace.attachment.cpus_milli] if trace.attachment is not None else []
    facts += [counter.range for source in trace.sources.values() for counter in source.counters]
    for table in (trace.fast, trace.slow):
        facts += [max(filter(None, column), default=0) for column in (table.times[-1:], table.spans, *table.values)]
    if max(facts) > MAX_READING:
        raise false(
            "TRACE_READING",
            observed=f"a number of {max(facts).bit_length()} bits",
            expected="numbers of at most 64 bits, as clocks and counters give them",
        )


def _check_windows(trace: PowerTrace, expected: list[str]) -> None:
    found = [window.name for window in trace.windows]
    if found != expected:
        raise false(
            "TRACE_WINDOWS",
            observed=f"windows {', '.join(found)[:200]}",
            expected=f"{', '.join(expected)[:200]}, each once and in this order, which the session's nonce draws",
        )


def _check_devices(trace: PowerTrace, plan: CampaignPlan) -> None:
    source = trace.sources["gpu"]
    found = device_facts(trace.host, source.devices)
    planned = tuple((device.uuid, device.name) for device in plan.devices)
    if tuple((device.uuid, device.name) for device in found) != planned:
        raise false(
            "OTHER_DEVICES",
            observed=f"a record of {', '.join(f'{one.name} {one.uuid}' for one in found) or 'no accelerator'}",
            expected=f"{', '.join(f'{name} {uuid}' for uuid, name in planned) or 'no accelerator'}, as planned",
        )
    named = hardware_class(found)
    if named != plan.hardware_class or (named == CLASS_SIMULATED) != (source.kind is SourceKind.SIMULATED):
        raise false(
            "OTHER_CLASS",
            observed=f"class {plan.hardware_class!r} in the plan, and readings of kind {source.kind.value!r}",
            expected=f"class {named!r}, as the driver's own words give it",
        )


def _check_cadence(trace: PowerTrace) -> None:
    """Count the samples against the clock, not against what the record says that it missed: a thinned record shows.

    The method lets a record miss a share of all its ticks; any of them may have been missed between the marks.
    """
    start, end = trace.windows[0].open_ns, trace.windows[-1].close_ns
    for name, table, period in (("fast", trace.fast, trace.period_ns), ("host", trace.slow, trace.host_period_ns)):
        rows = table.between(start, end)
        found, due = rows.stop - rows.start, (end - start) // period - EDGE_TICKS
        missable = MAX_MISSED * ((table.times[-1] - table.times[0]) // period + 1)
        if found < due - missable:
            raise TraceGap(
                code="SAMPLES_MISSED",
                observed=f"{found} {name} samples from the first mark to the last",
                expected=f"about {due}, one every {period} ns, and at most {MAX_MISSED * 100} % missed",
                hint="the record was thinned, or the machine was too busy for the sampler",
            )
