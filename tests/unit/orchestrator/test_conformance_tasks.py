"""Every task against every vendor that is wrong in one way: each is named by its code, over a real socket.

The table is whole: a task and a fault that do not go together (a text holds no number that could be NaN) are named too,
with what the vendor would have to send instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.conformance.cell import CellCheck
from orchestrator.conformance.report import Finding
from orchestrator.conformance.rules import CODES, Rule
from orchestrator.doctor import Health
from orchestrator.evaluate import judge
from orchestrator.evaluate.pictures import grey
from orchestrator.session import SessionOrder
from protocol.methodology.dataset import Dataset
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import REGISTRY, Input, Output, Task
from protocol.samples import (
    Answer,
    AudioInput,
    Detection,
    DetectionsAnswer,
    ImageAnswer,
    ImageInput,
    LabelsAnswer,
    Point,
    QuestionInput,
    SampleInput,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
    TextInput,
    TextPairInput,
)
from protocol.submission import Cell
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.translate import read_sample, write_answer
from reference_containers.build_data import png
from tests.unit.drive.servers import Raw, raw_server
from tests.unit.evaluate.test_quality import drawn
from tests.unit.orchestrator.test_conformance_cell import Seated

COUNT, WARM = 20, 3
CONTEXT = "one two three four five six seven eight nine ten"
TEN = " one two three four five six seven eight nine"
MARK = "QQQQ"  # stands in a message where bytes that are no UTF-8 go


def image(number: int) -> bytes:
    return png([[number] * 100] * 80)


INPUTS: dict[Input, Callable[[int], SampleInput]] = {
    Input.TEXT: lambda number: TextInput(text=f"text {number}"),
    Input.QUESTION: lambda number: QuestionInput(question=f"Where is {number}?", context=CONTEXT),
    Input.TEXT_PAIR: lambda number: TextPairInput(first="a", second=str(number)),
    Input.IMAGE: lambda number: ImageInput(content=image(number)),
    Input.AUDIO: lambda number: AudioInput(content=b"fLaC" + bytes([number]) * 64),
}


def boxed(number: int) -> tuple[float, ...]:
    return (number, number, number + 30, number + 30)


def detection(label: str = "cat", score: float = 0.9, box: tuple[float, ...] = (0, 0, 9, 9)) -> Detection:
    return Detection(label=label, score=score, x_min=box[0], y_min=box[1], x_max=box[2], y_max=box[3])


def right(task: Task, number: int) -> tuple[str | None, Answer]:  # noqa: PLR0911 - one return a kind of answer
    """The reference of a point, and the answer of a vendor that has it."""
    match task:
        case Task.TEXT_GENERATION:
            return None, TextAnswer(text=f"{TEN} {number}")
        case Task.REASONING:
            return str(number), TextAnswer(text=f"So it is {number}.")
        case Task.EXTRACTIVE_QA:
            return json.dumps([CONTEXT[number : number + 9]]), SpanAnswer(start=number, end=number + 9, score=0.5)
        case Task.SEMANTIC_SIMILARITY:
            return str(number), ScoreAnswer(score=number / 100)
        case Task.OBJECT_DETECTION:
            reference = json.dumps([{"label": "cat", "box": boxed(number)}])
            return reference, DetectionsAnswer(detections=(detection(box=boxed(number)),))
        case Task.IMAGE_GENERATION:
            content = drawn(number % 10, number // 10)
            return judge.seen(grey(content)), ImageAnswer(content=content)
        case Task.TEXT_CLASSIFICATION | Task.IMAGE_CLASSIFICATION:
            return str(number % 7), LabelsAnswer(labels=((str(number % 7), 0.9),))
        case Task.SUMMARIZATION | Task.SPEECH_TO_TEXT | Task.IMAGE_CAPTIONING:
            return f"{TEN} {number}", TextAnswer(text=f"{TEN} {number}")


def points_of(task: Task, first: int, count: int) -> tuple[Point, ...]:
    kind = min((one for one in REGISTRY[task].inputs if one in INPUTS), key=lambda one: one.value)
    return tuple(
        Point(
            index=place,
            point_id=f"p{number}",
            source="s",
            input=INPUTS[kind](number),
            reference=right(task, number)[0],
        )
        for place, number in enumerate(range(first, first + count))
    )


def order_of(task: Task) -> SessionOrder:
    dataset = Dataset(
        name="made",
        digest="0" * 64,
        points=points_of(task, 0, COUNT),
        warm_up=points_of(task, COUNT, WARM),
        sources={"s": COUNT},
        thirds=False,
        licence="none",
        note="made for this test",
    )
    cell = Cell(
        task=task,
        scenario=Scenario.LATENCY,
        precision=Precision.FP32,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        points=COUNT,
        runs=1,
    )
    return SessionOrder(session_id="s", cell=cell, image=None, profile=None, cpus=1, dataset=dataset, nonce=b"")


Vendor = Callable[[Task, int, Answer], Answer | bytes]  # by the number of the query, and the right answer to it


def serving(task: Task, vendor: Vendor) -> Raw:
    """A server that knows the right answers and sends what the vendor makes of them."""
    known = {point.input: right(task, number)[1] for number, point in enumerate(points_of(task, 0, COUNT + WARM))}

    def infer(requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        for data in requests:
            request = pb.InferRequest.FromString(data)
            given = vendor(task, infer.asked, known[read_sample(request.samples[0])])
            infer.asked += 1
            response = pb.InferResponse(query=request.query)
            message = response.answers.add()
            if isinstance(given, bytes):
                message.ParseFromString(given.replace(b"\xff\xfe\xfd\xfc", MARK.encode()))
                yield response.SerializeToString().replace(MARK.encode(), b"\xff\xfe\xfd\xfc")
            else:
                write_answer(message, 0, given)
                yield response.SerializeToString()

    infer.asked = 0

    return Raw(infer=infer)


def findings(path: Path, task: Task, vendor: Vendor) -> dict[str, Finding]:
    """Check one cell of the task and return what was found, by code; what is OK is left out."""
    with raw_server(str(path / "s"), serving(task, vendor), task) as endpoint:
        check = CellCheck(Seated(endpoint, order_of(task)))
        check.check()
    found = [one for one in check.bringing.notes.findings if one.rule is not Rule.UNLOAD]  # the raw server has none
    return {one.code: one for one in found if one.health is not Health.OK}


def honest(_task: Task, _asked: int, answer: Answer) -> Answer:
    return answer


def wrong_type(task: Task, _asked: int, _answer: Answer) -> Answer:
    return LabelsAnswer(labels=(("a", 1.0),)) if REGISTRY[task].output is not Output.LABELS else ScoreAnswer(score=0.5)


def too_much(task: Task, _asked: int, answer: Answer) -> Answer:
    match answer:
        case TextAnswer():
            return TextAnswer(text=" one" * (REGISTRY[task].max_tokens * 4 + 1))
        case LabelsAnswer():
            return LabelsAnswer(labels=(("a", 0.5),) * 1001)
        case DetectionsAnswer():
            return DetectionsAnswer(detections=(detection(),) * 1001)
        case SpanAnswer():
            return SpanAnswer(start=0, end=len(CONTEXT) + 1)
        case ImageAnswer():
            return ImageAnswer(content=answer.content + bytes(REGISTRY[task].response_bytes + (1 << 20)))
        case _:
            return answer


def too_little(_task: Task, _asked: int, answer: Answer) -> Answer:
    match answer:
        case TextAnswer():
            return TextAnswer(text="\n" if answer.text.startswith(TEN) else "")
        case LabelsAnswer():
            return LabelsAnswer(labels=())
        case DetectionsAnswer():
            return DetectionsAnswer(detections=())
        case SpanAnswer():
            return SpanAnswer(start=0, end=0)
        case ImageAnswer():
            return ImageAnswer(content=answer.content[:33])
        case _:
            return ScoreAnswer(score=0.0)


def empty(_task: Task, _asked: int, answer: Answer) -> Answer:
    match answer:
        case TextAnswer():
            return TextAnswer(text="")
        case LabelsAnswer():
            return LabelsAnswer(labels=(("", 1.0),))
        case DetectionsAnswer():
            return DetectionsAnswer(detections=(detection(label=""),))
        case ImageAnswer():
            return ImageAnswer(content=b"")
        case SpanAnswer():
            return SpanAnswer(start=0, end=0)
        case _:
            return ScoreAnswer(score=0.0)


def by_place(task: Task, asked: int, _answer: Answer) -> Answer:
    """Right in the first pass, and the same answers in the same places in every other: what was asked is not read."""
    return right(task, (asked - REGISTRY[task].warm_up_queries) % COUNT)[1]


def outside(_task: Task, _asked: int, answer: Answer) -> Answer:
    """The picture is 100 pixels wide; a detector that answers in pixels of its own is beyond it."""
    return (
        DetectionsAnswer(detections=(detection(box=(400, 0, 640, 80)),))
        if isinstance(answer, DetectionsAnswer)
        else answer
    )


def not_a_number(_task: Task, _asked: int, answer: Answer) -> Answer:
    nan = float("nan")
    match answer:
        case LabelsAnswer():
            return LabelsAnswer(labels=(("a", nan),))
        case ScoreAnswer():
            return ScoreAnswer(score=nan)
        case SpanAnswer():
            return SpanAnswer(start=0, end=1, score=nan)
        case DetectionsAnswer():
            return DetectionsAnswer(detections=(detection(score=nan),))
        case _:
            return answer


def bad_utf8(_task: Task, _asked: int, answer: Answer) -> bytes:
    message = pb.Answer()
    match answer:
        case TextAnswer():
            message.text.text = MARK
        case LabelsAnswer():
            message.labels.labels.add(name=MARK, score=0.5)
        case DetectionsAnswer():
            message.detections.detections.add(label=MARK, score=0.5, x_max=9, y_max=9)
        case _:  # these kinds hold no text; an error of any task does
            message.error.detail = MARK
    return message.SerializeToString().replace(MARK.encode(), b"\xff\xfe\xfd\xfc")


def broken_png(_task: Task, _asked: int, answer: Answer) -> Answer:
    content = answer.content if isinstance(answer, ImageAnswer) else drawn(3)
    return ImageAnswer(content=content[: len(content) // 2])


FAULTS: dict[str, Vendor] = {
    "the wrong type": wrong_type,
    "too much": too_much,
    "too little": too_little,
    "empty strings": empty,
    "answers by place": by_place,
    "boxes outside": outside,
    "NaN": not_a_number,
    "no UTF-8": bad_utf8,
    "a broken PNG": broken_png,
}
NOTHING = None  # the kind of answer has no such fault: the vendor sends the right one
BY_OUTPUT: dict[str, dict[Output, str | None]] = {
    "too much": {
        Output.TEXT: "TOO_MANY_TOKENS",
        Output.LABELS: "OUTPUT_TOO_LARGE",
        Output.DETECTIONS: "OUTPUT_TOO_LARGE",
        Output.SPAN: "SPAN_OUT_OF_RANGE",
        Output.IMAGE: "RESPONSE_TOO_LARGE",
        Output.SCORE: NOTHING,
    },
    "too little": {
        Output.TEXT: "TOO_FEW_TOKENS",
        Output.LABELS: "WRONG_OUTPUT_TYPE",
        Output.DETECTIONS: "BELOW_FLOOR",  # to find nothing is an answer, and a wrong one
        Output.SPAN: "NO_FLOOR",  # so is to say that the context has no answer
        Output.IMAGE: "IMAGE_UNREADABLE",
        Output.SCORE: "BELOW_FLOOR",
    },
    "empty strings": {
        Output.TEXT: "TOO_FEW_TOKENS",
        Output.LABELS: "LABEL_EMPTY",
        Output.DETECTIONS: "LABEL_EMPTY",
        Output.SPAN: "NO_FLOOR",
        Output.IMAGE: "IMAGE_UNREADABLE",
        Output.SCORE: "BELOW_FLOOR",
    },
    "NaN": {
        Output.TEXT: NOTHING,
        Output.LABELS: "NOT_A_NUMBER",
        Output.DETECTIONS: "NOT_A_NUMBER",
        Output.SPAN: "NOT_A_NUMBER",
        Output.IMAGE: NOTHING,
        Output.SCORE: "NOT_A_NUMBER",
    },
}
OF_ALL = {
    "the wrong type": "WRONG_OUTPUT_TYPE",
    "answers by place": "ANSWERS_DEPEND_ON_ORDER",
    "no UTF-8": "INVALID_UTF8",
}


def expected(task: Task, fault: str) -> str | None:
    output = REGISTRY[task].output
    if fault == "boxes outside":
        return "BOX_OUTSIDE" if output is Output.DETECTIONS else NOTHING
    if fault == "a broken PNG":
        return "IMAGE_UNREADABLE" if output is Output.IMAGE else "WRONG_OUTPUT_TYPE"
    if task is Task.SPEECH_TO_TEXT and fault in {"too little", "empty strings"}:
        return "BELOW_FLOOR"  # a recording may be silent; these are not
    return OF_ALL[fault] if fault in OF_ALL else BY_OUTPUT[fault][output]


@pytest.mark.parametrize("task", Task, ids=lambda task: task.value)
def test_a_good_vendor_of_every_task_fails_nothing(task: Task, tmp_path: Path):
    found = findings(tmp_path, task, honest)
    assert found.keys() <= {"NO_FLOOR"}
    assert ("NO_FLOOR" in found) == (REGISTRY[task].quality_floor is None)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("task", Task, ids=lambda task: task.value)
def test_a_vendor_that_is_wrong_in_one_way_is_named(task: Task, fault: str, tmp_path: Path):
    code = expected(task, fault)
    found = findings(tmp_path, task, FAULTS[fault])
    if code is NOTHING:
        assert {one for one in found if not CODES[one].warning} == set()
        return
    assert code in found
    assert found[code].health is (Health.WARNING if CODES[code].warning else Health.FAILED)
    assert found[code].remedy
    others = {one for one, finding in found.items() if finding.health is Health.FAILED} - {code}
    assert others <= {"SAMPLE_ERRORS"}  # what is no answer is counted among the errors, too
