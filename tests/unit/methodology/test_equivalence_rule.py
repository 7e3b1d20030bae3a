"""Rule jouleseal-equivalence/1: what two answers may differ by, on both sides of every limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.methodology import equivalence as rule
from protocol.samples import (
    Detection,
    DetectionsAnswer,
    ErrorReason,
    ImageAnswer,
    LabelsAnswer,
    SampleError,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
    Usage,
)

FAILED = SampleError(reason=ErrorReason.INTERNAL)


def box(label="cat", score=0.9, corners=(0, 0, 100, 100)):
    x_min, y_min, x_max, y_max = map(float, corners)
    return Detection(label=label, score=score, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (TextAnswer(text="a  b\nc"), TextAnswer(text=" a b c "), True),  # white space does not count
        (TextAnswer(text="caf\u00e9"), TextAnswer(text="cafe\u0301"), True),  # nor does the spelling of an accent
        (TextAnswer(text="a", reasoning="x"), TextAnswer(text="a", reasoning="y"), True),
        (TextAnswer(text="a", usage=Usage(output_tokens=1)), TextAnswer(text="a"), True),
        (TextAnswer(text="one two three four"), TextAnswer(text="one two three five"), False),
        (TextAnswer(text="w " * 19 + "x"), TextAnswer(text="w " * 19 + "y"), True),  # 19 of 20 words
        (TextAnswer(text="w " * 18 + "x"), TextAnswer(text="w " * 18 + "y"), False),  # 18 of 19
        (TextAnswer(text="b a"), TextAnswer(text="a b"), False),  # the same words in another order
        (TextAnswer(text=""), TextAnswer(text=""), True),
        (TextAnswer(text=""), TextAnswer(text="a"), False),
        (SpanAnswer(start=3, end=3), SpanAnswer(start=9, end=9), True),  # both say that there is none
        (SpanAnswer(start=3, end=3), SpanAnswer(start=3, end=9), False),
        (SpanAnswer(start=0, end=10), SpanAnswer(start=0, end=9), True),
        (SpanAnswer(start=0, end=10), SpanAnswer(start=0, end=8), False),
        (SpanAnswer(start=0, end=10), SpanAnswer(start=20, end=30), False),
        (LabelsAnswer(labels=(("7", 0.9), ("1", 0.1))), LabelsAnswer(labels=(("7", 0.885), ("9", 0.1))), True),
        (LabelsAnswer(labels=(("7", 0.9),)), LabelsAnswer(labels=(("7", 0.87),)), False),
        (LabelsAnswer(labels=(("7", 40.0),)), LabelsAnswer(labels=(("7", 40.7),)), True),  # logits: 2 % of the larger
        (LabelsAnswer(labels=(("7", 0.9),)), LabelsAnswer(labels=(("1", 0.9),)), False),
        (ScoreAnswer(score=0.5), ScoreAnswer(score=0.519), True),
        (ScoreAnswer(score=0.5), ScoreAnswer(score=0.53), False),
        (ScoreAnswer(score=0.5), ScoreAnswer(score=math.nan), False),
        (ScoreAnswer(score=-4.0), ScoreAnswer(score=4.0), False),
        (DetectionsAnswer(detections=()), DetectionsAnswer(detections=()), True),
        (DetectionsAnswer(detections=(box(),)), DetectionsAnswer(detections=(box(corners=(0, 0, 100, 95)),)), True),
        (DetectionsAnswer(detections=(box(),)), DetectionsAnswer(detections=(box(corners=(0, 0, 100, 80)),)), False),
        (DetectionsAnswer(detections=(box(),)), DetectionsAnswer(detections=(box("dog"),)), False),
        (DetectionsAnswer(detections=(box(),)), DetectionsAnswer(detections=(box(), box())), False),
        (DetectionsAnswer(detections=(box(),)), DetectionsAnswer(detections=(box(), box("dog", 0.2))), True),  # faint
        (DetectionsAnswer(detections=(box(score=0.31),)), DetectionsAnswer(detections=(box(score=0.295),)), True),
        (DetectionsAnswer(detections=(box(),)), DetectionsAnswer(detections=(box(score=0.8),)), False),
        (ImageAnswer(content=b"x"), ImageAnswer(content=b"x"), True),
        (ImageAnswer(content=b"x"), ImageAnswer(content=b"y"), False),
        (FAILED, SampleError(reason=ErrorReason.REFUSED), True),
        (FAILED, TextAnswer(text=""), False),
        (TextAnswer(text="1"), ScoreAnswer(score=1.0), False),
    ],
)
def test_both_sides_of_every_limit(one, other, agree):
    assert rule.answers_agree(one, other) is agree
    assert rule.answers_agree(other, one) is agree


def test_pictures_agree_up_to_noise_of_thirty_decibels():
    flat = bytes([128]) * 3000
    assert rule.pictures_agree(flat, bytes([136]) * 3000)  # mean square 64: 30.07 dB
    assert not rule.pictures_agree(flat, bytes([137]) * 3000)  # mean square 81: 29.05 dB
    assert not rule.pictures_agree(flat, flat[:-3])


WORDS = st.lists(st.sampled_from("abcd"), max_size=30).map(" ".join)


@given(WORDS, WORDS)
def test_texts_agree_as_a_plain_longest_common_subsequence_says(one, other):
    def common(a, b):
        table = {(i, j): 0 for i in range(len(a) + 1) for j in range(len(b) + 1)}
        for i, x in enumerate(a, 1):
            for j, y in enumerate(b, 1):
                table[i, j] = table[i - 1, j - 1] + 1 if x == y else max(table[i - 1, j], table[i, j - 1])
        return table[len(a), len(b)]

    a, b = one.split(), other.split()
    expected = 2 * common(a, b) >= rule.TEXT_SHARE * (len(a) + len(b))
    assert rule.texts_agree(one, other) is expected


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0.3, 1)), max_size=4))
def test_an_answer_agrees_with_itself_in_any_order(found):
    boxes = [box(label, score, (at * 200, 0, at * 200 + 100, 100)) for at, (label, score) in enumerate(found)]
    assert rule.detections_agree(boxes, boxes[::-1])
