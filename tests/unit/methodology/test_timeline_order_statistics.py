"""Timelines survive a round trip and refuse anything else; orders are permutations; statistics equal scipy's."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from protocol.errors import VerificationError
from protocol.methodology import order, statistics, timeline
from protocol.methodology.timeline import QueryRecord


@st.composite
def timelines(draw):
    gaps = draw(st.lists(st.tuples(*[st.integers(0, 10**12)] * 3), min_size=1, max_size=20))
    now, records = draw(st.integers(1, 10**15)), []
    for query, (before, first, rest) in enumerate(gaps):
        sent = now + before
        records.append(QueryRecord(sent, draw(st.sampled_from([None, sent + first])), sent + first + rest, query, 0, 1))
        now = sent + first + rest
    return tuple(records)


@given(timelines())
def test_a_timeline_survives_its_file(records):
    assert timeline.unpack(timeline.pack(records)) == records


@given(timelines(), st.data())
def test_a_cut_timeline_is_refused(records, data):
    whole = timeline.pack(records)
    cut = data.draw(st.integers(1, timeline.RECORD_BYTES - 1))
    with pytest.raises(VerificationError) as caught:
        timeline.unpack(whole[:-cut])
    assert caught.value.code == "TIMELINE_MALFORMED"


@pytest.mark.parametrize(
    "records",
    [
        [QueryRecord(5, None, 4, 0, 0, 1)],
        [QueryRecord(5, 4, 6, 0, 0, 1)],
        [QueryRecord(5, 7, 6, 0, 0, 1)],
        [QueryRecord(0, None, 6, 0, 0, 1)],
        [QueryRecord(5, None, 6, 0, 0, 0)],
        [QueryRecord(5, None, 9, 0, 0, 1), QueryRecord(8, None, 12, 1, 0, 1)],
    ],
    ids=["done before sent", "token before sent", "token after done", "no instant", "no sample", "two at once"],
)
def test_an_impossible_timeline_is_refused(records):
    with pytest.raises(VerificationError):
        timeline.unpack(timeline.pack(records))


def test_the_last_query_of_a_pass_carries_the_rest():
    shape = timeline.expected_shape(points=1000, batch=32, passes=2)
    assert len(shape) == 64
    assert shape[31] == (31, 0, 8)
    assert sum(samples for _, _, samples in shape) == 2000


def test_orders_are_permutations_that_differ_by_run_and_nonce():
    nonce, other = bytes(32), bytes([1]) + bytes(31)
    first = order.run_order(nonce, 1, 1000)
    assert sorted(first) == list(range(1000))
    assert len({tuple(order.run_order(n, k, 1000)) for n in (nonce, other) for k in range(1, 11)}) == 20


def test_the_order_rule_has_not_changed():
    """A frozen vector, worked out with sha256sum: seed = SHA-256(32 zero bytes || 00000001)."""
    assert order.run_order(bytes(32), 1, 8) == [1, 3, 7, 6, 5, 2, 0, 4]


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=31))
def test_interval_and_deviation_equal_scipy(values):
    ours = statistics.interval_95(values)
    sem = stats.sem(np.array(values, dtype=float))
    theirs = sem * stats.t.ppf(0.975, len(values) - 1)
    assert float(ours) == pytest.approx(theirs, rel=3e-4, abs=1e-6)  # the table has three decimals
    assert float(statistics.deviation(values)) == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-6)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.sampled_from([500, 900, 990]))
def test_percentile_equals_numpy_nearest_rank(values, per_mille):
    theirs = np.percentile(np.array(values), per_mille / 10, method="inverted_cdf")
    assert statistics.percentile(values, per_mille) == theirs


def test_one_run_has_no_interval():
    assert statistics.interval_95([7]) is None
    assert statistics.mean([7]) == Fraction(7)
