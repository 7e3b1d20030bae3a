"""What a vendor's model looks like to the wire: its description, how it is loaded, and the class that it implements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, SampleInput, TokenDelta
from protocol.wire.jouleseal.v1.revision import SCHEMA_REVISION

MINIMUM_CLIENT_REVISION = 1
DEFAULT_SOCKET = "/run/jouleseal/model.sock"
SOCKET_VARIABLE = "JOULESEAL_SOCKET"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSupport:
    """A task that can be loaded, and the precisions in which it can be."""

    task: Task
    precisions: tuple[Precision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The static facts of an image, stated without reading any weights.

    `max_batch` is the most samples that one query may hold. The two revisions are filled in by the wire.
    """

    model: str
    model_version: str
    engine: str
    engine_version: str
    tasks: tuple[TaskSupport, ...]
    max_batch: int
    streams_tokens: bool = False
    counts_tokens: bool = False
    weights_sealed: bool = False
    schema_revision: int = SCHEMA_REVISION
    minimum_client_revision: int = MINIMUM_CLIENT_REVISION


class LoadPhase(Enum):
    """What a model is doing while it loads."""

    READING = "reading"
    DECRYPTING = "decrypting"
    COMPILING = "compiling"
    WARMING = "warming"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """What the runner asks to be loaded, and the bounds of the session.

    `batch` is the most samples of a query. Token bounds are per answer, None where the task has no tokens. Message
    bounds are bytes of one query and of its answer. `sample_deadline_ms` is the time one sample's answer may take.
    """

    task: Task
    precision: Precision
    batch: int
    min_output_tokens: int | None
    max_output_tokens: int | None
    max_request_bytes: int
    max_response_bytes: int
    sample_deadline_ms: int


class Model(Protocol):
    """What a vendor writes. Calls never overlap. A method `unload(self) -> None` is called where there is one."""

    def describe(self) -> Description:
        """State the facts of the image, at once and without reading weights."""

    def load(self, order: LoadOrder) -> Iterable[LoadPhase] | None:
        """Make the model ready; a generator may yield the phases that it enters."""

    def infer(self, inputs: Sequence[SampleInput]) -> Sequence[Answer]:
        """Answer one query: one answer for each input, in the same order."""


@runtime_checkable
class StreamingModel(Protocol):
    """What a model has beside `Model` to stream tokens; its description says `streams_tokens=True`."""

    def infer_tokens(self, sample: SampleInput) -> Iterator[TokenDelta | Answer]:
        """Yield the pieces of the answer as they are written, and the whole answer last."""


@runtime_checkable
class UnloadableModel(Protocol):
    """What a model has beside `Model` to release what it loaded."""

    def unload(self) -> None:
        """Release what `load` took."""
