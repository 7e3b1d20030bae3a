"""Reads the skeleton of a message without building it: how many sub-messages it holds, and whether its texts are UTF-8.

A parser turns two bytes of an empty sub-message into some seventy bytes of memory, so a message within its size limit
can still be an attack. This walks the bytes instead, keeps nothing, and stops at the limit.
Encoding: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from enum import Enum
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_VARINT, _FIXED64, _BYTES, _GROUP_START, _GROUP_END, _FIXED32 = 0, 1, 2, 3, 4, 5
_VARINT_BYTES = 10
_FIXED = {_FIXED64: 8, _FIXED32: 4}


class Finding(Enum):
    """What a message's skeleton says about it."""

    SOUND = "sound"
    TOO_MANY = "holds more sub-messages than it may"
    BAD_TEXT = "holds a text that is not UTF-8"
    BROKEN = "is not a message"


class _Broken(Exception):
    """The bytes are not a message."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer and the place after it."""
    value = 0
    for shift, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at + shift + 1
    raise _Broken


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Walk:
    """One pass over the bytes of one message."""

    def __init__(self, data: bytes, limit: int) -> None:
        self.data = data
        self.limit = limit
        self.messages = 0
        self.bad_text = False

    def message(self, kind: Descriptor, at: int, end: int) -> None:
        """Walk one message's fields; stops early once there are too many sub-messages."""
        while at < end and self.messages <= self.limit:
            tag, at = _varint(self.data, at)
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise _Broken
            at = self._value(kind.fields_by_number.get(number), wire, at, end)
        if at > end:
            raise _Broken

    def _value(self, field: FieldDescriptor | None, wire: int, at: int, end: int) -> int:
        """Walk one value and return the place after it."""
        if wire == _VARINT:
            return _varint(self.data, at)[1]
        if wire in _FIXED:
            return at + _FIXED[wire]
        if wire in {_GROUP_START, _GROUP_END}:
            self.messages += 1
            return at
        if wire != _BYTES:
            raise _Broken
        size, at = _varint(self.data, at)
        if size > end - at:
            raise _Broken
        if field is not None and field.message_type is not None:
            self.messages += 1
            self.message(field.message_type, at, at + size)
        elif field is not None and field.type == FieldDescriptor.TYPE_STRING:
            self.bad_text = self.bad_text or not _is_text(self.data[at : at + size])
        return at + size


def scan(data: bytes, message: Message, limit: int) -> Finding:
    """Return what is wrong with the skeleton of bytes meant for `message`, which may hold `limit` sub-messages."""
    walk = _Walk(data, limit)
    try:
        walk.message(cast("Descriptor", message.DESCRIPTOR), 0, len(data))
    except _Broken:
        return Finding.BROKEN
    if walk.messages > limit:
        return Finding.TOO_MANY
    return Finding.BAD_TEXT if walk.bad_text else Finding.SOUND
