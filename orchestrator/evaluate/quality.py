"""The quality of a run: its answers against the points' references, by the field's own metric libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sklearn.metrics import accuracy_score

from protocol.errors import QualityGateFailed, RigError
from protocol.methodology.tasks import TaskSpec
from protocol.samples import Answer, LabelsAnswer, Point, SampleError

MAX_ERROR_RATE = Fraction(1, 100)  # method.md: above 1 % of errored samples the cell fails

_NO_LABEL = ""  # an errored or empty answer: equal to no reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The value of the task's metric over one run, and how many samples were answered with an error."""

    metric: str
    value: Fraction
    errors: int
    samples: int


def score(spec: TaskSpec, points: Sequence[Point], answers: Sequence[Answer]) -> Quality:
    """Score one run's answers, given in the order of `points`.

    Raises RigError METRIC_UNKNOWN for a task whose metric is not built in.
    """
    metric = _METRICS.get(spec.quality_metric)
    if metric is None:
        raise RigError(
            code="METRIC_UNKNOWN",
            observed=f"the metric {spec.quality_metric!r} of {spec.task.value}",
            expected=f"one of {', '.join(_METRICS)}",
            hint="measure a task whose metric this version computes",
        )
    errors = sum(isinstance(answer, SampleError) for answer in answers)
    return Quality(metric=spec.quality_metric, value=metric(points, answers), errors=errors, samples=len(answers))


def gate(spec: TaskSpec, quality: Quality) -> None:
    """Raise QualityGateFailed where too many samples were errors; a low value is published, not refused."""
    if quality.errors > quality.samples * MAX_ERROR_RATE:
        raise QualityGateFailed(
            code="SAMPLE_ERRORS",
            observed=f"{quality.errors} of {quality.samples} samples of {spec.task.value} were answered with an error",
            expected=f"at most {MAX_ERROR_RATE * 100} % errors",
            hint="run `jouleseal check` on the image: it shows the errors of public points with full logs",
        )


def _accuracy(points: Sequence[Point], answers: Sequence[Answer]) -> Fraction:
    truth = [str(point.reference) for point in points]
    found = [a.labels[0][0] if isinstance(a, LabelsAnswer) and a.labels else _NO_LABEL for a in answers]
    return Fraction(int(accuracy_score(truth, found, normalize=False)), len(truth))


_METRICS: dict[str, Callable[[Sequence[Point], Sequence[Answer]], Fraction]] = {"accuracy": _accuracy}
