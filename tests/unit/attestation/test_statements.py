"""Statements and their predicates: read as written, and refused with the path of whatever is wrong."""

from __future__ import annotations

import copy
import json

import pytest

from protocol.attestation.digest import sha256_hex
from protocol.attestation.envelope import pae
from protocol.attestation.jcs import dumps
from protocol.attestation.moment import parse_moment
from protocol.attestation.nonce import session_nonce
from protocol.attestation.predicates import predicate_name, read_predicate
from protocol.attestation.statement import Statement, parse_statement, predicate_type, statement_id
from protocol.errors import Unverifiable, VerificationError
from tests.unit.attestation import statements


def statement(name, **changes):
    predicate = {"runner": statements.RUNNER, **statements.ALL[name](**changes)}
    return Statement(predicate_name=name, subject_sha256=statements.IMAGE, predicate=predicate)


@pytest.mark.parametrize("name", statements.ALL)
def test_a_statement_is_read_as_it_was_written(name):
    written = statement(name)
    again = parse_statement(written.to_payload())
    predicate = read_predicate(again)
    assert predicate_name(predicate) == name
    assert dumps(predicate.to_json()) == dumps(written.predicate)
    assert type(predicate).from_json(json.loads(dumps(predicate.to_json()))) == predicate


@pytest.mark.parametrize("name", statements.ALL)
def test_every_field_is_needed_typed_and_known(name):
    """Walk the predicate: drop, retype and add a field at every object of it."""
    whole = json.loads(statement(name).to_payload())
    for path in _objects(whole["predicate"]):
        for field in [*_at(whole["predicate"], path)]:
            for mutate in (lambda obj, key: obj.pop(key), lambda obj, key: obj.update({key: 1.5})):
                broken = copy.deepcopy(whole["predicate"])
                mutate(_at(broken, path), field)
                if not _free(path, field):
                    with pytest.raises(VerificationError) as caught:
                        _read(name, broken)
                    assert field in caught.value.observed
        if not _free(path, "surprise"):
            broken = copy.deepcopy(whole["predicate"])
            _at(broken, path)["surprise"] = 1
            with pytest.raises((Unverifiable, VerificationError)) as caught:
                _read(name, broken)
            assert "surprise" in caught.value.observed


def _read(name, predicate):
    return read_predicate(Statement(predicate_name=name, subject_sha256=statements.IMAGE, predicate=predicate))


def _free(path, field) -> bool:
    """Tell whether the protocol leaves the inside of this object to others, or to the statement's author."""
    open_objects = {"figures", "environment", "sources", "recomputed", "committed"}
    return bool(open_objects & set(path)) or field == "mediaType"


def _objects(value, path=()):
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from _objects(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _objects(inner, (*path, number))


def _at(value, path):
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("session-outcome", {"status": "aborted"}),
        ("session-outcome", {"abort": {"code": "X", "blame": "rig"}}),
        ("session-outcome", {"traceSha256": None}),
        ("session-outcome", {"runs": [statements.run(figures=None)]}),
        ("session-outcome", {"status": "lucky"}),
        ("session-outcome", {"byproducts": [{"name": "a", "digest": {"sha256": "AB" * 32}}]}),
        ("session-outcome", {"byproducts": [{"name": "a", "digest": {"sha256": "ab" * 32}}] * 2}),
        ("session-intent", {"attempt": 0}),
        ("session-intent", {"attempt": True}),
        ("session-intent", {"declaredOn": "2026-02-30T00:00:00Z"}),
        ("session-intent", {"cell": "a\nb"}),
        ("session-intent", {"cell": "x" * 513}),
        ("campaign-result", {"status": "failed"}),
        ("campaign-result", {"failure": {"code": "X", "blame": "luck"}}),
        ("campaign-plan", {"cells": statements.plan()["cells"] * 2}),
        ("campaign-plan", {"image": {"configDigest": statements.IMAGE, "manifestDigest": None, "diffIds": []}}),
    ],
)
def test_what_contradicts_itself_is_refused(name, changes):
    with pytest.raises(VerificationError) as caught:
        read_predicate(statement(name, **changes))
    assert caught.value.code == "BAD_FIELD"


def test_discarded_runs_of_an_aborted_session_may_lack_figures():
    gone = statements.run(discarded=True, figures=None, responses=None, quality=None)
    predicate = read_predicate(
        Statement(
            predicate_name="session-outcome",
            subject_sha256=statements.IMAGE,
            predicate={"runner": statements.RUNNER, **statements.aborted(runs=[gone])},
        )
    )
    assert predicate.runs[0].figures is None
    assert predicate.evidence() == (statements.OTHER,)


def test_a_plan_for_another_image_than_the_subject_is_refused():
    other = Statement(
        predicate_name="campaign-plan",
        subject_sha256=statements.OTHER,
        predicate={"runner": statements.RUNNER, **statements.plan()},
    )
    with pytest.raises(VerificationError) as caught:
        read_predicate(other)
    assert caught.value.code == "BAD_SUBJECT"


def test_evidence_is_every_digest_once_and_verify_txt_stands_elsewhere():
    assert read_predicate(statement("session-outcome")).evidence() == (statements.OTHER,)
    assert read_predicate(statement("campaign-result")).evidence() == ()
    assert read_predicate(statement("campaign-plan")).evidence() == (statements.OTHER,)
    assert read_predicate(statement("session-intent")).evidence() == ()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, VerificationError),
        ({"subject": []}, VerificationError),
        ({"subject": [{"name": "image-config", "digest": {"sha256": statements.IMAGE}}] * 2}, VerificationError),
        ({"subject": [{"name": "image", "digest": {"sha256": statements.IMAGE}}]}, VerificationError),
        ({"subject": [{"name": "image-config", "digest": {"sha256": statements.IMAGE.upper()}}]}, VerificationError),
        ({"subject": [{"name": "image-config", "digest": {"sha512": statements.IMAGE}}]}, VerificationError),
        ({"predicateType": "https://slsa.dev/provenance/v1"}, Unverifiable),
        ({"predicateType": predicate_type("campaign-plan") + "/"}, Unverifiable),
        ({"predicate": []}, VerificationError),
        ({"extra": 1}, VerificationError),
    ],
)
def test_another_shape_of_statement_is_refused(change, error):
    value = {**json.loads(statement("session-intent").to_payload()), **change}
    with pytest.raises(error):
        parse_statement(dumps(value))


def test_a_statement_is_named_by_its_pae_and_the_nonce_by_leaf_and_checkpoint():
    payload = statement("session-intent").to_payload()
    assert statement_id(payload) == sha256_hex(pae("application/vnd.in-toto+json", payload))
    expected = sha256_hex(b"session-nonce/v1\x00" + b"\x01" * 32 + b"origin\n1\nroot\n")
    assert session_nonce(b"\x01" * 32, b"origin\n1\nroot\n") == expected
    with pytest.raises(VerificationError):
        session_nonce(b"\x01" * 31, b"")


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00+00:00",
        "2026-13-01T00:00:00Z",
        "\u0662026-01-01T00:00:00Z",
    ],
)
def test_times_have_one_form(text):
    with pytest.raises(VerificationError) as caught:
        parse_moment(text)
    assert caught.value.code == "BAD_TIME"
