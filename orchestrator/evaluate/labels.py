"""Labels against labels, by scikit-learn: accuracy and macro-averaged F1 of the best label.

The answer is its first label; a failed answer is a label that no reference has. Labels are compared as they are spelt.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sklearn.metrics import accuracy_score, f1_score

from orchestrator.evaluate.pairs import Metrics, Pair, numbered
from protocol.samples import LabelsAnswer

_NO_LABEL = ""  # a failed answer: equal to no reference


def best_label(pair: Pair) -> str:
    """Return the label that an answer gives, "" for none."""
    answer = pair.answer
    return answer.labels[0][0] if isinstance(answer, LabelsAnswer) and answer.labels else _NO_LABEL


def accuracy(pairs: Sequence[Pair]) -> Fraction:
    """Return the share of right labels, exactly."""
    truth, found = _numbered(pairs)
    return Fraction(int(accuracy_score(truth, found, normalize=False)), len(pairs))


def macro_f1(pairs: Sequence[Pair]) -> Fraction:
    """Return the mean of the labels' F1, over the labels that occur among the references."""
    truth, found = _numbered(pairs)
    return Fraction(float(f1_score(truth, found, labels=sorted(set(truth)), average="macro", zero_division=0)))


METRICS: Metrics = {"accuracy": accuracy, "macro-f1": macro_f1}


def _numbered(pairs: Sequence[Pair]) -> tuple[list[int], list[int]]:
    return numbered([pair.reference for pair in pairs], [best_label(pair) for pair in pairs])
