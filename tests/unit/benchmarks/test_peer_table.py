"""The tables of the peers' benchmark: no window without a number is left out, and a claim is held to all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.peers import environments, page, table

TOOLS = ["Jouleseal", "Zeus", "counter difference"]


def row(tool: str, percent: float | None, **facts: object) -> dict[str, object]:
    about = {
        "lane": "pulse, 100 ms",
        "shape": "pulse",
        "length_s": 2,
        "tick_ms": 100,
        "window": "2 s, 0",
        "truth": 1000.0,
    }
    said = {"joules": None if percent is None else 10 * (100 + percent)}
    spans = {
        "begin_ns": 0,
        "begun_ns": 10**6,
        "ending_ns": 2 * 10**9,
        "ended_ns": 2 * 10**9 + 10**6,
        "cpu_ns": 4 * 10**6,
    }
    return {**about, "tool": tool, "truth_of_marks": 1000.0, "late_begin": False, **said, **spans, **facts}


def everything(ours: float, others: float) -> list[dict[str, object]]:
    found = []
    for shape in ("constant", "pulse", "square 10"):
        for length in (2, 20):
            for tick in (100, 20):
                at = {"shape": shape, "length_s": length, "tick_ms": tick, "lane": f"{shape}, {tick} ms"}
                found += [row(tool, ours if tool == TOOLS[0] else others, **at) for tool in TOOLS for _ in range(2)]
    return found


def holds(rows: list[dict[str, object]]) -> Mapping[str, bool]:
    return {claim.what: claim.holds for claim in table.claims(rows, TOOLS, [2, 20])}


def test_mean_has_a_sign_and_worst_has_none() -> None:
    found = table.errors([row("Zeus", -3.0), row("Zeus", 1.0)])
    assert found.mean == pytest.approx(-1)
    assert found.worst == pytest.approx(3)
    assert str(found) == "-1.00 / 3.00"
    assert str(table.errors([row("Zeus", -0.012)])) == "-0.012 / 0.012"
    assert str(table.errors([row("Zeus", 31.26)])) == "+31.3 / 31.3"


def test_a_window_without_a_number_is_the_worst_of_all_and_is_named() -> None:
    found = table.errors([row("Jouleseal", 0.0), row("Jouleseal", None, void="TRACE_GAP")])
    assert found.worst == math.inf
    assert str(found) == "1 of 2 void: TRACE_GAP"
    assert table.errors([]).worst == math.inf


def test_claims_hold_where_every_number_is_good() -> None:
    assert all(holds(everything(0.01, 2.0)).values())


def test_a_claim_fails_by_its_own_limit() -> None:
    found = holds(everything(0.06, 2.0))
    assert [what for what, held in found.items() if not held] == [
        "idle-work-idle, 20 s, 100 ms counter: worst error at most 0.05 %"
    ]
    found = holds(everything(0.04, 0.3))
    assert [what for what, held in found.items() if not held] == [
        "idle-work-idle, 2 s: at least ten times below the best of the others",
        "idle-work-idle, 20 s: at least ten times below the best of the others",
    ]
    found = holds(everything(3.0, 2.0))
    assert [what for what, held in found.items() if held] == ["windows in which every tool began in time: 95 %"]


def test_one_void_window_of_ours_breaks_every_claim_about_its_place() -> None:
    rows = everything(0.01, 2.0)
    rows.append(row("Jouleseal", None, shape="square 10", length_s=20, tick_ms=20, void="TRACE_GAP"))
    assert [what for what, held in holds(rows).items() if not held] == [
        "square waves inside a window: no worse than the best of the others at any period"
    ]


def test_a_stated_doubt_is_held_to_the_truth_of_the_marks() -> None:
    rows = [row("Jouleseal", 0.01, uncertainty=0.2), row("Jouleseal", -0.1, uncertainty=0.2), row("Jouleseal", None)]
    assert table.covered(rows) == (1, 2)


def test_a_window_that_one_tool_began_late_is_set_aside_for_all_and_counted() -> None:
    rows = everything(0.01, 2.0)
    late = [row(tool, 9.0, lane="pulse, 100 ms", window="late", late_begin=tool == "Zeus") for tool in TOOLS]
    steady = [row(tool, 0.01, lane="constant, 100 ms", shape="constant", window="x", late_begin=True) for tool in TOOLS]
    kept, spoilt = table.fair([*rows, *late, *steady])
    assert kept == [*rows, *steady]
    assert spoilt == [("pulse, 100 ms", "late")]
    what = "windows in which every tool began in time: 95 %"
    assert holds(rows)[what]
    assert not holds([*rows, *late])[what]  # one of thirteen


def test_what_a_tool_says_of_a_fault_is_said_in_its_own_words() -> None:
    assert table.verdict(row("Jouleseal", None, void="CHANNEL_LOST")) == "void: CHANNEL_LOST"
    assert table.verdict(row("Jouleseal", None, raises="NO_POWER_READING")) == "void: NO_POWER_READING"
    assert table.verdict(row("Zeus", None, raises="ZeusGPULostError")) == "raises ZeusGPULostError"
    assert table.verdict(row("Zeus", None, raises="exit 70")) == "exit 70"
    assert table.verdict(row("nvitop", None)) == "no number"
    assert table.verdict(row("CodeCarbon", -100.0)) == "0 J"
    assert table.verdict(row("Zeus", -7092.0)) == "-7,092 %"
    assert table.verdict(row("Jouleseal", 0.002, flags=["DEFERRED_WORK"])) == "+0.002 %, DEFERRED_WORK"


def test_costs_are_those_of_the_windows_and_lateness_only_where_it_is_known() -> None:
    rows = [row("Jouleseal", 0.0, late_ms=[0.1] * 99 + [2.0], quiet_ns=3 * 10**9), row("Zeus", 0.0, late_ms=None)]
    lines = table.costs(rows, ["Jouleseal", "Zeus", "nvitop"]).splitlines()
    assert lines[2] == "| Jouleseal | 2.00 | 2.00 / 2.00 | 3,001.0 | 1.0 |"
    assert lines[3] == "| Zeus | 2.00 | - | 1.0 | 1.0 |"
    assert lines[4] == "| nvitop | - | - | - | - |"


def test_the_page_says_what_was_measured_and_that_no_real_device_was() -> None:
    rows = everything(0.01, 2.0)
    text = page.render(
        {
            "rows": rows,
            "faults": [row(tool, 0.0, lane="none") for tool in TOOLS],
            "costs": rows,
            "tools": TOOLS,
            "shapes": ["constant", "pulse", "square 10"],
            "counts": {"2": 2, "20": 2},
            "lengths": [2, 20],
            "lanes": 11,
            "lead_ms": 20.0,
            "minutes": 9.6,
            "environment": {
                "cpu": "a processor",
                "cores": 2,
                "kernel": "6.1",
                "python": "3.11.7",
                "versions": {"Zeus": "0.16.0"},
                "busy": 0.3,
            },
        }
    )
    assert "not yet measured on a real device" in " ".join(text.split()).lower()
    assert "| Zeus | +2.00 / 2.00 | +2.00 / 2.00 | +2.00 / 2.00 |" in text
    assert "none of 24" in text
    assert text.count("| yes |") == 7


def test_every_peer_is_pinned_and_no_host_is_named() -> None:
    for peer in environments.PEERS:
        assert environments.pinned(peer)
        lines = Path(environments.HERE / f"requirements-{peer}.txt").read_text(encoding="ascii").splitlines()
        assert all("==" in line and "/" not in line for line in lines)
