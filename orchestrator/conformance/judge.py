"""Judges what was asked and answered: sameness of answers, times, and how long a campaign would take. Pure.

Rules:
 1. Two answers are the same when a reader would act the same on them: the best label, the text, the span, the same
    boxes. Scores may differ by what the order of additions in a batch changes.
 2. One sample a query shares its arithmetic with nothing, so there any difference is state. In a batch a few labels may
    flip by rounding, and free text may go another way from one token on: only more than a tenth of short answers is
    taken for state.
 3. A campaign's time is what its parts took here: start, load, warm-up, every query of every run, the idle windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocol.methodology.scenario import IDLE_WINDOW_NS, OFFICIAL_RUNS, Scenario, queries_per_pass
from protocol.methodology.tasks import Output, TaskSpec
from protocol.methodology.timeline import QueryRecord
from protocol.samples import (
    Answer,
    Detection,
    DetectionsAnswer,
    ImageAnswer,
    LabelsAnswer,
    Point,
    SampleError,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
)
from protocol.units import NS_PER_MS, NS_PER_S

SCORE_TOLERANCE = 1e-3  # far above what reordered additions change in 16 bits after a softmax, far below a mix-up
PIXEL_TOLERANCE = 1.0
FLIPS_TOLERATED = Fraction(1, 10)
DEADLINE_SHARE = Fraction(1, 2)
_SHORT = frozenset({Output.LABELS, Output.SPAN, Output.SCORE, Output.DETECTIONS})
_DETAILS_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long the queries of a pass took, in nanoseconds: the mean of the full ones, and the slowest with its size."""

    mean_ns: int
    slowest_ns: int
    slowest_share: Fraction

    @classmethod
    def of(cls, records: Sequence[QueryRecord], spec: TaskSpec, batch: int) -> Times:
        """Return the times of a pass; `slowest_share` is the largest part of its deadline that a query took."""
        took = [record.done_ns - record.sent_ns for record in records]
        full = [ns for ns, record in zip(took, records, strict=True) if record.samples == batch] or took
        shares = [
            Fraction(ns, record.samples * spec.sample_deadline_ns) for ns, record in zip(took, records, strict=True)
        ]
        return cls(mean_ns=sum(full) // len(full), slowest_ns=max(took), slowest_share=max(shares))


def agrees(first: Answer, second: Answer) -> bool:
    """Whether two answers to the same sample say the same."""
    match first, second:
        case ScoreAnswer(), ScoreAnswer():
            return math.isclose(first.score, second.score, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)
        case DetectionsAnswer(), DetectionsAnswer():
            same_number = len(first.detections) == len(second.detections)
            return same_number and all(map(_same_box, first.detections, second.detections))
        case _:
            return type(first) is type(second) and _said(first) == _said(second)


def _said(answer: Answer) -> object:
    """Return what a reader acts on in an answer."""
    match answer:
        case LabelsAnswer():
            return answer.labels[0][0]
        case TextAnswer():
            return answer.text
        case SpanAnswer():
            return (answer.start, answer.end)
        case ImageAnswer():
            return answer.content
        case SampleError():
            return answer.reason
        case ScoreAnswer() | DetectionsAnswer():
            return answer


def _same_box(first: Detection, second: Detection) -> bool:
    sides = (
        (first.x_min, second.x_min),
        (first.y_min, second.y_min),
        (first.x_max, second.x_max),
        (first.y_max, second.y_max),
    )
    return first.label == second.label and all(abs(one - other) <= PIXEL_TOLERANCE for one, other in sides)


def differing(first: Sequence[Answer], second: Sequence[Answer]) -> int:
    """Return how many of the samples got answers that do not agree."""
    return sum(not agrees(one, other) for one, other in zip(first, second, strict=True))


def state_code(spec: TaskSpec, batch: int, samples: int, reordered: int, repeated: int) -> str | None:
    """Return what it means that so many samples were answered otherwise in another order, and in the same order again.

    None where nothing changed in another order; see rule 2.
    """
    if reordered == 0:
        return None
    if repeated:
        return "NOT_DETERMINISTIC"
    rounding = batch > 1 and (spec.output not in _SHORT or reordered <= samples * FLIPS_TOLERATED)
    return "BATCH_CHANGES_ANSWERS" if rounding else "ANSWERS_DEPEND_ON_ORDER"


def error_words(points: Sequence[Point], answers: Sequence[Answer]) -> str:
    """Return the first errors of the answers with what the model said about them, for the vendor's eyes only."""
    errors = [(p, a) for p, a in zip(points, answers, strict=True) if isinstance(a, SampleError)]
    shown = [f"{point.point_id}: {error.reason.value} {error.detail or ''}".strip() for point, error in errors]
    more = f" and {len(shown) - _DETAILS_SHOWN} more" * (len(shown) > _DETAILS_SHOWN)
    return "; ".join(shown[:_DETAILS_SHOWN]) + more


def cell_seconds(scenario: Scenario, spec: TaskSpec, points: int, mean_ns: int, ready_ns: int) -> int:
    """Return how many whole seconds an official session of the cell takes, from its mean query and the time to READY.

    Tearing down, evaluating and signing are left out: they take seconds, whatever the model.
    """
    queries = spec.warm_up_queries + OFFICIAL_RUNS * queries_per_pass(points, scenario)
    return math.ceil((ready_ns + queries * mean_ns + (OFFICIAL_RUNS + 1) * IDLE_WINDOW_NS) / NS_PER_S)


def milliseconds(duration_ns: int) -> str:
    """Return a duration in words that a person can compare."""
    whole = duration_ns / NS_PER_MS
    return f"{whole:,.0f} ms" if duration_ns >= 100 * NS_PER_MS else f"{whole:.2g} ms"
