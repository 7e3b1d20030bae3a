"""Texts against reference texts: ROUGE by rouge-score, BLEU by sacrebleu.

Rules:
1. ROUGE is the mean F-measure over the samples, without stemming, as rouge-score tokenises (lower-case letters and
   digits); of several references the best one counts.
2. BLEU is that of the whole corpus with sacrebleu's defaults (13a tokenisation, exponential smoothing), from 0 to 1.
3. A reference is one text, or a JSON array of accepted texts. A failed answer is an empty text.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from orchestrator.evaluate.pairs import Metrics, Pair, mean, texts_of
from protocol.samples import TextAnswer

_HUNDRED = 100  # sacrebleu's scale
_NAMES = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}


def rouge(name: str, pairs: Sequence[Pair]) -> Fraction:
    """Return the mean F-measure of `rouge-1`, `rouge-2` or `rouge-l`."""
    scorer = RougeScorer([_NAMES[name]])
    known: dict[tuple[str, str], float] = {}  # the passes of a run repeat its answers
    for (reference, text), pair in {(pair.reference, _text(pair)): pair for pair in pairs}.items():
        known[reference, text] = scorer.score_multi(texts_of(pair), text)[_NAMES[name]].fmeasure
    return mean(known[pair.reference, _text(pair)] for pair in pairs)


def bleu(pairs: Sequence[Pair]) -> Fraction:
    """Return the corpus's BLEU, 0 to 1."""
    accepted = [texts_of(pair) for pair in pairs]
    most = max(map(len, accepted))
    # None is no reference: the library's annotations leave it out, its documentation does not.
    streams: Any = [[texts[number] if number < len(texts) else None for texts in accepted] for number in range(most)]
    found = sacrebleu.corpus_bleu([_text(pair) for pair in pairs], streams)
    return min(Fraction(found.score) / _HUNDRED, Fraction(1))


METRICS: Metrics = {**{name: partial(rouge, name) for name in _NAMES}, "bleu": bleu}


def _text(pair: Pair) -> str:
    return pair.answer.text if isinstance(pair.answer, TextAnswer) else ""
