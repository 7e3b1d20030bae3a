"""Attacks on the numbers of an accelerator: a stand-in that passes for a device, a session that should be void."""

from __future__ import annotations

from fractions import Fraction

import pytest

from protocol.errors import InvalidMeasurement
from protocol.methodology.figures import run_figures
from protocol.methodology.session_figures import SessionFigures
from protocol.methodology.timeline import unpack
from protocol.methodology.trace import parse_trace
from tests.worlds.accelerated import H100, AcceleratedWorld
from tests.worlds.world import cell, failed
from verifier.report import Verdict

THREE = cell(runs=3)


def recomputed(world):
    return world.said[-1].predicate["cells"][0]["recomputed"]


class Liar(AcceleratedWorld):
    """A runner who does not ask whether its session is void, and publishes plain differences of the counter."""

    def figures_of_run(self, ran, number):
        return run_figures(parse_trace(ran.trace), number, ran.timelines[number - 1])

    def figures_of(self, outcome):
        trace = parse_trace(self.evidence[outcome.trace_sha256])
        runs = [run_figures(trace, run.run, unpack(self.evidence[run.timeline_sha256])) for run in outcome.runs]
        return SessionFigures(runs=tuple(runs))


# The honest ones.


def test_a_stand_in_is_verified_as_what_it_is():
    world = AcceleratedWorld()
    world.campaign([THREE])
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED
    result = world.said[-1].predicate
    assert {"simulated-energy", "hardware-class-unrated"} <= set(result["flags"])
    assert not result["certifiable"]
    figures = recomputed(world)
    assert (figures["energyKind"], figures["energyScope"]) == ("simulated", "gpu+cpu+dram")
    # Four points of 8 s at 300 W; the pauses between them, 1 to 3 ms, and the window's ends are idle.
    wh = Fraction(figures["gpuEnergyWhPer1000Queries"])
    truth = Fraction(8 * 300 * 1000, 3600)
    assert abs(wh / truth - 1) < Fraction(1, 1_000)
    gain = Fraction(figures["gpuEnergyUGainWhPer1000Queries"])
    assert float(gain / wh) == pytest.approx(0.05 / 3**0.5, rel=1e-6)
    assert Fraction(figures["gpuEnergyUncertaintyWhPer1000Queries"]) >= 2 * gain


def test_a_device_has_the_class_that_its_driver_gives_it():
    world = AcceleratedWorld(H100)
    world.campaign([THREE])
    assert world.judge().verdict is Verdict.VERIFIED
    assert world.said[0].predicate["hardwareClass"] == "h100-80gb"
    assert "hardware-class-unrated" not in world.said[-1].predicate["flags"]
    (gpu,) = {run["figures"]["energyMj"]["gpu"]["kind"] for run in world.said[2].predicate["runs"]}
    assert gpu == "measured"


def test_passes_are_counted_and_each_is_a_query():
    world = AcceleratedWorld(query_ms=2_000, passes=4)
    world.campaign([THREE])
    assert world.judge().verdict is Verdict.VERIFIED
    figures = recomputed(world)
    assert (figures["passesPerRunLeast"], figures["passesPerRunMost"]) == ("4", "4")
    assert figures["queriesPerRun"] == "16"
    wh = Fraction(figures["gpuEnergyWhPer1000Queries"])
    assert abs(wh / Fraction(2 * 300 * 1000, 3600) - 1) < Fraction(2, 1_000)
    assert "measurementFlags" not in figures


# What a runner may say otherwise.


def test_a_stand_in_in_a_rated_class():
    world = AcceleratedWorld()
    world.campaign([THREE], edit={"campaign-plan": lambda plan: plan.update(hardwareClass="h100-80gb")})
    assert failed(world.judge()) == {("trace", "OTHER_CLASS")}


def test_a_stand_in_whose_readings_are_called_measured():
    world = AcceleratedWorld()
    world.kind = "nvml"
    world.campaign([THREE])
    assert failed(world.judge()) == {("trace", "OTHER_CLASS")}


def test_a_device_that_was_not_planned():
    world = AcceleratedWorld()
    world.campaign([THREE], edit={"campaign-plan": lambda plan: plan["devices"][0].update(name=H100)})
    assert failed(world.judge()) == {("trace", "OTHER_DEVICES")}


def test_a_plan_without_the_device_that_was_used():
    world = AcceleratedWorld()
    world.campaign([THREE], edit={"campaign-plan": lambda plan: plan.update(devices=[], hardwareClass="cpu")})
    assert failed(world.judge()) == {("trace", "OTHER_DEVICES")}


def test_a_device_outside_the_runners_scope():
    world = AcceleratedWorld()
    world.trust.devices = ()
    world.campaign([THREE])
    assert {check for check, _ in failed(world.judge())} == {"statements"}


def test_a_smaller_doubt_than_the_evidence_gives():
    def shrink(result):
        result["cells"][0]["recomputed"]["gpuEnergyUncertaintyWhPer1000Queries"] = "0.000000001"

    world = AcceleratedWorld()
    world.campaign([THREE], edit={"campaign-result": shrink})
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_CELL")}


def test_a_plain_difference_instead_of_the_gated_one():
    world = Liar()
    world.campaign([THREE])
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_RUN")}


# Sessions that should be void.


def void(world, planned=THREE):
    """Show that an honest runner refuses to publish, and that a liar is refused; returns the code of both."""
    with pytest.raises(InvalidMeasurement) as caught:
        world.campaign([planned])
    liar = Liar(world.devices[0].name)
    for name in ("query_ms", "passes", "after_ms", "gain_permille", "work_mw", "idle_mw", "power_of"):
        setattr(liar, name, getattr(world, name))
    liar.campaign([planned])
    assert failed(liar.judge()) == {("recompute", caught.value.code)}
    return caught.value.code


def test_a_window_that_is_too_short():
    assert void(AcceleratedWorld(query_ms=2_000)) == "WINDOW_TOO_SHORT"


def test_a_counter_that_counts_too_little():
    world = AcceleratedWorld()
    world.gain_permille = 570
    assert void(world) == "CHANNELS_DISAGREE"


def test_runs_that_disagree_on_a_device():
    world = AcceleratedWorld(H100)
    levels = iter([300_000, 400_000, 500_000] * 8)

    def power_of(stage, timelines):
        world.work_mw = next(levels)
        parts = [AcceleratedWorld.power_of(world, stage, [records]) for records in timelines[:1]]
        for records in timelines[1:]:
            world.work_mw = next(levels)
            parts.append(AcceleratedWorld.power_of(world, stage, [records]))
        corners = [corner for part in parts for corner in part.corners[(0 if part is parts[0] else 1) :]]
        return type(parts[0])(corners)

    world.power_of = power_of
    assert void(world) == "UNSTABLE"


# What is noticed, published and charged.


def test_work_after_the_last_answer_is_charged_and_flagged():
    world = AcceleratedWorld()
    world.after_ms = 1_000
    world.campaign([THREE])
    assert world.judge().verdict is Verdict.VERIFIED
    figures = recomputed(world)
    assert figures["measurementFlags"] == "deferred-work"
    assert "deferred-work" in world.said[-1].predicate["flags"]
    extra = Fraction(230 * 1000, 4 * 3600)  # one second at 230 W above idle, over four queries
    wh = Fraction(figures["gpuEnergyWhPer1000Queries"])
    assert abs(wh - Fraction(8 * 300 * 1000, 3600) - extra) < extra / 10


def test_a_flag_of_the_meter_left_out():
    def forget(result):
        result["flags"].remove("deferred-work")

    world = AcceleratedWorld()
    world.after_ms = 1_000
    world.campaign([THREE], edit={"campaign-result": forget})
    assert failed(world.judge()) == {("certifiability", "FLAG_LEFT_OUT")}


def test_answers_kept_from_pass_to_pass_are_flagged():
    world = AcceleratedWorld(query_ms=2_000, passes=4)
    world.pass_work_mw = lambda passno: 300_000 if passno == 0 else 120_000
    world.campaign([THREE])
    assert world.judge().verdict is Verdict.VERIFIED
    assert recomputed(world)["measurementFlags"] == "cached-answers"
