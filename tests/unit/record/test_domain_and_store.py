"""Making a domain, keeping its keys, and writing files whole or not at all."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from orchestrator import disk
from orchestrator.disk import write_atomic
from orchestrator.record.domain import create, open_domain
from orchestrator.record.keys import create_key, load_key
from orchestrator.record.store import EvidenceStore
from protocol.attestation.digest import sha256_hex
from protocol.attestation.root import root_fingerprint, verify_chain
from protocol.errors import RecordUnsound, StorageFull, UsageError
from tests.unit.record.record_world import NOW, new_domain


def test_a_domain_is_whole_and_its_keys_are_private(tmp_path):
    domain = new_domain(tmp_path)
    assert open_domain(tmp_path) == domain or open_domain(tmp_path).root == domain.root
    for key in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "trust").iterdir()) == [
        "keyring.dsse.json",
        "policy.txt",
        "root.json",
    ]
    assert verify_chain([domain.root_bytes], root_fingerprint(domain.root_bytes)).version == 1
    assert domain.keyring.policy_sha256 == sha256_hex(domain.policy_bytes)
    assert domain.scope.devices == ("cpu:0",)
    assert {key.role for key in domain.keyring.keys} == {"runner", "log", "witness"}


def test_a_domain_is_made_once(tmp_path):
    new_domain(tmp_path)
    before = (tmp_path / "trust" / "root.json").read_bytes()
    with pytest.raises(UsageError) as caught:
        new_domain(tmp_path)
    assert caught.value.code == "DOMAIN_EXISTS"
    assert (tmp_path / "trust" / "root.json").read_bytes() == before


@pytest.mark.parametrize("name", ["", "runner", "Runner-1", "runner-", "runner-1/x", "runner-1 ", "runner-\u00e9"])
def test_a_runner_is_named_in_plain_letters(tmp_path, name):
    with pytest.raises(UsageError) as caught:
        create(tmp_path, name, [], now=NOW)
    assert caught.value.code == "BAD_NAME"
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_domain_in_an_empty_folder(tmp_path):
    with pytest.raises(UsageError) as caught:
        open_domain(tmp_path)
    assert caught.value.code == "NO_DOMAIN"


class Crash(BaseException):
    """The machine stops here."""


def test_an_interrupted_init_is_finished_or_begun_again(tmp_path, monkeypatch):
    """Stop at every rename and every fsync; the next init or open gives one whole domain or a fresh one."""
    for step in range(200):
        home = tmp_path / str(step)
        home.mkdir()
        with monkeypatch.context() as patch:
            crash_at(patch, step)
            try:
                new_domain(home)
            except Crash:
                pass
            else:
                break
        try:
            open_domain(home)
        except UsageError:
            new_domain(home)
        assert sorted(path.name for path in home.iterdir()) == ["keys", "log", "trust", "witness"]
    else:
        pytest.fail("init never finished")
    assert step > 10


def crash_at(patch, step):
    left = [step]
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def counted(*args, real=real, **kwargs):
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            return real(*args, **kwargs)

        patch.setattr(disk.os, name, counted)


@pytest.mark.parametrize("file", ["trust/root.json", "trust/keyring.dsse.json", "trust/policy.txt"])
def test_a_changed_trust_file_is_refused(tmp_path, file):
    new_domain(tmp_path)
    data = bytearray((tmp_path / file).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / file).write_bytes(data)
    with pytest.raises(RecordUnsound) as caught:
        open_domain(tmp_path)
    assert caught.value.code == "DOMAIN_BROKEN"


def test_keys_of_another_domain_are_refused(tmp_path):
    new_domain(tmp_path / "a")
    new_domain(tmp_path / "b")
    for name in ("runner", "log", "witness"):
        (tmp_path / "a/keys" / f"{name}.pem").replace(tmp_path / "kept")
        (tmp_path / "a/keys" / f"{name}.pem").write_bytes((tmp_path / "b/keys" / f"{name}.pem").read_bytes())
        (tmp_path / "a/keys" / f"{name}.pem").chmod(0o600)
        with pytest.raises(RecordUnsound) as caught:
            open_domain(tmp_path / "a")
        assert caught.value.code == "DOMAIN_BROKEN"
        (tmp_path / "kept").replace(tmp_path / "a/keys" / f"{name}.pem")
    open_domain(tmp_path / "a")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o700])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    create_key(tmp_path / "k.pem")
    (tmp_path / "k.pem").chmod(mode)
    with pytest.raises(RecordUnsound) as caught:
        load_key(tmp_path / "k.pem")
    assert caught.value.code == "KEY_EXPOSED"


def test_a_key_that_is_missing_a_link_or_no_key_is_refused(tmp_path):
    signer = create_key(tmp_path / "k.pem")
    assert load_key(tmp_path / "k.pem").public_key == signer.public_key
    assert "PRIVATE" not in repr(signer)
    (tmp_path / "link.pem").symlink_to(tmp_path / "k.pem")
    (tmp_path / "junk.pem").write_text("junk")
    (tmp_path / "junk.pem").chmod(0o600)
    for name, code in (("none", "KEY_MISSING"), ("link", "WRITE_FAILED"), ("junk", "KEY_UNREADABLE")):
        with pytest.raises(RecordUnsound) as caught:
            load_key(tmp_path / f"{name}.pem")
        assert caught.value.code == code


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, RecordUnsound)]
)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call, number, error):
    write_atomic(tmp_path / "f", b"old")

    def broken(*_args):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, call, broken)
        with pytest.raises(error):
            write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_evidence_is_named_by_its_digest_and_checked_when_read(tmp_path):
    evidence = EvidenceStore(tmp_path / "evidence")
    assert evidence.digests() == []
    digest = evidence.put(b"samples")
    assert digest == evidence.put(b"samples") == sha256_hex(b"samples")
    assert evidence.get(digest) == b"samples"
    assert evidence.digests() == [digest]
    (tmp_path / "file").write_bytes(b"more")
    assert evidence.get(evidence.put_file(tmp_path / "file")) == b"more"
    evidence.path(digest).write_bytes(b"damaged")
    for wrong in (digest, "0" * 64):
        with pytest.raises(RecordUnsound) as caught:
            evidence.get(wrong)
        assert caught.value.code == "EVIDENCE_LOST"
