"""A session on an accelerator end to end, on a device that feels what the sandbox computes and whose truth is known."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tarfile
from fractions import Fraction
from pathlib import Path

import pytest

from protocol.methodology import gated
from protocol.methodology.statistics import square_root
from protocol.methodology.trace import PowerTrace, Window, parse_trace
from tests.standin.accelerator import UUID
from tests.standin.ring import truth_bounds, truth_joules

pytestmark = pytest.mark.engine

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
RUNS = 3
WORK = "import time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: sum(range(1000))"


def simulated(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.standin", "--folder", str(folder), "--", *map(str, command)]
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "JOULESEAL_BIN": str(BIN)}
    return subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def assert_true(folder: Path, window: Window, joules: Fraction, idle_mw: int, doubt: Fraction) -> None:
    """The figure is what the device took, within the doubt: a stated one covers 95 %, so twice it practically all.

    A sandbox at rest is not quite still: what is above its idle in the idle around a run may be charged to the run.
    """
    ring = folder / "ring"
    least, most = truth_bounds(ring, window.open_ns, window.close_ns, idle_mw, gated.HOLD_NS)
    assert least - 2 * doubt <= joules <= most + 2 * doubt, [float(x) for x in (least, joules, most, doubt)]
    assert abs(joules - truth_joules(ring, window.open_ns, window.close_ns)) < joules / 100  # nor is that much


class Bundle:
    """What a bundle holds, by what it is."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member) for member in tar.getmembers() if member.isfile()}
            self.files = {name: file.read() for name, file in files.items() if file is not None}

    def outcomes(self) -> list[dict]:
        found = []
        for name in sorted(self.files):
            if name.endswith("session-outcome.sigstore.json"):
                payload = json.loads(self.files[name])["dsseEnvelope"]["payload"]
                found.append(json.loads(base64.b64decode(payload))["predicate"])
        return found

    def evidence(self, digest: str) -> bytes:
        return self.files[f"evidence/sha256/{digest}"]

    def trace(self, outcome: dict) -> PowerTrace:
        return parse_trace(self.evidence(outcome["traceSha256"]))


def test_a_metered_command_is_charged_what_the_device_took(tmp_path: Path) -> None:
    record, device = tmp_path / "record", tmp_path / "device"
    words = ("meter", "--json", "--device", UUID, "--record", record, "--", sys.executable, "-c", WORK)
    done = simulated(device, BIN / "jouleseal", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["valid"] is True
    assert said["channels"]["gpu"]["kind"] == "simulated"
    trace = parse_trace(record.read_bytes())
    run = trace.window("run-1")
    found = gated.measure(
        gated.series(trace, "gpu0"), gated.gate(trace, run, trace.window("idle-0"), trace.window("idle-1"))
    )
    assert said["channels"]["gpu"]["joules"] == pytest.approx(float(found.joules))
    assert found.joules > 3 * Fraction(110)  # idle is 70 W: the device has felt the work
    assert_true(device, run, found.joules, round(found.idle_watts * 1000), found.uncertainty.expanded(gain=False))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_published_run_is_what_the_device_took(tmp_path: Path) -> None:
    device, out = tmp_path / "device", tmp_path / "out"
    done = simulated(device, ".ci/demo-device", UUID, out, "--points", 50)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIMULATED" in done.stderr
    assert "not certifiable" in done.stdout
    assert "simulated-energy" in done.stdout
    assert (out / "report" / "index.html").is_file()

    bundle = Bundle(out / "bundle.tar")
    outcome = next(outcome for outcome in bundle.outcomes() if outcome["status"] == "completed")
    trace = bundle.trace(outcome)
    assert len(outcome["runs"]) == RUNS
    for run in outcome["runs"]:
        figures, window = run["figures"], trace.window(run["window"])
        of_device = figures["accelerators"]["gpu0"]
        doubt = 2 * square_root(Fraction(of_device["uEdgeMj"] ** 2 + (of_device["uChannelsMj"] or 0) ** 2, 10**6))
        assert figures["energyMj"]["gpu"]["kind"] == "simulated"
        assert figures["energyMj"]["gpu"]["mj"] == of_device["mj"]
        assert_true(device, window, Fraction(of_device["mj"], 1000), of_device["idleMw"], doubt)
        part = trace.slow.between(window.open_ns, window.close_ns)
        assert min(trace.slow.column("gpu0.processes")[part]) >= 1  # the sandbox computes on the device
        assert set(trace.slow.column("gpu0.foreign_processes")[part]) == {0}

    inspected = next(item["digest"]["sha256"] for item in outcome["byproducts"] if item["name"] == "sandbox-inspect")
    environment = json.loads(bundle.evidence(inspected))["engine"]["Config"]["Env"]
    assert "LD_LIBRARY_PATH" in environment  # without a value: taken away, whatever the image says
    assert not [word for word in environment if "STANDIN" in word or "libnvidia" in word]
