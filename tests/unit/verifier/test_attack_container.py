"""Attacks on the file itself: tars that climb, links, sizes that are not there, garbage; through the real command."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile

import pytest

from protocol.attestation import bundle as layout
from tests.worlds.world import World
from verifier.cli import main


@pytest.fixture(name="world", scope="module")
def _world():
    world = World()
    world.campaign()
    return world


@pytest.fixture(name="judge")
def _judge(world, tmp_path, capsys):
    """Write bytes as a bundle and return exit code, and the (check, code) of what failed."""

    def judge(data):
        path = tmp_path / "bundle.tar"
        path.write_bytes(data)
        return judge_path(path, world, capsys)

    return judge


def judge_path(path, world, capsys):
    code = main([str(path), "--root", world.pin, "--json"])
    report = json.loads(capsys.readouterr().out)
    return code, {(check["id"], check["code"]) for check in report["checks"] if check["status"] == "failed"}


def ordinary_tar(members):
    """Return a tar as the standard library writes it: (name, data, change of the header) each."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, change in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            change(info)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def unchanged(info):
    return None


def test_the_honest_tar_is_verified(world, judge):
    assert judge(world.tar()) == (0, set())


def test_tar_that_climbs_out(world, judge):
    evil = ordinary_tar([("../../etc/passwd", b"root::0:0::/:", unchanged)])
    assert judge(evil) == (1, {("container", "UNKNOWN_FILE")})


def test_tar_with_an_absolute_path(world, judge):
    assert judge(ordinary_tar([("/etc/passwd", b"x", unchanged)])) == (1, {("container", "UNKNOWN_FILE")})


def test_symlink_in_a_tar(world, judge):
    def link(info):
        info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0

    assert judge(ordinary_tar([("VERIFY.txt", b"", link)])) == (1, {("container", "BAD_TAR")})


def test_device_in_a_tar(world, judge):
    def device(info):
        info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3

    assert judge(ordinary_tar([("VERIFY.txt", b"", device)])) == (1, {("container", "BAD_TAR")})


def test_a_claim_of_a_gigabyte_in_a_kilobyte(world, judge):
    def boast(info):
        info.size = 1 << 30

    out = io.BytesIO()
    info = tarfile.TarInfo("VERIFY.txt")
    boast(info)
    out.write(info.tobuf(tarfile.USTAR_FORMAT))
    out.write(bytes(512))
    assert len(out.getvalue()) == 1024
    assert judge(out.getvalue()) == (1, {("container", "BUNDLE_LIMIT")})


def test_a_claim_of_more_than_is_left(world, judge):
    tar = bytearray(world.tar())
    tar[:512] = layout._header("VERIFY.txt", 10_000_000)
    assert judge(bytes(tar)) == (1, {("container", "BAD_TAR")})


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5000])
def test_truncated(world, judge, size):
    assert judge(world.tar()[:size]) == (1, {("container", "BAD_TAR")})


def test_one_byte_short(world, judge):
    assert judge(world.tar()[:-1]) == (1, {("container", "BAD_TAR")})


def test_something_after_the_end(world, judge):
    assert judge(world.tar() + b"\0") == (1, {("container", "BAD_TAR")})
    assert judge(world.tar() + bytes(512)) == (1, {("container", "BAD_TAR")})


@pytest.mark.parametrize("seed", range(5))
def test_garbage(world, judge, seed):
    exit_code, found = judge(random.Random(seed).randbytes(20_000))
    assert exit_code == 1
    assert {check for check, _ in found} == {"container"}


def test_compressed(world, judge):
    assert judge(gzip.compress(world.tar(), mtime=0)) == (1, {("container", "BAD_TAR")})


def test_the_same_files_in_another_tar(world, judge):
    """A bundle has one tar: another spelling of it could carry something that nobody looks at."""
    files = world.bundle()
    owned = ordinary_tar([(path, files[path], lambda info: setattr(info, "uid", 1000)) for path in sorted(files)])
    assert judge(owned) == (1, {("container", "BAD_TAR")})
    shuffled = ordinary_tar([(path, files[path], unchanged) for path in sorted(files, reverse=True)])
    assert judge(shuffled)[0] == 1


def test_a_file_that_the_layout_does_not_know(world, judge):
    files = world.bundle()
    tar = ordinary_tar(
        [("NOTES.txt", b"trust me", unchanged), *[(path, files[path], unchanged) for path in sorted(files)]]
    )
    assert judge(tar) == (1, {("container", "UNKNOWN_FILE")})


@pytest.mark.parametrize("path", [layout.KEYRING_PATH, layout.POLICY_PATH, layout.CHECKPOINT_PATH, layout.VERIFY_PATH])
def test_a_part_removed(world, judge, path):
    files = world.bundle()
    del files[path]
    assert judge(world.tar(files)) == (1, {("container", "FILE_MISSING")})


def test_no_statements_at_all(world, judge):
    files = {path: data for path, data in world.bundle().items() if not path.startswith("statements/")}
    assert judge(world.tar(files)) == (1, {("container", "NO_STATEMENTS")})


# The same files in a folder.


@pytest.fixture(name="folder")
def _folder(world, tmp_path):
    return unpack(world.bundle(), tmp_path / "unpacked")


def unpack(files, top):
    for path, data in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(data)
    return top


def test_the_folder_is_verified_like_the_tar(world, folder, capsys):
    assert judge_path(folder, world, capsys) == (0, set())


def test_symlink_in_a_folder(world, folder, capsys, tmp_path):
    (tmp_path / "elsewhere").write_bytes((folder / "VERIFY.txt").read_bytes())
    (folder / "VERIFY.txt").unlink()
    (folder / "VERIFY.txt").symlink_to(tmp_path / "elsewhere")
    assert judge_path(folder, world, capsys) == (1, {("container", "UNKNOWN_FILE")})


def test_linked_folder_in_a_folder(world, folder, capsys, tmp_path):
    (folder / "evidence").rename(tmp_path / "elsewhere")
    (folder / "evidence").symlink_to(tmp_path / "elsewhere")
    assert judge_path(folder, world, capsys) == (1, {("container", "UNKNOWN_FILE")})


def test_pipe_in_a_folder(world, folder, capsys):
    (folder / "VERIFY.txt").unlink()
    os.mkfifo(folder / "VERIFY.txt")
    assert judge_path(folder, world, capsys) == (1, {("container", "UNKNOWN_FILE")})


def test_a_stray_file_in_a_folder(world, folder, capsys):
    (folder / "statements" / "notes.txt").write_text("trust me")
    assert judge_path(folder, world, capsys) == (1, {("container", "UNKNOWN_FILE")})
