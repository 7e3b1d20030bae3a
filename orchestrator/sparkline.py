"""Recent power as a row of bars: what a terminal can show of a curve.

Rules:
1. A bar's height is power from zero up to the highest reading, so that a steady device is a flat row and idle
   noise is not a mountain. A missing reading is a space.
2. The lowest and the highest reading of the last half minute stand beside the bars in watts, with what kind of figure
   they are; the bars' scale is of the same readings, also where only the newest of them fit.
3. Readings inside a run's window are bold and coloured, the others dim: they differ without colour, too.
4. Where the terminal's encoding has no block characters, the bars are ASCII. Where the line is narrow, older readings
   go first, and then the words move to a line of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

LENGTH: Final = 60  # readings: half a minute at two redraws a second, and a row that fits beside its words
_BLOCKS: Final = "▁▂▃▄▅▆▇█"  # U+2581 to U+2588
_ASCII: Final = "_.:-=+*#"  # by the ink that each has
_LEAST: Final = 8  # bars beside the words; fewer are no curve
_RUN_STYLE: Final = "bold cyan"
_REST_STYLE: Final = "dim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One reading: watts, None where there was none, and whether a run's window was open."""

    watts: float | None
    in_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparkline:
    """A rich renderable of the newest of `bars` that fit; `kind` is what kind of figure the readings are."""

    bars: Sequence[Bar]
    kind: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield one line, or two where the words do not fit beside at least a few bars."""
        words = self._words(ascii_only=options.ascii_only)
        beside = options.max_width - len(words) - 1
        if beside < _LEAST:
            yield self._row(options.max_width, ascii_only=options.ascii_only)
            yield Text(words, no_wrap=True, overflow="crop")
            return
        yield self._row(beside, ascii_only=options.ascii_only).append(f" {words}")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return that any width will do, up to all bars with their words."""
        wanted = min(len(self.bars), LENGTH) + 1 + len(self._words(ascii_only=options.ascii_only))
        return Measurement(min(_LEAST, options.max_width), min(wanted, options.max_width))

    def _known(self) -> list[float]:
        return [bar.watts for bar in self.bars[-LENGTH:] if bar.watts is not None]

    def _words(self, *, ascii_only: bool) -> str:
        known = self._known()
        if not known:
            return "-"
        dash = "to" if ascii_only else "–"  # noqa: RUF001 - an en dash is how a range is written
        return f"{_watts(min(known))} {dash} {_watts(max(known))} W {self.kind}"

    def _row(self, width: int, *, ascii_only: bool) -> Text:
        ramp = _ASCII if ascii_only else _BLOCKS
        top = max(self._known(), default=0.0)
        row = Text(no_wrap=True, overflow="crop")
        for bar in self.bars[-min(width, LENGTH) :]:
            row.append(glyph(bar.watts, top, ramp), style=_RUN_STYLE if bar.in_run else _REST_STYLE)
        return row


def glyph(watts: float | None, top: float, ramp: str) -> str:
    """Return the character of a reading on a scale from zero to `top`: the ramp's first for zero, its last for top."""
    if watts is None:
        return " "
    if top <= 0:
        return ramp[0]
    return ramp[min(int(max(watts, 0.0) / top * len(ramp)), len(ramp) - 1)]


def _watts(value: float) -> str:
    """Write watts with what a person reads at a glance: two places below 10 W, one below 1,000 W."""
    places = 2 if value < 10 else 1 if value < 1_000 else 0  # noqa: PLR2004 - see the sentence above
    return f"{value:,.{places}f}"
