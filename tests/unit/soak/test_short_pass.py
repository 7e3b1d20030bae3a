"""The short pass of `make soak`: the same parsers, some hundred mutated inputs each, on every run of the suite."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.soak.evidence import changed, judge
from tests.soak.mutation import mutations
from tests.soak.target import MAX_INPUT, REFUSALS, Target
from tests.soak.targets import TARGETS

EXECUTIONS = 300
targets = pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])


@targets
def test_mutated_bytes_are_read_or_refused(target):
    for data in mutations(target.seeds(), EXECUTIONS, seed=1, limit=MAX_INPUT):
        target.run(data)


@targets
def test_any_bytes_are_read_or_refused(target):
    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=512))
    def read(data):
        target.run(data)

    read()


@targets
def test_there_are_seeds_to_start_from(target):
    assert target.seeds()


def test_a_parser_that_crashes_is_a_finding():
    def careless(data):
        return {}[data]

    with pytest.raises(KeyError):
        Target(name="careless", read=careless, seeds=list).run(b"anything")


def test_names_are_told_apart():
    assert len({target.name for target in TARGETS}) == len(TARGETS)


def test_changed_records_are_judged_or_refused():
    accepted = 0
    for trace, timelines in changed(200, seed=1):
        with suppress(*REFUSALS):
            judge(trace, timelines)
            accepted += 1
    assert 0 < accepted < 200, "some changes are harmless, some are not: both ways are walked"
