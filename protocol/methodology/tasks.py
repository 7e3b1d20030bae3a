"""The task registry: one row per task, with what goes in, what comes out, how it is bounded and how it is scored.

Adding a task adds a row here and a message on the wire, and touches no other room: whoever asks, scores, judges or
publishes reads the row.
Sources of the ten tasks: AI Energy Score (February 2025), https://huggingface.github.io/AIEnergyScore.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from protocol.methodology.scenario import WARM_UP_QUERIES
from protocol.units import MIB, NS_PER_S


class Task(Enum):
    """The standard tasks; the value is the name used in submissions, plans and figures."""

    TEXT_GENERATION = "text-generation"
    REASONING = "reasoning"
    SUMMARIZATION = "summarization"
    EXTRACTIVE_QA = "extractive-qa"
    TEXT_CLASSIFICATION = "text-classification"
    SEMANTIC_SIMILARITY = "semantic-similarity"
    IMAGE_CLASSIFICATION = "image-classification"
    OBJECT_DETECTION = "object-detection"
    SPEECH_TO_TEXT = "speech-to-text"
    IMAGE_GENERATION = "image-generation"
    IMAGE_CAPTIONING = "image-captioning"


class Input(Enum):
    """What a sample of the task carries; the value is the field of the wire's `Sample.input`."""

    TEXT = "text"
    CHAT = "chat"
    QUESTION = "question"
    TEXT_PAIR = "text_pair"
    IMAGE = "image"
    AUDIO = "audio"


class Output(Enum):
    """What an answer of the task carries; the value is the field of the wire's `Answer.output`."""

    TEXT = "text"
    SPAN = "span"
    LABELS = "labels"
    SCORE = "score"
    DETECTIONS = "detections"
    IMAGE = "image"


class Better(Enum):
    """Which way a metric gets better."""

    HIGHER = "higher"
    LOWER = "lower"


UNSCORED = "none"  # the metric of a task, or of a set, that has no right answers

LOWER_IS_BETTER = frozenset({"wer", "cer"})
"""The metrics that count mistakes; every other one counts what is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A row of the registry.

    Token bounds are per answer, None where the task has no tokens. `request_bytes` and `response_bytes` bound one
    sample's share of a message. `sample_deadline_ns` is the time an answer to one sample may take; a batch may take the
    sum of its samples' deadlines. `warm_up_queries` are asked before the first window. `quality_metric` is the metric
    that decides, `secondary_metrics` are published beside it. `quality_floor` is the worst value of `quality_metric`
    that is rated, None where no floor is defined yet (such a task cannot be certified).
    """

    task: Task
    inputs: frozenset[Input]
    output: Output
    min_tokens: int | None
    max_tokens: int | None
    request_bytes: int
    response_bytes: int
    sample_deadline_ns: int
    warm_up_queries: int
    quality_metric: str
    secondary_metrics: tuple[str, ...]
    quality_floor: Fraction | None

    @property
    def better(self) -> Better:
        """Which way the metric gets better."""
        return Better.LOWER if self.quality_metric in LOWER_IS_BETTER else Better.HIGHER

    def meets_floor(self, value: Fraction) -> bool:
        """Return whether a value of the metric is at the floor or better; true where there is no floor."""
        if self.quality_floor is None:
            return True
        return value <= self.quality_floor if self.better is Better.LOWER else value >= self.quality_floor


def _row(  # noqa: PLR0917 - a table reads best as rows
    task: Task,
    inputs: set[Input],
    output: Output,
    tokens: tuple[int, int] | None,
    mib: tuple[int, int],
    deadline_s: int,
    metrics: str,
    floor: Fraction | None = None,
) -> TaskSpec:
    metric, *secondary = metrics.split()
    return TaskSpec(
        task=task,
        inputs=frozenset(inputs),
        output=output,
        min_tokens=tokens[0] if tokens else None,
        max_tokens=tokens[1] if tokens else None,
        request_bytes=mib[0] * MIB,
        response_bytes=mib[1] * MIB,
        sample_deadline_ns=deadline_s * NS_PER_S,
        warm_up_queries=WARM_UP_QUERIES,
        quality_metric=metric,
        secondary_metrics=tuple(secondary),
        quality_floor=floor,
    )


# Token bounds: AI Energy Score generates 10 tokens (min = max) for text generation, summarization and image captioning
# (which it measures, outside of its ten); reasoning answers are given room to think; a recording may be silent. Message
# bounds: original JPEG, PNG, FLAC and WAV bytes of the standard datasets with room to spare; answers are text, numbers
# or one PNG.
#
# Metrics: the first decides, the others are published beside it. docs/vendor.md says how each is computed.
#
# Floors are our own choice, and exist only where both ends are known: what guessing gives, and what our own reference
# vendors measure on the embedded sets. Each lies between the two, nearer to guessing than a model in use would come.
#                        guessing   our reference vendors
#   text-classification  0.5        0.798 (reviews), 0.82 to 0.86 on its three sources apart
#   semantic-similarity  0.0        0.446 SimLex-999, 0.729 WordSim-353, 0.656 Lee
#   image-classification 0.1        0.956 (digits); 0.001 and 0.698 (photos, 1,000 classes)
#   object-detection     0.0        0.73 (photos), 0.83 (composed scenes)
#   speech-to-text       1.0        0.042 to 0.125 Moonshine, 0.048 to 0.68 PocketSphinx
#   image-generation     0.1        0.92 to 0.98
# Reasoning, extractive QA, summaries and captions of 10 tokens have no floor: the one small language model measured
# here is at or near what guessing gives (0 of 12 problems of GSM8K): that says nothing about where a useful one begins.
_TEXT = {Input.TEXT, Input.CHAT}
_0_6, _0_5, _0_3 = Fraction(6, 10), Fraction(5, 10), Fraction(3, 10)
REGISTRY: dict[Task, TaskSpec] = {
    spec.task: spec
    for spec in (
        _row(Task.TEXT_GENERATION, _TEXT, Output.TEXT, (10, 10), (4, 1), 60, UNSCORED),
        _row(Task.REASONING, _TEXT, Output.TEXT, (1, 4096), (4, 1), 600, "exact-match"),
        _row(Task.SUMMARIZATION, {Input.TEXT}, Output.TEXT, (10, 10), (4, 1), 60, "rouge-1 rouge-2 rouge-l"),
        _row(Task.EXTRACTIVE_QA, {Input.QUESTION}, Output.SPAN, None, (4, 1), 60, "f1 exact-match"),
        _row(Task.TEXT_CLASSIFICATION, {Input.TEXT}, Output.LABELS, None, (4, 1), 10, "accuracy macro-f1", _0_6),
        _row(Task.SEMANTIC_SIMILARITY, {Input.TEXT_PAIR}, Output.SCORE, None, (4, 1), 10, "spearman pearson", _0_3),
        _row(Task.IMAGE_CLASSIFICATION, {Input.IMAGE}, Output.LABELS, None, (8, 1), 10, "accuracy macro-f1", _0_6),
        _row(Task.OBJECT_DETECTION, {Input.IMAGE}, Output.DETECTIONS, None, (8, 1), 30, "ap50", _0_3),
        _row(Task.SPEECH_TO_TEXT, {Input.AUDIO}, Output.TEXT, (0, 4096), (16, 1), 120, "wer cer", _0_5),
        _row(Task.IMAGE_GENERATION, {Input.TEXT}, Output.IMAGE, None, (1, 16), 300, "judge-accuracy", _0_6),
        _row(Task.IMAGE_CAPTIONING, {Input.IMAGE}, Output.TEXT, (10, 10), (8, 1), 60, "bleu rouge-l"),
    )
}
