"""The launch profile as a vendor's image, an operator's engine and an auditor would try to bend it."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from orchestrator.launch.device import DeviceLease
from orchestrator.launch.layout import SESSION
from orchestrator.launch.page import _PAGE, example_facts, page
from orchestrator.launch.profile import REASONS, LaunchProfile, Logs, build_profile
from protocol.errors import AcceleratorUnavailable, EngineUnavailable, InvalidSubmission
from protocol.submission import Resources, SealedImage
from protocol.units import MIB

GPU = DeviceLease(uuid="GPU-8e2ff1e5-0b3c-4b7e-9f41-0a1d6f0c6b1e", name="an accelerator")
FACTS = example_facts()
RESOURCES = Resources(memory_bytes=512 * MIB, cpus=1, shm_bytes=0)
IMAGE = SealedImage(
    config_digest="sha256:" + "ab" * 32,
    diff_ids=("sha256:" + "cd" * 32,),
    manifest_digest=None,
    user="65532:65532",
    volumes=(),
    entrypoint=("/server",),
    env_names=("PATH",),
    size_bytes=1,
)


def host(profile: LaunchProfile, session: str = "s-1") -> dict:
    return profile.to_engine(session)["HostConfig"]


def test_every_field_has_a_reason_and_every_reason_a_field():
    assert {f.name for f in fields(LaunchProfile)} == set(REASONS)
    assert all(reason.endswith(".") and len(reason) > 30 for reason in REASONS.values())


def test_the_page_is_what_the_code_says():
    assert _PAGE.read_text() == page()


def test_the_engine_is_asked_for_the_whole_seal():
    config = host(build_profile(IMAGE, RESOURCES, None, FACTS))
    assert config["NetworkMode"] == "none"
    assert config["ReadonlyRootfs"] is True
    assert config["CapDrop"] == ["ALL"]
    assert config["CapAdd"] == []
    assert config["SecurityOpt"][0] == "no-new-privileges"
    assert json.loads(config["SecurityOpt"][1].removeprefix("seccomp="))["defaultAction"] == "SCMP_ACT_ERRNO"
    assert config["Memory"] == config["MemorySwap"] == 512 * MIB
    assert config["MemorySwappiness"] == 0
    assert config["LogConfig"]["Type"] == "none"
    assert config["IpcMode"] == config["CgroupnsMode"] == "private"
    assert config["Privileged"] is False
    assert config["CgroupParent"] == "/jouleseal/s-1"
    assert {"/sys/class/powercap", "/sys/devices/virtual/powercap", "/proc/kcore"} <= set(config["MaskedPaths"])
    assert "noexec" in config["Tmpfs"]["/tmp"].split(",")
    assert "exec" in config["Tmpfs"]["/cache"].split(",")
    assert all("nr_inodes=" in options for options in config["Tmpfs"].values())


def test_what_the_image_asked_for_is_overridden():
    asking = replace(
        IMAGE, volumes=("/data", "/tmp"), env_names=("LD_PRELOAD", "LD_DEBUG_OUTPUT", "NVIDIA_REQUIRE_CUDA", "PATH")
    )
    body = build_profile(asking, RESOURCES, None, FACTS).to_engine("s-1")
    assert body["Healthcheck"] == {"Test": ["NONE"]}
    assert body["StopSignal"] == "SIGTERM"
    assert {"LD_PRELOAD", "LD_DEBUG_OUTPUT", "LD_LIBRARY_PATH", "NVIDIA_REQUIRE_CUDA"} <= set(body["Env"])
    assert "NVIDIA_VISIBLE_DEVICES=void" in body["Env"]
    assert set(body["HostConfig"]["Tmpfs"]) == {"/tmp", "/cache", "/data"}
    assert "exec" not in body["HostConfig"]["Tmpfs"]["/data"].split(",")


def test_the_caches_that_frameworks_look_for_are_all_writable():
    env = dict(
        entry.split("=", 1)
        for entry in build_profile(IMAGE, RESOURCES, None, FACTS).to_engine("s")["Env"]
        if "=" in entry
    )
    for name in ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"):
        assert env[name].startswith("/cache")
    assert env["USER"]
    assert env["JOULESEAL_SOCKET"] == "/run/jouleseal/model.sock"


@pytest.mark.parametrize(
    "user",
    ["", "0", "root", "sealed", "0:0", "65532:0", "0:65532", "65532:wheel", "-1", "4294967296", "65532:", "1 ", "0x10"],
)
def test_an_image_without_a_numeric_user_is_refused(user: str):
    with pytest.raises(InvalidSubmission) as caught:
        build_profile(replace(IMAGE, user=user), RESOURCES, None, FACTS)
    assert caught.value.code == "IMAGE_USER"


@pytest.mark.parametrize(("user", "expected"), [("65532", "65532:65532"), ("1000:2000", "1000:2000")])
def test_the_users_group_is_never_left_to_the_image(user: str, expected: str):
    assert build_profile(replace(IMAGE, user=user), RESOURCES, None, FACTS).user == expected


@pytest.mark.parametrize(
    "volume",
    [
        "/",
        "",
        "relative",
        "/proc/x",
        "/sys",
        "/dev/shm",
        "/run",
        "/run/jouleseal/x",
        "/a/../b",
        "/a,exec",
        "/a:b",
        "/a b",
        "/\n",
        "/a\\b",
        "//a",
    ],
)
def test_a_volume_that_cannot_be_covered_is_refused(volume: str):
    with pytest.raises(InvalidSubmission) as caught:
        build_profile(replace(IMAGE, volumes=(volume,)), RESOURCES, None, FACTS)
    assert caught.value.code == "IMAGE_VOLUME"


def test_a_thousand_volumes_are_refused():
    with pytest.raises(InvalidSubmission, match="1000 VOLUMEs"):
        build_profile(replace(IMAGE, volumes=tuple(f"/v{i}" for i in range(1000))), RESOURCES, None, FACTS)


def test_a_volume_on_the_sockets_folder_changes_nothing():
    assert build_profile(replace(IMAGE, volumes=("/run/jouleseal/",)), RESOURCES, None, FACTS) == build_profile(
        IMAGE, RESOURCES, None, FACTS
    )


def test_an_environment_name_with_a_newline_is_refused():
    with pytest.raises(InvalidSubmission) as caught:
        build_profile(replace(IMAGE, env_names=("A\nLD_PRELOAD",)), RESOURCES, None, FACTS)
    assert caught.value.code == "IMAGE_ENV"


@pytest.mark.parametrize(
    "change",
    [
        {"memory_bytes": 1 << 50},
        {"memory_bytes": 0},
        {"memory_bytes": -1},
        {"cpus": 0},
        {"cpus": 3},
        {"shm_bytes": -1},
        {"shm_bytes": 513 * MIB},
    ],
)
def test_a_senseless_request_is_refused_and_never_cut_down(change: dict):
    with pytest.raises(InvalidSubmission) as caught:
        build_profile(IMAGE, replace(RESOURCES, **change), None, FACTS)
    assert caught.value.code == "RESOURCES"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rootless": True}, "ENGINE_LIMITS"),
        ({"user_namespaces": True}, "ENGINE_USER_NAMESPACES"),
        ({"seccomp": False}, "ENGINE_SECCOMP"),
        ({"containerd_store": True}, "ENGINE_IMAGE_STORE"),
    ],
)
def test_an_engine_that_would_seal_less_than_it_says_is_refused(change: dict, code: str):
    with pytest.raises(EngineUnavailable) as caught:
        build_profile(IMAGE, RESOURCES, None, replace(FACTS, **change))
    assert caught.value.code == code


def test_the_lowest_processor_is_kept_for_the_driver():
    facts = replace(FACTS, cpu_ids=(0, 2, 4, 6))
    assert build_profile(IMAGE, RESOURCES, None, facts).cpuset == "6"
    assert build_profile(IMAGE, replace(RESOURCES, cpus=3), None, facts).cpuset == "2,4,6"


def test_open_files_are_what_the_engine_may_grant():
    limits = {
        u["Name"]: u["Hard"]
        for u in host(build_profile(IMAGE, RESOURCES, None, replace(FACTS, nofile_hard=20000)))["Ulimits"]
    }
    assert limits == {"core": 0, "nofile": 20000}


def test_control_groups_v2_and_systemd_get_their_own_words():
    config = host(build_profile(IMAGE, RESOURCES, None, replace(FACTS, cgroup_version="2", cgroup_driver="systemd")))
    assert "MemorySwappiness" not in config
    assert config["CgroupParent"] == "jouleseal-s-1.slice"


def test_this_machines_own_power_sensors_are_masked():
    facts = replace(FACTS, power_paths=("/sys/devices/platform/amd_energy.0/hwmon/hwmon3",))
    assert facts.power_paths[0] in host(build_profile(IMAGE, RESOURCES, None, facts))["MaskedPaths"]


def test_all_sessions_of_a_campaign_share_one_digest_and_no_name():
    profile = build_profile(IMAGE, RESOURCES, None, FACTS)
    assert profile.digest() == build_profile(IMAGE, RESOURCES, None, FACTS).digest()
    assert SESSION.encode() in profile.to_json()
    first, second = profile.to_engine("s-1"), profile.to_engine("s-2")
    assert json.dumps(first).replace("s-1", "s-2") == json.dumps(second)
    assert SESSION not in json.dumps(first)


def test_any_change_of_the_profile_changes_its_digest():
    official = build_profile(IMAGE, RESOURCES, None, FACTS)
    checking = build_profile(IMAGE, RESOURCES, None, FACTS, logs=Logs.CAPPED)
    larger = build_profile(IMAGE, replace(RESOURCES, memory_bytes=513 * MIB), None, FACTS)
    assert len({official.digest(), checking.digest(), larger.digest()}) == 3
    assert host(checking)["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "1", "max-size": str(10 * MIB)}}


@pytest.mark.parametrize("name", ["", "../../etc", "A", "a/b", "-a", "a" * 64, "a b", ".."])
def test_a_session_name_that_would_leave_its_folder_is_refused(name: str):
    with pytest.raises(EngineUnavailable) as caught:
        build_profile(IMAGE, RESOURCES, None, FACTS).to_engine(name)
    assert caught.value.code == "SESSION_NAME"


def test_extra_labels_cannot_take_the_sessions_own():
    labels = build_profile(IMAGE, RESOURCES, None, FACTS).to_engine("s-1", {"dev.jouleseal.session": "x", "a": "b"})[
        "Labels"
    ]
    assert labels == {"dev.jouleseal.session": "s-1", "a": "b"}


def test_a_leased_accelerator_is_asked_for_by_uuid_through_nvidias_runtime():
    body = build_profile(IMAGE, RESOURCES, GPU, replace(FACTS, gpu_runtime=True)).to_engine("s-1")
    assert body["HostConfig"]["DeviceRequests"] == [
        {"Driver": "nvidia", "Count": 0, "DeviceIDs": [GPU.uuid], "Capabilities": [["gpu", "compute"]], "Options": {}}
    ]
    assert f"NVIDIA_VISIBLE_DEVICES={GPU.uuid}" in body["Env"]
    assert "NVIDIA_DRIVER_CAPABILITIES=compute" in body["Env"]


def test_a_leased_accelerator_is_asked_for_by_cdi_name_where_the_engine_has_it():
    body = build_profile(IMAGE, RESOURCES, GPU, replace(FACTS, gpu_runtime=True, cdi=True)).to_engine("s-1")
    assert body["HostConfig"]["DeviceRequests"] == [
        {"Driver": "cdi", "Count": 0, "DeviceIDs": [f"nvidia.com/gpu={GPU.uuid}"], "Capabilities": [], "Options": {}}
    ]


def test_a_lease_on_an_engine_without_accelerators_is_the_rigs_fault():
    with pytest.raises(AcceleratorUnavailable) as caught:
        build_profile(IMAGE, RESOURCES, GPU, FACTS)
    assert caught.value.code == "NO_DEVICE_SUPPORT"


@pytest.mark.parametrize("uuid", ["all", "0", "", "GPU-1", GPU.uuid + ",all", "none"])
def test_only_a_uuid_is_a_lease(uuid: str):
    with pytest.raises(AcceleratorUnavailable):
        DeviceLease(uuid=uuid, name="x")


def test_no_accelerator_is_asked_for_in_the_cpu_class():
    assert (
        host(build_profile(IMAGE, RESOURCES, None, replace(FACTS, gpu_runtime=True, cdi=True)))["DeviceRequests"] == []
    )
