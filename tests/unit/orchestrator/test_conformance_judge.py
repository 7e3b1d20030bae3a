"""What the check concludes from answers, times and control groups that are plain values."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from orchestrator.conformance import judge
from orchestrator.conformance.memory import MemoryUse, memory_use
from orchestrator.conformance.report import (
    IMAGE_SCOPE,
    SHOWN_OUTPUT_BYTES,
    Estimate,
    Notes,
    Output,
    Report,
    Untried,
)
from orchestrator.conformance.rules import Rule
from orchestrator.doctor import Health
from orchestrator.launch.checking import Wishes, wishes_of
from protocol.errors import ContainerFailed, ProtocolViolation
from protocol.methodology.scenario import Scenario
from protocol.methodology.tasks import REGISTRY, Task
from protocol.methodology.timeline import QueryRecord
from protocol.samples import (
    Detection,
    DetectionsAnswer,
    ErrorReason,
    ImageAnswer,
    LabelsAnswer,
    Point,
    SampleError,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
    TextInput,
    Usage,
)
from protocol.units import NS_PER_MS, NS_PER_S

LABELS, TEXT = REGISTRY[Task.TEXT_CLASSIFICATION], REGISTRY[Task.REASONING]


def box(right: float) -> DetectionsAnswer:
    found = Detection(label="cat", score=0.9, x_min=0, y_min=0, x_max=right, y_max=9)
    return DetectionsAnswer(detections=(found,))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (LabelsAnswer(labels=(("a", 0.91), ("b", 0.09))), LabelsAnswer(labels=(("a", 0.90),)), True),
        (LabelsAnswer(labels=(("a", 0.91),)), LabelsAnswer(labels=(("b", 0.91),)), False),
        (TextAnswer(text="x", usage=Usage(output_tokens=1)), TextAnswer(text="x"), True),
        (TextAnswer(text="x"), TextAnswer(text="y"), False),
        (SpanAnswer(start=1, end=2, score=0.1), SpanAnswer(start=1, end=2, score=0.2), True),
        (SpanAnswer(start=1, end=2), SpanAnswer(start=1, end=3), False),
        (ScoreAnswer(score=0.5), ScoreAnswer(score=0.5004), True),
        (ScoreAnswer(score=0.5), ScoreAnswer(score=0.51), False),
        (box(10), box(10.4), True),
        (box(10), box(12), False),
        (box(10), DetectionsAnswer(detections=()), False),
        (ImageAnswer(content=b"a"), ImageAnswer(content=b"a"), True),
        (ImageAnswer(content=b"a"), ImageAnswer(content=b"b"), False),
        (
            SampleError(reason=ErrorReason.REFUSED, detail="x"),
            SampleError(reason=ErrorReason.REFUSED, detail="y"),
            True,
        ),
        (SampleError(reason=ErrorReason.REFUSED), TextAnswer(text=""), False),
    ],
)
def test_answers_are_the_same_when_a_reader_would_act_the_same(first, second, same):
    assert judge.agrees(first, second) is same


@pytest.mark.parametrize(
    ("spec", "batch", "reordered", "repeated", "code"),
    [
        (LABELS, 1, 0, 0, None),
        (LABELS, 32, 0, 0, None),
        (LABELS, 1, 1, 0, "ANSWERS_DEPEND_ON_ORDER"),
        (LABELS, 32, 6, 0, "BATCH_CHANGES_ANSWERS"),
        (LABELS, 32, 7, 0, "ANSWERS_DEPEND_ON_ORDER"),
        (TEXT, 32, 64, 0, "BATCH_CHANGES_ANSWERS"),
        (TEXT, 1, 64, 0, "ANSWERS_DEPEND_ON_ORDER"),
        (TEXT, 1, 64, 1, "NOT_DETERMINISTIC"),
        (LABELS, 32, 1, 64, "NOT_DETERMINISTIC"),
    ],
)
def test_state_is_told_from_chance_and_from_rounding(spec, batch, reordered, repeated, code):
    assert judge.state_code(spec, batch, 64, reordered, repeated) == code


def test_the_mean_is_of_full_queries_and_the_margin_of_the_worst_one_for_its_size():
    def took(ms: int, samples: int) -> QueryRecord:
        return QueryRecord(1, None, 1 + ms * NS_PER_MS, 0, 0, samples)

    times = judge.Times.of([took(100, 32), took(300, 32), took(50, 1)], LABELS, 32)
    assert times.mean_ns == 200 * NS_PER_MS
    assert times.slowest_ns == 300 * NS_PER_MS
    assert times.slowest_share == Fraction(50, 10_000)
    assert judge.Times.of([took(50, 1)], LABELS, 32).mean_ns == 50 * NS_PER_MS


def test_a_campaign_is_its_start_its_queries_and_its_idle_windows():
    idle, ready, each = 11 * 2, 7, Fraction(1, 100)
    seconds = judge.cell_seconds(Scenario.LATENCY, LABELS, 1_000, int(each * NS_PER_S), ready * NS_PER_S)
    assert seconds == ready + idle + (10 + 10 * 1_000) * each + Fraction(9, 10)  # 100.1 s rounded up
    assert judge.cell_seconds(Scenario.THROUGHPUT, LABELS, 1_000, NS_PER_S, 0) == idle + 10 + 10 * 32


def test_errors_are_shown_in_the_models_own_words_and_only_a_few():
    points = [Point(index=i, point_id=f"p{i}", source="s", input=TextInput(text=""), reference="a") for i in range(5)]
    wrong = SampleError(reason=ErrorReason.TOO_LONG, detail="512 tokens")
    words = judge.error_words(points, [TextAnswer(text="x"), wrong, wrong, wrong, wrong])
    assert words == "p1: too-long 512 tokens; p2: too-long 512 tokens; p3: too-long 512 tokens and 1 more"


def test_memory_is_read_in_both_forms_of_control_groups(tmp_path: Path):
    for name, stat, peak in (
        ("memory", "rss 1\ntotal_rss 700\ntotal_shmem 50\ntotal_cache 900\n", "memory.max_usage_in_bytes"),
        ("unified", "anon 700\nfile 900\nshmem 50\n", "memory.peak"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "memory.stat").write_text(stat)
        assert memory_use({name: folder}) == MemoryUse(kept=750, peak=None)
        (folder / peak).write_text("1234\n")
        assert memory_use({name: folder}) == MemoryUse(kept=750, peak=1234)
    assert memory_use({"memory": tmp_path / "gone"}) is None
    assert memory_use({}) is None


@pytest.mark.parametrize(
    ("config", "wishes"),
    [
        ({}, Wishes(health_check="", stop_signal="")),
        ({"Healthcheck": {"Test": ["NONE"]}, "StopSignal": "SIGTERM"}, Wishes(health_check="", stop_signal="")),
        ({"Healthcheck": {"Test": ["CMD", "a", "b"]}}, Wishes(health_check="a b", stop_signal="")),
        ({"Healthcheck": None, "StopSignal": "9"}, Wishes(health_check="", stop_signal="9")),
    ],
)
def test_what_an_image_asks_for_is_read_from_its_configuration(config, wishes):
    assert wishes_of(config) == wishes


def test_what_held_and_then_broke_is_broken():
    notes = Notes("cell")
    notes.ok(Rule.STREAM, "64 queries answered")
    notes.failed(ProtocolViolation(code="STREAM_BROKEN", observed="o", expected="e", hint="h"), Rule.STREAM)
    notes.broken("OUTPUT_VOLUME", "9 KiB")
    assert [(found.rule, found.health) for found in notes.findings] == [
        (Rule.STREAM, Health.FAILED),
        (Rule.OUTPUT, Health.WARNING),
    ]


def test_findings_are_read_in_the_order_of_the_rules():
    notes = Notes("cell")
    for rule in (Rule.OUTPUT, Rule.FORM, Rule.PROFILE):
        notes.ok(rule, "")
    assert [found.rule for found in notes.ordered()] == [Rule.PROFILE, Rule.FORM, Rule.OUTPUT]


def test_an_error_stands_under_its_own_rule_or_under_the_one_being_checked():
    notes = Notes("cell")
    nan = ProtocolViolation(code="NOT_A_NUMBER", observed="o", expected="e", hint="h")
    unknown = ContainerFailed(code="NEVER_HEARD_OF", observed="o", expected="e", hint="do this")
    notes.failed(nan, Rule.STREAM)
    notes.failed(nan, Rule.LAST_BATCH, here=True)
    notes.failed(ContainerFailed(code="EXITED", observed="o", expected="e", hint="h"), Rule.LOAD)
    notes.failed(unknown, Rule.UNLOAD)
    assert [found.rule for found in notes.findings] == [Rule.CONTENT, Rule.LAST_BATCH, Rule.LOAD, Rule.UNLOAD]
    assert notes.findings[-1].remedy == "do this"


def report(**change: object) -> Report:
    notes = Notes(IMAGE_SCOPE)
    notes.ok(Rule.IMAGE, "fine")
    notes.broken("VOLUME_COVERED", "VOLUME /x")
    facts = {"image": "i", "config_digest": None, "profile_sha256": None, "findings": tuple(notes.findings)}
    return Report(**{**facts, **change})


def test_warnings_pass_and_failures_and_what_was_not_tried_do_not():
    notes = Notes(IMAGE_SCOPE)
    notes.broken("IMAGE_ENV", "a variable named '='")
    assert report().passed
    assert not report(findings=tuple(notes.findings)).passed
    assert not report(untried=(Untried(scope="c", rules=(Rule.LOAD,)),)).passed


def test_a_campaign_has_a_time_only_where_every_cell_has_one():
    known, unknown = Estimate(scope="a", seconds=5), Estimate(scope="b", seconds=None)
    assert report(estimates=(known, known)).campaign_seconds == 10
    assert report(estimates=(known, unknown)).campaign_seconds is None
    assert report().campaign_seconds is None


def test_output_is_bounded_and_cannot_steer_a_terminal():
    output = Output.of("c", b"start" + b"y" * SHOWN_OUTPUT_BYTES + b"\x1b[2J\n\ttail\xff")
    assert output.size == 5 + SHOWN_OUTPUT_BYTES + 11
    assert len(output.text) == SHOWN_OUTPUT_BYTES
    assert output.text.endswith("\N{REPLACEMENT CHARACTER}[2J\n\ttail\N{REPLACEMENT CHARACTER}")
    assert "start" not in output.text


def test_the_report_is_json_as_the_vendors_page_says():
    document = json.loads(json.dumps(report(estimates=(Estimate(scope="c", seconds=3),)).to_json()))
    assert (document["schema"], document["passed"]) == ("jouleseal-check/1", True)
    assert document["findings"][1] == {
        "scope": "image",
        "rule": "volumes",
        "code": "VOLUME_COVERED",
        "health": "warning",
        "observed": "VOLUME /x",
        "expected": "no VOLUME: a sandbox writes to its own memory only",
        "remedy": "remove the VOLUME line, and keep the model's files elsewhere",
    }
    assert document["estimate"] == {"totalSeconds": 3, "cells": [{"cell": "c", "seconds": 3}]}
