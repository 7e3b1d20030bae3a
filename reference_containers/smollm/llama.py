"""SmolLM2 behind llama.cpp, as cyllama brings it: tokens in, tokens out, greedy, and nothing remembered.

Rules:
  * Greedy: the likeliest token is taken, so that the same question has the same answer.
  * The cache of keys and values is empty before every question: a query leaves nothing for the next.
  * One thread, because the sandbox has one processor.
  * An end is not written before the fewest tokens are: its tokens are then ruled out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cyllama.llama import llama_cpp

RULED_OUT = -1e30  # added to a logit


class Llama:
    """A loaded model with one context of `room` tokens."""

    def __init__(self, weights: Path, room: int) -> None:
        llama_cpp.disable_logging()
        of_model = llama_cpp.LlamaModelParams()
        of_model.n_gpu_layers = 0
        of_context = llama_cpp.LlamaContextParams()
        of_context.n_ctx = of_context.n_batch = room
        of_context.n_threads = of_context.n_threads_batch = 1
        self.room = room
        self._model = llama_cpp.LlamaModel(str(weights), of_model, verbose=False)
        self._context = llama_cpp.LlamaContext(self._model, of_context, verbose=False)
        self.vocabulary = self._model.get_vocab()
        ends = [token for token in range(self.vocabulary.n_vocab) if self.vocabulary.is_eog(token)]
        self._free = self._chain()
        self._endless = self._chain([(token, RULED_OUT) for token in ends])

    def _chain(self, biases: Sequence[tuple[int, float]] = ()) -> llama_cpp.LlamaSampler:
        sampler = llama_cpp.LlamaSampler(llama_cpp.LlamaSamplerChainParams())
        if biases:
            sampler.add_logit_bias(self.vocabulary.n_vocab, list(biases))
        sampler.add_greedy()
        return sampler

    def tokens(self, text: str, *, control: bool = False) -> list[int]:
        """Return a text's tokens. Where `control` is false, "<|im_end|>" is ten characters and no end of a turn."""
        return list(self.vocabulary.tokenize(text, False, control))  # noqa: FBT003 - the library takes no names

    def spelled(self, token: int) -> str:
        """Return a token as the vocabulary spells it, "" for those that control the conversation."""
        return "" if self.vocabulary.is_control(token) else self.vocabulary.get_text(token)

    def write(self, prompt: Sequence[int], least: int, most: int) -> Iterator[int]:
        """Yield the tokens that follow the prompt: at least `least`, at most `most`, without the end's own token."""
        self._context.kv_cache_clear()
        tokens = list(prompt) or [self.vocabulary.token_bos()]
        self._context.decode(llama_cpp.llama_batch_get_one(tokens, 0))
        for written in range(most):
            token = (self._endless if written < least else self._free).sample(self._context, -1)
            if self.vocabulary.is_eog(token):
                return
            yield token
            if written + 1 < most:
                self._context.decode(llama_cpp.llama_batch_get_one([token], len(tokens) + written))
