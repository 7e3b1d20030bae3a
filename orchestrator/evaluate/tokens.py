"""Counting tokens by ourselves: one pinned tokenizer for every model, beside what the vendor claims.

Rules:
1. The tokenizer is that of SmolLM2 (Hugging Face, Apache-2.0): byte-level byte-pair encoding with 49,152 tokens, digits
   apart. It covers every text (no unknown word counts as one token), is public, and no vendor can choose it.
2. What is shipped is its merges alone, in order: `data/tokens.txt.xz`, pinned below. A byte-level vocabulary follows
   from its merges, and a count does not depend on the numbers of the tokens. reference_containers/build_evaluate.py
   makes the file from the locked package.
3. A count by this tokenizer is not the model's own: other vocabularies cut the same text into more or fewer pieces. So
   bounds are applied with the factor SLACK to either side, and figures per token say whose tokens they are.
"""

from __future__ import annotations

import hashlib
import lzma
from functools import cache
from importlib import resources
from typing import Final

from tokenizers import Tokenizer, models, pre_tokenizers

from protocol.errors import RigError
from protocol.methodology.tasks import TaskSpec

MERGES: Final = "tokens.txt.xz"
MERGES_SHA256: Final = "6c3f491d87be950317dad8e0a20773cd0f3892088783c3e568d02380407dad84"
TOKENIZER: Final = "smollm2"
SLACK: Final = 4  # a text of the world's large scripts takes up to four times the tokens of a vocabulary made for it


def tokens(text: str) -> int:
    """Return how many tokens a text is by the pinned tokenizer; raises RigError TOKENIZER_DAMAGED."""
    return len(_tokenizer().encode(text, add_special_tokens=False).ids) if text else 0


def fault(spec: TaskSpec, counted: int) -> str | None:
    """Return TOO_MANY_TOKENS or TOO_FEW_TOKENS where an answer of so many tokens is beyond the task's bounds."""
    if spec.max_tokens is not None and counted > spec.max_tokens * SLACK:
        return "TOO_MANY_TOKENS"
    if spec.min_tokens is not None and counted * SLACK < spec.min_tokens:
        return "TOO_FEW_TOKENS"
    return None


@cache
def _tokenizer() -> Tokenizer:
    data = (resources.files("orchestrator.evaluate") / "data" / MERGES).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != MERGES_SHA256:
        raise RigError(
            code="TOKENIZER_DAMAGED",
            observed=f"{MERGES} has the SHA-256 {digest}",
            expected=MERGES_SHA256,
            hint="install the runner again: a file of the package was changed",
        )
    lines = lzma.decompress(data).decode("utf-8").removesuffix("\n").split("\n")
    merges = [(first, second) for first, _, second in (line.partition(" ") for line in lines)]
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(first + second for first, second in merges)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return made
