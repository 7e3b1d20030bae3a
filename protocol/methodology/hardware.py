"""The hardware class of a leased set of accelerators: a rule over what their driver says of them.

Rules
1. No accelerator: `cpu`.
2. A device whose name begins with `Jouleseal Stand-in` is no device. A set with one of them is `simulated`: it shows
   what an operator would see, and is never rated.
3. A device with MIG enabled is in no class (the meter refuses it before this rule is asked).
4. A known device is `<chip>-<memory>gb`, from its name and from the memory that it reports. The name alone would not
   do: one product name is sold with several memories.
5. A set of n > 1 equal devices is `<class>-x<n>`. Unequal devices have no class: `mixed`.
6. Every other device is `other`: measured and shown, never ranked with anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CLASS_CPU: Final = "cpu"
CLASS_SIMULATED: Final = "simulated"
CLASS_MIXED: Final = "mixed"
CLASS_OTHER: Final = "other"
STAND_IN: Final = "Jouleseal Stand-in"

# The chips' names as NVML spells them ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "NVIDIA GH200 480GB").
_CHIPS: Final = ("GB200", "B200", "GH200", "H200", "H100", "A100", "L40S", "L40", "L4", "A10", "V100", "T4")
_GIB: Final = 1 << 30
# Memories sold, in marketing gigabytes. What a device reports is up to a tenth off: ECC and the driver keep some of it,
# and some makers count binary and some decimal.
_MEMORIES_GB: Final = (16, 22, 24, 32, 40, 48, 64, 80, 94, 96, 141, 144, 180, 192)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What the driver says of one leased device; `memory_bytes` is None where it does not say."""

    uuid: str
    name: str
    memory_bytes: int | None

    @property
    def simulated(self) -> bool:
        """Whether it is a stand-in."""
        return self.name.startswith(STAND_IN)


def device_facts(host: Mapping[str, str], prefixes: Sequence[str]) -> tuple[DeviceFacts, ...]:
    """Return the facts of the devices that a meter's record was made of; `host` is its header's words."""
    return tuple(
        DeviceFacts(
            uuid=host.get(f"{prefix}.uuid", ""),
            name=host.get(f"{prefix}.name", ""),
            memory_bytes=_whole(host.get(f"{prefix}.memory_bytes", "")),
        )
        for prefix in prefixes
    )


def hardware_class(devices: Sequence[DeviceFacts]) -> str:
    """Return the class of a leased set of devices."""
    if not devices:
        return CLASS_CPU
    if any(device.simulated for device in devices):
        return CLASS_SIMULATED
    found = {_class_of(device) for device in devices}
    if len(found) > 1:
        return CLASS_MIXED
    single = found.pop()
    return single if len(devices) == 1 or single == CLASS_OTHER else f"{single}-x{len(devices)}"


def _class_of(device: DeviceFacts) -> str:
    words = set(re.split(r"[^A-Z0-9]+", device.name.upper()))
    chip = next((chip for chip in _CHIPS if chip in words), None)
    if chip is None or device.memory_bytes is None:
        return CLASS_OTHER
    reported = device.memory_bytes / _GIB
    memory = min(_MEMORIES_GB, key=lambda size: abs(size - reported))
    return f"{chip.lower()}-{memory}gb"


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
