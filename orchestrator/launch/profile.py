"""The launch profile: everything a sandbox may and may not do, as data, each field with its reason.

Rules:
 1. The profile is a value. It is built from the image, the vendor's request, the lease and the engine's facts, hashed
    into the campaign's plan, rendered for the engine, and compared field by field with what the engine says it did.
 2. What the image asks for is never trusted: its user is checked, its volumes are covered, its health check, stop
    signal and dynamic-linker variables are neutralised.
 3. What would weaken the seal is written out as absent (no binds, no devices, no added capabilities), so that a
    difference shows.
 4. Nothing in the profile depends on the session: names that do carry the word `{session}`, so that all sessions of a
    campaign share one digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum

from orchestrator.launch.device import DRIVER_CAPABILITIES, DeviceLease, DeviceRequest, device_request
from orchestrator.launch.facts import EngineFacts
from orchestrator.launch.layout import (
    CACHE,
    HOSTNAME,
    LABEL_SESSION,
    LOG_BYTES,
    NOFILE,
    OOM_SCORE,
    PIDS,
    SCRATCH,
    SCRATCH_BYTES,
    SESSION,
    SHM_BYTES,
    SOCKET_FOLDER,
    SOCKET_FOLDER_BYTES,
    SOCKET_FOLDER_INODES,
    SOCKET_PATH,
    STOP_GRACE_S,
    STOP_SIGNAL,
    TMPFS_INODES,
    cgroup_parent,
    valid_session,
    volume_name,
)
from orchestrator.launch.reasons import REASONS
from orchestrator.launch.seccomp import seccomp_inline
from orchestrator.launch.vetting import (
    check_resources,
    environment_names,
    parse_user,
    refuse_unfit_engine,
    volume_paths,
)
from protocol.submission import Resources, SealedImage

__all__ = ["REASONS", "LaunchProfile", "Logs", "SocketFolder", "Tmpfs", "Ulimit", "build_profile"]

# Masked by every engine by default; naming any path replaces the engine's own list, so ours starts with it.
_MASKED_DEFAULT = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)
# Engines before 24.0.7 leave the energy counters readable (GHSA-jq35-85cj-fj4p); the others show power or heat.
_MASKED_POWER = (
    "/sys/class/hwmon",
    "/sys/class/power_supply",
    "/sys/class/powercap",
    "/sys/class/thermal",
    "/sys/devices/virtual/powercap",
    "/sys/devices/virtual/thermal",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Variables that change what the dynamic linker or the device hook does (CVE-2025-23266), or that point at a network.
_CLEARED = (
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NVIDIA_DISABLE_REQUIRE",
    "NVIDIA_REQUIRE_CUDA",
)
_CLEARED_PREFIXES = ("LD_", "NVIDIA_", "JOULESEAL_")


class Logs(Enum):
    """Where the vendor's output goes: nowhere in official runs, a bounded file while a vendor checks its own image."""

    NONE = "none"
    CAPPED = "capped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """A file system in the sandbox's own memory at `target`, with its mount options in order."""

    target: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketFolder:
    """The volume in which the model's socket lies: a tmpfs of the engine's local driver."""

    target: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """A resource limit of every process of the sandbox; soft and hard are the same."""

    name: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchProfile:
    """The whole profile. Each field's reason is in `REASONS`; sizes are bytes, times seconds."""

    image: str
    user: str
    network: str
    read_only_root: bool
    capabilities_dropped: tuple[str, ...]
    no_new_privileges: bool
    seccomp_sha256: str
    pids: int
    memory_bytes: int
    memory_and_swap_bytes: int
    swappiness: int | None
    cpuset: str
    shm_bytes: int
    oom_score: int
    ipc: str
    cgroup_namespace: str
    init: bool
    tmpfs: tuple[Tmpfs, ...]
    socket_folder: SocketFolder
    log_driver: str
    log_options: tuple[tuple[str, str], ...]
    health_check: tuple[str, ...]
    stop_signal: str
    stop_grace_s: int
    restart: str
    hostname: str
    labels: tuple[tuple[str, str], ...]
    cgroup_parent: str
    pull: str
    environment: tuple[tuple[str, str], ...]
    environment_cleared: tuple[str, ...]
    ulimits: tuple[Ulimit, ...]
    device: DeviceRequest | None
    masked_paths: tuple[str, ...]
    readonly_paths: tuple[str, ...]

    def to_json(self) -> bytes:
        """Return the profile's canonical JSON: sorted keys, no spaces, integers and ASCII strings only (RFC 8785)."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> str:
        """Return the hex SHA-256 of the canonical JSON, as the campaign's plan holds it."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_engine(self, session_id: str = SESSION, labels: Mapping[str, str] | None = None) -> dict[str, object]:
        """Return the body of the engine's container-create call for one session.

        `labels` are added to the profile's own, which win. Raises EngineUnavailable for a session id that is no plain
        name, since it becomes the name of a control group, a volume and a container.
        """
        if session_id != SESSION:
            valid_session(session_id)
        return {
            "Image": self.image,
            "User": self.user,
            "Hostname": self.hostname,
            "Domainname": "",
            "AttachStdin": False,
            "AttachStdout": False,
            "AttachStderr": False,
            "Tty": False,
            "OpenStdin": False,
            "Env": [f"{name}={value}" for name, value in self.environment] + list(self.environment_cleared),
            "Healthcheck": {"Test": list(self.health_check)},
            "StopSignal": self.stop_signal,
            "StopTimeout": self.stop_grace_s,
            "Labels": {**(labels or {}), **{k: v.replace(SESSION, session_id) for k, v in self.labels}},
            "HostConfig": self._host_config(session_id),
        }

    def _host_config(self, session_id: str) -> dict[str, object]:
        return {**self._isolation(), **self._limits(), **self._mounts(session_id), **_absent()}

    def _isolation(self) -> dict[str, object]:
        return {
            "NetworkMode": self.network,
            "ReadonlyRootfs": self.read_only_root,
            "CapDrop": list(self.capabilities_dropped),
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_inline()}"],
            "IpcMode": self.ipc,
            "CgroupnsMode": self.cgroup_namespace,
            "Init": self.init,
            "LogConfig": {"Type": self.log_driver, "Config": dict(self.log_options)},
            "RestartPolicy": {"Name": self.restart, "MaximumRetryCount": 0},
            "MaskedPaths": list(self.masked_paths),
            "ReadonlyPaths": list(self.readonly_paths),
            "DeviceRequests": [] if self.device is None else [dict(self.device.to_engine())],
        }

    def _limits(self) -> dict[str, object]:
        limits: dict[str, object] = {
            "PidsLimit": self.pids,
            "Memory": self.memory_bytes,
            "MemorySwap": self.memory_and_swap_bytes,
            "CpusetCpus": self.cpuset,
            "ShmSize": self.shm_bytes,
            "OomScoreAdj": self.oom_score,
            "Ulimits": [{"Name": u.name, "Soft": u.value, "Hard": u.value} for u in self.ulimits],
        }
        return limits if self.swappiness is None else {**limits, "MemorySwappiness": self.swappiness}

    def _mounts(self, session_id: str) -> dict[str, object]:
        return {
            "CgroupParent": self.cgroup_parent.replace(SESSION, session_id),
            "Tmpfs": {t.target: ",".join(t.options) for t in self.tmpfs},
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": volume_name(session_id),
                    "Target": self.socket_folder.target,
                    "VolumeOptions": {"NoCopy": True},
                }
            ],
        }


def _absent() -> dict[str, object]:
    """Return what a sandbox never has, spelled out so that its presence is a difference."""
    return {
        "AutoRemove": False,
        "Binds": [],
        "BlkioWeight": 0,
        "CapAdd": [],
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuShares": 0,
        "DeviceCgroupRules": [],
        "Devices": [],
        "Dns": [],
        "ExtraHosts": [],
        "GroupAdd": [],
        "Links": [],
        "NanoCpus": 0,
        "OomKillDisable": False,
        "PidMode": "",
        "PortBindings": {},
        "Privileged": False,
        "PublishAllPorts": False,
        "UTSMode": "",
        "UsernsMode": "",
        "VolumesFrom": [],
    }


def build_profile(
    image: SealedImage, resources: Resources, lease: DeviceLease | None, facts: EngineFacts, *, logs: Logs = Logs.NONE
) -> LaunchProfile:
    """Return the profile under which this image runs with these resources on this engine.

    Raises InvalidSubmission (IMAGE_USER, IMAGE_ENV, IMAGE_VOLUME, RESOURCES) for what the vendor must change,
    EngineUnavailable (ENGINE_LIMITS, ENGINE_SECCOMP, ENGINE_IMAGE_STORE) for an engine that cannot hold a sandbox, and
    AcceleratorUnavailable for a lease that the engine cannot honour.
    """
    refuse_unfit_engine(facts)
    uid, gid = parse_user(image.user)
    check_resources(resources, facts)
    owner = (f"uid={uid}", f"gid={gid}")
    return LaunchProfile(
        image=image.config_digest,
        user=f"{uid}:{gid}",
        network="none",
        read_only_root=True,
        capabilities_dropped=("ALL",),
        no_new_privileges=True,
        seccomp_sha256=hashlib.sha256(seccomp_inline().encode()).hexdigest(),
        pids=PIDS,
        memory_bytes=resources.memory_bytes,
        memory_and_swap_bytes=resources.memory_bytes,
        swappiness=0 if facts.cgroup_version == "1" else None,
        cpuset=_cpuset(resources.cpus, facts.cpu_ids),
        shm_bytes=resources.shm_bytes or SHM_BYTES,
        oom_score=OOM_SCORE,
        ipc="private",
        cgroup_namespace="private",
        init=True,
        tmpfs=_tmpfs(image.volumes, resources.memory_bytes, owner),
        socket_folder=_socket_folder(owner),
        log_driver="none" if logs is Logs.NONE else "json-file",
        log_options=() if logs is Logs.NONE else (("max-file", "1"), ("max-size", str(LOG_BYTES))),
        health_check=("NONE",),
        stop_signal=STOP_SIGNAL,
        stop_grace_s=STOP_GRACE_S,
        restart="no",
        hostname=HOSTNAME,
        labels=((LABEL_SESSION, SESSION),),
        cgroup_parent=cgroup_parent(SESSION, facts.cgroup_driver),
        pull="never",
        environment=_environment(lease),
        environment_cleared=_cleared(environment_names(image.env_names), lease),
        ulimits=(Ulimit(name="core", value=0), Ulimit(name="nofile", value=min(NOFILE, facts.nofile_hard))),
        device=None if lease is None else device_request(lease, cdi=facts.cdi, gpu_runtime=facts.gpu_runtime),
        masked_paths=tuple(sorted({*_MASKED_DEFAULT, *_MASKED_POWER, *facts.power_paths})),
        readonly_paths=_READONLY,
    )


def _cpuset(cpus: int, cpu_ids: tuple[int, ...]) -> str:
    return ",".join(str(cpu) for cpu in sorted(cpu_ids)[-cpus:])


def _tmpfs(volumes: tuple[str, ...], memory_bytes: int, owner: tuple[str, str]) -> tuple[Tmpfs, ...]:
    scratch = min(SCRATCH_BYTES, memory_bytes // 4)
    common = ("rw", "nosuid", "nodev")
    inodes = f"nr_inodes={TMPFS_INODES}"
    mounts = [
        Tmpfs(target=SCRATCH, options=(*common, "noexec", f"size={scratch}", inodes, "mode=1777")),
        Tmpfs(target=CACHE, options=(*common, "exec", f"size={memory_bytes // 2}", inodes, "mode=0700", *owner)),
    ]
    for volume in sorted({*volume_paths(volumes)} - {SCRATCH, CACHE, SOCKET_FOLDER}):
        options = (*common, "noexec", f"size={scratch}", inodes, "mode=0700", *owner)
        mounts.append(Tmpfs(target=volume, options=options))
    return tuple(mounts)


def _socket_folder(owner: tuple[str, str]) -> SocketFolder:
    bounds = (f"size={SOCKET_FOLDER_BYTES}", f"nr_inodes={SOCKET_FOLDER_INODES}", "mode=0700")
    return SocketFolder(target=SOCKET_FOLDER, options=(*bounds, *owner, "noexec", "nosuid", "nodev"))


def _environment(lease: DeviceLease | None) -> tuple[tuple[str, str], ...]:
    values = {
        "HOME": CACHE,
        "USER": "model",
        "LOGNAME": "model",
        "XDG_CACHE_HOME": f"{CACHE}/xdg",
        "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/torchinductor",
        "TRITON_CACHE_DIR": f"{CACHE}/triton",
        "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
        "JOULESEAL_SOCKET": SOCKET_PATH,
        "NVIDIA_VISIBLE_DEVICES": "void" if lease is None else lease.uuid,
    }
    if lease is not None:
        values["NVIDIA_DRIVER_CAPABILITIES"] = DRIVER_CAPABILITIES
    return tuple(sorted(values.items()))


def _cleared(names: tuple[str, ...], lease: DeviceLease | None) -> tuple[str, ...]:
    ours = {name for name, _ in _environment(lease)}
    found = {name for name in names if name.startswith(_CLEARED_PREFIXES)}
    return tuple(sorted(({*_CLEARED} | found) - ours))
