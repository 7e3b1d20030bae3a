"""An engine's facts, read from its answers and from a machine that is a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.launch.enginefacts import cpu_list, read_facts

INFO = {
    "ID": "A",
    "NCPU": 4,
    "MemTotal": 1000,
    "CgroupVersion": "2",
    "CgroupDriver": "systemd",
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "Driver": "overlay2",
    "Runtimes": {"runc": {}},
    "PidsLimit": True,
    "SwapLimit": False,
}
VERSION = {"Version": "29.1.0", "ApiVersion": "1.52"}


def limits(root: Path, pid: int, comm: str, hard: str) -> None:
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "comm").write_text(comm + "\n")
    (folder / "limits").write_text(f"Max processes  5 6 processes\nMax open files            1024   {hard}   files\n")


def test_a_plain_engine(tmp_path: Path):
    facts = read_facts(INFO, VERSION, "http://x", None, tmp_path)
    assert (facts.seccomp, facts.rootless, facts.user_namespaces, facts.containerd_store) == (True, False, False, False)
    assert (facts.cgroup_version, facts.cgroup_driver, facts.cpu_ids) == ("2", "systemd", (0, 1, 2, 3))
    assert all(isinstance(value, str) for value in facts.to_json().values())
    assert str(tmp_path) not in json.dumps(facts.to_json())


def test_an_engine_that_says_what_makes_it_unfit(tmp_path: Path):
    info = {
        **INFO,
        "SecurityOptions": ["name=rootless", "name=userns"],
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    }
    facts = read_facts(info, VERSION, "http://x", None, tmp_path)
    assert (facts.seccomp, facts.rootless, facts.user_namespaces, facts.containerd_store) == (False, True, True, True)


@pytest.mark.parametrize(
    ("change", "cdi", "runtime"),
    [
        ({}, False, False),
        ({"CDISpecDirs": ["/etc/cdi"]}, True, False),
        ({"CDISpecDirs": []}, False, False),
        ({"Runtimes": {"nvidia": {}}}, False, True),
    ],
)
def test_accelerator_support_is_read_from_the_engine(tmp_path: Path, change: dict, cdi: bool, runtime: bool):
    facts = read_facts({**INFO, **change}, VERSION, "http://x", None, tmp_path)
    assert (facts.cdi, facts.gpu_runtime) == (cdi, runtime)


def test_the_smallest_limit_of_the_engines_own_processes_counts(tmp_path: Path):
    limits(tmp_path, 10, "dockerd", "1048576")
    limits(tmp_path, 11, "containerd", "20000")
    limits(tmp_path, 12, "bash", "64")
    limits(tmp_path, 13, "containerd-shim", "32")
    assert read_facts(INFO, VERSION, "http://x", None, tmp_path).nofile_hard == 20000


def test_without_any_limit_in_sight_the_floor_is_used(tmp_path: Path):
    assert read_facts(INFO, VERSION, "http://x", None, tmp_path).nofile_hard == 1024


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3\n", (0, 1, 2, 3)), ("0,2-3,8\n", (0, 2, 3, 8)), ("0\n", (0,)), ("\n", ())]
)
def test_the_kernels_list_of_processors(text: str, cpus: tuple[int, ...]):
    assert cpu_list(text) == cpus


def test_sensors_that_show_power_are_found_and_others_left(tmp_path: Path):
    device = tmp_path / "sys/devices/platform/amd_energy.0/hwmon/hwmon3"
    fan = tmp_path / "sys/devices/platform/fan/hwmon/hwmon0"
    for folder, file in ((device, "energy1_input"), (fan, "fan1_input")):
        folder.mkdir(parents=True)
        (folder / file).touch()
    (tmp_path / "sys/class/hwmon").mkdir(parents=True)
    (tmp_path / "sys/class/hwmon/hwmon3").symlink_to(device)
    (tmp_path / "sys/class/hwmon/hwmon0").symlink_to(fan)
    found = read_facts(INFO, VERSION, "http://x", None, tmp_path).power_paths
    assert found == ("/sys/devices/platform/amd_energy.0/hwmon/hwmon3",)
