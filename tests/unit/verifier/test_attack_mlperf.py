"""Tampers that the checkers of another benchmark accept, each told as its counterpart here and refused by its own code.

They are the changes that MLPerf's power checker (power-dev, `compliance/check.py`) lets pass once the hashes are
renewed, and that its submission checker lets pass as they are. Renewed hashes are here what an operator with the real
key does: the record chained anew, every statement signed and logged.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.attestation.bundle import evidence_path
from protocol.attestation.digest import sha256_hex
from protocol.methodology import trace as record
from tests.standin.records import steady_world
from tests.unit.verifier.test_attack_accelerator import Liar
from tests.unit.verifier.test_attack_evidence import retold
from tests.worlds.accelerated import AcceleratedWorld
from tests.worlds.world import MS, S, World, cell, failed


@pytest.fixture(name="world")
def _world():
    return World(idle_ms=4000)


def published(**changes):
    """Return an edit of the result's recomputed figures."""
    return {"campaign-result": lambda result: result["cells"][0]["recomputed"].update(changes)}


# The power checker, after the hashes were renewed.


@pytest.mark.parametrize("percent", [96, 50])
def test_all_watts_lowered(world, percent):
    """4 % off everywhere; and both phases halved alike, so that they agree with one another."""

    def lowered(ran):
        slower = {**steady_world(), record.CPU_TIME: lambda t: t // 2 * percent // 100}
        return replace(ran.scene, world=slower).data()

    found = failed(retold(world, lowered, rechained=True))
    assert found == {("recompute", "RECOMPUTE_RUN"), ("recompute", "RECOMPUTE_CELL")}


def test_only_the_three_lowest_samples_kept(world):
    kept = (0, 5 * S, 8 * S)
    world.campaign(scene=lambda stage: setattr(stage, "skip", lambda t: t not in kept and t % S))
    assert failed(world.judge()) == {("trace", "TRACE_GAP")}


def test_every_second_sample_deleted(world):
    world.campaign(scene=lambda stage: setattr(stage, "skip", lambda t: t // (100 * MS) % 2))
    assert failed(world.judge()) == {("trace", "SAMPLES_MISSED")}


def test_all_samples_an_hour_later_and_none_in_the_window(world):
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    ran = world.run(cell(), scene=lambda stage: setattr(stage, "origin", stage.origin + 3600 * S))
    later = tuple(
        tuple(q._replace(sent_ns=q.sent_ns + 3600 * S, done_ns=q.done_ns + 3600 * S) for q in records)
        for records in ran.timelines
    )
    world.outcome(plan, intent, cell(), replace(ran, timelines=later))
    world.result(plan)
    assert failed(world.judge()) == {("time", "RECORD_OUTSIDE_SESSION")}


def test_an_uncertainty_of_the_instrument_passed_over():
    """A worse instrument than is published: the doubt follows from the record, and nobody may write a smaller one."""
    world = AcceleratedWorld()
    world.campaign([cell(runs=3)], edit=published(gpuEnergyUncertaintyWhPer1000Queries="0.010000"))
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_CELL")}


def test_an_error_of_the_instrument_inside_the_run(world):
    failure = (5 * S, "cgroup", "GONE", "no such file")
    world.campaign(scene=lambda stage: setattr(stage, "failures", (failure,)))
    assert failed(world.judge()) == {("trace", "CHANNEL_LOST")}


def test_a_file_beside_the_hashed_ones(world):
    world.campaign()
    files = world.bundle()
    files[evidence_path(sha256_hex(b"a stranger"))] = b"a stranger"
    assert failed(world.judge(files)) == {("evidence", "UNREFERENCED_FILE")}


# The submission checker, as it is.


def test_a_result_that_its_own_rules_call_invalid():
    liar = Liar(query_ms=2_000)
    liar.campaign([cell(runs=3)])
    assert failed(liar.judge()) == {("recompute", "WINDOW_TOO_SHORT")}


def test_errors_of_the_run_left_unsaid(world):
    def with_errors(outcome):
        outcome["runs"][0]["quality"]["errors"] = 3

    def without(result):
        result["cells"][0]["committed"]["sampleErrors"] = "0"

    world.campaign(edit={"session-outcome": with_errors, "campaign-result": without})
    assert failed(world.judge()) == {("committed", "COMMITTED_DIFFERS")}


def test_a_tenfold_result(world):
    honest = World(idle_ms=4000)
    honest.campaign()
    rate = honest.said[-1].predicate["cells"][0]["recomputed"]["queriesPerSecond"]
    whole, _, part = rate.partition(".")
    world.campaign(edit=published(queriesPerSecond=f"{whole}{part[:1]}.{part[1:]}0"))
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_CELL")}


def test_a_run_that_was_shorter_than_it_says(world):
    """The setting says long enough; what the clock says is not asked."""

    def longer(outcome):
        outcome["runs"][0]["figures"]["durationNs"] = str(600 * S)

    world.campaign(edit={"session-outcome": longer})
    assert failed(world.judge()) == {("recompute", "RECOMPUTE_RUN")}


def test_a_log_that_is_garbage_under_a_hash_that_is_there(world):
    world.campaign()
    files = world.bundle()
    path = evidence_path(sha256_hex(world.ran[0].trace))
    files[path] = b"garbage, and nobody looks"
    assert ("evidence", "EVIDENCE_DIFFERS") in failed(world.judge(files))


def test_the_names_of_two_files_swapped(world):
    """MedPerf's hash of a folder does not take the names in."""
    world.campaign()
    files = world.bundle()
    first, second = sorted(path for path in files if path.startswith("evidence/"))[:2]
    files[first], files[second] = files[second], files[first]
    assert failed(world.judge(files)) == {("evidence", "EVIDENCE_DIFFERS")}


def test_a_better_accuracy_than_the_runs_had(world):
    def better(result):
        result["cells"][0]["committed"]["accuracy"] = "0.999999"

    world.campaign(edit={"campaign-result": better})
    assert failed(world.judge()) == {("committed", "COMMITTED_DIFFERS")}


def test_answers_that_were_kept_from_the_first_pass():
    """The test of the same sample repeated, whose limit is twice what is written: here it is a flag, and binds."""

    def forget(result):
        result["flags"].remove("cached-answers")

    world = AcceleratedWorld(query_ms=2_000, passes=4)
    world.pass_work_mw = lambda passno: 300_000 if passno == 0 else 120_000
    world.campaign([cell(runs=3)], edit={"campaign-result": forget})
    assert failed(world.judge()) == {("certifiability", "FLAG_LEFT_OUT")}
