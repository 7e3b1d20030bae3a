"""The reference vendor for reviews computes with numpy what scikit-learn would, from the same weights every time."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from orchestrator.datasets.store import load
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import ErrorReason, ImageInput, SampleError
from protocol.wire import LoadOrder, LoadPhase

VENDOR = Path(__file__).resolve().parents[3] / "reference_containers" / "reviews"
ORDER = LoadOrder(
    task=Task.TEXT_CLASSIFICATION,
    precision=Precision.FP32,
    batch=32,
    min_output_tokens=None,
    max_output_tokens=None,
    max_request_bytes=1,
    max_response_bytes=1,
    sample_deadline_ms=1,
)


def train(folder):
    folder.mkdir()
    command = [sys.executable, VENDOR / "train.py", VENDOR / "train.jsonl", folder]
    subprocess.run(command, check=True, env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("vendor") / "model")


@pytest.fixture
def server(trained, monkeypatch):
    monkeypatch.syspath_prepend(str(VENDOR))
    spec = importlib.util.spec_from_file_location("reviews_server", VENDOR / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", trained)
    return module


@pytest.fixture
def model(server):
    model = server.Reviews()
    assert list(model.load(ORDER)) == [LoadPhase.READING, LoadPhase.WARMING]
    return model


def test_training_twice_gives_the_same_files(trained, tmp_path):
    again = train(tmp_path / "again")
    for name in ("vocabulary.json", "weights.npz"):
        assert (again / name).read_bytes() == (trained / name).read_bytes()


def test_the_vendor_answers_as_scikit_learn_does(server, model):
    rows = [json.loads(line) for line in (VENDOR / "train.jsonl").read_text(encoding="utf-8").split("\n") if line]
    vectorizer = TfidfVectorizer(analyzer=server.terms, sublinear_tf=True)
    oracle = LogisticRegression(C=10.0, solver="liblinear", random_state=0)
    oracle.fit(
        vectorizer.fit_transform([row["text"] for row in rows]), [row["reference"] == "positive" for row in rows]
    )
    texts = [point.input.text for point in load("embedded-reviews").points[:200]]
    expected = oracle.predict_proba(vectorizer.transform(texts))[:, 1]
    assert [model.positive(text) for text in texts] == pytest.approx(list(expected), abs=1e-4)


def test_the_vendor_is_far_better_than_guessing(model):
    points = load("embedded-reviews").points
    answers = model.infer([point.input for point in points])
    right = sum(answer.labels[0][0] == point.reference for answer, point in zip(answers, points, strict=True))
    assert right > 780


def test_the_vendor_survives_texts_without_a_word_that_it_knows(model):
    strange = [
        type(load("embedded-reviews").points[0].input)(text=text) for text in ("", "qqqq", "\u2028", "🙂" * 1000)
    ]
    for answer in model.infer(strange):
        assert sum(score for _, score in answer.labels) == pytest.approx(1)
    assert model.infer([ImageInput(content=b"")]) == [SampleError(reason=ErrorReason.UNREADABLE)]
