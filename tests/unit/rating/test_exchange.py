"""AI Energy Score's files: the units are said once, and runs that were not measured are named instead of averaged."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from orchestrator.rating.exchange import ScoreRow, read_report, read_scores, write_scores
from protocol.errors import UsageError

BESIDE = (
    Path(__file__).resolve().parents[4] / "shared" / "data" / "energy-score" / "sample-report-with-broken-runs.json"
)


def report(**phases: list[float]) -> bytes:
    return json.dumps(
        {
            name: {"energy": {"unit": "kWh"}, "measures": [{"unit": "kWh", "gpu": value} for value in runs]}
            for name, runs in phases.items()
        }
    ).encode()


def test_the_column_is_kilowatt_hours_and_becomes_watt_hours() -> None:
    rows = read_scores(b"model,total_gpu_energy,energy_score\nopenai/whisper-base,0.016545973,5\n")
    assert rows == (ScoreRow(model="openai/whisper-base", wh_per_1000=Fraction("16.545973"), stars=5),)


def test_what_is_written_is_read_back_and_stands_in_order_of_energy() -> None:
    rows = (
        ScoreRow(model="b", wh_per_1000=Fraction("1.5"), stars=None, size_class="A"),
        ScoreRow(model="a", wh_per_1000=Fraction("0.25"), stars=5, size_class="B"),
    )
    text = write_scores(rows)
    assert text.splitlines() == [
        "model,total_gpu_energy,energy_score,class", "a,0.000250000000,5,B", "b,0.001500000000,,A",
    ]  # fmt: skip
    assert read_scores(text.encode()) == (rows[1], rows[0])


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("model,energy\n", "no column total_gpu_energy, energy_score"),
        ("model,total_gpu_energy,energy_score\na,-1,5\n", "line 2: total_gpu_energy '-1'"),
        ("model,total_gpu_energy,energy_score\na,nan,5\n", "line 2: total_gpu_energy 'nan'"),
        ("model,total_gpu_energy,energy_score\na,1e999999999,5\n", "line 2: total_gpu_energy"),
        ("model,total_gpu_energy,energy_score\na,1,6\n", "line 2: energy_score '6'"),
        ("model,total_gpu_energy,energy_score\n,1,5\n", "line 2: no model"),
        ("model,total_gpu_energy,energy_score\na\rb,1,5\n", "new-line character"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, seen: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_scores(text.encode())
    assert caught.value.code == "SCORES_MALFORMED"
    assert seen in caught.value.observed


def test_phases_are_added_run_by_run_and_loading_is_not() -> None:
    found = read_report(report(prefill=[0.001, 0.002], decode=[0.003, 0.004], load_model=[1.0, 1.0]))
    assert found.runs == (Fraction(4), Fraction(6))
    assert (found.mean, found.phases) == (5, ("prefill", "decode"))


def test_every_run_that_was_not_measured_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        read_report(report(prefill=[0.08, 0.0], decode=[-0.08018, 0.07]))
    assert caught.value.code == "REPORT_BROKEN_RUNS"
    assert caught.value.observed == "prefill run 2: 0.00 Wh; decode run 1: -80.18 Wh"


def test_the_published_report_is_refused_with_both_its_broken_runs() -> None:
    data = BESIDE.read_bytes() if BESIDE.exists() else report(
        preprocess=[], prefill=[0.08] * 6 + [0.0] + [0.08] * 3, decode=[0.068] * 4 + [-0.080180] + [0.068] * 5
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"prefill run 7: 0\.00 Wh; decode run 5: -80\.18 Wh"):
        read_report(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[]", "REPORT_MALFORMED"),
        (b'{"prefill": NaN}', "REPORT_MALFORMED"),
        (b'{"prefill": {"measures": [{"gpu": 1e999999999}]}}', "REPORT_MALFORMED"),
        (b'{"prefill": {"measures": [{"unit": "Wh", "gpu": 1}]}}', "REPORT_MALFORMED"),
        (b'{"prefill": {"energy": {"gpu": 1}}}', "REPORT_WITHOUT_RUNS"),
        (report(prefill=[1.0], decode=[1.0, 2.0]), "REPORT_WITHOUT_RUNS"),
        (b"\xff\xfe", "NOT_TEXT"),
    ],
)
def test_a_report_that_cannot_be_added_up_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_report(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "data", [b"1E" + b"4" * 100, b"[" * 100_000, b"[]", b"{", b"NaN"], ids=lambda data: repr(data[:4])
)
def test_a_report_that_no_reader_could_hold_is_malformed(data: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        read_report(data)
    assert caught.value.code == "REPORT_MALFORMED"
