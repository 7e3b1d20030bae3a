"""A leased accelerator, and the words with which the engine is asked for exactly that one.

Rules:
 1. A device is named by UUID. An index changes with the order of the bus, and "all" is not a lease.
 2. Where the engine resolves Container Device Interface names, they are used; otherwise NVIDIA's device request.
 3. The request asks for `compute` and not for `utility`, so that the management library, and with it the power
    counters, stay outside the sandbox. CDI has no such choice: what its specification mounts, it mounts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from protocol.errors import AcceleratorUnavailable

DRIVER_CAPABILITIES = "compute"

_UUID = re.compile(r"(GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLease:
    """An accelerator that this session alone may use; `uuid` is the driver's, such as GPU-… or MIG-…."""

    uuid: str
    name: str

    def __post_init__(self) -> None:
        if not _UUID.fullmatch(self.uuid):
            raise AcceleratorUnavailable(
                code="DEVICE_UUID",
                observed=f"a lease of {self.uuid[:64]!r}",
                expected="a device UUID such as GPU-8e2ff1e5-0b3c-4b7e-9f41-0a1d6f0c6b1e",
                hint="lease a device by the UUID that the driver lists",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """One entry of the engine's `DeviceRequests`."""

    driver: str
    device_ids: tuple[str, ...]
    capabilities: tuple[tuple[str, ...], ...]

    def to_engine(self) -> Mapping[str, object]:
        """Return the entry as the engine's API spells it."""
        return {
            "Driver": self.driver,
            "Count": 0,
            "DeviceIDs": list(self.device_ids),
            "Capabilities": [list(group) for group in self.capabilities],
            "Options": {},
        }


def device_request(lease: DeviceLease, *, cdi: bool, gpu_runtime: bool) -> DeviceRequest:
    """Return the request for the leased device; raises AcceleratorUnavailable where no form is known."""
    if cdi:
        return DeviceRequest(driver="cdi", device_ids=(f"nvidia.com/gpu={lease.uuid}",), capabilities=())
    if gpu_runtime:
        return DeviceRequest(driver="nvidia", device_ids=(lease.uuid,), capabilities=(("gpu", DRIVER_CAPABILITIES),))
    raise AcceleratorUnavailable(
        code="NO_DEVICE_SUPPORT",
        observed="the engine knows neither CDI nor NVIDIA's runtime",
        expected="an engine that can hand a device to a container",
        hint="install the NVIDIA container toolkit 1.18 or later and restart the engine, then run `jouleseal doctor`",
    )
