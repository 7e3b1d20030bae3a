"""A live sandbox, seen from outside by the engine's own command: it is its profile, and it ends whole."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from orchestrator.launch.engine import DockerEngine
from orchestrator.launch.layout import container_name, volume_name
from orchestrator.launch.profile import Logs, build_profile
from protocol.errors import EngineUnavailable, InvalidSubmission, SealBroken
from tests.engine.conftest import BUILD, SMALL, described, docker, leftovers, rig_name

pytestmark = pytest.mark.engine

SERVER = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("hello from the vendor", flush=True)
s = socket.socket(socket.AF_UNIX)
s.bind(os.environ["JOULESEAL_SOCKET"])
s.listen()
while True:
    c, _ = s.accept()
    c.close()
"""
RUDE = """
VOLUME /hoard /tmp/more
HEALTHCHECK --interval=200ms CMD touch /tmp/checked
STOPSIGNAL SIGCONT
ENV LD_PRELOAD=/evil.so LD_DEBUG=all NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all
LABEL dev.jouleseal.session=somebody-else dev.jouleseal.rig=another
EXPOSE 80
"""


@pytest.fixture(scope="session")
def rude(scripted) -> str:
    """An image that asks for everything that an image can ask for."""
    return scripted(SERVER, *RUDE.strip().splitlines())


def inspected(container_id: str) -> dict:
    return json.loads(docker("inspect", container_id).stdout)[0]


def test_docker_inspect_of_a_live_sandbox_shows_the_profile(launched, rude: str):
    sandbox = launched(rude)
    found = inspected(sandbox.container_id)
    host, config = found["HostConfig"], found["Config"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["Memory"] == host["MemorySwap"] == SMALL.memory_bytes
    assert host["PidsLimit"] == sandbox.profile.pids
    assert host["LogConfig"]["Type"] == "none"
    assert host["CgroupParent"] == f"/jouleseal/{sandbox.session_id}"
    assert host["Binds"] in (None, [])
    assert [m["Type"] for m in found["Mounts"]] == ["volume"], "no volume of the image's own"
    assert set(host["Tmpfs"]) == {"/tmp", "/cache", "/hoard", "/tmp/more"}
    assert config["User"] == "65532:65532"
    assert config["Healthcheck"]["Test"] == ["NONE"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["dev.jouleseal.session"] == sandbox.session_id
    assert found["Image"] == sandbox.profile.image
    assert "Health" not in found["State"]


def test_the_process_itself_has_what_the_profile_says(launched, rude: str):
    sandbox = launched(rude)
    os.close(sandbox.open_socket(30))
    children = Path(f"/proc/{sandbox.init_pid}/task/{sandbox.init_pid}/children").read_text().split()
    environment = Path(f"/proc/{children[0]}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0] for entry in environment}
    assert not {name for name in names if name.startswith(b"LD_")}
    assert b"NVIDIA_VISIBLE_DEVICES=void" in environment
    assert b"NVIDIA_DRIVER_CAPABILITIES" not in names
    mounts = Path(f"/proc/{children[0]}/mountinfo").read_text()
    assert all(" - tmpfs " in line for line in mounts.splitlines() if " /hoard " in line or " /tmp/more " in line)


def test_it_is_read_back_and_nothing_differs(launched, rude: str):
    sandbox = launched(rude)
    assert sandbox.differences() == []
    found = sandbox.verify()
    assert found["kernel"]["Seccomp"] == "2"
    assert found["kernel"]["limit.memory"] == SMALL.memory_bytes
    text = json.dumps(found)
    assert "/var/lib" not in text
    assert "evil" not in text


def test_a_profile_that_was_changed_behind_our_back_is_named(launched, rude: str):
    sandbox = launched(rude)
    docker("update", "--memory", "512m", "--memory-swap", "512m", "--pids-limit", "4000", sandbox.container_id)
    named = {line.split(":")[0] for line in sandbox.differences()}
    assert named == {
        "kernel.memory",
        "kernel.pids",
        "HostConfig.Memory",
        "HostConfig.MemorySwap",
        "HostConfig.PidsLimit",
    }
    with pytest.raises(SealBroken) as caught:
        sandbox.verify()
    assert caught.value.code == "PROFILE_DIFFERS"


def test_an_engine_that_applies_less_than_it_was_asked_is_found_before_anybody_sees_the_sandbox(
    engine: DockerEngine, rude: str, monkeypatch: pytest.MonkeyPatch
):
    """The create call loses a field on its way, as a proxy or an older engine would lose it."""
    send = engine._client.create_container_from_config

    def lossy(body: dict, name: str) -> dict:
        return send({**body, "HostConfig": {k: v for k, v in body["HostConfig"].items() if k != "PidsLimit"}}, name)

    monkeypatch.setattr(engine._client, "create_container_from_config", lossy)
    image = engine.resolve(rude)
    profile = build_profile(image, SMALL, None, engine.facts())
    with pytest.raises(SealBroken) as caught:
        engine.launch(image, profile, f"{rig_name()}-lossy")
    assert "kernel.pids" in caught.value.observed
    assert "HostConfig.PidsLimit" in caught.value.observed
    assert "lossy" not in leftovers(rig_name())


def test_the_socket_is_the_sandboxs_own_and_grpc_can_use_it(launched):
    built = subprocess.run([sys.executable, str(BUILD), "null"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    sandbox = launched("jouleseal/null:local")
    descriptor = sandbox.open_socket(30)
    with grpc.insecure_channel(f"unix:/proc/self/fd/{descriptor}") as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
    os.close(descriptor)


def test_there_are_no_logs_in_official_runs_and_capped_ones_while_checking(launched, rude: str):
    official = launched(rude)
    os.close(official.open_socket(30))
    assert official.logs() == b""
    assert docker("logs", official.container_id, check=False).returncode != 0
    checking = launched(rude, logs=Logs.CAPPED)
    os.close(checking.open_socket(30))
    assert b"hello from the vendor" in checking.logs()


def test_the_stop_signal_is_ours(launched, rude: str):
    """The image asks for SIGCONT, which would be ignored until the kill; ours is heard, and the server says 7."""
    sandbox = launched(rude)
    os.close(sandbox.open_socket(30))
    sandbox.stop(60)
    state = sandbox.state()
    assert (state.running, state.exit_code, state.oom_killed) == (False, 7, False)


def test_a_kill_is_final_and_twice_is_once(launched, rude: str):
    sandbox = launched(rude)
    sandbox.kill()
    sandbox.kill()
    sandbox.stop()
    assert sandbox.state().exit_code == 137


def test_the_sessions_control_group_is_its_own_and_outlives_the_sandbox(launched, rude: str):
    sandbox = launched(rude)
    os.close(sandbox.open_socket(30))
    name = "cpuacct" if "cpuacct" in sandbox.cgroup_dirs else "unified"
    file = sandbox.cgroup_dirs[name] / {"cpuacct": "cpuacct.usage", "unified": "cpu.stat"}[name]
    sandbox.kill()
    assert not sandbox.leaf_dirs[name].exists()
    assert int(file.read_text().split()[-1]) >= 0
    sandbox.destroy()
    assert not file.exists()


def test_nothing_is_left_of_a_destroyed_sandbox(launched, rude: str):
    sandbox = launched(rude)
    session = sandbox.session_id
    assert session in leftovers(rig_name())
    sandbox.destroy()
    sandbox.destroy()
    assert session not in leftovers(rig_name())
    assert docker("inspect", container_name(session), check=False).returncode != 0
    assert docker("volume", "inspect", volume_name(session), check=False).returncode != 0


def test_what_a_killed_orchestrator_left_is_reaped_and_nothing_of_anothers(launched, rude: str):
    mine, others = launched(rude), launched(rude)
    stranger = DockerEngine.connect(f"{rig_name()}-stranger")
    try:
        assert stranger.reap() == []
        again = DockerEngine.connect(rig_name())
        try:
            assert again.reap([mine.session_id, "never-was"]) == [mine.session_id]
            assert mine.session_id not in leftovers(rig_name())
            assert others.state().running
            assert others.session_id in again.reap()
            assert leftovers(rig_name()).strip() == ""
        finally:
            again.close()
    finally:
        stranger.close()


def test_a_volume_without_its_container_is_reaped_too(engine: DockerEngine, launched, rude: str):
    sandbox = launched(rude)
    docker("rm", "--force", sandbox.container_id)
    assert volume_name(sandbox.session_id) in leftovers(rig_name())
    assert sandbox.session_id in engine.reap()
    assert sandbox.session_id not in leftovers(rig_name())


def test_a_second_sandbox_of_a_session_is_refused_and_the_first_lives(engine: DockerEngine, launched, rude: str):
    first = launched(rude)
    with pytest.raises(EngineUnavailable) as caught:
        engine.launch(engine.resolve(rude), first.profile, first.session_id)
    assert caught.value.code == "SESSION_EXISTS"
    assert first.state().running


def test_a_socket_that_another_process_put_there_is_refused(launched, scripted):
    """A host process listens in the sandbox's own folder, as a relay of another vendor's container would."""
    sandbox = launched(scripted("import time; time.sleep(600)"))
    folder = os.open(f"/proc/{sandbox.init_pid}/root/run/jouleseal", os.O_PATH)
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(f"/proc/self/fd/{folder}/model.sock")
        foreign.listen()
        with pytest.raises(SealBroken) as caught:
            sandbox.open_socket(30)
    os.close(folder)
    assert caught.value.code == "SOCKET_NOT_OURS"


def test_an_image_is_known_by_the_digest_that_we_computed(engine: DockerEngine, rude: str):
    image = engine.resolve(rude)
    assert image.config_digest == json.loads(docker("inspect", rude).stdout)[0]["Id"]
    assert list(image.diff_ids) == json.loads(docker("inspect", rude).stdout)[0]["RootFS"]["Layers"]
    assert replace(image, size_bytes=0) == replace(described(rude), size_bytes=0)
    assert image.volumes == ("/hoard", "/tmp/more")
    assert {"LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES"} <= set(image.env_names)


def test_an_image_that_is_not_here_is_never_pulled(engine: DockerEngine, rude: str):
    with pytest.raises(InvalidSubmission) as caught:
        engine.resolve("jouleseal/never-built:local")
    assert caught.value.code == "IMAGE_NOT_FOUND"
    image = engine.resolve(rude)
    gone = replace(image, config_digest="sha256:" + "0" * 64)
    with pytest.raises(InvalidSubmission) as caught:
        engine.launch(gone, build_profile(gone, SMALL, None, engine.facts()), f"{rig_name()}-gone")
    assert caught.value.code == "IMAGE_NOT_FOUND"
    assert f"{rig_name()}-gone" not in leftovers(rig_name())
