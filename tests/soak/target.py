"""What a soak target is: a parser, the bytes to start from, and a reading that may refuse but never crash."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from protocol.attestation.jcs import dumps
from protocol.errors import (
    DatasetUnavailable,
    EngineUnavailable,
    InvalidMeasurement,
    InvalidSubmission,
    ProtocolViolation,
    Unverifiable,
    UsageError,
    VerificationError,
)

REFUSALS = (
    *(VerificationError, Unverifiable, InvalidMeasurement, UsageError),
    *(InvalidSubmission, ProtocolViolation, EngineUnavailable, DatasetUnavailable),
)
MAX_INPUT = 16_384  # bytes of one execution: every rule of every format fits, and a million of them take minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser: its name, what it reads, and the bytes to start from."""

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]

    def run(self, data: bytes) -> bool:
        """Read the bytes; returns whether they were accepted, raises whatever is a finding."""
        try:
            self.read(data)
        except REFUSALS:
            return False
        return True


def respelled(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Return a reading of the bytes as they are and, where they are JSON, in canonical spelling."""

    def both(data: bytes) -> None:
        with suppress(*REFUSALS):
            read(data)
        try:
            text = dumps(json.loads(data))
        except (ValueError, TypeError, RecursionError, *REFUSALS):
            return
        read(text)

    return both


def each(readings: Iterable[Callable[[], object]]) -> None:
    """Try several readings of the same bytes, each of which may refuse them."""
    for reading in readings:
        with suppress(*REFUSALS):
            reading()
