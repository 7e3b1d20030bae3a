"""Probes between the runs, and an operator or a vendor who would rather not have them: each lie by its name."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest

from protocol.attestation.claims import ShardClaim
from protocol.attestation.digest import sha256_hex
from protocol.methodology import dataset_index
from protocol.methodology.dataset import Dataset
from protocol.methodology.session_figures import SessionFigures
from protocol.methodology.stages import probes
from protocol.methodology.trace import parse_trace
from tests.standin.gates import Power
from tests.worlds.accelerated import H100, AcceleratedWorld
from tests.worlds.tampering import statement_file
from tests.worlds.world import S, World, cell, codes, failed, points
from verifier.report import Verdict

CELL = cell(points=200, runs=3)
SHARD = ShardClaim(points=100, number=1, salted_sha256="5a" * 32)
OTHER = "5b" * 32


class Stubborn(World):
    """An operator whose figures stay those of the session as it was, whatever the outcome says."""

    def figures_of(self, _outcome):
        return SessionFigures(runs=tuple(self.figures_of_run(self.ran[-1], run) for run in range(1, CELL.runs + 1)))

    def figures_of_run(self, _ran, number):
        return super().figures_of_run(self.ran[-1], number)


def probed(kind: type[World] = World, *, share: Fraction = Fraction(1), quality: str = "0.9100") -> World:
    world = kind(query_ms=2)
    world.shard, world.private_share, world.private_quality = SHARD, share, quality
    return world


def figures(world: World) -> dict[str, str]:
    return world.said[-1].predicate["cells"][0]["recomputed"]


def told(edit=None, kind: type[World] = World, **facts) -> World:
    world = probed(kind, **facts)
    world.campaign([CELL], edit=edit)
    return world


def in_outcome(change):
    return {"session-outcome": change}


def test_an_honest_session_with_its_probes_is_verified_and_judged():
    world = told()
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED, failed(report)
    assert [figures(world)[f"{name}Answers"] for name in ("prepared", "cached", "repeated")] == ["passed"] * 3
    flags = set(world.said[-1].predicate["flags"])
    assert not {"dataset-without-shard", "probes-not-judged", "prepared-answers"} & flags


def test_dear_private_points_are_flagged_by_runner_and_verifier_alike():
    for facts in ({"share": Fraction(5)}, {"quality": "0.2000"}):
        world = told(**facts)
        report = world.judge()
        assert report.verdict is Verdict.VERIFIED, failed(report)
        assert "prepared-answers" in world.said[-1].predicate["flags"]


def test_a_flag_of_the_probes_left_out():
    world = told({"campaign-result": lambda result: result["flags"].remove("prepared-answers")}, share=Fraction(5))
    assert ("certifiability", "FLAG_LEFT_OUT") in failed(world.judge())


@pytest.mark.parametrize("name", ["preparedAnswers", "cachedAnswersSeen", "repeatedAnswers"])
def test_a_verdict_dropped(name):
    world = told({"campaign-result": lambda result: result["cells"][0]["recomputed"].pop(name)})
    assert failed(world.judge()) == {("recompute", "PROBE_VERDICT")}


def test_a_verdict_turned():
    def turn(result):
        result["cells"][0]["recomputed"]["preparedAnswers"] = "passed"

    assert ("recompute", "PROBE_VERDICT") in failed(told({"campaign-result": turn}, share=Fraction(5)).judge())


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_probe_removed(which):
    world = told(in_outcome(lambda outcome: outcome["probes"].pop(which)))
    assert ("campaign", "PROBES") in failed(world.judge())


def test_all_probes_removed():
    assert ("campaign", "PROBES") in failed(told(in_outcome(lambda outcome: outcome.pop("probes"))).judge())


def test_a_probe_discarded_in_a_completed_session():
    def discard(outcome):
        outcome["probes"][0]["discarded"] = True

    assert ("campaign", "PROBES") in failed(told(in_outcome(discard)).judge())


def test_a_shard_window_swapped_with_a_run():
    def swap(outcome):
        run, probe = outcome["runs"][0], outcome["probes"][0]
        run["timelineSha256"], probe["timelineSha256"] = probe["timelineSha256"], run["timelineSha256"]

    assert {("timeline", "TIMELINE_COUNTS"), ("timeline", "PROBE_SHAPE")} & failed(
        told(in_outcome(swap), Stubborn).judge()
    )


def test_two_shard_windows_swapped():
    def swap(outcome):
        one, two = outcome["probes"][:2]
        one["timelineSha256"], two["timelineSha256"] = two["timelineSha256"], one["timelineSha256"]

    assert ("recompute", "TIMELINE_OUTSIDE_WINDOW") in failed(told(in_outcome(swap)).judge())


def test_a_figure_of_a_probe_changed():
    def change(outcome):
        outcome["probes"][0]["figures"]["latencyNs"]["median"] = "1"

    assert ("recompute", "RECOMPUTE_PROBE") in failed(told(in_outcome(change)).judge())


def test_the_windows_in_another_order_than_the_nonce_draws():
    def shift(scene):
        names = [name for name, _, _ in scene.windows]
        at = names.index("shard-1")
        other = names.index("run-3")
        names[at], names[other] = names[other], names[at]
        scene.windows = [(name, start, end) for name, (_, start, end) in zip(names, scene.windows, strict=True)]

    world = probed(Stubborn)
    plan = world.plan([CELL])
    intent = world.intent(plan, CELL)
    ran = world.run(CELL)
    shifted = replace(ran.scene)
    shift(shifted)
    data = shifted.data()

    def other(outcome):
        outcome["traceSha256"], outcome["traceChain"] = world.keep(data), parse_trace(data).digest
        del world.evidence[sha256_hex(ran.trace)]
        for item in outcome["byproducts"]:
            if item["name"] == "meter-record":
                item["digest"]["sha256"] = sha256_hex(data)

    world.outcome(plan, intent, CELL, ran, edit=in_outcome(other))
    world.result(plan)
    assert ("trace", "TRACE_WINDOWS") in failed(world.judge())


def test_another_shard_than_the_planned_one():
    def change(outcome):
        for item in outcome["resolvedDependencies"]:
            if item["name"].startswith("private-shard:"):
                item["digest"]["sha256"] = OTHER

    assert failed(told(in_outcome(change)).judge()) == {("campaign", "OTHER_SHARD")}


def test_a_shard_that_is_bound_and_said_not_to_be():
    def deny(plan):
        plan["cells"][0]["dataset"]["shard"] = False

    assert ("campaign", "SHARD_UNASKED") in failed(told({"campaign-plan": deny}).judge())


def test_a_shard_that_is_claimed_and_not_bound_counts_for_nothing():
    world = World(query_ms=2)
    world.campaign([CELL], edit={"campaign-plan": lambda plan: plan["cells"][0]["dataset"].update(shard=True)})
    assert world.judge().verdict is Verdict.VERIFIED
    assert "dataset-without-shard" in world.said[-1].predicate["flags"]


def test_a_plan_with_a_shard_and_without_probes():
    world = told({"campaign-plan": lambda plan: plan["cells"][0].pop("probes")})
    assert ("campaign", "SHARD_UNASKED") in failed(world.judge())


def test_a_rule_of_probes_that_this_version_does_not_know_is_not_judged():
    world = told({"campaign-plan": lambda plan: plan["cells"][0].update(probes="jouleseal-probes/2")})
    assert world.judge().verdict is not Verdict.VERIFIED


# The dataset's index


def with_index(data: bytes, edit=None) -> World:
    world = World()
    kept = world.keep(data)

    def change(outcome):
        for item in outcome["byproducts"]:
            if item["name"] == "dataset-index":
                item["digest"]["sha256"] = kept

    world.campaign(edit={**in_outcome(change), **(edit or {})})
    indexes = [digest for digest, found in world.evidence.items() if found.startswith(b'{"format":"jouleseal-dataset')]
    for digest in indexes:
        if digest != kept:
            del world.evidence[digest]
    return world


def test_an_index_of_another_dataset():
    assert ("evidence", "DATASET_INDEX_MISMATCH") in failed(with_index(dataset_index.pack(points(5))).judge())


def test_a_point_of_another_source_is_another_dataset():
    first, *rest = points(4)
    other = dataset_index.pack([replace(first, source="elsewhere"), *rest])
    assert ("evidence", "DATASET_INDEX_MISMATCH") in failed(with_index(other).judge())


def test_an_index_that_is_none():
    assert ("evidence", "BAD_INDEX") in failed(with_index(b"{}").judge())


def test_thirds_that_no_index_shows():
    def without(outcome):
        outcome["byproducts"] = [item for item in outcome["byproducts"] if item["name"] != "dataset-index"]

    thirds = {"campaign-plan": lambda plan: plan["cells"][0]["dataset"].update(thirds=True)}
    world = World()
    world.campaign(edit={**thirds, **in_outcome(without)})
    assert ("evidence", "DATASET_INDEX_MISSING") in failed(world.judge())
    boasting = World()
    boasting.campaign(edit=thirds)
    assert ("evidence", "DATASET_INDEX_MISMATCH") in failed(boasting.judge())


def test_a_bundle_shows_no_point_and_no_private_one():
    world = told()
    dataset: Dataset = world.dataset
    statements = b"".join(world.bundle().values())
    assert b"points.jsonl" not in statements
    index = next(data for data in world.evidence.values() if data.startswith(b'{"format":"jouleseal-dataset'))
    rows = [json.loads(line) for line in index.splitlines()[1:]]
    assert all(set(row) == {"id", "source", "size", "sha256"} for row in rows)
    assert len(rows) == len(dataset.points)
    assert statement_file(world.bundle(), "session-outcome")
    assert codes(world.judge()) == set()


# On an accelerator

DEVICE_CELL = cell(points=24, runs=2)


class Waiting(AcceleratedWorld):
    """A vendor that looks public answers up and waits as long as computing takes: only the device's power tells."""

    waiting_mw = 90_000

    def power_of(self, stage, timelines):
        asked = self.asked(DEVICE_CELL)
        drawn = {probe.samples: probe for probe in probes(asked) if probe.kind == "shard"}
        corners = [(-10 * S, self.idle_mw)]
        for records in timelines:
            probe = drawn.get(len(records))
            for number, record in enumerate(records):
                private = probe is not None and probe.messages[number].role == "private"
                level = self.work_mw if private else self.waiting_mw
                at, until = record.sent_ns - stage.origin, record.done_ns - stage.origin
                corners += [(at, self.idle_mw), (at, level), (until, level), (until, self.idle_mw)]
        return Power(corners)


@pytest.mark.parametrize(("kind", "flag"), [(AcceleratedWorld, set()), (Waiting, {"prepared-answers"})])
def test_probes_among_the_gated_runs_of_an_accelerator(kind, flag):
    world = kind(H100, query_ms=1_400)
    world.shard = SHARD
    world.campaign([DEVICE_CELL])
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED, failed(report)
    assert set(world.said[-1].predicate["flags"]) & {"prepared-answers", "cached-answers", "repeated-answers"} == flag
