"""The terms of a text, the same when the model is trained and when it is asked."""

from __future__ import annotations

import re
from itertools import pairwise

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def terms(text: str) -> list[str]:
    """Return the words of a text in lower case, apostrophes included, and every two neighbours as a term too."""
    words = _WORD.findall(text.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]
