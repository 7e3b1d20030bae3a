"""What a device is set to: stated once, watched once a second, and refused where a device is not a whole one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from accelerator import UUID, Device

from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig
from protocol.errors import AcceleratorUnavailable, InvalidMeasurement
from protocol.methodology.energy import validate
from protocol.methodology.trace import PowerTrace, parse_trace
from protocol.units import NS_PER_MS


@pytest.fixture
def config(no_powercap: Path) -> SamplerConfig:
    return SamplerConfig(
        devices=(UUID,), period_ns=20 * NS_PER_MS, host_period_ns=100 * NS_PER_MS, powercap=no_powercap
    )


def watched(path: Path, config: SamplerConfig, *in_the_middle) -> PowerTrace:
    with Sampler.start(path, config) as sampler:
        sampler.open_window("run-1")
        for happen in in_the_middle:
            time.sleep(0.15)
            happen()
        time.sleep(0.2)
        sampler.close_window()
        sampler.stop()
    return parse_trace(path.read_bytes())


def test_a_device_states_its_settings(tmp_path, config, device: Device) -> None:
    device.set(persistence=0, compute_mode=3, default_limit_mw=650_000)
    trace = watched(tmp_path / "r", config)
    validate(trace)
    for name, value in (("persistence", 0), ("compute_mode", 3)):
        assert set(trace.slow.column(f"gpu0.{name}")) == {value}
    assert trace.host["gpu0.power_limit_default_mw"] == "650000"
    assert trace.host["gpu0.virtualization"] == "0"
    assert trace.host["gpu0.vbios"] == "stand-in"


@pytest.mark.parametrize("change", [{"persistence": 0}, {"compute_mode": 2}, {"ecc": 0}, {"limit_mw": 500_000}])
def test_a_setting_that_is_moved_voids_the_record(tmp_path, config, device: Device, change: dict) -> None:
    trace = watched(tmp_path / "r", config, lambda: device.set(**change))
    with pytest.raises(InvalidMeasurement) as caught:
        validate(trace)
    assert caught.value.code == "DEVICE_CHANGED"
    assert next(iter(change)).removesuffix("_mw") in caught.value.observed


@pytest.mark.parametrize("mode", [2, 3, 4])
def test_a_share_of_a_device_is_refused(tmp_path, config, device: Device, mode: int) -> None:
    device.set(virtualization=mode)
    with pytest.raises(AcceleratorUnavailable) as caught:
        Sampler.start(tmp_path / "r", config)
    assert caught.value.code == "VGPU"
    assert str(mode) in caught.value.observed


def test_a_device_that_is_passed_through_is_whole(tmp_path, config, device: Device) -> None:
    device.set(virtualization=1)
    assert watched(tmp_path / "r", config).host["gpu0.virtualization"] == "1"
