"""NVIDIA accelerators through NVML: the only module that imports pynvml, and it runs in the sampler's process alone.

Every sample is one `nvmlDeviceGetFieldValues` call a device, so that its three readings are of one instant: the total
energy counter (field 83), the 1 s mean power (185) and the instantaneous power (186, diagnostic: on some boards it sees
a quarter of the time). What a device does not support when it is opened is no column of the record; what it supported
and then does not answer is a lost device. MIG is refused: its slices have no energy of their own. So is vGPU: its
device is a share of one.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import pynvml

from protocol.errors import AcceleratorUnavailable, MeterUnavailable
from protocol.methodology.trace import GPU_ENERGY, GPU_POWER_AVERAGE, GPU_POWER_INSTANT
from protocol.methodology.validity import (
    GPU_COMPUTE_MODE,
    GPU_ECC,
    GPU_FOREIGN,
    GPU_LIMIT,
    GPU_MIG,
    GPU_PERSISTENCE,
    GPU_PROCESSES,
    GPU_REASONS,
)

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


# Virtualization modes in which the driver here has the whole device
_WHOLE = frozenset({pynvml.NVML_GPU_VIRTUALIZATION_MODE_NONE, pynvml.NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH})


def _mig_mode(handle: object) -> int:
    return int(pynvml.nvmlDeviceGetMigMode(handle)[0])


def _virtualization(handle: object) -> int:
    return int(pynvml.nvmlDeviceGetVirtualizationMode(handle))


def _default_limit(handle: object) -> int:
    return int(pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle))


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
        virtualization = _optional(_virtualization, self.handle) or 0
        if virtualization not in _WHOLE:
            raise AcceleratorUnavailable(
                code="VGPU",
                observed=f"device {uuid} is in virtualization mode {virtualization}",
                expected="a whole device: no virtualization, or passed through",
                hint="take the device out of vGPU mode: a share of a device has no energy reading of its own",
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
        # One request for the life of the device: to build it anew costs more than to ask (pynvml's wrapper does).
        request = (pynvml.c_nvmlFieldValue_t * len(self.fields))()
        for answer, (_, field) in zip(request, self.fields, strict=True):
            answer.fieldId, answer.scopeId = field, _SCOPE_GPU
        self._answers = tuple(request)  # views of the request's own memory
        self._question = (self.handle, ctypes.c_int32(len(self.fields)), ctypes.byref(request))
        self._get_field_values = pynvml.nvmlLib.nvmlDeviceGetFieldValues
        self.name = str(_ask("the device's name", pynvml.nvmlDeviceGetName, self.handle))

    @property
    def columns(self) -> tuple[str, ...]:
        """The device's columns of every sample."""
        return tuple(f"{self.prefix}.{name}" for name, _ in self.fields)

    def read(self) -> list[int | None]:
        """Read the fields in one call; the diagnostic one may be silent, the others may not."""
        code = self._get_field_values(*self._question)
        if code != pynvml.NVML_SUCCESS:
            raise _lost(self.prefix, code)
        values: list[int | None] = []
        for (name, field), answer in zip(self.fields, self._answers, strict=True):
            if answer.nvmlReturn == pynvml.NVML_SUCCESS:
                values.append(int(getattr(answer.value, _VALUE_MEMBERS.get(answer.valueType, "ullVal"))))
            elif name == GPU_POWER_INSTANT:
                values.append(None)
            else:
                raise _lost(f"{self.prefix} field {field}", answer.nvmlReturn)
        return values

    def facts(self) -> dict[str, str]:
        """Return what the device calls itself, and what it is set to by default; what it does not say is left out."""
        facts = {
            "uuid": self.uuid,
            "name": self.name,
            "memory_bytes": str(pynvml.nvmlDeviceGetMemoryInfo(self.handle).total),
        }
        for name, read in _FACTS:
            try:
                facts[name] = str(read(self.handle))
            except pynvml.NVMLError as error:
                if error.value not in _ABSENT:
                    raise _lost(f"{self.prefix} {name}", error.value) from error
        return {f"{self.prefix}.{name}": value for name, value in facts.items()}


# What a device states once, when it is opened.
_FACTS: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("vbios", pynvml.nvmlDeviceGetVbiosVersion),
    ("power_limit_default_mw", _default_limit),
    ("virtualization", _virtualization),
)


# What is read of a device once a second, each absent (None) where the device does not have it.
_STATE: tuple[tuple[str, Callable[[Any], int]], ...] = (
    ("sm_clock_mhz", lambda handle: int(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))),
    ("memory_clock_mhz", lambda handle: int(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM))),
    (GPU_REASONS, lambda handle: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))),
    ("temperature_c", lambda handle: int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
    ("memory_used_bytes", lambda handle: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)),
    (GPU_LIMIT, lambda handle: int(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle))),
    (GPU_MIG, _mig_mode),
    (GPU_ECC, lambda handle: int(pynvml.nvmlDeviceGetEccMode(handle)[0])),
    (GPU_PERSISTENCE, lambda handle: int(pynvml.nvmlDeviceGetPersistenceMode(handle))),
    (GPU_COMPUTE_MODE, lambda handle: int(pynvml.nvmlDeviceGetComputeMode(handle))),
    ("utilization", lambda handle: int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
)


class NvmlInstrument:
    """Reads the leased devices, and nothing of any other device."""

    name = "nvml"

    def __init__(self, uuids: Sequence[str], proc: Path) -> None:
        """Start NVML and open the devices.

        Raises AcceleratorUnavailable where the driver or a device is not there (MIG_ENABLED, VGPU: not as a whole), and
        MeterUnavailable NO_POWER_READING where a device reports no energy in any way.
        """
        self._proc = proc
        self._container = ""
        _ask("the driver", pynvml.nvmlInit)
        self._devices = [_Device(index, uuid) for index, uuid in enumerate(uuids)]
        self.columns = tuple(column for device in self._devices for column in device.columns)
        state = (*(name for name, _ in _STATE), GPU_PROCESSES, GPU_FOREIGN)
        self.host_columns = tuple(f"{device.prefix}.{name}" for device in self._devices for name in state)
        self.prefixes = tuple(device.prefix for device in self._devices)

    def facts(self) -> dict[str, str]:
        """Return what the devices and their driver call themselves."""
        facts = {"driver": str(_ask("the driver's version", pynvml.nvmlSystemGetDriverVersion))}
        for device in self._devices:
            facts |= device.facts()
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
