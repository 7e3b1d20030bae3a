"""Attacks between the runs: work on the accelerator that no session of the log explains."""

from __future__ import annotations

from fractions import Fraction

import pytest

from protocol.attestation.claims import Failure
from protocol.methodology.continuity import BUDGET_MJ, RecordedSession, gaps
from protocol.methodology.scenario import Scenario
from protocol.methodology.trace import parse_trace
from tests.worlds.accelerated import AcceleratedWorld
from tests.worlds.world import cell, failed
from verifier.report import Verdict

CELLS = (cell(runs=2), cell(Scenario.THROUGHPUT, runs=2))
RIG = Failure(code="TRACE_GAP", blame="measurement")


def told(world, *, edit=None, between=lambda world: None):
    """Tell one campaign of two sessions, with something between them."""
    plan = world.plan(CELLS)
    world.session(plan, CELLS[0])
    between(world)
    world.session(plan, CELLS[1])
    world.result(plan, edit=edit)
    return world


def world_of():
    """Two cells, one of which asks its four points in one query: windows of 32 s take four passes of it."""
    return AcceleratedWorld(query_ms=32_000)


def continuity(report):
    return next(result for result in report.checks if result.check == "continuity")


def rehearse(joules):
    def between(world):
        world.now += 60
        world.unlogged_mj = joules * 1_000

    return between


def boast(result):
    result["certifiable"] = True


def test_idling_between_sessions_is_explained():
    report = told(world_of(), between=lambda world: setattr(world, "now", world.now + 3_600)).judge()
    assert report.verdict is Verdict.VERIFIED
    assert "1 gap between records of one device and boot; nothing left unexplained" in continuity(report).detail
    assert "unexplained-energy" not in report.flags


def test_unexplained_energy_between_runs():
    """A rehearsal of four minutes at 230 W above idle, and a result that calls itself certifiable."""
    report = told(world_of(), between=rehearse(55_200), edit={"campaign-result": boast}).judge()
    assert failed(report) == {("continuity", "UNEXPLAINED_ENERGY")}
    assert "Wh unexplained between entries 2 and 3" in continuity(report).observed


def test_unexplained_energy_is_printed_and_makes_a_result_not_certifiable():
    report = told(world_of(), between=rehearse(55_200)).judge()
    assert report.verdict is Verdict.VERIFIED
    assert "unexplained-energy" in report.flags
    assert not report.certifiable
    watt_hours = Fraction(continuity(report).detail.split("; ")[1].split(" Wh ")[0])
    assert abs(watt_hours - Fraction(55_200, 3_600)) < Fraction(1, 100)


def test_one_run_rehearsed_is_above_the_budget():
    assert "unexplained-energy" in told(world_of(), between=rehearse(30 * 230)).judge().flags


def test_a_device_that_wakes_up_is_within_the_budget():
    assert "unexplained-energy" not in told(world_of(), between=rehearse(BUDGET_MJ // 2_000)).judge().flags


def test_a_counter_that_restarted():
    report = told(world_of(), between=rehearse(-60_000)).judge()
    assert "restarted between entries 2 and 3" in continuity(report).detail
    assert "unexplained-energy" in report.flags


def test_an_aborted_session_explains_what_its_own_record_shows():
    world = world_of()
    plan = world.plan(CELLS)
    world.session(plan, CELLS[0])
    world.aborted(plan, CELLS[1], RIG)
    world.session(plan, CELLS[1], attempt=2)
    world.result(plan)
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert "2 gaps" in continuity(report).detail
    assert "unexplained-energy" not in report.flags


def test_an_aborted_session_whose_record_is_withheld_explains_nothing():
    world = world_of()
    plan = world.plan(CELLS)
    world.session(plan, CELLS[0])
    intent = world.intent(plan, CELLS[1])
    world.run(CELLS[1])
    world.outcome(plan, intent, CELLS[1], None, failure=RIG)
    world.session(plan, CELLS[1], attempt=2)
    world.result(plan)
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert "unexplained between entries 2 and 5" in continuity(report).detail
    assert "unexplained-energy" in report.flags


def test_another_boot_starts_another_account():
    def between(world):
        rehearse(55_200)(world)
        world.boot_id = "boot-2"

    report = told(world_of(), between=between).judge()
    assert "0 gaps" in continuity(report).detail
    assert report.verdict is Verdict.VERIFIED


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_records_out_of_order_are_no_gap(order):
    """Order and overlap are another check's; here a record from before the last one opens no account."""
    world = told(world_of())
    records = [
        RecordedSession(intent=n, outcome=n, boot_id="boot-1", trace=parse_trace(world.ran[n].trace)) for n in order
    ]
    assert len(gaps(records)) == (1 if order == (0, 1) else 0)


def test_a_processor_has_no_such_counter():
    assert gaps([RecordedSession(intent=1, outcome=2, boot_id="b", trace=None)]) == ()
