"""docs/equivalence.md is run as it is written: a sealed campaign, and the same model served elsewhere by its vendor.

Then production is replaced by a model that answers otherwise, and the auditor's second challenge finds out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.launch.engine import DockerEngine
from orchestrator.record.domain import open_domain
from protocol.attestation.beside import read_beside_file
from protocol.attestation.root import root_fingerprint
from tests.engine.rig import docker, reap

pytestmark = pytest.mark.engine

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "equivalence.md"
IMAGE = "jouleseal/digits:local"
PATIENCE_S = 30
SUBMISSION = """\
schema: 1
vendor: Digit Works
model: {name: digits-mlp, version: "1.0", licence: proprietary, framework: onnxruntime}
image: jouleseal/digits:local
resources: {memory_mib: 512, cpus: 1, shm_mib: 64}
scenarios: [latency]
tasks:
  - {task: image-classification, precisions: [fp32], dataset: embedded-digits}
"""
# A model that calls itself the declared one, and finds a seven in everything.
OTHER = """\
import sys
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import LabelsAnswer
from protocol.wire import Description, LoadPhase, TaskSupport, serve


class Sevens:
    def describe(self):
        support = TaskSupport(task=Task.IMAGE_CLASSIFICATION, precisions=(Precision.FP32,))
        return Description(
            model="digits-mlp", model_version="1.0", engine="onnxruntime", engine_version=sys.argv[2],
            tasks=(support,), max_batch=1,
        )

    def load(self, order):
        yield LoadPhase.READING

    def infer(self, inputs):
        return [LabelsAnswer(labels=(("7", 1.0),)) for _ in inputs]


serve(Sevens(), socket_path=sys.argv[1])
"""


def commands() -> list[str]:
    return [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    ")]


class Desk:
    """One folder, in which operator, vendor and auditor each run their commands by the names that the page uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine_version = docker(
            "run", "--rm", "--entrypoint", "python3", IMAGE, "-c", "import onnxruntime; print(onnxruntime.__version__)"
        )
        (folder / "submission.yaml").write_text(SUBMISSION)
        (folder / "bin").mkdir()
        front = "import sys; from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"
        run = f'[ "$1" = run ] && exec {sys.executable} -m tests.engine.command "{{}}" "$@"'
        self._tool("jouleseal", f'{run}\nexec {sys.executable} -c "{front}" "$@"')
        self._tool("jouleseal-verify", f'exec {sys.executable} -m verifier "$@"')

    def _tool(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\nexport PYTHONPATH={REPOSITORY}\n{script}\n")
        path.chmod(0o755)

    def do(self, written: str) -> subprocess.CompletedProcess[str]:
        words = {"<image digest>": docker("image", "inspect", "--format", "{{.Id}}", IMAGE)}
        words["<engine version>"] = self.engine_version
        root = self.folder / "home" / "trust" / "root.json"
        if root.exists():
            words["<domain>"] = f"sha256:{root_fingerprint(root.read_bytes())}"
        for name, value in words.items():
            written = written.replace(name, value)
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run(
            ["bash", "-euc", written], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def done(self, written: str, code: int = 0) -> str:
        found = self.do(written)
        assert found.returncode == code, f"{written}\n{found.stdout}{found.stderr}"
        return found.stdout

    def report(self, bundle: str) -> dict:
        return json.loads(self.done(f"jouleseal-verify published/{bundle} --root published/root.json --json"))


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Production: the vendor's own container of the same model, run as anybody runs a container."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    container = docker("run", "--detach", "--rm", "--volume", f"{folder}:/run/jouleseal", IMAGE)
    try:
        wait_for(folder / "model.sock")
        yield
    finally:
        docker("rm", "--force", container)
        (folder / "model.sock").unlink(missing_ok=True)


@contextmanager
def replaced(folder: Path, version: str) -> Iterator[None]:
    """Production after the vendor has put something cheaper in its place."""
    script = folder / "other.py"
    script.write_text(OTHER)
    argv = [sys.executable, str(script), str(folder / "model.sock"), version]
    with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}) as process:
        try:
            wait_for(folder / "model.sock")
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def wait_for(path: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < give_up, f"no {path}"
        time.sleep(0.05)


@pytest.fixture(name="desk")
def _desk(engine: DockerEngine, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(tmp_path)
    if (tmp_path / "home" / "trust").is_dir():
        reap(open_domain(tmp_path / "home").runner.key.key_id[:16])


def finding(desk: Desk, name: str) -> dict:
    return read_beside_file((desk.folder / "auditor" / name).read_bytes())[2].to_json()


def again(steps: Sequence[str], name: str) -> list[str]:
    """Return the page's steps of an auditor with other files than the first time."""
    words = ("challenge.json", "challenge.sigstore.json", "secret", "seed", "openings.jsonl", "finding.json")
    words += ("finding.sigstore.json", "recorded.jsonl", "tried.tar")
    pattern = re.compile(rf"(published/|auditor/| )({'|'.join(map(re.escape, words))})(?=[ )]|$)")
    return [pattern.sub(rf"\1{name}-\2", step) for step in steps]


@pytest.mark.timeout(600)
def test_the_page_is_run_as_it_stands_and_a_replaced_model_is_found(desk: Desk) -> None:
    written = commands()
    start = next(n for n, line in enumerate(written) if " challenge " in line)
    for line in written[:start]:
        desk.done(line)
    before = desk.report("bundle.tar")
    assert "no-production-equivalence" in before["flags"]
    assert [check["detail"] for check in before["checks"] if check["id"] == "submission"] == [
        "1 submission as its vendor signed it"
    ]

    with served(desk.folder / "production"):
        for line in written[start:]:
            desk.done(line)
    tried = desk.report("tried.tar")
    assert tried["verdict"] == "verified"
    assert "no-production-equivalence" not in tried["flags"]
    assert "production-differs" not in tried["flags"]
    live, recorded = finding(desk, "finding.json"), finding(desk, "recorded-finding.json")
    assert live["verdict"] == "agree"
    assert live["cells"] == recorded["cells"]
    assert [len(run["places"]) for run in live["cells"][0]["runs"]] == [20, 20, 20]
    assert (live["endpoint"]["kind"], recorded["endpoint"]["kind"]) == ("wire", "recorded")
    shown = (desk.folder / "published" / "tried.tar").read_bytes()
    assert b"openings" not in shown
    assert (desk.folder / "openings.jsonl").stat().st_mode & 0o777 == 0o600

    with replaced(desk.folder / "production", desk.engine_version):
        for line in again([line for line in written[start:] if "--recorded" not in line], "second"):
            desk.done(line, code=1 if " check " in line else 0)
    assert finding(desk, "second-finding.json")["verdict"] == "differ"
    replaced_report = desk.report("second-tried.tar")
    assert replaced_report["verdict"] == "verified"
    assert {"no-production-equivalence", "production-differs"} <= set(replaced_report["flags"])

    refused = desk.do(
        again([line for line in written if "--recorded" in line], "second")[0].replace(
            "second-recorded.jsonl", "recorded.jsonl"
        )
    )
    assert refused.returncode == 2  # recorded before this challenge was known
    assert "RECORDED_FOR_ANOTHER" in refused.stderr
