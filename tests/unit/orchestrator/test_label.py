"""A label says what kind of figure it shows, differs at a glance where it is not certifiable, and carries its code."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
import segno

from orchestrator.commands.label import _rounded
from orchestrator.label import LabelFacts, LabelRow, code_text, render

SVG = "{http://www.w3.org/2000/svg}"
ROW = LabelRow(
    task="image-classification",
    setting="latency (batch 1), fp32",
    energy="0.000330",
    interval="0.000012",
    kind="estimated",
    scope="cpu+dram",
    quality="accuracy 0.967 (committed)",
)
FACTS = LabelFacts(
    vendor="Digit <Works> & Sons",
    model='digits "mlp" 1.0',
    date="2026-11-23",
    hardware_class="cpu",
    method="jouleseal-method/1",
    tier="T1",
    official=True,
    certifiable=False,
    rows=(ROW, replace(ROW, setting="throughput (batch 32), fp32")),
    statement="0123456789abcdef" * 4,
)


def texts(facts):
    root = ET.fromstring(render(facts))
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_label_is_well_formed_whatever_a_vendor_is_called():
    assert any("Digit <Works> & Sons" in text for text in texts(FACTS))


def test_an_estimated_energy_says_so_beside_the_figure():
    assert sum("estimated (cpu+dram)" in text for text in texts(FACTS)) == len(FACTS.rows)


def test_what_is_not_certifiable_differs_in_words_and_in_grey():
    plain, certified = render(FACTS), render(replace(FACTS, certifiable=True))
    assert "NOT CERTIFIABLE" in plain
    assert "stroke-dasharray" in plain
    assert "NOT CERTIFIABLE" not in certified
    assert "stroke-dasharray" not in certified
    assert "unofficial" in render(replace(FACTS, official=False))


def test_the_code_is_the_result_statement():
    """The dark modules drawn are exactly those that the QR library makes of the statement's identity."""
    root = ET.fromstring(render(FACTS))
    (path,) = root.iter(f"{SVG}path")
    drawn = set()
    for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path.attrib["d"]):
        drawn |= {(int(x) + i, int(y)) for i in range(int(length))}
    wanted = segno.make(f"jouleseal:sha256:{FACTS.statement}", error="m", micro=False).matrix
    assert drawn == {(x, y) for y, line in enumerate(wanted) for x, dark in enumerate(line) if dark}
    assert code_text(FACTS.statement) in [title.text for title in root.iter(f"{SVG}title")]


@pytest.mark.parametrize(
    ("energy", "interval", "shown"),
    [
        ("0.000329634", "0.000012345", ("0.000330", "0.000012")),
        ("12.345678901", "0.5", ("12.3", "0.5")),
        ("1234.500000000", None, ("1234", None)),
        ("0.000000001", "0.000000001", ("0.000000001", "0.000000001")),
    ],
)
def test_an_energy_has_three_significant_digits(energy, interval, shown):
    assert _rounded(energy, interval) == shown


def test_a_long_name_is_cut_in_sight_and_whole_in_the_title():
    facts = replace(FACTS, model="m" * 128)
    assert max(len(text) for text in texts(facts)) < 72
    assert "m" * 128 in render(facts)
