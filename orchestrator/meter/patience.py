"""An instrument that may hang is asked in a thread of its own, so that the sampler never hangs with it.

NVML calls can stay in the driver for ever, and nothing can call them back. The asker waits 1 s, the longest gap that a
record may have; then the instrument is lost (DEVICE_HUNG): a failure row says so, the sampler goes on with the others
and beats on, and the session is void. The thread is left behind and ends with the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import JoulesealError, MeterUnavailable
from protocol.methodology.validity import MAX_GAP_NS
from protocol.units import NS_PER_S

if TYPE_CHECKING:
    from orchestrator.meter.nvml import NvmlInstrument

PATIENCE_S: Final = MAX_GAP_NS / NS_PER_S


class Patient:
    """Reads one instrument as itself would, but never waits longer than `patience_s` for it."""

    def __init__(self, instrument: NvmlInstrument, patience_s: float = PATIENCE_S) -> None:
        self._instrument = instrument
        self._patience_s = patience_s
        self._asked: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[tuple[Any, JoulesealError | None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hung = False
        self.name = instrument.name
        self.columns = instrument.columns
        self.host_columns = instrument.host_columns

    def watch(self, container_id: str) -> None:
        """Name the sandbox, so that processes that are not its own are counted as foreign."""
        self._instrument.watch(container_id)

    def read(self) -> Sequence[int | None]:
        """Read `columns`; raises MeterUnavailable DEVICE_LOST or DEVICE_HUNG."""
        values: Sequence[int | None] = self._ask(self._instrument.read)
        return values

    def read_host(self) -> Sequence[int | None]:
        """Read `host_columns`; raises MeterUnavailable DEVICE_LOST or DEVICE_HUNG."""
        values: Sequence[int | None] = self._ask(self._instrument.read_host)
        return values

    def close(self) -> None:
        """Let the driver go, unless it hangs."""
        if not self._hung:
            self._ask(self._instrument.close)

    def _ask(self, question: Callable[[], Any]) -> Any:  # noqa: ANN401 - as the question answers
        if self._thread is None:
            # Begun here and not before: a thread inherits the scheduling that the sampler has taken by now.
            self._thread = threading.Thread(target=self._work, daemon=True, name=self.name)
            self._thread.start()
        self._asked.put(question)
        try:
            answer, error = self._answered.get(timeout=self._patience_s)
        except queue.Empty:
            self._hung = True
            raise MeterUnavailable(
                code="DEVICE_HUNG",
                observed=f"{self.name} gave no answer within {self._patience_s:g} s",
                expected="a driver that answers",
                hint="look at the kernel's log for the device; it may need a reset by the operator",
            ) from None
        if error is not None:
            raise error
        return answer

    def _work(self) -> None:
        while True:
            question = self._asked.get()
            try:
                self._answered.put((question(), None))
            except JoulesealError as error:
                self._answered.put((None, error))
