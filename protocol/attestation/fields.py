"""A strict reader of JSON objects that names the path of whatever is wrong.

The rules: a field is there or it is not, and its type is exact (a boolean is no integer); text is bounded and free of
control characters; a field that nobody asked for is refused when the object is closed with `done`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from protocol.attestation.digest import is_image_digest, is_sha256_hex
from protocol.attestation.encoding import b64decode
from protocol.attestation.jcs import Json
from protocol.attestation.moment import parse_moment
from protocol.attestation.refusal import refuse, unjudged
from protocol.errors import VerificationError
from protocol.units import MAX_SAFE_INTEGER

MAX_TEXT = 512  # names, versions, reasons; nothing that we sign needs a longer single line

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_NATURAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

_Choice = TypeVar("_Choice", bound=str)


class Unknown(Enum):
    """What a field that the reader does not know means: a forged container, or a statement of a later version."""

    REFUSED = "refused"
    UNJUDGED = "unjudged"


class Fields:
    """One JSON object being read; every getter raises VerificationError BAD_FIELD with the path of the field.

    `unknown` is inherited by the objects inside.
    """

    def __init__(self, value: object, path: str, *, unknown: Unknown = Unknown.REFUSED) -> None:
        if not isinstance(value, Mapping):
            raise _bad(path, _kind(value), "an object")
        self._value: Mapping[str, object] = value
        self._path = path
        self._unknown = unknown
        self._seen: set[str] = set()

    def at(self, name: str) -> str:
        """Return the path of a field, as errors name it."""
        return f"{self._path}.{name}"

    def has(self, name: str) -> bool:
        """Tell whether the field is there; a field that is there may still be null."""
        return name in self._value

    def raw(self, name: str) -> object:
        """Return the field as it was parsed."""
        self._seen.add(name)
        if name not in self._value:
            raise _bad(self.at(name), "no such field", "a value")
        return self._value[name]

    def is_null(self, name: str) -> bool:
        """Tell whether a field that must be there is null."""
        return self.raw(name) is None

    def text(self, name: str, *, limit: int = MAX_TEXT) -> str:
        """Return a non-empty single line of at most `limit` characters."""
        value = self.free_text(name, limit=limit)
        if not value or _CONTROL.search(value):
            raise _bad(self.at(name), repr(value[:40]), "a non-empty line without control characters")
        return value

    def free_text(self, name: str, *, limit: int) -> str:
        """Return a string of at most `limit` characters, with whatever is in it."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise _bad(self.at(name), _kind(value), "a string")
        if len(value) > limit:
            raise _bad(self.at(name), f"{len(value)} characters", f"at most {limit}")
        return value

    def sha256(self, name: str) -> str:
        """Return a digest of 64 lower-case hexadecimal digits."""
        value = self.free_text(name, limit=MAX_TEXT)
        if not is_sha256_hex(value):
            raise _bad(self.at(name), repr(value[:80]), "64 lower-case hexadecimal digits")
        return value

    def image_digest(self, name: str) -> str:
        """Return a digest spelled `sha256:<64 lower-case hexadecimal digits>`."""
        value = self.free_text(name, limit=MAX_TEXT)
        if not is_image_digest(value):
            raise _bad(self.at(name), repr(value[:80]), "sha256: and 64 lower-case hexadecimal digits")
        return value

    def base64(self, name: str, *, limit: int) -> bytes:
        """Return the bytes of a canonical base64 string of at most `limit` characters."""
        value = self.free_text(name, limit=limit)
        try:
            return b64decode(value)
        except VerificationError as error:
            raise _bad(self.at(name), error.observed, error.expected) from error

    def integer(self, name: str, *, minimum: int = 0, maximum: int = MAX_SAFE_INTEGER) -> int:
        """Return an integer within the bounds, both included."""
        value = self.raw(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _bad(self.at(name), _kind(value), "an integer")
        if not minimum <= value <= maximum:
            raise _bad(self.at(name), str(value), f"{minimum} to {maximum}")
        return value

    def natural_text(self, name: str) -> int:
        """Return a natural number that is spelled as a decimal string without leading zeros."""
        value = self.free_text(name, limit=MAX_TEXT)
        if _NATURAL.fullmatch(value) is None:
            raise _bad(self.at(name), repr(value[:40]), "a natural number in decimal digits")
        return int(value)

    def decimal(self, name: str) -> str:
        """Return a plain decimal string, as `protocol.units.decimal_string` writes it."""
        value = self.free_text(name, limit=MAX_TEXT)
        if _DECIMAL.fullmatch(value) is None:
            raise _bad(self.at(name), repr(value[:40]), "a plain decimal string")
        return value

    def boolean(self, name: str) -> bool:
        """Return true or false."""
        value = self.raw(name)
        if not isinstance(value, bool):
            raise _bad(self.at(name), _kind(value), "true or false")
        return value

    def moment(self, name: str) -> str:
        """Return an RFC 3339 time in UTC, as it was written."""
        value = self.text(name)
        try:
            parse_moment(value)
        except VerificationError as error:
            raise _bad(self.at(name), error.observed, error.expected) from error
        return value

    def one_of(self, name: str, choices: Sequence[_Choice]) -> _Choice:
        """Return one of the listed words."""
        value = self.text(name)
        for choice in choices:
            if choice == value:
                return choice
        raise _bad(self.at(name), repr(value[:40]), " or ".join(choices))

    def child(self, name: str) -> Fields:
        """Return the object in the field."""
        return Fields(self.raw(name), self.at(name), unknown=self._unknown)

    def children(self, name: str, *, limit: int) -> Iterator[Fields]:
        """Yield the objects in an array of at most `limit` items."""
        for position, item in enumerate(self.array(name, limit=limit)):
            yield Fields(item, f"{self.at(name)}[{position}]", unknown=self._unknown)

    def array(self, name: str, *, limit: int) -> list[object]:
        """Return an array of at most `limit` items, as parsed."""
        value = self.raw(name)
        if not isinstance(value, list):
            raise _bad(self.at(name), _kind(value), "an array")
        if len(value) > limit:
            raise _bad(self.at(name), f"{len(value)} items", f"at most {limit}")
        return value

    def texts(self, name: str, *, limit: int) -> tuple[str, ...]:
        """Return an array of at most `limit` non-empty single lines."""
        items = self.array(name, limit=limit)
        wrapped = (Fields({"item": item}, f"{self.at(name)}[{n}]") for n, item in enumerate(items))
        return tuple(item.text("item") for item in wrapped)

    def text_map(self, name: str, *, limit: int) -> dict[str, str]:
        """Return an object of at most `limit` fields whose values are non-empty single lines."""
        inner = self.open_map(name, limit=limit)
        return {key: inner.text(key) for key in inner.names()}

    def open_map(self, name: str, *, limit: int) -> Fields:
        """Return an object of at most `limit` fields whose names are data."""
        inner = self.child(name)
        if len(inner.names()) > limit:
            raise _bad(self.at(name), f"{len(inner.names())} fields", f"at most {limit}")
        return inner

    def names(self) -> list[str]:
        """Return the names of all fields, in the order in which they were written."""
        return list(self._value)

    def json_object(self, name: str) -> dict[str, Json]:
        """Return an object whose inside another part of the protocol reads."""
        value = self.raw(name)
        if not isinstance(value, dict):
            raise _bad(self.at(name), _kind(value), "an object")
        return value

    def done(self) -> None:
        """Refuse fields that nobody read: VerificationError UNKNOWN_FIELD, or Unverifiable in a statement."""
        left = sorted(set(self._value) - self._seen)
        if left:
            error = refuse if self._unknown is Unknown.REFUSED else unjudged
            raise error("UNKNOWN_FIELD", observed=self.at(left[0])[:200], expected="no field of that name")


def _bad(path: str, observed: str, expected: str) -> VerificationError:
    return refuse("BAD_FIELD", observed=f"{path}: {observed}", expected=expected)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
