"""An auditor scores opened answers again: a true figure stands, one that the answers do not have is found."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from sklearn.metrics import f1_score

from orchestrator.cli import main
from orchestrator.commands import quality
from protocol.attestation.openings import write_openings
from protocol.errors import DatasetUnavailable
from protocol.methodology.dataset import Dataset
from protocol.samples import ImageInput, Point
from tests.worlds.world import World, cell
from tests.worlds.world import dataset as worlds_dataset

POINTS = 12
CELL = cell(points=POINTS, runs=2)
FOUND = [str(place % 4 % 3) for place in range(POINTS)]  # what a world's model answers, by place
TRUTH = [str(place % 4) for place in range(POINTS)]
RIGHT = sum(one == other for one, other in zip(FOUND, TRUTH, strict=True))
MACRO = f1_score(TRUTH, FOUND, average="macro")


def dataset(digest: str) -> Dataset:
    points = tuple(
        Point(index=n, point_id=f"d{n}", source="s", input=ImageInput(content=b"\x89PNG\r\n\x1a\n"), reference=TRUTH[n])
        for n in range(POINTS)
    )
    return Dataset(
        name=CELL.dataset, digest=digest, points=points, warm_up=(), sources={"s": POINTS}, thirds=False,
        licence="none", note="a world's",
    )  # fmt: skip


def honest(outcome: dict) -> None:
    for run in outcome["runs"]:
        run["quality"] = {"metric": "accuracy", "value": f"{RIGHT / POINTS:.6f}", "errors": 0}
        run["quality"]["secondary"] = {"macro-f1": f"{MACRO:.6f}"}


def boasting(outcome: dict) -> None:
    honest(outcome)
    outcome["runs"][1]["quality"]["value"] = "1.000000"


def wrong_beside(outcome: dict) -> None:
    honest(outcome)
    outcome["runs"][0]["quality"]["secondary"]["macro-f1"] = "0.990000"


@pytest.fixture(name="audit")
def _audit(tmp_path, monkeypatch, capsys):
    """Make a bundle whose outcome was edited, open some leaves, and score them."""
    monkeypatch.setattr(quality.store, "load", lambda _name, _folder: dataset(worlds_dataset(CELL.points).digest))

    def audit(edit, places=range(POINTS), runs=(1, 2), change=lambda leaves: leaves):
        world = World()
        plan = world.plan([CELL])
        world.session(plan, CELL, edit={"session-outcome": edit})
        world.result(plan)
        outcome = next(said for said in world.said if said.name == "session-outcome")
        leaves = [leaf for run in runs for leaf in world.openings(outcome, run, places)]
        (tmp_path / "bundle.tar").write_bytes(world.tar())
        (tmp_path / "openings.jsonl").write_bytes(write_openings(change(leaves)))
        code = main(["quality", str(tmp_path / "bundle.tar"), "--openings", str(tmp_path / "openings.jsonl"), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return audit


def test_a_true_quality_stands_to_the_last_digit(audit):
    code, said = audit(honest)
    assert code == 0
    assert [(run["run"], run["opened"], run["committed"]) for run in said["runs"]] == [(1, 12, 12), (2, 12, 12)]
    assert all(run["quality"] == run["signed"] for run in said["runs"])
    assert said["runs"][0]["quality"]["accuracy"] == f"{RIGHT / POINTS:.6f}"
    assert (said["leftOut"], said["verified"]) == (0, False)


@pytest.mark.parametrize(("edit", "run"), [(boasting, 2), (wrong_beside, 1)])
def test_a_signed_quality_that_the_answers_do_not_have_is_false(audit, edit, run):
    code, said = audit(edit)
    assert (code, said["error"]["code"]) == (1, "QUALITY_DIFFERS")
    assert f"run {run}:" in said["error"]["observed"]


def test_a_few_leaves_are_an_estimate_and_no_verdict(audit):
    code, said = audit(boasting, places=[0, 1, 3], runs=(2,))
    assert code == 0
    (run,) = said["runs"]
    right = sum(FOUND[place] == TRUTH[place] for place in (0, 1, 3))
    assert Fraction(run["quality"]["accuracy"]).limit_denominator(3) == Fraction(right, 3)
    assert (run["opened"], run["signed"]["accuracy"]) == (3, "1.000000")


def test_an_answer_that_was_not_given_is_refused(audit):
    code, said = audit(honest, change=lambda leaves: [replace(leaves[0], answer=leaves[1].answer), *leaves[1:]])
    assert (code, said["error"]["code"]) == (1, "LEAF_NOT_COMMITTED")


def test_leaves_of_another_session_are_left_out_and_alone_they_are_nothing(audit):
    def stray(leaves):
        return [*leaves[1:], replace(leaves[0], outcome="f" * 64)]

    code, said = audit(honest, change=stray)
    assert (code, said["leftOut"], said["runs"][0]["opened"]) == (0, 1, 11)
    code, said = audit(honest, change=lambda leaves: [replace(leaves[0], outcome="f" * 64)])
    assert (code, said["error"]["code"]) == (2, "NOTHING_OPENED")


def test_another_set_of_that_name_is_refused(audit, monkeypatch):
    monkeypatch.setattr(quality.store, "load", lambda _name, _folder: dataset("0" * 64))
    code, said = audit(honest)
    assert (code, said["error"]["code"]) == (2, "DATASET_DIFFERS")


def test_a_set_that_is_not_here_names_the_command_that_brings_it(audit, monkeypatch):
    def absent(_name, _folder):
        raise DatasetUnavailable(code="DATASET_NOT_BUILT", observed="o", expected="e", hint="jouleseal dataset build x")

    monkeypatch.setattr(quality.store, "load", absent)
    code, said = audit(honest)
    assert (code, said["error"]["hint"]) == (4, "jouleseal dataset build x")


def test_a_person_reads_both_figures_and_that_nothing_was_verified(audit, tmp_path, capsys):
    audit(honest, places=[0, 1])
    assert main(["quality", str(tmp_path / "bundle.tar"), "--openings", str(tmp_path / "openings.jsonl")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 of 12" in shown
    assert "jouleseal-verify open-leaves" in shown
    assert main(["quality", str(tmp_path / "bundle.tar"), "--openings", str(tmp_path / "none"), "--json"]) == 2
