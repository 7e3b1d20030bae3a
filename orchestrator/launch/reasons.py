"""Why each field of the launch profile is what it is; the page docs/seal.md is made from these sentences."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "image": "The image by the digest of its configuration: a tag can be moved, a digest cannot.",
        "user": "The image's own numeric user, never root: a kernel flaw then starts from an unprivileged id.",
        "network": "No network: answers cannot be fetched, and points, weights and results cannot leave.",
        "read_only_root": "Nothing can be written to the host's disk through the image's file system.",
        "capabilities_dropped": "No capability is needed to read tensors and listen on a unix socket.",
        "no_new_privileges": "A set-uid file in the image gains nothing.",
        "seccomp_sha256": "Our own allow list of system calls (seccomp.json): closes AF_VSOCK and io_uring, which "
        "stay open without a network on engines before 23 and 25, and everything else that is not needed.",
        "pids": "A fork bomb ends inside the sandbox.",
        "memory_bytes": "What the vendor asked for and the machine has; more is a kill, not a slow machine.",
        "memory_and_swap_bytes": "Equal to the memory limit: no swap, which would cost energy that no meter sees.",
        "swappiness": "The kernel does not swap the sandbox out either (control groups v1; v2 has no such switch).",
        "cpuset": "The highest processors, as many as asked for: the driver and the sampler keep the lowest.",
        "shm_bytes": "Shared memory, which frameworks use between workers, is bounded.",
        "oom_score": "If the machine itself runs out of memory the sandbox dies before the instruments.",
        "ipc": "Shared memory and queues of the host and of other containers are not visible.",
        "cgroup_namespace": "The host's control group tree is not visible.",
        "init": "An init process reaps children and passes signals on, so that a stop is heard.",
        "tmpfs": "The only places to write, all in the sandbox's own memory with a bound on files: /tmp without exec; "
        "/cache with exec, because compiled kernels are loaded from there; and one over each VOLUME of the image, "
        "which would otherwise be writable disk of the host under a read-only root.",
        "socket_folder": "The folder of the model's socket is a tmpfs of 256 KiB and 8 files: a bind mount would let "
        "the sandbox fill the host's disk. The image's own content is not copied into it.",
        "log_driver": "No logs in official runs: they would carry points to the vendor, and writing them costs the "
        "engine's processor time outside the meter. While checking, a capped file.",
        "log_options": "The cap of the checking run's log file.",
        "health_check": "The image's HEALTHCHECK would run during the measurement.",
        "stop_signal": "The image's STOPSIGNAL could be one that is ignored.",
        "stop_grace_s": "Time to end by itself after the stop signal; then it is killed.",
        "restart": "A sandbox that dies has failed; it is never started again.",
        "hostname": "The same everywhere: a model cannot tell one session or machine from another by name.",
        "labels": "By these a later process finds and removes what a killed one left behind.",
        "cgroup_parent": "A control group of the session's own: its counters can be read after the sandbox ended.",
        "pull": "The engine never fetches an image: what is not there is not run.",
        "environment": "Home, user and every known cache point at the writable cache, since a numeric user has no "
        "home; the accelerator variables name the leased device and compute only.",
        "environment_cleared": "LD_* would run code of the image's choice in the device hook (CVE-2025-23266); other "
        "NVIDIA_* and JOULESEAL_* are ours to set.",
        "ulimits": "No core files of a proprietary model; open files up to what the engine itself may grant.",
        "device": "The one leased accelerator, by UUID; null in the CPU class.",
        "masked_paths": "The engine's own list, and the energy, power and heat files of the kernel, which some engines "
        "leave readable: a model must not see the meter.",
        "readonly_paths": "The engine's own list of kernel files that must not be written.",
    }
)
