"""A picture says its kind, has its marks where the record has them, and is few bytes, escaped and always the same."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from orchestrator.report.ink import DARK, LIGHT
from orchestrator.report.picture import Picture
from orchestrator.report.pictures import Drawn, record_picture, run_picture
from orchestrator.report.plot import MAX_BYTES, render, wrapped
from protocol.errors import VerificationError
from protocol.methodology.session_figures import session_figures
from protocol.methodology.trace import InstrumentFailure
from tests.standin.records import MS, S, Scene, cpu_sources, source, steady_world
from tests.worlds.session_power import gated_scene

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    scene, timelines = gated_scene(2, 100, deferred=2)
    trace = scene.trace()
    return Drawn(trace=trace, figures=session_figures(trace, timelines), error=None)


@pytest.fixture(scope="module")
def estimated() -> Drawn:
    return Drawn(trace=Scene().trace(), figures=None, error=None)


def root(picture: Picture) -> ET.Element:
    return ET.fromstring(render(picture))


def of_class(element: ET.Element, name: str) -> list[ET.Element]:
    return [found for found in element.iter() if name in found.get("class", "").split()]


def texts(element: ET.Element) -> str:
    return "\n".join(found.text or "" for found in element.iter(f"{SVG}text"))


def x_of(picture: Picture, at_ns: Fraction | int) -> float:
    """Where an instant must be: the plot lies between 58 and 544 pixels."""
    return 58 + 486 * float(Fraction(at_ns - picture.start_ns) / (picture.end_ns - picture.start_ns))


def starts(paths: list[ET.Element]) -> list[float]:
    return [float(re.match(r"M(-?[0-9.]+) ", found.get("d", ""))[1]) for found in paths]


def test_the_window_is_marked_where_the_record_has_it(drawn: Drawn):
    picture = run_picture(drawn, 1, 2)
    window = drawn.trace.window("run-1")
    wanted = [x_of(picture, window.open_ns), x_of(picture, window.close_ns)]
    marks = starts(of_class(root(replace(picture, edges=())), "mark"))
    assert len(marks) == 2 * len(picture.panels)
    assert marks == pytest.approx(wanted * len(picture.panels), abs=0.06)


def test_the_ticks_of_the_bracket_are_marked_where_they_were_located(drawn: Drawn):
    picture = run_picture(drawn, 1, 2)
    counter = drawn.figures.runs[0].accelerators["gpu0"].counter
    wanted = [x_of(picture, counter.start.at), x_of(picture, counter.end.at)]
    assert starts(of_class(root(replace(picture, edges=())), "tick")) == pytest.approx(wanted, abs=0.06)
    assert counter.start.at < drawn.trace.window("run-1").open_ns


def test_both_ends_are_looked_at_closely(drawn: Drawn):
    """Each end has its mark in the middle, the counter's stair around it, and the tick's earliest and latest place."""
    picture = run_picture(drawn, 1, 2)
    counter = drawn.figures.runs[0].accelerators["gpu0"].counter
    svg = root(picture)
    ends = [(58.0, 212.0, counter.start), (332.0, 212.0, counter.end)]
    places = of_class(svg, "place")
    for (left, width, tick), edge, place in zip(ends, picture.edges, places, strict=True):
        assert edge.start_ns < tick.after_ns < tick.by_ns < edge.end_ns
        assert edge.mark_ns - edge.start_ns == edge.end_ns - edge.mark_ns
        scale = width / (edge.end_ns - edge.start_ns)
        first, last = re.fullmatch(r"M([0-9.]+) [0-9.]+H([0-9.]+)", place.get("d", "")).groups()
        assert float(first) == pytest.approx(left + (tick.after_ns - edge.start_ns) * scale, abs=0.06)
        assert float(last) == pytest.approx(left + (tick.by_ns - edge.start_ns) * scale, abs=0.06)
    rises = [later - earlier for (_, earlier), (_, later) in pairwise(picture.edges[0].counter) if later > earlier]
    assert rises[0] == pytest.approx(7.2, abs=0.01)  # 72 W of idle, a tick in a tenth of a second
    assert starts(of_class(svg, "mark"))[-2:] == pytest.approx([164.0, 438.0])


def test_the_idle_line_and_its_band_are_at_the_idle_power(drawn: Drawn):
    picture = run_picture(drawn, 1, 2)
    svg = root(picture)
    idle = drawn.figures.runs[0].accelerators["gpu0"].idle_watts
    labels = [(found.text, float(found.get("y", "0")) - 4.5) for found in of_class(svg, "e")]
    (zero,) = [y for text, y in labels[:5] if text == "0"]
    (top,) = [y for text, y in labels if text == "800 W"]
    line = next(found for found in of_class(svg, "idle") if "h486" in found.get("d", ""))
    y = float(line.get("d", "").removeprefix("M58 ").removesuffix("h486"))
    assert y == pytest.approx(zero + (top - zero) * float(idle) / 800, abs=0.11)
    (band,) = of_class(svg, "band")
    assert float(band.get("y", "0")) < y < float(band.get("y", "0")) + float(band.get("height", "0"))


def test_the_hold_is_hatched_from_the_close_and_its_deferred_energy_is_said(drawn: Drawn):
    quiet, late = (run_picture(drawn, run, 2) for run in (1, 2))
    close = drawn.trace.window("run-2").close_ns
    hatched = of_class(root(late), "hatch")[1]
    assert float(hatched.get("x", "0")) == pytest.approx(x_of(late, close), abs=0.06)
    assert float(hatched.get("width", "0")) == pytest.approx(486 * 2.5 * S / (late.end_ns - late.start_ns), abs=0.11)
    joules = float(drawn.figures.runs[1].accelerators["gpu0"].deferred)
    assert joules == pytest.approx(288, rel=0.02)
    assert f"{joules:.1f} J above idle in the 2.50 s hold" in " ".join(late.notes)
    assert "nothing above idle in the 2.50 s hold" in " ".join(quiet.notes)


@pytest.mark.parametrize(("kind", "word"), [("nvml", "measured"), ("simulated", "simulated")])
def test_the_kind_of_each_channel_and_of_the_sum_is_in_the_picture(kind: str, word: str):
    scene, timelines = gated_scene(1, 100, kind=kind)
    trace = scene.trace()
    picture = run_picture(Drawn(trace=trace, figures=session_figures(trace, timelines), error=None), 1, 1)
    said = texts(root(picture))
    assert f"gpu0, {word}" in said
    assert "cpu, estimated" in said
    assert {"measured": "ESTIMATED", "simulated": "SIMULATED"}[word] in said  # the weakest part names the sum
    assert picture.kind in ET.tostring(root(picture).find(f"{SVG}desc"), encoding="unicode")


def test_what_no_instrument_read_has_a_dashed_frame(drawn: Drawn):
    picture = run_picture(drawn, 1, 2)
    (plain,) = of_class(root(replace(picture, kind="measured")), "kind")
    (dashed,) = of_class(root(picture), "kind")
    assert plain.get("stroke-dasharray") is None
    assert dashed.get("stroke-dasharray")


def test_the_energy_in_the_picture_is_that_of_the_figures(drawn: Drawn):
    energy = drawn.figures.runs[0].energy
    gross, doubt = energy.channels["gpu"].joules, energy.channels["gpu"].uncertainty
    assert f"gpu: {float(gross):,.0f} J ± {float(doubt):,.0f} J (k = 2), measured, nvml-gated/1" in texts(
        root(run_picture(drawn, 1, 2))
    )


def test_a_whole_record_shows_every_window_and_the_set_up(drawn: Drawn):
    picture = record_picture(drawn, None)
    assert [one.label for one in picture.stretches] == ["set-up", "idle", "run 1", "idle", "run 2", "idle"]
    assert "J above idle on the accelerators before the first run" in " ".join(picture.notes)
    assert len(of_class(root(picture), "mark")) == 4 * len(picture.panels)


def test_a_void_record_says_why_and_where_it_failed(drawn: Drawn):
    failure = InstrumentFailure(
        at_ns=drawn.trace.origin_ns + 20 * S, instrument="nvml", code="DEVICE_LOST", text="gone"
    )
    broken = Drawn(trace=replace(drawn.trace, failures=(failure,)), figures=None, error=None)
    picture = record_picture(broken, "DEVICE_LOST")
    svg = root(picture)
    assert "Void: DEVICE_LOST" in texts(svg)
    assert "nvml failed 20.0 s after the start: DEVICE_LOST." in texts(svg)
    assert starts(of_class(svg, "event")) == pytest.approx([x_of(picture, failure.at_ns)] * 3, abs=0.06)


def test_a_run_without_its_window_has_no_picture(drawn: Drawn):
    assert run_picture(drawn, 9, 9) is None


def test_a_run_in_the_cpu_class_is_drawn_without_figures_too(estimated: Drawn):
    picture = run_picture(estimated, 1, 1)
    assert picture.kind == "estimated"
    assert "No energy: not computed" in texts(root(picture))


def test_a_run_of_milliseconds_fills_a_third_of_its_picture():
    windows = (("idle-0", S, 3 * S), ("run-1", 3_007 * MS, 3_013 * MS), ("idle-1", 3_020 * MS, 5 * S))
    trace = Scene(windows=windows).trace()
    picture = run_picture(Drawn(trace=trace, figures=None, error=None), 1, 1)
    assert picture.end_ns - picture.start_ns == 18 * MS
    (run,) = [one for one in of_class(root(picture), "run") if one.get("height") == "176"]
    assert float(run.get("width", "0")) == pytest.approx(162, abs=0.11)


def test_the_same_record_gives_the_same_bytes(drawn: Drawn):
    assert render(run_picture(drawn, 1, 2)) == render(run_picture(drawn, 1, 2))


def test_a_record_as_noisy_as_can_be_stays_small():
    noise = random.Random(3)
    columns = {
        f"gpu{number}.{name}": lambda t: noise.randrange(10**6)
        for number in range(8)
        for name in ("power_average_mw", "power_instant_mw")
    }
    counters = {f"gpu{number}.energy_mj": lambda t: t // 2_000 + noise.randrange(5_000) for number in range(8)}
    scene = Scene(
        world={**steady_world(), **columns, **counters},
        sources={**cpu_sources(), "gpu": source("nvml", devices=[f"gpu{number}" for number in range(8)])},
        fast=("sandbox.cpu_ns", *columns, *counters),
        windows=(("run-1", S, 60 * S),),
        period=10 * MS,
    )
    picture = record_picture(Drawn(trace=scene.trace(), figures=None, error=None), None)
    assert len(picture.panels) == 10
    assert 10_000 < len(render(picture).encode()) <= MAX_BYTES


def test_a_device_with_a_hostile_name_is_only_ever_text(drawn: Drawn):
    name = "<script>alert(1)</script> ]]> \x00\x1b \u202e & \"'"
    trace = replace(drawn.trace, host={"gpu0.name": name})
    svg = root(run_picture(Drawn(trace=trace, figures=None, error=None), 1, 2))
    assert not [found for found in svg.iter() if found.tag.endswith("script")]
    assert "gpu0 <script>alert(1)</script> ]]> \ufffd\ufffd \ufffd & \"'" in texts(svg)


def test_a_picture_needs_nothing_from_outside(drawn: Drawn):
    text = render(run_picture(drawn, 1, 2))
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<script|\son[a-z]+=|href|@import|url\((?!#hatch\))", text)


def test_a_picture_can_be_read_aloud(drawn: Drawn):
    svg = root(run_picture(drawn, 1, 2))
    assert svg.get("role") == "img"
    names = svg.get("aria-labelledby").split()
    assert [found.get("id") for found in svg if found.tag in {f"{SVG}title", f"{SVG}desc"}] == names
    assert "counter between the ticks" in svg.find(f"{SVG}desc").text


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("ground", ["paper", "run"])
def test_every_colour_is_seen_on_its_ground(palette: dict[str, str], ground: str):
    least = {"ink": 4.5, "soft": 4.5, "bad": 4.5, "main": 3, "mean": 3, "dot": 3, "idle": 3}
    for name, wanted in least.items():
        darker, lighter = sorted([luminance(palette[name]), luminance(palette[ground])])
        assert (lighter + 0.05) / (darker + 0.05) >= wanted, name


def test_lines_are_wrapped_between_words_and_words_too_long_are_cut():
    assert wrapped("aa bb cc", 5) == ["aa bb", "cc"]
    assert wrapped("x" * 12, 5) == ["xxxxx", "xxxxx", "xx"]
    assert wrapped("", 5) == []


HOSTILE = (
    lambda t: None,
    lambda t: 0,
    lambda t: 10**400,
    lambda t: t // 10_000,
    lambda t: 10**9 - t // 1_000 if t < 10**12 else 0,  # falls
    lambda t: t // 10_000 if t // (100 * MS) % 3 else None,
    lambda t: 7,
)
LAYOUTS = ((), ("run-1",), ("idle-0", "run-1", "idle-1"), ("x", "run--1", "run-", "-", "a" * 64))


def pictured(found: Drawn) -> tuple[str, list[Picture]]:
    """Return the pictures of a record, or the code of its refusal."""
    try:
        return "", [one for one in (run_picture(found, 1, 1), record_picture(found, "VOID")) if one is not None]
    except VerificationError as error:
        return error.code, []


@pytest.mark.parametrize("seed", range(40))
def test_a_hostile_record_gives_pictures_or_a_code(seed: int):
    pick = random.Random(seed)
    fast = ("sandbox.cpu_ns", "gpu0.energy_mj", "gpu0.power_average_mw")
    windows, at = [], 10 * MS
    for name in pick.choice(LAYOUTS):
        length = pick.choice([1, 300 * MS, 3 * S])
        windows.append((name, at, at + length))
        at += length + pick.choice([1, 100 * MS])
    trace = Scene(
        world={name: pick.choice(HOSTILE) for name in (*steady_world(), *fast)},
        windows=windows,
        sources={**cpu_sources(), "gpu": source("nvml", devices=["gpu0", "gpu1"])},
        fast=fast,
        cpus_milli=pick.choice([None, 1, 10**30]),
        origin=pick.choice([0, 10**19]),
        failures=[(at, "nvml", "<b>", "gone")],
    ).trace()
    code, pictures = pictured(Drawn(trace=trace, figures=None, error=None))
    assert code in {"", "RECORD_IMPLAUSIBLE"}
    for picture in pictures:
        text = render(picture)
        ET.fromstring(text)
        assert len(text) < MAX_BYTES
        assert not re.search(r"\b(nan|inf)\b", text)
