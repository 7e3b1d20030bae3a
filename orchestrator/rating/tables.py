"""The factor tables that come with the runner, and how the one of EcoLogits is made: `python -m ... WHEEL OUT`.

The table is read from the package's own data file, never typed in: the wheel is known by its digest, only the one
member is opened, and nothing of it is run.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from protocol.errors import UsageError
from protocol.methodology.factors import FACTORS_FORMAT, SERVER, FactorTable, parse_factors
from protocol.units import decimal_string, from_decimal

DEFAULT_TABLE: Final = "ecologits-0.11.3"

_WHEEL_SHA256: Final = "c477b77a95c65abbc0ed475b62708ce64ada871b675df0261f345296b0a6facd"
_MEMBER: Final = "ecologits/data/electricity_mixes.json"
_READ_ON: Final = "2026-11-23"
_PLACES: Final = 12  # as many as the smallest factor has (abiotic depletion, 1e-8 and four more digits)
_NOTES: Final = {
    "electricity-mix-adpe-world": "abiotic depletion is the world's average",
    "electricity-mix-pe-world": "primary energy is the world's average",
    "electricity-mix-gwp-world": "carbon is the world's average",
    "electricity-mix-wue-world": "water is the world's average",
}
# ecologits/impacts/llm.py of the same wheel: a server without its accelerators, and one NVIDIA H100 80 GB.
_EMBODIED: Final = {
    SERVER: ("5700", "0.37", "70000", "EcoLogits 0.11.3, SERVER_EMBODIED_IMPACT_*: a p5 server without its GPUs"),
    "h100-80gb": ("273", "0.00895", "3721", "EcoLogits 0.11.3, GPU_EMBODIED_IMPACT_*: NVIDIA H100 80 GB"),
}


def load_table(path: Path | None = None) -> FactorTable:
    """Return the table in a file, by default the one that comes with the runner.

    Raises UsageError FACTORS_UNREADABLE, and VerificationError where its content is wrong.
    """
    return parse_factors(table_bytes(path))


def table_bytes(path: Path | None = None) -> bytes:
    """Return a table as it stands in its file; raises UsageError FACTORS_UNREADABLE."""
    if path is None:
        return (resources.files("orchestrator") / "data" / "factors" / f"{DEFAULT_TABLE}.json").read_bytes()
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            code="FACTORS_UNREADABLE",
            observed=f"{path}: {error.strerror}",
            expected="a factor table in a readable file",
            hint="leave --factors out for the table that comes with the runner; docs/footprint.md has the format",
        ) from error


def make_table(wheel: bytes) -> bytes:
    """Return the table made from the EcoLogits wheel; raises UsageError FACTORS_SOURCE for another file."""
    digest = hashlib.sha256(wheel).hexdigest()
    if digest != _WHEEL_SHA256:
        raise UsageError(
            code="FACTORS_SOURCE",
            observed=f"a file with the SHA-256 {digest}",
            expected=f"the wheel of EcoLogits 0.11.3, {_WHEEL_SHA256}",
            hint="download exactly that wheel, or give the new table an id of its own here",
        )
    with zipfile.ZipFile(BytesIO(wheel)) as archive:
        # Numbers as they were written: a float would add digits that nobody published.
        rows = json.loads(archive.read(_MEMBER), parse_float=str, parse_int=str)["electricity_mixes"]
    table = {
        "format": FACTORS_FORMAT,
        "id": DEFAULT_TABLE,
        "date": _READ_ON,
        "source": f"EcoLogits 0.11.3, {_MEMBER}",
        "licence": "MPL-2.0",
        "grid": {row["name"]: _region(row) for row in rows},
        "embodied": {
            name: {"carbonKg": carbon, "abioticKgSb": abiotic, "primaryMj": primary, "source": source}
            for name, (carbon, abiotic, primary, source) in _EMBODIED.items()
        },
    }
    return json.dumps(table, indent=1, sort_keys=True).encode() + b"\n"


def _region(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "carbonGramsPerKwh": _number(row["gwp"], 1000),
        "carbonKind": "average",
        "waterLitresPerKwh": _number(row["wue"]),
        "abioticKgSbPerKwh": _number(row["adpe"]),
        "primaryMjPerKwh": _number(row["pe"]),
        "notes": [_NOTES[warning] for warning in row.get("warnings") or []],
    }


def _number(text: str, times: int = 1) -> str:
    mantissa, _, exponent = text.lower().partition("e")
    value = from_decimal(mantissa) * times
    value = (
        value * 10 ** int(exponent) if not exponent.startswith("-") and exponent else value / 10 ** -int(exponent or 0)
    )
    return decimal_string(value, _PLACES).rstrip("0").rstrip(".")


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(make_table(Path(sys.argv[1]).read_bytes()))
