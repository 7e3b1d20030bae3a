"""AI Energy Score's files, in and out, with their units said: its leaderboard CSV and its benchmark report.

Rules
1. `total_gpu_energy` of the CSV is kWh per 1,000 queries, which is the commonest misreading of that file. Here it is
   Wh per 1,000 queries from the moment it is read, exactly, and kWh again when it is written.
2. A report's phases are added run by run: prefill and decode (or forward, or call), and preprocess. Loading is no part.
3. A run whose energy in some phase is zero or negative was not measured. A report with one is refused and every such
   run is named: averaging over it, as was done, hides it.

Columns: [index,] model, total_gpu_energy, energy_score [, class]. Source: huggingface AIEnergyScore/Leaderboard,
data/energy/<task>.csv; report: huggingface/AIEnergyScore results/benchmark_report.json (optimum-benchmark).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from protocol.errors import UsageError
from protocol.methodology import statistics
from protocol.methodology.stars import MOST
from protocol.units import decimal_string

MAX_EXCHANGE_BYTES: Final = 16 << 20  # a report with every run of every phase is a few kilobytes
WH_PER_KWH: Final = 1000
_MAX_EXPONENT: Final = 40  # powers of ten: 1e999999999 is ten characters, and would be a billion digits
_KWH_PLACES: Final = 12  # as many as our Wh have, and three more
_REQUIRED: Final = ("model", "total_gpu_energy", "energy_score")
_ADDED: Final = ("preprocess", "prefill", "decode", "forward", "call")
_DOCUMENT: Final = "compare the file with the one that AI Energy Score publishes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One row of the leaderboard CSV: GPU energy in Wh per 1,000 queries, and the stars that were published."""

    model: str
    wh_per_1000: Fraction
    stars: int | None
    size_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEnergy:
    """A report's GPU energy: Wh of each run over its added phases, their mean, and the phases that were added."""

    runs: tuple[Fraction, ...]
    mean: Fraction
    phases: tuple[str, ...]


def read_scores(data: bytes) -> tuple[ScoreRow, ...]:
    """Read a leaderboard CSV; raises UsageError SCORES_MALFORMED with the line of the first mistake."""
    reader = csv.DictReader(io.StringIO(_text(data)))
    try:
        names, rows = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise _malformed("SCORES_MALFORMED", str(error), "lines of comma-separated values") from error
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise _malformed("SCORES_MALFORMED", f"no column {', '.join(missing)}", f"the columns {', '.join(_REQUIRED)}")
    return tuple(_score_row(row, number) for number, row in enumerate(rows, start=2))


def write_scores(rows: Iterable[ScoreRow]) -> str:
    """Return the rows as a leaderboard CSV, energies in kWh per 1,000 queries, the least first."""
    listed = sorted(rows, key=lambda row: (row.wh_per_1000, row.model))
    classes = any(row.size_class is not None for row in listed)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_REQUIRED, *(["class"] if classes else [])])
    for row in listed:
        energy = decimal_string(row.wh_per_1000 / WH_PER_KWH, _KWH_PLACES)
        stars = "" if row.stars is None else str(row.stars)
        writer.writerow([row.model, energy, stars, *([row.size_class or ""] if classes else [])])
    return out.getvalue()


def read_report(data: bytes) -> ReportEnergy:
    """Read a benchmark report's GPU energy.

    Raises UsageError REPORT_MALFORMED, REPORT_WITHOUT_RUNS where a phase gives only a mean, and REPORT_BROKEN_RUNS with
    every run of zero or negative energy.
    """
    try:
        report = json.loads(_text(data), parse_float=_bounded, parse_constant=_no_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise _malformed("REPORT_MALFORMED", str(error)[:120], "a JSON object of phases") from error
    if not isinstance(report, dict):
        raise _malformed("REPORT_MALFORMED", "no object", "a JSON object of phases")
    phases = {name: list(_measured(name, report[name])) for name in _ADDED if report.get(name)}
    named = {name: runs for name, runs in phases.items() if runs}
    lengths = {len(runs) for runs in named.values()}
    if not named or len(lengths) != 1:
        seen = ", ".join(f"{name}: {len(runs)} runs" for name, runs in phases.items()) or "no phase with energies"
        raise _malformed("REPORT_WITHOUT_RUNS", seen, "the same number of measured runs in every phase")
    broken = [
        f"{name} run {number}: {decimal_string(energy * WH_PER_KWH, 2)} Wh"
        for name, runs in named.items()
        for number, energy in enumerate(runs, start=1)
        if energy <= 0
    ]
    if broken:
        raise UsageError(
            code="REPORT_BROKEN_RUNS",
            observed="; ".join(broken),
            expected="an energy above zero in every run",
            hint="these runs were not measured; repeat the measurement, and do not average over them",
        )
    runs = tuple(sum(parts, Fraction(0)) * WH_PER_KWH for parts in zip(*named.values(), strict=True))
    return ReportEnergy(runs=runs, mean=statistics.mean(runs), phases=tuple(named))


def _score_row(row: Mapping[str, str | None], line: int) -> ScoreRow:
    energy, stars = row.get("total_gpu_energy") or "", row.get("energy_score") or ""
    value = _decimal(energy)
    if value is None or value <= 0:
        raise _malformed("SCORES_MALFORMED", f"line {line}: total_gpu_energy {energy!r}", "kWh above zero")
    if stars and stars not in {str(number) for number in range(1, MOST + 1)}:
        raise _malformed("SCORES_MALFORMED", f"line {line}: energy_score {stars!r}", "1 to 5 stars, or nothing")
    if not row.get("model"):
        raise _malformed("SCORES_MALFORMED", f"line {line}: no model", "a model's name")
    return ScoreRow(
        model=str(row["model"]),
        wh_per_1000=value * WH_PER_KWH,
        stars=int(stars) if stars else None,
        size_class=row.get("class") or None,
    )


def _measured(phase: str, body: Any) -> Iterator[Fraction]:  # noqa: ANN401 - whatever a foreign file holds
    """Yield each run's GPU energy of a phase, in kWh."""
    measures: Sequence[Any] = (body.get("measures") or []) if isinstance(body, dict) else []
    for number, measure in enumerate(measures, start=1):
        held = measure.get("energy", measure) if isinstance(measure, dict) else {}
        energy = held.get("gpu") if isinstance(held, dict) else None
        if isinstance(held, dict) and held.get("unit", "kWh") != "kWh":
            raise _malformed("REPORT_MALFORMED", f"{phase} run {number} in {held.get('unit')!r}", "kWh")
        if isinstance(energy, bool) or not isinstance(energy, int | Decimal):
            raise _malformed("REPORT_MALFORMED", f"{phase} run {number}: no GPU energy", "a number of kWh")
        yield Fraction(energy)


def _decimal(text: str) -> Fraction | None:
    try:
        return Fraction(_bounded(text))
    except (ArithmeticError, ValueError):
        return None


def _bounded(text: str) -> Decimal:
    """Read a number whose exact value is small enough to be held; raises ValueError or ArithmeticError."""
    value = Decimal(text)
    if not value.is_finite() or abs(value.adjusted()) > _MAX_EXPONENT:
        raise ValueError(f"{text[:40]} is beyond what energies are written in")
    return value


def _text(data: bytes) -> str:
    if len(data) > MAX_EXCHANGE_BYTES:
        raise _malformed("FILE_TOO_LARGE", f"{len(data)} bytes", f"at most {MAX_EXCHANGE_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _malformed("NOT_TEXT", str(error), "UTF-8") from error


def _no_constant(text: str) -> Any:  # noqa: ANN401 - the reader's own signature
    raise ValueError(f"{text} is no number")


def _malformed(code: str, observed: str, expected: str) -> UsageError:
    return UsageError(code=code, observed=observed, expected=expected, hint=_DOCUMENT)
