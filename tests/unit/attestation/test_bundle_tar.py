"""The bundle's tar: one for every set of files, and a wall against what tars can do to a reader."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.attestation.bundle import (
    EVIDENCE_PREFIX,
    MAX_FILE_BYTES,
    BundleFiles,
    evidence_path,
    is_layout_path,
    read_bundle,
    read_tar,
    write_tar,
)
from protocol.attestation.digest import sha256_hex
from protocol.errors import UsageError, VerificationError

FILES = {
    "VERIFY.txt": b"how\n",
    "trust/policy.txt": b"",
    "log/checkpoint": b"x" * 512,
    "log/tile/entries/x001/234.p/5": b"abc",
    "statements/00000003-campaign-plan.sigstore.json": b"{}",
    evidence_path(sha256_hex(b"e")): b"e",
}


def tar_of(files) -> bytes:
    return b"".join(write_tar(files))


def read(data: bytes):
    return read_tar(io.BytesIO(data), len(data))


def refused(data: bytes, *codes: str) -> None:
    with pytest.raises(VerificationError) as caught:
        read(data)
    assert caught.value.code in codes, str(caught.value)


def test_the_tar_is_read_back_and_other_tools_read_it_too(tmp_path):
    data = tar_of(FILES)
    assert read(data) == FILES
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {member.name: tar.extractfile(member).read() for member in tar} == FILES
        assert {(member.mode, member.uid, member.mtime) for member in tar} == {(0o644, 0, 0)}


@given(st.dictionaries(st.integers(0, 99_999_999), st.binary(max_size=1100), max_size=6))
def test_every_set_of_files_has_one_tar(contents):
    files = {f"statements/{index:08d}-session-intent.sigstore.json": data for index, data in contents.items()}
    assert read(tar_of(files)) == files
    assert tar_of(dict(reversed(files.items()))) == tar_of(files)


def test_every_flipped_byte_outside_the_contents_is_refused():
    data = tar_of({"VERIFY.txt": b"how\n", "log/checkpoint": b"c"})
    contents = {512, 513, 514, 515, 1536}
    for position in set(range(len(data))) - contents:
        for bit in (1, 32):
            changed = bytearray(data)
            changed[position] ^= bit
            refused(bytes(changed), "BAD_TAR", "UNKNOWN_FILE", "BUNDLE_LIMIT")


@pytest.mark.parametrize("cut", [1, 511, 512, 1023, 1024, 1500])
def test_a_truncated_tar_is_refused(cut):
    refused(tar_of(FILES)[:-cut], "BAD_TAR")


def test_bytes_after_the_end_are_refused():
    refused(tar_of(FILES) + b"\0", "BAD_TAR")
    refused(tar_of(FILES) + bytes(9216), "BAD_TAR")
    refused(b"", "BAD_TAR")


def member(name, *, kind=tarfile.REGTYPE, data=b"", **other) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in {"mode": 0o644, **other}.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(
    "evil",
    [
        member("../VERIFY.txt"),
        member("/VERIFY.txt"),
        member("trust/../VERIFY.txt"),
        member("./VERIFY.txt"),
        member("evidence/sha256/" + "A" * 64),
        member("surprise.txt"),
        member("VERIFY.txt", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("VERIFY.txt", kind=tarfile.LNKTYPE, linkname="log/checkpoint"),
        member("VERIFY.txt", kind=tarfile.CHRTYPE),
        member("VERIFY.txt", kind=tarfile.FIFOTYPE),
        member("VERIFY.txt", kind=tarfile.DIRTYPE),
        member("VERIFY.txt", mode=0o755),
        member("VERIFY.txt", uid=1),
        member("VERIFY.txt", mtime=1),
        member("VERIFY.txt", uname="root"),
        member("VERIFY.txt", data=b"a") + member("VERIFY.txt", data=b"b"),
        member("trust/policy.txt") + member("VERIFY.txt"),
    ],
)
def test_a_tar_that_reaches_out_or_says_a_thing_twice_is_refused(evil):
    refused(evil + bytes(1024), "BAD_TAR", "UNKNOWN_FILE")


def test_pax_and_gnu_long_names_are_refused():
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
            info = tarfile.TarInfo("evidence/" + "x" * 300)
            tar.addfile(info)
        refused(stream.getvalue(), "BAD_TAR", "UNKNOWN_FILE")


def test_a_gigabyte_that_is_claimed_and_not_there_is_refused_before_it_is_allocated():
    claim = bytearray(member("VERIFY.txt"))
    claim[124:136] = b"%011o\0" % (1 << 30)
    checksum = sum(claim[:148]) + sum(claim[156:512]) + 8 * 32
    claim[148:156] = b"%06o\0 " % checksum
    refused(bytes(claim) + bytes(1024), "BUNDLE_LIMIT")
    claim[124:136] = b"%011o\0" % MAX_FILE_BYTES
    checksum = sum(claim[:148]) + sum(claim[156:512]) + 8 * 32
    claim[148:156] = b"%06o\0 " % checksum
    refused(bytes(claim) + bytes(1024), "BAD_TAR")


def test_a_folder_reads_like_its_tar_and_never_through_a_link(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert read_bundle(tmp_path).files == FILES
    (tmp_path / "trust" / "keyring.dsse.json").symlink_to("/etc/passwd")
    with pytest.raises(VerificationError) as caught:
        read_bundle(tmp_path)
    assert caught.value.code == "UNKNOWN_FILE"


def test_a_folder_through_a_linked_folder_a_pipe_or_a_stranger_is_refused(tmp_path):
    for number, make in enumerate(
        (
            lambda top: (top / "trust").symlink_to("/etc"),
            lambda top: os.mkfifo(top / "VERIFY.txt"),
            lambda top: (top / "notes").write_text("x"),
        )
    ):
        top = tmp_path / str(number)
        top.mkdir()
        make(top)
        with pytest.raises(VerificationError) as caught:
            read_bundle(top)
        assert caught.value.code == "UNKNOWN_FILE"


def test_what_is_not_there_is_the_callers_mistake(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_bundle(tmp_path / "none.tar")
    assert caught.value.code == "NO_BUNDLE"


def test_evidence_is_what_its_name_says():
    good = sha256_hex(b"e")
    bundle = BundleFiles({evidence_path(good): b"e", EVIDENCE_PREFIX + "0" * 64: b"e"})
    assert bundle.evidence(good) == b"e"
    for digest, code in (("0" * 64, "EVIDENCE_DIFFERS"), ("1" * 64, "EVIDENCE_MISSING")):
        with pytest.raises(VerificationError) as caught:
            bundle.evidence(digest)
        assert caught.value.code == code


@pytest.mark.parametrize(
    "path", ["", "trust/root/0.root.json", "trust/root/01.root.json", "log/tile/8/000", "VERIFY.txt\n"]
)
def test_paths_that_the_layout_does_not_have(path):
    assert not is_layout_path(path)
