"""Results beside each other: like with like, the doubt of a difference said, everything else refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.cli import main
from orchestrator.rating.compare import Contender, compare, contender
from orchestrator.results import read_campaigns
from protocol.attestation.bundle import read_bundle
from protocol.errors import UsageError
from protocol.methodology.statistics import difference_95, mean

BUNDLE = Path(__file__).resolve().parents[2] / "museum" / "sample-1" / "bundle.tar"


@pytest.fixture(scope="module")
def digits() -> Contender:
    return contender(read_campaigns(read_bundle(BUNDLE))[0])


def planned(one: Contender, **changes: object) -> Contender:
    return replace(one, campaign=replace(one.campaign, plan=replace(one.campaign.plan, **changes)))


def dearer(one: Contender, times: int) -> Contender:
    """Return the same result at so many times the energy of every run."""
    sessions = []
    for session in one.campaign.sessions:
        runs = []
        for run in session.outcome.runs:
            figures = json.loads(json.dumps(run.figures))
            figures["itEnergy"]["mj"] *= times
            runs.append(replace(run, figures=figures))
        sessions.append(replace(session, outcome=replace(session.outcome, runs=tuple(runs))))
    return replace(one, campaign=replace(one.campaign, sessions=tuple(sessions)))


def test_every_cell_that_two_results_share_is_compared_with_the_first(digits):
    found = compare([digits, dearer(digits, 3)])
    assert [one.scenario for one in found] == ["latency", "throughput"]
    for one in found:
        base, other = one.rows
        assert base.difference is None
        assert other.difference is not None
        assert other.difference.share == 2


def test_a_difference_within_the_noise_of_its_runs_is_not_clear(digits):
    """The released bundle's two latency runs differ by a third; its two throughput runs hardly at all."""
    latency, throughput = compare([digits, dearer(digits, 2)])
    assert latency.rows[1].difference is not None
    assert not latency.rows[1].difference.clear
    assert throughput.rows[1].difference is not None
    assert throughput.rows[1].difference.clear


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"hardware_class": "h100-80gb"}, "MIXED_CLASSES"), ({"method": "jouleseal-method/9"}, "MIXED_METHODS")],
)
def test_what_is_not_alike_is_refused(digits, changes, code):
    with pytest.raises(UsageError) as caught:
        compare([digits, planned(digits, **changes)])
    assert caught.value.code == code


def test_a_class_that_names_no_machine_is_compared_on_one_runner_only(digits):
    elsewhere = planned(digits, runner=replace(digits.campaign.plan.runner, runner_id="runner-9"))
    with pytest.raises(UsageError) as caught:
        compare([digits, elsewhere])
    assert caught.value.code == "MIXED_RUNNERS"
    rated = [planned(one, hardware_class="h100-80gb") for one in (digits, elsewhere)]
    assert compare(rated)


def test_another_dataset_or_fewer_points_are_refused(digits):
    cells = digits.campaign.plan.cells
    other_set = tuple(replace(cell, dataset=replace(cell.dataset, sha256="ab" * 32)) for cell in cells)
    fewer = tuple(replace(cell, points=cell.points - 1) for cell in cells)
    for changed in (other_set, fewer):
        with pytest.raises(UsageError) as caught:
            compare([digits, planned(digits, cells=changed)])
        assert caught.value.code == "MIXED_DATASETS"


def test_one_result_is_no_comparison(digits):
    with pytest.raises(UsageError) as caught:
        compare([digits])
    assert caught.value.code == "TOO_FEW_RESULTS"


runs = st.lists(st.fractions(min_value=1, max_value=100, max_denominator=50), min_size=2, max_size=12)


@settings(deadline=None)
@given(first=runs, second=runs)
def test_the_interval_of_a_difference_is_welchs(first: list[Fraction], second: list[Fraction]) -> None:
    """Against scipy, at the degrees of freedom rounded down, to the three digits of the table of Student's t."""
    width = difference_95(first, second)
    a, b = [float(v) for v in first], [float(v) for v in second]
    assume(len(set(first)) > 1 and len(set(second)) > 1)  # scipy warns of values that are all alike
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    exact = (interval.high - interval.low) / 2
    assert width is not None
    assert float(width) >= exact * 0.9995  # fewer degrees of freedom widen it, and never narrow it
    freedom = stats.ttest_ind(b, a, equal_var=False).df
    longest = exact * stats.t.ppf(0.975, max(int(freedom * (1 - 1e-9)), 1)) / stats.t.ppf(0.975, freedom)
    assert float(width) <= longest * 1.0005
    assert abs(float(mean(second) - mean(first)) - (interval.high + interval.low) / 2) < 1e-9


def test_runs_that_do_not_vary_leave_no_doubt():
    assert difference_95([1, 1], [2, 2]) == 0
    assert difference_95([1], [2, 3]) is None


def test_the_command_says_what_stands_beside_what(capsys):
    assert main(["compare", str(BUNDLE), str(BUNDLE)]) == 0
    said = capsys.readouterr().out
    assert "against the first" in said
    assert "estimated (cpu+dram)" in said
    assert "Nothing was verified" in said
    assert main(["compare", "--json", str(BUNDLE), str(BUNDLE)]) == 0
    found = json.loads(capsys.readouterr().out)["comparisons"]
    assert [(one["task"], one["scenario"]) for one in found] == [
        ("image-classification", "latency"),
        ("image-classification", "throughput"),
        ("text-classification", "latency"),
        ("text-classification", "throughput"),
    ]
    assert found[0]["results"][1]["energyDifference"]["clear"] is False


def test_a_bundle_beside_itself_once_has_nothing_in_common(capsys):
    assert main(["compare", "--json", str(BUNDLE)]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "NOTHING_IN_COMMON"
