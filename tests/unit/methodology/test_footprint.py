"""Footprints: what other people's factors make of a measured energy, and what is absent when they are."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.rating.tables import DEFAULT_TABLE, load_table, make_table
from protocol.errors import UsageError, VerificationError
from protocol.methodology.factors import FactorTable, parse_factors
from protocol.methodology.footprint import (
    NO_HARDWARE,
    NO_PRICE,
    NO_REGION,
    NO_WUE,
    UNITS,
    WRITTEN_OFF,
    Work,
    footprint,
    water_litres,
)
from protocol.methodology.site import SiteProfile, parse_site

KWH = Fraction(3_600_000)


def profile(**more: Any) -> SiteProfile:
    document = {
        "format": "jouleseal-site/1", "name": "hall 3", "pue": "1.2", "source": "meter report", "date": "2026-01-31",
    }  # fmt: skip
    return parse_site(json.dumps(document | more).encode())


def full() -> SiteProfile:
    known = {"source": "contract", "date": "2026-02-01"}
    return profile(
        region={"code": "FRA", **known},
        wue={"litresPerKwh": "0.5", **known},
        hardware={"lifetimeYears": "3", "ageYears": "1", "utilisation": "0.5", "accelerators": 8, **known},
        price={"perKwh": "0.25", "currency": "EUR", **known},
    )


@pytest.fixture(scope="module")
def table() -> FactorTable:
    return load_table()


def test_the_table_that_comes_along_is_the_one_it_names(table: FactorTable) -> None:
    """The values are those that EcoLogits 0.11.3 publishes; peers' own pages repeat them."""
    assert (table.table_id, table.date, len(table.grid)) == (DEFAULT_TABLE, date(2026, 11, 23), 215)
    grams = {code: str(float(table.grid[code].carbon_grams)) for code in ("WOR", "USA", "FRA", "SWE", "DEU", "CHN")}
    assert grams == {
        "WOR": "458.29", "USA": "384.4", "FRA": "41.44", "SWE": "35.26", "DEU": "329.65", "CHN": "525.34",
    }  # fmt: skip
    assert [float(table.grid[code].water_litres) for code in ("WOR", "FRA", "SWE")] == [3.908, 3.6737, 6.0315]
    assert "water is the world's average" in table.grid["ABW"].notes


def test_a_kilowatt_hour_in_france(table: FactorTable) -> None:
    """Every figure by hand: 1 kWh of IT energy in an hour on one of eight H100, PUE 1.2, WUE 0.5, 0.25 EUR a kWh."""
    work = Work(joules=KWH, seconds=Fraction(3600), accelerator="h100-80gb", accelerators=1)
    found = footprint(work, full(), table)
    values = {name: amount.value for name, amount in found.amounts.items()}
    assert values["carbon"] == Fraction("1.2") * Fraction("41.44")
    assert values["water"] == Fraction("0.5") + Fraction("1.2") * Fraction("3.6737")
    assert values["cost"] == Fraction("0.3")
    share = Fraction(3600) / (3 * 365 * 24 * 3600 * Fraction(1, 2))
    assert values["embodiedCarbon"] == share * (Fraction(5700, 8) + 273) * 1000
    assert values["embodiedPrimary"] == share * (Fraction(70000, 8) + 3721)
    assert (found.region, found.carbon_kind, found.currency) == ("FRA", "average", "EUR")
    assert list(found.amounts) == list(UNITS)


def test_what_the_profile_does_not_say_is_absent_with_its_reason(table: FactorTable) -> None:
    found = footprint(Work(joules=KWH, seconds=Fraction(1)), profile(), table).amounts
    assert all(amount.value is None for amount in found.values())
    assert (found["carbon"].reason, found["embodiedCarbon"].reason, found["cost"].reason) == (
        NO_REGION, NO_HARDWARE, NO_PRICE,
    )  # fmt: skip
    region = {"code": "DEU", "source": "contract", "date": "2026-02-01"}
    with_region = footprint(Work(joules=KWH, seconds=Fraction(1)), profile(region=region), table).amounts
    assert with_region["water"].reason == NO_WUE
    assert with_region["carbon"].value == Fraction("1.2") * Fraction("329.65")


def test_hardware_past_its_lifetime_is_written_off(table: FactorTable) -> None:
    site = full()
    assert site.hardware is not None
    old = replace(site, hardware=replace(site.hardware, age_years=Fraction(4)))
    found = footprint(Work(joules=KWH, seconds=Fraction(60)), old, table).amounts["embodiedCarbon"]
    assert (found.value, found.note) == (0, WRITTEN_OFF)


def test_hardware_that_no_table_knows_is_no_zero(table: FactorTable) -> None:
    work = Work(joules=KWH, seconds=Fraction(60), accelerator="h200-141gb", accelerators=1)
    found = footprint(work, full(), table).amounts["embodiedCarbon"]
    assert found.value is None
    assert "h200-141gb" in (found.reason or "")
    more = Work(joules=KWH, seconds=Fraction(60), accelerator="h100-80gb", accelerators=9)
    assert "holds 8" in (footprint(more, full(), table).amounts["embodiedCarbon"].reason or "")


@given(
    kwh=st.fractions(min_value=0, max_value=1000),
    pue=st.fractions(min_value=1, max_value=3),
    wue=st.fractions(min_value=0, max_value=10),
    grid=st.fractions(min_value=0, max_value=10),
)
def test_water_is_not_multiplied_by_pue_twice(kwh: Fraction, pue: Fraction, wue: Fraction, grid: Fraction) -> None:
    right = water_litres(kwh, pue=pue, wue=wue, grid_litres=grid)
    assert right == kwh * wue + kwh * pue * grid
    doubled = water_litres(kwh * pue, pue=pue, wue=wue, grid_litres=grid)  # what starts from E x PUE gets
    assert doubled == pue * right


@given(joules=st.fractions(min_value=0, max_value=10**9), times=st.integers(2, 50))
def test_a_footprint_grows_with_its_energy_and_its_time(joules: Fraction, times: int) -> None:
    table = load_table()
    once = footprint(Work(joules=joules, seconds=Fraction(7)), full(), table).amounts
    many = footprint(Work(joules=joules * times, seconds=Fraction(7 * times)), full(), table).amounts
    for name in UNITS:
        assert (once[name].value is None) == (many[name].value is None)
        assert once[name].value is None or many[name].value == once[name].value * times


def test_a_region_that_the_table_lacks_is_refused_by_name(table: FactorTable) -> None:
    region = {"code": "FRX", "source": "contract", "date": "2026-02-01"}
    with pytest.raises(VerificationError, match=r"NO_SUCH_REGION.*FRX.*FRA") as caught:
        footprint(Work(joules=KWH, seconds=Fraction(1)), profile(region=region), table)
    assert caught.value.code == "NO_SUCH_REGION"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"carbonGramsPerKwh": "-1"}, "carbonGramsPerKwh"),
        ({"carbonGramsPerKwh": 41}, "carbonGramsPerKwh"),
        ({"carbonKind": "mixed"}, "carbonKind"),
        ({"nuclear": "1"}, "nuclear"),
        ({"notes": ["x"] * 9}, "notes"),
    ],
)
def test_a_table_with_a_mistake_is_refused_at_its_path(change: dict[str, object], path: str) -> None:
    row = {
        "carbonGramsPerKwh": "41", "carbonKind": "marginal", "waterLitresPerKwh": "1", "abioticKgSbPerKwh": "0",
        "primaryMjPerKwh": "2", "notes": [],
    }  # fmt: skip
    document = {
        "format": "jouleseal-factors/1", "id": "mine", "date": "2026-01-01", "source": "me", "licence": "CC0-1.0",
        "grid": {"FRA": row}, "embodied": {},
    }  # fmt: skip
    assert parse_factors(json.dumps(document).encode()).grid["FRA"].carbon_kind == "marginal"
    document["grid"] = {"FRA": row | change}
    with pytest.raises(VerificationError, match=path):
        parse_factors(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"wue": {"litresPerKwh": "101", "source": "s", "date": "2026-01-01"}}, "wue.litresPerKwh"),
        ({"price": {"perKwh": "1", "currency": "euro", "source": "s", "date": "2026-01-01"}}, "price.currency"),
        ({"region": {"code": "FRA", "date": "2026-01-01"}}, "region.source"),
        (
            {
                "hardware": {
                    "lifetimeYears": "0", "ageYears": "0", "utilisation": "1", "accelerators": 0,
                    "source": "s", "date": "2026-01-01",
                }
            },
            "hardware.lifetimeYears",
        ),
    ],
)  # fmt: skip
def test_a_profile_with_a_mistake_is_refused_at_its_path(part: dict[str, object], path: str) -> None:
    with pytest.raises(VerificationError, match=path):
        profile(**part)


def test_a_table_is_made_of_the_wheel_it_names_and_of_no_other() -> None:
    with pytest.raises(UsageError, match="FACTORS_SOURCE"):
        make_table(b"not that wheel")
