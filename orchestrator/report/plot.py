"""A picture of power over time, as SVG: channels under one another on one axis of time, with what the method used.

Rules:
1. What kind of figure it is (measured, estimated, simulated) stands in the picture, in a frame that is dashed unless an
   instrument read it: the difference is seen in grey.
2. Curves differ by stroke as well as by colour; stretches by pattern as well as by shade.
3. Thinning keeps the first, lowest, highest and last place of a pixel column. No peak is averaged away.
4. Everything that the picture shows is in its `<desc>` and notes as text. There is no script and no outside resource.
5. The same picture gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final
from xml.sax.saxutils import escape

from orchestrator.report.curves import Channel, Power, Shape
from orchestrator.report.scale import Axis, Place, dots, path, pixels, power_axis, round_step, thin
from orchestrator.report.words import clean
from protocol.methodology.gated import Tick
from protocol.units import NS_PER_S

WIDTH: Final = 560
MAX_BYTES: Final = 100_000
_LEFT, _RIGHT = 58, 16
_PLOT_WIDTH = WIDTH - _LEFT - _RIGHT
_MAIN_HEIGHT, _MINOR_HEIGHT = 176, 62
_CHARS = 76  # of 13 px text between the margins
_CHAR_PX, _BOLD_PX = 7.7, 8.8  # the mean width of a 13 px character of a wide font, for placing words side by side
_COLUMNS = 1_500  # pixel columns over all curves: four places of eleven bytes each are two thirds of MAX_BYTES
_MAX_STRETCHES = 240  # of a ribbon: more are thinner than two pixels
_LABEL_ROOM = 7

_STYLE = """
svg{--paper:#fff;--ink:#1a1a1a;--soft:#595959;--rule:#d4d4d4;--run:#e4edf6;--main:#0b4f8a;--mean:#b8540a;--dot:#7d7d7d;
--idle:#2f6b3a;--mark:#1a1a1a;--bad:#a3142e}
@media (prefers-color-scheme:dark){svg{--paper:#16191d;--ink:#ececec;--soft:#b4b8bd;--rule:#3a4047;--run:#22303f;
--main:#7fb9ee;--mean:#f0a35e;--dot:#9a9fa6;--idle:#8fce9a;--mark:#ececec;--bad:#ff9aa8}}
@media print{svg{--paper:#fff;--ink:#000;--soft:#333;--rule:#ccc;--run:#e8e8e8;--main:#0b4f8a;--mean:#b8540a;
--dot:#777;--idle:#2f6b3a;--mark:#000;--bad:#a3142e}}
text{fill:var(--ink);font:13px system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
.t{font-size:18px;font-weight:700}.f{font-size:14px}.b{font-weight:700}.s{fill:var(--soft)}.e{text-anchor:end}
.m{text-anchor:middle}.bad{fill:var(--bad)}.paper{fill:var(--paper)}.run{fill:var(--run)}
.rule{stroke:var(--rule);stroke-width:1;fill:none}.frame{stroke:var(--soft);stroke-width:1;fill:none}
.kind{stroke:var(--ink);stroke-width:1.5;fill:none}
.mark{stroke:var(--mark);stroke-width:1.2;fill:none}.tick{fill:var(--mark);stroke:var(--paper);stroke-width:.8}
.steps{stroke:var(--main);stroke-width:1.7;fill:none;stroke-linejoin:round;stroke-linecap:round}
.line{stroke:var(--mean);stroke-width:1.3;fill:none;stroke-linejoin:round;stroke-dasharray:5 2}
.dots{stroke:var(--dot);stroke-width:1.8;fill:none;stroke-linecap:round;opacity:.7}
.idle{stroke:var(--idle);stroke-width:1.4;stroke-dasharray:1.5 3;fill:none}.band{fill:var(--idle);opacity:.16}
.hatch{fill:url(#hatch);stroke:var(--soft);stroke-width:.6}
.event{stroke:var(--bad);stroke-width:2;stroke-dasharray:6 3;fill:none}
.light{fill:none;stroke:var(--soft);stroke-width:1}
""".strip()


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
class Picture:
    """All that a picture says. Times are the record's; `zero_ns` is where its axis counts from, named by `zero`.

    `figures` are lines under the title, `notes` sentences under the picture, `events` what went wrong when.
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
    events: tuple[tuple[str, int], ...] = ()
    void: bool = False


def render(picture: Picture) -> str:
    """Return the picture as an SVG document of at most MAX_BYTES for any record of at most `curves.MAX_DEVICES`."""
    head = 52 + 19 * len(picture.figures)
    ribbon = head
    top = ribbon + 30
    body: list[str] = []
    axis = _time_axis(picture)
    columns = sum(len(panel.channel.curves) for panel in picture.panels)
    column = max(_PLOT_WIDTH * columns / _COLUMNS, 1.0)
    for number, panel in enumerate(picture.panels):
        height = _MAIN_HEIGHT if number == 0 else _MINOR_HEIGHT
        top += 26 + (18 if _wide(panel) else 0)
        power = power_axis(_highest(picture, panel), top + height, top, 4 if number == 0 else 2)
        body += _panel(picture, panel, axis, power, column)
        top += height + 14
    foot = top - 14
    body += _time_labels(picture, axis, foot)
    notes = [line for note in picture.notes for line in wrapped(note, _CHARS)]
    last = foot + 58
    body += [_text(16, last + 18 * number, line, "s") for number, line in enumerate(notes)]
    height = last + 18 * len(notes) - (0 if notes else 6)
    title, words = escape(picture.title), escape(" ".join((f"{picture.kind}.", *picture.figures, *picture.notes)))
    return (
        "\n".join(
            [
                (
                    f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
                    f' viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc">'
                ),
                f'<title id="title">{title}</title>',
                f'<desc id="desc">{words}</desc>',
                f"<style>{_STYLE}</style>",
                _definitions(),
                f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
                *_head(picture),
                *_ribbon(picture, axis, ribbon),
                *body,
                "</svg>",
            ]
        )
        + "\n"
    )


def wrapped(text: str, limit: int) -> list[str]:
    """Return a sentence in lines of at most `limit` characters; a longer word is cut."""
    lines = [""]
    for word in text.split():
        rest = word
        while rest:
            gap = 1 if lines[-1] else 0
            if len(lines[-1]) + gap + len(rest) <= limit:
                lines[-1] += " " * gap + rest
                rest = ""
            elif lines[-1]:
                lines.append("")
            else:
                lines[-1], rest = rest[:limit], rest[limit:]
                lines.append("")
    return [line for line in lines if line]


def _definitions() -> str:
    return (
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path class="light" d="M0 0V7"/></pattern></defs>'
    )


def _head(picture: Picture) -> Iterator[str]:
    kind = picture.kind.upper()
    width = 10 * len(kind) + 16
    yield _text(16, 32, picture.title, "t bad" if picture.void else "t")
    dash = "" if picture.kind == "measured" else ' stroke-dasharray="5 3"'
    x = WIDTH - 16 - width
    yield f'<rect class="kind" x="{pixels(x)}" y="14" width="{pixels(width)}" height="25" rx="4"{dash}/>'
    yield _text(x + width / 2, 31.5, kind, "b m")
    for number, line in enumerate(picture.figures):
        yield _text(16, 56 + 19 * number, line, "f" if number == 0 else "s")


def _time_axis(picture: Picture) -> Axis:
    low = Fraction(picture.start_ns - picture.zero_ns, NS_PER_S)
    high = Fraction(picture.end_ns - picture.zero_ns, NS_PER_S)
    return Axis(low=low, high=high, start=_LEFT, end=_LEFT + _PLOT_WIDTH, step=round_step(high - low, _LABEL_ROOM))


def _x(picture: Picture, axis: Axis, at_ns: Fraction | int) -> float:
    return axis.at(Fraction(at_ns - picture.zero_ns) / NS_PER_S)


def _span(picture: Picture, axis: Axis, start_ns: int, end_ns: int) -> tuple[float, float]:
    """Return left and width of a stretch, within the axis."""
    left = max(_x(picture, axis, start_ns), axis.start)
    return left, max(min(_x(picture, axis, end_ns), axis.end) - left, 0.0)


def _shown(picture: Picture) -> list[Stretch]:
    inside = [
        stretch
        for stretch in picture.stretches
        if stretch.start_ns < picture.end_ns and stretch.end_ns > picture.start_ns
    ]
    return inside[:_MAX_STRETCHES]


def _ribbon(picture: Picture, axis: Axis, top: float) -> Iterator[str]:
    for stretch in _shown(picture):
        left, width = _span(picture, axis, stretch.start_ns, stretch.end_ns)
        class_ = {Role.RUN: "run", Role.HOLD: "hatch"}.get(stretch.role, "paper")
        yield (
            f'<g><title>{escape(stretch.label)}</title><rect class="{class_}" x="{pixels(left)}" y="{pixels(top)}"'
            f' width="{pixels(width)}" height="20"/><rect class="frame" x="{pixels(left)}" y="{pixels(top)}"'
            f' width="{pixels(width)}" height="20"/></g>'
        )
        label = next((text for text in _labels(stretch) if len(text) * _CHAR_PX + 6 <= width), "")
        if label and stretch.role is Role.HOLD:
            half = len(label) * _CHAR_PX / 2 + 2
            x = pixels(left + width / 2 - half)
            yield f'<rect class="paper" x="{x}" y="{pixels(top + 2)}" width="{pixels(2 * half)}" height="16"/>'
        if label:
            yield _text(left + width / 2, top + 14.5, label, "b m" if stretch.role is Role.RUN else "s m")


def _labels(stretch: Stretch) -> tuple[str, ...]:
    """Return a stretch's label, and a run's number, which stands for it where there is little room."""
    return (stretch.label, stretch.label.rpartition(" ")[2]) if stretch.role is Role.RUN else (stretch.label,)


def _panel(picture: Picture, panel: Panel, axis: Axis, power: Axis, column: float) -> Iterator[str]:
    top, height = power.end, power.start - power.end
    yield from _titles(panel, top)
    for stretch in _shown(picture):
        left, width = _span(picture, axis, stretch.start_ns, stretch.end_ns)
        if stretch.role in {Role.RUN, Role.HOLD}:
            class_ = "run" if stretch.role is Role.RUN else "hatch"
            hold = ' opacity=".45"' if stretch.role is Role.HOLD else ""
            yield (
                f'<rect class="{class_}" x="{pixels(left)}" y="{pixels(top)}" width="{pixels(width)}"'
                f' height="{pixels(height)}"{hold}/>'
            )
    for value in power.ticks:
        y = power.at(value)
        yield f'<path class="rule" d="M{_LEFT} {pixels(y)}h{_PLOT_WIDTH}"/>'
        unit = " W" if value == power.ticks[-1] else ""
        yield _text(_LEFT - 6, y + 4.5, power.label(value) + unit, "s e")
    yield from _idle(panel, power)
    yield (
        f'<svg x="{_LEFT}" y="{pixels(top - 2)}" width="{_PLOT_WIDTH}" height="{pixels(height + 4)}"'
        f' viewBox="{_LEFT} {pixels(top - 2)} {_PLOT_WIDTH} {pixels(height + 4)}">'
    )
    for curve in sorted(panel.channel.curves, key=lambda curve: curve.shape is not Shape.DOTS):
        yield from _curve(picture, curve, axis, power, column)
    yield "</svg>"
    yield from _marks(picture, axis, top, height)
    for name, tick in panel.ticks:
        yield from _used(picture, axis, name, tick, top + height)


def _marks(picture: Picture, axis: Axis, top: float, height: float) -> Iterator[str]:
    marks = [at for one in _shown(picture) if one.role is Role.RUN for at in (one.start_ns, one.end_ns)]
    for at_ns in marks:
        if picture.start_ns <= at_ns <= picture.end_ns:
            x = pixels(_x(picture, axis, at_ns))
            yield f'<path class="mark" d="M{x} {pixels(top - 3)}V{pixels(top + height + 3)}"/>'
    for name, at_ns in picture.events:
        x, drop = pixels(_x(picture, axis, at_ns)), f"{pixels(top)}V{pixels(top + height)}"
        yield f'<g><title>{escape(name)}</title><path class="event" d="M{x} {drop}"/></g>'


def _highest(picture: Picture, panel: Panel) -> float:
    """Return the highest power within the picture, and at least what its idle band needs."""
    seen = [
        power
        for curve in panel.channel.curves
        for piece in curve.pieces
        for at, power in piece
        if picture.start_ns <= at <= picture.end_ns
    ]
    idle = float((panel.idle_watts or 0) + (panel.band_watts or 0))
    return max([*seen, idle, 0.0])


def _wide(panel: Panel) -> bool:
    """Return whether a panel's legend needs a line of its own."""
    return sum(bool(curve.pieces) for curve in panel.channel.curves) > 1


def _titles(panel: Panel, top: float) -> Iterator[str]:
    entries = [(curve.name, curve.shape.value) for curve in panel.channel.curves if curve.pieces and _wide(panel)]
    if panel.idle_watts is not None:
        entries.append(("idle", "idle"))
    widths = [len(name) * _CHAR_PX + 38 for name, _ in entries]
    room = WIDTH - 32 - (0 if _wide(panel) else sum(widths))
    name = clean(f"{panel.channel.name}, {panel.channel.kind}", int(room / _BOLD_PX))
    yield _text(16, top - (29 if _wide(panel) else 11), name, "b")
    x = float(_LEFT) if _wide(panel) else WIDTH - _RIGHT - sum(widths) + 10
    for (name, class_), width in zip(entries, widths, strict=True):
        stroke = f"M{pixels(x)} {pixels(top - 15)}h20"
        if class_ == "dots":
            stroke = dots([(x + 3, top - 14), (x + 10, top - 17), (x + 17, top - 13)])
        yield f'<path class="{class_}" d="{stroke}"/>'
        yield _text(x + 25, top - 11, name, "s")
        x += width


def _idle(panel: Panel, power: Axis) -> Iterator[str]:
    if panel.idle_watts is None:
        return
    if panel.band_watts is not None:
        upper, lower = panel.idle_watts + panel.band_watts, max(panel.idle_watts - panel.band_watts, Fraction(0))
        y, height = power.at(upper), power.at(lower) - power.at(upper)
        yield f'<rect class="band" x="{_LEFT}" y="{pixels(y)}" width="{_PLOT_WIDTH}" height="{pixels(height)}"/>'
    yield f'<path class="idle" d="M{_LEFT} {pixels(power.at(panel.idle_watts))}h{_PLOT_WIDTH}"/>'


def _curve(picture: Picture, curve: Power, axis: Axis, power: Axis, column: float) -> Iterator[str]:
    drawn = []
    for piece in curve.pieces:
        places: list[Place] = [(_x(picture, axis, at), power.at(value)) for at, value in piece]
        kept = thin(_near(places), column)
        drawn.append(dots(kept) if curve.shape is Shape.DOTS else path(kept))
    if drawn:
        yield f'<path class="{curve.shape.value}" d="{"".join(drawn)}"/>'


def _near(places: Sequence[Place]) -> list[Place]:
    """Return the places within the plot, and the next one on each side, so that lines leave it where they do."""
    inside = [number for number, (x, _) in enumerate(places) if _LEFT <= x <= _LEFT + _PLOT_WIDTH]
    if not inside:
        crossing = [n for n in range(1, len(places)) if places[n - 1][0] < _LEFT and places[n][0] > _LEFT + _PLOT_WIDTH]
        return [place for n in crossing for place in places[n - 1 : n + 1]]
    return list(places[max(inside[0] - 1, 0) : inside[-1] + 2])


def _used(picture: Picture, axis: Axis, name: str, tick: Tick, bottom: float) -> Iterator[str]:
    if not picture.start_ns <= tick.at <= picture.end_ns:
        return
    x = _x(picture, axis, tick.at)
    yield (
        f'<g><title>{escape(name)}</title><path class="tick" d="M{pixels(x)} {pixels(bottom - 1)}l-5.5 11h11z"/></g>'
    )


def _time_labels(picture: Picture, axis: Axis, bottom: float) -> Iterator[str]:
    yield f'<path class="frame" d="M{_LEFT} {pixels(bottom)}h{_PLOT_WIDTH}"/>'
    for value in axis.ticks:
        x = axis.at(value)
        yield f'<path class="frame" d="M{pixels(x)} {pixels(bottom)}v5"/>'
        yield _text(x, bottom + 21, axis.label(value).replace("-", "−"), "s m")  # noqa: RUF001 - the minus sign
    yield _text(_LEFT + _PLOT_WIDTH / 2, bottom + 39, f"seconds from {picture.zero}", "s m")


def _text(x: float, y: float, text: str, class_: str) -> str:
    return f'<text x="{pixels(x)}" y="{pixels(y)}" class="{class_}">{escape(text)}</text>'
