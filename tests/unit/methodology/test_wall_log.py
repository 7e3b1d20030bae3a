"""A wall meter's log and its documents: what is read, and the sentence with which everything else is refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wall_meter import calibration, document

from protocol.errors import InvalidMeasurement, VerificationError
from protocol.methodology.site import parse_site
from protocol.methodology.wall_calibration import check_valid, parse_calibration
from protocol.methodology.wall_csv import MAX_WALL_BYTES, NANO, moment_ns, parse_wall

S = 1_000_000_000


def refused(text: str | bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        parse_wall(text if isinstance(text, bytes) else text.encode())
    assert caught.value.code == "WALL_MALFORMED"
    return caught.value


def test_a_log_is_read_whole() -> None:
    text = (
        "# logger 3.1\n\ntime,watts,wh,volts,amps,pf,range\n"
        "2026-03-29T00:59:59.5Z,412.25,10.125,230.1,1.9,0.94,2A\n"
        "# a remark between\n"
        "2026-03-29T03:00:00.5+02:00,-0.5,10.126,230.1,1.9,-0.1,5A\n"
    )
    found = parse_wall(text.encode())
    assert [at // S for at in found.times] == [1774745999, 1774746000]
    assert {at % S for at in found.times} == {500_000_000}
    assert [value * NANO for value in found.columns["watts"].values] == [Fraction(1649, 4), Fraction(-1, 2)]
    assert found.columns["watts"].quantum == Fraction(1, 100)
    assert found.columns["wh"].quantum == Fraction(1, 1000)
    assert found.counter == "wh"
    assert found.ranges == ("2A", "5A")


def test_unix_seconds_keep_their_nanoseconds_and_the_columns_any_order() -> None:
    found = parse_wall(b"joules,time\n5,1774746000\n6.25,1774746000.000000001\n")
    assert found.times == (1774746000 * S, 1774746000 * S + 1)
    assert found.columns["joules"].values == (5 * 10**9, 6_250_000_000)
    assert found.columns.keys() == {"joules"}


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - the offset is drawn beside it
    st.integers(-14 * 60, 14 * 60),
)
def test_an_instant_is_the_same_from_every_offset(local: datetime, minutes: int) -> None:
    aware = local.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    assert moment_ns(aware.isoformat()) == int(aware.timestamp()) * S
    assert moment_ns(aware.astimezone(UTC).isoformat().replace("+00:00", "Z")) == int(aware.timestamp()) * S


def test_the_night_when_clocks_go_back_is_two_hours_long() -> None:
    summer, winter = moment_ns("2026-10-25T02:30:00+02:00"), moment_ns("2026-10-25T02:30:00+01:00")
    assert summer is not None
    assert winter == summer + 3600 * S
    error = refused("time,watts\n2026-10-25T02:30:00,1\n")
    assert "one instant" in error.hint


@pytest.mark.parametrize(
    ("text", "line", "seen", "hint"),
    [
        ("", "line 1", "cut off", ""),
        ("\n", "", "no row", ""),
        ("time,watts\n", "", "no row", ""),
        ("# nothing\n", "", "no row", ""),
        ("\ufefftime,watts\n1,1\n", "line 1", "byte order mark", "sed"),
        ("time,watts\n1,1\r\n2,2\r\n", "line 2", "carriage return", "sed"),
        ("time,watts\n1,1\n2,2", "line 3", "cut off", ""),
        ("time;watts\n1;1,5\n", "line 1", "time;watts", "decimals with a point"),
        ("time,watts\n1,412,5\n", "line 2", "3 fields", "decimal comma"),
        ('time,watts\n1,"412,5"\n', "line 2", "3 fields", "decimal comma"),
        ("time,watts\n1\n", "line 2", "1 fields", ""),
        ("time,power\n1,1\n", "line 1", "'power'", "rename or drop"),
        ("Time,Watts\n1,1\n", "line 1", "'Time'", "rename or drop"),
        ("watts\n1\n", "line 1", "columns watts", ""),
        ("time,volts\n1,1\n", "line 1", "columns time,volts", ""),
        ("time,watts,watts\n1,1,1\n", "line 1", "twice", ""),
        ("time,wh,joules\n1,1,1\n", "line 1", "wh and joules", ""),
        ("time,watts\n1,nan\n", "line 2", "'nan'", ""),
        ("time,watts\n1,inf\n", "line 2", "'inf'", ""),
        ("time,watts\n1,\n", "line 2", "watts ''", ""),
        ("time,watts\n1,1e3\n", "line 2", "'1e3'", ""),
        ("time,watts\n1,+1\n", "line 2", "'+1'", ""),
        ("time,watts\n1, 1\n", "line 2", "' 1'", ""),
        ("time,watts\n1,.5\n", "line 2", "'.5'", ""),
        ("time,watts\n1,1.0000000001\n", "line 2", "'1.0000000001'", ""),
        ("time,watts\n1,\u0661\n", "line 2", "watts", ""),
        ("time,watts\n1,1234567890123456\n", "line 2", "watts", ""),
        ("time,watts\n1,1\n# fine\n1,2\n", "line 4", "not after", ""),
        ("time,watts\n2,1\n1,2\n", "line 3", "not after", ""),
        ("time,watts\n1,1\n2026-01-01T00:00:00Z,2\n", "line 3", "2026", ""),
        ("time,watts\n2026-01-01 00:00:00,1\n", "line 2", "2026", "one instant"),
        ("time,watts\n2026-02-30T00:00:00Z,1\n", "line 2", "2026-02-30", ""),
        ("time,watts\n2026-01-01T00:00:60Z,1\n", "line 2", "00:00:60", ""),
        ("time,watts\n2026-01-01T00:00:00+25:00,1\n", "line 2", "+25:00", ""),
        ("time,watts\n-1,1\n", "line 2", "'-1'", ""),
        ("time,watts,range\n1,1,two amps\n", "line 2", "two amps", ""),
        ("time,watts\n" + "1" * 600 + ",1\n", "line 2", "602 characters", ""),
    ],
)
def test_everything_else_is_refused_with_its_line(text: str, line: str, seen: str, hint: str) -> None:
    error = refused(text)
    assert line in error.observed
    assert seen in error.observed
    assert hint in error.hint
    assert error.expected


def test_bytes_that_are_no_text_and_bytes_without_end_are_refused() -> None:
    assert "line 2" in refused(b"time,watts\n1,\xff\n").observed
    assert str(MAX_WALL_BYTES) in refused(b"#" * (MAX_WALL_BYTES + 1)).expected


# The calibration document


def test_a_calibration_is_read_in_the_units_of_the_method() -> None:
    found = calibration(gain="0.998", intervalSeconds="0.5", clockUncertaintySeconds="0.0005")
    assert (found.gain, found.interval_ns, found.clock_uncertainty_ns) == (Fraction(998, 1000), S // 2, 500_000)
    assert found.valid_until.isoformat() == "2024-01-30"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"format": "jouleseal-wall-calibration/2"}, "calibration.format"),
        ({"gain": "1.2"}, "calibration.gain"),
        ({"gain": 1}, "calibration.gain"),
        ({"gain": "1,0"}, "calibration.gain"),
        ({"gainUncertainty": "0"}, "calibration.gainUncertainty"),
        ({"gainUncertainty": "0.06"}, "calibration.gainUncertainty"),
        ({"offsetWatts": "21"}, "calibration.offsetWatts"),
        ({"offsetUncertaintyWatts": "0.0"}, "calibration.offsetUncertaintyWatts"),
        ({"clockUncertaintySeconds": "0"}, "calibration.clockUncertaintySeconds"),
        ({"clockUncertaintySeconds": "6"}, "calibration.clockUncertaintySeconds"),
        ({"intervalSeconds": "6"}, "calibration.intervalSeconds"),
        ({"intervalSeconds": "0.001"}, "calibration.intervalSeconds"),
        ({"reading": "average"}, "calibration.reading"),
        ({"measures": "rack"}, "calibration.measures"),
        ({"comment": "fine"}, "calibration.comment"),
        ({"meter": {"make": "A", "model": "B"}}, "calibration.meter.serial"),
        ({"meter": {"make": "A", "model": "B", "serial": ""}}, "calibration.meter.serial"),
    ],
)
def test_another_document_is_refused_with_the_path(changes: dict[str, object], path: str) -> None:
    with pytest.raises(VerificationError) as caught:
        calibration(**changes)
    assert path in caught.value.observed


@pytest.mark.parametrize("text", ["2023-02-30", "2023-1-31", "20230131", "2023-01-31T00:00:00Z"])
def test_a_date_is_a_day_that_exists(text: str) -> None:
    certificate = {"id": "C", "issuer": "L", "calibratedOn": text, "validUntil": "2024-01-30"}
    with pytest.raises(VerificationError, match="calibratedOn"):
        calibration(certificate=certificate)


def test_a_certificate_does_not_end_before_it_begins() -> None:
    certificate = {"id": "C", "issuer": "L", "calibratedOn": "2024-01-31", "validUntil": "2024-01-30"}
    with pytest.raises(VerificationError, match="validUntil"):
        calibration(certificate=certificate)


def test_a_field_twice_and_a_number_with_a_point_are_no_document() -> None:
    with pytest.raises(VerificationError, match="DUPLICATE_NAME"):
        parse_calibration(b'{"format": "a", "format": "b"}')
    with pytest.raises(VerificationError, match="MALFORMED_JSON"):
        parse_calibration(json.dumps(document(gain=1.0)).encode())


def test_a_certificate_holds_on_both_its_days_and_on_no_other() -> None:
    found = calibration()
    first, last = moment_ns("2023-01-31T00:00:00Z"), moment_ns("2024-01-30T23:59:59.9Z")
    assert first is not None
    assert last is not None
    check_valid(found, first, last)
    for start, end in ((first - 1, last), (first, last + S)):
        with pytest.raises(InvalidMeasurement, match="WALL_CALIBRATION_EXPIRED"):
            check_valid(found, start, end)


# The page


def test_the_examples_of_the_page_are_what_the_readers_read() -> None:
    page = (Path(__file__).parents[3] / "docs" / "wall-meter.md").read_text(encoding="utf-8")
    document_of_meter, profile = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert parse_calibration(document_of_meter.encode()).interval_ns == S
    assert parse_site(profile.encode()).pue == Fraction(6, 5)
    lines = re.findall(r"(?m)^    (# anything.*|time,.*|2026-.*)$", page)
    assert len(parse_wall(("\n".join(lines) + "\n").encode()).times) == 2
