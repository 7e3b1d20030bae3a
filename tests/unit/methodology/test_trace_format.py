"""The record can be read, and no byte of it can be changed unnoticed."""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import MS, S, Scene

from protocol.errors import Unverifiable, VerificationError
from protocol.methodology import trace as record
from protocol.methodology.trace import SourceKind, Window, parse_trace

DATA = Scene().data()


def rechained(lines: list[bytes]) -> bytes:
    """A forger's record: the lines as given, with every digest made to fit."""
    chain = record.GENESIS
    out = []
    for line in lines:
        fitted = record.encode_line(["k", chain.hex()]) if line.startswith(b'["k"') else line
        chain = record.advance(chain, fitted)
        out.append(fitted)
    return b"".join(out)


def edited(old: bytes, new: bytes, count: int = 1) -> bytes:
    assert old in DATA
    return rechained(DATA.replace(old, new, count).splitlines(keepends=True))


def refused(data: bytes) -> str:
    with pytest.raises(VerificationError) as caught:
        parse_trace(data)
    assert caught.value.code in {"TRACE_MALFORMED", "TRACE_CHAIN"}
    return caught.value.code


def test_a_record_reads_back_as_what_was_written() -> None:
    trace = parse_trace(DATA)
    origin = 5_000 * S
    assert trace.windows == (
        Window(name="idle-0", open_ns=origin + S, close_ns=origin + 3 * S),
        Window(name="run-1", open_ns=origin + 4 * S, close_ns=origin + 6 * S),
        Window(name="idle-1", open_ns=origin + 7 * S, close_ns=origin + 9 * S),
    )
    assert trace.channels == ("gpu", "cpu", "dram", "network", "storage")
    assert trace.sources["cpu"].kind is SourceKind.MODEL
    assert trace.attachment is not None
    assert trace.attachment.cpus_milli == 1000
    assert trace.fast.times[0] == origin
    assert trace.fast.column(record.CPU_TIME)[1] == 50 * MS
    assert trace.fast.column("no such column") is None
    assert trace.anchor_end.monotonic_ns - trace.anchor_start.monotonic_ns == 10 * S
    assert trace.window("run-1").duration_ns == 2 * S
    assert trace.digest == DATA.splitlines()[-1].decode()[6:70]


def test_a_window_that_is_not_there_is_a_false_claim() -> None:
    with pytest.raises(VerificationError) as caught:
        parse_trace(DATA).window("run-2")
    assert caught.value.code == "WINDOW_ABSENT"


@settings(max_examples=400, deadline=None)
@given(place=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7))
def test_no_bit_can_be_flipped_unnoticed(place: int, bit: int) -> None:
    changed = bytearray(DATA)
    changed[place] ^= 1 << bit
    with pytest.raises((VerificationError, Unverifiable)):
        parse_trace(bytes(changed))


def test_every_byte_of_the_last_lines_is_covered() -> None:
    for place in range(len(DATA) - 400, len(DATA)):
        changed = bytearray(DATA)
        changed[place] ^= 1
        refused(bytes(changed))


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(0, len(DATA) - 1))
def test_a_record_that_is_cut_off_is_refused(cut: int) -> None:
    refused(DATA[:cut])


def test_lines_cannot_be_dropped_swapped_or_added() -> None:
    lines = DATA.splitlines(keepends=True)
    rng = random.Random(1)
    for _ in range(50):
        i, j = sorted(rng.sample(range(len(lines)), 2))
        refused(b"".join(lines[:i] + lines[i + 1 :]))
        refused(b"".join([*lines[:i], lines[j], *lines[i + 1 : j], lines[i], *lines[j + 1 :]]))
        refused(b"".join([*lines[:j], lines[i], *lines[j:]]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'["s",100000000,', b'["s",99.5,'),  # a fraction
        (b'["s",100000000,', b'["s",true,'),  # a truth value for a number
        (b'["s",100000000,', b'["s",-1,'),  # before the origin
        (b'["s",200000000,', b'["s",100000000,'),  # two samples of one instant
        (b'["s",200000000,', b'["s",50000000,'),  # time runs backwards
        (b'["s",100000000,1000,50000000]', b'["s",100000000,1000]'),  # a value too few
        (b'["s",100000000,1000,50000000]', b'["s",100000000,1000,50000000,7]'),  # a value too many
        (b'["s",100000000,1000,50000000]', b'["s",100000000,1000,-50000000]'),  # a negative reading
        (b'["s",100000000,1000,50000000]', b'["s",100000000,null,50000000]'),  # no span
        (b'["s",100000000,1000,50000000]', b'["s", 100000000,1000,50000000]'),  # another spelling
        (b'["s",100000000,1000,50000000]', b'["s",1e8,1000,50000000]'),  # another spelling
        (b'["s",100000000,1000,50000000]', b'["q",100000000,1000,50000000]'),  # an unknown kind
        (b'["s",100000000,1000,50000000]', b'{"s":100000000}'),  # no row
        (b'["s",100000000,1000,50000000]', b"[]"),
        (b'["m",1000000000,"open","idle-0"]', b'["m",1000000000,"close","idle-0"]'),
        (b'["m",1000000000,"open","idle-0"]', b'["m",1000000000,"open","run-1"]'),
        (b'["m",1000000000,"open","idle-0"]', b'["m",1000000000,"open",""]'),
        (b'["m",1000000000,"open","idle-0"]', b'["m",1000000001,"open","idle-0"]'),  # a mark without its readings
        (b'["m",6000000000,"close","run-1"]\n', b""),  # a window that is never closed
        (b'["m",3000000000,"close","idle-0"]\n', b""),  # a window inside another
        (b'"open","idle-1"', b'"open","run-1"'),  # closed by another name
        (b'"open","run-1"]\n', b'"open","run-1"]\n["m",4000000000,"close","run-1"]\n'),  # a window of no length
        (b'"cpus_milli":1000', b'"cpus_milli":0'),
        (b'"period_ns":100000000', b'"period_ns":0'),
        (b'"clock_ticks":100', b'"clock_ticks":"100"'),
        (b'"origin_ns":"5000000000000"', b'"origin_ns":"05000000000000"'),
        (b'"kind":"unread"', b'"kind":"guessed"'),
        (b'"gpu":{', b'"gpus":{'),
        (b'"columns":["sandbox.cpu_ns"]', b'"columns":["sandbox.cpu_ns","sandbox.cpu_ns"]'),
        (b'"columns":["sandbox.cpu_ns"]', b'"columns":[1]'),
        (b'"host":{"cpu":"virtual"}', b'"host":{"cpu":1}'),
        (b'"samples":101', b'"samples":102'),
        (b'"misses":0', b'"misses":-1'),
    ],
)
def test_a_forger_who_can_rechain_still_cannot_break_the_grammar(old: bytes, new: bytes) -> None:
    assert refused(edited(old, new)) == "TRACE_MALFORMED"


def test_a_name_is_used_once() -> None:
    lines = DATA.replace(b'"idle-1"', b'"idle-0"').splitlines(keepends=True)
    assert refused(rechained(lines)) == "TRACE_MALFORMED"


def test_nothing_follows_the_end() -> None:
    lines = DATA.splitlines(keepends=True)
    later = record.encode_line(["s", 11 * S, 1, 1])
    assert refused(rechained([*lines, later, b'["k",""]\n'])) == "TRACE_MALFORMED"
    assert refused(rechained(lines[:-1])) == "TRACE_MALFORMED"  # the end without its digest


def test_a_host_sample_never_stands_by_itself() -> None:
    lines = DATA.splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith(b'["h",2000000000,'))
    assert refused(rechained(lines[: at - 1] + lines[at:])) == "TRACE_MALFORMED"


def test_another_format_is_not_called_false() -> None:
    with pytest.raises(Unverifiable) as caught:
        parse_trace(DATA.replace(b"jouleseal-trace/1", b"jouleseal-trace/2"))
    assert caught.value.code == "UNKNOWN_FORMAT"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused_by_name(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize("data", [b"[" * 100_000 + b"\n", b'{"format":' + b"9" * 10_000 + b"}\n", b"null\n", b"\n"])
def test_hostile_json_is_refused_by_name(data: bytes) -> None:
    refused(data)


def test_a_five_minute_record_costs_little_to_read() -> None:
    runs = [(f"run-{k}", k * 28 * S, k * 28 * S + 25 * S) for k in range(1, 11)]
    data = Scene(windows=runs).data()
    began = time.process_time_ns()
    trace = parse_trace(data)
    spent = time.process_time_ns() - began
    assert len(trace.fast.times) > 3_000
    assert len(data) < 300_000
    # CPU time, not wall time, and forty times what it takes: a quadratic reader fails, a busy machine does not.
    assert spent < 2 * S


@given(st.from_regex(r'\A\["[sh]"(,(null|[-+ ]?0*[0-9]{1,20}|1e5|[0-9]\.0))+\]\Z'))
def test_what_is_taken_for_the_canonical_spelling_of_a_sample_is_it(line: str) -> None:
    try:
        spelled = record.encode_line(json.loads(line)).decode().removesuffix("\n")
    except ValueError:
        spelled = ""
    assert not record._PLAIN.fullmatch(line) or spelled == line


@pytest.mark.parametrize("number", ["-0", "00", "01", "+1", " 1", "1 ", "1.0", "1e5", "\\u0031", "\u0661", "true"])
def test_another_spelling_of_a_sample_is_not_taken_for_the_canonical_one(number: str) -> None:
    assert record._PLAIN.fullmatch('["s",1,-20,null,0]')
    assert not record._PLAIN.fullmatch(f'["s",1,{number},0]')
    assert not record._PLAIN.fullmatch('["s",1]\n')
