"""A board whose counter is known to be off, behind a supply of known efficiency: what the wall meter makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from fractions import Fraction

import pytest
from gates import MS, S, constant, idle_work_idle
from hypothesis import given, settings
from hypothesis import strategies as st
from records import FAST, SLOW, Scene, cpu_sources, source, steady_world
from wall_meter import ORIGIN, WallMeter, calibration

from protocol.errors import InvalidMeasurement, TraceGap, VerificationError
from protocol.methodology.gain_document import conclude, parse_gain
from protocol.methodology.wall_calibration import WallCalibration
from protocol.methodology.wall_gain import Efficiency, Gain, Level, gain, levels

WINDOWS = (("idle-0", S, 9 * S), ("run-1", 9 * S + 1, 49 * S), ("idle-1", 49 * S + 1, 58 * S))
RUN = (ORIGIN + 9 * S + 1, ORIGIN + 49 * S)
TIGHT = Efficiency(low=Fraction(945, 1000), high=Fraction(955, 1000))
REST = 150_000  # mW of the node that never move


def found(told: Fraction = Fraction(1), *, psu: Efficiency = TIGHT, **world: object) -> Gain:
    """Return the gain of a board whose counter says the `told` part of the truth."""
    return gain(leveled(told, **world), calibration(), psu)


def leveled(
    told: Fraction = Fraction(1),
    *,
    high: int = 650_000,
    real: Fraction = Fraction(95, 100),
    at_work: Fraction | None = None,
    world: Callable[[dict], dict] = lambda world: world,
    **scene: object,
) -> list[Level]:
    """Return the levels of one record; the supplies have the efficiency `real`, and `at_work` while the board works."""
    device = idle_work_idle(*RUN, 70_000, high)
    wall = idle_work_idle(*RUN, int((70_000 + REST) / real), int((high + REST) / (at_work or real)))
    columns = ("gpu0.energy_mj",)

    def counted(t: int) -> int:
        return int(told * device.joules(ORIGIN - S, ORIGIN + t // (100 * MS) * 100 * MS) * 1000)

    facts = {
        "windows": WINDOWS,
        "sources": {**cpu_sources(), "gpu": source("nvml", devices=["gpu0"])},
        "world": world({**steady_world(), columns[0]: counted}),
        "fast": (*FAST, *columns),
        **scene,
    }
    log = WallMeter(power=wall, places=3).log(ORIGIN - 3 * S, ORIGIN + 62 * S)
    return levels(Scene(**facts).trace(), log, calibration(), "gpu0")


def test_a_counter_that_is_right_has_a_gain_of_one_and_a_smaller_doubt() -> None:
    right = found()
    assert float(right.gain) == pytest.approx(1, abs=1e-3)
    assert right.relative < Fraction(5, 100) / Fraction(174, 100)
    assert [level.name for level in right.levels] == ["idle-0", "run-1", "idle-1"]
    reach = 1_020_000_000  # an interval and twice the clock's doubt, of each end that has a neighbour
    spans = [close - begin - edges * reach for (_, begin, close), edges in zip(WINDOWS, (1, 2, 1), strict=True)]
    assert [level.node.duration_ns for level in right.levels] == spans


@settings(max_examples=15, deadline=None)
@given(st.integers(985, 1015), st.integers(945, 955), st.integers(945, 955), st.integers(350_000, 900_000))
def test_the_gain_lies_within_its_doubt_wherever_the_efficiency_lies(
    told: int, real: int, work: int, high: int
) -> None:
    of = found(Fraction(told, 1000), real=Fraction(real, 1000), high=high, at_work=Fraction(work, 1000))
    assert abs(of.gain * Fraction(told, 1000) - 1) <= 2 * of.uncertainty
    # What is published with the figure, the correction being left out, holds the truth as well.
    assert abs(1 - Fraction(told, 1000)) <= 2 * of.relative * Fraction(told, 1000)


def test_every_term_is_there_and_their_squares_make_the_doubt() -> None:
    of = found(Fraction(98, 100))
    assert set(of.terms) == {"psu", "wall", "log", "host", "rest", "counter", "fit"}
    assert float(of.uncertainty) == pytest.approx(sum(float(term) ** 2 for term in of.terms.values()) ** 0.5)
    assert float(of.relative) == pytest.approx(float(of.uncertainty / of.gain + abs(of.gain - 1) / 2))
    # 1 % of efficiency, half of it to each side, at 842 W of work and 232 W of idle, over 580 W of the device
    n = (650 + 150) / 0.95, (70 + 150) / 0.95
    assert float(of.terms["psu"]) == pytest.approx(
        0.005 / 3**0.5 * (n[0] ** 2 + n[1] ** 2) ** 0.5 / (580 * 0.98), rel=2e-3
    )
    assert float(of.terms["rest"]) == pytest.approx(0.02 / 3**0.5 * float(of.gain), rel=1e-6)
    assert float(of.terms["wall"]) == pytest.approx(0.001 * float(of.gain), rel=2e-3)


def test_a_board_out_of_its_specification_is_not_calibrated() -> None:
    with pytest.raises(InvalidMeasurement, match="GAIN_OUT_OF_SPEC"):
        found(Fraction(94, 100))
    with pytest.raises(InvalidMeasurement, match="GAIN_OUT_OF_SPEC"):
        found(Fraction(106, 100))


def test_an_efficiency_that_nobody_looked_up_makes_no_doubt_smaller() -> None:
    with pytest.raises(InvalidMeasurement, match="GAIN_TOO_COARSE") as caught:
        found(psu=Efficiency(low=Fraction(90, 100), high=Fraction(100, 100)))
    assert "of which psu" in caught.value.observed


def test_a_known_deviation_that_is_left_in_is_part_of_the_doubt() -> None:
    with pytest.raises(InvalidMeasurement, match="deviation of the gain"):
        found(Fraction(96, 100))


def test_processors_that_work_beside_the_board_widen_the_doubt() -> None:
    def busy(world: dict) -> dict:
        return {
            **world,
            "host.busy_ticks": lambda t: t // (10 * MS) // 10 + min(max(t - 9 * S, 0), 40 * S) // (10 * MS),
        }

    loaded = found(world=busy)
    assert loaded.terms["host"] > 0 == found().terms["host"]
    assert loaded.terms["host"] < Fraction(1, 100)


def test_the_nodes_own_counters_of_its_processors_are_taken_out() -> None:
    zone = {"column": "rapl.package-0_uj", "range": 2**31}

    def counted(world: dict) -> dict:
        return {
            **world,
            zone["column"]: lambda t: (30 * t // 1000 + 58 * min(max(t - 9 * S, 0), 40 * S) // 1000) % 2**31,
        }

    sources = {**cpu_sources(), "gpu": source("nvml", devices=["gpu0"]), "cpu": source("rapl", counters=[zone])}
    facts = {"world": counted, "sources": sources, "slow": (*SLOW, zone["column"])}
    with_host = leveled(**facts)
    assert [round(float(level.host_watts)) for level in with_host] == [30, 88, 30]
    assert all(level.host_by_rapl for level in with_host)
    # The wall saw none of these 58 W in this world, so taking them out must show: a tenth of the board's 580 W.
    with pytest.raises(InvalidMeasurement, match="GAIN_OUT_OF_SPEC"):
        gain(with_host, calibration(), TIGHT)


def test_levels_of_several_records_make_one_gain_and_their_scatter_shows() -> None:
    straight = [*leveled(), *leveled(high=400_000)]
    bent = [*leveled(), *leveled(high=400_000, at_work=Fraction(93, 100))]
    one, other = (gain(each, calibration(), TIGHT) for each in (straight, bent))
    assert len(one.levels) == 6
    assert other.terms["fit"] > one.terms["fit"]


def test_idle_alone_has_no_slope() -> None:
    idle = [level for level in leveled() if level.name != "run-1"]
    for few in (idle, idle[:1], []):
        with pytest.raises(InvalidMeasurement, match="GAIN_NO_LEVELS"):
            gain(few, calibration(), TIGHT)


def test_a_device_without_a_counter_has_no_gain() -> None:
    log = WallMeter(power=constant(500_000)).log(ORIGIN, ORIGIN + 60 * S)
    with pytest.raises(TraceGap, match="CHANNEL_LOST"):
        levels(Scene(windows=WINDOWS).trace(), log, calibration(), "gpu0")


# The document


def concluded(wall: WallCalibration | None = None) -> bytes:
    return conclude(
        found(Fraction(99, 100)),
        device="GPU-1",
        measured_on=date(2023, 11, 14),
        wall=wall or calibration(),
        log="a" * 64,
        chains=("b" * 64,),
        psu=TIGHT,
    ).to_json()


def test_the_document_comes_back_as_it_was() -> None:
    found = parse_gain(concluded())
    assert found.to_json() == concluded()
    assert found.device == "GPU-1"
    assert found.valid_until == date(2024, 1, 30)  # the wall meter's certificate ends before the year does
    assert found.relative >= found.gain_uncertainty / found.gain + abs(found.gain - 1) / 2
    found.check_valid(date(2023, 11, 14))
    for day in (date(2023, 11, 13), date(2024, 1, 31)):
        with pytest.raises(InvalidMeasurement, match="GAIN_CALIBRATION_EXPIRED"):
            found.check_valid(day)


def test_no_calibration_holds_for_longer_than_a_year() -> None:
    certificate = {"id": "C", "issuer": "L", "calibratedOn": "2023-01-31", "validUntil": "2033-01-30"}
    assert parse_gain(concluded(calibration(certificate=certificate))).valid_until == date(2024, 11, 13)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("relativeStandardUncertainty", "0.010000"),
        ("gainUncertainty", "0.001000"),
        ("gain", "1.000000"),
        ("gain", "1.06"),
        ("relativeStandardUncertainty", "0.03"),
        ("gainUncertainty", "0"),
        ("measuredOn", "yesterday"),
        ("comment", "fine"),
        ("psuEfficiency", {"low": "0.9", "high": "0.9"}),
        ("psuEfficiency", {"low": "0.9", "high": "1.1"}),
        ("evidence", {"wallLogSha256": "a", "wallCalibrationSha256": "b" * 64, "recordChains": []}),
        ("terms", {"psu": "0.01"}),
    ],
)
def test_a_document_that_does_not_follow_from_itself_is_refused(name: str, value: object) -> None:
    changed = {**json.loads(concluded()), name: value}
    with pytest.raises(VerificationError):
        parse_gain(json.dumps(changed).encode())


def test_terms_that_were_made_larger_or_smaller_do_not_make_the_doubt() -> None:
    whole = json.loads(concluded())
    whole["terms"]["rest"] = "0.000000"
    with pytest.raises(VerificationError, match="relativeStandardUncertainty"):
        parse_gain(json.dumps(whole).encode())
