"""Vendors' containers that go wrong before they say a word: each a named error, and nothing left of any."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.launch.engine import DockerEngine
from orchestrator.launch.layout import SOCKET_FOLDER_BYTES, SOCKET_FOLDER_INODES
from orchestrator.launch.profile import build_profile
from protocol.errors import (
    ContainerFailed,
    DeadlineExceeded,
    EngineUnavailable,
    InvalidSubmission,
    SealBroken,
    SubmissionError,
)
from tests.engine.conftest import SMALL, docker, leftovers, rig_name

pytestmark = pytest.mark.engine

SERVE = """
import os, socket, sys, time
def serve(answer):
    s = socket.socket(socket.AF_UNIX)
    s.bind(os.environ["JOULESEAL_SOCKET"])
    s.listen()
    while True:
        c, _ = s.accept()
        try:
            c.sendall(answer)
        except OSError:
            pass
        c.close()
"""
WAIT_S = 30


def asked(sandbox) -> str:
    """What a server of SERVE answers."""
    descriptor = sandbox.open_socket(WAIT_S)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(WAIT_S)
            client.connect(f"/proc/self/fd/{descriptor}")
            return client.makefile("rb").read().decode()
    finally:
        os.close(descriptor)


def eventually(condition) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refusal(sandbox_of, *arguments: object, wait_s: float = WAIT_S) -> SubmissionError:
    """The error of a container that fails at its start or before its socket is handed out, whichever comes first."""
    with pytest.raises(SubmissionError) as caught:
        sandbox_of(*arguments).open_socket(wait_s)
    return caught.value


def test_a_server_that_never_opens_its_socket(launched, scripted):
    error = refusal(launched, scripted("import time; time.sleep(600)"), wait_s=0.5)
    assert (type(error), error.code) == (DeadlineExceeded, "SOCKET_MISSING")


def test_a_socket_that_is_bound_and_not_listened_on(launched, scripted):
    bound = "s = socket.socket(socket.AF_UNIX)\ns.bind(os.environ['JOULESEAL_SOCKET'])"
    script = f"import os, socket, time\n{bound}\ntime.sleep(600)"
    sandbox = launched(scripted(script))
    eventually(Path(f"/proc/{sandbox.init_pid}/root/run/jouleseal/model.sock").exists)
    with pytest.raises(DeadlineExceeded) as caught:
        sandbox.open_socket(0.5)
    assert caught.value.code == "SOCKET_NOT_CONNECTABLE"


def test_a_server_that_exits_at_once(launched, scripted):
    error = refusal(launched, scripted("raise SystemExit(3)"))
    assert (type(error), error.code) == (ContainerFailed, "EXITED")
    assert "code 3" in error.observed


@pytest.mark.parametrize("entry", ['["/no/such/file"]', '["/etc/passwd"]'])
def test_an_entry_point_that_cannot_be_run(launched, scripted, entry: str):
    error = refusal(launched, scripted("", entry=entry))
    assert error.code in {"EXITED", "IMAGE_ENTRYPOINT"}
    assert isinstance(error, ContainerFailed | InvalidSubmission)


def test_an_image_without_any_command(launched, scripted):
    error = refusal(launched, scripted("", "CMD []", entry="[]"))
    assert (type(error), error.code) == (InvalidSubmission, "IMAGE_ENTRYPOINT")


def test_an_image_whose_cache_is_a_file(launched, scripted):
    error = refusal(launched, scripted("", "COPY m.py /cache"))
    assert (type(error), error.code) == (InvalidSubmission, "IMAGE_LAYOUT")


@pytest.mark.parametrize("user", ["USER 0:0", "USER root", "USER nobody", "USER 65532:0"])
def test_an_image_without_a_numeric_user(launched, scripted, user: str):
    error = refusal(launched, scripted("", user=user))
    assert (type(error), error.code) == (InvalidSubmission, "IMAGE_USER")


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("os.symlink('/proc/1/root/run/other.sock', path)", "SOCKET_IS_LINK"),
        ("os.symlink('/var/run/docker.sock', path)", "SOCKET_IS_LINK"),
        ("os.mkfifo(path)", "SOCKET_IS_NO_SOCKET"),
        ("os.mkdir(path)", "SOCKET_IS_NO_SOCKET"),
        ("open(path, 'w')", "SOCKET_IS_NO_SOCKET"),
    ],
)
def test_a_socket_that_is_something_else(launched, scripted, how: str, code: str):
    error = refusal(
        launched, scripted(f"import os, time\npath = os.environ['JOULESEAL_SOCKET']\n{how}\ntime.sleep(600)")
    )
    assert (type(error), error.code) == (SealBroken, code)


def test_a_fork_bomb_ends_inside(launched, scripted):
    script = (
        SERVE
        + """
count = 0
while True:
    try:
        if os.fork() == 0:
            time.sleep(600)
    except OSError:
        break
    count += 1
serve(str(count).encode())
"""
    )
    sandbox = launched(scripted(script), change=lambda profile: replace(profile, pids=64))
    assert 32 < int(asked(sandbox)) < 64
    session = sandbox.session_id
    sandbox.destroy()
    assert session not in leftovers(rig_name())


def test_a_memory_bomb_is_killed_and_named(launched, scripted):
    error = refusal(launched, scripted("x = []\nwhile True: x.append(bytearray(1 << 20))"))
    assert (type(error), error.code) == (ContainerFailed, "OOM_KILLED")


def test_a_child_that_is_killed_for_memory_is_named_though_the_server_lives(launched, scripted):
    script = (
        SERVE
        + """
if os.fork() == 0:
    x = []
    while True:
        x.append(bytearray(1 << 20))
_, status = os.wait()
serve(str(status).encode())
"""
    )
    sandbox = launched(scripted(script))
    assert asked(sandbox) == "9"
    state = sandbox.state()
    assert (state.running, state.oom_killed) == (True, True)
    failure = sandbox.failure()
    assert failure is not None
    assert failure.code == "OOM_KILLED"


FILL = (
    SERVE
    + """
import errno
def fill(folder, chunk):
    written, files = 0, 0
    while True:
        try:
            with open(f"{folder}/{files}", "wb", buffering=0) as f:
                files += 1
                for _ in range(1 << 20 if chunk else 0):
                    written += f.write(b"x" * chunk)
        except OSError as error:
            return f"{errno.errorcode[error.errno]} {written} {files}"
"""
)


@pytest.mark.parametrize(("folder", "inodes"), [("/tmp", False), ("/hoard", False), ("/tmp", True), ("/cache", True)])
def test_a_writable_folder_ends_at_its_bound(launched, scripted, folder: str, inodes: bool):
    script = FILL + f"serve(fill({folder!r}, {0 if inodes else 1 << 16}).encode())"
    sandbox = launched(scripted(script, "VOLUME /hoard"))
    code, written, files = asked(sandbox).split()
    assert code == "ENOSPC"
    assert int(written) <= SMALL.memory_bytes // 4
    assert int(files) <= 65_536


def test_the_sockets_folder_ends_at_its_bound(launched, scripted):
    script = (
        FILL
        + """
answers = [fill("/run/jouleseal", 4096)]
for name in os.listdir("/run/jouleseal"):
    os.unlink("/run/jouleseal/" + name)
answers.append(fill("/run/jouleseal", 0))
for name in os.listdir("/run/jouleseal"):
    os.unlink("/run/jouleseal/" + name)
serve(" ".join(answers).encode())
"""
    )
    words = asked(launched(scripted(script))).split()
    assert (words[0], words[3]) == ("ENOSPC", "ENOSPC")
    assert int(words[1]) <= SOCKET_FOLDER_BYTES
    assert int(words[5]) <= SOCKET_FOLDER_INODES


def test_a_flood_of_output_costs_no_disk(launched, scripted):
    script = SERVE + "\nfor _ in range(64): sys.stdout.write('x' * (1 << 20))\nsys.stdout.flush()\nserve(b'done')"
    sandbox = launched(scripted(script))
    assert asked(sandbox) == "done"
    assert docker("inspect", "--format", "{{.LogPath}}", sandbox.container_id).stdout.strip() == ""


def test_whatever_fails_in_a_launch_nothing_of_it_is_left(
    engine: DockerEngine, scripted, monkeypatch: pytest.MonkeyPatch
):
    image = engine.resolve(scripted("import time; time.sleep(600)"))
    profile = build_profile(image, SMALL, None, engine.facts())
    for step, name in enumerate(["_create", "_start", "_hold"]):
        session = f"{rig_name()}-step{step}"

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(engine, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.launch(image, profile, session)
        assert session not in leftovers(rig_name())


def test_an_engine_that_is_down_is_the_rigs_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(EngineUnavailable) as caught:
        DockerEngine.connect()
    assert caught.value.code == "ENGINE_DOWN"
