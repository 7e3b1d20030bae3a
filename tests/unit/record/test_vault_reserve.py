"""What the operator keeps: answers that only the domain's key opens, and room on the disk for bad news."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import disk
from orchestrator.record import reserve
from orchestrator.record.reserve import RESERVE_BYTES, Reserve
from orchestrator.record.vault import MAGIC, Vault
from protocol.errors import RecordUnsound, StorageFull

SECRET = bytes(range(32))
ANSWERS = {1: {0: b"positive", 7: b""}, 2: {3: b"\x00\xff" * 500}}


@pytest.fixture
def vault(tmp_path) -> Vault:
    return Vault(tmp_path / "private", tmp_path / "keys" / "vault.key")


def kept(vault: Vault, session: str = "5-abc"):
    vault.put(session, SECRET, ANSWERS)
    return vault.folder / f"{session}.answers"


def code_of(vault: Vault, session: str = "5-abc") -> str:
    with pytest.raises(RecordUnsound) as caught:
        vault.get(session)
    return caught.value.code


def test_what_is_kept_comes_back_as_it_was(vault):
    kept(vault)
    assert vault.get("5-abc") == (SECRET, ANSWERS)
    assert Vault(vault.folder, vault.key_path).get("5-abc") == (SECRET, ANSWERS), "the key outlives the process"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.integers(1, 10), st.dictionaries(st.integers(0, 2**32 - 1), st.binary(max_size=64), min_size=1), max_size=4
    )
)
def test_any_answers_come_back(vault, answers):
    vault.put("any", SECRET, answers)
    assert vault.get("any") == (SECRET, answers)


def test_only_the_owner_may_read_key_and_answers(vault):
    path = kept(vault)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, vault.key_path)] == [0o600, 0o600]
    assert stat.S_IMODE(vault.folder.stat().st_mode) == 0o700


def test_the_disk_shows_neither_answers_nor_secret_and_no_two_files_alike(vault):
    first, second = kept(vault, "a").read_bytes(), kept(vault, "b").read_bytes()
    for data in (first, second):
        assert data.startswith(MAGIC)
        assert b"positive" not in data
        assert SECRET not in data
    assert first[len(MAGIC) :] != second[len(MAGIC) :]


def test_every_flipped_byte_is_noticed(vault):
    vault.put("5-abc", SECRET, {1: {0: b"yes"}})
    path = vault.folder / "5-abc.answers"
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert code_of(vault) == "VAULT_DAMAGED"
    path.write_bytes(whole)
    assert vault.get("5-abc")[0] == SECRET


@pytest.mark.parametrize("length", [0, 3, 8, 12, 20, 35])
def test_a_file_cut_short_is_noticed(vault, length):
    path = kept(vault)
    path.write_bytes(path.read_bytes()[:length])
    assert code_of(vault) == "VAULT_DAMAGED"


def test_answers_of_one_session_do_not_pass_for_another_s(vault):
    kept(vault, "5-abc").rename(vault.folder / "9-def.answers")
    assert code_of(vault, "9-def") == "VAULT_DAMAGED"


def test_another_key_opens_nothing(vault):
    kept(vault)
    vault.key_path.unlink()
    assert code_of(vault) == "VAULT_DAMAGED"


def test_answers_that_are_not_there_are_said_to_be_missing(vault):
    assert code_of(vault, "never") == "WRITE_FAILED"


def test_a_full_disk_keeps_no_half_of_the_answers(vault, monkeypatch):
    kept(vault, "old")

    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", full)
        with pytest.raises(StorageFull):
            vault.put("new", SECRET, ANSWERS)
    assert [path.name for path in vault.folder.iterdir()] == ["old.answers"]


def test_the_reserve_is_room_that_is_really_taken_and_really_given_back(tmp_path):
    room = Reserve(tmp_path / "home" / "reserve")
    room.keep()
    taken = room.path.stat()
    assert taken.st_size == RESERVE_BYTES
    assert taken.st_blocks * 512 >= RESERVE_BYTES, "a file with a hole would be no room at all"
    room.keep()
    assert room.path.stat().st_ino == taken.st_ino
    room.release()
    assert not room.path.exists()
    room.release()


def test_where_there_is_no_room_the_reserve_says_so(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    room = Reserve(tmp_path / "reserve")
    with monkeypatch.context() as patch:
        patch.setattr(reserve.os, "posix_fallocate", full)
        with pytest.raises(StorageFull):
            room.keep()
    room.keep()
    assert room.path.stat().st_size == RESERVE_BYTES


def test_a_reserve_that_was_cut_short_is_made_whole(tmp_path):
    room = Reserve(tmp_path / "reserve")
    room.path.write_bytes(b"")
    room.keep()
    assert room.path.stat().st_size == RESERVE_BYTES
