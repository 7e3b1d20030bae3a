"""Turns rows into figures and tables: errors, faults, costs, and whether what was asked for holds. Pure.

A row is what one tool said of one window, beside the truth. A window without a number is counted, never left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

OURS: Final = "Jouleseal"
PEERS: Final = ("Zeus", "CodeCarbon", "CarbonTracker", "nvitop")
ZERO_J: Final = 1e-9
EXACT_PERCENT: Final = 0.05
WHOLE_PERCENT: Final = 1_000
CONSTANT_LIMIT: Final = 0.1  # percent

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """A tool's relative errors over some windows, in percent, and what windows had no number."""

    percent: tuple[float, ...]
    without: tuple[str, ...]

    @property
    def mean(self) -> float:
        """The mean, which shows a bias; NaN where there is none."""
        return statistics.fmean(self.percent) if self.percent else math.nan

    @property
    def worst(self) -> float:
        """The largest, without its sign; infinite where a window had no number."""
        return math.inf if self.without or not self.percent else max(map(abs, self.percent))

    def __str__(self) -> str:
        """Return mean and worst, or how many windows had no number and why."""
        if self.without:
            return f"{len(self.without)} of {len(self.percent) + len(self.without)} void: {self.without[0]}"
        return f"{_signed(self.mean)} / {_plain(self.worst)}" if self.percent else "-"


def error_percent(row: Row, truth: str = "truth") -> float | None:
    """Return a row's error; None where the tool gave no number."""
    return None if row.get("joules") is None else 100 * (row["joules"] / row[truth] - 1)


def errors(rows: Iterable[Row], truth: str = "truth") -> Errors:
    """Return the errors of rows."""
    found, without = [], []
    for row in rows:
        error = error_percent(row, truth)
        if error is None:
            without.append(_why(row))
        else:
            found.append(error)
    return Errors(percent=tuple(found), without=tuple(without))


def fair(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[str, str]]]:
    """Return the rows that can be compared, and the windows (lane and name) that cannot.

    Where the host was so busy that one tool began only when the work had begun, the window is set aside for every tool:
    none of them measured what was planned. It is not for its result that a window is set aside, and it is counted.
    """
    places = ((row["lane"], row["window"]) for row in rows if row["late_begin"] and row["shape"] != "constant")
    spoilt = list(dict.fromkeys(places))
    return [row for row in rows if (row["lane"], row["window"]) not in spoilt], spoilt


def covered(rows: Iterable[Row]) -> tuple[int, int]:
    """Return in how many windows the stated doubt covered the truth of the marks, and how many there are."""
    known = [row for row in rows if row.get("joules") is not None and "uncertainty" in row]
    return sum(abs(row["joules"] - row["truth_of_marks"]) <= row["uncertainty"] for row in known), len(known)


def chosen(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Return the rows whose fields are as wanted."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _why(row: Row) -> str:
    return str(row.get("void") or row.get("raises") or "no number")


def _signed(percent: float) -> str:
    return f"{percent:+.{_digits(percent)}f}"


def _plain(percent: float) -> str:
    return f"{percent:.{_digits(percent)}f}"


def _digits(percent: float) -> int:
    size = abs(percent)
    return 3 if size < EXACT_PERCENT else 2 if size < 10 else 1  # noqa: PLR2004 - three figures or so


def markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is words and whose others are numbers."""
    marks = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, marks, *lines))


def accuracy(rows: Sequence[Row], tools: Sequence[str], shapes: Sequence[str], length_s: int, tick_ms: int) -> str:
    """Return the table of one length and one counter: mean and worst error in percent, by tool and shape."""
    heads = ["% mean / worst", *(shape.replace("square ", "sq ") for shape in shapes)]
    at = {"length_s": length_s, "tick_ms": tick_ms}
    lines = [[tool, *(str(errors(chosen(rows, tool=tool, shape=shape, **at))) for shape in shapes)] for tool in tools]
    return markdown(heads, lines)


def verdict(row: Row) -> str:
    """Return what a tool said of a fault: void with its code, an exception, a number and how wrong it is."""
    if row.get("void"):
        return f"void: {row['void']}"
    if row.get("raises"):
        words = str(row["raises"])
        return f"void: {words}" if row["tool"] == OURS else f"raises {words}" if words.isidentifier() else words
    error = error_percent(row)
    if error is None:
        return "no number"
    if abs(row["joules"]) < ZERO_J:
        return "0 J"
    named = "".join(f", {flag}" for flag in row.get("flags", ()))
    return (f"{error:+,.0f} %" if abs(error) >= WHOLE_PERCENT else f"{_signed(error)} %") + named


def faults(rows: Sequence[Row], tools: Sequence[str]) -> str:
    """Return the table of faults, one a line."""
    names = list(dict.fromkeys(row["lane"] for row in rows))
    lines = [[name, *(verdict(chosen(rows, lane=name, tool=tool)[0]) for tool in tools)] for name in names]
    return markdown(["fault", *tools], lines)


def costs(rows: Sequence[Row], tools: Sequence[str]) -> str:
    """Return the table of what each tool takes while it measures, from windows with numbers."""
    heads = ["tool", "CPU, ms per s", "late p99 / max, ms", "begin, ms", "end, ms"]
    return markdown(heads, [[tool, *_costs(chosen(rows, tool=tool))] for tool in tools])


def _costs(rows: Sequence[Row]) -> list[str]:
    taken = [row for row in rows if row.get("cpu_ns") is not None]
    if not taken:
        return ["-"] * 4
    cpu = sum(row["cpu_ns"] for row in taken) / sum(row["ending_ns"] - row["begun_ns"] for row in taken) * 1e3
    late = sorted(value for row in taken for value in row.get("late_ms") or ())
    lateness = f"{late[int(len(late) * 0.99)]:.2f} / {late[-1]:.2f}" if late else "-"
    begin = statistics.median(row["begun_ns"] - row["begin_ns"] + row.get("quiet_ns", 0) for row in taken) / 1e6
    end = statistics.median(row["ended_ns"] - row["ending_ns"] for row in taken) / 1e6
    return [f"{cpu:.2f}", lateness, f"{begin:,.1f}", f"{end:,.1f}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One thing that was asked for: what it is, what was found, and whether it holds."""

    what: str
    found: str
    holds: bool


def claims(rows: Sequence[Row], tools: Sequence[str], lengths: Sequence[int]) -> list[Claim]:
    """Return what was asked of the errors, and what came of it; "best" is the best of all others, baselines too."""
    rows, spoilt = fair(rows)
    others = [tool for tool in tools if tool != OURS]
    found = []
    for length, limit in ((2, 0.1), (20, 0.05)):
        at = {"shape": "pulse", "length_s": length, "tick_ms": 100}
        if length in lengths:
            worst = errors(chosen(rows, tool=OURS, **at)).worst
            what = f"idle-work-idle, {length} s, 100 ms counter: worst error at most {limit:g} %"
            found.append(Claim(what=what, found=f"{worst:.3f} %", holds=worst <= limit))
    for length in lengths:
        at = {"shape": "pulse", "length_s": length, "tick_ms": 100}
        worst = errors(chosen(rows, tool=OURS, **at)).worst
        best = min(errors(chosen(rows, tool=tool, **at)).worst for tool in others)
        what = f"idle-work-idle, {length} s: at least ten times below the best of the others"
        found.append(Claim(what=what, found=f"{worst:.3f} % to {best:.3f} %", holds=10 * worst <= best))
    windows = len({(row["lane"], row["window"]) for row in rows}) + len(spoilt)
    words = f"{windows - len(spoilt)} of {windows}"
    enough = Claim(
        what="windows in which every tool began in time: 95 %", found=words, holds=len(spoilt) <= windows / 20
    )
    return [*found, _constant(rows), _squares(rows, others), enough]


def _constant(rows: Sequence[Row]) -> Claim:
    """Return the claim about constant power, over the window that our meter says it measured."""
    mine = chosen(rows, tool=OURS, shape="constant")
    worst, called = errors(mine, "truth_of_marks").worst, errors(mine).worst
    words = f"{worst:.3f} % between its marks, {called:.3f} % between its caller's instants"
    return Claim(what="constant power: worst error at most 0.1 %", found=words, holds=worst <= CONSTANT_LIMIT)


def _squares(rows: Sequence[Row], others: Sequence[str]) -> Claim:
    """Return the claim about squares: at every period, length and counter no worse than the best of the others."""
    places = dict.fromkeys(
        (row["shape"], row["length_s"], row["tick_ms"]) for row in rows if row["shape"].startswith("sq")
    )
    lost, worst = [], 0.0
    for shape, length, tick in places:
        at = {"shape": shape, "length_s": length, "tick_ms": tick}
        mine = errors(chosen(rows, tool=OURS, **at)).worst
        worst = max(worst, mine)
        best = min(errors(chosen(rows, tool=tool, **at)).worst for tool in others)
        if mine > best:
            lost.append(f"{shape} ms, {length} s, {tick} ms: {mine:.3f} % to {best:.3f} %")
    words = f"worst of all {worst:.3f} %; better in {len(places) - len(lost)} of {len(places)} places"
    return Claim(
        what="square waves inside a window: no worse than the best of the others at any period",
        found="; ".join([words, *lost]),
        holds=not lost and bool(places),
    )
