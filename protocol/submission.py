"""The nouns that a vendor's submission becomes on its way to a session: Submission, SealedImage, Cell, Campaign."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the vendor asks for its sandbox; the launch profile bounds it."""

    memory_bytes: int
    cpus: int
    shm_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """One task that the vendor wants measured, at these precisions, over the named dataset."""

    task: Task
    precisions: tuple[Precision, ...]
    dataset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a vendor hands in, parsed: `document_sha256` is the hex SHA-256 of the submission.yaml it was read from.

    `submission_id` is derived from the document, so that handing in the same document twice is the same submission.
    `image` is the reference by which the engine knows the image.
    """

    submission_id: str
    document_sha256: str
    vendor: str
    model: str
    model_version: str
    proprietary: bool
    framework: str
    image: str
    tasks: tuple[TaskRequest, ...]
    scenarios: tuple[Scenario, ...]
    resources: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedImage:
    """An image pinned by the digest of its configuration and allowed to run sealed.

    Digests are `sha256:<64 hex>`; `config_digest` and `diff_ids` are computed by us from the image archive.
    `manifest_digest` is the registry's, where the image came from one.
    """

    config_digest: str
    diff_ids: tuple[str, ...]
    manifest_digest: str | None
    user: str
    volumes: tuple[str, ...]
    entrypoint: tuple[str, ...]
    env_names: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Task x scenario x precision, with the dataset that it runs over; the unit that a session measures."""

    task: Task
    scenario: Scenario
    precision: Precision
    dataset: str
    dataset_digest: str
    points: int
    runs: int

    @property
    def cell_id(self) -> str:
        """`task/scenario/precision`, unique within a campaign."""
        return f"{self.task.value}/{self.scenario.value}/{self.precision.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A submission's whole plan. `official` is false for ever once points or runs were shortened."""

    submission: Submission
    image: SealedImage
    cells: tuple[Cell, ...]
    official: bool
    attempts_per_cell: int
