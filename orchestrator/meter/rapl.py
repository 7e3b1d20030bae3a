"""The processor's own energy counters, through the kernel's powercap tree (Intel and AMD).

Zones used: `package-N` for the processor, `dram` for memory. `core`, `uncore` and `psys` are parts or sums of others
and are not added. AMD's packages appear under the same `intel-rapl` names and have no dram zone. The same package may
be offered twice (`intel-rapl-mmio`), and a multi-die part may mirror one counter under several dies: each is counted
once.
Since CVE-2020-8694 the counters are readable by root only; without them the record says so and a model stands in.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.meter.files import KernelFile, as_number
from protocol.errors import MeterUnavailable

if TYPE_CHECKING:
    from pathlib import Path

_ZONE = re.compile(r"^(?P<type>[a-z]+-rapl(?:-mmio)?):\d+(?::\d+)*$")
_MIRROR_ROUNDS = 3
_MIRROR_PAUSE_S = 0.005  # the counters change every millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One counter: its column, whether it is memory's, the range at which it wraps in microjoules, and its file."""

    column: str
    dram: bool
    range_uj: int
    file: KernelFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What a powercap tree offers; `reason` says why there is no zone of a kind."""

    packages: tuple[Zone, ...]
    drams: tuple[Zone, ...]
    package_reason: str
    dram_reason: str


class RaplInstrument:
    """Reads every zone that was found, in microjoules, wraps and all."""

    name = "rapl"
    columns: tuple[str, ...] = ()

    def __init__(self, found: Discovery) -> None:
        """Take the zones over."""
        self._zones = (*found.packages, *found.drams)
        self.host_columns = tuple(zone.column for zone in self._zones)

    def read(self) -> tuple[int | None, ...]:
        """Return nothing: RAPL is read once a second and at marks."""
        return ()

    def read_host(self) -> tuple[int | None, ...]:
        """Return each zone's counter."""
        return tuple(zone.file.number() for zone in self._zones)

    def close(self) -> None:
        """Close every zone's file."""
        for zone in self._zones:
            zone.file.close()


def discover(powercap: Path) -> Discovery:
    """Find the zones of a powercap tree; never raises, but says what is missing and why."""
    entries = sorted(powercap.iterdir(), key=_order) if powercap.is_dir() else []
    zones: dict[str, Zone] = {}
    refused = ""
    for entry in entries:
        label = _label(entry)
        if label is None or f"rapl.{label}" in zones:
            continue
        try:
            zones[f"rapl.{label}"] = _open(entry, label)
        except OSError as error:
            refused = refused or _why(label, error)
        except MeterUnavailable as error:
            refused = refused or f"RAPL {label}: {error.observed}"
    packages = _distinct([zone for zone in zones.values() if not zone.dram])
    drams = _distinct([zone for zone in zones.values() if zone.dram])
    missing = refused or "this host offers no RAPL counters (no intel-rapl zone in the powercap tree)"
    return Discovery(
        packages=packages,
        drams=drams,
        package_reason="" if packages else missing,
        dram_reason="" if drams else (missing if not packages else "this processor offers no RAPL counter for memory"),
    )


def _order(entry: Path) -> tuple[bool, str]:
    """Sort the memory-mapped twins last, so that the first of a name is the register's."""
    return ("-mmio" in entry.name, entry.name)


def _label(entry: Path) -> str | None:
    """Return `package-N...` or `package-N.dram` for a zone that counts, None for every other."""
    if _ZONE.match(entry.name) is None:
        return None
    name = _text(entry / "name")
    if name.startswith("package"):
        return name
    if name != "dram":
        return None
    parent = _text(entry.parent / entry.name.rpartition(":")[0] / "name")
    return f"{parent or entry.name}.dram"


def _open(entry: Path, label: str) -> Zone:
    modulus = as_number("max_energy_range_uj", _text(entry / "max_energy_range_uj").encode())
    # The counter holds the values 0 .. max_energy_range_uj.
    file = KernelFile(entry / "energy_uj")
    file.number()  # a zone that opens and does not read is refused here, where its reason is kept
    return Zone(column=f"rapl.{label}", dram=label.endswith(".dram"), range_uj=modulus + 1, file=file)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _why(label: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            f"RAPL {label} may be read by root only (CVE-2020-8694); "
            "run the meter as root or with CAP_DAC_READ_SEARCH in its effective set"
        )
    return f"RAPL {label} cannot be opened ({error.strerror})"


def _distinct(zones: list[Zone]) -> tuple[Zone, ...]:
    """Drop zones that mirror an earlier one."""
    kept: list[Zone] = []
    for zone in zones:
        if any(_mirrors(other, zone) for other in kept):
            zone.file.close()
        else:
            kept.append(zone)
    return tuple(kept)


def _mirrors(one: Zone, other: Zone) -> bool:
    """Tell whether two zones show one counter: read in turns, the second always lies between two reads of the first."""
    for _ in range(_MIRROR_ROUNDS):
        before = one.file.number()
        between = other.file.number()
        after = one.file.number()
        if one.range_uj != other.range_uj or not before <= between <= after:
            return False
        time.sleep(_MIRROR_PAUSE_S)
    return True
