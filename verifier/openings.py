"""Opened leaves against a verified bundle: what the auditor drew, what the operator opened, what that says of quality.

Rules:
1. Nothing is asked of a bundle that is not verified: a leaf is checked against the response root in a signed outcome.
2. With a seed and a count, the opened leaves are exactly those that the seed draws from every run of every completed
   session. An operator who leaves one out, or opens another one instead, is refused: it could be the bad one.
3. Without a seed, what was opened is checked, and the report says that nobody drew it.
4. Quality is compared only where the answers are labels and the auditor brings the references, by point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocol.attestation.claims import ResponseTree
from protocol.attestation.openings import Opening, accuracy_of, drawn_places
from protocol.errors import VerificationError
from protocol.units import decimal_string
from verifier.facts import Story
from verifier.walk import Findings, false

_DECIMALS = 4
_SHOWN = 3  # leaves that a message names
Trees = dict[tuple[str, int], ResponseTree]  # by outcome id and run


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What the auditor drew: a seed of 32 bytes, and how many leaves of every run."""

    seed: bytes
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLeaves:
    """How an opening went: leaves opened and committed in all, whether an auditor drew them, and right answers.

    `right` of `compared` answers; 0 of 0 where there was nothing to compare with.
    """

    opened: int
    committed: int
    drawn: bool
    right: int
    compared: int

    def to_text(self) -> str:
        """Return what an auditor is told."""
        chosen = "exactly those that your seed draws" if self.drawn else "chosen by whoever opened them"
        told = f"{self.opened} of {self.committed} leaves opened, each under its signed root, {chosen}"
        if not self.compared:
            return f"{told}; quality: not checked, there was nothing to compare with"
        share = decimal_string(Fraction(self.right, self.compared), _DECIMALS)
        return f"{told}; accuracy over the opened leaves: {share} ({self.right} of {self.compared})"

    def to_json(self) -> dict[str, int | bool]:
        """Return the same for programs."""
        return {
            "opened": self.opened,
            "committed": self.committed,
            "drawn": self.drawn,
            "right": self.right,
            "compared": self.compared,
        }


def trees(stories: Sequence[Story]) -> Trees:
    """Return the response tree of every run that counts."""
    return {
        (session.outcome.statement_id, run.run): run.responses
        for story in stories
        for session in story.completed
        for run in session.outcome.predicate.runs
        if run.responses is not None
    }


def check_openings(
    openings: Sequence[Opening], committed: Trees, *, draw: Draw | None, references: Sequence[str]
) -> OpenedLeaves:
    """Return how the opening went.

    VerificationError NOT_THE_DRAWN_LEAVES, OTHER_SESSION, LEAF_NOT_COMMITTED, or an ExceptionGroup of several.
    """
    if draw is not None:
        _check_drawn({opening.at for opening in openings}, committed, draw)
    findings = Findings()
    for opening in openings:
        with findings.collecting():
            tree = committed.get((opening.outcome, opening.run))
            if tree is None:
                raise _other_session(opening)
            opening.check(root=tree.root, leaves=tree.leaves)
    findings.settle()
    right, compared = accuracy_of(openings, references) if references else (0, 0)
    return OpenedLeaves(
        opened=len(openings),
        committed=sum(tree.leaves for tree in committed.values()),
        drawn=draw is not None,
        right=right,
        compared=compared,
    )


def _check_drawn(found: set[tuple[str, int, int]], committed: Trees, draw: Draw) -> None:
    wanted = {
        (outcome, run, place)
        for (outcome, run), tree in committed.items()
        for place in drawn_places(draw.seed, outcome, run, tree.leaves, draw.count)
    }
    if found != wanted:
        missing, stray = sorted(wanted - found), sorted(found - wanted)
        raise false(
            "NOT_THE_DRAWN_LEAVES",
            observed=f"{len(missing)} drawn ones missing ({_places(missing)}), {len(stray)} others ({_places(stray)})",
            expected=f"all {len(wanted)} leaves that the seed draws, and no other",
            hint="ask for the rest; an answer that is not shown may be the wrong one",
        )


def _other_session(opening: Opening) -> VerificationError:
    return false(
        "OTHER_SESSION",
        observed=f"a leaf of outcome {opening.outcome}, run {opening.run}",
        expected="a run of a completed session of this bundle",
    )


def _places(leaves: Sequence[tuple[str, int, int]]) -> str:
    shown = ", ".join(f"run {run} place {place}" for _, run, place in leaves[:_SHOWN])
    return shown + (", ..." if len(leaves) > _SHOWN else "") or "none"
