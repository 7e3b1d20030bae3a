"""A window's two ends looked at closely: the counter as it was read, and the place of the tick that the bracket took.

A counter moves once in a tenth of a second and a run takes half a minute, so that what makes the bracket right does not
show on the run's own axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from orchestrator.report.picture import LEFT, MARGIN, WIDTH, Edge, write
from orchestrator.report.scale import Axis, path, pixels, power_axis, round_step, thin
from protocol.units import NS_PER_S

HEIGHT = 132  # of the row: a line of words, the plots, their labels
_PLOT = 74
_GAP = 62  # between the two plots: room for the second one's labels


def draw(edges: tuple[Edge, ...], top: float) -> Iterator[str]:
    """Yield the row of both ends."""
    width = (WIDTH - LEFT - MARGIN - _GAP * (len(edges) - 1)) / len(edges)
    for number, edge in enumerate(edges):
        left = LEFT + number * (width + _GAP)
        yield from _one(edge, left, width, top + 26)


def _one(edge: Edge, left: float, width: float, top: float) -> Iterator[str]:
    low, high = (Fraction(at - edge.mark_ns, NS_PER_S) for at in (edge.start_ns, edge.end_ns))
    time = Axis(low=low, high=high, start=left, end=left + width, step=round_step(high - low, 4))
    level = power_axis(max((joules for _, joules in edge.counter), default=0.0), top + _PLOT, top, 2)
    yield write(left - 42, top - 12, edge.name, "b")

    def x(at_ns: Fraction | int) -> float:
        return time.at(Fraction(at_ns - edge.mark_ns) / NS_PER_S)

    for value in level.ticks:
        y = level.at(value)
        yield f'<path class="rule" d="M{pixels(left)} {pixels(y)}h{pixels(width)}"/>'
        yield write(left - 6, y + 4.5, level.label(value) + (" J" if value == level.ticks[-1] else ""), "s e")
    shade = (x(edge.mark_ns), left + width) if _opens(edge) else (left, x(edge.mark_ns))
    yield (
        f'<rect class="run" x="{pixels(shade[0])}" y="{pixels(top)}" width="{pixels(shade[1] - shade[0])}"'
        f' height="{_PLOT}" opacity=".8"/>'
    )
    places = [(x(at), level.at(joules)) for at, joules in edge.counter]
    yield f'<path class="steps" d="{path(thin(places, 0.5))}"/>'
    mark = pixels(x(edge.mark_ns))
    yield f'<path class="mark" d="M{mark} {pixels(top - 3)}V{pixels(top + _PLOT + 3)}"/>'
    yield from _tick(edge, x(edge.tick.after_ns), x(edge.tick.at), x(edge.tick.by_ns), top + _PLOT)
    for value in time.ticks:
        label = time.label(value).replace("-", "−")  # noqa: RUF001 - the minus sign
        yield write(time.at(value), top + _PLOT + 24, label, "s m")


def _opens(edge: Edge) -> bool:
    return edge.tick.at < edge.mark_ns


def _tick(edge: Edge, first: float, middle: float, last: float, bottom: float) -> Iterator[str]:
    """Yield where the tick must be, as a bar from its earliest to its latest, with the place that it is taken at."""
    words = f"the bracket's tick, within {pixels(float(edge.tick.half) / 1e6)} ms"
    yield (
        f'<g><title>{words}</title><path class="place" d="M{pixels(first)} {pixels(bottom)}H{pixels(last)}"/>'
        f'<path class="tick" d="M{pixels(middle)} {pixels(bottom - 1)}l-5.5 11h11z"/></g>'
    )
