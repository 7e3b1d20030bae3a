"""`python -m tests.standin -- COMMAND`: the command finds the device, its status is ours, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerator import UUIDS

from tests.standin import ring

REPOSITORY = Path(__file__).resolve().parents[3]
ASK = """
import pynvml, time
pynvml.nvmlInit()
for i in range(pynvml.nvmlDeviceGetCount()):
    handle = pynvml.nvmlDeviceGetHandleByIndex(i)
    print(pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) > 0)
"""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "tests.standin", *map(str, words)]


def daemons(folder: Path) -> list[str]:
    """The processes that write the folder's ring."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:
            continue
        if f"activity {folder}" in line:
            found.append(line)
    return found


def test_a_command_finds_the_devices_and_its_status_is_ours(tmp_path: Path) -> None:
    words = command(
        "--devices", 2, "--folder", tmp_path / "kept", "--", sys.executable, "-c", f"{ASK}raise SystemExit(7)"
    )
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == [f"{uuid} True" for uuid in UUIDS[:2]]
    assert done.stderr.startswith("stand-in: SIMULATED device, not hardware: GPU-57a2d111")
    assert len(ring.read(tmp_path / "kept" / "ring")) > 3
    assert daemons(tmp_path) == []


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run(command("--", "no-such-program"), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (127, "")
    assert "no program" in done.stderr


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_it_ends_with_its_daemon_however_it_ends(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    words = command("--folder", tmp_path / "kept", "--", "sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 3")
    process = subprocess.Popen(words, cwd=REPOSITORY, start_new_session=True, stderr=subprocess.DEVNULL)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert process.poll() is None
        time.sleep(0.02)
    assert daemons(tmp_path)
    process.send_signal(sent)  # to it alone: at a terminal the command would be told too
    assert process.wait() == status
    while daemons(tmp_path):
        time.sleep(0.02)
    if sent is signal.SIGKILL:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


ANSWERS = """
import json, pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(1)))
found = {"count": pynvml.nvmlDeviceGetCount(), "driver": pynvml.nvmlSystemGetDriverVersion()}
found["cuda"] = pynvml.nvmlSystemGetCudaDriverVersion()
bus = pynvml.nvmlDeviceGetPciInfo(handle).busId
found["by bus"] = pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByPciBusId(bus))
for name in ("Index", "MinorNumber", "Name", "Serial", "Architecture", "CudaComputeCapability", "PersistenceMode",
             "EnforcedPowerLimit", "PowerManagementLimit", "PowerManagementDefaultLimit",
             "PowerManagementLimitConstraints", "PowerUsage", "ComputeRunningProcesses", "GraphicsRunningProcesses"):
    found[name] = getattr(pynvml, f"nvmlDeviceGet{name}")(handle)
found["memory"] = [pynvml.nvmlDeviceGetMemoryInfo(handle, version).total for version in (None, pynvml.nvmlMemory_v2)]
for wanted in ("FanSpeed", "MigMode"):
    try:
        getattr(pynvml, f"nvmlDeviceGet{wanted}")(handle)
    except pynvml.NVMLError_NotSupported:
        found[wanted] = None
scoped = pynvml.nvmlDeviceGetFieldValues(handle, [(185, 0), (185, 2), 1])
found["fields"] = [value.nvmlReturn for value in scoped]
print(json.dumps(found))
"""


def test_meters_of_every_make_get_the_answers_they_ask_for(tmp_path: Path) -> None:
    given = ("--devices", 2, "--idle-w", 90, "--set", "name=NVIDIA H100 80GB HBM3", "--set", "device 1 driver=x")
    words = command(*given, "--set", "dither_mw=0", "--set", "limit_mw=350000", "--", sys.executable, "-c", ANSWERS)
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("PowerUsage") == pytest.approx(90_000, abs=1)
    assert found == {
        "count": 2,
        "driver": "stand-in",
        "cuda": 12040,
        "by bus": 1,
        "Index": 1,
        "MinorNumber": 1,
        "Name": "NVIDIA H100 80GB HBM3",
        "Serial": "57a2d1110002",
        "Architecture": 9,
        "CudaComputeCapability": [9, 0],
        "PersistenceMode": 1,
        "EnforcedPowerLimit": 350_000,
        "PowerManagementLimit": 350_000,
        "PowerManagementDefaultLimit": 700_000,
        "PowerManagementLimitConstraints": [200_000, 700_000],
        "ComputeRunningProcesses": [],
        "GraphicsRunningProcesses": [],
        "memory": [81_559 << 20] * 2,
        "FanSpeed": None,
        "MigMode": None,
        "fields": [0, 3, 3],
    }
