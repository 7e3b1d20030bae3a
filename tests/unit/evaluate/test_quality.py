"""What a run's quality is: absent without references, the same in any order, and never better for a failed answer."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from orchestrator.evaluate import judge, tokens
from orchestrator.evaluate.pictures import grey
from orchestrator.evaluate.quality import METRICS, TokenCount, gate, score
from protocol.errors import QualityGateFailed, RigError
from protocol.methodology.tasks import REGISTRY, UNSCORED, Better, Task
from protocol.samples import (
    Detection,
    DetectionsAnswer,
    ImageAnswer,
    LabelsAnswer,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
    Usage,
)
from tests.unit.evaluate.sets import CONTEXT, FAILED, points_of, scored

TEN = " one two three four five six seven eight nine ten"


def drawn(digit: int, number: int = 0) -> bytes:
    """A digit of another hand than the judge learned from, as a PNG."""
    digits = load_digits()
    pixels = digits.images[np.nonzero(digits.target == digit)[0][number]]
    return png_of(Image.fromarray((pixels * 255 / 16).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC))


def png_of(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def boxes(*labels: str) -> DetectionsAnswer:
    return DetectionsAnswer(
        detections=tuple(Detection(label=label, score=0.5, x_min=10, y_min=10, x_max=30, y_max=30) for label in labels)
    )


CAT = json.dumps([{"label": "cat", "box": [10, 10, 30, 30]}])
PLACE = CONTEXT.index("Town")
SETS = {
    Task.REASONING: (["18", "7", "5"], [TextAnswer(text=text) for text in ("It is 18", "It is 7", "5")]),
    Task.SUMMARIZATION: (["one two", "six", "ten"], [TextAnswer(text=TEN)] * 3),
    Task.EXTRACTIVE_QA: (['["Town"]', "[]", '["Hall", "Town"]'], [SpanAnswer(start=PLACE, end=PLACE + 4)] * 3),
    Task.TEXT_CLASSIFICATION: (["a", "b", "a"], [LabelsAnswer(labels=((name, 1.0),)) for name in "aba"]),
    Task.SEMANTIC_SIMILARITY: (["0.1", "0.5", "0.9"], [ScoreAnswer(score=one) for one in (0.2, 0.3, 0.4)]),
    Task.IMAGE_CLASSIFICATION: (["7", "1", "7"], [LabelsAnswer(labels=((name, 1.0),)) for name in "717"]),
    Task.OBJECT_DETECTION: ([CAT, CAT, "[]"], [boxes("cat"), boxes("cat", "dog"), boxes()]),
    Task.SPEECH_TO_TEXT: (["a b c", "d e", "f"], [TextAnswer(text=text) for text in ("a b c", "d x", "f")]),
    Task.IMAGE_CAPTIONING: (
        [json.dumps([f"a fish {word}", TEN.strip()]) for word in "abc"],
        [TextAnswer(text=TEN)] * 3,
    ),
    Task.IMAGE_GENERATION: (["0", "4", "6"], [ImageAnswer(content=drawn(digit)) for digit in (0, 4, 6)]),
}
"""For every task that is scored: references, and answers that are good ones."""


def test_every_scored_task_has_its_metrics_and_every_metric_a_task():
    assert set(SETS) == {task for task, spec in REGISTRY.items() if spec.quality_metric != UNSCORED}
    used = {(n, s.output) for s in REGISTRY.values() for n in (s.quality_metric, *s.secondary_metrics)}
    assert {(name, output) for name, output in used if name != UNSCORED} <= set(METRICS)


@pytest.mark.parametrize("task", SETS)
def test_a_failed_answer_is_a_wrong_one_and_never_helps(task):
    spec, (references, answers) = REGISTRY[task], SETS[task]
    whole = scored(task, references, answers)
    assert whole.errors == 0
    assert set(whole.secondary) == set(spec.secondary_metrics)
    for place in range(len(answers)):
        some = [FAILED if number == place else answer for number, answer in enumerate(answers)]
        less = scored(task, references, some)
        assert (less.errors, less.samples) == (1, 3)
        if references[place] != "[]":
            worse = less.value > whole.value if spec.better is Better.LOWER else less.value < whole.value
            assert worse, (place, less.value, whole.value)
    nothing = scored(task, references, [FAILED] * 3)
    assert nothing.value == (1 if spec.better is Better.LOWER else 0)


@pytest.mark.parametrize("task", SETS)
def test_the_order_of_the_answers_changes_nothing(task):
    references, answers = SETS[task]
    points = points_of(task, references) * 3
    mixed = [*answers, *reversed(answers), *answers]
    expected = score(REGISTRY[task], points, mixed)
    for seed in range(8):
        places = random.Random(seed).sample(range(9), 9)
        assert score(REGISTRY[task], [points[i] for i in places], [mixed[i] for i in places]) == expected


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=3, max_size=30), st.randoms())
def test_sums_of_floats_do_not_depend_on_their_order(rows, chance):
    task = Task.SEMANTIC_SIMILARITY
    points = points_of(task, [repr(truth) for truth, _ in rows])
    pairs = list(zip(points, [ScoreAnswer(score=found) for _, found in rows], strict=True))
    before = score(REGISTRY[task], *zip(*pairs, strict=True))
    chance.shuffle(pairs)
    assert score(REGISTRY[task], *zip(*pairs, strict=True)) == before


@pytest.mark.parametrize("task", [*SETS, Task.TEXT_GENERATION])
def test_a_set_without_references_has_no_quality_and_not_a_bad_one(task):
    answers = SETS[task][1] if task in SETS else [TextAnswer(text=TEN)] * 3
    found = scored(task, [None] * 3, [answers[0], answers[1], FAILED])
    assert (found.metric, found.value, found.secondary) == ("none", None, {})
    assert (found.errors, found.samples) == (1, 3)


def test_points_without_a_reference_among_others_are_not_scored():
    found = scored(Task.TEXT_CLASSIFICATION, ["a", None], [LabelsAnswer(labels=(("a", 1.0),))] * 2)
    assert (found.value, found.samples) == (1, 2)


@pytest.mark.parametrize(
    ("task", "reference"),
    [
        (Task.SEMANTIC_SIMILARITY, "high"),
        (Task.SEMANTIC_SIMILARITY, "nan"),
        (Task.EXTRACTIVE_QA, "Town Hall"),
        (Task.EXTRACTIVE_QA, '{"a": 1}'),
        (Task.EXTRACTIVE_QA, "[1]"),
        (Task.OBJECT_DETECTION, '["cat"]'),
        (Task.OBJECT_DETECTION, '[{"label": "cat", "box": [1, 2, 3]}]'),
    ],
)
def test_a_reference_that_cannot_be_read_is_the_datasets_fault(task, reference):
    with pytest.raises(RigError) as caught:
        scored(task, [reference], SETS[task][1][:1])
    assert caught.value.code == "REFERENCE_UNREADABLE"
    assert "p0000" in caught.value.observed


def test_scores_without_sense_are_no_crash_and_no_gain():
    """The wire refuses them; whoever scores an opened answer may still meet them."""
    nan, inf = float("nan"), float("inf")
    for scores in ([nan, 0.2, 0.3], [inf, -inf, 0.1], [0.5] * 3, [1e308, -1e308, 1e308]):
        found = scored(Task.SEMANTIC_SIMILARITY, ["0.1", "0.5", "0.9"], [ScoreAnswer(score=one) for one in scores])
        assert -1 <= found.value <= 1
    wild = Detection(label="cat", score=nan, x_min=nan, y_min=-inf, x_max=inf, y_max=1e300)
    far = Detection(label="cat", score=0.9, x_min=1e200, y_min=1e200, x_max=1e300, y_max=1e300)
    good = boxes("cat").detections[0]
    found = scored(Task.OBJECT_DETECTION, [CAT], [DetectionsAnswer(detections=(wild, far, good))])
    assert found.value == pytest.approx(Fraction(1, 2))  # what cannot be drawn is left out, what lies outside is wrong
    assert scored(Task.TEXT_CLASSIFICATION, ["a"], [LabelsAnswer(labels=())]).value == 0
    assert scored(Task.TEXT_CLASSIFICATION, ["a"], [LabelsAnswer(labels=(("a\x00", 1.0),))]).value == 0


def test_a_box_beyond_the_edges_is_cut_there():
    """The picture is 100 pixels wide and 80 high; the box of the reference ends at its lower right corner."""
    corner = json.dumps([{"label": "cat", "box": [60, 60, 100, 80]}])
    over = Detection(label="cat", score=0.9, x_min=60, y_min=60, x_max=1e6, y_max=1e6)
    assert scored(Task.OBJECT_DETECTION, [corner], [DetectionsAnswer(detections=(over,))]).value == pytest.approx(1)


# --- tokens


def test_tokens_are_counted_by_the_pinned_tokenizer_beside_the_claims():
    """ "Hello world 2024" is two words, a space before the digits, and four digits apart."""
    assert [tokens.tokens(text) for text in ("", "a", "Hello world 2024", "\n\n", "🐟")] == [0, 1, 7, 1, 3]
    answers = [TextAnswer(text=TEN, reasoning=" one two", usage=Usage(output_tokens=11)), TextAnswer(text=TEN)]
    assert scored(Task.REASONING, ["1", "2"], answers).tokens == TokenCount(counted=22, claimed=None)
    claiming = [answers[0], TextAnswer(text=TEN, usage=Usage(output_tokens=0)), FAILED]
    assert scored(Task.REASONING, ["1", "2", "3"], claiming).tokens == TokenCount(counted=22, claimed=11)
    assert scored(Task.REASONING, ["1"], [FAILED]).tokens == TokenCount(counted=0, claimed=None)
    assert scored(Task.TEXT_CLASSIFICATION, ["a"], [LabelsAnswer(labels=(("a", 1.0),))]).tokens is None


def test_a_text_far_beyond_its_bounds_is_a_wrong_answer_with_a_name():
    """Ten tokens are asked for; four times as many by another vocabulary are borne, and a fourth."""
    sizes = {TEN * 4: None, TEN * 4 + " one": "TOO_MANY_TOKENS", " one two three": None, " one two": "TOO_FEW_TOKENS"}
    for text, fault in {**sizes, "": "TOO_FEW_TOKENS", " \n ": "TOO_FEW_TOKENS"}.items():
        found = scored(Task.TEXT_GENERATION, [None], [TextAnswer(text=text, usage=Usage(output_tokens=10))])
        assert found.faults == ({} if fault is None else {fault: 1})
        assert found.errors == (fault is not None)
    spoken = scored(Task.SPEECH_TO_TEXT, ["a"], [TextAnswer(text="")])
    assert (spoken.errors, spoken.value) == (0, 1)  # silence is an answer, here a wrong one


def test_a_run_of_empty_texts_fails_its_cell_and_says_why():
    spec = REGISTRY[Task.TEXT_GENERATION]
    found = scored(Task.TEXT_GENERATION, [None] * 100, [TextAnswer(text="")] * 2 + [TextAnswer(text=TEN)] * 98)
    with pytest.raises(QualityGateFailed) as caught:
        gate(spec, found)
    assert "2 of 100" in caught.value.observed
    assert "2 of them TOO_FEW_TOKENS" in caught.value.observed
    gate(spec, scored(Task.TEXT_GENERATION, [None] * 100, [FAILED] + [TextAnswer(text=TEN)] * 99))


# --- pictures


def test_the_judge_sees_digits_of_another_hand_either_way_round():
    """It learned from other people's digits, so some that these people write are strange to it."""
    digits = load_digits()
    right = 0
    for pixels, label in zip(digits.images[:300], digits.target[:300], strict=True):
        picture = Image.fromarray((pixels * 255 / 16).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
        seen = judge.seen(picture)
        assert judge.seen(Image.eval(picture, lambda value: 255 - value)) == seen
        right += seen == str(label)
    assert right >= 225  # 3 in 4; guessing sees 1 in 10


def test_a_picture_without_ink_shows_nothing():
    for shade in (0, 128, 255):
        assert judge.seen(Image.new("L", (28, 28), shade)) == ""
    one = Image.new("L", (1, 1), 7)
    assert judge.seen(one) == ""
    assert scored(Task.IMAGE_GENERATION, ["0"], [ImageAnswer(content=png_of(one))]).errors == 0


def bomb(width: int, height: int) -> bytes:
    good = drawn(3)
    return good[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + good[24:]


BROKEN = {
    "nothing": b"",
    "a signature": drawn(3)[:8],
    "a header": drawn(3)[:33],
    "half a file": drawn(3)[: len(drawn(3)) // 2],
    "a bit flipped": drawn(3)[:60] + bytes([drawn(3)[60] ^ 1]) + drawn(3)[61:],
    "a billion pixels": bomb(32_000, 32_000),
    "a very long line": bomb(1, 100_000),
    "no width": bomb(0, 64),
    "other dimensions": bomb(64, 4000),
    "a JPEG's beginning": b"\xff\xd8\xff\xe0" + bytes(40),
    "a GIF": b"GIF89a" + bytes(64),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_picture_is_a_wrong_answer_and_no_crash(content):
    assert grey(content) is None
    found = scored(Task.IMAGE_GENERATION, ["3"], [ImageAnswer(content=content)])
    assert (found.value, found.errors, found.faults) == (0, 1, {"IMAGE_UNREADABLE": 1})


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=120), st.integers(0, 400), st.integers(1, 8))
def test_no_bytes_make_the_decoder_crash(noise, place, length):
    good = drawn(3)
    grey(good[:place] + noise + good[place + length :])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_digit_is_seen_in_every_kind_of_png(mode):
    with Image.open(BytesIO(drawn(0))) as picture:
        made = (
            picture.convert("I").point(lambda value: value * 256).convert("I;16")
            if mode == "I;16"
            else picture.convert(mode)
        )
        found = scored(Task.IMAGE_GENERATION, ["0"], [ImageAnswer(content=png_of(made))])
    assert found.errors == 0
    assert found.value == 1 or mode == "I;16"  # sixteen bits are read, whatever a reader makes of them


# --- what is shipped, and what it costs


@pytest.mark.parametrize(
    ("module", "constant", "code", "use"),
    [
        (judge, "WEIGHTS_SHA256", "JUDGE_DAMAGED", judge._weights.__wrapped__),
        (tokens, "MERGES_SHA256", "TOKENIZER_DAMAGED", tokens._tokenizer.__wrapped__),
    ],
)
def test_data_of_the_package_that_was_changed_is_refused(monkeypatch, module, constant, code, use):
    monkeypatch.setattr(module, constant, "0" * 64)
    with pytest.raises(RigError) as caught:
        use()
    assert caught.value.code == code


HEAVY = {"sklearn", "scipy", "rouge_score", "nltk", "jiwer", "sacrebleu", "pycocotools", "tokenizers", "PIL"}


def loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return HEAVY & set(done.stdout.split())


def test_only_the_libraries_of_the_task_are_loaded():
    assert loaded_by("import orchestrator.cli; orchestrator.cli.build_parser()") == set()
    assert loaded_by("import orchestrator.session") == set()
    speech = "from tests.unit.evaluate.sets import scored; from protocol.methodology.tasks import Task\n"
    speech += "from protocol.samples import TextAnswer; scored(Task.SPEECH_TO_TEXT, ['a'], [TextAnswer(text='a')])"
    assert loaded_by(speech) - {"sklearn", "scipy", "PIL"} == {"jiwer", "tokenizers"}
