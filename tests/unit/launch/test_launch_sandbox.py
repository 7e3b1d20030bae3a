"""A sandbox's life against an engine that is a value: how it ended, and that it ends whole."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.launch import sandbox as module
from orchestrator.launch.cgroups import Membership
from orchestrator.launch.page import example_profile
from orchestrator.launch.process import Process, status_fields
from orchestrator.launch.sandbox import Sandbox, exit_meaning
from protocol.errors import ContainerFailed, DeadlineExceeded, EngineUnavailable, SealBroken


class FakeEngine:
    """Answers as it was told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"Running": True}
        self.asked: list[str] = []

    def inspect(self, container_id: str) -> dict[str, Any]:
        return {"State": self.state}

    def stop(self, container_id: str, grace_s: int) -> None:
        self.asked.append(f"stop {grace_s}")

    def kill(self, container_id: str) -> None:
        self.asked.append("kill")

    def remove(self, container_id: str, volume: str) -> None:
        self.asked.append(f"remove {volume}")

    def logs(self, container_id: str) -> bytes:
        return b"output"


@pytest.fixture
def child() -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def box(child: subprocess.Popen, engine: FakeEngine, tmp_path: Path) -> Sandbox:
    """A sandbox whose root is a folder and whose control groups are this process's own."""
    held = Process.hold(child.pid)
    assert held is not None
    proc = tmp_path / "proc"
    (proc / str(child.pid)).mkdir(parents=True)
    (proc / str(child.pid) / "root").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "run" / "jouleseal").mkdir(parents=True)
    group = tmp_path / "cgroup" / "leaf"
    group.mkdir(parents=True)
    profile = example_profile()
    return Sandbox(
        container_id="c",
        session_id="s-1",
        volume="jouleseal-s-1-socket",
        profile=profile,
        request=profile.to_engine("s-1"),
        process=Process(pid=held.pid, pidfd=held.pidfd, proc=proc),
        membership=Membership.parse(Path("/proc/self/cgroup").read_text()),
        cgroup_dirs={"memory": group.parent},
        leaf_dirs={"memory": group},
        calls=engine,
    )


@pytest.fixture
def server(tmp_path: Path, box: Sandbox) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        # The path of a temporary folder can be longer than a unix socket's 107 bytes; the folder's descriptor is not.
        folder = os.open(tmp_path / "root/run/jouleseal", os.O_PATH)
        listener.bind(f"/proc/self/fd/{folder}/model.sock")
        os.close(folder)
        listener.listen()
        yield listener


def test_the_models_own_socket_is_handed_out(box: Sandbox, server: socket.socket):
    descriptor = box.open_socket(5)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(f"/proc/self/fd/{descriptor}")
    os.close(descriptor)


def test_a_socket_of_another_sandbox_is_not(box: Sandbox, server: socket.socket):
    box.membership = Membership.parse("0::/jouleseal/other/x\n")
    with pytest.raises(SealBroken, match="SOCKET_NOT_OURS"):
        box.open_socket(5)


def test_no_socket_in_time(box: Sandbox):
    with pytest.raises(DeadlineExceeded) as caught:
        box.open_socket(0.05)
    assert caught.value.code == "SOCKET_MISSING"


def test_a_socket_that_nobody_serves_in_time(box: Sandbox, server: socket.socket, tmp_path: Path):
    server.close()
    with pytest.raises(DeadlineExceeded) as caught:
        box.open_socket(0.05)
    assert caught.value.code == "SOCKET_NOT_CONNECTABLE"


def end(child: subprocess.Popen) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_a_server_that_ended_is_not_waited_for(box: Sandbox, child: subprocess.Popen, engine: FakeEngine):
    engine.state = {"Running": False, "ExitCode": 3}
    end(child)
    with pytest.raises(ContainerFailed) as caught:
        box.open_socket(3600)
    assert (caught.value.code, "code 3" in caught.value.observed) == ("EXITED", True)


def test_a_server_that_was_killed_for_memory_is_told_from_one_that_ended(
    box: Sandbox, child: subprocess.Popen, engine: FakeEngine
):
    engine.state = {"Running": False, "ExitCode": 137, "OOMKilled": True}
    end(child)
    with pytest.raises(ContainerFailed) as caught:
        box.open_socket(3600)
    assert caught.value.code == "OOM_KILLED"


def test_a_recycled_process_number_is_never_served(
    box: Sandbox, server: socket.socket, child: subprocess.Popen, engine: FakeEngine
):
    """The folder of the number is still there, as it would be for a process that took the number over."""
    engine.state = {"Running": False, "ExitCode": 0}
    end(child)
    with pytest.raises(ContainerFailed):
        box.open_socket(3600)


def test_an_engine_that_contradicts_the_kernel_is_the_rigs_fault(box: Sandbox, child: subprocess.Popen):
    end(child)
    with pytest.raises(EngineUnavailable) as caught:
        box.open_socket(3600)
    assert caught.value.code == "ENGINE_STATE"


def test_a_child_killed_for_memory_counts_though_the_server_lives(box: Sandbox, tmp_path: Path):
    counter = tmp_path / "cgroup/leaf/memory.oom_control"
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert box.state().running
    assert box.state().oom_killed
    failure = box.failure()
    assert failure is not None
    assert failure.code == "OOM_KILLED"
    counter.unlink()
    assert box.state().oom_killed, "what was seen once stays seen when the group is gone"
    with pytest.raises(ContainerFailed, match="OOM_KILLED"):
        box.open_socket(0.05)


def test_a_sandbox_that_runs_has_not_failed(box: Sandbox):
    assert box.failure() is None


def test_destroying_is_whole_and_twice_is_once(
    box: Sandbox, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "jouleseal" / "s-1").mkdir(parents=True)
    mountinfo = f"33 24 0:32 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    monkeypatch.setattr(module, "session_groups", partial(module.session_groups, mountinfo=mountinfo))
    box.destroy(grace_s=2)
    box.destroy(grace_s=2)
    assert engine.asked == ["stop 2", "remove jouleseal-s-1-socket"]
    assert list((tmp_path / "jouleseal").iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(box.process.pidfd)


def test_a_failed_removal_can_be_tried_again(box: Sandbox, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch):
    def refuse(container_id: str, volume: str) -> None:
        raise EngineUnavailable(observed="down", expected="up", hint="start it")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "remove", refuse)
        with pytest.raises(EngineUnavailable):
            box.destroy()
    box.destroy()
    assert engine.asked == ["remove jouleseal-s-1-socket"]


def test_an_official_run_has_no_logs(box: Sandbox):
    assert box.logs() == b""


def test_a_sandbox_that_is_not_its_profile_breaks_the_seal(box: Sandbox):
    with pytest.raises(SealBroken) as caught:
        box.verify()
    assert caught.value.code == "PROFILE_DIFFERS"
    assert "kernel.Seccomp" in caught.value.observed


def test_waiting_is_bounded_by_the_monotonic_clock(box: Sandbox, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    slept: list[float] = []

    class Clock:
        monotonic = staticmethod(lambda: now[0])

        @staticmethod
        def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds

    monkeypatch.setattr(module, "time", Clock)
    with pytest.raises(DeadlineExceeded):
        box.open_socket(1.0)
    assert 90 <= len(slept) <= 110


@pytest.mark.parametrize(
    ("code", "words"), [(0, "code 0"), (126, "cannot be executed"), (127, "not found"), (137, "signal 9")]
)
def test_exit_codes_are_said_in_words(code: int, words: str):
    assert words in exit_meaning(code)


def test_a_process_that_is_gone_is_not_held(child: subprocess.Popen):
    held = Process.hold(child.pid)
    assert held is not None
    assert held.alive()
    end(child)
    assert not held.alive()
    held.release()
    assert Process.hold(child.pid) is None


def test_status_fields_are_split():
    assert status_fields("Name:\tx\nUid:\t1\t2\n") == {"Name": "x", "Uid": "1 2"}
