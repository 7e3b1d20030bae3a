"""Where a context says what a model answered: the span of an extractive answer, in code points.

A generative model answers in words of its own. Its answer is looked up in the context: as it stands, else the longest
run of its words that the context has too. Case and punctuation do not count, and a run must hold most of the answer.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")
LEAST_SHARE = 0.5  # of the answer's words: a run that holds fewer says something else
NOWHERE = (0, 0)


def _words(text: str) -> list[tuple[str, int, int]]:
    return [(found[0].casefold(), found.start(), found.end()) for found in _WORD.finditer(text)]


def _longest_run(left: list[str], right: list[str]) -> tuple[int, int]:
    """Return where the longest common run begins in `right` and how many words it has; the first where several do."""
    best_end = best = 0
    lengths = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for place, other in enumerate(right, 1):
            before, lengths[place] = lengths[place], before + 1 if word == other else 0
            if lengths[place] > best or (lengths[place] == best and best and place < best_end):
                best, best_end = lengths[place], place
    return best_end - best, best


def span_of(answer: str, context: str) -> tuple[int, int]:
    """Return the span [start, end) of the context that the answer says, (0, 0) where the context does not say it."""
    said, stands = _words(answer), _words(context)
    if not said:
        return NOWHERE
    begins, length = _longest_run([word for word, _, _ in said], [word for word, _, _ in stands])
    if length < max(1, LEAST_SHARE * len(said)):
        return NOWHERE
    return stands[begins][1], stands[begins + length - 1][2]
