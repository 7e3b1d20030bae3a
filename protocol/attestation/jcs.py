"""Canonical JSON: RFC 8785 for the values that we sign, and a reader that takes nothing else.

The rules:
1. Values are objects, arrays, strings, booleans, null, and integers of at most 2^53-1; there are no floats, so that
   every reader of JSON sees the same number.
2. Names are sorted by their UTF-16 code units and unique; strings are well-formed Unicode (no lone surrogate).
3. Size and nesting are bounded before anything is built from the bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

from protocol.attestation.refusal import refuse
from protocol.units import MAX_SAFE_INTEGER, MIB

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"

MAX_JSON_BYTES = 8 * MIB  # a campaign result over a few hundred cells is under 1 MiB
MAX_JSON_DEPTH = 32  # the deepest statement that we write has 8 levels

_MAX_INTEGER_DIGITS = len(str(MAX_SAFE_INTEGER)) + 1  # one more for the sign
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def dumps(value: Json) -> bytes:
    """Return the RFC 8785 bytes of a value; VerificationError NOT_JSON names what has no canonical form."""
    ordered = _ordered(value, 0)
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def loads(data: bytes, *, limit: int = MAX_JSON_BYTES) -> object:
    """Read one JSON value strictly; VerificationError MALFORMED_JSON, or JSON_LIMIT where a bound is exceeded.

    Refused: duplicate names, floats, exponents, NaN, integers beyond 2^53-1, more than `limit` bytes, more than
    `MAX_JSON_DEPTH` levels, ill-formed UTF-8, a byte order mark, lone surrogates, and anything after the value.
    """
    if len(data) > limit:
        raise refuse("JSON_LIMIT", observed=f"{len(data)} bytes", expected=f"at most {limit} bytes")
    _check_depth(data)
    try:
        value: object = json.loads(
            data.decode("utf-8", errors="strict"),
            object_pairs_hook=_unique,
            parse_float=_no_float,
            parse_constant=_no_float,
            parse_int=_safe_integer,
        )
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise refuse("MALFORMED_JSON", observed=str(error)[:120], expected="one JSON value in UTF-8") from error
    if b"\\u" in data:
        _ordered(value, 0)
    return value


def loads_canonical(data: bytes, *, limit: int = MAX_JSON_BYTES) -> object:
    """Read one JSON value whose bytes are its RFC 8785 form; VerificationError NOT_CANONICAL where they are not."""
    value = loads(data, limit=limit)
    if dumps(value) != data:  # type: ignore[arg-type]  # dumps checks every type that it meets
        raise refuse("NOT_CANONICAL", observed="another spelling of the same value", expected="RFC 8785 bytes")
    return value


def _ordered(value: object, depth: int) -> object:
    """Return the value with its names in RFC 8785 order, having checked every part of it."""
    if depth > MAX_JSON_DEPTH:
        raise refuse("JSON_LIMIT", observed=f"more than {MAX_JSON_DEPTH} levels", expected="a flatter value")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _checked_integer(value)
    if isinstance(value, str):
        _utf16(value)
        return value
    if isinstance(value, Mapping):
        names = sorted(value, key=_utf16)
        return {name: _ordered(value[name], depth + 1) for name in names}
    if isinstance(value, list | tuple):
        return [_ordered(item, depth + 1) for item in value]
    raise refuse(
        "NOT_JSON", observed=f"a {type(value).__name__}", expected="object, array, string, integer, boolean, null"
    )


def _utf16(text: object) -> bytes:
    if not isinstance(text, str):
        raise refuse("NOT_JSON", observed=f"a name of type {type(text).__name__}", expected="a string")
    try:
        return text.encode("utf-16-be")
    except UnicodeEncodeError as error:
        raise refuse("NOT_JSON", observed="a lone surrogate", expected="well-formed Unicode") from error


def _checked_integer(value: int) -> int:
    if abs(value) > MAX_SAFE_INTEGER:
        raise refuse("NOT_JSON", observed=f"an integer of {value.bit_length()} bits", expected="at most 2^53-1")
    return value


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_JSON_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", data)):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise refuse("JSON_LIMIT", observed=f"more than {MAX_JSON_DEPTH} levels", expected="a flatter value")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise refuse("DUPLICATE_NAME", observed=f"the name {twice[:80]!r} twice in one object", expected="unique names")
    return value


def _no_float(text: str) -> NoReturn:
    raise refuse("MALFORMED_JSON", observed=f"the number {text[:40]}", expected="integers only")


def _safe_integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_DIGITS:
        raise refuse("MALFORMED_JSON", observed=f"an integer of {len(text)} digits", expected="at most 2^53-1")
    return _checked_integer(int(text))
