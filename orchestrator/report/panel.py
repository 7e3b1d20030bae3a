"""One panel of a picture: a channel's curves over its stretches, the idle level that the method used, and its ticks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from xml.sax.saxutils import escape

from orchestrator.report.curves import Power, Shape
from orchestrator.report.picture import (
    BOLD_PX,
    CHAR_PX,
    LEFT,
    MARGIN,
    PLOT_WIDTH,
    WIDTH,
    Panel,
    Picture,
    Role,
    shown,
    span,
    write,
    x_of,
)
from orchestrator.report.scale import Axis, Place, dots, path, pixels, thin
from orchestrator.report.words import clean
from protocol.methodology.gated import Tick


def draw(picture: Picture, panel: Panel, axis: Axis, power: Axis, column: float) -> Iterator[str]:
    """Yield a panel's markup; `column` is the width in pixels within which curves are thinned."""
    top, height = power.end, power.start - power.end
    yield from _titles(panel, top)
    for stretch in shown(picture):
        left, width = span(picture, axis, stretch.start_ns, stretch.end_ns)
        if stretch.role in {Role.RUN, Role.HOLD}:
            class_ = "run" if stretch.role is Role.RUN else "hatch"
            hold = ' opacity=".45"' if stretch.role is Role.HOLD else ""
            yield (
                f'<rect class="{class_}" x="{pixels(left)}" y="{pixels(top)}" width="{pixels(width)}"'
                f' height="{pixels(height)}"{hold}/>'
            )
    for value in power.ticks:
        y = power.at(value)
        yield f'<path class="rule" d="M{LEFT} {pixels(y)}h{PLOT_WIDTH}"/>'
        unit = " W" if value == power.ticks[-1] else ""
        yield write(LEFT - 6, y + 4.5, power.label(value) + unit, "s e")
    yield from _idle(panel, power)
    yield (
        f'<svg x="{LEFT}" y="{pixels(top - 2)}" width="{PLOT_WIDTH}" height="{pixels(height + 4)}"'
        f' viewBox="{LEFT} {pixels(top - 2)} {PLOT_WIDTH} {pixels(height + 4)}">'
    )
    for curve in sorted(panel.channel.curves, key=lambda curve: curve.shape is not Shape.DOTS):
        yield from _curve(picture, curve, axis, power, column)
    yield "</svg>"
    yield from _marks(picture, axis, top, height)
    for name, tick in panel.ticks:
        yield from _used(picture, axis, name, tick, top + height)


def _marks(picture: Picture, axis: Axis, top: float, height: float) -> Iterator[str]:
    marks = [at for one in shown(picture) if one.role is Role.RUN for at in (one.start_ns, one.end_ns)]
    for at_ns in marks:
        if picture.start_ns <= at_ns <= picture.end_ns:
            x = pixels(x_of(picture, axis, at_ns))
            yield f'<path class="mark" d="M{x} {pixels(top - 3)}V{pixels(top + height + 3)}"/>'
    for name, at_ns in picture.events:
        x, drop = pixels(x_of(picture, axis, at_ns)), f"{pixels(top)}V{pixels(top + height)}"
        yield f'<g><title>{escape(name)}</title><path class="event" d="M{x} {drop}"/></g>'


def highest(picture: Picture, panel: Panel) -> float:
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


def wide(panel: Panel) -> bool:
    """Return whether a panel's legend needs a line of its own."""
    return sum(bool(curve.pieces) for curve in panel.channel.curves) > 1


def _titles(panel: Panel, top: float) -> Iterator[str]:
    entries = [(curve.name, curve.shape.value) for curve in panel.channel.curves if curve.pieces and wide(panel)]
    if panel.idle_watts is not None:
        entries.append(("idle", "idle"))
    widths = [len(name) * CHAR_PX + 38 for name, _ in entries]
    room = WIDTH - 32 - (0 if wide(panel) else sum(widths))
    name = clean(f"{panel.channel.name}, {panel.channel.kind}", int(room / BOLD_PX))
    yield write(16, top - (29 if wide(panel) else 11), name, "b")
    x = float(LEFT) if wide(panel) else WIDTH - MARGIN - sum(widths) + 10
    for (name, class_), width in zip(entries, widths, strict=True):
        stroke = f"M{pixels(x)} {pixels(top - 15)}h20"
        if class_ == "dots":
            stroke = dots([(x + 3, top - 14), (x + 10, top - 17), (x + 17, top - 13)])
        yield f'<path class="{class_}" d="{stroke}"/>'
        yield write(x + 25, top - 11, name, "s")
        x += width


def _idle(panel: Panel, power: Axis) -> Iterator[str]:
    if panel.idle_watts is None:
        return
    if panel.band_watts is not None:
        upper, lower = panel.idle_watts + panel.band_watts, max(panel.idle_watts - panel.band_watts, Fraction(0))
        y, height = power.at(upper), power.at(lower) - power.at(upper)
        yield f'<rect class="band" x="{LEFT}" y="{pixels(y)}" width="{PLOT_WIDTH}" height="{pixels(height)}"/>'
    yield f'<path class="idle" d="M{LEFT} {pixels(power.at(panel.idle_watts))}h{PLOT_WIDTH}"/>'


def _curve(picture: Picture, curve: Power, axis: Axis, power: Axis, column: float) -> Iterator[str]:
    drawn = []
    for piece in curve.pieces:
        places: list[Place] = [(x_of(picture, axis, at), power.at(value)) for at, value in piece]
        kept = thin(_near(places), column)
        drawn.append(dots(kept) if curve.shape is Shape.DOTS else path(kept))
    if drawn:
        yield f'<path class="{curve.shape.value}" d="{"".join(drawn)}"/>'


def _near(places: Sequence[Place]) -> list[Place]:
    """Return the places within the plot, and the next one on each side, so that lines leave it where they do."""
    inside = [number for number, (x, _) in enumerate(places) if LEFT <= x <= LEFT + PLOT_WIDTH]
    if not inside:
        crossing = [n for n in range(1, len(places)) if places[n - 1][0] < LEFT and places[n][0] > LEFT + PLOT_WIDTH]
        return [place for n in crossing for place in places[n - 1 : n + 1]]
    return list(places[max(inside[0] - 1, 0) : inside[-1] + 2])


def _used(picture: Picture, axis: Axis, name: str, tick: Tick, bottom: float) -> Iterator[str]:
    if not picture.start_ns <= tick.at <= picture.end_ns:
        return
    x = x_of(picture, axis, tick.at)
    yield (
        f'<g><title>{escape(name)}</title><path class="tick" d="M{pixels(x)} {pixels(bottom - 1)}l-5.5 11h11z"/></g>'
    )
