"""What the driver says of the accelerators that a command was given, asked before anything is planned or signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.meter.client import Sampler
from protocol.errors import AcceleratorUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.meter.interface import SamplerConfig
    from protocol.methodology.hardware import DeviceFacts


def leased_devices(config: SamplerConfig, folder: Path, enrolled: Sequence[str]) -> tuple[DeviceFacts, ...]:
    """Return the facts of the configured devices, read by a sampler that is ended again; `folder` gets no file.

    Raises AcceleratorUnavailable where the driver or a device is not there, DEVICE_NOT_ENROLLED for one that is outside
    the scope of this runner's key, and MeterUnavailable where a device reports no energy.
    """
    strange = [uuid for uuid in config.devices if uuid not in enrolled]
    if strange:
        raise AcceleratorUnavailable(
            code="DEVICE_NOT_ENROLLED",
            observed=f"--device {strange[0]}",
            expected=f"a device in the scope of this runner's key: {', '.join(enrolled) or 'it has none'}",
            hint="make the trust domain with `jouleseal init --device UUID`, or name an enrolled device",
        )
    if not config.devices:
        return ()
    record = folder / "devices.trace"  # swept with the other records where this command is killed
    record.unlink(missing_ok=True)
    try:
        with Sampler.start(record, config) as sampler:
            found = sampler.facts
            sampler.stop()
    finally:
        record.unlink(missing_ok=True)
    return found
