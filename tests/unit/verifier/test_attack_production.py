"""Vendors and auditors beside the runner's chain: what they may say, what it is worth, and who lies with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.attestation.equivalence import commitment_of, draw_seed, verdict_of
from protocol.attestation.submission_statement import SubmissionStatement
from tests.worlds.production import CELL, SECRET, SERVED, Production, trust
from tests.worlds.world import IMAGE, OTHER_IMAGE, START, World, codes, failed, moment
from verifier.checks.signatures import SPEAKERS
from verifier.report import Status, Verdict

STANDS = "no-production-equivalence"
DIFFERS = "production-differs"


def told(report, check):
    return next(result.detail for result in report.checks if result.check == check)


# What an honest word is worth.


def test_a_word_that_an_auditor_tried_clears_the_flag():
    story = Production()
    assert STANDS in story.world.judge().flags
    story.settle()
    report = story.world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert STANDS not in report.flags
    assert DIFFERS not in report.flags
    assert "1 found to agree (wire production)" in told(report, "equivalence")


def test_three_answers_in_sixty_may_differ_and_four_may_not():
    story = Production()
    finding = story.finding(story.challenge(story.word()), differing=1)  # one in each of two runs
    assert finding.predicate["verdict"] == "agree"
    assert STANDS not in story.world.judge().flags
    other = Production()
    assert other.settle(differing=2).predicate["verdict"] == "differ"
    report = other.world.judge()
    assert report.verdict is Verdict.VERIFIED  # it is true that production differs
    assert {STANDS, DIFFERS} <= set(report.flags)
    assert "found to DIFFER" in told(report, "equivalence")


def test_a_word_alone_clears_nothing():
    story = Production()
    story.word()
    report = story.world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert STANDS in report.flags
    assert "not tried by an auditor" in told(report, "equivalence")


def test_a_challenge_without_its_finding_keeps_the_flag_up():
    """Whoever gives up a challenge that goes badly, and tries another one, has not agreed."""
    story = Production()
    word = story.word()
    story.challenge(word)
    second = story.challenge(word, commitment=commitment_of(bytes(32)))
    story.finding(second, secret=bytes(32))
    report = story.world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert STANDS in report.flags
    assert "no finding yet" in told(report, "equivalence")


def test_a_finding_that_differs_is_not_outvoted_by_a_second_one():
    story = Production()
    word = story.word()
    story.finding(story.challenge(word), differing=5)
    second = story.challenge(word, commitment=commitment_of(bytes(32)))
    story.finding(second, secret=bytes(32))
    assert {STANDS, DIFFERS} <= set(story.world.judge().flags)


def test_an_open_model_that_differs_is_told_apart_too():
    story = Production(proprietary=False)
    story.settle(differing=9)
    flags = set(story.world.judge().flags)
    assert DIFFERS in flags
    assert STANDS not in flags


def test_all_closed_campaigns_of_a_bundle_must_be_tried():
    first = Production()
    second = Production(first.world)
    first.settle()
    assert STANDS in first.world.judge().flags
    second.settle()
    assert STANDS not in first.world.judge().flags


# Lies about production.


def test_a_finding_about_another_image():
    for step in ("word", "challenge", "finding"):
        story = Production()
        word = story.word(subject=OTHER_IMAGE if step == "word" else IMAGE)
        challenge = story.challenge(word, subject=OTHER_IMAGE if step == "challenge" else IMAGE)
        story.finding(challenge, subject=OTHER_IMAGE if step == "finding" else IMAGE)
        assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_OTHER_IMAGE")}, step


def test_a_finding_about_another_campaign():
    """A finding that agreed about one campaign is put into the bundle of the next."""
    first = Production()
    first.settle()
    start = len(first.world.log.entries)
    second = Production(first.world)
    files = first.world.bundle()
    alone = {
        path: data
        for path, data in files.items()
        if not (path.startswith("statements/") and int(path[11:19]) < start)
        and not (path.startswith("evidence/") and path[16:] not in _evidence(second))
    }
    assert codes(first.world.judge(alone)) == set()
    strangers = {path: data for path, data in files.items() if any(f"-{name}." in path for name in SPEAKERS)}
    report = first.world.judge({**alone, **strangers})
    assert codes(report) == {"EQUIVALENCE_OTHER_CAMPAIGN"}


def test_a_finding_replayed_under_a_new_challenge():
    """The auditor agreed once; the operator answers a later challenge with the same words."""
    story = Production()
    word = story.word()
    first = story.challenge(word)
    story.finding(first)
    second = story.challenge(word, commitment=commitment_of(bytes(32)))
    again = replace(story.found(first), challenge=second.link)
    story.world.speak(again, by="auditor-lab")
    assert codes(story.world.judge()) == {"EQUIVALENCE_SEED"}


def test_one_challenge_answered_twice():
    story = Production()
    challenge = story.challenge(story.word())
    story.finding(challenge, differing=9)
    story.world.now += 60
    story.finding(challenge)
    assert codes(story.world.judge()) == {"EQUIVALENCE_TWICE"}


def test_a_challenge_that_draws_too_few():
    story = Production()
    challenge = story.challenge(story.word(), leaves_per_run=29)
    cells = story.drawn(draw_seed(SECRET, challenge.nonce), count=29)
    story.finding(challenge, cells=cells)
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_TOO_FEW")}


def test_all_leaves_are_enough_where_there_are_fewer():
    story = Production()
    challenge = story.challenge(story.word(), leaves_per_run=1000)
    story.finding(challenge, cells=story.drawn(draw_seed(SECRET, challenge.nonce), count=1000))
    assert codes(story.world.judge()) == set()


def test_points_that_were_chosen():
    story = Production()
    challenge = story.challenge(story.word())
    (cell,) = story.found(challenge).cells
    other = next(place for place in range(story.leaves) if place not in cell.runs[0].places)
    places = tuple(sorted({*cell.runs[0].places[1:], other}))
    chosen = replace(cell, runs=(replace(cell.runs[0], places=places), *cell.runs[1:]))
    for cells in ((chosen,), (replace(cell, runs=cell.runs[:1]),), ()):
        told_otherwise = Production()
        honest = told_otherwise.challenge(told_otherwise.word())
        told_otherwise.finding(honest, cells=cells, verdict=verdict_of(cells))
        assert failed(told_otherwise.world.judge()) == {("equivalence", "EQUIVALENCE_NOT_DRAWN")}


def test_a_secret_that_was_chosen_after_the_challenge():
    story = Production()
    challenge = story.challenge(story.word())
    story.finding(challenge, secret=bytes(32))
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_SEED")}


def test_a_checkpoint_of_the_challenge_that_was_asked_for_again():
    """The operator shows another checkpoint of the challenge than the one under which the auditor drew."""
    story = Production()
    word = story.word()
    challenge = story.challenge(word)
    story.finding(challenge, nonce="ab" * 32, cells=story.drawn(draw_seed(SECRET, "ab" * 32)))
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_SEED")}


def test_a_verdict_that_does_not_follow_from_its_points():
    story = Production()
    story.finding(story.challenge(story.word()), differing=9, verdict="agree")
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_MISCOUNTED")}


def test_a_finding_that_displeased_left_out():
    story = Production()
    word = story.word()
    story.finding(story.challenge(word), differing=9)
    second = story.challenge(word, commitment=commitment_of(bytes(32)))
    story.finding(second, secret=bytes(32))
    files = story.world.bundle()
    first = sorted(path for path in files if "-equivalence-" in path)[:2]
    for path in first:
        del files[path]
    report = story.world.judge(files)
    assert codes(report) == {"EQUIVALENCE_HIDDEN"}
    assert "auditor 'lab'" in told(report, "equivalence")


def test_another_audit_in_between_stays_allowed():
    """An auditor may try two campaigns at a time; the bundle of one shows what was said of the other, uncounted."""
    first = Production()
    second = Production(first.world)
    ours, theirs = first.word(), second.word()
    challenge = first.challenge(ours)
    second.finding(second.challenge(theirs), differing=9)
    first.finding(challenge)
    files = first.world.bundle()
    last = next(said.index for said in first.world.said if said.name == "campaign-result")
    alone = {}
    for path, data in files.items():
        runners = path.startswith("statements/") and not any(f"-{name}." in path for name in SPEAKERS)
        evidence = path.startswith("evidence/") and path[16:] not in _evidence(first)
        words = path.endswith(f"{theirs.index:08d}-production-equivalence.sigstore.json")
        if not (runners and int(path[11:19]) > last) and not evidence and not words:
            alone[path] = data
    report = first.world.judge(alone)
    assert codes(report) == set()
    assert STANDS not in report.flags
    assert DIFFERS not in report.flags


@pytest.mark.parametrize("auditor", ["auditor-own", "auditor-house"])
def test_an_auditor_of_the_vendors_own_house(auditor):
    """Of the vendor's organisation, or of the operator's."""
    story = Production()
    story.finding(story.challenge(story.word(), by=auditor), by=auditor)
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_NOT_INDEPENDENT")}


def test_a_finding_by_another_auditor_than_challenged():
    story = Production()
    story.finding(story.challenge(story.word()), by="auditor-house")
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_OTHER_AUDITOR")}


def test_a_vendor_who_signs_the_finding_itself():
    story = Production()
    story.finding(story.challenge(story.word()), by="vendor-acme")
    assert codes(story.world.judge()) == {"WRONG_ROLE"}


def test_a_runner_who_speaks_as_a_vendor_and_a_vendor_as_a_runner():
    story = Production()
    story.word(by="runner")
    assert codes(story.world.judge()) == {"WRONG_ROLE"}
    other = Production()
    word = other.word()
    path = next(path for path in other.world.statements if f"{word.index:08d}" in path)
    other.world.statements[path.replace("production-equivalence", "campaign-result")] = other.world.statements.pop(path)
    assert codes(other.world.judge()) == {"WRONG_ROLE"}


def test_a_statement_under_another_ones_name():
    story = Production()
    word = story.word()
    path = next(path for path in story.world.statements if f"{word.index:08d}" in path)
    story.world.statements[path.replace("production-equivalence", "submission")] = story.world.statements.pop(path)
    assert codes(story.world.judge()) == {"PREDICATE_TYPE"}


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({}, "vendor-other"),
        ({"vendor": "other"}, "vendor-other"),
        ({"model": "huge"}, "vendor-acme"),
        ({"model_version": "2"}, "vendor-acme"),
    ],
)
def test_a_word_on_somebody_elses_model(changes, by):
    story = Production()
    story.word(by=by, **changes)
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_OTHER_VENDOR")}


def test_a_word_that_leaves_out_the_measured_precision():
    story = Production()
    story.word(production=replace(SERVED, precisions=("int8",)))
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_PRECISION")}


def test_a_word_before_the_result_and_a_challenge_before_the_word():
    world = World(trust())
    early = Production(world)
    later = Production.__new__(Production)
    later.world = world
    later.plan = world.plan([CELL])
    word = Production.word(later)
    later.outcome = world.session(later.plan, CELL)
    world.result(later.plan)
    assert early.plan != later.plan
    assert word.index < world.said[-1].index
    assert codes(world.judge()) == {"EQUIVALENCE_ORDER"}


def test_a_challenge_before_the_word_that_it_tries():
    """The auditor drew first, and the vendor said afterwards what it can stand by."""
    when = moment(START)
    known = Production().word(declared_on=when)
    story = Production()
    challenge = story.challenge(known)  # a statement's id follows from its words, so it can be named beforehand
    assert story.word(declared_on=when).statement_id == known.statement_id
    story.finding(challenge)
    assert failed(story.world.judge()) == {("equivalence", "EQUIVALENCE_ORDER")}


def test_a_challenge_to_a_word_that_is_not_there():
    story = Production()
    word = story.word()
    story.finding(story.challenge(word, declaration="ab" * 32))
    assert codes(story.world.judge()) == {"EQUIVALENCE_OTHER_WORD"}


def test_a_finding_without_its_challenge():
    story = Production()
    challenge = story.challenge(story.word())
    story.finding(challenge)
    files = story.world.bundle()
    del files[next(path for path in files if "equivalence-challenge" in path)]
    assert "EQUIVALENCE_OTHER_CHALLENGE" in codes(story.world.judge(files))


@pytest.mark.parametrize("key", ["vendor-acme", "auditor-lab"])
def test_a_word_under_a_key_that_had_ended(key):
    story = Production(World(trust(not_after={key: START - 1})))
    story.settle()
    assert codes(story.world.judge()) == {"KEY_NOT_IN_FORCE"}


# Submissions.


def signed(world, **changes):
    """Let the vendor sign what the world's plans say of their submission."""
    plan = Production(World(trust()), proprietary=False).plan.predicate["submission"]
    read = SubmissionStatement.from_json(
        {"submission": plan, "production": None, "signedOn": moment(START), "validUntil": moment(START + 600)}
    )
    by, subject = changes.pop("by", "vendor-acme"), changes.pop("subject", IMAGE)
    return world.speak(replace(read, **changes), by=by, subject=subject)


def story_of(*, names=True, **changes):
    world = World(trust())
    said = signed(world, **changes)
    named = {"submissionStatement": said.link.to_json()} if names else {}
    Production(world, proprietary=False, edit={"campaign-plan": lambda plan: plan.update(**named)})
    return world, said


def test_a_submission_that_its_vendor_signed():
    world, _ = story_of()
    report = world.judge()
    assert report.verdict is Verdict.VERIFIED
    assert told(report, "submission") == "1 submission as its vendor signed it"
    assert Status.PASSED in {result.status for result in report.checks if result.check == "submission"}


def test_another_submission_than_the_vendor_signed():
    claim = signed(World(trust())).predicate["submission"]
    base = SubmissionStatement.from_json(
        {"submission": claim, "production": None, "signedOn": moment(START), "validUntil": moment(START + 600)}
    ).submission
    for change in ({"model_version": "2"}, {"proprietary": True}, {"document_sha256": "ab" * 32}, {"framework": "x"}):
        world, _ = story_of(submission=replace(base, **change))
        assert failed(world.judge()) == {("submission", "SUBMISSION_DIFFERS")}, change


def test_a_submission_of_another_image():
    world, _ = story_of(subject=OTHER_IMAGE)
    assert failed(world.judge()) == {("submission", "SUBMISSION_IMAGE")}


def test_a_submission_signed_by_another_vendor():
    world, _ = story_of(by="vendor-other")
    assert failed(world.judge()) == {("submission", "SUBMISSION_SIGNER")}


def test_a_vendors_submission_left_out():
    world, said = story_of()
    files = world.bundle()
    del files[next(path for path in files if f"{said.index:08d}-submission" in path)]
    assert failed(world.judge(files)) == {("submission", "SUBMISSION_MISSING")}


def test_a_submission_that_no_plan_names():
    world, _ = story_of(names=False)
    assert failed(world.judge()) == {("submission", "SUBMISSION_UNNAMED")}


def test_a_submission_signed_when_the_figures_were_known():
    later = signed(World(trust()))
    link = {"logIndex": 4, "id": later.statement_id}
    world = World(trust())
    Production(world, proprietary=False, edit={"campaign-plan": lambda plan: plan.update(submissionStatement=link)})
    assert signed(world).link.to_json() == link
    assert failed(world.judge()) == {("submission", "SUBMISSION_ORDER")}


def test_an_old_submission_measured_again():
    world, _ = story_of(valid_until=moment(START + 1), signed_on=moment(START - 5))
    assert codes(world.judge()) == set()  # the plan follows at once
    late = World(trust())
    said = signed(late, valid_until=moment(START + 600))
    late.now += 3600
    edit = {"campaign-plan": lambda plan: plan.update(submissionStatement=said.link.to_json())}
    Production(late, proprietary=False, edit=edit)
    assert failed(late.judge()) == {("submission", "SUBMISSION_EXPIRED")}


def test_production_that_is_told_otherwise_afterwards():
    """What a vendor says of production when it hands in, it cannot say otherwise when the figures are known."""
    world = World(trust())
    said = signed(world, production=replace(SERVED, differences=()))
    edit = {"campaign-plan": lambda plan: plan.update(submissionStatement=said.link.to_json())}
    story = Production(world, proprietary=False, edit=edit)
    story.word()
    assert failed(world.judge()) == {("equivalence", "EQUIVALENCE_RESTATED")}


def _evidence(story):
    """Return the digests that a story's statements refer to."""
    said = [item.predicate for item in story.world.said if item.predicate.get("campaign") == story.plan.statement_id]
    text = str([story.plan.predicate, *said])
    return [digest for digest in story.world.evidence if digest in text]
