"""Whether two answers to one point are the same answer: rule `jouleseal-equivalence/1`, one line a task's output.

A served model runs on other hardware, in other batches, in another order of additions. So numbers may differ a little,
and what is chosen by them may not:

    text         the same text after NFC and with white space collapsed; else of at least 95 % of the same words in the
                 same order: 2 * LCS / (words of both), over the first 512 words of each. Reasoning is not compared.
    span         the same span, or an overlap of at least 90 % of both together (intersection over union)
    labels       the same best label, its score within 0.02, or within 2 % of the larger one
    score        within 0.02, or within 2 % of the larger one
    detections   every object of at least score 0.3 in one answer has its own in the other: the same label, intersection
                 over union of at least 0.9, score within 0.02
    image        the same bytes, or the same size and a peak signal-to-noise ratio of at least 30 dB (`pictures_agree`)
    error        errors agree with errors alone

The limits are this house's choice, so tight that models of one family differ: ten tokens must be the same ten.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

from protocol.samples import (
    Answer,
    Detection,
    DetectionsAnswer,
    ImageAnswer,
    LabelsAnswer,
    SampleError,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
)

COMPARISON_RULE: Final = "jouleseal-equivalence/1"
SCORE_TOLERANCE: Final = 0.02
TEXT_SHARE: Final = 0.95
SPAN_OVERLAP: Final = 0.9
BOX_OVERLAP: Final = 0.9
LEAST_SCORE: Final = 0.3
LEAST_PSNR_DB: Final = 30
MAX_WORDS: Final = 512
_PEAK = 255
_MEAN_SQUARE = _PEAK * _PEAK / 10 ** (LEAST_PSNR_DB / 10)  # PSNR = 10 log10(peak^2 / mean square error)


def answers_agree(sealed: Answer, served: Answer) -> bool:  # noqa: PLR0911 - one return a kind of answer
    """Return whether two answers to one point are the same by the rule; pictures by their bytes alone."""
    match sealed, served:
        case SampleError(), SampleError():
            return True
        case TextAnswer(), TextAnswer():
            return texts_agree(sealed.text, served.text)
        case SpanAnswer(), SpanAnswer():
            return spans_agree((sealed.start, sealed.end), (served.start, served.end))
        case LabelsAnswer(), LabelsAnswer():
            return labels_agree(sealed.labels, served.labels)
        case ScoreAnswer(), ScoreAnswer():
            return scores_agree(sealed.score, served.score)
        case DetectionsAnswer(), DetectionsAnswer():
            return detections_agree(sealed.detections, served.detections)
        case ImageAnswer(), ImageAnswer():
            return sealed.content == served.content
        case _:
            return False


def scores_agree(one: float, other: float) -> bool:
    """Return whether two scores are within 0.02, or within 2 % of the larger magnitude; no number agrees with NaN."""
    return abs(one - other) <= max(SCORE_TOLERANCE, SCORE_TOLERANCE * max(abs(one), abs(other)))


def texts_agree(one: str, other: str) -> bool:
    """Return whether two texts are the same words in the same order, up to one in twenty."""
    ours, theirs = _words(one), _words(other)
    if ours == theirs:
        return True
    ours, theirs = ours[:MAX_WORDS], theirs[:MAX_WORDS]
    return 2 * _common(ours, theirs) >= TEXT_SHARE * (len(ours) + len(theirs))


def spans_agree(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two spans (first code point, code point after the last) overlap by 0.9; empty ones agree."""
    if one == other or (one[0] == one[1] and other[0] == other[1]):
        return True
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    union = (one[1] - one[0]) + (other[1] - other[0]) - shared
    return shared >= SPAN_OVERLAP * union


def labels_agree(one: Sequence[tuple[str, float]], other: Sequence[tuple[str, float]]) -> bool:
    """Return whether the best labels are the same, with scores that agree; no labels agree with none."""
    if not one or not other:
        return not one and not other
    return one[0][0] == other[0][0] and scores_agree(one[0][1], other[0][1])


def detections_agree(one: Sequence[Detection], other: Sequence[Detection]) -> bool:
    """Return whether every clear object of either answer has its own in the other one.

    An object that is clear in one answer may stand just below the limit in the other.
    """
    return _found_in(one, other) and _found_in(other, one)


def pictures_agree(one: bytes, other: bytes) -> bool:
    """Return whether the samples (0 to 255) of two decoded pictures of one size have a PSNR of at least 30 dB."""
    if len(one) != len(other) or not one:
        return one == other
    squares = sum((a - b) * (a - b) for a, b in zip(one, other, strict=True))
    return squares <= _MEAN_SQUARE * len(one)


def box_overlap(one: Detection, other: Detection) -> float:
    """Return the intersection of two boxes over their union, 0 to 1; empty boxes overlap with themselves alone."""
    wide = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    high = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    shared = max(0.0, wide) * max(0.0, high)
    union = _area(one) + _area(other) - shared
    if union <= 0:
        return float(_corners(one) == _corners(other))
    return shared / union


def _found_in(wanted: Sequence[Detection], there: Sequence[Detection]) -> bool:
    left = list(there)
    for item in sorted(wanted, key=lambda found: -found.score):
        if item.score < LEAST_SCORE:
            break
        match = max(
            (other for other in left if _same_object(item, other)), key=lambda o: box_overlap(item, o), default=None
        )
        if match is None:
            return False
        left.remove(match)
    return True


def _same_object(one: Detection, other: Detection) -> bool:
    same = one.label == other.label and abs(one.score - other.score) <= SCORE_TOLERANCE
    return same and box_overlap(one, other) >= BOX_OVERLAP


def _area(box: Detection) -> float:
    return max(0.0, box.x_max - box.x_min) * max(0.0, box.y_max - box.y_min)


def _corners(box: Detection) -> tuple[float, float, float, float]:
    return box.x_min, box.y_min, box.x_max, box.y_max


def _words(text: str) -> list[str]:
    return unicodedata.normalize("NFC", text).split()


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for at, found in enumerate(other, 1):
            kept = row[at]
            row[at] = diagonal + 1 if word == found else max(kept, row[at - 1])
            diagonal = kept
    return row[-1]
