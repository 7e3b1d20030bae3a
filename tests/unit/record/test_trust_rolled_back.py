"""A home whose trust folder is put back to an older one: signed as ever, and refused by what the log knows."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from orchestrator import cli
from orchestrator.record import ceremony
from orchestrator.record.ceremony_home import install
from orchestrator.record.domain import open_domain
from protocol.attestation.keyring import sign_keyring
from protocol.errors import RecordUnsound
from tests.unit.attestation.key_maker import ed_signer
from tests.unit.record.ceremony_world import (
    HOLDERS,
    LATER,
    change_files,
    clock,
    enrolment,
    grow,
    own_root,
    proof_of,
    put,
    rotation,
    sign_all,
    trust_at,
)
from tests.unit.record.record_world import campaign, new_domain, registrar


@pytest.fixture(name="home")
def _home(tmp_path):
    """A home in which a campaign was recorded; a copy of its trust of that time stands beside it."""
    home = new_domain(tmp_path / "home").home
    campaign(open_domain(home))
    shutil.copytree(home / "trust", tmp_path / "old")
    return home


def put_back(home):
    """Put the trust folder of before in the place of the newest, which is kept."""
    shutil.rmtree(home.parent / "new", ignore_errors=True)
    (home / "trust").rename(home.parent / "new")
    shutil.copytree(home.parent / "old", home / "trust")


def put_right(home):
    shutil.rmtree(home / "trust")
    (home.parent / "new").rename(home / "trust")


def refused(home, code="TRUST_ROLLED_BACK"):
    with pytest.raises(RecordUnsound) as caught, registrar(open_domain(home)):
        pytest.fail("a home with an older trust was opened")
    assert caught.value.code == code, str(caught.value)
    return caught.value


def revoke(home, last=3):
    trust = trust_at(home)
    key = ceremony.find_key(trust.keyring, "runner-1")
    return put(home, ceremony.revoke(trust, key, last, reason="stolen", now=LATER), [own_root(home)])


def rotate(home, last=3):
    change, successor = rotation(home, last)
    files = sign_all(change_files(change), [own_root(home)], trust_at(home))
    return install(home, files, successor=successor, clock=clock)


def test_a_revoked_key_does_not_come_back_with_the_keyring_of_before(home):
    done = revoke(home)
    put_back(home)
    assert open_domain(home).runner.last_valid_index is None, "by its own word the old keyring is as good as ever"
    error = refused(home)
    assert error.observed == "keyring version 1"
    assert error.expected == f"version 2, of which log entry {done.event_index} tells"
    assert error.exit_code == 4
    put_right(home)
    with registrar(open_domain(home)) as voice:
        assert voice.domain.runner.last_valid_index == 3


def test_the_key_event_cannot_be_taken_away_with_the_keyring(home):
    revoke(home)
    put_back(home)
    shutil.rmtree(home / "key-events")
    refused(home, "STATEMENT_LOST")


def test_a_replaced_key_does_not_come_back_either_whether_its_successor_has_spoken_or_not(home):
    rotate(home)
    put_back(home)
    refused(home)
    put_right(home)
    campaign(open_domain(home))
    put_back(home)
    assert "which keyring and roots do not name" in refused(home).observed
    shutil.rmtree(home / "key-events")
    refused(home)


def test_a_root_that_went_back_with_its_keyring_is_noticed_by_who_signed_the_event(home):
    grow(home)
    trust = trust_at(home)
    change = ceremony.enrol(trust, proof_of(ed_signer(9), trust), enrolment(), LATER)
    put(home, change, list(HOLDERS[:2]))
    put_back(home)
    assert open_domain(home).root.version == 1
    assert "which keyring and roots do not name" in refused(home).observed


def test_two_keyrings_of_one_version_are_not_the_same(home):
    revoke(home)
    trust = trust_at(home)
    other = replace(trust.keyring, keys=tuple(replace(key, last_valid_index=None) for key in trust.keyring.keys))
    (home / "trust/keyring.dsse.json").write_bytes(sign_keyring(other, [own_root(home)]))
    assert refused(home).observed == "another keyring of version 2"


def test_the_file_of_a_key_event_is_the_one_in_the_log(home):
    rotate(home)
    rotate(home, 4)
    first, second = sorted((home / "key-events").iterdir())
    second.write_bytes(first.read_bytes())
    refused(home, "STATEMENT_LOST")
    second.write_bytes(b"{}")
    refused(home, "STATEMENT_LOST")


def test_a_change_that_is_ready_but_not_logged_yet_cannot_be_taken_back_alone(home, monkeypatch):
    """The trust is replaced and its key event waits; then the trust alone goes back."""
    monkeypatch.setattr("orchestrator.record.registrar.Registrar._log_key_event", lambda _voice: None)
    monkeypatch.setattr("orchestrator.record.ceremony_home._event_index", lambda _home: 0)
    revoke(home)
    monkeypatch.undo()
    put_back(home)
    refused(home, "STATEMENT_LOST")
    put_right(home)
    with registrar(open_domain(home)):
        assert len(list((home / "key-events").glob("*-key-event.sigstore.json"))) == 1


def test_a_new_root_that_changes_no_key_leaves_no_trace_in_the_log(home):
    """The limit of this guard, as docs/keys.md says it: no key event tells of it, and no key is trusted any longer."""
    grow(home)
    put_back(home)
    with registrar(open_domain(home)) as voice:
        assert voice.domain.root.version == 1


def test_the_command_says_what_to_do(home, capsys):
    revoke(home)
    put_back(home)
    assert cli.main(["log", "checkpoint", "--home", str(home)]) == 4
    said = capsys.readouterr().err
    assert "TRUST_ROLLED_BACK" in said
    assert "put the newest trust folder back" in said
