"""Units convert exactly and write decimals that read back."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import units


@given(st.integers(-(2**63), 2**63), st.integers(0, 12))
def test_a_decimal_string_reads_back(scaled, places):
    value = Fraction(scaled, 10**places)
    text = units.decimal_string(value, places)
    assert units.from_decimal(text) == value
    assert "E" not in text


@given(st.fractions(), st.integers(0, 9))
def test_a_decimal_string_is_the_nearest_with_ties_to_even(value, places):
    text = units.decimal_string(value, places)
    assert abs(Fraction(text) - value) * 2 <= Fraction(1, 10**places)
    assert Decimal(text).as_tuple().exponent == -places


@pytest.mark.parametrize(
    "text", ["", "-", ".5", "5.", "1e3", "1_0", " 1", "+1", "--1", "\u0661", "nan", "1.2.3", "0x1"]
)
def test_anything_but_a_plain_decimal_is_refused(text):
    with pytest.raises(ValueError, match="plain decimal"):
        units.from_decimal(text)


def test_3600_joules_are_a_watt_hour_and_3600000_millijoules():
    assert units.watt_hours(Fraction(3600)) == 1
    assert units.millijoules(Fraction(3600)) == 3_600_000


def test_millijoules_are_rounded_half_to_even():
    assert [units.millijoules(Fraction(half, 2000)) for half in (1, 3, 5)] == [0, 2, 2]
