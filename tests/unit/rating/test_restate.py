"""Restating a released bundle: the energy stays the signed one, only factors change, and what is unknown says so."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.rating.restate import number
from protocol.units import from_decimal

BUNDLE = Path(__file__).resolve().parents[2] / "museum" / "sample-1" / "bundle.tar"
KNOWN = {"source": "contract", "date": "2026-01-01"}
SITE = {
    "format": "jouleseal-site/1", "name": "hall 3", "pue": "1.2", "source": "meters", "date": "2026-01-31",
    "region": {"code": "FRA", **KNOWN}, "wue": {"litresPerKwh": "0.3", **KNOWN},
    "hardware": {"lifetimeYears": "3", "ageYears": "1", "utilisation": "0.5", "accelerators": 0, **KNOWN},
    "price": {"perKwh": "0.21", "currency": "EUR", **KNOWN},
}  # fmt: skip


def restated(capsys: pytest.CaptureFixture[str], *options: str) -> dict:
    assert main(["restate", str(BUNDLE), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def figures(document: dict, which: str = "restated") -> dict[str, str | None]:
    return document["cells"][0][which]["figures"]


def test_every_figure_follows_from_the_signed_energy(capsys, tmp_path):
    site = tmp_path / "site.json"
    site.write_text(json.dumps(SITE))
    document = restated(capsys, "--site", str(site))
    cell = document["cells"][0]
    kwh = from_decimal(cell["energyWhPer1000Queries"]) / 1000
    found = figures(document)
    assert found["carbonGramsPer1000Queries"] == number(kwh * Fraction("1.2") * Fraction("41.44"))
    assert found["waterLitresPer1000Queries"] == number(kwh * (Fraction("0.3") + Fraction("1.2") * Fraction("3.6737")))
    assert found["costPer1000Queries"] == number(kwh * Fraction("1.2") * Fraction("0.21"))
    assert from_decimal(found["embodiedCarbonGramsPer1000Queries"]) > 0
    assert cell["kind"] == "estimated"
    assert cell["restated"]["currency"] == "EUR"
    assert document["verified"] is False


def test_what_nobody_measured_stands_beside_every_total(capsys):
    cell = restated(capsys, "--pue", "1.2", "--grid", "FRA")["cells"][0]
    assert set(cell["unmeasured"]) <= {"dram", "storage", "cpu"}
    assert "network" not in cell["unmeasured"]  # a sealed sandbox has none
    assert not set(cell["unmeasured"]) & set(cell["energyScope"].split("+"))


def test_another_grid_changes_the_carbon_and_not_the_energy(capsys):
    france = restated(capsys, "--pue", "1.2", "--grid", "FRA")
    china = restated(capsys, "--pue", "1.2", "--grid", "CHN")
    assert france["cells"][0]["energyWhPer1000Queries"] == china["cells"][0]["energyWhPer1000Queries"]
    ratio = from_decimal(figures(china)["carbonGramsPer1000Queries"]) / from_decimal(
        figures(france)["carbonGramsPer1000Queries"]
    )
    assert abs(float(ratio) - 525.34 / 41.44) < 0.02


def test_the_screen_says_what_is_absent_and_that_nothing_was_verified(capsys):
    assert main(["restate", str(BUNDLE), "--pue", "1.1"]) == 0
    said = capsys.readouterr().out
    assert "the site profile names no region" in said
    assert "Nothing was verified" in said
    assert "ecologits-0.11.3" in said


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), "NO_SITE"),
        (("--pue", "0.9"), "BAD_OPTION"),
        (("--pue", "1,2"), "BAD_OPTION"),
        (("--pue", "1.2", "--wue", "-1"), "BAD_OPTION"),
        (("--pue", "1.2", "--grid", "FRAX"), "NO_SUCH_REGION"),
        (("--pue", "1.2", "--factors", "/nowhere/factors.json"), "FACTORS_UNREADABLE"),
        (("--site", "/nowhere/site.json"), "SITE_UNREADABLE"),
        (("--pue", "1.2", "--campaign", "9"), "NO_SUCH_CAMPAIGN"),
    ],
)
def test_what_cannot_be_restated_is_refused_with_its_code(capsys, options, code):
    assert main(["restate", str(BUNDLE), "--json", *options]) in {1, 2}
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
