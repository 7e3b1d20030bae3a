"""Attacks on what was told: dropped, hidden, repeated and relabelled runs, by an operator who holds every key."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from protocol.attestation.bundle import statement_path
from protocol.attestation.claims import Failure
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, sign
from protocol.attestation.jcs import dumps
from protocol.attestation.predicates import read_predicate
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import Statement, parse_statement
from protocol.errors import VerificationError
from protocol.methodology.scenario import Scenario
from protocol.tlog.entry import open_checkpoint
from protocol.tlog.policy import parse_policy
from tests.worlds.tampering import statement_file
from tests.worlds.world import EPOCH, IMAGE, OTHER_IMAGE, Trust, World, cell, codes, failed, moment
from verifier.checks import campaign
from verifier.facts import Logged, Opened, Witnessed
from verifier.report import Status, Verdict

DISTURBED = Failure(code="TRACE_GAP", blame="measurement")
VENDORS = Failure(code="OOM_KILLED", blame="vendor")
TWO = (cell(), cell(Scenario.THROUGHPUT, points=40))


@pytest.fixture(name="world")
def _world():
    return World()


# Completeness: nothing in the log's range is left out.


@pytest.mark.parametrize("name", ["session-intent", "session-outcome"])
def test_statement_dropped_without_its_log_entry(world, name):
    world.campaign()
    files = world.bundle()
    del files[statement_file(files, name)]
    report = world.judge(files)
    assert ("completeness", "MISSING_STATEMENT") in failed(report)
    assert not [result for result in report.checks if result.check == "recompute" and result.status is Status.PASSED]


def test_statement_dropped_with_its_log_entry(world):
    """The range is shortened so that the dropped statement lies outside of it: then it has no plan, or no result."""
    world.campaign()
    files = world.bundle()
    del files[statement_file(files, "campaign-plan")]
    assert ("completeness", "RANGE_WITHOUT_PLAN") in failed(world.judge(files))
    files = world.bundle()
    del files[statement_file(files, "campaign-result")]
    assert ("completeness", "RANGE_WITHOUT_RESULT") in failed(world.judge(files))


def test_log_entry_dropped_from_the_tiles(world):
    world.campaign()
    files = world.bundle()
    path = next(path for path in files if path.startswith("log/tile/entries/"))
    files[path] = files[path][: len(files[path]) // 2]
    assert failed(world.judge(files)) == {("log", "BAD_TILE")}


def test_statements_reordered(world):
    world.campaign()
    files = world.bundle()
    one, two = statement_path(1, "session-intent"), statement_path(2, "session-outcome")
    files[statement_path(1, "session-outcome")] = files.pop(two)
    files[statement_path(2, "session-intent")] = files.pop(one)
    assert failed(world.judge(files)) == {("inclusion", "OTHER_INDEX")}


def test_the_range_of_a_campaign_with_another_campaign_inside(world):
    """A second plan under one key before the first has its result: one campaign at a time, so that ranges are whole."""
    plan = world.plan([cell()])
    world.plan([cell()], model="hidden")
    world.session(plan, cell())
    world.result(plan)
    assert failed(world.judge()) == {("campaign", "SECOND_PLAN")}


def test_sequence_gap(world):
    plan = world.plan([cell()])
    hidden = world.session(plan, cell())
    world.said.remove(hidden)
    world.session(plan, cell(), attempt=2)
    assert ("completeness", "CHAIN_BROKEN") in failed(world.judge())


def test_a_second_runner_speaks_in_the_range(world):
    def other(predicate):
        predicate["runner"] = {**world.link(), "bootId": "boot-1", "prev": "0" * 64}

    world.campaign(edit={"session-intent": other})
    assert ("completeness", "CHAIN_BROKEN") in failed(world.judge())


def test_a_second_enrolled_runner_speaks_in_the_range():
    class Two(Trust):
        def keyring(self):
            keyring = super().keyring()
            return replace(keyring, keys=(*keyring.keys, self.enrol("runner-b", "runner", "runner-1b")))

    world = World(Two())
    plan = world.plan([cell()])
    second = world.trust.key("runner-b")
    predicate = {
        "runner": {**world.link(), "keyId": second.public_key.key_id},
        "campaign": plan.statement_id,
        "cell": cell().cell_id,
        "attempt": 1,
        "declaredOn": moment(world.now),
    }
    payload = Statement(predicate_name="session-intent", subject_sha256=IMAGE, predicate=predicate).to_payload()
    envelope = sign(IN_TOTO_PAYLOAD_TYPE, payload, second)
    intent = world.say_envelope("session-intent", envelope, predicate, key=second.public_key)
    world.outcome(plan, intent, cell(), world.run(cell()))
    assert ("completeness", "SECOND_RUNNER") in failed_after(world, plan)


def test_a_plan_without_a_result_is_no_story(world):
    """Completeness ends every range with a result; the reader of stories does not rely on it."""
    plan = world.plan([cell()])
    with pytest.raises(VerificationError) as refused:
        campaign.check([opened(world, plan)])
    assert refused.value.code == "NO_RESULT"


def opened(world, said):
    report = parse_sigstore_bundle(world.statements[statement_path(said.index, said.name)])
    statement = parse_statement(report.envelope.payload)
    witnessed = Witnessed(earliest=EPOCH, latest=EPOCH)
    logged = Logged(
        index=said.index,
        path="here",
        predicate_name=said.name,
        envelope=report.envelope,
        signer=world.trust.keyring().keys[0],
        leaf_hash=bytes(32),
        seen=open_checkpoint(report.entry.checkpoint, parse_policy(world.trust.policy())),
        witnessed=witnessed,
    )
    return Opened(logged=logged, statement=statement, predicate=read_predicate(statement))


# Pre-registration: best of N, reruns, attempts.


def test_best_of_n_with_an_intent_left_open(world):
    plan = world.plan([cell()])
    world.intent(plan, cell())
    world.session(plan, cell(), attempt=2)
    world.result(plan)
    assert failed(world.judge()) == {("campaign", "OPEN_INTENT")}


def test_an_intent_left_open_at_the_end(world):
    plan = world.plan(TWO)
    world.session(plan, TWO[0])
    world.intent(plan, TWO[1])
    world.result(plan, failure=DISTURBED)
    assert failed(world.judge()) == {("campaign", "OPEN_INTENT")}


def test_two_outcomes_for_one_intent(world):
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    ran = world.run(cell())
    world.outcome(plan, intent, cell(), ran)
    world.outcome(plan, intent, cell(), ran)
    assert failed_after(world, plan) == {("campaign", "OUTCOME_WITHOUT_INTENT")}


def failed_after(world, plan, **facts):
    world.result(plan, **facts)
    return failed(world.judge())


def test_an_outcome_that_closes_another_intent(world):
    plan = world.plan([cell()])
    world.aborted(plan, cell(), DISTURBED)
    first = world.said[1]
    intent = world.intent(plan, cell(), 2)
    facts = {"session-outcome": lambda outcome: outcome.update(intent=first.link.to_json())}
    world.outcome(plan, intent, cell(), world.run(cell()), attempt=2, edit=facts)
    assert failed_after(world, plan) == {("campaign", "OTHER_INTENT")}


def test_rerun_of_a_completed_session(world):
    plan = world.plan([cell()])
    world.session(plan, cell())
    world.session(plan, cell(), attempt=2)
    assert ("campaign", "RERUN") in failed_after(world, plan)


def test_too_many_attempts(world):
    plan = world.plan([cell()], attempts=2)
    world.aborted(plan, cell(), DISTURBED)
    world.aborted(plan, cell(), DISTURBED, attempt=2)
    world.session(plan, cell(), attempt=3)
    assert failed_after(world, plan) == {("campaign", "TOO_MANY_ATTEMPTS")}


def test_an_attempt_counted_as_the_first_again(world):
    plan = world.plan([cell()])
    world.aborted(plan, cell(), DISTURBED)
    world.session(plan, cell(), attempt=1)
    assert failed_after(world, plan) == {("campaign", "ATTEMPT_NUMBER")}


def test_an_abort_for_a_reason_that_was_not_planned(world):
    plan = world.plan([cell()], edit={"campaign-plan": lambda plan: plan.update(abortReasons=["rig"])})
    world.aborted(plan, cell(), Failure(code="TOO_SLOW_FOR_OUR_TASTE", blame="measurement"))
    world.session(plan, cell(), attempt=2)
    assert failed_after(world, plan) == {("campaign", "ABORT_REASON")}


def test_a_vendor_that_aborts_its_bad_runs(world):
    plan = world.plan([cell()])
    world.aborted(plan, cell(), VENDORS)
    world.session(plan, cell(), attempt=2)
    assert failed_after(world, plan) == {("campaign", "CONTINUED_AFTER_VENDOR_FAILURE")}


def test_a_vendors_failure_blamed_on_nobody(world):
    plan = world.plan([cell()])
    world.aborted(plan, cell(), VENDORS)
    assert failed_after(world, plan, failure=DISTURBED) == {("campaign", "OTHER_FAILURE")}


def test_unplanned_cell(world):
    plan = world.plan([cell()])
    world.session(plan, cell())
    world.session(plan, TWO[1])
    assert ("campaign", "UNPLANNED_CELL") in failed_after(world, plan)


def test_missing_cell(world):
    plan = world.plan(TWO)
    world.session(plan, TWO[0])
    assert failed_after(world, plan) == {("campaign", "MISSING_CELL")}


def test_empty_campaign(world):
    plan = world.plan([])
    assert failed_after(world, plan) == {("campaign", "EMPTY_CAMPAIGN")}


def test_campaign_without_sessions(world):
    plan = world.plan([cell()])
    assert failed_after(world, plan) == {("campaign", "MISSING_CELL")}


def test_result_omits_an_outcome(world):
    def omit(result):
        result["outcomes"].pop(0)

    plan = world.plan([cell()])
    world.aborted(plan, cell(), DISTURBED)
    world.session(plan, cell(), attempt=2)
    assert failed_after(world, plan, edit={"campaign-result": omit}) == {("campaign", "RESULT_OMITS_OUTCOME")}


def test_result_without_the_figures_of_a_cell(world):
    world.campaign(TWO, edit={"campaign-result": lambda result: result["cells"].pop()})
    assert failed(world.judge()) == {("campaign", "RESULT_CELLS")}


def test_a_result_for_another_campaign(world):
    first = world.campaign()
    plan = world.plan([cell()])
    world.session(plan, cell())
    other = {"campaign-result": lambda result: result.update(campaign=first.statement_id)}
    assert failed_after(world, plan, edit=other) == {("campaign", "OTHER_CAMPAIGN")}


def test_a_session_of_another_campaign(world):
    first = world.campaign()
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    strange = {"session-outcome": lambda outcome: outcome.update(campaign=first.statement_id)}
    world.outcome(plan, intent, cell(), world.run(cell()), edit=strange)
    assert failed_after(world, plan) == {("campaign", "OTHER_CAMPAIGN")}


def test_a_run_left_out_of_a_session(world):
    world.campaign(edit={"session-outcome": lambda outcome: outcome["runs"].pop(0)})
    assert ("campaign", "RUNS") in failed(world.judge())


def test_a_run_discarded_in_a_completed_session(world):
    def discard(outcome):
        outcome["runs"][1]["discarded"] = True

    world.campaign(edit={"session-outcome": discard})
    assert ("campaign", "RUNS") in failed(world.judge())


def test_hidden_second_plan(world):
    world.campaign()
    first = len(world.log.entries)
    world.campaign()
    world.campaign()
    assert world.judge().verdict is Verdict.VERIFIED
    hidden = World()
    hidden.campaign()
    hidden.campaign(edit={"campaign-plan": lambda plan: plan.update(vendorSeq=1, prevPlan=None)})
    assert failed(hidden.judge()) == {("campaign", "PLAN_CHAIN")}
    assert first == 4


def test_a_short_campaign_that_calls_itself_official(world):
    world.campaign(official=True)
    assert failed(world.judge()) == {("campaign", "NOT_OFFICIAL")}


def test_another_dataset_than_planned(world):
    def swap(outcome):
        outcome["resolvedDependencies"][0]["digest"]["sha256"] = "0" * 64

    world.campaign(edit={"session-outcome": swap})
    assert failed(world.judge()) == {("campaign", "OTHER_DATASET")}


def test_fewer_response_leaves_than_points(world):
    def fewer(outcome):
        outcome["runs"][0]["responses"]["leaves"] = 3

    world.campaign(edit={"session-outcome": fewer})
    assert failed(world.judge()) == {("campaign", "RESPONSES")}


def test_a_cell_whose_name_says_one_thing_and_its_batch_another(world):
    world.campaign(edit={"campaign-plan": lambda plan: plan["cells"][0].update(batch=2)})
    assert ("campaign", "CELL_MALFORMED") in failed(world.judge())


@pytest.mark.parametrize("field", ["method", "statistic"])
def test_a_method_that_is_unknown_here_cannot_be_judged(world, field):
    world.campaign(edit={"campaign-plan": lambda plan: plan.update({field: "jouleseal-method/9"})})
    report = world.judge()
    assert report.verdict is Verdict.UNJUDGED
    assert codes(report) == set()


# Image and nonce.


@pytest.mark.parametrize("name", ["session-intent", "session-outcome", "campaign-result"])
def test_another_image(name):
    class Swapping(World):
        def say(self, spoken, predicate, **rest):
            return super().say(spoken, predicate, **{"subject": OTHER_IMAGE if spoken == name else IMAGE, **rest})

    world = Swapping()
    world.campaign()
    assert failed(world.judge()) == {("image", "OTHER_IMAGE")}


def test_another_image_than_the_one_asked_about(world):
    world.campaign()
    assert failed(world.judge(image=f"sha256:{OTHER_IMAGE}")) == {("image", "IMAGE_NOT_ASKED_FOR")}


def test_a_plan_about_another_image_than_its_subject(world):
    world.campaign(edit={"campaign-plan": lambda plan: plan["image"].update(configDigest=f"sha256:{OTHER_IMAGE}")})
    assert failed(world.judge()) == {("statements", "BAD_SUBJECT")}


def test_old_evidence_under_a_new_intent():
    world = World(idle_ms=4000)
    plan = world.plan([cell()])
    first = world.intent(plan, cell())
    old = world.run(cell())
    world.outcome(plan, first, cell(), old, failure=DISTURBED)
    second = world.intent(plan, cell(), 2)
    world.outcome(plan, second, cell(), old, attempt=2)
    found = failed_after(world, plan)
    assert found == {("evidence", "EVIDENCE_REUSED")}


def test_evidence_of_an_unlogged_session_under_a_new_intent():
    """The rehearsal went well, so the operator declares it afterwards."""
    world = World(idle_ms=4000)
    plan = world.plan([cell()])
    rehearsal = world.run(cell())
    intent = world.intent(plan, cell())
    world.outcome(plan, intent, cell(), rehearsal)
    assert ("time", "SESSION_BEFORE_INTENT") in failed_after(world, plan)


def test_evidence_of_an_unlogged_session_with_its_start_postdated():
    world = World(idle_ms=4000)
    plan = world.plan([cell()])
    rehearsal = world.run(cell())
    intent = world.intent(plan, cell())
    later = {"session-outcome": lambda outcome: outcome.update(startedOn=moment(world.now))}
    world.outcome(plan, intent, cell(), rehearsal, edit=later)
    assert ("time", "RECORD_OUTSIDE_SESSION") in failed_after(world, plan)


def test_old_nonce_under_a_new_intent(world):
    plan = world.plan([cell()])
    world.aborted(plan, cell(), DISTURBED)
    old = world.said[1].nonce
    intent = world.intent(plan, cell(), 2)
    edit = {"session-outcome": lambda outcome: outcome.update(nonce=old)}
    world.outcome(plan, intent, cell(), world.run(cell()), attempt=2, edit=edit)
    assert failed_after(world, plan) == {("nonce", "NONCE")}


def test_a_nonce_from_a_checkpoint_after_the_session(world):
    """The operator logs intent and outcome together and only then asks for a checkpoint whose nonce suits."""
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    world.outcome(plan, intent, cell(), world.run(cell()))
    world.result(plan)
    path = statement_path(intent.index, "session-intent")
    bundle = parse_sigstore_bundle(world.statements[path])
    late = world.log.note(world.now)
    world.statements[path] = world.file(bundle.envelope, bundle.entry.body, intent.index, late).to_bytes()
    assert ("nonce", "NONCE_TOO_LATE") in failed(world.judge())


def test_an_order_rule_that_is_unknown_here_cannot_be_judged(world):
    world.campaign(edit={"campaign-plan": lambda plan: plan.update(orderRule="as-we-like-it/1")})
    report = world.judge()
    assert report.verdict is Verdict.UNJUDGED
    assert [result.code for result in report.checks if result.code] == ["UNKNOWN_ORDER_RULE"]


# What was signed, read strictly.


def say_raw(world, name, payload):
    world.say_envelope(name, sign(IN_TOTO_PAYLOAD_TYPE, payload, world.trust.runner), {})
    return failed(world.judge())


def plan_payload(world):
    world.plan([cell()])
    said = world.said.pop()
    world.log.entries.pop()
    world.statements.clear()
    return Statement(predicate_name="campaign-plan", subject_sha256=IMAGE, predicate=said.predicate).to_payload()


def test_predicate_type_confusion(world):
    """A real plan, signed and logged, is filed as an outcome."""
    assert say_raw(world, "session-outcome", plan_payload(world)) == {("statements", "PREDICATE_TYPE")}


def test_duplicate_json_key(world):
    payload = plan_payload(world).replace(b'"official":false', b'"official":false,"official":true')
    assert say_raw(world, "campaign-plan", payload) == {("statements", "DUPLICATE_NAME")}


def test_floating_point_numbers(world):
    payload = plan_payload(world).replace(b'"vendorSeq":1', b'"vendorSeq":1.0')
    assert say_raw(world, "campaign-plan", payload) == {("statements", "MALFORMED_JSON")}


def test_integers_that_readers_disagree_on(world):
    payload = plan_payload(world).replace(b'"vendorSeq":1', b'"vendorSeq":9007199254740993')
    assert say_raw(world, "campaign-plan", payload) == {("statements", "NOT_JSON")}


def test_payload_that_is_not_canonical(world):
    payload = json.dumps(json.loads(plan_payload(world)), indent=1).encode()
    assert say_raw(world, "campaign-plan", payload) == {("statements", "NOT_CANONICAL")}


def test_deep_json(world):
    payload = b"[" * 100_000 + b"]" * 100_000
    assert say_raw(world, "campaign-plan", payload) == {("statements", "JSON_LIMIT")}


def test_two_subjects(world):
    statement = json.loads(plan_payload(world))
    statement["subject"] *= 2
    assert say_raw(world, "campaign-plan", dumps(statement)) == {("statements", "BAD_SUBJECT")}


def test_a_statement_about_another_key_than_the_one_that_signed(world):
    world.campaign(edit={"campaign-plan": lambda plan: plan.update(runner={**world.link(), "keyId": "0" * 64})})
    assert ("statements", "OTHER_KEY") in failed(world.judge())


def test_a_statement_of_a_version_that_is_unknown_here_cannot_be_judged(world):
    statement = json.loads(plan_payload(world))
    statement["predicateType"] = statement["predicateType"].replace("/v1", "/v2")
    assert say_raw(world, "campaign-plan", dumps(statement)) == set()
    assert world.judge().verdict is Verdict.UNJUDGED


def test_a_field_of_a_later_version_cannot_be_judged(world):
    statement = json.loads(plan_payload(world))
    statement["predicate"]["discount"] = "10 %"
    assert say_raw(world, "campaign-plan", dumps(statement)) == set()
    assert world.judge().verdict is Verdict.UNJUDGED


@pytest.mark.parametrize("status", ["completed", "aborted"])
def test_a_session_without_runs_is_judged_and_never_our_own_fault(world, status):
    """`runs: []`, signed and logged: figures over no runs have no mean, and nobody may fall over that."""
    honest = World()
    honest.campaign()
    cells = honest.said[-1].predicate["cells"]
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    ran = world.run(cell())
    failure = DISTURBED if status == "aborted" else None
    without = {"session-outcome": lambda outcome: outcome["runs"].clear()}
    said = world.outcome(plan, intent, cell(), ran, failure=failure, edit=without)
    if status == "aborted":
        world.result(plan, failure=DISTURBED)
    else:
        cells[0]["outcome"] = said.statement_id
        world.say("campaign-result", _result(honest, plan, said, cells))
    report = world.judge()
    assert report.verdict is Verdict.FALSE
    assert ("campaign", "RUNS") in failed(report) or status == "aborted"


def _result(honest, plan, outcome, cells):
    """A completed campaign's result, told by hand, as no library of ours would compute it."""
    told = dict(honest.said[-1].predicate)
    del told["runner"]
    link = {"logIndex": outcome.index, "id": outcome.statement_id}
    return {**told, "campaign": plan.statement_id, "outcomes": [link], "cells": cells}
