"""What a person sees while a campaign runs: a live table on a terminal, plain lines elsewhere.

The view only reads: the pipeline writes plain attributes of `Status`, and a thread redraws twice a second, so that the
inner loop of a run never waits for a screen.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator import sparkline
from orchestrator.sparkline import Bar, Sparkline

REDRAW_PERIOD_S = 0.5  # twice a second: legible, and a redraw costs a few milliseconds
_BAR_WIDTH = 40  # characters of the progress bar where there is room
_LABEL_WIDTH = 13  # of the table's first column, its gap included


@dataclass(slots=True)
class Status:
    """Where the campaign stands; written by the pipeline, read by the view.

    `total` is the number of queries of a pass of the run under way, which is repeated for at least `least_s` seconds;
    how many queries are done is in the view's `progress`.
    """

    campaign: str = ""
    cell: str = ""
    session: int = 0
    sessions: int = 0
    stage: str = "starting"
    run: int = 0
    runs: int = 0
    total: int = 0
    run_started: float = 0.0
    least_s: float = 0.0
    started: float = 0.0
    last_run_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerNow:
    """One reading for the screen: watts (None where nothing is read), its kind, and the words that carry both.

    `in_run` says whether the window of a run was open.
    """

    watts: float | None = None
    kind: str = ""
    words: str = "-"
    in_run: bool = False


class Counter(Protocol):
    """How many queries are done; the load generator counts, the view reads."""

    done: int


class View:
    """What the pipeline tells a person; the two kinds differ in how they show it."""

    def __init__(self, progress: Counter) -> None:
        self.status = Status(started=time.monotonic())
        self.progress = progress

    def session_begins(self, number: int, of: int, cell: str) -> None:
        """Say which session of how many begins, over which cell."""
        self.status.session, self.status.sessions, self.status.cell = number, of, cell
        self.status.run = self.status.total = 0
        self.status.run_started = 0.0

    def run_begins(self, run: int, runs: int, queries: int) -> None:
        """Say which run begins."""
        self.status.run, self.status.runs, self.status.total = run, runs, queries
        self.status.run_started, self.progress.done = 0.0, 0
        self.stage(f"run {run} of {runs}: {queries} queries, then an idle baseline")

    def window_opens(self, least_s: float = 0.0) -> None:
        """Say that the metered window is open; nothing is printed, so that nothing is disturbed."""
        self.status.run_started, self.status.least_s = time.monotonic(), least_s

    def run_ended(self, seconds: float) -> None:
        """Say how long a run took with its idle baseline."""
        self.status.last_run_s = seconds

    def stage(self, text: str) -> None:
        """Say what begins now."""
        self.status.stage = text

    def note(self, text: str) -> None:
        """Say something worth keeping on the screen."""


class PlainView(View):
    """One line per stage, for logs and pipes."""

    def __init__(self, stream: TextIO, progress: Counter) -> None:
        super().__init__(progress)
        self._stream = stream

    def stage(self, text: str) -> None:
        """Print the stage with its cell."""
        super().stage(text)
        where = f"[{self.status.session}/{self.status.sessions}] {self.status.cell}: " if self.status.cell else ""
        print(where + text, file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """Print the line."""
        print(text, file=self._stream, flush=True)


class LiveView(View):
    """A live table; `watts` is asked once a redraw, and the readings of the last redraws are a row of bars."""

    def __init__(self, console: Console, watts: Callable[[], PowerNow], progress: Counter) -> None:
        super().__init__(progress)
        self._console = console
        self._watts = watts
        self._stop = threading.Event()
        self._bars: deque[Bar] = deque(maxlen=sparkline.LENGTH)

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, highlight=False)

    @contextmanager
    def running(self) -> Iterator[LiveView]:
        """Redraw until the block ends."""
        with Live(self._table(), console=self._console, auto_refresh=False, transient=True) as live:
            thread = threading.Thread(target=self._redraw, args=(live,), name="jouleseal-view", daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self._stop.set()
                thread.join()

    def _redraw(self, live: Live) -> None:
        while not self._stop.wait(REDRAW_PERIOD_S):
            live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        status, done, now = self.status, self.progress.done, self._watts()
        self._bars.append(Bar(watts=now.watts, in_run=now.in_run))
        elapsed = max(time.monotonic() - status.run_started, 1e-9) if status.run_started else 0.0
        table = Table.grid(padding=(0, 2))
        table.add_row("campaign", Text(status.campaign))
        table.add_row("session", Text(f"{status.session} of {status.sessions}   {status.cell}"))
        table.add_row("stage", Text(status.stage))
        table.add_row("run", Text(f"{status.run} of {status.runs}   {_queries(status, done)}"))
        room = max(self._console.width - _LABEL_WIDTH, 1)
        whole, part = (status.least_s, elapsed) if status.least_s else (max(status.total, 1), done)
        table.add_row("", ProgressBar(total=whole, completed=min(part, whole), width=min(_BAR_WIDTH, room)))
        rate = f"{done / elapsed:,.0f} queries/s" if elapsed and done else "-"
        table.add_row("rate", Text(rate))
        table.add_row("power now", Text(now.words + ("   window open" if now.in_run else "")))
        table.add_row("", Sparkline(bars=tuple(self._bars), kind=now.kind))
        table.add_row("time left", Text(_time_left(status)))
        return table


@contextmanager
def view_for(watts: Callable[[], PowerNow], progress: Counter, *, quiet: bool) -> Iterator[View]:
    """Return the live table where standard error is a terminal, plain lines elsewhere; `quiet` keeps to plain lines."""
    if sys.stderr.isatty() and not quiet:
        with LiveView(Console(stderr=True), watts, progress).running() as view:
            yield view
    else:
        yield PlainView(sys.stderr, progress)


def _queries(status: Status, done: int) -> str:
    if not status.least_s:
        return f"{done:,} of {status.total:,} queries"
    return f"{done:,} queries, pass {done // max(status.total, 1) + 1}, for {status.least_s:g} s at least"


def _time_left(status: Status) -> str:
    """Return the time left from the length of finished sessions and runs, or a dash before the first run has ended."""
    if not status.last_run_s:
        return "-"
    runs_left = status.runs - status.run + 1 + (status.sessions - status.session) * status.runs
    left = int(runs_left * status.last_run_s)
    return f"about {left // 60} min {left % 60:02d} s"
