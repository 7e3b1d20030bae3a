"""What a report says in words: names made harmless, numbers made short, codes explained.

A bundle is hostile input. Every name of it goes through `clean`, and whatever writes a document escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from protocol.attestation.jcs import Json
from protocol.methodology import flags
from protocol.methodology.continuity import UNEXPLAINED_ENERGY
from protocol.methodology.probes import CACHED_ANSWERS, NOT_JUDGED_FLAG, PREPARED_ANSWERS, REPEATED_ANSWERS
from protocol.methodology.session_figures import DEFERRED_WORK, WALL_RANGE
from protocol.methodology.trace import SourceKind
from protocol.units import NS_PER_S, decimal_string, from_decimal

MAX_NAME: Final = 120  # characters of a name on a page: what a person reads; the whole one is in the bundle
MAX_DIGITS: Final = 20  # of a number in a run's figures: a 64-bit one
DASH: Final = "–"  # noqa: RUF001 - an en dash is how "no value" is written
_PLACES: Final = 9
_MINUTE_S: Final = 60

# What XML 1.0 forbids (section 2.2), line ends, and what changes the direction of the text around it (UAX 9).
_HARMFUL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)

KINDS: Final[Mapping[SourceKind, str]] = MappingProxyType(
    {
        SourceKind.NVML: "measured",
        SourceKind.RAPL: "measured",
        SourceKind.MODEL: "estimated",
        SourceKind.SIMULATED: "simulated",
    }
)

FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        flags.ESTIMATED_ENERGY: "A named model computed the energy from what the sandbox used; no instrument read it.",
        flags.SIMULATED_ENERGY: "A stand-in device played the accelerator. The energy is true of no machine.",
        flags.UNMEASURED_ENERGY: "Some cell has no energy to state, or runs whose energies are of different kinds.",
        UNEXPLAINED_ENERGY: "An accelerator counted something between sessions that its own idling does not explain.",
        PREPARED_ANSWERS: "Points that nobody can have prepared for cost more or are answered worse than public ones.",
        REPEATED_ANSWERS: "A point that is asked again costs less than different ones do.",
        NOT_JUDGED_FLAG: "A dataset has a private shard, and one of the probes' verdicts is missing.",
        CACHED_ANSWERS: "Runs or passes cost less and less, as they do where answers are kept and given again.",
        DEFERRED_WORK: "Over 1 % of a run's energy came after its last answer. It was charged to the run.",
        WALL_RANGE: "The wall meter changed its range inside a run, where its calibration need not hold.",
        flags.TIER_BELOW_T3: "Nobody outside the operator's own organisation witnessed the record as it was written.",
        flags.UNOFFICIAL: "Points or runs were shortened, so this is no full measurement of the method.",
        flags.CLASS_UNRATED: "The machine is of no class that results are ranked in.",
        flags.WITHOUT_THIRDS: "A dataset is not drawn in thirds from three named sources.",
        flags.WITHOUT_SHARD: "A dataset has no private shard, so its points could have been trained on.",
        flags.OWN_DATASET: "The dataset is somebody's own and no standard one; such results are never rated.",
        flags.BELOW_FLOOR: "The answers of a cell are below its task's quality floor.",
        flags.WITHOUT_FLOOR: "A task has no quality floor yet, or no quality is stated.",
        flags.PRODUCTION_DIFFERS: "An auditor asked the production service too; it answered otherwise than this image.",
        flags.NO_EQUIVALENCE: "Nobody states that the tested image of a proprietary model is the one that is served.",
    }
)
UNKNOWN_FLAG: Final = "This version has no words for it; the method of the release that made the bundle has."

BLAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "vendor": "the submission's own doing",
        "rig": "a fault of the machine",
        "measurement": "the measurement was disturbed",
    }
)


def clean(text: str, limit: int = MAX_NAME) -> str:
    """Return a name without characters that break a document or turn its text around, cut in sight at `limit`."""
    harmless = _HARMFUL.sub("\ufffd", text[: limit + 1])
    return harmless if len(harmless) <= limit else harmless[: limit - 1] + "…"


def rounded(value: Fraction, digits: int = 4) -> str:
    """Return a number as a decimal with this many significant digits, at most nine places, thousands parted."""
    size, places = abs(value), 0
    while places < _PLACES and 0 < size * 10**places < 10 ** (digits - 1):
        places += 1
    whole, dot, rest = decimal_string(value, places).partition(".")
    return f"{int(whole):,}{dot}{rest}" if abs(value) >= 1 else f"{whole}{dot}{rest}"


def seconds(ns: int | Fraction) -> str:
    """Return a duration as a person reads it."""
    whole = Fraction(ns) / NS_PER_S
    if whole < 1:
        return f"{rounded(whole * 1_000, 3)} ms"
    if whole < _MINUTE_S:
        return f"{rounded(whole, 3)} s"
    return f"{int(whole) // _MINUTE_S} min {int(whole) % _MINUTE_S:02d} s"


def scaled(value: Json, unit: int, digits: int = 4) -> str:
    """Return a whole number, or its digits, in another unit; a dash for everything else."""
    if isinstance(value, str) and 0 < len(value) <= MAX_DIGITS and value.isascii() and value.isdigit():
        return rounded(Fraction(int(value), unit), digits)
    if isinstance(value, int) and not isinstance(value, bool):
        return rounded(Fraction(value, unit), digits)
    return DASH


def short(value: Json, digits: int = 4) -> str:
    """Return a decimal string rounded; a dash for everything else."""
    try:
        return rounded(from_decimal(value), digits) if isinstance(value, str) else DASH
    except ValueError:
        return clean(value, 40) if isinstance(value, str) else DASH


def field(value: Json, *path: str) -> Json:
    """Return what lies at a path of JSON objects; None where there is nothing."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
