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

from collections.abc import Iterator
from fractions import Fraction
from typing import Final
from xml.sax.saxutils import escape

from orchestrator.report import edges, panel
from orchestrator.report.ink import STYLE
from orchestrator.report.picture import (
    CHAR_PX,
    LEFT,
    MARGIN,
    PLOT_WIDTH,
    WIDTH,
    Picture,
    Role,
    Stretch,
    shown,
    span,
    write,
)
from orchestrator.report.scale import Axis, pixels, power_axis, round_step
from protocol.units import NS_PER_S

MAX_BYTES: Final = 100_000
_MAIN_HEIGHT, _MINOR_HEIGHT = 176, 62
_LINE = 18
_CHARS = 76  # of 13 px text between the margins
_COLUMNS = 1_500  # pixel columns over all curves: four places of eleven bytes each are two thirds of MAX_BYTES
_LABEL_ROOM = 7


def render(picture: Picture) -> str:
    """Return the picture as an SVG document of at most MAX_BYTES for any record of at most `curves.MAX_DEVICES`."""
    ribbon = 52 + 19 * len(picture.figures)
    axis = _time_axis(picture)
    body, foot = _panels(picture, axis, ribbon + 30)
    last = foot + 58
    if picture.edges:
        body += edges.draw(picture.edges, last - 6)
        last += edges.HEIGHT + 4
    notes = [line for note in picture.notes for line in wrapped(note, _CHARS)]
    body += [write(MARGIN, last + _LINE * number, line, "s") for number, line in enumerate(notes)]
    height = pixels(last + _LINE * len(notes) - (0 if notes else 6))
    words = " ".join((f"{picture.kind}.", *picture.figures, *picture.notes))
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc">'
        ),
        f'<title id="title">{escape(picture.title)}</title>',
        f'<desc id="desc">{escape(words)}</desc>',
        f"<style>{STYLE}</style>",
        _definitions(),
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        *_head(picture),
        *_ribbon(picture, axis, ribbon),
        *body,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panels(picture: Picture, axis: Axis, top: float) -> tuple[list[str], float]:
    """Return the panels' markup with the axis of time under the last one, and where that is."""
    body: list[str] = []
    curves = sum(len(one.channel.curves) for one in picture.panels)
    column = max(PLOT_WIDTH * curves / _COLUMNS, 1.0)
    for number, one in enumerate(picture.panels):
        height = _MAIN_HEIGHT if number == 0 else _MINOR_HEIGHT
        top += 26 + (18 if panel.wide(one) else 0)
        power = power_axis(panel.highest(picture, one), top + height, top, 4 if number == 0 else 2)
        body += panel.draw(picture, one, axis, power, column)
        top += height + 14
    body += _time_labels(picture, axis, top - 14)
    return body, top - 14


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
    yield write(16, 32, picture.title, "t bad" if picture.void else "t")
    dash = "" if picture.kind == "measured" else ' stroke-dasharray="5 3"'
    x = WIDTH - 16 - width
    yield f'<rect class="kind" x="{pixels(x)}" y="14" width="{pixels(width)}" height="25" rx="4"{dash}/>'
    yield write(x + width / 2, 31.5, kind, "b m")
    for number, line in enumerate(picture.figures):
        yield write(16, 56 + 19 * number, line, "f" if number == 0 else "s")


def _time_axis(picture: Picture) -> Axis:
    low = Fraction(picture.start_ns - picture.zero_ns, NS_PER_S)
    high = Fraction(picture.end_ns - picture.zero_ns, NS_PER_S)
    return Axis(low=low, high=high, start=LEFT, end=LEFT + PLOT_WIDTH, step=round_step(high - low, _LABEL_ROOM))


def _ribbon(picture: Picture, axis: Axis, top: float) -> Iterator[str]:
    for stretch in shown(picture):
        left, width = span(picture, axis, stretch.start_ns, stretch.end_ns)
        class_ = {Role.RUN: "run", Role.HOLD: "hatch"}.get(stretch.role, "paper")
        yield (
            f'<g><title>{escape(stretch.label)}</title><rect class="{class_}" x="{pixels(left)}" y="{pixels(top)}"'
            f' width="{pixels(width)}" height="20"/><rect class="frame" x="{pixels(left)}" y="{pixels(top)}"'
            f' width="{pixels(width)}" height="20"/></g>'
        )
        label = next((text for text in _labels(stretch) if len(text) * CHAR_PX + 6 <= width), "")
        if label and stretch.role is Role.HOLD:
            half = len(label) * CHAR_PX / 2 + 2
            x = pixels(left + width / 2 - half)
            yield f'<rect class="paper" x="{x}" y="{pixels(top + 2)}" width="{pixels(2 * half)}" height="16"/>'
        if label:
            yield write(left + width / 2, top + 14.5, label, "b m" if stretch.role is Role.RUN else "s m")


def _labels(stretch: Stretch) -> tuple[str, ...]:
    """Return a stretch's label, and a run's number, which stands for it where there is little room."""
    return (stretch.label, stretch.label.rpartition(" ")[2]) if stretch.role is Role.RUN else (stretch.label,)


def _time_labels(picture: Picture, axis: Axis, bottom: float) -> Iterator[str]:
    yield f'<path class="frame" d="M{LEFT} {pixels(bottom)}h{PLOT_WIDTH}"/>'
    for value in axis.ticks:
        x = axis.at(value)
        yield f'<path class="frame" d="M{pixels(x)} {pixels(bottom)}v5"/>'
        yield write(x, bottom + 21, axis.label(value).replace("-", "−"), "s m")  # noqa: RUF001 - the minus sign
    yield write(LEFT + PLOT_WIDTH / 2, bottom + 39, f"seconds from {picture.zero}", "s m")
