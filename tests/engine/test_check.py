"""`jouleseal check` on a real engine: good images pass, hostile ones fail with their codes, nothing stays behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.commands.check import target_of
from orchestrator.commands.new import scaffold
from orchestrator.conformance.image import profiles
from orchestrator.conformance.report import Report
from orchestrator.conformance.rules import Rule
from orchestrator.conformance.suite import Suite, Target
from orchestrator.datasets import store as datasets
from orchestrator.doctor import Health
from orchestrator.drive.loadgen import Progress
from orchestrator.launch.checking import CheckingEngine
from orchestrator.launch.layout import LABEL_SESSION
from orchestrator.live import View
from orchestrator.session import Deadlines
from protocol.methodology.scenario import Scenario
from protocol.submission import Resources
from protocol.units import MIB

VENDORS = Path(__file__).resolve().parents[2] / "reference_containers"
TEXT = ["text-classification"]
# Shortened only for the step that an image never gets past: the others may take their time on a busy machine.
SHORT = {
    "never-opens": Deadlines(start_s=3),
    "never-healthy": Deadlines(health_s=2),
    "slow-load": Deadlines(load_s=2),
}
WAITING = "waiting for the model's server"
SMALL = Resources(memory_bytes=256 * MIB, cpus=1, shm_bytes=MIB)

pytestmark = pytest.mark.engine


def docker(*words: str, text: str | None = None) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, input=text).stdout.strip()


def ours() -> set[str]:
    named = docker("ps", "--all", "--format", f'{{{{.Label "{LABEL_SESSION}"}}}}').splitlines()
    named += docker("volume", "ls", "--format", f'{{{{.Label "{LABEL_SESSION}"}}}}').splitlines()
    return {name for name in named if name.startswith("check-")}


@pytest.fixture
def engine() -> Iterator[CheckingEngine]:
    connected = CheckingEngine.connect()
    yield connected
    connected.close()


def check(engine: CheckingEngine, target: Target, samples: int = 32, deadlines: Deadlines | None = None) -> Report:
    sets = {name: datasets.load(name) for name in datasets.PACKAGED}
    view = View(Progress())
    return Suite(engine=engine, datasets=sets, samples=samples, view=view, deadlines=deadlines or Deadlines()).check(
        target
    )


def hostile_target(image: str, scenario: Scenario = Scenario.LATENCY) -> Target:
    return replace(target_of(image, TEXT), scenarios=(scenario,), resources=SMALL)


def said(report: Report, *healths: Health) -> dict[Rule, str]:
    return {finding.rule: finding.code for finding in report.findings if finding.health in healths}


@pytest.mark.parametrize("vendor", ["digits", "reviews"])
def test_a_reference_vendor_passes_in_everything_that_it_submits(vendor: str, capsys: pytest.CaptureFixture[str]):
    assert main(["check", str(VENDORS / vendor / "submission.yaml"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert document["untried"] == []
    assert {finding["health"] for finding in document["findings"]} == {"ok"}
    assert document["image"]["configDigest"] == docker(
        "image", "inspect", "--format", "{{.Id}}", f"jouleseal/{vendor}:local"
    )
    assert len(document["estimate"]["cells"]) == 2
    assert document["estimate"]["totalSeconds"] > 2 * 11 * 2  # the idle windows alone
    assert ours() == set()


def test_the_scaffold_passes_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "checked-scaffold"
    scaffold(folder, "python")
    docker("build", "--quiet", "--network", "none", "--tag", "checked-scaffold:local", str(folder))
    try:
        code = main(["check", str(folder / "submission.yaml"), "--samples", "100"])
        shown = capsys.readouterr()
        assert code == 0, shown.out
        assert "0 failed" in shown.out
        assert "ready to hand in; on this machine the official campaign would take about" in shown.out
        assert "[2/2] text-classification/throughput/fp32: launching the sandbox" in shown.err
    finally:
        docker("image", "rm", "checked-scaffold:local")


def test_the_profile_of_a_check_is_the_operators_but_for_the_log(engine: CheckingEngine):
    image = engine.resolve("jouleseal/reviews:local")
    official, checked = profiles(engine, image, SMALL)
    assert (official.log_driver, checked.log_driver) == ("none", "json-file")
    assert replace(checked, log_driver="none", log_options=()) == official
    assert check(engine, hostile_target("jouleseal/reviews:local"), samples=8).profile_sha256 == official.digest()


@pytest.mark.parametrize(
    ("mode", "rule", "code"),
    [
        ("never-opens", Rule.SOCKET, "SOCKET_MISSING"),
        ("link", Rule.SOCKET, "SOCKET_IS_LINK"),
        ("exits", Rule.SOCKET, "EXITED"),
        ("never-healthy", Rule.HEALTH, "HEALTH_TIMEOUT"),
        ("slow-load", Rule.LOAD, "LOAD_TIMEOUT"),
        ("wrong-count", Rule.FORM, "WRONG_OUTPUT_COUNT"),
        ("garbage", Rule.FORM, "GARBAGE_BYTES"),
        ("nan", Rule.CONTENT, "NOT_A_NUMBER"),
        ("huge", Rule.STREAM, "RESPONSE_TOO_LARGE"),
        ("dies", Rule.STREAM, "EXITED"),
        ("memory-bomb", Rule.STREAM, "OOM_KILLED"),
        ("vendor-status", Rule.STREAM, "VENDOR_STATUS"),
        ("root-user", Rule.USER, "IMAGE_USER"),
    ],
)
def test_each_kind_of_harm_fails_with_its_code(engine: CheckingEngine, hostile, mode: str, rule: Rule, code: str):
    report = check(engine, hostile_target(hostile[mode]), deadlines=SHORT.get(mode))
    assert said(report, Health.FAILED) == {rule: code}
    assert not report.passed
    assert ours() == set()


@pytest.mark.parametrize(
    ("shape", "rule", "code"),
    [
        ("volume", Rule.VOLUMES, "VOLUME_COVERED"),
        ("healthcheck", Rule.HEALTH_CHECK, "HEALTHCHECK_IGNORED"),
        ("stop-signal", Rule.STOP_SIGNAL, "STOPSIGNAL_IGNORED"),
        ("ld-preload", Rule.ENVIRONMENT, "ENV_CLEARED"),
    ],
)
def test_what_is_neutralised_is_explained_and_passes(
    engine: CheckingEngine, hostile, shape: str, rule: Rule, code: str
):
    report = check(engine, hostile_target(hostile[shape]))
    assert said(report, Health.WARNING) == {rule: code, Rule.QUALITY: "BELOW_FLOOR"}
    assert report.passed


def test_a_fault_late_in_a_campaign_of_small_queries_is_found_by_the_later_rules(engine: CheckingEngine, hostile):
    report = check(engine, hostile_target(hostile["out-of-order"], Scenario.THROUGHPUT), samples=64)
    assert said(report, Health.FAILED) == {Rule.NO_STATE: "OUT_OF_ORDER"}


def test_a_container_that_does_not_come_up_is_not_waited_for_again(engine: CheckingEngine, hostile):
    report = check(engine, replace(target_of(hostile["exits"], TEXT), resources=SMALL))
    assert len(report.outputs) == 1
    (first, second) = report.untried
    assert (first.scope, second.scope) == ("text-classification/latency/fp32", "text-classification/throughput/fp32")
    assert Rule.PROFILE in second.rules
    assert Rule.PROFILE not in first.rules
    assert report.campaign_seconds is None


def test_a_task_that_the_image_does_not_describe_is_said_for_every_cell(engine: CheckingEngine):
    report = check(engine, replace(target_of("jouleseal/digits:local", TEXT), resources=SMALL))
    offers = [(found.scope, found.code) for found in report.findings if found.rule is Rule.OFFER]
    assert offers == [
        ("text-classification/latency/fp32", "CELL_NOT_OFFERED"),
        ("text-classification/throughput/fp32", "CELL_NOT_OFFERED"),
    ]
    assert said(report, Health.OK)[Rule.DESCRIBE] == "OK"


def test_an_image_that_is_not_here_is_a_finding(engine: CheckingEngine):
    report = check(engine, hostile_target("jouleseal/nobody-built-this:local"))
    assert said(report, Health.FAILED) == {Rule.IMAGE: "IMAGE_NOT_FOUND"}
    assert {one.scope for one in report.untried} == {"image", "text-classification/latency/fp32"}


def test_all_that_is_wrong_with_an_image_and_its_request_is_said_at_once(engine: CheckingEngine, hostile):
    greedy = Resources(memory_bytes=1 << 50, cpus=1, shm_bytes=MIB)
    report = check(engine, replace(hostile_target(hostile["named-user"]), resources=greedy))
    assert said(report, Health.FAILED) == {Rule.USER: "IMAGE_USER", Rule.RESOURCES: "RESOURCES"}


def test_names_that_differ_from_the_submission_are_a_warning(engine: CheckingEngine):
    target = replace(hostile_target("jouleseal/reviews:local"), claimed=("reviews-tfidf", "2.0"))
    report = check(engine, target, samples=100)
    assert said(report, Health.WARNING) == {Rule.OFFER: "NAME_DIFFERS"}
    assert report.passed


DEAF = "import time, signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(99)"


@pytest.mark.parametrize(
    ("script", "word", "code", "warnings"),
    [
        pytest.param("import not_there", "ModuleNotFoundError", "EXITED", {}, id="crashes"),
        pytest.param(DEAF, "deaf", "SOCKET_MISSING", {Rule.STOP: "STOP_IGNORED"}, id="deaf"),
    ],
)
def test_the_output_of_what_never_served_is_shown(engine: CheckingEngine, script, word, code, warnings):
    text = f'FROM jouleseal/vendor-base:local\nENTRYPOINT ["python3", "-c", "{script}"]\n'
    image = docker("build", "--quiet", "--network", "none", "-", text=text)
    try:
        report = check(engine, hostile_target(image), deadlines=Deadlines(start_s=5))
    finally:
        docker("image", "rm", image)
    assert word in "".join(output.text for output in report.outputs)
    assert set(said(report, Health.FAILED).values()) == {code}
    assert said(report, Health.WARNING) == warnings


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_stopped_leaves_nothing_behind(hostile, number: signal.Signals):
    command = [Path(sys.executable).with_name("jouleseal"), "check", hostile["never-opens"], "--task", *TEXT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert any(WAITING in line for line in running.stderr)
        running.send_signal(number)
        assert "INTERRUPTED" in running.communicate()[1]
    assert running.returncode == 130
    assert ours() == set()
