"""Canonical JSON: one spelling for every value, and nothing that two readers could read differently."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.attestation.jcs import MAX_JSON_DEPTH, dumps, loads, loads_canonical
from protocol.errors import VerificationError

SAFE = 2**53 - 1
texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-SAFE, SAFE) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_written_is_read_again(value):
    data = dumps(value)
    assert loads_canonical(data) == value
    assert json.loads(data) == value


def test_names_are_sorted_by_utf16_units_as_rfc_8785_section_3_2_3_shows():
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(dumps(dict.fromkeys(names, 0)))) == ordered


def test_strings_are_escaped_as_rfc_8785_section_3_2_2_2_says():
    text = '\u20ac$\u000f\nA\'B"\\\\"/\b\t\f\r\x7f'
    expected = '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\\b\\t\\f\\r\x7f"'
    assert dumps(text) == expected.encode()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":1,"a":1}', "DUPLICATE_NAME"),
        (b'{"a":{"b":1,"b":2}}', "DUPLICATE_NAME"),
        (b"1.0", "MALFORMED_JSON"),
        (b"1e2", "MALFORMED_JSON"),
        (b"NaN", "MALFORMED_JSON"),
        (b"-Infinity", "MALFORMED_JSON"),
        (b"9007199254740992", "NOT_JSON"),
        (b"-9007199254740992", "NOT_JSON"),
        (b"1" * 5000, "MALFORMED_JSON"),
        (b'"\\ud800"', "NOT_JSON"),
        (b'{"\\udc00":1}', "NOT_JSON"),
        (b'"\xff"', "MALFORMED_JSON"),
        (b"\xef\xbb\xbf1", "MALFORMED_JSON"),
        (b"1 2", "MALFORMED_JSON"),
        (b"", "MALFORMED_JSON"),
        (b"[" * 100_000, "JSON_LIMIT"),
        (b'{"a":' * (MAX_JSON_DEPTH + 1) + b"1" + b"}" * (MAX_JSON_DEPTH + 1), "JSON_LIMIT"),
    ],
)
def test_ambiguous_or_unbounded_json_is_refused(data, code):
    with pytest.raises(VerificationError) as caught:
        loads(data)
    assert caught.value.code == code


def test_brackets_inside_strings_are_not_depth():
    assert loads(b'"' + b"[" * 1000 + b'\\""') == "[" * 1000 + '"'


def test_size_is_bounded_before_parsing():
    with pytest.raises(VerificationError) as caught:
        loads(b"[" + b"1," * 100 + b"1]", limit=100)
    assert caught.value.code == "JSON_LIMIT"


@pytest.mark.parametrize("data", [b' {"a":1}', b'{"b":1,"a":1}', b'"\\u0041"', b"-0", b'{"a": 1}', b'"\\/"', b"1\n"])
def test_another_spelling_of_the_same_value_is_refused(data):
    loads(data)
    with pytest.raises(VerificationError) as caught:
        loads_canonical(data)
    assert caught.value.code == "NOT_CANONICAL"


@pytest.mark.parametrize("value", [1.5, 2**53, {1: 2}, b"x", {"a": [object()]}, "\ud800", {"\ud800": 1}])
def test_what_has_no_canonical_form_is_not_written(value):
    with pytest.raises(VerificationError) as caught:
        dumps(value)
    assert caught.value.code == "NOT_JSON"
