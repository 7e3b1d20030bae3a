"""Ctrl-C, SIGTERM and kill -9, sent to a real `jouleseal run`: what was finished is kept, what was open is closed as
interrupted, nothing of a sandbox stays, and the same command goes on from there.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.record.bundle import export
from orchestrator.record.store import EvidenceStore
from protocol.attestation.predicates import CampaignPlan, SessionIntent, SessionOutcome
from tests.engine import rig as rigs
from tests.engine.rig import PATIENCE_S, Rig, docker

pytestmark = pytest.mark.engine
rig = rigs.rig

EXIT_INTERRUPTED = 5
BOTH = ("latency", "throughput")
SLOW = """\
FROM {base}
ENTRYPOINT ["python3", "-c", "{code}"]
"""
SLOW_CODE = (
    "import sys, time; sys.path.insert(0, '/opt/hostile'); import server; quick = server.honest; "
    "server.honest = lambda request: (time.sleep(0.1), quick(request))[1]; server.main()"
)


@pytest.fixture(scope="module")
def slow(hostile) -> str:
    """An honest vendor that takes a tenth of a second for every query, so that a run can be met half-way."""
    image = f"jouleseal/hostile-slow-{os.getpid()}:local"
    docker("build", "--quiet", "--tag", image, "-", text=SLOW.format(base=hostile["honest"], code=SLOW_CODE))
    yield image
    docker("image", "rm", image)


def stop(process: subprocess.Popen, number: signal.Signals, moment: Callable[[str], bool], delay_s: float) -> int:
    """Send a signal some time after the line that the moment is about; returns the exit code."""
    with process:
        for line in process.stderr:
            if moment(line):
                time.sleep(delay_s)
                process.send_signal(number)
                break
        else:
            pytest.fail("the command ended before its moment came")
        process.stderr.read()
    return process.returncode


def stop_while_recording(rig: Rig, process: subprocess.Popen, number: signal.Signals) -> int:
    """Send a signal as soon as the meter's record has been taken in, when nothing but writing is left of a session."""
    with process:
        next(line for line in process.stderr if "unloading" in line)
        deadline = time.monotonic() + PATIENCE_S
        while list((rig.home / "work").glob("*.trace")):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(number)
        process.stderr.read()
    return process.returncode


def assert_interrupted(rig: Rig, aborted: int) -> None:
    """So many sessions were aborted as interrupted, the last of them just now; the campaign is open, all else gone."""
    assert rig.leftovers() == []
    told = rig.told()
    assert told.aborts.count(("INTERRUPTED", "measurement")) == aborted
    assert told.aborts[-1] == ("INTERRUPTED", "measurement")
    assert told.open_campaigns == 1


def assert_finished(rig: Rig, campaigns: int) -> None:
    """Every campaign was completed, every intent has its one outcome, and the bundle verifies."""
    told = rig.told()
    assert told.results == [("completed", None)] * campaigns
    assert len(told.all(SessionIntent)) == len(told.all(SessionOutcome))
    assert told.open_campaigns == 0
    assert rig.leftovers() == []
    assert rig.verdict() == 0


def assert_nothing_measured_again(rig: Rig) -> None:
    """No cell of a campaign has an outcome after its completed one."""
    done: dict[tuple[str, str], bool] = {}
    for outcome in rig.told().all(SessionOutcome):
        place = (outcome.campaign, outcome.cell)
        assert not done.get(place), f"{outcome.cell} was measured again"
        done[place] = outcome.status == "completed"


def _reached(of: str, stage: str, line: str) -> bool:
    return line.startswith(of) and stage in line


def test_ctrl_c_before_and_during_a_run_is_logged_and_continued(rig, slow):
    first, second = rig.submission(slow, name="first"), rig.submission(slow, name="second")
    moments = (("launching the sandbox", 0.2), ("waiting for the model", 0.1), ("run 1 of 1", 1.2))
    for number, (line, delay_s) in enumerate(moments):
        of = f"[{1 + number // 2}/2]"  # two attempts of the first campaign, the third is for finishing it
        process = rig.command(first, second)
        reached = functools.partial(_reached, of, line)
        assert stop(process, signal.SIGINT, reached, delay_s) == EXIT_INTERRUPTED
        assert_interrupted(rig, number + 1)
    assert rig.completed(first, second)[0] == 0
    assert_finished(rig, campaigns=2)
    assert_nothing_measured_again(rig)


def test_sigterm_while_idle_is_logged_and_while_recording_waits_for_the_statement(rig, hostile):
    submission = rig.submission(hostile["honest"], scenarios=BOTH)
    assert stop(rig.command(submission), signal.SIGTERM, lambda line: "idle baseline" in line, 0.1) == EXIT_INTERRUPTED
    assert_interrupted(rig, 1)
    assert stop_while_recording(rig, rig.command(submission), signal.SIGTERM) == EXIT_INTERRUPTED
    assert rig.told().aborts == [("INTERRUPTED", "measurement"), None]
    assert rig.leftovers() == []
    assert rig.completed(submission)[0] == 0
    assert_finished(rig, campaigns=1)
    assert_nothing_measured_again(rig)


def test_a_second_ctrl_c_does_not_cut_the_tidying_short(rig, slow):
    submission = rig.submission(slow)
    with rig.command(submission) as process:
        next(line for line in process.stderr if "run 1 of 1" in line)
        time.sleep(1)
        for _ in range(3):  # all of them while the sandbox is being removed, which takes a tenth of a second and more
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        process.stderr.read()
    assert process.returncode == EXIT_INTERRUPTED
    assert_interrupted(rig, 1)


def test_the_installed_command_stops_for_ctrl_c_before_anything_is_planned(rig, slow):
    """No shortcut here: the command as it is installed, its doctor and its whole idle windows included."""
    argv = [str(Path(sys.executable).with_name("jouleseal")), *rig.argv(rig.submission(slow))]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert stop(process, signal.SIGINT, lambda line: "admitting" in line, 0) == EXIT_INTERRUPTED
    assert rig.leftovers() == []
    assert rig.told().history == ()


def next_death(rig: Rig, dice: random.Random) -> dict[str, object]:
    """The next death: at a random time of a session, or in the middle of a random write of it.

    It comes in the first campaign that can still bear it: a third interruption would use up its attempts.
    """
    told = rig.told()
    open_sessions = len(told.all(SessionIntent)) - len(told.all(SessionOutcome))
    spent = open_sessions + len(list(itertools.takewhile(bool, reversed(told.aborts))))
    session = len(told.results) + 1 + (told.open_campaigns == 1 and spent > 1)
    if dice.random() < 0.5:
        return {"session": session, "after_s": round(dice.uniform(0, 1), 3)}
    return {"session": session, "writes": dice.randint(1, 18)}


def killed_and_continued(rig: Rig, image: str, seed: int, deaths: int) -> None:
    """Kill the command again and again, then let it finish: what was in the log stays, and nothing is done twice."""
    campaigns = deaths // 2 + 1
    submissions = [rig.submission(image, name=f"model-{number}") for number in range(campaigns)]
    dice = random.Random(seed)
    kept: dict[int, str] = {}
    for _ in range(deaths):
        story = next_death(rig, dice)
        code, said = rig.completed(*submissions, story=story)
        if code == 0 and len(rig.told().results) == campaigns:
            break  # the last death had left only a result to be written, which was quicker than this one
        assert code == -signal.SIGKILL, (story, said, rig.told().aborts)
        found = {item.log_index: item.statement_id for item in rig.told().history}
        assert kept.items() <= found.items()
        kept = found
    assert rig.completed(*submissions)[0] == 0
    assert kept.items() <= {item.log_index: item.statement_id for item in rig.told().history}.items()
    assert_finished(rig, campaigns)
    assert_nothing_measured_again(rig)
    assert {abort for abort in rig.told().aborts if abort} <= {("INTERRUPTED", "measurement")}


def test_killed_at_six_random_moments_the_same_commands_end_in_one_verified_bundle(rig, hostile):
    killed_and_continued(rig, hostile["honest"], seed=2, deaths=6)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(10, 16))
def test_killed_at_many_more_random_moments(rig, hostile, seed):
    killed_and_continued(rig, hostile["honest"], seed=seed, deaths=8)


def test_killed_in_a_run_the_sandbox_is_reaped_and_finished_sessions_are_kept(rig, hostile):
    submission = rig.submission(hostile["honest"], scenarios=BOTH)
    code, _ = rig.completed(submission, story={"session": 2, "run": True})
    assert code == -signal.SIGKILL
    told = rig.told()
    assert told.aborts == [None]
    [first] = told.all(SessionOutcome)
    assert len(told.all(SessionIntent)) == 2
    assert rig.left_in_the_engine() != []
    assert rig.completed(submission)[0] == 0
    assert rig.told().all(SessionOutcome)[0] == first
    assert rig.told().aborts == [None, ("INTERRUPTED", "measurement"), None]
    assert_finished(rig, campaigns=1)
    assert_nothing_measured_again(rig)


def test_killed_between_the_sandbox_and_its_control_groups_both_are_gone_in_the_end(rig, hostile):
    submission = rig.submission(hostile["honest"])
    assert rig.completed(submission, story={"at": "groups"})[0] == -signal.SIGKILL
    assert rig.left_in_the_engine() != []
    assert rig.completed(submission)[0] == 0
    assert rig.told().aborts == [("INTERRUPTED", "measurement"), None]
    assert_finished(rig, campaigns=1)


def test_killed_between_two_campaigns_only_the_same_submissions_or_an_explicit_word_go_on(rig, hostile):
    first, second = (rig.submission(hostile["honest"], name=name) for name in ("first", "second"))
    other = rig.submission(hostile["honest"], name="other")
    assert rig.completed(first, second, story={"at": "plan"})[0] == -signal.SIGKILL
    assert rig.told().results == [("completed", None)]
    for refused in (rig.run(other), rig.run(first), rig.run(second, first), rig.run(first, second, points=19)):
        assert refused.error.code == "UNFINISHED_BATCH"
        assert refused.error.exit_code == 2
    assert len(rig.told().history) == 4
    told = rig.run(first, second)
    assert told.error is None
    assert_finished(rig, campaigns=2)
    assert [plan.submission.model for plan in told.all(CampaignPlan)] == ["first", "second"]


def test_an_open_campaign_is_abandoned_on_demand_and_stays_in_the_log(rig, hostile):
    mine, other = (rig.submission(hostile["honest"], name=name) for name in ("mine", "other"))
    assert rig.completed(mine, story={"session": 1, "run": True})[0] == -signal.SIGKILL
    assert rig.run(other).error.code == "UNFINISHED_BATCH"
    told = rig.run(other, abandon_open=True)
    assert told.error is None
    assert told.results == [("failed", "INTERRUPTED"), ("completed", None)]
    assert rig.leftovers() == []
    assert rig.verdict() == 0
    export(rig.home, 0, told.history[-1].log_index, EvidenceStore(rig.home / "evidence"), rig.bundle)
    assert rig.verdict() == 0, "with the abandoned campaign in it, the record verifies as well"


def test_killed_before_the_bundle_the_failure_is_told_again(rig, hostile):
    submission = rig.submission(hostile["nan"])
    assert rig.completed(submission, story={"at": "export"})[0] == -signal.SIGKILL
    assert not rig.bundle.exists()
    code, said = rig.completed(submission)
    assert code == 3
    assert "NOT_A_NUMBER" in said
    assert rig.told().results == [("failed", "NOT_A_NUMBER")]
    assert rig.leftovers() == []
    assert rig.verdict() == 0
