"""Every metric is its library's: whatever the answers are, the figure is the one that the library gives for them."""

from __future__ import annotations

import io
import json
import math
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import jiwer
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rouge_score.rouge_scorer import RougeScorer
from scipy import stats
from sklearn import metrics

from orchestrator.evaluate import finals, overlap, spans, speech
from orchestrator.evaluate.pairs import Pair
from orchestrator.evaluate.quality import score
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import (
    Detection,
    DetectionsAnswer,
    ImageInput,
    LabelsAnswer,
    Point,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
)
from tests.unit.evaluate.sets import BLANK, CONTEXT, points_of, scored

TRIED = settings(deadline=None, max_examples=60)  # the first call of a library loads it
CLOSE = {"rel_tol": 1e-9, "abs_tol": 1e-9}
LABEL = st.sampled_from(["cat", "dog", "a cat", "Cat", "鳥"])
WORDS = st.lists(st.sampled_from("the The cat sat, on . a mat 42 1,000 naïve it's 東京".split()), max_size=9)
TEXT = WORDS.map(" ".join)
SCORE = st.floats(-100, 100).map(lambda value: round(value, 6))


@TRIED
@given(st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=40))
def test_accuracy_and_macro_f1_are_scikit_learns(rows):
    truth, found = zip(*rows, strict=True)
    quality = scored(Task.TEXT_CLASSIFICATION, truth, [LabelsAnswer(labels=((one, 0.5),)) for one in found])
    assert math.isclose(quality.value, metrics.accuracy_score(truth, found), **CLOSE)
    expected = metrics.f1_score(truth, found, labels=sorted(set(truth)), average="macro", zero_division=0)
    assert math.isclose(quality.secondary["macro-f1"], expected, **CLOSE)


@TRIED
@given(st.lists(st.tuples(SCORE, SCORE), min_size=2, max_size=40))
def test_spearman_and_pearson_are_scipys(rows):
    truth, found = zip(*rows, strict=True)
    quality = scored(Task.SEMANTIC_SIMILARITY, [str(one) for one in truth], [ScoreAnswer(score=one) for one in found])
    for name, value, coefficient in (
        ("spearman", quality.value, stats.spearmanr),
        ("pearson", quality.secondary["pearson"], stats.pearsonr),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = coefficient(truth, found).statistic
        assert math.isclose(value, 0.0 if math.isnan(expected) else expected, rel_tol=1e-6, abs_tol=1e-6), name


@TRIED
@given(st.lists(st.tuples(SCORE, SCORE, st.sampled_from("abc")), min_size=2, max_size=40))
def test_sources_with_scales_of_their_own_are_compared_apart(rows):
    """A source whose people score from 0 to 10 changes nothing about one whose people score from 0 to 1."""
    truth, found, sources = zip(*rows, strict=True)
    answers = [ScoreAnswer(score=one) for one in found]
    scale = {"a": 1, "b": 16, "c": 1024}  # powers of two, so that no rounding makes or breaks a tie
    plain = scored(Task.SEMANTIC_SIMILARITY, [repr(one) for one in truth], answers, sources=sources)
    scaled_truth = [repr(one * scale[source]) for one, source in zip(truth, sources, strict=True)]
    scaled = scored(Task.SEMANTIC_SIMILARITY, scaled_truth, answers, sources=sources)
    assert plain.value == scaled.value


@TRIED
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12))
def test_rouge_is_rouge_scores(rows):
    pairs = [Pair(point=p, reference=p.reference, answer=TextAnswer(text=found)) for p, (_, found) in zip(
        points_of(Task.SUMMARIZATION, [truth for truth, _ in rows]), rows, strict=True
    )]  # fmt: skip
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    each = [scorer.score(truth, found) for truth, found in rows]
    for ours, theirs in (("rouge-1", "rouge1"), ("rouge-2", "rouge2"), ("rouge-l", "rougeL")):
        expected = sum(one[theirs].fmeasure for one in each) / len(each)
        assert math.isclose(overlap.rouge(ours, pairs), expected, **CLOSE)


@TRIED
@given(st.lists(st.tuples(st.lists(TEXT, min_size=1, max_size=3), TEXT), min_size=1, max_size=12))
def test_bleu_is_sacrebleus_with_as_many_references_as_there_are(rows):
    points = points_of(Task.SUMMARIZATION, [json.dumps(truths) for truths, _ in rows])
    pairs = [
        Pair(point=point, reference=point.reference, answer=TextAnswer(text=found))
        for point, (_, found) in zip(points, rows, strict=True)
    ]
    streams = [[truths[n] if n < len(truths) else None for truths, _ in rows] for n in range(3)]
    streams = [stream for stream in streams if any(text is not None for text in stream)]
    expected = sacrebleu.corpus_bleu([found for _, found in rows], streams).score / 100
    assert math.isclose(overlap.bleu(pairs), min(expected, 1.0), **CLOSE)


@TRIED
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12))
def test_error_rates_are_jiwers_on_what_the_normaliser_leaves(rows):
    truth, found = ([speech.normalised(text) for text in side] for side in zip(*rows, strict=True))
    quality = scored(Task.SPEECH_TO_TEXT, [one for one, _ in rows], [TextAnswer(text=text) for _, text in rows])
    if any(truth):
        assert math.isclose(quality.value, jiwer.wer(truth, found), **CLOSE)
        assert math.isclose(quality.secondary["cer"], jiwer.cer(truth, found), **CLOSE)


def test_the_normaliser_of_transcripts_does_what_it_says():
    said = "\u201cWe\u2019ll\u00a0meet, at 5 o'clock\u201d \u2014 NAÏVE_cafe\u0301\N{LATIN SMALL LIGATURE FI}sh; 東京!"
    assert speech.normalised(said) == "we'll meet at 5 o'clock naïve caféfish 東京"


GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "squad_v2.json").read_text(encoding="utf-8"))["cases"]


def test_spans_are_compared_as_another_implementation_of_squad_compares_them():
    """The golden file names where its figures come from; many of its cases are partly right."""
    assert sum(0 < case["f1"] < 1 for case in GOLDEN) > 50
    for case in GOLDEN:
        assert spans.best_of(case["accepted"], case["found"], spans.exact) == case["exact"]
        assert math.isclose(spans.best_of(case["accepted"], case["found"], spans.overlap), case["f1"], **CLOSE)


def test_a_span_is_cut_from_its_context_in_code_points():
    place = CONTEXT.index("Town Hall")
    answers = [
        SpanAnswer(start=place, end=place + 9),
        SpanAnswer(start=place, end=place + 4),
        SpanAnswer(start=0, end=0),
        SpanAnswer(start=3, end=11),
    ]
    quality = scored(Task.EXTRACTIVE_QA, ['["The Town Hall", "a hall"]'] * 2 + ["[]"] * 2, answers)
    assert quality.value == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert quality.secondary == {"exact-match": pytest.approx(2 / 4)}


@pytest.mark.parametrize(
    ("reference", "text", "right"),
    [
        ("18", "She has 16 - 3 = 13 eggs, so she makes $18.00.", True),
        ("18", "The answer is 18 apples, of 36 in all.", False),
        ("18", "It is 36.\n#### 18 of them, or 5 each", True),
        ("1450", "#### 1,450", True),
        ("1,450", "that is $1450", True),
        ("-5", "so x = -5.", True),
        ("5", "so x = -5.", False),
        ("0.5", "It is .5 or 0.50", True),
        ("50", "It rose by 50%", True),
        ("18", "eighteen", False),
        ("18", "", False),
        ("18", "18" * 400, False),
        ("3", "version v3", False),
        ("B", "Let me think.\nThe options differ.\n B. \n", True),
        ("B", "A\nB or C", False),
        ("the north", "North!", True),
        ("?", "!", False),
    ],
)
def test_the_final_answer_of_a_reasoned_text(reference, text, right):
    quality = scored(Task.REASONING, [reference], [TextAnswer(text=text, reasoning="18 50 B")])
    assert quality.value == (1 if right else 0)


@TRIED
@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=1, max_size=20))
def test_exact_match_over_numbers_is_accuracy_over_them(rows):
    answers = [TextAnswer(text=f"Step 1 of 2. Therefore {found}") for _, found in rows]
    quality = scored(Task.REASONING, [str(truth) for truth, _ in rows], answers)
    assert math.isclose(quality.value, metrics.accuracy_score(*zip(*rows, strict=True)), **CLOSE)
    assert finals.is_number("1,450")
    assert not finals.is_number("18 apples")


EDGE = st.integers(0, 96).map(float)
BOX = st.tuples(EDGE, EDGE, EDGE, EDGE).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 4, max(b[1], b[3]) + 4)
)
LEVEL = st.sampled_from([0.25, 0.5, 0.75, 0.875, 1.0])
SCENE = st.tuples(
    st.lists(st.tuples(st.sampled_from("ab"), BOX), max_size=4),
    st.lists(st.tuples(st.sampled_from("abz"), BOX, LEVEL), max_size=6),
    st.booleans(),
)


def image(width: int = 100, height: int = 100) -> bytes:
    return BLANK[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + BLANK[24:]


def scenes(rows):
    """Points and answers; where a scene says so, its detections are the truth, moved a little."""
    points, answers = [], []
    for number, (truth, found, good) in enumerate(rows):
        if good:
            found = [(label, (b[0] + 1, b[1], b[2], b[3]), 0.5 + number / 100) for label, b in truth]  # noqa: PLW2901
        reference = json.dumps([{"label": label, "box": box} for label, box in truth])
        points.append(
            Point(
                index=number, point_id=f"p{number}", source="s", input=ImageInput(content=image()), reference=reference
            )
        )
        answers.append(
            DetectionsAnswer(
                detections=tuple(
                    Detection(label=label, score=level, x_min=b[0], y_min=b[1], x_max=b[2], y_max=b[3])
                    for label, b, level in found
                )
            )
        )
    return points, answers


def coco_ap50(points, answers) -> float:
    """The library by its own front door: ground truth, results, evaluate, accumulate, summarize."""
    names = {"a": 1, "b": 2}
    truth, found = [], []
    for number, (point, answer) in enumerate(zip(points, answers, strict=True)):
        for one in json.loads(point.reference):
            x, y, right, low = one["box"]
            box = [x, y, right - x, low - y]
            truth.append(
                {"image_id": number, "category_id": names[one["label"]], "bbox": box, "area": box[2] * box[3],
                 "iscrowd": 0, "id": len(truth) + 1}
            )  # fmt: skip
        for one in answer.detections:
            right, low = min(one.x_max, 100), min(one.y_max, 100)
            if one.label in names:
                box = [one.x_min, one.y_min, right - one.x_min, low - one.y_min]
                found.append({"image_id": number, "category_id": names[one.label], "bbox": box, "score": one.score})
    held = COCO()
    held.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(len(points))],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": truth,
    }
    with redirect_stdout(io.StringIO()):
        held.createIndex()
        evaluation = COCOeval(held, held.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1])


@TRIED
@given(st.lists(SCENE, min_size=1, max_size=5))
def test_ap50_is_what_pycocotools_summarizes(rows):
    points, answers = scenes(rows)
    references = [point for point in points if json.loads(point.reference)]
    if not references or not any(one.label in "ab" for answer in answers for one in answer.detections):
        return  # the library has no figure, or loads no results, where there is nothing
    # Where scores are equal the figure depends on the order of the pictures: ours follows from their content.
    levels = [one.score for answer in answers for one in answer.detections]
    if len(set(levels)) < len(levels):
        points, answers = distinct(points, answers)
    ours = score(REGISTRY[Task.OBJECT_DETECTION], points, answers).value
    assert math.isclose(ours, coco_ap50(points, answers), **CLOSE)


def distinct(points, answers):
    """The same answers with scores of which no two are equal."""
    number = iter(range(1, 1000))
    changed = [
        DetectionsAnswer(
            detections=tuple(
                Detection(
                    label=one.label, score=one.score - next(number) / 10_000, x_min=one.x_min, y_min=one.y_min,
                    x_max=one.x_max, y_max=one.y_max,
                )
                for one in answer.detections
            )
        )
        for answer in answers
    ]  # fmt: skip
    return points, changed


def test_a_perfect_detector_has_an_average_precision_of_one_and_prints_nothing(capsys):
    points, answers = scenes([([("a", (0.0, 0.0, 50.0, 50.0))], [], True), ([("b", (9.0, 9.0, 99.0, 99.0))], [], True)])
    assert score(REGISTRY[Task.OBJECT_DETECTION], points, answers).value == pytest.approx(1)
    assert capsys.readouterr().out == ""
