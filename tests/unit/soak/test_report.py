"""The soak report keeps the rows that were not run again, each with its day, and says what nobody soaked yet."""

from __future__ import annotations

import json
from pathlib import Path

from tests.soak.__main__ import PAGE, Soaked, kept, notes, page, read
from tests.soak.targets import TARGETS

LIBFUZZER = """#1000 DONE   cov: 28 ft: 90 corp: 12/1Kb
stat::number_of_executed_units: 1000
stat::average_exec_per_sec:     500
stat::peak_rss_mb:              61

date 2026-11-24
exit 0
"""


def test_a_row_is_read_as_it_was_written_and_another_replaces_it_alone():
    old = Soaked(name="json", executions=10, rate=5, mib=61, branches=None, day="2026-11-23", finding="exit 1: boom")
    new = read("note", LIBFUZZER)
    assert (new.executions, new.rate, new.mib, new.branches, new.day, new.finding) == (
        1000,
        500,
        61,
        28,
        "2026-11-24",
        "",
    )
    text = page({"json": old, "note": new}, ["- Note: two\n  lines"])
    assert kept(text) == {"json": old, "note": new}
    assert notes(text) == ["- Note: two\n  lines"]
    assert "- Days: 2026-11-23, 2026-11-24\n" in text
    assert "- Findings: 1\n" in text
    again = page({**kept(text), "json": read("json", LIBFUZZER)}, notes(text))
    assert kept(again)["json"].day == "2026-11-24"
    assert "- Findings: 0\n" in again


def test_our_own_mutations_are_reported_without_branches():
    own = json.dumps({"executions": 300, "accepted": 3, "seconds": 2.0, "mib": 70})
    found = read("json", f"{own}\n\ndate 2026-11-24\nexit 0\n")
    assert (found.executions, found.rate, found.branches, found.day) == (300, 150, None, "2026-11-24")


def test_a_crash_is_a_finding_with_its_last_word():
    found = read("json", "Traceback\nKeyError: 'x'\n\ndate 2026-11-24\nexit 1\n")
    assert found.finding == "exit 1: KeyError: 'x'"


def test_a_parser_that_nobody_soaked_is_named_and_one_that_is_gone_is_not():
    gone = Soaked(name="gone", executions=1, rate=1, mib=1, branches=1, day="2026-11-23", finding="")
    text = page({"gone": gone})
    assert "| gone |" not in text
    assert f"- Not soaked yet: {', '.join(target.name for target in TARGETS)}\n" in text


def test_the_committed_report_has_rows_of_parsers_that_there_are():
    found = kept(Path(PAGE).read_text())
    assert set(found) <= {target.name for target in TARGETS}
    assert all(not row.finding for row in found.values())
