"""A submission with several mistakes is answered with all of them, each with its line; a good one becomes nouns."""

import pytest

from orchestrator.submission import parse_submission, read_submission
from protocol.errors import InvalidSubmission, UsageError
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import Task
from protocol.units import MIB

DATASETS = {Task.IMAGE_CLASSIFICATION: "embedded-digits", Task.TEXT_CLASSIFICATION: "embedded-reviews"}
GOOD = """\
schema: 1
vendor: Digit Works
model: {name: Digits MLP, version: "1.0", licence: proprietary, framework: onnxruntime}
image: jouleseal/digits:local
resources: {memory_mib: 512, cpus: 2}
tasks:
  - {task: image-classification, precisions: [fp32, int8]}
"""


def refusal(text):
    with pytest.raises(InvalidSubmission) as caught:
        parse_submission(text.encode() if isinstance(text, str) else text, DATASETS)
    return caught.value


def test_a_good_document_becomes_a_submission():
    submission = parse_submission(GOOD.encode(), DATASETS)
    (task,) = submission.tasks
    assert (task.task, task.dataset) == (Task.IMAGE_CLASSIFICATION, "embedded-digits")
    assert task.precisions == (Precision.FP32, Precision.INT8)
    assert submission.scenarios == tuple(Scenario)
    assert submission.proprietary
    assert (submission.resources.memory_bytes, submission.resources.cpus) == (512 * MIB, 2)
    assert submission.submission_id.startswith("digits-mlp-")


def test_every_mistake_is_reported_at_once_with_its_line():
    bad = (
        GOOD.replace("vendor:", "vendr:")
        .replace("proprietary", "secret")
        .replace("512", "plenty")
        .replace("int8", "int7")
    )
    error = refusal(bad)
    assert error.code == "SUBMISSION_MISTAKES"
    for expected in ["line 1: the document has no key 'vendor'", "line 2: ", "line 3: ", "line 5: ", "line 7: "]:
        assert expected in error.observed
    assert error.observed.startswith("5 mistakes")


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("schema: 1", "schema: 2", "this schema"),
        ("schema: 1", "schema: 1\nschema: 1", "twice"),
        ("image: jouleseal/digits:local", "image: ''", "image is empty"),
        ("image: jouleseal/digits:local", "image: '../../etc'", "image is '../../etc'"),
        ("image-classification", "image-tasting", "task is 'image-tasting'"),
        ("image-classification", "speech-to-text", "no dataset here"),
        ("[fp32, int8]", "[]", "the list of precisions"),
        ("[fp32, int8]", "[fp32, fp32]", "listed twice"),
        ("[fp32, int8]}", "[fp32], dataset: mine}", "dataset 'mine'"),
        ("cpus: 2", "cpus: 0", "resources.cpus is 0"),
        ("cpus: 2", "cpus: 99999999999999999999", "resources.cpus"),
        ("Digit Works", "[a]", "vendor is a list"),
    ],
)
def test_a_single_mistake_is_named(old, new, seen):
    error = refusal(GOOD.replace(old, new))
    assert seen in error.observed


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "a: &x 1\nb: *x", "!!python/object:os.system {}", "[" * 3000, b"\xff\xfe", "x" * 70_000],
    ids=["empty", "unclosed", "alias", "tag", "deep", "not utf-8", "long"],
)
def test_what_is_no_plain_yaml_is_refused_as_such(text):
    assert refusal(text).code == "SUBMISSION_UNPARSABLE"


def test_a_missing_file_is_the_callers_mistake(tmp_path):
    with pytest.raises(UsageError):
        read_submission(tmp_path / "nowhere.yaml", DATASETS)
