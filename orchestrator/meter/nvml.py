"""NVIDIA accelerators through NVML: the only module that imports pynvml, and it runs in the sampler's process alone.

Every sample is one `nvmlDeviceGetFieldValues` call a device, so that its three readings are of one instant: the total
energy counter (field 83), the 1 s mean power (185) and the instantaneous power (186, diagnostic: on some boards it sees
a quarter of the time). What a device does not support when it is opened is no column of the record; what it supported
and then does not answer is a lost device. MIG is refused: its slices have no energy of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pynvml

from protocol.errors import AcceleratorUnavailable, MeterUnavailable
from protocol.methodology.trace import GPU_ENERGY, GPU_POWER_AVERAGE, GPU_POWER_INSTANT
from protocol.methodology.validity import GPU_FOREIGN, GPU_REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SCOPE_GPU = 0
_FIELDS = (
    (GPU_ENERGY, pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION),
    (GPU_POWER_AVERAGE, pynvml.NVML_FI_DEV_POWER_AVERAGE),
    (GPU_POWER_INSTANT, pynvml.NVML_FI_DEV_POWER_INSTANT),
)
_VALUE_MEMBERS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
}
# Answers that say "this device does not have it"; every other error says that the device is in trouble.
_ABSENT = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_NO_PERMISSION,
    }
)


def _mig_mode(handle: object) -> int:
    return int(pynvml.nvmlDeviceGetMigMode(handle)[0])


class _Device:
    """One accelerator: its handle, the prefix of its columns, and the fields that it answers."""

    def __init__(self, index: int, uuid: str) -> None:
        self.prefix = f"gpu{index}"
        self.uuid = uuid
        self.handle = _ask(f"device {uuid}", pynvml.nvmlDeviceGetHandleByUUID, uuid)
        if _optional(_mig_mode, self.handle):
            raise AcceleratorUnavailable(
                code="MIG_ENABLED",
                observed=f"device {uuid} has MIG enabled",
                expected="a whole device",
                hint="disable MIG on the device: a slice has no energy reading of its own",
            )
        every = [(field, _SCOPE_GPU) for _, field in _FIELDS]
        found = _ask(f"device {uuid}", pynvml.nvmlDeviceGetFieldValues, self.handle, every)
        usable = [found[i].nvmlReturn == pynvml.NVML_SUCCESS for i in range(len(_FIELDS))]
        self.fields = [pair for pair, works in zip(_FIELDS, usable, strict=True) if works]
        names = {name for name, _ in self.fields}
        if not names & {GPU_ENERGY, GPU_POWER_AVERAGE}:
            raise MeterUnavailable(
                code="NO_POWER_READING",
                observed=f"device {uuid} answers neither its energy counter nor its mean power",
                expected="field 83 or field 185 of NVML",
                hint="use a device and a driver that report energy (Volta or later; not a vGPU)",
            )
        self._wanted = [(field, _SCOPE_GPU) for _, field in self.fields]
        self.name = str(_ask("the device's name", pynvml.nvmlDeviceGetName, self.handle))

    @property
    def columns(self) -> tuple[str, ...]:
        """The device's columns of every sample."""
        return tuple(f"{self.prefix}.{name}" for name, _ in self.fields)

    def read(self) -> list[int | None]:
        """Read the fields in one call; the diagnostic one may be silent, the others may not."""
        try:
            found = pynvml.nvmlDeviceGetFieldValues(self.handle, self._wanted)
        except pynvml.NVMLError as error:
            raise _lost(self.prefix, error.value) from error
        values: list[int | None] = []
        for i, (name, field) in enumerate(self.fields):
            answer = found[i].nvmlReturn
            if answer == pynvml.NVML_SUCCESS:
                values.append(int(getattr(found[i].value, _VALUE_MEMBERS.get(found[i].valueType, "ullVal"))))
            elif name == GPU_POWER_INSTANT:
                values.append(None)
            else:
                raise _lost(f"{self.prefix} field {field}", answer)
        return values


# What is read of a device once a second, each absent (None) where the device does not have it.
_STATE: tuple[tuple[str, Callable[[Any], int]], ...] = (
    ("sm_clock_mhz", lambda handle: int(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))),
    ("memory_clock_mhz", lambda handle: int(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM))),
    (GPU_REASONS, lambda handle: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))),
    ("temperature_c", lambda handle: int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
    ("memory_used_bytes", lambda handle: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)),
    ("power_limit_mw", lambda handle: int(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle))),
    ("mig", _mig_mode),
    ("ecc", lambda handle: int(pynvml.nvmlDeviceGetEccMode(handle)[0])),
    ("utilization", lambda handle: int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
)
_PROCESSES = "processes"


class NvmlInstrument:
    """Reads the leased devices, and nothing of any other device."""

    name = "nvml"

    def __init__(self, uuids: Sequence[str], proc: Path) -> None:
        """Start NVML and open the devices.

        Raises AcceleratorUnavailable where the driver or a device is not there or MIG is on, and MeterUnavailable
        NO_POWER_READING where a device reports no energy in any way.
        """
        self._proc = proc
        self._container = ""
        _ask("the driver", pynvml.nvmlInit)
        self._devices = [_Device(index, uuid) for index, uuid in enumerate(uuids)]
        self.columns = tuple(column for device in self._devices for column in device.columns)
        state = (*(name for name, _ in _STATE), _PROCESSES, GPU_FOREIGN)
        self.host_columns = tuple(f"{device.prefix}.{name}" for device in self._devices for name in state)
        self.prefixes = tuple(device.prefix for device in self._devices)

    def facts(self) -> dict[str, str]:
        """Return what the devices and their driver call themselves."""
        facts = {"driver": str(_ask("the driver's version", pynvml.nvmlSystemGetDriverVersion))}
        for device in self._devices:
            facts |= {f"{device.prefix}.uuid": device.uuid, f"{device.prefix}.name": device.name}
            facts[f"{device.prefix}.memory_bytes"] = str(pynvml.nvmlDeviceGetMemoryInfo(device.handle).total)
        return facts

    def watch(self, container_id: str) -> None:
        """Name the sandbox, so that processes that are not its own are counted as foreign."""
        self._container = container_id

    def read(self) -> list[int | None]:
        """Read every device's counter and powers; raises MeterUnavailable DEVICE_LOST."""
        return [value for device in self._devices for value in device.read()]

    def read_host(self) -> list[int | None]:
        """Read every device's clocks, reasons, temperature, memory, limits and processes."""
        values: list[int | None] = []
        for device in self._devices:
            values += [_optional(read, device.handle) for _, read in _STATE]
            values += self._processes(device.handle)
        return values

    def close(self) -> None:
        """Let the driver go."""
        pynvml.nvmlShutdown()

    def _processes(self, handle: object) -> tuple[int | None, int | None]:
        """Count the device's compute processes, and those among them that are not the sandbox's."""
        try:
            found = pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
        except pynvml.NVMLError as error:
            if error.value in _ABSENT:
                return None, None
            raise _lost("the device's processes", error.value) from error
        return len(found), sum(not self._is_ours(process.pid) for process in found)

    def _is_ours(self, pid: int) -> bool:
        if not self._container:
            return False
        try:
            return self._container in (self._proc / str(pid) / "cgroup").read_text(encoding="ascii", errors="replace")
        except OSError:
            return True  # it has ended between the two questions; a process that computes is seen again


def _ask(what: str, question: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - as NVML answers
    """Ask NVML while opening; its exceptions do not leave this module."""
    try:
        return question(*arguments)
    except pynvml.NVMLError as error:
        raise AcceleratorUnavailable(
            observed=f"{what}: {_words(error.value)}",
            expected="the leased accelerator and its driver",
            hint="run `nvidia-smi -L` on the host and compare the UUIDs",
        ) from error


def _optional(read: Callable[[Any], int], handle: object) -> int | None:
    try:
        return read(handle)
    except pynvml.NVMLError as error:
        if error.value in _ABSENT:
            return None
        raise _lost("the device's state", error.value) from error


def _lost(what: str, code: int) -> MeterUnavailable:
    return MeterUnavailable(
        code="DEVICE_LOST",
        observed=f"{what}: {_words(code)}",
        expected="a device that answers throughout",
        hint="look at the kernel's log for the device; it may need a reset by the operator",
    )


def _words(code: int) -> str:
    return f"NVML error {code} ({pynvml.NVMLError(code)})"
