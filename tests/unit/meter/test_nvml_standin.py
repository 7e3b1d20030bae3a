"""The real pynvml, in the real sampler, on a device of our own making: what is measured, and what is refused."""

from __future__ import annotations

import os
import time
from fractions import Fraction
from pathlib import Path

import pytest
from accelerator import CONTROL, UUID, Device
from sandbox import CONTAINER, PaperCgroup

from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import Power, SamplerConfig
from protocol.errors import AcceleratorUnavailable, InvalidMeasurement, MeterUnavailable
from protocol.methodology.energy import Simulated, account, read_channel, validate
from protocol.methodology.trace import PowerTrace, SourceKind, parse_trace
from protocol.units import NS_PER_MS

# A stated doubt (k = 2) covers 95 % of the places where a counter can tick. In a run this long even the worst place
# (a whole tick of 100 ms at either end, or 20 ms and half a wave of 40 ms) costs less than the board's gain alone.
CERTAIN_S = 2.0


@pytest.fixture
def config(no_powercap: Path) -> SamplerConfig:
    return SamplerConfig(
        devices=(UUID,), period_ns=20 * NS_PER_MS, host_period_ns=100 * NS_PER_MS, powercap=no_powercap
    )


def session(path: Path, config: SamplerConfig, cgroup: PaperCgroup, *in_the_middle, seconds: float = 0.4) -> PowerTrace:
    """Meter idle, a run in the middle of which something happens, idle."""
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        for name in ("idle-0", "run-1", "idle-1"):
            sampler.open_window(name)
            time.sleep(seconds / 2)
            if name == "run-1":
                for happen in in_the_middle:
                    happen()
            time.sleep(seconds / 2)
            sampler.close_window()
        sampler.stop()
    return parse_trace(path.read_bytes())


def counted(trace: PowerTrace) -> tuple[Simulated, Fraction]:
    """The run's gross reading, and what 300 W would have cost."""
    run = trace.window("run-1")
    found = account(trace, run, trace.window("idle-0"), trace.window("idle-1")).channels["gpu"]
    assert isinstance(found, Simulated)
    return found, Fraction(300 * run.duration_ns, 10**9)


def void(trace: PowerTrace) -> str:
    with pytest.raises(InvalidMeasurement) as caught:
        validate(trace)
    return caught.value.code


def refused(tmp_path: Path, config: SamplerConfig, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        Sampler.start(tmp_path / "refused", config)
    return caught.value.code


def test_constant_power_is_measured_within_its_stated_doubt(tmp_path, config, cgroup, device: Device) -> None:
    trace = session(tmp_path / "r", config, cgroup, seconds=CERTAIN_S)
    validate(trace)
    found, truth = counted(trace)
    assert abs(found.joules - truth) <= found.uncertainty
    assert found.method == "nvml-counter/1"
    assert trace.sources["gpu"].kind is SourceKind.SIMULATED
    assert trace.fast.columns[1:] == ("gpu0.energy_mj", "gpu0.power_average_mw", "gpu0.power_instant_mw")
    assert trace.host["gpu0.uuid"] == UUID
    assert trace.host["gpu0.name"] == "Jouleseal Stand-in 80GB"
    assert trace.host["gpu0.memory_bytes"] == str(81559 << 20)


def test_the_three_readings_are_those_of_the_device(tmp_path, config, cgroup, device: Device) -> None:
    over = time.monotonic_ns() - 500 * 10**6  # the ramp is over before the sampler starts, its running mean is not
    device.set(wave="ramp", low_mw=100_000, high_mw=500_000, period_ms=100, start_ns=over)
    trace = session(tmp_path / "r", config, cgroup)
    assert set(trace.fast.column("gpu0.power_instant_mw")) == {500_000}
    averages = trace.fast.column("gpu0.power_average_mw")
    assert 100_000 < averages[0] <= averages[-1] == 500_000  # a running mean still climbs when the power has settled
    for name, value in (("sm_clock_mhz", 1980), ("temperature_c", 41), ("power_limit_mw", 700_000), ("ecc", 1)):
        assert set(trace.slow.column(f"gpu0.{name}")) == {value}
    assert set(trace.slow.column("gpu0.mig")) == {None}  # not supported is not zero


def test_work_in_a_square_wave_is_measured_within_its_doubt(tmp_path, config, cgroup, device: Device) -> None:
    device.set(wave="square", low_mw=100_000, high_mw=500_000, period_ms=40, tick_ms=20)
    found, truth = counted(session(tmp_path / "r", config, cgroup, seconds=CERTAIN_S))
    assert abs(found.joules - truth) <= found.uncertainty


def test_a_ramp_is_measured_within_its_doubt(tmp_path, config, cgroup, device: Device) -> None:
    device.set(wave="ramp", low_mw=0, high_mw=600_000, period_ms=600_000, start_ns=time.monotonic_ns() - 300 * 10**9)
    trace = session(tmp_path / "r", config, cgroup, seconds=CERTAIN_S)
    run = trace.window("run-1")
    middle = (run.open_ns + run.close_ns) // 2 - device.start_ns
    truth = Fraction(middle * run.duration_ns, 10**18)  # 1 W more every second, so its middle times its length
    found = read_channel(trace, "gpu", run)
    assert abs(found.joules - truth) <= found.uncertainty


def test_the_live_view_shows_what_kind_of_watts(tmp_path, config, cgroup, device: Device) -> None:
    with Sampler.start(tmp_path / "r", config) as sampler:
        gpu = sampler.latest().channels["gpu"]
        assert isinstance(gpu, Power)
        assert gpu.kind == "simulated"
        assert 0 < gpu.watts <= 300


def test_a_device_without_a_counter_is_read_by_its_mean_power(tmp_path, config, cgroup, device: Device) -> None:
    device.set(error_83=3, start_ns=1)
    trace = session(tmp_path / "r", config, cgroup)
    validate(trace)
    found, truth = counted(trace)
    assert found.method == "nvml-mean-power/1"
    assert abs(found.joules - truth) <= truth / 10**6
    assert found.uncertainty > truth / 2  # and it says how little a 1 s mean tells of so short a run


def test_a_device_that_reports_no_energy_is_refused_and_never_zero(tmp_path, config, device: Device) -> None:
    device.set(error_83=3, error_185=3)
    assert refused(tmp_path, config, MeterUnavailable) == "NO_POWER_READING"


def test_mig_is_refused(tmp_path, config, device: Device) -> None:
    device.set(mig=1)
    assert refused(tmp_path, config, AcceleratorUnavailable) == "MIG_ENABLED"


@pytest.mark.parametrize("error", [9, 15, 18, 999])
def test_a_driver_in_trouble_is_the_operators(tmp_path, config, device: Device, error: int) -> None:
    device.set(error_init=error)
    assert refused(tmp_path, config, AcceleratorUnavailable) == "ACCELERATOR_UNAVAILABLE"


def test_another_device_than_the_leased_one_is_refused(tmp_path, no_powercap, device: Device) -> None:
    wrong = SamplerConfig(devices=("GPU-00000000-0000-0000-0000-000000000000",), powercap=no_powercap)
    assert refused(tmp_path, wrong, AcceleratorUnavailable) == "ACCELERATOR_UNAVAILABLE"


def test_a_host_without_the_driver_is_named(tmp_path, config, monkeypatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv(CONTROL, raising=False)
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    assert refused(tmp_path, config, AcceleratorUnavailable) == "ACCELERATOR_UNAVAILABLE"


@pytest.mark.parametrize("fault", [{"error": 15}, {"error": 999}, {"error_83": 15}, {"error_83": 3}])
def test_a_device_lost_in_a_run_voids_it(tmp_path, config, cgroup, device: Device, fault: dict) -> None:
    trace = session(tmp_path / "r", config, cgroup, lambda: device.set(**fault))
    assert [failure.code for failure in trace.failures] == ["DEVICE_LOST"]
    assert void(trace) == "CHANNEL_LOST"
    with pytest.raises(InvalidMeasurement):
        read_channel(trace, "gpu", trace.window("run-1"))
    # The idle stretch before it was sound, and stays so.
    assert read_channel(trace, "gpu", trace.window("idle-0")).joules > 0


def test_a_silent_diagnostic_is_null_and_voids_nothing(tmp_path, config, cgroup, device: Device) -> None:
    trace = session(tmp_path / "r", config, cgroup, lambda: device.set(error_186=999))
    assert trace.fast.column("gpu0.power_instant_mw")[-1] is None
    validate(trace)


def test_a_driver_reload_is_a_reset(tmp_path, config, cgroup, device: Device) -> None:
    trace = session(tmp_path / "r", config, cgroup, lambda: device.set(reset_ns=time.monotonic_ns()))
    assert void(trace) == "COUNTER_RESET"


def test_a_frozen_counter_is_no_energy_figure(tmp_path, config, cgroup, device: Device) -> None:
    device.set(frozen=123_456)
    trace = session(tmp_path / "r", config, cgroup)
    with pytest.raises(InvalidMeasurement) as caught:
        counted(trace)
    assert caught.value.code == "WINDOW_TOO_SHORT"


def test_a_driver_that_hangs_leaves_a_gap_that_voids(tmp_path, config, cgroup, device: Device) -> None:
    def hang() -> None:
        device.set(hang_ms=100)
        time.sleep(0.3)
        device.set(hang_ms=0)

    trace = session(tmp_path / "r", config, cgroup, hang)
    assert trace.misses
    assert void(trace) == "TRACE_GAP"


def test_throttling_in_a_run_voids_it(tmp_path, config, cgroup, device: Device) -> None:
    assert void(session(tmp_path / "r", config, cgroup, lambda: device.set(reasons="0x40"))) == "THROTTLED"


def test_a_power_limit_that_is_moved_voids_it(tmp_path, config, cgroup, device: Device) -> None:
    assert void(session(tmp_path / "r", config, cgroup, lambda: device.set(limit_mw=400_000))) == "DEVICE_CHANGED"


def test_a_process_of_the_sandbox_may_compute_and_nobody_else(tmp_path, config, cgroup, device: Device) -> None:
    proc = tmp_path / "proc"
    (proc / "77").mkdir(parents=True)
    (proc / "78").mkdir()
    (proc / "stat").write_bytes(Path("/proc/stat").read_bytes())
    (proc / "77" / "cgroup").write_text(f"2:cpuacct:/docker/{CONTAINER}\n")
    (proc / "78" / "cgroup").write_text("2:cpuacct:/user.slice\n")
    config = SamplerConfig(
        devices=config.devices,
        period_ns=config.period_ns,
        host_period_ns=config.host_period_ns,
        powercap=config.powercap,
        proc=proc,
    )
    device.set(pid=77)
    ours = session(tmp_path / "ours", config, cgroup, seconds=0.3)
    assert set(ours.slow.column("gpu0.processes")) == {1}
    validate(ours)
    foreign = session(tmp_path / "foreign", config, cgroup, lambda: device.set(pid=78), seconds=0.3)
    assert void(foreign) == "FOREIGN_PROCESS"


def test_the_stand_in_is_not_a_device_of_this_machine(device: Device) -> None:
    assert Path(os.environ["LD_LIBRARY_PATH"], "libnvidia-ml.so.1").exists()
    assert device.start_ns <= time.monotonic_ns()
