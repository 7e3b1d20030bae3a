"""What the container engine and its machine are, read once and kept as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """The properties of an engine on which the launch profile and the doctor's findings depend.

    `cgroup_version` is "1" or "2"; `cgroup_driver` is "cgroupfs" or "systemd". `nofile_hard` is the smallest hard limit
    of open files among the engine's own processes: a container cannot be given more. `cpu_ids` are the processors that
    are online; `memory_bytes` is the machine's memory. `cdi` says whether the engine resolves Container Device
    Interface names, `gpu_runtime` whether it has NVIDIA's runtime or hook. `containerd_store` is true where an image's
    id in the engine is not the digest of its configuration. `power_paths` are the folders of this machine's sysfs
    that show power or energy.
    """

    engine_id: str
    version: str
    api_version: str
    kernel: str
    architecture: str
    operating_system: str
    cgroup_version: str
    cgroup_driver: str
    rootless: bool
    user_namespaces: bool
    seccomp: bool
    storage_driver: str
    containerd_store: bool
    runtimes: tuple[str, ...]
    cdi: bool
    gpu_runtime: bool
    swap_limit: bool
    pids_limit: bool
    cpu_ids: tuple[int, ...]
    memory_bytes: int
    nofile_hard: int
    power_paths: tuple[str, ...] = ()

    def to_json(self) -> dict[str, str]:
        """Return the facts as a flat mapping of strings for a session's evidence; it holds no path of the host."""
        return {
            "version": self.version,
            "apiVersion": self.api_version,
            "kernel": self.kernel,
            "architecture": self.architecture,
            "operatingSystem": self.operating_system,
            "cgroupVersion": self.cgroup_version,
            "cgroupDriver": self.cgroup_driver,
            "rootless": str(self.rootless).lower(),
            "userNamespaces": str(self.user_namespaces).lower(),
            "seccomp": str(self.seccomp).lower(),
            "storageDriver": self.storage_driver,
            "containerdStore": str(self.containerd_store).lower(),
            "runtimes": ",".join(self.runtimes),
            "cdi": str(self.cdi).lower(),
            "cpus": str(len(self.cpu_ids)),
            "memoryBytes": str(self.memory_bytes),
            "nofileHard": str(self.nofile_hard),
        }
