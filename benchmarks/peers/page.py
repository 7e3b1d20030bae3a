"""The page that the benchmark writes: docs/benchmarks-peers.md, made of one run's rows and nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.peers import table
from benchmarks.peers.cases import TICKS_MS
from benchmarks.peers.table import OURS, Row

WIDTH: Final = 120

HEAD: Final = """\
# Our meter beside its peers

Written by `make bench-peers` from one run; raw results lie in `build/peers/results.json`. Every tool measures the
same scripted device at the same time, each in a process and an environment of its own, through its own copy of
`pynvml`. The device is the stand-in library of `tests/standin`, whose energy is known exactly.

The stand-in's counter moves every 100 or 20 ms. Its power reading is a mean over the last second that moves every 100
ms, as NVML describes it since Ampere. Real boards have what no stand-in shows: idle that decays, a gain of some
percent, calls that take long. What the tables show is what each tool makes of readings that are right.
"""

DEFINITIONS: Final = """\
## How to read it

- A window is what lies between the return of a tool's begin call and the call of its end; the truth is the exact
  integral of the scripted power over it. Errors are in percent of it: the mean over the windows with its sign, then
  the worst. All tools are held to these instants. Ours also says which window it measured (its marks in monotonic
  nanoseconds): held to these, its worst error of all windows is {marks}. The difference is what the host let its caller
  wait between a mark and the return of the call; with idle around the work it costs next to nothing.
- `pulse`: 70 W idle, 650 W exactly in the window, 70 W after. `ramp`: 100 to 650 W in the window. `sq N`: 600 and 100
  W by turns with a period of N ms in the window. 70 W around each. `constant`: 300 W for ever. Begin is called
  {lead:.0f} ms before the work, end when it is over. Phases are random, and lengths by up to 0.1 s.
- Zeus: `ZeusMonitor.begin_window` and `end_window`. CodeCarbon: `OfflineEmissionsTracker`, one task a window,
  `measure_power_secs=1`, its GPU energy. CarbonTracker: one epoch a window, its GPU component, its data centre factor
  left out. nvitop: a fresh `ResourceMetricCollector` a window, its mean power times its duration. counter difference:
  `nvmlDeviceGetTotalEnergyConsumption` twice. 1 s polling: the mean of `nvmlDeviceGetPowerUsage` once a second times
  the duration, as `nvidia-smi -l 1` gives it.
- Windows of a kind: {counts}. A window without a number counts against its tool, and is named in the table.
- Windows of ours that were void: {voids}. Its stated doubt (k = 2, without the board's gain, which the stand-in does
  not have) covered the truth between its marks in {covered} of {known} windows.
- Set aside for all tools, whatever they said: {spoilt} windows in which the host was so busy that one of the tools
  began only after the work had begun.
"""

FAULTS: Final = """\
## What each says when something is wrong

One window of 6 s at 300 W each. (The last two: 650 W in the window, and the work not over at its end; the truth
includes what came after.) A number is the relative error of what the tool reported without a word. Ours is void with
the rule's code, or keeps its figure and says by name what it charged.
"""

COSTS: Final = """\
## What they cost

CPU of the tool's process and its children inside the windows ({windows}), all tools on one device at their
default cadence and nothing else measured at the time. How late samples were is known only of tools that time them. Our
begin waits until the device has been at rest for 1.5 s and its ticks are located, and our end holds it idle for 2 s:
that is the price of the errors above, and it lies outside the work.
"""

REPEAT: Final = """\
## How to repeat it

`make bench-peers`, about {minutes:.0f} minutes. It needs gcc for the stand-in, and root to take the network away from
the tools. The peers are installed once, into `build/peers/`, from `benchmarks/peers/requirements-*.txt`, which pin
every version. `python -m benchmarks.peers --quick` takes few windows. {lanes} devices are measured side by side.
"""


def render(result: dict[str, Any]) -> str:
    """Return the page of a run's result."""
    rows, spoilt = table.fair(result["rows"])
    tools, shapes, lengths = result["tools"], result["shapes"], result["lengths"]
    voids = [row for row in rows if row["tool"] == OURS and table.error_percent(row) is None]
    mine = [
        row for row in rows if row["tool"] == OURS and "truth_of_marks" in row and table.error_percent(row) is not None
    ]
    covered, known = table.covered(mine)
    counts = ", ".join(f"{count} of {length} s" for length, count in result["counts"].items())
    told = DEFINITIONS.format(
        marks=f"{table.errors(mine, 'truth_of_marks').worst:.3f} %",
        lead=result["lead_ms"],
        counts=counts,
        covered=covered,
        known=known,
        spoilt=len(spoilt),
        voids=_voids(voids, len(chosen_ours(rows))),
    )
    parts = [HEAD, _environment(result), "## Does it hold", _claims(result), told]
    for tick in TICKS_MS:
        for length in lengths:
            parts += [
                f"## {length} s windows, counter every {tick} ms",
                table.accuracy(rows, tools, shapes, length, tick),
            ]
    parts += [FAULTS, table.faults(result["faults"], tools)]
    parts += [COSTS.format(windows=_lengths(result["costs"])), table.costs(result["costs"], tools)]
    parts += [REPEAT.format(minutes=result["minutes"], lanes=result["lanes"])]
    return "\n\n".join(_wrapped(part.strip("\n")) for part in parts) + "\n"


def chosen_ours(rows: Sequence[Row]) -> list[Row]:
    """Return our rows."""
    return table.chosen(rows, tool=OURS)


def _wrapped(text: str) -> str:
    """Return a text whose paragraphs and list items are filled to a page's width; tables and heads stay as they are."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        continues = bool(blocks and line and blocks[-1][0]) and not line.startswith(("- ", "|", "#"))
        if continues and not blocks[-1][0].startswith(("|", "#")):
            blocks[-1].append(line.strip())
        else:
            blocks.append([line])
    return "\n".join(_filled(" ".join(block)) for block in blocks)


def _filled(line: str) -> str:
    if line.startswith(("|", "#")):
        return line
    return textwrap.fill(line, WIDTH, subsequent_indent="  " if line.startswith("- ") else "")


def _environment(result: dict[str, Any]) -> str:
    facts = result["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        "**Not yet measured on a real device.** "
        f"Machine: {facts['cores']} cores ({facts['cpu']}), Linux {facts['kernel']}, "
        f"Python {facts['python']}. {versions}. "
        f"The machine was {facts['busy']:.0%} busy during the run, this benchmark included."
    )


def _lengths(rows: Sequence[Row]) -> str:
    found = [row["length_s"] for row in table.chosen(rows, tool=OURS)]
    return ", ".join(f"{found.count(length)} of {length} s" for length in sorted(set(found)))


def _claims(result: dict[str, Any]) -> str:
    found = table.claims(result["rows"], result["tools"], result["lengths"])
    lines = [[claim.what, claim.found, "yes" if claim.holds else "**no**"] for claim in found]
    return table.markdown(["asked for", "found", "holds"], lines)


def _voids(voids: Sequence[Row], of: int) -> str:
    if not voids:
        return f"none of {of}"
    words = ", ".join(f"{row['lane']} ({row['window'].partition(',')[0]}): {table.verdict(row)}" for row in voids)
    return f"{len(voids)} of {of} ({words})"
