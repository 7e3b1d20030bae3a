"""Ctrl-C and SIGTERM become one typed error, raised only where the corridor says that stopping is safe.

Rules:
1. A signal inside `allowed()` raises Interrupted there and then; blocking calls wake for it.
2. A signal outside is kept and raised on the next entry of `allowed()`: a statement is never half recorded and a
   sandbox never half removed.
3. Only the first signal counts: a second Ctrl-C does not cut the tidying short.
4. A signal after everything is recorded and tidied changes nothing. Where only the process's end follows (`last`), it
   is ignored from then on: the interpreter, as it shuts down, would die of it, whatever the command's exit code.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from protocol.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Interrupts:
    """Whether stopping is safe now, and which signal asked for it."""

    pending: str | None = None
    last: bool = False
    _depth: int = 0
    _raised: bool = False

    @contextmanager
    def installed(self) -> Iterator[Interrupts]:
        """Take over SIGINT and SIGTERM for the block, and give them back after it, or ignore them if `last`.

        Must run in the main thread.
        """
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if self.last else handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a signal raise Interrupted inside the block; a kept one raises at once."""
        self._depth += 1
        try:
            self._raise_once()
            yield
        finally:
            self._depth -= 1

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.pending = self.pending or signal.Signals(number).name
        if self._depth:
            self._raise_once()

    def _raise_once(self) -> None:
        if self.pending is None or self._raised:
            return
        self._raised = True
        raise Interrupted(
            observed=f"{self.pending} while the session was under way",
            expected="a session that runs to its end",
            hint="run the same command again: finished sessions are kept, this one is logged as aborted and repeated",
        )


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM for what is left of this process, whose exit code is decided."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
