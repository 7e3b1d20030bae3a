"""The run view shows recent power as bars with its kind, at any width and encoding; it asks the meter once a redraw."""

from __future__ import annotations

import io
from fractions import Fraction

import pytest
from rich.console import Console

from orchestrator.commands.run import _shown
from orchestrator.live import LiveView, PlainView, PowerNow
from orchestrator.meter.interface import LiveReading, Power
from orchestrator.sparkline import LENGTH, Bar, Sparkline, glyph
from protocol.methodology.energy import NotApplicable


class Done:
    done = 3


def shown(renderable, width: int = 80, *, encoding: str = "utf-8", colour: bool = False) -> str:
    """Return what a terminal of this width and encoding would get."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    console = Console(
        file=stream, force_terminal=True, width=width, color_system="standard" if colour else None, no_color=not colour
    )
    console.print(renderable)
    stream.flush()
    return raw.getvalue().decode(encoding)


def bars(*watts: float | None, in_run: bool = False) -> tuple[Bar, ...]:
    return tuple(Bar(watts=value, in_run=in_run) for value in watts)


def view(readings, width: int = 80) -> LiveView:
    pending = iter(readings)
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    return LiveView(console, lambda: next(pending), Done())


def now(watts: float, *, in_run: bool = False) -> PowerNow:
    return PowerNow(watts=watts, kind="measured", words=f"{watts:.2f} W measured (gpu)", in_run=in_run)


def test_bars_rise_from_zero_to_the_highest_reading():
    assert [glyph(value, 700, "01234567") for value in (0, 70, 350, 699, 700)] == ["0", "0", "4", "7", "7"]
    assert glyph(None, 700, "01") == " "
    assert glyph(0, 0, "01") == "0"


def test_the_range_and_its_kind_stand_beside_the_bars():
    text = shown(Sparkline(bars=bars(70, 350, 700, None), kind="measured"))
    assert text.strip() == "▁▅█  70.0 – 700.0 W measured"  # noqa: RUF001


def test_a_terminal_without_block_characters_gets_ascii():
    text = shown(Sparkline(bars=bars(70, 350, 700), kind="simulated"), encoding="ascii")
    assert text.strip() == "_=# 70.0 to 700.0 W simulated"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 20, 30, 40, 72, 200])
def test_no_line_is_longer_than_the_terminal_is_wide(width, encoding):
    lines = shown(Sparkline(bars=bars(*range(1, 90)), kind="estimated"), width, encoding=encoding).splitlines()
    assert lines
    assert max(map(len, lines)) <= width


def test_a_narrow_terminal_keeps_the_newest_readings_and_moves_the_words():
    first, second = shown(Sparkline(bars=bars(*[700] * 4, *[0] * 26), kind="measured"), 26).splitlines()
    assert first.strip() == "▁" * 26
    assert second.strip().endswith("W measured")


def test_no_more_than_the_last_readings_are_shown():
    text = shown(Sparkline(bars=bars(*[1] * 500), kind="measured"), 200)
    assert text.count("█") == LENGTH


def test_no_reading_at_all_is_a_dash():
    assert shown(Sparkline(bars=bars(None, None), kind="")).strip() == "-"


def test_readings_of_an_open_window_stand_out():
    row = Sparkline(bars=(*bars(70.0), *bars(700.0, in_run=True)), kind="measured")
    assert "\x1b[2m▁" in shown(row, colour=True)  # dim
    assert "\x1b[1;36m█" in shown(row, colour=True)  # bold, cyan


def test_the_view_asks_once_a_redraw_and_remembers():
    readings = [now(70), now(700, in_run=True)]
    live = view(readings)
    live._table()
    text = shown(live._table())
    assert "700.00 W measured (gpu)   window open" in text
    assert "▁█ 70.0 – 700.0 W measured" in text  # noqa: RUF001


@pytest.mark.parametrize("width", [20, 40, 80, 160])
def test_the_table_fits_the_terminal(width):
    text = shown(view([now(123.4)] * 3, width)._table(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "█" in text


def test_the_kind_is_on_the_line_of_a_forty_column_terminal():
    live = view([now(123.4)] * 2, 40)
    assert "123.40 W measured" in shown(live._table(), 40)


def test_the_plain_view_prints_stages_and_no_power():
    out = io.StringIO()
    plain = PlainView(out, Done())
    plain.session_begins(1, 2, "cell")
    plain.run_begins(1, 10, 100)
    plain.window_opens()
    assert out.getvalue() == "[1/2] cell: run 1 of 10: 100 queries, then an idle baseline\n"


def reading(window: str | None, **channels) -> LiveReading:
    return LiveReading(at_ns=1, channels=channels, window=window, misses=0)


def test_a_reading_keeps_its_kind_and_its_window():
    channels = {
        "gpu": Power(watts=Fraction(600), kind="measured"),
        "cpu": Power(watts=Fraction(3, 2), kind="estimated"),
        "network": NotApplicable(reason="none"),
    }
    assert _shown(reading("run-3", **channels)) == PowerNow(
        watts=601.5, kind="estimated+measured", words="601.50 W estimated+measured (gpu+cpu)", in_run=True
    )
    assert not _shown(reading("idle-3", **channels)).in_run
    assert _shown(reading(None)) == PowerNow()


def test_a_run_that_repeats_its_points_shows_its_pass_and_its_time():
    seen = view([now(300.0, in_run=True)], width=100)
    seen.run_begins(1, 3, 2)
    seen.window_opens(30.0)
    seen.progress.done = 5
    assert "5 queries, pass 3, for 30 s at least" in shown(seen._table(), width=100)
