"""The verified connect against a sandbox that tries to be somewhere else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.launch.cgroups import Membership
from orchestrator.launch.connect import NotYet, listener_of, open_socket_inode, require_same_sandbox
from protocol.errors import SealBroken

PARTS = ("run", "jouleseal", "model.sock")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run" / "jouleseal").mkdir(parents=True)
    return tmp_path


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()
    return server


@pytest.fixture
def model(root: Path) -> Iterator[socket.socket]:
    with listening(root / "run/jouleseal/model.sock") as server:
        yield server


def test_a_plain_socket_is_found_and_its_listener_is_this_process(root: Path, model: socket.socket):
    descriptor = open_socket_inode(root, PARTS)
    assert isinstance(descriptor, int)
    try:
        assert listener_of(descriptor) == os.getpid()
    finally:
        os.close(descriptor)


def test_nothing_there_is_not_yet(root: Path):
    assert open_socket_inode(root, PARTS) is NotYet.MISSING
    (root / "run" / "jouleseal").rmdir()
    assert open_socket_inode(root, PARTS) is NotYet.MISSING


def test_a_socket_on_which_nobody_listens_is_not_yet(root: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(str(root / "run/jouleseal/model.sock"))
        descriptor = open_socket_inode(root, PARTS)
        assert isinstance(descriptor, int)
        assert listener_of(descriptor) is NotYet.NOT_CONNECTABLE
        os.close(descriptor)


def test_a_link_to_a_socket_of_the_host_is_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("host") / "host.sock"
    with listening(elsewhere):
        (root / "run/jouleseal/model.sock").symlink_to(elsewhere)
        with pytest.raises(SealBroken) as caught:
            open_socket_inode(root, PARTS)
    assert caught.value.code == "SOCKET_IS_LINK"


@pytest.mark.parametrize("depth", [1, 2])
def test_a_link_in_place_of_a_folder_is_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory, depth: int):
    host = tmp_path_factory.mktemp("host")
    (host / "jouleseal").mkdir()
    with listening(host / "model.sock"), listening(host / "jouleseal" / "model.sock"):
        (root / "run" / "jouleseal").rmdir()
        if depth == 1:
            (root / "run").rmdir()
        root.joinpath(*PARTS[:depth]).symlink_to(host)
        with pytest.raises(SealBroken) as caught:
            open_socket_inode(root, PARTS)
    assert caught.value.code == "SOCKET_IS_LINK"


@pytest.mark.parametrize("kind", ["fifo", "file", "folder"])
def test_anything_but_a_socket_is_refused_without_opening_it(root: Path, kind: str):
    path = root / "run/jouleseal/model.sock"
    {"fifo": lambda: os.mkfifo(path), "file": path.touch, "folder": path.mkdir}[kind]()
    with pytest.raises(SealBroken) as caught:
        open_socket_inode(root, PARTS)
    assert caught.value.code == "SOCKET_IS_NO_SOCKET"


def test_no_descriptor_is_left_open_whatever_is_found(root: Path, model: socket.socket):
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        os.close(open_socket_inode(root, PARTS))
    model.close()
    (root / "run/jouleseal/model.sock").unlink()
    assert open_socket_inode(root, PARTS) is NotYet.MISSING
    os.mkfifo(root / "run/jouleseal/model.sock")
    with pytest.raises(SealBroken):
        open_socket_inode(root, PARTS)
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_the_checked_inode_is_what_is_talked_to_even_if_the_path_changes(root: Path, model: socket.socket):
    descriptor = open_socket_inode(root, PARTS)
    assert isinstance(descriptor, int)
    (root / "run/jouleseal/model.sock").unlink()
    (root / "run/jouleseal/model.sock").symlink_to("/nowhere")
    try:
        assert listener_of(descriptor) == os.getpid()
    finally:
        os.close(descriptor)


OURS = Membership.parse("2:cpu,cpuacct:/jouleseal/s/abc\n1:memory:/jouleseal/s/abc\n0::/jouleseal/s/abc\n")


def proc_with(tmp_path: Path, text: str | None) -> Path:
    (tmp_path / "77").mkdir()
    if text is not None:
        (tmp_path / "77" / "cgroup").write_text(text)
    return tmp_path


def test_a_listener_in_the_same_groups_is_ours(tmp_path: Path):
    text = "2:cpu,cpuacct:/jouleseal/s/abc\n1:memory:/jouleseal/s/abc\n0::/jouleseal/s/abc\n"
    require_same_sandbox(77, OURS, proc_with(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "2:cpu,cpuacct:/jouleseal/t/def\n1:memory:/jouleseal/t/def\n0::/jouleseal/t/def\n",  # another vendor's sandbox
        "2:cpu,cpuacct:/\n1:memory:/\n0::/\n",  # the host
        "2:cpu,cpuacct:/jouleseal/s/abc\n1:memory:/\n0::/jouleseal/s/abc\n",  # half in, half out
        "2:cpu,cpuacct:/jouleseal/s/abc/x\n1:memory:/jouleseal/s/abc/x\n0::/jouleseal/s/abc/x\n",  # a group below
        "0::/jouleseal/s/abc\n",
        "",
        None,
    ],
)
def test_a_listener_anywhere_else_breaks_the_seal(tmp_path: Path, text: str | None):
    with pytest.raises(SealBroken) as caught:
        require_same_sandbox(77, OURS, proc_with(tmp_path, text))
    assert caught.value.code == "SOCKET_NOT_OURS"
