"""The sampler as a real process: what it records, whom it outlives, and that it always ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from sandbox import CONTAINER

from orchestrator.meter import client
from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import LiveReading, Power, SamplerConfig, SandboxTarget
from protocol.errors import InvalidMeasurement, MeterUnavailable, StorageFull
from protocol.methodology import trace as record
from protocol.methodology.energy import Estimated, Measured, NotApplicable, Unmeasured, account, validate
from protocol.methodology.trace import PowerTrace, parse_trace
from protocol.units import NS_PER_MS, NS_PER_S


@pytest.fixture
def config(no_powercap: Path) -> SamplerConfig:
    return SamplerConfig(period_ns=20 * NS_PER_MS, host_period_ns=100 * NS_PER_MS, powercap=no_powercap)


def parsed(path: Path) -> PowerTrace:
    return parse_trace(path.read_bytes())


def void(trace: PowerTrace) -> str:
    with pytest.raises(InvalidMeasurement) as caught:
        validate(trace)
    return caught.value.code


def wait_for(pid: int) -> None:
    """Wait until a process that is not our child is gone."""
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        time.sleep(0.02)


def test_a_session_is_recorded_from_before_the_sandbox_until_after_it(tmp_path, config, cgroup) -> None:
    path = tmp_path / "record.ndjson"
    before = time.monotonic_ns()
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        marks = {}
        for name, cpu in (("idle-0", 0), ("run-1", 300_000_000), ("idle-1", 300_000_000)):
            opened = sampler.open_window(name)
            time.sleep(0.25)
            cgroup.use(cpu, 50 << 20)
            marks[name] = (opened, sampler.close_window())
        digest = sampler.stop()
    after = time.monotonic_ns()

    assert digest.path == path
    trace = parsed(path)
    assert trace.digest == digest.digest
    assert {w.name: (w.open_ns, w.close_ns) for w in trace.windows} == marks
    assert before < trace.anchor_start.monotonic_ns < marks["idle-0"][0]
    assert marks["idle-1"][1] < trace.anchor_end.monotonic_ns < after
    assert trace.attachment is not None
    assert trace.attachment.container_id == CONTAINER
    assert trace.attachment.clock == "cpuacct.usage"
    assert trace.status == "closed"
    validate(trace)

    run = trace.window("run-1")
    found = account(trace, run, trace.window("idle-0"), trace.window("idle-1"))
    assert found.facts.cpu_ns == 300_000_000
    assert isinstance(found.channels["cpu"], Estimated)
    assert float(found.channels["cpu"].joules) == pytest.approx(0.74 * run.duration_ns / 1e9 + 0.3 * 2.76)
    assert float(found.idle_net["cpu"].joules) == pytest.approx(0.3 * 2.76)
    assert isinstance(found.channels["gpu"], NotApplicable)
    assert isinstance(found.channels["storage"], Unmeasured)


def test_every_mark_carries_its_own_readings_and_absolute_deadlines_hold(tmp_path, config, cgroup) -> None:
    path = tmp_path / "record.ndjson"
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        opened = sampler.open_window("run-1")
        time.sleep(0.5)
        closed = sampler.close_window()
        sampler.stop()
    trace = parsed(path)
    assert {opened, closed} <= set(trace.fast.times)
    assert {opened, closed} <= set(trace.slow.times)
    ticks = [at - trace.origin_ns for at in trace.fast.times if at not in {opened, closed}]
    # Each sample belongs to the deadline that it follows, and no deadline was answered twice: nothing drifts.
    deadlines = [at // config.period_ns for at in ticks]
    assert len(set(deadlines)) == len(deadlines)
    assert len(deadlines) + trace.misses == deadlines[-1] + 1


def test_with_rapl_the_host_channels_are_measured(tmp_path, config, cgroup, no_powercap) -> None:
    zone = no_powercap / "intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "262143000000"), ("max_energy_range_uj", "262143328850")):
        (zone / name).write_text(text + "\n")
    with Sampler.start(tmp_path / "r", config) as sampler:
        sampler.attach(cgroup.target(cpus_milli=None))
        sampler.open_window("run-1")
        time.sleep(0.25)
        with (zone / "energy_uj").open("r+b") as file:  # it wraps, having counted 20.328850 J and one microjoule
            file.write(b"    20000000")
        sampler.close_window()
        sampler.stop()
    trace = parsed(tmp_path / "r")
    validate(trace)
    found = account(trace, trace.window("run-1"), None, None)
    assert isinstance(found.channels["cpu"], Measured)
    # Nobody else may be charged more than the node used; on a machine with other work, the sandbox is charged less.
    assert 0 < found.channels["cpu"].joules <= 20.328851
    assert isinstance(found.channels["dram"], Estimated)
    assert "memory" in trace.sources["dram"].reason


def test_the_live_view_is_typed(tmp_path, config, cgroup) -> None:
    with Sampler.start(tmp_path / "r", config) as sampler:
        early = sampler.latest()
        assert isinstance(early.channels["cpu"], Unmeasured)
        assert early.watts is None
        sampler.attach(cgroup.target())
        sampler.open_window("run-1")
        deadline = time.monotonic() + 30
        live = sampler.latest()
        while not isinstance(live.channels["cpu"], Power) and time.monotonic() < deadline:
            live = sampler.latest()
        assert isinstance(live, LiveReading)
        assert live.window == "run-1"
        cpu = live.channels["cpu"]
        assert isinstance(cpu, Power)
        assert cpu.kind == "estimated"
        assert float(cpu.watts) == pytest.approx(0.74)  # its one CPU does nothing
        assert isinstance(live.channels["gpu"], NotApplicable)
        assert isinstance(live.channels["storage"], Unmeasured)
        assert live.watts == cpu.watts + live.channels["dram"].watts
        sampler.check()


def test_a_screen_and_a_session_may_ask_at_the_same_time(tmp_path, config, cgroup) -> None:
    with Sampler.start(tmp_path / "r", config) as sampler:
        sampler.attach(cgroup.target())
        ended = threading.Event()
        seen: list[LiveReading] = []

        def watch() -> None:
            while not ended.is_set():
                seen.append(sampler.latest())
                sampler.check()

        screen = threading.Thread(target=watch)
        screen.start()
        marks = [mark for k in range(20) for mark in (sampler.open_window(f"run-{k}"), sampler.close_window())]
        ended.set()
        screen.join()
        sampler.stop()
    trace = parsed(tmp_path / "r")
    assert marks == sorted(marks)
    assert [(w.open_ns, w.close_ns) for w in trace.windows] == list(zip(marks[::2], marks[1::2], strict=True))
    assert seen


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next_one(tmp_path, config, cgroup, monkeypatch) -> None:
    with Sampler.start(tmp_path / "r", config) as sampler:
        sampler.attach(cgroup.target())

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(sampler, "_answer", interrupted)
            sampler.open_window("run-1")
        closed = sampler.close_window()
        digest = sampler.stop()
    trace = parsed(tmp_path / "r")
    assert trace.windows[0].close_ns == closed
    assert trace.digest == digest.digest


def test_commands_out_of_turn_are_refused_and_do_no_harm(tmp_path, config, cgroup) -> None:
    path = tmp_path / "r"
    with Sampler.start(path, config) as sampler:
        for wrong in (
            sampler.close_window,
            lambda: sampler.attach(SandboxTarget(container_id="x", init_pid=1, cgroup_dirs={})),
        ):
            with pytest.raises(MeterUnavailable) as caught:
                wrong()
            assert caught.value.code in {"OUT_OF_TURN", "NO_CGROUP"}
        sampler.attach(cgroup.target())
        with pytest.raises(MeterUnavailable):
            sampler.attach(cgroup.target())
        sampler.open_window("run-1")
        with pytest.raises(MeterUnavailable):
            sampler.open_window("run-2")
        time.sleep(0.1)
        sampler.close_window()
        sampler.stop()
        with pytest.raises(MeterUnavailable) as caught:
            sampler.open_window("run-2")
        assert caught.value.code == "SAMPLER_ENDED"
    validate(parsed(path))


def test_a_sandbox_that_vanishes_in_a_window_voids_it(tmp_path, config, cgroup) -> None:
    path = tmp_path / "r"
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        sampler.open_window("run-1")
        time.sleep(0.1)
        cgroup.write("cpuacct", "cpuacct.usage", "")
        time.sleep(0.1)
        sampler.close_window()
        sampler.stop()
    trace = parsed(path)
    assert [f.instrument for f in trace.failures] == ["cgroup"]
    assert trace.fast.column(record.CPU_TIME)[-1] is None
    assert void(trace) == "CHANNEL_LOST"
    with pytest.raises(InvalidMeasurement):
        account(trace, trace.window("run-1"), None, None)


def test_a_sandbox_that_ends_after_its_windows_does_not(tmp_path, config, cgroup) -> None:
    path = tmp_path / "r"
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        sampler.open_window("run-1")
        time.sleep(0.1)
        sampler.close_window()
        cgroup.write("cpuacct", "cpuacct.usage", "")
        time.sleep(0.1)
        sampler.stop()
    trace = parsed(path)
    assert trace.failures
    validate(trace)


def test_a_sampler_that_was_held_up_counts_what_it_missed(tmp_path, config, cgroup) -> None:
    path = tmp_path / "r"
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        sampler.open_window("run-1")
        os.kill(sampler.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(sampler.pid, signal.SIGCONT)
        sampler.close_window()
        sampler.stop()
    trace = parsed(path)
    assert trace.misses >= 10
    assert void(trace) == "TRACE_GAP"


def test_the_record_is_ended_when_the_orchestrator_is_killed(tmp_path, config, cgroup) -> None:
    path = tmp_path / "r"
    dirs = {name: str(where) for name, where in cgroup.target().cgroup_dirs.items()}
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from orchestrator.meter.client import Sampler
        from orchestrator.meter.interface import SamplerConfig, SandboxTarget
        config = SamplerConfig(period_ns=20_000_000, powercap=Path("/nonexistent"))
        sampler = Sampler.start(Path({str(path)!r}), config)
        dirs = {{name: Path(where) for name, where in {dirs!r}.items()}}
        sampler.attach(SandboxTarget(container_id="c", init_pid=1, cgroup_dirs=dirs, cpus_milli=1000))
        sampler.open_window("run-1")
        print(sampler.pid, flush=True)
        time.sleep(60)
        """
    )
    orchestrator = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert orchestrator.stdout is not None
    sampler_pid = int(orchestrator.stdout.readline())
    orchestrator.kill()
    orchestrator.wait()
    orchestrator.stdout.close()
    wait_for(sampler_pid)
    trace = parsed(path)
    assert trace.status == "orphaned"
    assert trace.windows[0].name == "run-1"
    assert void(trace) == "RECORD_INTERRUPTED"


def test_sigterm_ends_the_record_and_sigint_does_not(tmp_path, config, cgroup) -> None:
    path = tmp_path / "r"
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        os.kill(sampler.pid, signal.SIGINT)
        sampler.open_window("run-1")
        sampler.close_window()
        os.kill(sampler.pid, signal.SIGTERM)
        sampler._process.wait()
    assert parsed(path).status == "terminated"


def test_a_silent_sampler_is_killed(tmp_path, config, monkeypatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.3)
    with Sampler.start(tmp_path / "r", config) as sampler:
        os.kill(sampler.pid, signal.SIGSTOP)
        with pytest.raises(MeterUnavailable) as caught:
            sampler.open_window("run-1")
        assert caught.value.code == "SAMPLER_SILENT"
        assert sampler._process.returncode == -signal.SIGKILL


def test_beats_that_stop_are_noticed_without_a_question(tmp_path, config, monkeypatch) -> None:
    with Sampler.start(tmp_path / "r", config) as sampler:
        sampler.check()
        os.kill(sampler.pid, signal.SIGSTOP)
        monkeypatch.setattr(client, "BEAT_TIMEOUT_NS", NS_PER_S // 10)
        time.sleep(0.2)
        with pytest.raises(MeterUnavailable) as caught:
            sampler.check()
        assert caught.value.code == "SAMPLER_SILENT"


def test_a_killed_sampler_is_noticed(tmp_path, config) -> None:
    with Sampler.start(tmp_path / "r", config) as sampler:
        os.kill(sampler.pid, signal.SIGKILL)
        sampler._process.wait()
        with pytest.raises(MeterUnavailable) as caught:
            sampler.latest()
        assert caught.value.code == "SAMPLER_ENDED"


def test_a_record_is_never_written_over(tmp_path, config) -> None:
    path = tmp_path / "r"
    path.write_text("another session's")
    with pytest.raises(StorageFull):
        Sampler.start(path, config)
    assert path.read_text() == "another session's"


def test_a_full_disk_is_named(tmp_path, config, cgroup) -> None:
    with Sampler.start(tmp_path / "r", config) as sampler:
        sampler.attach(cgroup.target())
        resource.prlimit(sampler.pid, resource.RLIMIT_FSIZE, (1024, 1024))
        with pytest.raises(StorageFull) as caught:
            for k in range(100):
                sampler.open_window(f"run-{k}")
                sampler.close_window()
        assert caught.value.code == "WRITING_FAILED"
        with pytest.raises(MeterUnavailable):
            sampler.stop()


def test_no_process_is_left_whatever_happened_inside(tmp_path, config) -> None:
    with pytest.raises(ZeroDivisionError), Sampler.start(tmp_path / "r", config) as sampler:
        pid = sampler.pid
        raise ZeroDivisionError
    assert not Path(f"/proc/{pid}").exists()


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, orchestrator.meter.sampler as s; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert not {"pynvml", "docker", "grpc", "google", "yaml", "rich", "numpy", "cryptography", "asyncio"} & set(
        done.stdout.split()
    )
