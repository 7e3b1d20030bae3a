"""`jouleseal meter --wall`: channel `node` of any command, from a logger that writes while the command runs."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from accelerator import UUID, Device
from wall_logger import EFFICIENCY, REST_MW, WallLogger, today
from wall_meter import calibration

from orchestrator.cli import main
from orchestrator.meter import measuring, wall
from orchestrator.meter.own_group import OwnGroup
from protocol.methodology.gain_document import TERMS, conclude, parse_gain
from protocol.methodology.wall_gain import Efficiency, Gain
from protocol.units import NS_PER_S

WORKER = str(Path(__file__).parents[2] / "standin" / "worker.py")
PSU = Efficiency(low=Fraction(94, 100), high=Fraction(96, 100))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No control group, little idle, little patience."""

    def refuse(_name: str) -> OwnGroup:
        raise PermissionError(13, "Permission denied", "/sys/fs/cgroup/cpuacct/jouleseal-meter")

    monkeypatch.setattr(OwnGroup, "make", refuse)
    monkeypatch.setattr(measuring, "IDLE_S", 0.2)
    monkeypatch.setattr(wall, "WAIT_S", 10.0)


@pytest.fixture
def resting(device: Device) -> Device:
    device.set(wave="pulse", low_mw=70_000, high_mw=650_000, dither_mw=1, start_ns=time.monotonic_ns() - 10 * NS_PER_S)
    return device


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[WallLogger]:
    with WallLogger(tmp_path / "wall.csv") as found:
        yield found


class Desk:
    """A caller with his files; `meter` and `calibrate` return the exit code and the JSON document."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capfd = folder, capfd

    def file(self, name: str, value: object) -> str:
        path = self.folder / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return str(path)

    def run(self, *arguments: str) -> tuple[int, dict]:
        self._capfd.readouterr()
        status = main([arguments[0], "--json", *arguments[1:]])
        return status, json.loads(self._capfd.readouterr().out)

    def wall(self, **changes: object) -> list[str]:
        return ["--wall", str(self.folder / "wall.csv"), "--wall-calibration", self.file("wall.json", today(**changes))]


@pytest.fixture
def desk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capfd)


SITE = {"format": "jouleseal-site/1", "name": "Hall 2", "pue": "1.20", "source": "report of 2025", "date": "2026-01-31"}


def codes(found: dict) -> list[str]:
    return [reason["code"] for reason in found["reasons"]]


def test_any_command_has_a_node_and_a_total(desk: Desk, logger: WallLogger) -> None:
    status, found = desk.run("meter", *desk.wall(), "--site", desk.file("site.json", SITE), "--", "sleep", "1")
    assert (status, found["reasons"]) == (0, [])
    node = found["channels"]["node"]
    seconds = (found["window"]["close_monotonic_ns"] - found["window"]["open_monotonic_ns"]) / 1e9
    assert (node["kind"], node["method"]) == ("measured", "wall-meter-gated/1")
    assert node["joules"] == pytest.approx(REST_MW / 1000 / EFFICIENCY * seconds, rel=1e-3)
    assert 0 < node["uncertainty_joules"] < 0.01 * node["joules"]
    assert node["idle_net_joules"] == pytest.approx(0, abs=0.2)
    used = logger.path.read_bytes()[: found["wall"]["log_bytes"]]
    assert hashlib.sha256(used).hexdigest() == found["wall"]["log_sha256"]
    assert found["wall"]["meter"] == "Virtual VM-1 0001"
    parts, whole = found["totals"]
    assert (parts["name"], parts["joules"], parts["reason"]) == ("total", None, "no channel was read")
    assert (whole["name"], whole["complete"], whole["scope"], whole["pue"]) == ("node-total", True, ["node"], "1.20")
    assert whole["joules"] == pytest.approx(node["joules"] * 1.2, abs=1e-5)
    assert whole["kind"] == "estimated"


def test_the_screen_names_the_sum_and_what_it_lacks(desk: Desk, logger: WallLogger, capfd) -> None:
    site = desk.file("site.json", SITE)
    assert main(["meter", *desk.wall(), "--site", site, "--", "echo", "mine"]) == 0
    said = capfd.readouterr()
    assert said.out == "mine\n"
    assert "node      measured" in said.err
    assert "sum       unmeasured: no channel was read" in said.err
    assert "node-total" in said.err
    assert "(node) x PUE 1.20" in said.err


def test_without_a_site_there_is_no_total(desk: Desk) -> None:
    _, found = desk.run("meter", "--", "true")
    assert "totals" not in found


def test_an_accelerator_and_its_node_agree_and_make_a_calibration(desk: Desk, tmp_path: Path, resting: Device) -> None:
    record = str(tmp_path / "record")
    with WallLogger(tmp_path / "wall.csv", resting.script):
        work = ["--", sys.executable, "-S", WORKER, str(resting.script), "4"]
        status, found = desk.run("meter", *desk.wall(), "--record", record, "--device", UUID, *work)
    assert (status, found["reasons"]) == (0, [])
    node, gpu = found["channels"]["node"], found["channels"]["gpu"]
    seconds = (found["window"]["close_monotonic_ns"] - found["window"]["open_monotonic_ns"]) / 1e9
    truth = (580 * 4 + 220 * seconds) / EFFICIENCY
    assert (node["kind"], gpu["kind"]) == ("simulated", "simulated")  # nothing beside a stand-in is of a real node
    assert abs(node["joules"] - truth) <= node["uncertainty_joules"] <= 0.01 * truth
    assert node["idle_net_joules"] == pytest.approx(580 * 4 / EFFICIENCY, rel=0.01)

    gain, psu = tmp_path / "gain.json", ["--psu-efficiency", "0.945-0.955"]
    status, made = desk.run("calibrate", record, *desk.wall(), *psu, "--out", str(gain))
    assert status == 0, made
    assert parse_gain(gain.read_bytes()).to_json() == gain.read_bytes()
    assert float(made["gain"]) == pytest.approx(1, abs=2 * float(made["gainUncertainty"]))
    assert made["device"] == UUID
    assert made["evidence"]["recordChains"] == [found["record_chain"]]

    status, again = desk.run("calibrate", record, record, *desk.wall(), *psu, "--out", str(gain))
    assert (status, again["error"]["code"]) == (2, "RECORD_TWICE")


def calibrated(device: str = UUID, days: int = 0) -> str:
    """Return a gain calibration document of 1 % that was written so many days ago."""
    terms = {**dict.fromkeys(TERMS, Fraction(0)), "psu": Fraction(1, 100)}
    found = Gain(gain=Fraction(1), uncertainty=Fraction(1, 100), terms=terms, levels=())
    day = datetime.now(tz=UTC).date()
    certificate = {"id": "C", "issuer": "L", "calibratedOn": "2020-01-01", "validUntil": "2099-01-01"}
    wall_meter = calibration(certificate=certificate)
    when = {"measured_on": day - timedelta(days=days), "log": "a" * 64, "chains": ("b" * 64,)}
    return conclude(found, device=device, wall=wall_meter, psu=PSU, **when).to_json().decode()


def test_a_calibrated_board_has_less_doubt_and_the_same_method(desk: Desk, resting: Device) -> None:
    gain = desk.file("gain.json", calibrated())
    work = ["--device", UUID, "--", sys.executable, "-S", WORKER, str(resting.script), "2"]
    status, found = desk.run("meter", "--gain-calibration", gain, *work)
    gpu = found["channels"]["gpu"]
    assert (status, gpu["method"]) == (0, "nvml-gated/1")
    assert gpu["uncertainty_joules"] == pytest.approx(gpu["joules"] * 2 * 0.01, rel=0.02)


@pytest.mark.parametrize(
    ("device", "days", "expected"),
    [("GPU-other", 0, (2, "GAIN_OTHER_DEVICE")), (UUID, 366, (5, "GAIN_CALIBRATION_EXPIRED"))],
)
def test_another_boards_or_an_old_calibration_is_refused_at_once(
    desk: Desk, device: str, days: int, expected: tuple[int, str]
) -> None:
    gain = desk.file("gain.json", calibrated(device, days))
    status, found = desk.run("meter", "--device", UUID, "--gain-calibration", gain, "--", "true")
    assert (status, found["error"]["code"]) == expected


def test_a_logger_that_flushes_late_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    with WallLogger(tmp_path / "wall.csv", held=True) as late:
        timer = threading.Timer(3.0, late.flush)
        timer.start()
        status, found = desk.run("meter", *desk.wall(), "--", "true")
        timer.join()
    assert (status, found["channels"]["node"]["kind"]) == (0, "measured")


def test_a_logger_that_died_leaves_no_number_and_says_what_lacks(desk: Desk, logger: WallLogger, monkeypatch) -> None:
    monkeypatch.setattr(wall, "WAIT_S", 0.3)
    logger.ends_ns = time.monotonic_ns()
    status, found = desk.run("meter", *desk.wall(), "--", "sleep", "0.5")
    assert (status, codes(found)) == (5, ["WALL_NOT_COVERING"])
    assert "lacks" in found["reasons"][0]["observed"]
    assert found["channels"]["node"] == {
        "kind": "void",
        "joules": None,
        "uncertainty_joules": None,
        "idle_net_joules": None,
        "reason": "WALL_NOT_COVERING",
    }
    assert found["channels"]["network"]["kind"] == "unmeasured"  # the others keep what they are


def test_a_log_that_is_gone_leaves_no_number(desk: Desk, logger: WallLogger) -> None:
    status, found = desk.run("meter", *desk.wall(), "--", "mv", str(logger.path), str(desk.folder / "elsewhere"))
    assert (status, codes(found)) == (5, ["WALL_UNREADABLE"])
    assert found["channels"]["node"]["kind"] == "void"


def test_a_line_that_breaks_while_it_measures_voids_the_node(desk: Desk, logger: WallLogger) -> None:
    spoil = f"sleep 0.3; echo 'ERROR: timeout' >> {logger.path}; sleep 0.3"
    status, found = desk.run("meter", *desk.wall(), "--", "sh", "-c", spoil)
    assert (status, codes(found)) == (5, ["WALL_MALFORMED"])


def test_a_node_that_costs_less_than_its_board_voids(desk: Desk, tmp_path: Path, resting: Device) -> None:
    with WallLogger(tmp_path / "wall.csv", resting.script, factor=0.5):
        work = ["--device", UUID, "--", sys.executable, "-S", WORKER, str(resting.script), "2"]
        status, found = desk.run("meter", *desk.wall(), *work)
    assert (status, codes(found)) == (5, ["WALL_DISAGREES"])
    assert found["channels"]["node"]["reason"] == "WALL_DISAGREES"


def test_a_void_record_voids_its_node(desk: Desk, tmp_path: Path, resting: Device) -> None:
    with WallLogger(tmp_path / "wall.csv", resting.script):
        lose = f"sleep 0.5; echo 'error 15' > {resting.script}; sleep 0.5"
        status, found = desk.run("meter", *desk.wall(), "--device", UUID, "--", "sh", "-c", lose)
    assert (status, codes(found)) == (5, ["CHANNEL_LOST"])
    assert found["channels"]["node"]["reason"] == "CHANNEL_LOST"


class TestRefusedBeforeAnythingRuns:
    """The command leaves a file, and it is not there."""

    def refused(self, desk: Desk, *arguments: str) -> tuple[int, str]:
        ran = desk.folder / "ran"
        status, found = desk.run("meter", *arguments, "--", "touch", str(ran))
        assert not ran.exists()
        return status, found["error"]["code"]

    def test_half_a_wall_meter(self, desk: Desk, logger: WallLogger) -> None:
        assert self.refused(desk, *desk.wall()[:2]) == (2, "WALL_NEEDS_CALIBRATION")
        assert self.refused(desk, *desk.wall()[2:]) == (2, "WALL_NEEDS_CALIBRATION")

    def test_no_log(self, desk: Desk) -> None:
        assert self.refused(desk, *desk.wall()) == (2, "WALL_UNREADABLE")

    @pytest.mark.parametrize("text", ["\ufefftime,watts\n1,1\n", "time;watts\n1;1,5\n", "time,watts\r\n1,1\r\n"])
    def test_another_log(self, desk: Desk, text: str) -> None:
        desk.file("wall.csv", text)
        assert self.refused(desk, *desk.wall()) == (2, "DOCUMENT_REFUSED")

    def test_another_certificate(self, desk: Desk, logger: WallLogger) -> None:
        assert self.refused(desk, *desk.wall(gain="2")) == (2, "DOCUMENT_REFUSED")
        old = {"id": "C", "issuer": "L", "calibratedOn": "2020-01-01", "validUntil": "2020-12-31"}
        assert self.refused(desk, *desk.wall(certificate=old)) == (5, "WALL_CALIBRATION_EXPIRED")

    def test_another_site(self, desk: Desk) -> None:
        assert self.refused(desk, "--site", desk.file("site.json", {**SITE, "pue": "0.9"})) == (2, "DOCUMENT_REFUSED")
        assert self.refused(desk, "--site", str(desk.folder / "none")) == (2, "DOCUMENT_UNREADABLE")


class TestCalibrateRefuses:
    """What is not there, not a record, or not one board's."""

    def calibrate(self, desk: Desk, *records: str, psu: str = "0.94-0.96") -> tuple[int, str]:
        desk.file("wall.csv", "time,watts\n1,1\n")
        out = desk.folder / "gain.json"
        status, found = desk.run("calibrate", *records, *desk.wall(), "--psu-efficiency", psu, "--out", str(out))
        assert not out.exists()
        return status, found["error"]["code"]

    def test_a_record_that_is_none(self, desk: Desk) -> None:
        assert self.calibrate(desk, str(desk.folder / "absent")) == (2, "RECORD_UNREADABLE")
        assert self.calibrate(desk, desk.file("record", "x\n")) == (2, "RECORD_UNREADABLE")

    def test_a_record_without_a_device(self, desk: Desk) -> None:
        record = desk.folder / "record"
        desk.run("meter", "--record", str(record), "--", "true")
        assert self.calibrate(desk, str(record)) == (2, "NO_ONE_DEVICE")

    @pytest.mark.parametrize("psu", ["0.95", "0.96-0.94", "0.95-0.95", "94-96", "0.4-0.9", "0.94-1.1", "0,94-0,96"])
    def test_an_efficiency_that_is_no_interval(self, desk: Desk, psu: str) -> None:
        assert self.calibrate(desk, str(desk.folder / "absent"), psu=psu) == (2, "PSU_EFFICIENCY")
