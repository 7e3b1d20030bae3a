"""Lets these tests import the stand-ins of tests/standin, and gives them a cgroup and a device made of files."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "standin"))

from accelerator import CONTROL, Device, build
from sandbox import PaperCgroup


@pytest.fixture
def cgroup(tmp_path: Path) -> PaperCgroup:
    return PaperCgroup(tmp_path / "cgroup")


@pytest.fixture
def no_powercap(tmp_path: Path) -> Path:
    return tmp_path / "no-powercap"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def device(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A stand-in accelerator that the next sampler process will find through the real pynvml."""
    script = tmp_path / "device.txt"
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    monkeypatch.setenv(CONTROL, str(script))
    return Device(script)
