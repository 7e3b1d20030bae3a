"""The embedded datasets are what they claim to be, point by point, and a damaged one says which point."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.datasets.canonical import read_dataset
from orchestrator.datasets.recipes import RECIPES
from orchestrator.datasets.store import DEFAULT_DATASETS, PACKAGED, load
from orchestrator.submission import parse_submission
from protocol.errors import DatasetUnavailable
from protocol.methodology.dataset import (
    dataset_digest,
    draw,
    point_content,
    point_digest,
    shares_in_thirds,
    source_counts,
)
from protocol.methodology.scenario import OFFICIAL_POINTS
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import (
    AudioInput,
    ChatInput,
    ChatMessage,
    ChatRole,
    ImageInput,
    Point,
    QuestionInput,
    TextInput,
    TextPairInput,
)

STANDARD_TASKS = [task for task in Task if task.value != "image-captioning"]
REPOSITORY = Path(__file__).resolve().parents[3]
DATA = REPOSITORY / "orchestrator" / "data"
# Digests that results were published under; a change of them is a new dataset and needs a new name.
PUBLISHED = {
    "embedded-digits": "2c04507e66a72de6670f1007150e06858f55c8d058612679dc9c7b5dad0e683d",
    "embedded-reviews": "23578a6ce4e9f1340557a75b64327312646e4e565c1d139fd70ef2291e25de87",
}


def point(**changes):
    given = {"index": 0, "point_id": "p-1", "source": "here", "input": TextInput(text="ab"), "reference": "c"}
    return Point(**(given | changes))


@pytest.fixture
def copy(tmp_path):
    """A copy of the data and a way to damage it: `copy(path, old, new)` replaces once, and must find what it seeks."""
    shutil.copytree(DATA, tmp_path / "data")

    def damage(path, old, new):
        file = tmp_path / "data" / path
        content = file.read_text(encoding="utf-8")
        assert old in content
        file.write_text(content.replace(old, new, 1), encoding="utf-8")
        return tmp_path / "data"

    return damage


def refusal(name, root):
    with pytest.raises(DatasetUnavailable) as caught:
        read_dataset(name, root / PACKAGED[name])
    return caught.value


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_an_embedded_dataset_is_whole_and_has_its_published_digest(name):
    dataset = load(name)
    assert dataset.digest == dataset_digest(dataset.points) == PUBLISHED[name]
    assert len(dataset.points) == OFFICIAL_POINTS
    assert [p.index for p in dataset.points] == list(range(OFFICIAL_POINTS))
    assert dict(dataset.sources) == source_counts(dataset.points)
    assert dataset.licence == "CC-BY-4.0"
    assert (DATA / PACKAGED[name] / "LICENCE.md").exists()


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_warm_up_points_pool_and_training_data_are_outside_the_set(name):
    dataset = load(name)
    pool = [
        json.loads(line) for line in (DATA / PACKAGED[name] / "pool.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    content = {p.input for p in dataset.points}
    assert len(dataset.warm_up) >= 32
    assert not content & {p.input for p in dataset.warm_up}
    lines = (
        (REPOSITORY / "reference_containers" / PACKAGED[name] / "train.jsonl").read_text(encoding="utf-8").split("\n")
    )
    ids = {json.loads(line)["id"] for line in lines if line}
    assert len(ids) > 500
    assert not ids & {p.point_id for p in dataset.points}
    assert not ids & {row["id"] for row in pool}
    learnt = {json.loads(line).get("text") or json.loads(line)["png"] for line in lines if line}
    assert len(learnt & {getattr(p.input, "text", None) for p in dataset.points}) == 0
    assert not learnt & {row.get("text") or row["png"] for row in pool}


def test_the_reviews_are_shared_by_three_sources_in_thirds():
    assert load("embedded-reviews").thirds
    assert dict(load("embedded-reviews").sources) == {"amazon": 334, "imdb": 333, "yelp": 333}
    assert not load("embedded-digits").thirds
    assert not shares_in_thirds({"amazon": 334, "imdb": 334, "yelp": 332})


def test_labels_and_inputs_are_those_of_the_task():
    for name in PACKAGED:
        dataset = load(name)
        task = dataset.task
        assert DEFAULT_DATASETS[task] == name
        assert {p.input.kind for p in (*dataset.points, *dataset.warm_up)} <= REGISTRY[task].inputs
    assert {p.reference for p in load("embedded-reviews").points} == {"negative", "positive"}
    assert {p.reference for p in load("embedded-digits").points} == set("0123456789")


def test_the_digits_are_those_that_scikit_learn_bundles():
    command = [sys.executable, "reference_containers/build_data.py", "--check", "digits"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_of_the_data_sees_a_changed_file(copy, tmp_path):
    copy("digits/points.jsonl", '"reference": "6"', '"reference": "5"')
    script = tmp_path / "reference_containers" / "build_data.py"
    shutil.copytree(REPOSITORY / "reference_containers" / "digits", script.parent / "digits")
    shutil.copyfile(REPOSITORY / "reference_containers" / "build_data.py", script)
    (tmp_path / "data").rename(script.parent / "moved")
    (tmp_path / "orchestrator").mkdir()
    (script.parent / "moved").rename(tmp_path / "orchestrator" / "data")
    done = subprocess.run(
        [sys.executable, script, "--check", "digits"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "points.jsonl" in done.stderr


@pytest.mark.parametrize(
    ("name", "path", "old", "new", "point_id"),
    [
        ("embedded-reviews", "reviews/points.jsonl", "Our waiter was very", "Our waiter was vary", "yelp-0642"),
        ("embedded-reviews", "reviews/points.jsonl", '"reference": "positive"', '"reference": "negative"', "yelp-0642"),
        ("embedded-reviews", "reviews/points.jsonl", '"sha256": "ff32', '"sha256": "ff33', "yelp-0642"),
        ("embedded-reviews", "reviews/points.jsonl", '"text": "Our', '"text": 7, "was": "Our', "yelp-0642"),
        ("embedded-digits", "digits/points.jsonl", "AAAAX+8/", "AAAAX+9/", "digit-1163"),
        ("embedded-digits", "digits/points.jsonl", "AAAAX+8/", "AAAAX+!/", "digit-1163"),
        ("embedded-digits", "digits/warm-up.jsonl", '"source": "optdigits"', '"source": 1', "digit-"),
        ("embedded-digits", "digits/warm-up.jsonl", '"reference": ', '"reference": 1', "?"),
    ],
)
def test_a_flipped_byte_is_refused_and_the_point_named(copy, name, path, old, new, point_id):  # noqa: PLR0917
    error = refusal(name, copy(path, old, new))
    assert error.code == "POINT_DAMAGED"
    assert f"{path.split('/')[1]} line 1: point {point_id}" in error.observed


@pytest.mark.parametrize(
    ("old", "new"),
    [('"id": "yelp-0642"', '"id": "yelp-9999"'), ('"source": "yelp"', '"source": "imdb"'), ("2357", "2358")],
)
def test_a_renamed_or_moved_point_changes_the_digest_of_the_set(copy, old, new):
    path = "reviews/dataset.json" if old == "2357" else "reviews/points.jsonl"
    assert refusal("embedded-reviews", copy(path, old, new)).code == "DATASET_DIGEST"


def test_a_lost_and_a_doubled_point_change_the_digest_of_the_set(copy, tmp_path):
    first = (DATA / "reviews" / "points.jsonl").read_text(encoding="utf-8").split("\n")[0]
    assert refusal("embedded-reviews", copy("reviews/points.jsonl", first + "\n", "")).code == "DATASET_DIGEST"
    copy("reviews/points.jsonl", "\n", f"\n{first}\n{first}\n")
    assert refusal("embedded-reviews", tmp_path / "data").code == "DATASET_DIGEST"


@pytest.mark.parametrize(
    ("old", "new"),
    [("{", "["), ('"licence"', '"licences"'), ("embedded-reviews", "embedded-digits"), ("{", '"'), ("{", "7 {")],
)
def test_a_description_that_cannot_be_read_is_refused(copy, old, new):
    assert refusal("embedded-reviews", copy("reviews/dataset.json", old, new)).code == "DATASET_UNREADABLE"


def test_a_dataset_that_is_not_there_is_refused(tmp_path):
    assert refusal("embedded-reviews", tmp_path).code == "DATASET_UNREADABLE"
    for name in ("../reviews", "own-not-here"):
        with pytest.raises(DatasetUnavailable) as caught:
            load(name, tmp_path)
        assert caught.value.code == "DATASET_UNKNOWN"
        assert "embedded-digits" in caught.value.expected


def test_the_digest_does_not_depend_on_the_order_of_the_points():
    points = load("embedded-reviews").points
    assert dataset_digest(reversed(points)) == dataset_digest(points)
    assert dataset_digest(points[:-1]) != dataset_digest(points)
    assert dataset_digest([replace(points[0], index=5), *points[1:]]) == dataset_digest(points)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (point(), point(point_id="p-2")),
        (point(), point(source="there")),
        (point(), point(reference="d")),
        (point(reference=None), point(reference="")),
        (point(), point(input=TextInput(text="a"), reference="bc")),
        (point(source="ab", point_id="c"), point(source="a", point_id="bc")),
        (
            point(input=QuestionInput(question="ab", context="c")),
            point(input=QuestionInput(question="a", context="bc")),
        ),
        (point(input=TextPairInput(first="a", second="b")), point(input=QuestionInput(question="a", context="b"))),
        (point(input=ImageInput(content=b"a")), point(input=AudioInput(content=b"a"))),
        (
            point(input=ChatInput(messages=(ChatMessage(role=ChatRole.USER, content="a"),)), reference="b"),
            point(input=ChatInput(messages=(ChatMessage(role=ChatRole.SYSTEM, content="a"),)), reference="b"),
        ),
    ],
)
def test_points_that_differ_anywhere_have_different_digests(one, other):
    assert dataset_digest([one]) != dataset_digest([other])
    if one.input != other.input or one.reference != other.reference:
        assert point_content(one) != point_content(other)
        assert point_digest(one) != point_digest(other)


def test_a_draw_is_fixed_by_its_seed_and_by_nothing_else():
    ids = [f"p-{number}" for number in range(100)]
    assert draw("s", ids, 3) == draw("s", reversed(ids), 3) == ["p-22", "p-21", "p-30"]  # computed with sha256sum
    assert draw("t", ids, 3) != draw("s", ids, 3)
    assert draw("s", ids, 10)[:3] == draw("s", ids, 3)
    assert sorted(draw("s", ids[:2], 3)) == ids[:2]


@pytest.mark.parametrize("vendor", ["digits", "reviews", "null"])
def test_the_reference_vendors_submissions_are_good(vendor):
    document = (REPOSITORY / "reference_containers" / vendor / "submission.yaml").read_bytes()
    submission = parse_submission(document, DEFAULT_DATASETS)
    assert submission.image == f"jouleseal/{vendor}:local"
    assert all(request.dataset in PACKAGED for request in submission.tasks)


def test_every_default_dataset_is_here_or_a_recipe_of_its_task_makes_it():
    for task, name in DEFAULT_DATASETS.items():
        assert name in PACKAGED or RECIPES[name].task is task
    assert set(DEFAULT_DATASETS) >= set(STANDARD_TASKS)


@pytest.mark.parametrize("name", ["gsm8k", "aies-text-generation"])
def test_a_dataset_that_is_known_and_not_here_is_answered_with_the_command_that_brings_it(name, tmp_path):
    with pytest.raises(DatasetUnavailable) as caught:
        load(name, tmp_path)
    assert caught.value.code == "DATASET_NOT_BUILT"
    verb = "build gsm8k" if name == "gsm8k" else "fetch text_generation --revision 2dc92b2ee2cd9776a51"
    assert caught.value.hint.startswith(f"jouleseal dataset {verb}")
    assert caught.value.hint.endswith(f"--datasets {tmp_path}")
