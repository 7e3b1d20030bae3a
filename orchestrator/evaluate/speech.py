"""Transcripts against transcripts, by jiwer: word and character error rates over the whole set. Lower is better.

Both sides are normalised first: Unicode NFKC, lower case, typographic apostrophes made plain, every character that is
no letter, digit, mark or apostrophe made a space, white space collapsed. Numbers stay as they are written. A failed
answer is an empty transcript: every word of its reference is missing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fractions import Fraction

import jiwer

from orchestrator.evaluate.pairs import Metrics, Pair
from protocol.samples import TextAnswer

_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})


def normalised(text: str) -> str:
    """Return a transcript as it is compared."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    kept = "".join(c if unicodedata.category(c)[0] in "LNM" or c == "'" else " " for c in plain)
    return " ".join(kept.split())


def wer(pairs: Sequence[Pair]) -> Fraction:
    """Return the word error rate: wrong, missing and surplus words in every word of the references; may exceed 1."""
    found = jiwer.process_words(*_sides(pairs))
    mistakes = found.substitutions + found.deletions + found.insertions
    return Fraction(mistakes, max(found.hits + found.substitutions + found.deletions, 1))


def cer(pairs: Sequence[Pair]) -> Fraction:
    """Return the character error rate, white space included; may exceed 1."""
    found = jiwer.process_characters(*_sides(pairs))
    mistakes = found.substitutions + found.deletions + found.insertions
    return Fraction(mistakes, max(found.hits + found.substitutions + found.deletions, 1))


METRICS: Metrics = {"wer": wer, "cer": cer}


def _sides(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    truth = [normalised(pair.reference) for pair in pairs]
    found = [normalised(pair.answer.text) if isinstance(pair.answer, TextAnswer) else "" for pair in pairs]
    return truth, found
