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


def test_a_watt_for_an_hour_is_a_watt_hour():
    hour = units.Nanoseconds(3600 * units.NS_PER_S)
    millijoules = units.millijoules(units.energy_of(Fraction(1), hour))
    assert millijoules == 3_600_000
    assert units.watt_hours(millijoules) == 1
    assert units.joules(millijoules) == 3600
