"""Spans of a text against accepted answers: exact match and F1 by the rule of SQuAD 2.0's evaluation script.

Source: P. Rajpurkar, R. Jia and P. Liang, Know What You Don't Know: Unanswerable Questions for SQuAD, ACL 2018, with
its script `evaluate-v2.0.py`. The rule:
1. A text is normalised: lower case, ASCII punctuation removed, the words a, an and the removed, white space collapsed.
2. Exact match is 1 where the normalised texts are equal, else 0.
3. F1 is that of the multisets of normalised words. Where either side has no words, it is 1 if neither has, else 0.
4. A question counts by the best of its accepted answers that are not empty when normalised. One without any is
   unanswerable: only the empty answer is right.
There is no light library of it; tests/golden/squad_v2.json holds what another implementation gives.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from orchestrator.evaluate.pairs import Metrics, Pair, accepted
from protocol.samples import QuestionInput, SpanAnswer

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return a text as it is compared (rule 1)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(truth: str, found: str) -> Fraction:
    """Return 1 where two texts are the same when normalised, else 0."""
    return Fraction(normalised(truth) == normalised(found))


def overlap(truth: str, found: str) -> Fraction:
    """Return the F1 of the words of two texts (rule 3), exactly."""
    ours, theirs = normalised(truth).split(), normalised(found).split()
    if not ours or not theirs:
        return Fraction(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return Fraction(2 * common, len(ours) + len(theirs))


def f1(pairs: Sequence[Pair]) -> Fraction:
    """Return the mean F1 of the answers' spans."""
    return _mean(pairs, overlap)


def exact_match(pairs: Sequence[Pair]) -> Fraction:
    """Return the share of spans that match an accepted answer."""
    return _mean(pairs, exact)


METRICS: Metrics = {"f1": f1, "exact-match": exact_match}


def best_of(truths: Sequence[str], found: str, compare: Callable[[str, str], Fraction]) -> Fraction:
    """Return the best comparison with an accepted answer (rule 4)."""
    answerable = [truth for truth in truths if normalised(truth)]
    return max(compare(truth, found) for truth in answerable or [""])


def _mean(pairs: Sequence[Pair], compare: Callable[[str, str], Fraction]) -> Fraction:
    return sum((_of_pair(pair, compare) for pair in pairs), Fraction(0)) / len(pairs)


def _of_pair(pair: Pair, compare: Callable[[str, str], Fraction]) -> Fraction:
    truths = accepted(pair)
    if not isinstance(pair.answer, SpanAnswer) or not isinstance(pair.point.input, QuestionInput):
        return Fraction(0)
    return best_of(truths, pair.point.input.context[pair.answer.start : pair.answer.end], compare)
