"""Logging what vendors and auditors say: who may, when, once, and into which bundle it goes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.batch import Batch, BatchFile
from orchestrator.cli import main
from orchestrator.record import beside
from orchestrator.record.audit import audit
from orchestrator.record.bundle import export
from orchestrator.record.domain import open_domain
from orchestrator.record.keys import load_key
from orchestrator.record.log_copy import open_copy
from protocol.attestation.beside import sign_beside
from protocol.attestation.bundle import read_bundle
from protocol.attestation.claims import SubmissionClaim
from protocol.attestation.equivalence import (
    EQUIVALENCE_DRAW_RULE,
    EquivalenceChallenge,
    EquivalenceFinding,
    ProductionEquivalence,
)
from protocol.attestation.keyring import EnrolledKey, sign_keyring
from protocol.attestation.moment import format_moment
from protocol.attestation.submission_statement import ProductionClaim, SubmissionStatement
from protocol.errors import InvalidSubmission, UsageError
from protocol.methodology.equivalence import COMPARISON_RULE
from tests.unit.attestation import statements
from tests.unit.attestation.key_maker import ed_signer
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
    steps,
)
from tests.worlds.production import ENDPOINT

VENDOR, AUDITOR, OTHER = ed_signer(1), ed_signer(2), ed_signer(3)
SERVED = ProductionClaim(precisions=("fp32",), engine="onnxruntime", engine_version="1", differences=())


def people(domain, **changes):
    """Enrol a vendor called acme and an auditor, whose keys last a day."""
    lasting = {"scope": None, "not_before": format_moment(NOW), "not_after": format_moment(NOW + timedelta(days=1))}
    enrolled = [
        EnrolledKey(key=signer.public_key, role=role, name=name, organisation=name, last_valid_index=None, **lasting)
        for signer, role, name in ((VENDOR, "vendor", "acme"), (AUDITOR, "auditor", "house"))
    ]
    enrolled = [replace(key, **changes) for key in enrolled]
    keyring = replace(domain.keyring, version=2, keys=(*domain.keyring.keys, *enrolled))
    path = domain.home / "trust/keyring.dsse.json"
    path.write_bytes(sign_keyring(keyring, [load_key(domain.home / "keys/root.pem")]))
    return open_domain(domain.home)


@pytest.fixture(name="domain")
def _domain(tmp_path):
    return people(new_domain(tmp_path / "home"))


def word(plan_id: str, signer=VENDOR, **changes) -> bytes:
    said = ProductionEquivalence(
        campaign=plan_id, vendor="acme", model="digits", model_version="1", production=SERVED, declared_on=moment()
    )
    return sign_beside(replace(said, **changes), IMAGE, signer)


def challenge(plan_id: str, signer=AUDITOR) -> bytes:
    said = EquivalenceChallenge(
        campaign=plan_id,
        declaration="ab" * 32,
        commitment="cd" * 32,
        draw_rule=EQUIVALENCE_DRAW_RULE,
        leaves_per_run=6,
        challenged_on=moment(),
    )
    return sign_beside(said, IMAGE, signer)


def finding(plan_id: str, asked: beside.Kept) -> bytes:
    said = EquivalenceFinding(
        campaign=plan_id,
        challenge=asked.link,
        secret="ab" * 32,
        nonce="cd" * 32,
        comparison_rule=COMPARISON_RULE,
        endpoint=ENDPOINT,
        cells=(),
        verdict="differ",
        found_on=moment(),
    )
    return sign_beside(said, IMAGE, AUDITOR)


def moment() -> str:
    return format_moment(NOW)


def log(domain, data: bytes, now=NOW):
    with registrar(domain) as voice:
        return beside.log_beside(voice, data, now=now)


def test_what_is_said_twice_is_logged_once_and_its_checkpoint_stays(domain):
    """A challenge's draw stands on its first checkpoint: an operator who logs it again gets the same file."""
    plan, *_ = campaign(domain)
    first = log(domain, challenge(plan.statement_id))
    log(domain, word(plan.statement_id))
    again = log(domain, challenge(plan.statement_id))
    assert again == first
    assert [item.link.log_index for item in beside.kept(domain.home)] == [4, 5]


def test_a_crash_between_log_and_file_is_made_good_by_saying_it_again(domain, monkeypatch):
    plan, *_ = campaign(domain)
    with monkeypatch.context() as broken:
        broken.setattr(beside, "write_atomic", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log(domain, word(plan.statement_id))
    assert beside.kept(domain.home) == ()
    assert log(domain, word(plan.statement_id)).link.log_index == 4


@pytest.mark.parametrize("signer", [OTHER, AUDITOR])
def test_a_stranger_and_another_role_are_not_logged(domain, signer):
    plan, *_ = campaign(domain)
    with pytest.raises(UsageError) as error:
        log(domain, word(plan.statement_id, signer))
    assert error.value.code == "NOT_ENROLLED"
    with registrar(domain) as voice:
        assert voice.log_size == 4


def test_a_key_that_ended_or_was_revoked_is_not_logged(domain):
    plan, *_ = campaign(domain)
    with pytest.raises(UsageError, match="NOT_ENROLLED"):
        log(domain, word(plan.statement_id), now=NOW + timedelta(days=2))
    revoked = people(new_domain(domain.home.parent / "revoked"), last_valid_index=3)
    plan, *_ = campaign(revoked)
    with pytest.raises(UsageError, match="NOT_ENROLLED"):
        log(revoked, word(plan.statement_id))


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", b"[]"])
def test_what_is_no_statement_is_not_logged(domain, data):
    with pytest.raises(UsageError) as error:
        log(domain, data)
    assert error.value.code == "NOT_A_STATEMENT"


def test_nothing_is_logged_into_an_open_campaign(domain):
    """The bundle opens all that stands between a plan and its result, and it must be the runner's."""
    with registrar(domain) as voice:
        plan = record_plan(voice, evidence_of(domain.home))
        with pytest.raises(UsageError) as error:
            beside.log_beside(voice, word(plan.statement_id), now=NOW)
    assert error.value.code == "CAMPAIGN_OPEN"


def test_nothing_is_logged_between_the_campaigns_of_an_unfinished_batch(domain, capsys):
    plan, *_ = campaign(domain)
    BatchFile(domain.home / "batch.json").write(Batch(keys=("one", "two"), plans=(plan.statement_id,)))
    (domain.home / "word").write_bytes(word(plan.statement_id))
    words = ["equivalence", "log", str(domain.home / "word"), "--home", str(domain.home)]
    assert main([*words, "--out", str(domain.home / "out"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "CAMPAIGN_OPEN"


def test_a_bundle_carries_what_was_said_of_its_campaigns_and_what_auditors_said_up_to_the_last_finding(domain):
    first, *_, first_result = campaign(domain)
    log(domain, word(first.statement_id))
    asked = log(domain, challenge(first.statement_id))
    with registrar(domain) as voice:
        second, *_, second_result = list(steps(voice, evidence_of(domain.home)))
    log(domain, challenge(second.statement_id))
    log(domain, word(second.statement_id))
    out = domain.home / "bundle.tar"

    def carried(start, end):
        export(domain.home, start.index, end.index, evidence_of(domain.home), out)
        return [item.log_index for item in read_bundle(out).beside()]

    assert carried(first, first_result) == [4, 5]
    log(domain, finding(first.statement_id, asked))
    assert carried(first, first_result) == [4, 5, 10, 12]  # the other campaign's challenge, and no vendor's word on it
    assert carried(second, second_result) == [10, 11]


def test_an_audit_reads_what_was_said_beside_and_finds_a_change(domain):
    plan, *_ = campaign(domain)
    kept = log(domain, word(plan.statement_id))
    done = audit(open_copy(domain.home))
    assert done.sound, done.findings
    assert done.checked["signatures"] == 5
    assert not [finding for finding in done.findings if finding.code == "NOT_CHECKED"]
    path = domain.home / "beside" / kept.name
    path.write_bytes(path.read_bytes().replace(b'"logIndex":"4"', b'"logIndex":"3"'))
    assert not audit(open_copy(domain.home)).sound


def test_a_damaged_file_is_named_and_not_passed_over(domain):
    plan, *_ = campaign(domain)
    kept = log(domain, word(plan.statement_id))
    (domain.home / "beside" / kept.name).write_bytes(b"{}")
    with pytest.raises(Exception, match="STATEMENT_LOST"):
        beside.kept(domain.home)


CLAIM = SubmissionClaim(
    submission_id="s-1",
    vendor="acme",
    model="digits",
    model_version="1",
    proprietary=True,
    framework="onnxruntime",
    document_sha256=statements.OTHER,
)


def submission(signer=VENDOR, image=IMAGE, **changes) -> bytes:
    said = SubmissionStatement(
        submission=CLAIM,
        production=None,
        signed_on=moment(),
        valid_until=format_moment(NOW + timedelta(hours=1)),
    )
    return sign_beside(replace(said, **changes), image, signer)


@pytest.mark.parametrize(
    ("data", "claim", "code"),
    [
        (submission(), replace(CLAIM, document_sha256="ab" * 32), "SUBMISSION_DIFFERS"),
        (submission(), replace(CLAIM, proprietary=False), "SUBMISSION_DIFFERS"),
        (submission(image="ef" * 32), CLAIM, "SUBMISSION_IMAGE"),
        (submission(submission=replace(CLAIM, vendor="other")), replace(CLAIM, vendor="other"), "SUBMISSION_SIGNER"),
        (submission(valid_until=format_moment(NOW + timedelta(seconds=1))), CLAIM, "SUBMISSION_EXPIRED"),
        (word("ab" * 32), CLAIM, "NOT_A_STATEMENT"),
        (b"{}", CLAIM, "NOT_A_STATEMENT"),
    ],
)
def test_a_runner_refuses_what_the_vendor_did_not_sign_before_it_measures(domain, data, claim, code):
    at = {"now": NOW + timedelta(minutes=1), "index": 0}
    beside.check_submission(domain, submission(), CLAIM, IMAGE, **at)
    with pytest.raises(InvalidSubmission) as error:
        beside.check_submission(domain, data, claim, IMAGE, **at)
    assert error.value.code == code


def test_a_plan_names_the_submission_and_its_bundle_has_it_even_from_long_before(domain):
    """Handed in again under the same signature: one entry in the log, which both bundles show."""
    handed_in = log(domain, submission())
    named = {"submissionStatement": handed_in.link.to_json()}
    spans = []
    for _ in range(2):
        with registrar(domain) as voice:
            assert beside.log_beside(voice, submission(), now=NOW) == handed_in
            plan = record_plan(voice, evidence_of(domain.home), **named)
            story = list(_rest(voice, domain, plan))
            spans.append((plan.index, story[-1].index))
    for first, last in spans:
        out = domain.home / f"{first}.tar"
        export(domain.home, first, last, evidence_of(domain.home), out)
        assert [item.log_index for item in read_bundle(out).beside()] == [handed_in.link.log_index]


def _rest(voice, domain, plan):
    intent = record_intent(voice, plan)
    outcome = record_outcome(voice, evidence_of(domain.home), plan, intent)
    yield outcome
    yield record_result(voice, plan, [outcome])
