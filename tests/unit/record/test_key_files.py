"""Key files: private, never overwritten, opened by a passphrase or not at all, and clear about why."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest

from orchestrator.record import domain as domains
from orchestrator.record.domain import create, open_domain
from orchestrator.record.keys import (
    FileSigner,
    create_key,
    load_key,
    new_key,
    read_passphrase,
    read_passphrase_file,
    save_key,
)
from protocol.attestation.keys import Signer
from protocol.errors import JoulesealError, RecordUnsound, UsageError
from tests.unit.record.record_world import NOW

PASSPHRASE = b"correct horse battery"


def refused(code, function, *args, kind=JoulesealError):
    with pytest.raises(kind) as caught:
        function(*args)
    assert caught.value.code == code, str(caught.value)
    return caught.value


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_a_key_file_is_private_whatever_the_umask(tmp_path, passphrase, mask):
    before = os.umask(mask)
    try:
        create_key(tmp_path / "k.pem", passphrase)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k.pem").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["k.pem"]


def test_a_key_with_a_passphrase_is_encrypted_and_opens_with_it_alone(tmp_path):
    made: Signer = create_key(tmp_path / "k.pem", PASSPHRASE)
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "k.pem").read_bytes()
    asked = []

    def unlock(name):
        asked.append(name)
        return PASSPHRASE

    assert load_key(tmp_path / "k.pem", unlock).public_key == made.public_key
    assert asked == ["k.pem"]
    error = refused("KEY_LOCKED", load_key, tmp_path / "k.pem", kind=RecordUnsound)
    assert "--passphrase-file" in error.hint
    refused("WRONG_PASSPHRASE", load_key, tmp_path / "k.pem", lambda _name: b"another")
    refused("BAD_PASSPHRASE", load_key, tmp_path / "k.pem", lambda _name: b"")
    assert "correct horse" not in str(error)


def test_a_key_without_a_passphrase_asks_for_none(tmp_path):
    create_key(tmp_path / "k.pem")

    def never(name):
        pytest.fail(f"asked for {name}")

    load_key(tmp_path / "k.pem", never)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_opens_what_we_encrypted(tmp_path):
    made = create_key(tmp_path / "k.pem", PASSPHRASE)
    (tmp_path / "p").write_bytes(PASSPHRASE + b"\n")
    command = ["openssl", "pkey", "-in", tmp_path / "k.pem", "-passin", f"file:{tmp_path / 'p'}", "-pubout"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == made.public_key.to_pem()


def test_a_key_is_never_written_over_another_file(tmp_path):
    signer = create_key(tmp_path / "k.pem")
    (tmp_path / "nowhere.pem").symlink_to(tmp_path / "not there")
    for name in ("k.pem", "nowhere.pem"):
        refused("KEY_EXISTS", create_key, tmp_path / name, kind=UsageError)
        refused("KEY_EXISTS", save_key, new_key(), tmp_path / name)
    assert load_key(tmp_path / "k.pem").public_key == signer.public_key


def test_a_damaged_encrypted_key_is_not_taken_for_another(tmp_path):
    create_key(tmp_path / "k.pem", PASSPHRASE)
    pem = (tmp_path / "k.pem").read_text().splitlines()
    pem[2] = pem[2][::-1]
    (tmp_path / "k.pem").write_text("\n".join(pem))
    refused("WRONG_PASSPHRASE", load_key, tmp_path / "k.pem", lambda _name: PASSPHRASE)


def test_a_passphrase_is_the_first_line_of_a_private_file(tmp_path):
    path = tmp_path / "p"
    path.write_bytes(b"two words\r\nnot this\n")
    path.chmod(0o600)
    assert read_passphrase_file(path) == b"two words"
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        refused("PASSPHRASE_EXPOSED", read_passphrase_file, path, kind=UsageError)
    path.chmod(0o600)
    for content in (b"", b"\nlater", b"x" * 1024):
        path.write_bytes(content)
        refused("BAD_PASSPHRASE", read_passphrase_file, path, kind=UsageError)
    refused("NO_PASSPHRASE_FILE", read_passphrase_file, tmp_path / "none", kind=UsageError)
    assert read_passphrase(b"from a descriptor", "3") == b"from a descriptor"


def test_a_domain_is_made_with_its_root_key_under_a_passphrase_and_works_without_it(tmp_path):
    made = create(tmp_path, "runner-1", [], now=NOW, root_passphrase=PASSPHRASE)
    refused("KEY_LOCKED", load_key, tmp_path / "keys" / "root.pem")
    opened = load_key(tmp_path / "keys" / "root.pem", lambda _name: PASSPHRASE)
    assert made.root.role_keys("root") == {opened.public_key.key_id: opened.public_key}
    assert open_domain(tmp_path).runner == made.runner


def test_a_domain_whose_runner_key_is_encrypted_opens_with_its_passphrase(tmp_path):
    create(tmp_path, "runner-1", [], now=NOW)
    path = tmp_path / "keys" / "runner.pem"
    signer = load_key(path)
    path.unlink()
    save_key(signer, path, PASSPHRASE)
    assert refused("KEY_LOCKED", open_domain, tmp_path).observed.startswith("runner.pem")
    assert open_domain(tmp_path, lambda _name: PASSPHRASE).runner_signer.public_key == signer.public_key
    assert isinstance(signer, FileSigner)
    assert domains.runner_key_path(tmp_path, "ab" * 32).name == f"runner-{'ab' * 8}.pem"
