"""Honest stories verify, and the report says what they are worth and what nobody looked at."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from orchestrator.record.bundle import export
from orchestrator.record.domain import create
from orchestrator.record.registrar import Registrar
from orchestrator.record.store import EvidenceStore
from protocol.attestation.claims import Failure
from protocol.attestation.statement import PREDICATE_NAMES
from protocol.attestation.verify_txt import verify_text
from protocol.methodology.scenario import Scenario
from tests.worlds.world import EPOCH, IMAGE, START, Said, Trust, World, cell, codes, failed
from verifier.demands import Demands, root_pin
from verifier.report import Status, Verdict
from verifier.verify import verify_path

LIST = (
    "container root keyring policy log inclusion signatures statements completeness campaign image nonce evidence "
    "timeline trace time recompute continuity certifiability committed"
).split()


@pytest.fixture(name="world")
def _world():
    return World()


def test_an_honest_campaign_is_verified_and_walks_the_whole_list(world):
    world.campaign()
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert [result.check for result in report.checks] == LIST
    assert all(result.detail for result in report.checks)


def test_committed_figures_are_never_passed(world):
    world.campaign()
    report = world.judge()
    left = [result for result in report.checks if result.status is not Status.PASSED]
    assert [(result.check, result.status) for result in left] == [("committed", Status.NOT_CHECKED)]
    assert "no leaf was opened" in left[0].detail


def test_figures_stand_on_their_two_lists(world):
    plan = world.campaign()
    figures = world.judge().figures[plan.statement_id]["image-classification/latency/fp32"]
    assert set(figures.committed) == {"accuracy", "macro-f1", "sampleErrors"}
    assert figures.recomputed["energyKind"] == "estimated"
    assert float(figures.recomputed["itEnergyWhPer1000Queries"]) > 0


def test_a_local_domain_is_worth_t1_and_is_told_what_more_takes(world):
    world.campaign()
    report = world.judge()
    assert (report.tier, report.certifiable) == ("T1", False)
    assert {"estimated-energy", "tier-below-t3", "unofficial"} <= set(report.flags)
    worth = next(result for result in report.checks if result.check == "certifiability")
    assert "T2 needs" in worth.detail


def test_outside_witnesses_lift_the_tier_and_own_ones_never_do():
    own = World(Trust(witnesses=("a", "b", "c"), threshold=3))
    own.campaign()
    assert own.judge().tier == "T1"
    organisations = {"witness-b": "vendor", "witness-c": "auditor"}
    outside = World(Trust(witnesses=("a", "b", "c"), threshold=2, organisations=organisations))
    outside.campaign()
    assert outside.judge().tier == "T3"
    enough_alone = World(Trust(witnesses=("a", "b", "c"), threshold=1, organisations=organisations))
    enough_alone.campaign()
    assert enough_alone.judge().tier == "T1"


def test_two_scenarios_and_two_campaigns_share_one_bundle(world):
    first = world.campaign([cell(), cell(Scenario.THROUGHPUT, points=40)])
    second = world.campaign(model="other")
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert list(report.figures) == [first.statement_id, second.statement_id]


def test_a_second_campaign_of_one_model_goes_on_counting(world):
    world.campaign()
    world.campaign()
    assert world.judge().verdict is Verdict.VERIFIED


def test_a_disturbed_session_is_published_and_tried_once_more(world):
    plan = world.plan([cell()])
    world.aborted(plan, cell(), Failure(code="TRACE_GAP", blame="measurement"))
    world.session(plan, cell(), attempt=2)
    world.result(plan)
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert "1 aborted" in next(result.detail for result in report.checks if result.check == "campaign")


def test_a_crash_leaves_an_outcome_without_evidence_and_that_is_a_story_too(world):
    plan = world.plan([cell()])
    intent = world.intent(plan, cell())
    world.outcome(plan, intent, cell(), None, failure=Failure(code="INTERRUPTED", blame="measurement"))
    world.session(plan, cell(), attempt=2)
    world.result(plan)
    assert world.judge().verdict is Verdict.VERIFIED


def test_a_campaign_that_the_vendor_failed_is_a_true_story(world):
    plan = world.plan([cell(), cell(Scenario.THROUGHPUT, points=40)])
    world.session(plan, cell())
    failure = Failure(code="OOM_KILLED", blame="vendor")
    world.aborted(plan, cell(Scenario.THROUGHPUT, points=40), failure)
    world.result(plan, failure=failure)
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert not report.certifiable
    assert list(report.figures[plan.statement_id]) == [cell().cell_id]


def test_a_bundle_may_begin_deep_inside_a_long_log(world):
    for _ in range(600):
        world.log.entries.append(b"another runner's entry, of no concern here")
    first = len(world.log.entries)
    world.campaign()
    assert first > 2 * 256
    assert world.judge(world.bundle(first)).verdict is Verdict.VERIFIED


def test_a_campaign_across_a_tile_boundary_verifies(world):
    for _ in range(254):
        world.log.entries.append(b"another runner's entry, of no concern here")
    world.campaign()
    assert len(world.log.entries) == 258
    assert world.judge(world.bundle(254)).verdict is Verdict.VERIFIED


def test_keys_that_expired_since_do_not_make_yesterdays_truth_false():
    world = World(
        Trust(not_after=dict.fromkeys(("runner", "log", "witness-operator"), START + 60), root_expires=START + 60)
    )
    world.campaign()
    assert world.now < START + 60
    assert world.judge().verdict is Verdict.VERIFIED
    later = world.judge(as_of=datetime.fromtimestamp(START + 61, UTC))
    assert failed(later) == {("signatures", "ROOT_EXPIRED")}


def test_a_bundle_did_not_exist_before_it_was_witnessed(world):
    world.campaign()
    assert failed(world.judge(as_of=datetime.fromtimestamp(EPOCH, UTC))) == {("log", "WITNESSED_LATER")}
    assert world.judge(as_of=datetime.fromtimestamp(world.now, UTC)).verdict is Verdict.VERIFIED


def test_the_image_that_the_auditor_asked_about_is_named(world):
    world.campaign()
    ours = world.said[0].predicate["image"]["configDigest"]
    assert world.judge(image=ours).verdict is Verdict.VERIFIED


def test_the_real_registrar_and_the_real_exporter_write_what_we_verify(tmp_path, world):
    domain = create(tmp_path / "home", "runner-1", [], now=datetime.fromtimestamp(START - 10, UTC))
    evidence = EvidenceStore(tmp_path / "evidence")
    with Registrar(domain, clock=lambda: world.now, boot_id="boot-1") as registrar:
        tell_through(world, registrar)
    for data in world.evidence.values():
        evidence.put(data)
    out = export(domain.home, 0, 3, evidence, tmp_path / "bundle.tar")
    report = verify_path(out.path, Demands(root=root_pin(str(domain.home / "trust" / "root.json"))))
    assert codes(report) == set()
    assert report.verdict is Verdict.VERIFIED
    assert sorted(signer.role for signer in report.signers) == ["log", "runner", "witness"]


def tell_through(world, registrar):
    """Let a world's story be signed and logged by the real registrar, with its keys, its log and its witness."""

    class _Trust(Trust):
        @property
        def runner(self):
            return registrar.domain.runner_signer

    world.trust = _Trust()
    assert verify_text(registrar.domain.runner.key) == registrar.domain.verify_txt

    def say(name, predicate, *, subject=IMAGE):
        link = registrar.next_link().to_json()
        logged = registrar.record(name, subject, predicate)
        said = Said(
            index=logged.index,
            statement_id=logged.statement_id,
            name=name,
            predicate={"runner": link, **predicate},
            nonce=logged.nonce(),
        )
        world.said.append(said)
        world.now += 1
        return said

    world.say = say
    world.campaign()
    assert [said.name for said in world.said] == list(PREDICATE_NAMES)
    assert hashlib.sha256(registrar.domain.root_bytes).hexdigest() == registrar.domain.root.fingerprint
