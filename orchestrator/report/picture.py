"""What a picture is made of, and where on it an instant lies: the nouns of `plot`, and its geometry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final
from xml.sax.saxutils import escape

from orchestrator.report.curves import Channel, Piece
from orchestrator.report.scale import Axis, pixels
from protocol.methodology.gated import Tick
from protocol.units import NS_PER_S

WIDTH: Final = 560
MARGIN: Final = 16
LEFT: Final = 58
PLOT_WIDTH: Final = WIDTH - LEFT - MARGIN
CHAR_PX: Final = 7.7  # the mean width of a 13 px character of a wide font, for placing words side by side, and
BOLD_PX: Final = 8.8  # of a bold one
_MAX_STRETCHES = 240  # of a ribbon: more are thinner than two pixels


class Role(Enum):
    """What a stretch of the record is."""

    IDLE = "idle"
    RUN = "run"
    HOLD = "hold"
    SET_UP = "set-up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A named part of the time axis."""

    role: Role
    label: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One channel with what the method made of it: idle watts, the half width of its settling band, and used ticks.

    `ticks` are those that the bracket stands on, with their names.
    """

    channel: Channel
    idle_watts: Fraction | None = None
    band_watts: Fraction | None = None
    ticks: tuple[tuple[str, Tick], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A window's opening or close at `mark_ns`: a device's counter as it was read, in joules, and the tick used."""

    name: str
    start_ns: int
    end_ns: int
    mark_ns: int
    counter: Piece
    tick: Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that a picture says. Times are the record's; `zero_ns` is where its axis counts from, named by `zero`.

    `figures` are lines under the title, `notes` sentences under the picture, `edges` the window's two
    ends looked at closely, and `events` what went wrong when.
    """

    title: str
    kind: str
    figures: tuple[str, ...]
    start_ns: int
    end_ns: int
    zero_ns: int
    zero: str
    stretches: tuple[Stretch, ...]
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
    edges: tuple[Edge, ...] = ()
    events: tuple[tuple[str, int], ...] = ()
    void: bool = False


def x_of(picture: Picture, axis: Axis, at_ns: Fraction | int) -> float:
    """Return the pixel of an instant."""
    return axis.at(Fraction(at_ns - picture.zero_ns) / NS_PER_S)


def span(picture: Picture, axis: Axis, start_ns: int, end_ns: int) -> tuple[float, float]:
    """Return left and width of a stretch, within the axis."""
    left = max(x_of(picture, axis, start_ns), axis.start)
    return left, max(min(x_of(picture, axis, end_ns), axis.end) - left, 0.0)


def shown(picture: Picture) -> list[Stretch]:
    """Return the stretches that the picture reaches."""
    inside = [
        stretch
        for stretch in picture.stretches
        if stretch.start_ns < picture.end_ns and stretch.end_ns > picture.start_ns
    ]
    return inside[:_MAX_STRETCHES]


def write(x: float, y: float, text: str, class_: str) -> str:
    """Return a text at a place."""
    return f'<text x="{pixels(x)}" y="{pixels(y)}" class="{class_}">{escape(text)}</text>'
