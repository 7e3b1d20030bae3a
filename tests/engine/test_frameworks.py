"""One network in four frameworks: the same weights, the same answers, and one comparison of what each of them costs."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest
from PIL import Image

from orchestrator.cli import main
from orchestrator.datasets.store import load
from protocol.methodology.tasks import Task
from protocol.units import MIB
from reference_containers.frameworks.network import numpy_scores, read_layers
from tests.engine.rig import Rig, reap
from tests.engine.test_images import BUILD, answers_to, docker

FRAMEWORKS = ("torch", "tensorflow", "jax", "onnxruntime")
FOLDER = BUILD.parent / "frameworks"
TOLERANCE = 1e-5  # of a share between 0 and 1: 32-bit sums in another order
POINTS, RUNS = 64, 2

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    """The four images, as `make images-frameworks` builds them."""
    built = subprocess.run([sys.executable, str(BUILD), "frameworks"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="module")
def points():
    return load("embedded-digits").points[:200]  # the last query of 32 is short: 8 pictures


def scores_of(framework: str, points: Sequence, batch: int) -> np.ndarray:
    """Return the shares (n, 10) that an image answers with through the wire, by digit."""
    answers = answers_to(f"jouleseal/frameworks-{framework}:local", Task.IMAGE_CLASSIFICATION, points, batch)
    found = np.zeros((len(points), 10))
    for row, answer in zip(found, answers, strict=True):
        assert len(answer.labels) == 10
        for label, score in answer.labels:
            row[int(label)] = score
    return found


@pytest.fixture(scope="module")
def expected(points) -> np.ndarray:
    """The same network by numpy alone, from the committed weights: nobody's framework."""
    pictures = [Image.open(io.BytesIO(point.input.content)).convert("L") for point in points]
    return numpy_scores(read_layers(), np.stack([np.asarray(picture, np.float32) / 255 for picture in pictures]))


@pytest.mark.parametrize("batch", [1, 32])
def test_four_frameworks_give_the_same_shares_and_the_same_labels(points, expected, batch):
    found = {framework: scores_of(framework, points, batch) for framework in FRAMEWORKS}
    for framework, scores in found.items():
        apart = float(np.abs(scores - expected).max())
        print(f"{framework}, batch {batch}: at most {apart:.1e} from numpy")
        assert apart <= TOLERANCE, framework
        assert (scores.argmax(axis=1) == expected.argmax(axis=1)).all(), framework
    right = [str(label) == point.reference for label, point in zip(expected.argmax(axis=1), points, strict=True)]
    assert sum(right) / len(right) > 0.95


def test_four_images_hold_the_same_weights_and_only_their_own_framework():
    digests, engines = set(), {}
    for framework in FRAMEWORKS:
        image = f"jouleseal/frameworks-{framework}:local"
        sealed = ["run", "--rm", "--network", "none", "--entrypoint"]
        digests.add(docker(*sealed, "sha256sum", image, "/opt/frameworks/weights.npz").split()[0])
        engines[framework] = set(docker(*sealed, "ls", image, "/opt/frameworks/site").split())
        assert docker(*sealed, "find", image, "/opt", "-name", "*.whl", "-o", "-iname", "*nvidia*") == ""
    assert digests == {hashlib.sha256((FOLDER / "weights.npz").read_bytes()).hexdigest()}
    for framework, held in engines.items():
        assert held.intersection(FRAMEWORKS) == {framework}


def test_one_bundle_of_four_campaigns_verifies_and_is_compared(engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "140")  # the table wraps its words on a narrow screen
    rig = Rig.new(tmp_path)
    try:
        submissions = [FOLDER / f"{framework}.yaml" for framework in FRAMEWORKS]
        with rig.command(*submissions, points=POINTS, runs=RUNS) as process:
            _, said = process.communicate(timeout=800)
        assert process.returncode == 0, said
        assert rig.verdict() == 0
        capsys.readouterr()
        assert main(["compare", "--json", str(rig.bundle)]) == 0
        found = json.loads(capsys.readouterr().out)["comparisons"]
        assert main(["compare", str(rig.bundle)]) == 0
        table = capsys.readouterr().out
    finally:
        reap(rig.rig_id)
    assert [(one["scenario"], one["batch"]) for one in found] == [("latency", 1), ("throughput", 32)]
    for one in found:
        assert [row["framework"] for row in one["results"]] == list(FRAMEWORKS)
        assert len({row["quality"]["accuracy"] for row in one["results"]}) == 1
        for row in one["results"]:
            assert Decimal(row["figures"]["itEnergyWhPer1000Queries"]) > 0
            assert int(row["figures"]["memoryPeakBytes"]) > MIB
            assert {"itEnergyWhPer1000QueriesInterval95", "queriesPerSecond", "latencyMeanMs"} <= set(row["figures"])
        assert [row["energyDifference"] is None for row in one["results"]] == [True, False, False, False]
    for line in ("accuracy", "Wh / 1,000 queries", "±", "against the first", "queries / s", "peak memory MiB"):
        assert line in table
