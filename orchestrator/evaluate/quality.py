"""The quality of a run: its answers against the points' references, by the field's own metric libraries.

Rules:
1. `score` is a pure function of a task's row, points and answers. It does not depend on their order, and whoever holds
   the points and opened answers can run it again (`jouleseal quality`).
2. A set without references has no quality: the metric is `none` and the value absent, never 0. Points without a
   reference among others that have one are asked and not scored.
3. Some answers are well-formed and still none: a picture that cannot be decoded, or is too large to be
   (IMAGE_UNREADABLE), and a text of far more or far fewer tokens by our own count than the task allows
   (TOO_MANY_TOKENS, TOO_FEW_TOKENS; `tokens`). They count as wrong, and as errors, like a sample that the model itself
   called one.
4. Tokens are counted by ourselves beside the model's claim. A claim is a sum only where every answer claims.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from orchestrator.evaluate.pairs import Metrics, Pair
from protocol.errors import QualityGateFailed, RigError
from protocol.methodology.tasks import UNSCORED, Output, TaskSpec
from protocol.samples import Answer, ImageAnswer, Point, SampleError, TextAnswer

MAX_ERROR_RATE = Fraction(1, 100)  # method.md: above 1 % of errored samples the cell fails
IMAGE_UNREADABLE = "IMAGE_UNREADABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """The output tokens of a run's answers, reasoning included: as we count them, and as the model claims.

    `claimed` is None unless every answer claims its own.
    """

    counted: int
    claimed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The value of the task's metric over one run, and what stands beside it.

    `value` is None, and `metric` `none`, where the set has no references. `errors` of `samples` are answers that
    failed, `faults` those among them that the model did not call errors itself, by code. `secondary` are the other
    metrics of the task by name. `tokens` is None where the task has no tokens.
    """

    metric: str
    value: Fraction | None
    errors: int
    samples: int
    secondary: Mapping[str, Fraction] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    tokens: TokenCount | None = None


def score(spec: TaskSpec, points: Sequence[Point], answers: Sequence[Answer]) -> Quality:
    """Score one run's answers, given in the order of `points`.

    Raises RigError METRIC_UNKNOWN for a metric that is not built in, REFERENCE_UNREADABLE for a damaged reference.
    """
    counts = _counted(spec, answers)
    faults = [_fault(spec, answer, count) for answer, count in zip(answers, counts, strict=True)]
    pairs = [
        Pair(
            point=point,
            reference=point.reference,
            answer=None if fault or isinstance(answer, SampleError) else answer,
        )
        for point, answer, fault in zip(points, answers, faults, strict=True)
        if point.reference is not None
    ]
    scored = bool(pairs) and spec.quality_metric != UNSCORED
    return Quality(
        metric=spec.quality_metric if scored else UNSCORED,
        value=_metric(spec.quality_metric, spec.output)(pairs) if scored else None,
        errors=sum(isinstance(answer, SampleError) for answer in answers) + sum(fault is not None for fault in faults),
        samples=len(answers),
        secondary={name: _metric(name, spec.output)(pairs) for name in spec.secondary_metrics if scored},
        faults=dict(sorted(Counter(fault for fault in faults if fault is not None).items())),
        tokens=_token_count(spec, answers, counts),
    )


def gate(spec: TaskSpec, quality: Quality) -> None:
    """Raise QualityGateFailed where too many samples were errors; a low value is published, not refused."""
    if quality.errors > quality.samples * MAX_ERROR_RATE:
        told = "".join(f", {count} of them {code}" for code, count in quality.faults.items())
        raise QualityGateFailed(
            code="SAMPLE_ERRORS",
            observed=f"{quality.errors} of {quality.samples} samples of {spec.task.value} were not answered{told}",
            expected=f"at most {MAX_ERROR_RATE * 100} % errors",
            hint="run `jouleseal check` on the image: it shows the errors of public points with full logs",
        )


def _counted(spec: TaskSpec, answers: Sequence[Answer]) -> list[int | None]:
    """Return our own count of each answer's tokens, None where there is nothing to count."""
    if spec.max_tokens is None:
        return [None] * len(answers)
    from orchestrator.evaluate.tokens import tokens  # noqa: PLC0415 - only tasks with tokens pay for the tokenizer

    known: dict[str, int] = {}  # the passes of a run repeat its answers

    def count(text: str) -> int:
        if text not in known:
            known[text] = tokens(text)
        return known[text]

    return [
        count(answer.text) + count(answer.reasoning or "") if isinstance(answer, TextAnswer) else None
        for answer in answers
    ]


def _fault(spec: TaskSpec, answer: Answer, counted: int | None) -> str | None:
    """Return why a well-formed answer is none, None where it is one (rule 3)."""
    if counted is not None:
        from orchestrator.evaluate.tokens import fault  # noqa: PLC0415 - loaded already, where something was counted

        return fault(spec, counted)
    if isinstance(answer, ImageAnswer):
        from orchestrator.evaluate.pictures import grey  # noqa: PLC0415 - only pictures pay for their decoder

        return None if grey(answer.content) is not None else IMAGE_UNREADABLE
    return None


def _token_count(spec: TaskSpec, answers: Sequence[Answer], counts: Sequence[int | None]) -> TokenCount | None:
    if spec.max_tokens is None:
        return None
    claims = [
        answer.usage.output_tokens if answer.usage else None
        for answer in answers
        if not isinstance(answer, SampleError)
    ]
    known = [claim for claim in claims if claim is not None]
    return TokenCount(
        counted=sum(count or 0 for count in counts),
        claimed=sum(known) if known and len(known) == len(claims) else None,
    )


# The metrics by where they are computed. A session scores one task, so it loads the libraries of that one alone: all
# of them take seconds and hundreds of megabytes.


def _labels() -> Metrics:
    from orchestrator.evaluate import labels  # noqa: PLC0415 - see above

    return labels.METRICS


def _numbers() -> Metrics:
    from orchestrator.evaluate import numbers  # noqa: PLC0415 - see above

    return numbers.METRICS


def _spans() -> Metrics:
    from orchestrator.evaluate import spans  # noqa: PLC0415 - see above

    return spans.METRICS


def _finals() -> Metrics:
    from orchestrator.evaluate import finals  # noqa: PLC0415 - see above

    return finals.METRICS


def _overlap() -> Metrics:
    from orchestrator.evaluate import overlap  # noqa: PLC0415 - see above

    return overlap.METRICS


def _speech() -> Metrics:
    from orchestrator.evaluate import speech  # noqa: PLC0415 - see above

    return speech.METRICS


def _boxes() -> Metrics:
    from orchestrator.evaluate import boxes  # noqa: PLC0415 - see above

    return boxes.METRICS


def _judge() -> Metrics:
    from orchestrator.evaluate import judge  # noqa: PLC0415 - see above

    return judge.METRICS


METRICS: Mapping[tuple[str, Output], Callable[[], Metrics]] = MappingProxyType(
    {
        ("accuracy", Output.LABELS): _labels,
        ("macro-f1", Output.LABELS): _labels,
        ("spearman", Output.SCORE): _numbers,
        ("pearson", Output.SCORE): _numbers,
        ("f1", Output.SPAN): _spans,
        ("exact-match", Output.SPAN): _spans,
        ("exact-match", Output.TEXT): _finals,
        ("rouge-1", Output.TEXT): _overlap,
        ("rouge-2", Output.TEXT): _overlap,
        ("rouge-l", Output.TEXT): _overlap,
        ("bleu", Output.TEXT): _overlap,
        ("wer", Output.TEXT): _speech,
        ("cer", Output.TEXT): _speech,
        ("ap50", Output.DETECTIONS): _boxes,
        ("judge-accuracy", Output.IMAGE): _judge,
    }
)
"""Every metric that can be computed, by its name and the kind of answer that it is computed over."""


def _metric(name: str, output: Output) -> Callable[[Sequence[Pair]], Fraction]:
    home = METRICS.get((name, output))
    if home is None:
        raise RigError(
            code="METRIC_UNKNOWN",
            observed=f"the metric {name!r} over {output.value}",
            expected=f"one of {', '.join(sorted({known for known, _ in METRICS}))}",
            hint="measure a task whose metric this version computes",
        )
    return home()[name]
