"""Vendors that cheat the meter of an accelerator, each met by the whole corridor on a device that feels what they do.

The device takes 70 W at rest and 280 W more for each processor that its sandboxes use (tests.standin). A run lasts
30 s, so these stories are slow.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.engine.hostile.build import build
from tests.standin.accelerator import UUID

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "jouleseal"
SUBMISSION = """\
schema: 1
vendor: Story Lab
model: {{name: {name}, version: "1.0", licence: open, framework: none}}
image: {image}
resources: {{memory_mib: 512, cpus: 1, shm_mib: 16}}
scenarios: [latency]
tasks:
  - {{task: text-classification, precisions: [fp32], dataset: embedded-reviews}}
"""


class Campaign:
    """One campaign of a cheat on the stand-in: the command's end, and the predicates in its bundle by name."""

    def __init__(self, folder: Path, mode: str, *, runs: int = 1, device: tuple[str, ...] = ()) -> None:
        home, self.out = folder / "home", folder / "out"
        submission = folder / "submission.yaml"
        submission.write_text(SUBMISSION.format(name=mode, image=build(mode)[mode]))
        subprocess.run([COMMAND, "init", "--home", home, "--device", UUID], check=True, capture_output=True)
        run = [COMMAND, "run", "--home", home, "--out", self.out, "--device", UUID, "--runs", runs, "--points", 50]
        words = [sys.executable, "-m", "tests.standin", *device, "--", *run, submission]
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        self.done = subprocess.run(
            [str(word) for word in words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )

    def said(self, name: str) -> dict:
        """Return the predicate of the last statement of that name."""
        with tarfile.open(self.out / "bundle.tar") as tar:
            path = max(member for member in tar.getnames() if member.endswith(f"{name}.sigstore.json"))
            file = tar.extractfile(path)
            assert file is not None
            return json.loads(base64.b64decode(json.loads(file.read())["dsseEnvelope"]["payload"]))["predicate"]

    def verified(self) -> bool:
        verify = [COMMAND.with_name("jouleseal-verify"), self.out / "bundle.tar", "--root", self.out / "root.json"]
        return subprocess.run(verify, capture_output=True, check=False).returncode == 0


def test_work_after_the_last_answer_is_charged_and_named(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, "works-on")
    assert campaign.done.returncode == 0, campaign.done.stderr
    result = campaign.said("campaign-result")
    assert "deferred-work" in result["flags"]
    figures = result["cells"][0]["recomputed"]
    assert float(figures["deferredShareMost"]) > 0.01
    (run,) = campaign.said("session-outcome")["runs"]
    deferred = run["figures"]["accelerators"]["gpu0"]["deferredMj"]
    assert 100_000 < deferred < 600_000  # 1.5 s of up to 280 W above rest, of a processor that it shares
    assert campaign.verified()


def test_answers_that_are_kept_from_pass_to_pass_are_named(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, "keeps-answers")
    assert campaign.done.returncode == 0, campaign.done.stderr
    assert "cached-answers" in campaign.said("campaign-result")["flags"]
    assert campaign.verified()


def test_work_between_two_runs_is_a_rehearsal_and_the_vendors_fault(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, "rehearses", runs=2)
    assert campaign.done.returncode == 3, campaign.done.stderr
    outcome = campaign.said("session-outcome")
    assert outcome["abort"] == {"code": "REHEARSAL", "blame": "vendor"}
    assert campaign.said("campaign-result")["status"] == "failed"
    assert campaign.verified()


def test_work_on_the_processors_of_an_idle_device_is_the_vendors_fault(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, "works-elsewhere", device=("--cpu-w", "0", "--set", "dither_mw=1"))
    assert campaign.done.returncode == 3, campaign.done.stderr
    assert campaign.said("session-outcome")["abort"] == {"code": "WORK_ON_CPU", "blame": "vendor"}
    assert campaign.verified()
