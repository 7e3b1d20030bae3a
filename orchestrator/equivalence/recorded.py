"""Recorded answers: what production said under one challenge, in a file, for a service that an auditor cannot dial.

Format `jouleseal-recorded-answers/1`: JSON lines, each canonical (RFC 8785) and ended by one newline. The header says
under which challenge it was recorded, and what was asked; every other line is an answer, with the point's digest:

    {"challenge":<id>,"engine":..,"engineVersion":..,"format":"jouleseal-recorded-answers/1","model":..,
     "modelVersion":..}
    {"answer":<base64 of the Answer message>,"point":<sha256>,"precision":"fp32","task":"image-classification"}

The rules: a set of another challenge is refused, for it was recorded before anybody could know the draw, or for another
one; each point is answered once; a drawn point without an answer is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drive.codec import decode_answer, encode_answer
from orchestrator.equivalence.endpoint import Endpoint
from protocol.attestation.digest import sha256_hex
from protocol.attestation.encoding import b64encode
from protocol.attestation.equivalence import EndpointClaim
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import MAX_JSON_BYTES, dumps, loads_canonical
from protocol.errors import UsageError, VerificationError
from protocol.methodology.dataset import point_digest
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Answer, Point

RECORDED_FORMAT = "jouleseal-recorded-answers/1"
MAX_RECORDED_BYTES = 256 << 20

Asked = tuple[str, str, str]  # task, precision, the point's digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSet:
    """A set of recorded answers; an `orchestrator.equivalence.endpoint.Endpoint`."""

    challenge: str
    says: EndpointClaim
    found: Mapping[Asked, bytes]

    def claim(self) -> EndpointClaim:
        """Return what the set says was asked, with its digest."""
        return self.says

    def answers(self, task: Task, precision: Precision, points: Sequence[Point]) -> list[Answer]:
        """Return the recorded answers; UsageError POINT_NOT_RECORDED for one that is not there."""
        return [self._answer(task, precision, point) for point in points]

    def _answer(self, task: Task, precision: Precision, point: Point) -> Answer:
        data = self.found.get((task.value, precision.value, point_digest(point)))
        if data is None:
            raise _refused("POINT_NOT_RECORDED", f"no answer to point {point.point_id!r}", "one to every drawn point")
        return decode_answer(data, point, REGISTRY[task])


def read_recorded(path: Path, challenge: str) -> RecordedSet:
    """Read a set that was recorded under this challenge.

    UsageError RECORDED_UNREADABLE, and RECORDED_FOR_ANOTHER where it was recorded under another one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECORDED_BYTES + 1)
        recorded = parse_recorded(data)
    except OSError as error:
        raise _refused("RECORDED_UNREADABLE", f"{path}: {error.strerror}", "a file that you may read") from error
    except VerificationError as error:
        raise _refused("RECORDED_UNREADABLE", f"{path}: {error.observed}", error.expected) from error
    if recorded.challenge != challenge:
        raise _refused("RECORDED_FOR_ANOTHER", f"answers under challenge {recorded.challenge}", challenge)
    return recorded


def parse_recorded(data: bytes) -> RecordedSet:
    """Read the bytes of a set strictly; VerificationError where a rule is broken."""
    if len(data) > MAX_RECORDED_BYTES or not data.endswith(b"\n"):
        raise VerificationError(
            code="BAD_RECORDED",
            observed=f"{len(data)} bytes, or a file that is cut off",
            expected=f"at most {MAX_RECORDED_BYTES} bytes of whole lines",
            hint="record the answers again",
        )
    head, *lines = data[:-1].split(b"\n")
    header = Fields(loads_canonical(head), "recorded")
    header.one_of("format", (RECORDED_FORMAT,))
    says = EndpointClaim(
        kind="recorded",
        model=header.text("model"),
        model_version=header.text("modelVersion"),
        engine=header.text("engine"),
        engine_version=header.text("engineVersion"),
        recorded_sha256=sha256_hex(data),
    )
    challenge = header.sha256("challenge")
    header.done()
    found: dict[Asked, bytes] = {}
    for number, line in enumerate(lines, 2):
        asked, answer = _read(line, number)
        if asked in found:
            raise VerificationError(
                code="BAD_RECORDED",
                observed=f"line {number}: a point that was answered before",
                expected="each point once",
                hint="record the answers again",
            )
        found[asked] = answer
    return RecordedSet(challenge=challenge, says=says, found=found)


def _read(line: bytes, number: int) -> tuple[Asked, bytes]:
    fields = Fields(loads_canonical(line), f"line {number}")
    asked = (fields.text("task"), fields.text("precision"), fields.sha256("point"))
    answer = fields.base64("answer", limit=MAX_JSON_BYTES)
    fields.done()
    return asked, answer


@dataclass(slots=True)
class Recorder:
    """Asks another endpoint, and remembers what it answered, so that it can be written as a recorded set."""

    inner: Endpoint
    lines: dict[Asked, bytes]

    def claim(self) -> EndpointClaim:
        """Return what the other endpoint says of itself."""
        return self.inner.claim()

    def answers(self, task: Task, precision: Precision, points: Sequence[Point]) -> list[Answer]:
        """Ask the other endpoint."""
        found = self.inner.answers(task, precision, points)
        for point, answer in zip(points, found, strict=True):
            self.lines[task.value, precision.value, point_digest(point)] = encode_answer(answer)
        return found


def write_recorded(says: EndpointClaim, challenge: str, found: Iterable[tuple[Asked, bytes]]) -> bytes:
    """Return the bytes of a recorded set."""
    header = dumps(
        {
            "format": RECORDED_FORMAT,
            "challenge": challenge,
            "model": says.model,
            "modelVersion": says.model_version,
            "engine": says.engine,
            "engineVersion": says.engine_version,
        }
    )
    lines = [
        dumps({"task": task, "precision": precision, "point": point, "answer": b64encode(answer)})
        for (task, precision, point), answer in found
    ]
    return b"\n".join([header, *lines]) + b"\n"


def _refused(code: str, observed: str, expected: str) -> UsageError:
    return UsageError(
        code=code,
        observed=observed,
        expected=expected,
        hint="record production's answers after the challenge was logged, to every point that it draws",
    )
