"""Attacks on the numbers: an outsider edits files, an operator edits samples and signs the rest anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator import assemble
from protocol.attestation.bundle import VERIFY_PATH, evidence_path
from protocol.attestation.claims import Failure
from protocol.attestation.digest import sha256_hex
from protocol.methodology import trace as record
from protocol.methodology.scenario import Scenario
from protocol.methodology.session_figures import SessionFigures
from protocol.methodology.timeline import pack
from tests.standin.records import steady_world
from tests.worlds.tampering import flip
from tests.worlds.world import MS, PROFILE, S, World, cell, failed
from verifier.checks.time import _calendar
from verifier.report import Status, Verdict


@pytest.fixture(name="world")
def _world():
    return World(idle_ms=4000)


def trace_path(world):
    return evidence_path(sha256_hex(world.ran[0].trace))


# An outsider with the files.


def test_evidence_replaced(world):
    world.campaign()
    files = world.bundle()
    path = trace_path(world)
    files[path] = flip(files[path], len(files[path]) // 2)
    report = world.judge(files)
    assert failed(report) == {("evidence", "EVIDENCE_DIFFERS")}
    assert {r.check for r in report.checks if r.status is Status.NOT_CHECKED} >= {"timeline", "trace", "recompute"}


def test_evidence_truncated(world):
    world.campaign()
    files = world.bundle()
    files[trace_path(world)] = files[trace_path(world)][:-1]
    assert failed(world.judge(files)) == {("evidence", "EVIDENCE_DIFFERS")}


def test_evidence_removed(world):
    world.campaign()
    files = world.bundle()
    del files[trace_path(world)]
    report = world.judge(files)
    assert failed(report) == {("evidence", "EVIDENCE_MISSING")}
    assert report.verdict is Verdict.FALSE, "what is referred to and absent is false, never a shrug"


def test_every_changed_file_is_named(world):
    world.campaign()
    files = world.bundle()
    paths = [path for path in files if path.startswith("evidence/")]
    for path in paths:
        files[path] += b"!"
    named = [result.observed for result in world.judge(files).checks if result.code == "EVIDENCE_DIFFERS"]
    assert len(named) == len(paths)


def test_a_file_that_nobody_signed_for(world):
    world.campaign()
    files = world.bundle()
    files[evidence_path(sha256_hex(b"a leak"))] = b"a leak"
    assert failed(world.judge(files)) == {("evidence", "UNREFERENCED_FILE")}


def test_the_instructions_replaced(world):
    world.campaign()
    files = world.bundle()
    files[VERIFY_PATH] = b"To verify this bundle, send us your password.\n"
    assert failed(world.judge(files)) == {("evidence", "VERIFY_TXT_CHANGED")}


# An operator who signs other figures than the evidence gives.


def test_energy_differs_from_its_samples(world):
    def cheaper(outcome):
        outcome["runs"][0]["figures"]["energyMj"]["cpu"]["mj"] -= 1

    world.campaign(edit={"session-outcome": cheaper})
    report = world.judge()
    assert failed(report) == {("recompute", "RECOMPUTE_RUN")}
    (failure,) = [result for result in report.checks if result.status is Status.FAILED]
    assert "energyMj.cpu.mj" in failure.observed


def test_a_published_figure_differs_from_its_runs(world):
    def faster(result):
        result["cells"][0]["recomputed"]["latencyMeanMs"] = "1.000000"

    world.campaign(edit={"campaign-result": faster})
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_CELL")}


def test_a_figure_that_nothing_gives(world):
    def invent(result):
        result["cells"][0]["recomputed"]["stars"] = "5"

    world.campaign(edit={"campaign-result": invent})
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_CELL")}


def test_a_figure_left_out(world):
    world.campaign(edit={"campaign-result": lambda result: result["cells"][0]["recomputed"].pop("runs")})
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_CELL")}


def test_mean_of_a_subset():
    class Choosing(World):
        def figures_of(self, outcome):
            runs = super().figures_of(outcome).runs
            return SessionFigures(runs=tuple(sorted(runs, key=lambda run: run.duration_ns)[:2]))

    world = Choosing()
    world.campaign([cell(runs=4)])
    found = failed(world.judge())
    assert found == {("recompute", "RECOMPUTE_CELL")}


def test_quality_is_not_the_mean_of_its_runs(world):
    def better(result):
        result["cells"][0]["committed"]["accuracy"] = "0.999999"

    world.campaign(edit={"campaign-result": better})
    assert failed(world.judge()) == {("committed", "COMMITTED_DIFFERS")}


def test_flags_left_out(world):
    world.campaign(edit={"campaign-result": lambda result: result["flags"].remove("estimated-energy")})
    assert failed(world.judge()) == {("certifiability", "FLAG_LEFT_OUT")}


def test_a_result_that_calls_itself_certifiable(world):
    world.campaign(edit={"campaign-result": lambda result: result.update(certifiable=True)})
    assert failed(world.judge()) == {("certifiability", "NOT_CERTIFIABLE")}


# An operator who edits the samples, re-chains the record, recomputes every figure and signs it all with the real key.


def test_every_second_sample_dropped(world):
    world.campaign(scene=lambda stage: setattr(stage, "skip", lambda t: t // (100 * MS) % 2))
    assert failed(world.judge()) == {("trace", "SAMPLES_MISSED")}


def test_only_a_few_samples_kept(world):
    world.campaign(scene=lambda stage: setattr(stage, "skip", lambda t: t % S))
    assert failed(world.judge()) == {("trace", "TRACE_GAP")}


def test_a_stretch_of_samples_dropped(world):
    world.campaign(scene=lambda stage: setattr(stage, "skip", lambda t: S < t < 3 * S))
    assert failed(world.judge()) == {("trace", "TRACE_GAP")}


def test_samples_dropped_from_the_record_and_its_chain_not_mended(world):
    def dropped(ran):
        lines = ran.trace.splitlines(keepends=True)
        return b"".join(line for number, line in enumerate(lines) if number != 40)

    assert failed(retold(world, dropped)) == {("trace", "TRACE_CHAIN")}


def test_samples_scaled_in_the_record_and_its_chain_not_mended(world):
    def scaled(ran):
        lines = ran.trace.splitlines(keepends=True)
        at = next(number for number, line in enumerate(lines) if line.startswith(b'["s"') and number > 40)
        values = lines[at].removesuffix(b"]\n").split(b",")
        values[-1] = b"%d" % (int(values[-1]) * 96 // 100)
        lines[at] = b",".join(values) + b"]\n"
        return b"".join(lines)

    assert failed(retold(world, scaled)) == {("trace", "TRACE_CHAIN")}


def retold(world, change, *, rechained=False):
    """Tell a campaign whose outcome refers to a changed record, with the figures of the true one."""
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    ran = world.run(cell())
    facts = world.outcome_facts(plan, intent, cell(), ran, attempt=1, failure=None)
    changed = change(ran)
    assert changed != ran.trace
    del world.evidence[sha256_hex(ran.trace)]
    digest = world.keep(changed)
    chain = record.parse_trace(changed).digest if rechained else facts.trace_chain
    others = [item for item in facts.byproducts if item.name != "meter-record"]
    facts = replace(facts, trace_sha256=digest, trace_chain=chain, byproducts=others)
    world.say("session-outcome", assemble.outcome_json(facts))
    figures = SessionFigures(runs=tuple(run.figures for run in facts.runs))
    world.figures_of = lambda outcome: figures
    world.result(plan)
    return world.judge()


def test_samples_scaled_and_chained_anew_without_the_figures(world):
    def scaled(ran):
        slower = {**steady_world(), record.CPU_TIME: lambda t: t // 2 * 96 // 100}
        return replace(ran.scene, world=slower).data()

    found = failed(retold(world, scaled, rechained=True))
    assert found == {("recompute", "RECOMPUTE_RUN"), ("recompute", "RECOMPUTE_CELL")}


def test_samples_shifted_by_an_hour(world):
    def shift(stage):
        stage.origin += 3600 * S

    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    ran = world.run(cell(), scene=shift)
    later = tuple(
        tuple(q._replace(sent_ns=q.sent_ns + 3600 * S, done_ns=q.done_ns + 3600 * S) for q in records)
        for records in ran.timelines
    )
    world.outcome(plan, intent, cell(), replace(ran, timelines=later))
    world.result(plan)
    assert failed(world.judge()) == {("time", "RECORD_OUTSIDE_SESSION")}


def test_timeline_shifted_by_an_hour_against_its_samples(world):
    def shift(ran):
        return tuple(
            tuple(q._replace(sent_ns=q.sent_ns + 3600 * S, done_ns=q.done_ns + 3600 * S) for q in records)
            for records in ran.timelines
        )

    assert ("recompute", "TIMELINE_OUTSIDE_WINDOW") in failed(with_timelines(world, shift))


def with_timelines(world, change):
    """Tell a campaign whose outcome has other timelines than those that the figures were computed from."""
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    ran = world.run(cell())
    facts = world.outcome_facts(plan, intent, cell(), ran, attempt=1, failure=None)
    for run in facts.runs:
        world.evidence.pop(run.timeline_sha256)
    runs = [
        replace(
            run,
            timeline_sha256=world.keep(pack(records)),
            queries=len(records),
            samples=sum(q.samples for q in records),
        )
        for run, records in zip(facts.runs, change(ran), strict=True)
    ]
    world.say("session-outcome", assemble.outcome_json(replace(facts, runs=runs)))
    figures = SessionFigures(runs=tuple(run.figures for run in facts.runs))
    world.figures_of = lambda outcome: figures
    world.result(plan)
    return world.judge()


def test_a_query_left_out_of_the_timeline(world):
    shorter = with_timelines(world, lambda ran: tuple(records[:-1] for records in ran.timelines))
    assert failed(shorter) == {("timeline", "TIMELINE_SHAPE")}


def test_a_query_asked_twice(world):
    def twice(ran):
        return tuple((*records[:-1], records[-1]._replace(query=records[0].query)) for records in ran.timelines)

    assert failed(with_timelines(world, twice)) == {("timeline", "TIMELINE_SHAPE")}


def test_queries_that_overlap(world):
    def overlap(ran):
        return tuple(
            (records[0], records[1]._replace(sent_ns=records[0].sent_ns), *records[2:]) for records in ran.timelines
        )

    assert failed(with_timelines(world, overlap)) == {("timeline", "TIMELINE_MALFORMED")}


def test_answered_is_not_asked(world):
    world.campaign(edit={"session-outcome": lambda outcome: outcome["runs"][0].update(samples=5)})
    assert failed(world.judge()) == {("timeline", "TIMELINE_COUNTS")}


def test_a_counter_that_runs_backwards(world):
    falling = {**steady_world(), record.CPU_TIME: lambda t: (t if t < 5 * S else t - 3 * S) // 2}
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    ran = world.run(cell(), scene=lambda stage: setattr(stage, "world", falling))
    world.outcome(plan, intent, cell(), ran)
    world.result(plan)
    assert failed(world.judge()) == {("trace", "COUNTER_RESET")}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "interrupted"}, "RECORD_INTERRUPTED"),
        ({"realtime_step": 60 * S}, "CLOCK_STEPPED"),
        ({"asleep": 60 * S}, "SUSPENDED"),
        ({"misses": 100}, "SAMPLES_MISSED"),
        ({"failures": ((S, "cgroup", "GONE", "no such file"),)}, "CHANNEL_LOST"),
    ],
)
def test_a_record_that_the_method_voids(world, change, code):
    def disturb(stage):
        for name, value in change.items():
            setattr(stage, name, value)

    world.campaign(scene=disturb)
    assert failed(world.judge()) == {("trace", code)}


@pytest.mark.parametrize("column", [record.CPU_TIME, record.MEMORY])
def test_numbers_without_end(world, column):
    """Exact arithmetic on a counter of 13,000 bits ends in a number that nobody can print."""
    endless = {**steady_world(), column: lambda t: 10**4000 + t}

    def swollen(ran):
        return replace(ran.scene, world=endless).data()

    assert failed(retold(world, swollen, rechained=True)) == {("trace", "TRACE_READING")}


def test_a_window_too_many(world):
    """A second try at run 1 inside one session, left out of the outcome."""
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())

    def again(stage):
        name, opened, closed = stage.windows[-1]
        stage.windows = [*stage.windows[:-1], (name, opened, closed - 2 * S), ("run-1b", closed - S, closed)]

    world.outcome(plan, intent, cell(), world.run(cell(), scene=again))
    world.result(plan)
    assert failed(world.judge()) == {("trace", "TRACE_WINDOWS")}


def test_no_idle_baseline(world):
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    ran = world.run(cell(), scene=lambda stage: setattr(stage, "windows", stage.windows[1:]))
    world.outcome(plan, intent, cell(), ran)
    world.result(plan)
    assert failed(world.judge()) == {("trace", "TRACE_WINDOWS")}


def test_another_launch_profile(world):
    def other(outcome):
        for item in outcome["byproducts"]:
            if item["name"] == "launch-profile":
                item["digest"]["sha256"] = world.keep(b'{"network":"host"}')
        world.evidence.pop(sha256_hex(PROFILE), None)

    world.campaign(edit={"session-outcome": other})
    assert failed(world.judge()) == {("evidence", "OTHER_LAUNCH_PROFILE")}


# Time: before, after, too long, at once.


def test_session_before_its_intent_was_witnessed(world):
    def earlier(outcome):
        outcome["startedOn"] = "2023-11-14T22:00:00Z"

    world.campaign(edit={"session-outcome": earlier})
    assert failed(world.judge()) == {("time", "SESSION_BEFORE_INTENT")}


def test_session_that_finishes_after_its_outcome_was_witnessed(world):
    world.campaign(edit={"session-outcome": lambda outcome: outcome.update(finishedOn="2023-11-15T22:00:00Z")})
    assert failed(world.judge()) == {("time", "SESSION_AFTER_OUTCOME")}


def test_session_longer_than_its_own_times(world):
    def shorter(outcome):
        outcome["finishedOn"] = outcome["startedOn"]

    world.campaign(edit={"session-outcome": shorter})
    assert failed(world.judge()) == {("time", "RECORD_OUTSIDE_SESSION")}


def test_session_that_ends_before_it_starts(world):
    def turned(outcome):
        outcome["startedOn"], outcome["finishedOn"] = outcome["finishedOn"], outcome["startedOn"]

    world.campaign(edit={"session-outcome": turned})
    assert ("time", "SESSION_ENDS_BEFORE_START") in failed(world.judge())


def test_campaign_after_its_deadline(world):
    world.campaign(edit={"campaign-plan": lambda plan: plan.update(deadline=plan["startedOn"])})
    assert failed(world.judge()) == {("time", "AFTER_DEADLINE")}


def test_sessions_that_overlap_on_one_device(world):
    cells = (cell(), cell(Scenario.THROUGHPUT, points=40))
    plan = world.plan(cells)
    world.session(plan, cells[0])
    intent = world.intent(plan, cells[1])
    world.now -= 6
    overlapping = world.run(cells[1])
    world.now += 60
    world.outcome(plan, intent, cells[1], overlapping)
    world.result(plan)
    assert ("time", "SESSIONS_OVERLAP") in failed(world.judge())


def test_sessions_of_two_boots_are_told_apart_by_the_calendar(world):
    cells = (cell(), cell(Scenario.THROUGHPUT, points=40))
    plan = world.plan(cells)
    world.session(plan, cells[0])
    world.boot_id = "boot-2"
    world.session(plan, cells[1])
    world.result(plan)
    assert world.judge().verdict is Verdict.VERIFIED


def test_a_record_with_a_calendar_beyond_all_reason(world):
    """A claim about the year 30,000 is false, and no reason to crash."""
    world.campaign()
    trace = record.parse_trace(world.ran[0].trace)
    absurd = replace(trace, anchor_start=replace(trace.anchor_start, realtime_ns=10**30))
    assert _calendar(absurd, trace.windows[0].open_ns).year == 9999


def test_a_failed_campaign_still_has_its_figures_recomputed(world):
    cells = (cell(), cell(Scenario.THROUGHPUT, points=40))
    plan = world.plan(cells)

    def cheaper(outcome):
        outcome["runs"][0]["figures"]["durationNs"] = "1"

    world.session(plan, cells[0], edit={"session-outcome": cheaper})
    failure = Failure(code="OOM_KILLED", blame="vendor")
    world.aborted(plan, cells[1], failure)
    world.result(plan, failure=failure)
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_RUN")}
