"""Nothing of a dataset is read while a window is open: what loading costs is never in a figure."""

import os
import sys
from pathlib import Path

import pytest

from orchestrator.datasets.build import assemble, keep
from orchestrator.datasets.store import load
from orchestrator.drive.loadgen import RunRecord
from orchestrator.session import Drive, SessionOrder, ask
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import Task
from protocol.samples import AudioInput, Point, TextAnswer
from protocol.submission import Cell
from protocol.wire import Description, TaskSupport
from tests.unit.drive.servers import honest_server

TASK = Task.SPEECH_TO_TEXT
RUNS = 3


class Opened:
    """The files that this process opens below a folder while it is watched; an audit hook stays, so it can be told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.watching, self.seen = str(folder), False, []
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple) -> None:
        if self.watching and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsdecode(arguments[0])
            if path.startswith(self.folder):
                self.seen.append(path)


class Model:
    """Answers every recording alike."""

    def __init__(self, before_answer=lambda: None) -> None:
        self.before_answer = before_answer

    def describe(self) -> Description:
        support = TaskSupport(task=TASK, precisions=(Precision.FP32,))
        return Description(model="m", model_version="1", engine="e", engine_version="1", tasks=(support,), max_batch=32)

    def load(self, _order) -> None:
        return None

    def infer(self, samples):
        self.before_answer()
        return [TextAnswer(text="hello") for _ in samples]


@pytest.fixture
def built(tmp_path):
    """A dataset of recordings, each in a file of its own, as it lies in a folder of datasets."""
    content = b"RIFF\x24\x00\x00\x00WAVEfmt "
    points = tuple(
        Point(index=n, point_id=f"p-{n}", source="s", input=AudioInput(content=content + bytes([n])), reference="hello")
        for n in range(40)
    )
    parts = (points[:33], points[33:], ())
    keep(assemble("own-set", TASK, parts, licence="CC0-1.0", note="", attribution={}, origin={}), tmp_path / "datasets")
    return tmp_path / "datasets"


def session(dataset, scenario):
    cell = Cell(
        task=TASK,
        scenario=scenario,
        precision=Precision.FP32,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        points=33,
        runs=RUNS,
    )
    return SessionOrder(session_id="s", cell=cell, image=None, profile=None, cpus=1, dataset=dataset, nonce=b"")


def runs(tmp_path, dataset, scenario, opened, model):
    """Ask every point RUNS times as a session does; the watch lasts from the first window to the end of the last."""
    order = session(dataset, scenario)

    def metered(drive: Drive) -> RunRecord:
        opened.watching = True
        return drive(0)

    with honest_server(str(tmp_path / "s"), model, TASK, scenario.batch) as endpoint:
        endpoint.load(TASK, Precision.FP32, scenario.batch, 20)
        answered = [len(ask(endpoint, order, order.points, metered).responses) for _ in range(RUNS)]
        opened.watching = False
    return answered


@pytest.mark.parametrize("scenario", list(Scenario))
def test_no_file_of_a_dataset_is_opened_from_the_first_window_to_the_last(tmp_path, built, scenario):
    opened = Opened(built)
    opened.watching = True
    dataset = load("own-set", built)
    opened.watching = False
    assert sum("/blobs/" in path for path in opened.seen) == 40, "the watch sees what loading opens"
    opened.seen.clear()
    answered = runs(tmp_path, dataset, scenario, opened, Model())
    assert answered == [-(-33 // scenario.batch)] * RUNS
    assert opened.seen == []


def test_a_file_that_is_opened_inside_a_window_would_be_seen(tmp_path, built):
    opened = Opened(built)
    late = Model((built / "own-set" / "points.jsonl").read_bytes)
    runs(tmp_path, load("own-set", built), Scenario.THROUGHPUT, opened, late)
    assert opened.seen
