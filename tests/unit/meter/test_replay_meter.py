"""A replayed session is the recorded one, byte for byte and joule for joule."""

from __future__ import annotations

import pytest
from records import Scene
from sandbox import CONTAINER

from orchestrator.meter.interface import Meter, Power, SandboxTarget
from orchestrator.meter.replay import Replay
from protocol.errors import MeterUnavailable, VerificationError
from protocol.methodology.energy import NotApplicable, Unmeasured, account
from protocol.methodology.trace import parse_trace

TARGET = SandboxTarget(container_id=CONTAINER, init_pid=1, cgroup_dirs={})


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "recorded"
    path.write_bytes(Scene().data())
    return path


def test_a_session_plays_back(tmp_path, recorded) -> None:
    meter: Meter = Replay.start(recorded, tmp_path / "again")
    meter.attach(TARGET)
    marks = {}
    for name in ("idle-0", "run-1", "idle-1"):
        opened = meter.open_window(name)
        live = meter.latest()
        assert live.window == name
        assert live.at_ns == opened
        assert live.channels["cpu"] == Power(watts=live.channels["cpu"].watts, kind="estimated")
        assert float(live.channels["cpu"].watts) == pytest.approx(0.74 + 0.5 * 2.76)
        assert isinstance(live.channels["gpu"], NotApplicable)
        assert isinstance(live.channels["storage"], Unmeasured)
        marks[name] = (opened, meter.close_window())
    done = meter.stop()
    again = parse_trace(done.path.read_bytes())
    assert done.path.read_bytes() == recorded.read_bytes()
    assert done.digest == again.digest
    assert {w.name: (w.open_ns, w.close_ns) for w in again.windows} == marks
    assert account(again, again.window("run-1"), None, None).it_energy.joules > 0


def test_another_plan_than_the_recorded_one_is_refused(tmp_path, recorded) -> None:
    meter = Replay.start(recorded, tmp_path / "again")
    for wrong in (lambda: meter.open_window("run-1"), meter.close_window):
        with pytest.raises(MeterUnavailable) as caught:
            wrong()
        assert caught.value.code == "OUT_OF_TURN"
    meter.open_window("idle-0")
    with pytest.raises(MeterUnavailable):
        meter.open_window("idle-0")


def test_a_record_without_a_sandbox_has_none_to_attach(tmp_path) -> None:
    path = tmp_path / "recorded"
    path.write_bytes(Scene(cpus_milli=None).data())
    meter = Replay.start(path, tmp_path / "again")
    assert meter.latest().window is None
    with pytest.raises(MeterUnavailable):
        meter.attach(TARGET)


def test_a_damaged_record_is_not_played(tmp_path, recorded) -> None:
    recorded.write_bytes(recorded.read_bytes().replace(b"50000000]", b"50000001]", 1))
    with pytest.raises(VerificationError) as caught:
        Replay.start(recorded, tmp_path / "again")
    assert caught.value.code == "TRACE_CHAIN"
