"""What is read back: an engine that did as asked shows no difference, one that did not is named field by field."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.launch.device import DeviceLease
from orchestrator.launch.page import example_facts, example_profile
from orchestrator.launch.profile import build_profile
from orchestrator.launch.readback import evidence, group_limits, inspect_differences, kernel_differences
from protocol.submission import Resources, SealedImage
from protocol.units import MIB

PROFILE = example_profile()
ASKED = PROFILE.to_engine("s-1", {"dev.jouleseal.rig": "r"})


def answer(asked: dict = ASKED) -> dict:
    """An engine's description of a container that is exactly what was asked for, in the engine's own habits."""
    asked = copy.deepcopy(asked)
    host = asked.pop("HostConfig")
    host = {key: (None if value in ([], {}) else value) for key, value in host.items()}
    config = {key: value for key, value in asked.items() if key != "Image"}
    config["Env"] = [*config["Env"], "PATH=/usr/bin"]
    config["Healthcheck"]["Interval"] = 300_000_000
    config["Labels"]["org.opencontainers.image.vendor"] = "somebody"
    return {
        "Image": asked["Image"],
        "Config": {**config, "Image": "whatever", "Entrypoint": ["/secret"]},
        "HostConfig": {**host, "Runtime": "runc", "ConsoleSize": [0, 0]},
        "Mounts": [
            {
                "Type": "volume",
                "Name": "jouleseal-s-1-socket",
                "Source": "/var/lib/docker/volumes/x/_data",
                "Destination": "/run/jouleseal",
                "Driver": "local",
                "RW": True,
            }
        ],
        "State": {"Pid": 1},
        "LogPath": "/var/lib/docker/x",
    }


def test_an_engine_that_did_as_asked_shows_no_difference():
    assert inspect_differences(ASKED, answer()) == []


WEAKER = {
    "NetworkMode": "bridge",
    "ReadonlyRootfs": False,
    "CapDrop": [],
    "CapAdd": ["SYS_ADMIN"],
    "SecurityOpt": ["no-new-privileges"],
    "IpcMode": "host",
    "CgroupnsMode": "host",
    "Init": False,
    "LogConfig": {"Type": "json-file", "Config": {}},
    "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
    "MaskedPaths": ["/proc/kcore"],
    "ReadonlyPaths": [],
    "DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}],
    "PidsLimit": None,
    "Memory": 0,
    "MemorySwap": -1,
    "CpusetCpus": "",
    "ShmSize": 1 << 40,
    "OomScoreAdj": -1000,
    "Ulimits": [{"Name": "core", "Soft": -1, "Hard": -1}],
    "MemorySwappiness": 60,
    "CgroupParent": "",
    "Tmpfs": {"/tmp": "rw,exec"},
    "Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}],
    "AutoRemove": True,
    "Binds": ["/:/host"],
    "BlkioWeight": 500,
    "CpuPeriod": 1,
    "CpuQuota": 1,
    "CpuShares": 2,
    "DeviceCgroupRules": ["a *:* rwm"],
    "Devices": [{"PathOnHost": "/dev/sda"}],
    "Dns": ["192.0.2.1"],
    "ExtraHosts": ["a:192.0.2.1"],
    "GroupAdd": ["0"],
    "Links": ["/a:/b"],
    "NanoCpus": 1,
    "OomKillDisable": True,
    "PidMode": "host",
    "PortBindings": {"80/tcp": [{"HostPort": "80"}]},
    "Privileged": True,
    "PublishAllPorts": True,
    "UTSMode": "host",
    "UsernsMode": "host",
    "VolumesFrom": ["other"],
}


def test_the_table_below_knows_every_field_that_is_asked_for():
    assert set(WEAKER) == set(ASKED["HostConfig"])


@pytest.mark.parametrize("field", sorted(WEAKER))
def test_a_weaker_field_is_named(field: str):
    found = answer()
    found["HostConfig"][field] = WEAKER[field]
    (line,) = inspect_differences(ASKED, found)
    assert line.startswith(f"HostConfig.{field}: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [("User", "0:0"), ("Hostname", "other"), ("StopSignal", "SIGCONT"), ("StopTimeout", 999), ("Tty", True)],
)
def test_a_different_config_field_is_named(field: str, value: object):
    found = answer()
    found["Config"][field] = value
    (line,) = inspect_differences(ASKED, found)
    assert line.startswith(f"{field}: ")


def test_another_image_is_named():
    assert inspect_differences(ASKED, {**answer(), "Image": "sha256:" + "1" * 64})[0].startswith("Image: ")


def test_a_health_check_that_came_back_is_named():
    found = answer()
    found["Config"]["Healthcheck"] = {"Test": ["CMD", "touch", "/tmp/x"]}
    assert inspect_differences(ASKED, found) == [
        "Healthcheck.Test: ['NONE'] was asked for, ['CMD', 'touch', '/tmp/x'] was found"
    ]


def test_a_linker_variable_that_came_back_is_named():
    found = answer()
    found["Config"]["Env"].append("LD_PRELOAD=/evil.so")
    assert any(line.startswith("Env.LD_PRELOAD") for line in inspect_differences(ASKED, found))
    found["Config"]["Env"][-1] = "LD_SOMETHING_NEW=1"
    assert any(line.startswith("Env.LD_SOMETHING_NEW") for line in inspect_differences(ASKED, found))


def test_a_variable_of_ours_with_another_value_is_named():
    found = answer()
    found["Config"]["Env"] = [entry.replace("DEVICES=void", "DEVICES=all") for entry in found["Config"]["Env"]]
    assert inspect_differences(ASKED, found)[0].startswith("Env: ")


def test_an_anonymous_volume_is_named():
    found = answer()
    found["Mounts"].append({"Type": "volume", "Name": "f" * 64, "Destination": "/data"})
    assert inspect_differences(ASKED, found)[0].startswith("Mounts: ")


def test_an_empty_answer_differs_in_everything_and_breaks_nothing():
    assert len(inspect_differences(ASKED, {})) > 20


def test_a_device_request_is_compared_as_the_engine_returns_it():
    lease = DeviceLease(uuid="GPU-8e2ff1e5-0b3c-4b7e-9f41-0a1d6f0c6b1e", name="x")
    image = SealedImage(
        config_digest=PROFILE.image, diff_ids=(), manifest_digest=None, user="1:1", volumes=(), entrypoint=(),
        env_names=(), size_bytes=0,
    )  # fmt: skip
    profile = build_profile(
        image, Resources(memory_bytes=64 * MIB, cpus=1, shm_bytes=0), lease, replace(example_facts(), cdi=True)
    )
    asked = profile.to_engine("s-1")
    found = answer(asked)
    found["HostConfig"]["DeviceRequests"] = [
        {
            "Driver": "cdi",
            "Count": 0,
            "DeviceIDs": [f"nvidia.com/gpu={lease.uuid}"],
            "Capabilities": None,
            "Options": None,
        }
    ]
    assert inspect_differences(asked, found) == []
    found["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] = ["nvidia.com/gpu=all"]
    assert len(inspect_differences(asked, found)) == 1


STATUS = {
    "Uid": "65532 65532 65532 65532",
    "Gid": "65532 65532 65532 65532",
    "NoNewPrivs": "1",
    "Seccomp": "2",
    **dict.fromkeys(("CapPrm", "CapEff", "CapBnd", "CapAmb"), "0000000000000000"),
}
LIMITS = {"memory": PROFILE.memory_bytes, "pids": PROFILE.pids}


def test_a_kernel_that_confirms_shows_no_difference():
    assert kernel_differences(PROFILE, STATUS, LIMITS) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Uid", "0 0 0 0"),
        ("Gid", "65532 0 65532 65532"),
        ("NoNewPrivs", "0"),
        ("Seccomp", "0"),
        ("CapBnd", "00000000a80425fb"),
    ],
)
def test_the_kernels_word_counts_more_than_the_engines(field: str, value: str):
    (line,) = kernel_differences(PROFILE, {**STATUS, field: value}, LIMITS)
    assert line.startswith(f"kernel.{field}: ")


def test_a_limit_that_was_recorded_and_never_set_is_seen():
    lines = kernel_differences(PROFILE, STATUS, {"memory": 9223372036854771712, "pids": None})
    assert [line.split(":")[0] for line in lines] == ["kernel.memory", "kernel.pids"]


def test_limits_are_read_from_either_version_of_control_groups(tmp_path: Path):
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "memory.limit_in_bytes").write_text("536870912\n")
    (tmp_path / "v1" / "pids.max").write_text("max\n")
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "memory.max").write_text("1024\n")
    (tmp_path / "v2" / "pids.max").write_text("7\n")
    assert group_limits({"memory": tmp_path / "v1", "pids": tmp_path / "v1"}) == {"memory": 536870912, "pids": None}
    assert group_limits({"unified": tmp_path / "v2"}) == {"memory": 1024, "pids": 7}
    assert group_limits({}) == {"memory": None, "pids": None}


def test_the_evidence_holds_no_path_of_the_host_and_no_secret_of_the_vendor():
    found = answer()
    found["Config"]["Env"].append("LICENCE_KEY=hunter2")
    text = json.dumps(evidence(ASKED, found))
    assert "/var/lib/docker" not in text
    assert "hunter2" not in text
    assert "/secret" not in text
    assert "LICENCE_KEY" in text
    assert f"seccomp=sha256:{PROFILE.seccomp_sha256}" in text
