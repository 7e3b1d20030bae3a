"""What `jouleseal check` is asked to check, and how it refuses what it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.commands.check import target_of
from protocol.errors import UsageError
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import Task
from protocol.units import MIB

SUBMISSION = """\
schema: 1
vendor: Acme
model: {name: m, version: "2", licence: open, framework: f}
image: acme/m:local
scenarios: [latency]
tasks:
  - {task: text-classification, precisions: [fp32, int8]}
"""


def test_an_image_is_checked_in_both_scenarios_with_what_a_submission_gets_by_default():
    target = target_of("acme/m:local", ["text-classification", "text-classification", "image-classification"])
    assert [(asked.task, asked.precisions, asked.dataset) for asked in target.tasks] == [
        (Task.TEXT_CLASSIFICATION, (Precision.FP32,), "embedded-reviews"),
        (Task.IMAGE_CLASSIFICATION, (Precision.FP32,), "embedded-digits"),
    ]
    assert target.scenarios == tuple(Scenario)
    assert (target.resources.memory_bytes, target.resources.cpus) == (2048 * MIB, 1)
    assert target.claimed is None


def test_a_submission_is_checked_in_everything_that_it_names(tmp_path: Path):
    path = tmp_path / "submission.yaml"
    path.write_text(SUBMISSION)
    target = target_of(str(path), None)
    assert (target.image, target.claimed, target.scenarios) == ("acme/m:local", ("m", "2"), (Scenario.LATENCY,))
    assert target.tasks[0].precisions == (Precision.FP32, Precision.INT8)


@pytest.mark.parametrize(
    ("argument", "tasks", "code"),
    [
        ("acme/m:local", None, "TASK_MISSING"),
        ("acme/m:local", ["chess"], "TASK_UNKNOWN"),
        ("gone.yaml", ["text-classification"], "TASK_NOT_ALLOWED"),
        ("gone.yaml", None, "SUBMISSION_UNREADABLE"),
    ],
)
def test_what_cannot_be_understood_is_the_callers_to_correct(argument, tasks, code):
    with pytest.raises(UsageError) as caught:
        target_of(argument, tasks)
    assert caught.value.code == code


def test_a_submission_with_mistakes_is_a_report_with_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "submission.yaml"
    path.write_text(SUBMISSION.replace("schema: 1", "schema: 2").replace("vendor: Acme", "vendor: ''"))
    assert main(["check", str(path), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    (finding,) = document["findings"]
    assert (document["passed"], finding["rule"], finding["code"]) == (False, "submission", "SUBMISSION_MISTAKES")
    assert "line 1" in finding["observed"]
    assert "line 2" in finding["observed"]


def test_the_screen_names_code_expectation_and_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "submission.yaml"
    path.write_text("[")
    assert main(["check", str(path)]) == 3
    shown = capsys.readouterr().out
    assert "SUBMISSION_UNPARSABLE" in shown
    assert "next: write mappings, lists and scalars" in shown
    assert shown.rstrip().endswith("NOT ready to hand in")
