"""Final answers of a reasoned text against the right ones: which part is the answer, and when two are the same.

Rules:
1. Only the answer's text is read, not the reasoning beside it.
2. Where the reference is a number, the final answer is the first number after the last `####` (the mark of GSM8K's own
   solutions), else the last number in the text. Commas between digits, a leading $ and a trailing full stop or % are no
   part of a number. Numbers are compared by value: 18, 18.0 and $18.00 are the same.
3. Any other reference is compared with the text after the last `####`, else with the last line that is not empty, both
   normalised as SQuAD normalises answers.
Source of rule 2: K. Cobbe et al., Training Verifiers to Solve Math Word Problems, 2021 (GSM8K); the last number is the
"flexible extract" of EleutherAI's evaluation harness.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from sklearn.metrics import accuracy_score

from orchestrator.evaluate.pairs import Metrics, Pair, numbered
from orchestrator.evaluate.spans import normalised
from protocol.samples import TextAnswer

_MARK = "####"
_NUMBER = re.compile(r"(?<![\w.,])[-+]?\$?\d+(?:,\d{3})*(?:\.\d+)?(?![\d])", re.ASCII)
_NONE = "#"  # no final answer: equal to no reference, which holds no punctuation when normalised
_DIGITS_MAX = 64  # longer runs of digits are no answer, and exact arithmetic on them is a burden


def number_in(text: str) -> str | None:
    """Return the last number in a text as a canonical fraction, None where there is none."""
    found = [match for match in _NUMBER.findall(text) if len(match) <= _DIGITS_MAX]
    return str(Fraction(found[-1].replace(",", "").replace("$", ""))) if found else None


def final_answer(text: str, *, number: bool) -> str:
    """Return the final answer of a text as it is compared, "" where it gives none."""
    _, mark, after = text.rpartition(_MARK)
    if number:
        first = _NUMBER.search(after) if mark else None
        return number_in(first.group() if first else text) or ""
    lines = [line for line in (after if mark else text).splitlines() if line.strip()]
    return normalised(lines[-1]) if lines else ""


def is_number(reference: str) -> bool:
    """Return whether a reference is one number and nothing else."""
    return _NUMBER.fullmatch(reference.strip().rstrip("%")) is not None


def exact_match(pairs: Sequence[Pair]) -> Fraction:
    """Return the share of texts whose final answer is the right one."""
    truth = [final_answer(pair.reference, number=is_number(pair.reference)) for pair in pairs]
    found = [_found(pair) for pair in pairs]
    return Fraction(int(accuracy_score(*numbered(truth, found), normalize=False)), len(pairs))


METRICS: Metrics = {"exact-match": exact_match}


def _found(pair: Pair) -> str:
    if not isinstance(pair.answer, TextAnswer):
        return _NONE
    return final_answer(pair.answer.text, number=is_number(pair.reference)) or _NONE
