"""Check 22, where somebody spoke of production: does the vendor serve what was measured, and who tried?

The flag `no-production-equivalence` falls if the vendor of the campaign said so and every challenge to it ended in the
finding `agree`. A finding `differ` raises `production-differs`. Statements that break a rule make the bundle false:

1. The vendor's word is about the campaign's image and model, by a key enrolled under this vendor's name, after the
   result, at the planned precisions, and as the vendor's submission said, where that said anything.
2. The auditor is of another organisation than the vendor and the operator, and signed both challenge and finding.
3. The challenge was logged after word and result, and draws at least 60 leaves of every session, or all there are.
4. The finding reveals the committed secret, names the nonce of the challenge, and lists exactly the drawn leaves of
   every completed session. Its verdict follows from them. A challenge has one finding.
5. From the result to the last finding, every entry of the log by an auditor's key is opened here, so that a finding
   which displeased is not left out. Only such entries may be about campaigns of other bundles; they count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from protocol.attestation.beside import Beside
from protocol.attestation.equivalence import (
    LEAST_LEAVES,
    EquivalenceChallenge,
    EquivalenceFinding,
    ProductionEquivalence,
    commitment_of,
    draw_seed,
    verdict_of,
)
from protocol.attestation.keyring import Keyring
from protocol.attestation.openings import drawn_places
from protocol.attestation.submission_statement import SubmissionStatement
from protocol.errors import VerificationError
from protocol.methodology.flags import NO_EQUIVALENCE, PRODUCTION_DIFFERS
from protocol.tlog.leaf import parse_leaf
from verifier.checks.certifiability import Worth
from verifier.checks.statements import Read
from verifier.facts import Final, Session, Spoken, Story
from verifier.walk import Established, Findings, counted, false

_HINT = "rely on no statement about production in this bundle"
_B = TypeVar("_B", bound=Beside)


@dataclass(frozen=True, slots=True)
class _Voices:
    """What was said of production, in log order."""

    words: tuple[Spoken[ProductionEquivalence], ...]
    challenges: tuple[Spoken[EquivalenceChallenge], ...]
    findings: tuple[Spoken[EquivalenceFinding], ...]
    submissions: tuple[Spoken[SubmissionStatement], ...]

    @property
    def all(self) -> tuple[Spoken[ProductionEquivalence | EquivalenceChallenge | EquivalenceFinding], ...]:
        """Word, challenge and finding alike."""
        return (*self.words, *self.challenges, *self.findings)


def concerns(read: Read) -> bool:
    """Return whether anybody said anything of production."""
    return any(not isinstance(item.predicate, SubmissionStatement) for item in read.beside)


def check(
    worth: Worth, stories: Sequence[Story], beside: Sequence[Spoken[Beside]], *, keyring: Keyring, final: Final
) -> Established[Worth]:
    """Return what the bundle is worth with what was said of production; raises VerificationError for a false word."""
    voices = _Voices(
        words=tuple(_of(beside, ProductionEquivalence)),
        challenges=tuple(_of(beside, EquivalenceChallenge)),
        findings=tuple(_of(beside, EquivalenceFinding)),
        submissions=tuple(_of(beside, SubmissionStatement)),
    )
    problems = Findings()
    campaigns = {story.campaign: story for story in stories}
    _check_strangers(voices, campaigns, keyring, final, problems)
    for word in voices.words:
        with problems.collecting():
            _check_word(word, _story(word, campaigns), voices)
    for challenge in voices.challenges:
        if challenge.predicate.campaign in campaigns:
            with problems.collecting():
                _check_challenge(challenge, campaigns[challenge.predicate.campaign], voices, keyring)
    for finding in voices.findings:
        if finding.predicate.campaign in campaigns:
            with problems.collecting():
                _check_finding(finding, campaigns[finding.predicate.campaign], voices)
    problems.settle()
    return Established(*_worth(worth, stories, voices))


def _worth(worth: Worth, stories: Sequence[Story], voices: _Voices) -> tuple[Worth, str]:
    verdicts = {story.campaign: _verdicts(story, voices) for story in stories}
    standing = [
        story
        for story in stories
        if story.plan.predicate.submission.proprietary and set(verdicts[story.campaign]) != {"agree"}
    ]
    flags = set(worth.flags)
    if not standing:
        flags.discard(NO_EQUIVALENCE)
    found = [verdict for of_story in verdicts.values() for verdict in of_story]
    if "differ" in found:
        flags.add(PRODUCTION_DIFFERS)
    told = ", ".join(f"{found.count(word)} {words}" for word, words in _WORDS if word in found)
    detail = f"{counted(len(voices.words), 'word')} of a vendor; {told or 'not tried by an auditor'}"
    kinds = sorted({finding.predicate.endpoint.kind for finding in voices.findings})
    if kinds:
        detail += f" ({' and '.join(kinds)} production), leaves drawn by nobody's choice"
    return Worth(worth.tier, tuple(sorted(flags)), certifiable=not flags), detail


_WORDS = (("agree", "found to agree"), ("differ", "found to DIFFER"), ("open", "challenged, and no finding yet"))


def _verdicts(story: Story, voices: _Voices) -> list[str]:
    """Return how each challenge to this campaign ended: agree, differ, or open."""
    ended = {finding.predicate.challenge: finding.predicate.verdict for finding in voices.findings}
    mine = [item for item in voices.challenges if item.predicate.campaign == story.campaign]
    return [ended.get(item.link, "open") for item in mine]


def _check_strangers(
    voices: _Voices, campaigns: dict[str, Story], keyring: Keyring, final: Final, problems: Findings
) -> None:
    """Rule 5."""
    own = [finding.index for finding in voices.findings if finding.predicate.campaign in campaigns]
    first = min((story.result.index for story in campaigns.values()), default=0)
    needed = range(first + 1, max(own, default=first) + 1)
    for item in voices.all:
        auditors = not isinstance(item.predicate, ProductionEquivalence)
        if item.predicate.campaign not in campaigns and not (auditors and item.index in needed):
            observed = f"{item.path} is about campaign {item.predicate.campaign}"
            problems.add(_false("EQUIVALENCE_OTHER_CAMPAIGN", observed, "a campaign of this bundle"))
    opened = {item.index for item in voices.all}
    for index in needed:
        entry = final.view.entries.get(index)
        if entry is None:
            problems.add(_false("LOG_INCOMPLETE", f"no log entry {index}", "all entries up to the last finding"))
            return
        signer = keyring.find(parse_leaf(entry).key.key_id)
        if signer is not None and signer.role == "auditor" and index not in opened:
            observed = f"log entry {index} by auditor {signer.name!r} is not opened"
            problems.add(_false("EQUIVALENCE_HIDDEN", observed, "everything that auditors said up to the last finding"))


def _check_word(word: Spoken[ProductionEquivalence], story: Story | None, voices: _Voices) -> None:
    if story is None:
        return  # named above
    plan, said = story.plan.predicate, word.predicate
    _check_place(word, story)
    about = (plan.submission.vendor, plan.submission.model, plan.submission.model_version)
    if (said.vendor, said.model, said.model_version) != about or word.logged.signer.name != said.vendor:
        observed = f"vendor {word.logged.signer.name!r} speaks of {said.vendor}: {said.model} {said.model_version}"
        raise _false("EQUIVALENCE_OTHER_VENDOR", observed, "{}: {} {}, by its vendor".format(*about))
    left_out = {cell.precision for cell in plan.cells} - set(said.production.precisions)
    if left_out:
        served = ", ".join(said.production.precisions)
        raise _false("EQUIVALENCE_PRECISION", f"{served} is served", f"{min(left_out)}, which was measured, among it")
    handed_in = [item.predicate for item in voices.submissions if item.link == plan.submission_statement]
    if handed_in and handed_in[0].production not in {None, said.production}:
        raise _false("EQUIVALENCE_RESTATED", f"{word.path} says otherwise of production", "what the submission said")


def _check_challenge(challenge: Spoken[EquivalenceChallenge], story: Story, voices: _Voices, keyring: Keyring) -> None:
    said = challenge.predicate
    _check_place(challenge, story)
    words = [word for word in voices.words if word.link.statement_id == said.declaration]
    if not words or words[0].predicate.campaign != story.campaign:
        observed = f"{challenge.path} tries the word {said.declaration[:16]}"
        raise _false("EQUIVALENCE_OTHER_WORD", observed, "the vendor's word on this campaign, in this bundle")
    if challenge.index < words[0].index:
        raise _false("EQUIVALENCE_ORDER", f"{challenge.path} before {words[0].path}", "a challenge after the word")
    auditor = challenge.logged.signer
    organisations = {key.organisation for role in ("runner", "log") for key in keyring.in_role(role)}
    if auditor.organisation in organisations | {words[0].logged.signer.organisation}:
        observed = f"auditor {auditor.name!r} of {auditor.organisation!r}"
        raise _false("EQUIVALENCE_NOT_INDEPENDENT", observed, "neither the vendor's organisation nor the operator's")
    for session in story.completed:
        leaves = [run.responses.leaves for run in session.outcome.predicate.runs if run.responses is not None]
        drawn = sum(min(said.leaves_per_run, count) for count in leaves)
        if drawn < min(LEAST_LEAVES, sum(leaves)):
            observed = f"{drawn} leaves of {session.name}"
            raise _false("EQUIVALENCE_TOO_FEW", observed, f"at least {min(LEAST_LEAVES, sum(leaves))}")


def _check_finding(finding: Spoken[EquivalenceFinding], story: Story, voices: _Voices) -> None:
    said = finding.predicate
    _check_place(finding, story)
    challenge = next((item for item in voices.challenges if item.link == said.challenge), None)
    if challenge is None or challenge.predicate.campaign != story.campaign or challenge.index > finding.index:
        observed = f"{finding.path} answers {said.challenge.statement_id[:16]}"
        raise _false("EQUIVALENCE_OTHER_CHALLENGE", observed, "an earlier challenge to this campaign, in this bundle")
    if finding.logged.signer.key != challenge.logged.signer.key:
        observed = f"a finding by {finding.logged.signer.name!r}"
        raise _false("EQUIVALENCE_OTHER_AUDITOR", observed, f"by {challenge.logged.signer.name!r}, who challenged")
    if [item.predicate.challenge for item in voices.findings].count(said.challenge) > 1:
        raise _false("EQUIVALENCE_TWICE", f"{finding.path} and another under one challenge", "one finding a challenge")
    secret = bytes.fromhex(said.secret)
    if commitment_of(secret) != challenge.predicate.commitment or said.nonce != challenge.nonce:
        observed = f"{finding.path}: another secret or another nonce"
        raise _false("EQUIVALENCE_SEED", observed, "the secret that was committed to, and the challenge's nonce")
    wanted = _drawn(story.completed, draw_seed(secret, said.nonce), challenge.predicate.leaves_per_run)
    found = {(cell.cell_id, cell.outcome): {run.run: run.places for run in cell.runs} for cell in said.cells}
    if found != wanted:
        raise _false("EQUIVALENCE_NOT_DRAWN", f"{finding.path} is over other leaves", "exactly the leaves drawn")
    if said.verdict != verdict_of(said.cells):
        differing = sum(cell.differing for cell in said.cells)
        observed = f"verdict {said.verdict!r} with {differing} answers that differ"
        raise _false("EQUIVALENCE_MISCOUNTED", observed, f"{verdict_of(said.cells)!r}, as the points come to")


def _drawn(sessions: Sequence[Session], seed: bytes, count: int) -> dict[tuple[str, str], dict[int, tuple[int, ...]]]:
    return {
        (session.outcome.predicate.cell, session.outcome.statement_id): {
            run.run: drawn_places(seed, session.outcome.statement_id, run.run, run.responses.leaves, count)
            for run in session.outcome.predicate.runs
            if run.responses is not None
        }
        for session in sessions
    }


def _check_place(spoken: Spoken[Beside], story: Story) -> None:
    if spoken.statement.subject_sha256 != story.plan.statement.subject_sha256:
        observed = f"{spoken.path} is about image {spoken.statement.subject_sha256}"
        raise _false("EQUIVALENCE_OTHER_IMAGE", observed, f"{story.plan.statement.subject_sha256}, which was measured")
    if spoken.index < story.result.index:
        raise _false("EQUIVALENCE_ORDER", f"{spoken.path} before {story.result.path}", "a word after the result")


def _story(word: Spoken[ProductionEquivalence], campaigns: dict[str, Story]) -> Story | None:
    return campaigns.get(word.predicate.campaign)


def _of(beside: Sequence[Spoken[Beside]], kind: type[_B]) -> Iterator[Spoken[_B]]:
    for item in beside:
        if isinstance(item.predicate, kind):
            yield Spoken(logged=item.logged, statement=item.statement, predicate=item.predicate)


def _false(code: str, observed: str, expected: str) -> VerificationError:
    return false(code, observed=observed, expected=expected, hint=_HINT)
