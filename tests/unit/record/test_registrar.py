"""The registrar: one chain, one order, and nothing signed that a verifier would refuse."""

from __future__ import annotations

import pytest

from orchestrator.record.registrar import Registrar
from protocol.attestation.nonce import session_nonce
from protocol.errors import ClockUnsound, RecordUnsound
from protocol.tlog.note import parse_note
from tests.unit.attestation import statements
from tests.unit.record.record_world import (
    IMAGE,
    NOW,
    campaign,
    evidence_of,
    new_domain,
    record_intent,
    record_outcome,
    record_plan,
    record_result,
    registrar,
)


@pytest.fixture
def domain(tmp_path):
    return new_domain(tmp_path)


def refused(code, function, *args, **kwargs):
    with pytest.raises(RecordUnsound) as caught:
        function(*args, **kwargs)
    assert caught.value.code == code, str(caught.value)


def test_statements_chain_and_are_remembered(domain):
    said = campaign(domain)
    with registrar(domain) as voice:
        assert [item.statement_id for item in voice.history] == [item.statement_id for item in said]
        assert [item.predicate.runner.seq for item in voice.history] == [1, 2, 3, 4]
        assert [item.predicate.runner.prev for item in voice.history] == [None, *[s.statement_id for s in said[:-1]]]
        assert voice.next_link().seq == 5
        assert voice.next_link().prev == said[-1].statement_id


def test_the_nonce_comes_from_the_intent_and_its_witnessed_checkpoint(domain):
    said = campaign(domain)
    body = parse_note(said[1].checkpoint_note).text
    assert said[1].nonce() == session_nonce(said[1].leaf_hash, body)
    with registrar(domain) as voice:
        assert voice.history[1].nonce == said[1].nonce()


def test_plans_of_one_vendor_and_model_are_counted(domain):
    first = campaign(domain)[0]
    with registrar(domain) as voice:
        chain = voice.vendor_chain("acme", "digits")
        assert (chain.seq, chain.prev_plan) == (2, first.statement_id)
        other = voice.vendor_chain("acme", "reviews")
        assert (other.seq, other.prev_plan) == (1, None)


def test_what_is_open_is_known(domain):
    evidence = evidence_of(domain.home)
    with registrar(domain) as voice:
        plan = record_plan(voice, evidence)
        intent = record_intent(voice, plan)
    with registrar(domain) as voice:
        (left,) = voice.open_intents()
        assert (left.recorded.log_index, left.recorded.nonce) == (intent.index, intent.nonce())
        outcome = record_outcome(voice, evidence, plan, intent)
        (running,) = voice.open_campaigns()
        assert [item.statement_id for item in running.outcomes] == [outcome.statement_id]
        record_result(voice, plan, [outcome])
        assert voice.open_campaigns() == voice.open_intents() == ()


def test_nothing_is_recorded_out_of_sequence(domain):
    evidence = evidence_of(domain.home)
    code = "OUT_OF_SEQUENCE"
    with registrar(domain) as voice:
        plan = record_plan(voice, evidence)
        refused(code, record_plan, voice, evidence)
        refused(code, voice.record, "session-intent", IMAGE, statements.intent())
        intent = record_intent(voice, plan)
        refused(code, record_intent, voice, plan, 2)
        refused(code, record_result, voice, plan, [])
        honest = statements.aborted(intent.index, intent.statement_id, plan.statement_id, intent.nonce())
        for lie in (
            {"nonce": statements.OTHER},
            {"attempt": 2},
            {"cell": "x"},
            {"intent": {"logIndex": 0, "id": intent.statement_id}},
        ):
            refused(code, voice.record, "session-outcome", IMAGE, {**honest, **lie})
        outcome = voice.record("session-outcome", IMAGE, honest)
        refused(code, voice.record, "session-outcome", IMAGE, honest)
        refused(code, record_result, voice, plan, [])
        record_result(voice, plan, [outcome])
        refused(code, record_intent, voice, plan, 2)
        assert len(voice.history) == 4


def test_nothing_is_signed_that_our_own_reader_refuses(domain):
    with registrar(domain) as voice:
        for wrong in (
            {"attempt": 1.5},
            {"declaredOn": "now"},
            {"surprise": 1},
            {"runner": {**voice.next_link().to_json(), "seq": 9}},
            {"runner": statements.RUNNER},
        ):
            refused("UNFIT_STATEMENT", voice.record, "session-intent", IMAGE, {**statements.intent(), **wrong})
        refused("UNFIT_STATEMENT", voice.record, "campaign-plan", statements.OTHER, statements.plan())
        refused("UNFIT_STATEMENT", voice.record, "rating-table", IMAGE, {})
        assert voice.history == ()
    assert not (domain.home / "statements").exists()


@pytest.mark.parametrize(
    ("days", "error", "code"), [(-1, ClockUnsound, "CLOCK_UNSOUND"), (91, RecordUnsound, "KEY_EXPIRED")]
)
def test_no_campaign_begins_when_its_key_would_not_be_accepted(domain, days, error, code):
    at = int(NOW.timestamp()) + days * 86_400
    with Registrar(domain, clock=lambda: at, boot_id="boot-1") as voice:
        with pytest.raises(error) as caught:
            record_plan(voice, evidence_of(domain.home))
        assert caught.value.code == code
        assert voice.history == ()


def test_a_campaign_that_began_in_time_can_always_be_closed(domain):
    with registrar(domain) as voice:
        plan = record_plan(voice, evidence_of(domain.home))
    late = int(NOW.timestamp()) + 91 * 86_400
    with Registrar(domain, clock=lambda: late, boot_id="boot-2") as voice:
        record_result(voice, plan, [])
        assert voice.open_campaigns() == ()


def test_a_predicate_object_may_be_recorded_with_its_link(domain):
    with registrar(domain) as voice:
        plan = record_plan(voice, evidence_of(domain.home))
        made = type(voice.history[0].predicate).from_json(voice.history[0].predicate.to_json())
        assert made == voice.history[0].predicate
        intent = statements.intent(plan.statement_id)
        logged = voice.record("session-intent", IMAGE, {**intent, "runner": voice.next_link().to_json()})
        assert logged.index == 1
