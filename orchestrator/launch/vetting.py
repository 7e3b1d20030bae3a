"""What is refused before a sandbox is built: engines that cannot hold one, and images or requests that do not fit.

Rules:
 1. An engine on which the profile would be silently weaker than it says is the operator's to fix.
 2. An image's USER is numeric and not root: a name would be looked up in the image's own passwd file.
 3. An image's VOLUMEs are plain paths that can be covered, and few.
 4. A request is between a floor and what the machine has; it is never cut down quietly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.launch.facts import EngineFacts
from orchestrator.launch.layout import MEMORY_FLOOR_BYTES, SOCKET_FOLDER
from protocol.errors import EngineUnavailable, InvalidSubmission
from protocol.submission import Resources

MAX_ID = (1 << 31) - 1
MAX_VOLUMES = 16

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_USER = re.compile(r"(0|[1-9][0-9]{0,9})(?::(0|[1-9][0-9]{0,9}))?")
_VOLUME = re.compile(r"(/[A-Za-z0-9_.@+\-]+)+")
_KERNEL_FOLDERS = frozenset({"proc", "sys", "dev"})


def refuse_unfit_engine(facts: EngineFacts) -> None:
    """Raise EngineUnavailable for an engine on which the profile would be silently weaker than it says."""
    if facts.rootless and facts.cgroup_version == "1":
        raise EngineUnavailable(
            code="ENGINE_LIMITS",
            observed="a rootless engine on control groups v1",
            expected="an engine that enforces memory and process limits; this one ignores them without an error",
            hint="run the engine as root, or boot with systemd.unified_cgroup_hierarchy=1",
        )
    if facts.user_namespaces:
        raise EngineUnavailable(
            code="ENGINE_USER_NAMESPACES",
            observed="an engine that maps users (userns-remap)",
            expected="container users that are the host's numbers, so that a socket's owner can be checked",
            hint="remove userns-remap from the engine's configuration and restart it",
        )
    if not facts.seccomp:
        raise EngineUnavailable(
            code="ENGINE_SECCOMP",
            observed="an engine without seccomp",
            expected="an engine that applies a system call filter",
            hint="use a kernel and an engine built with seccomp",
        )
    if facts.containerd_store:
        raise EngineUnavailable(
            code="ENGINE_IMAGE_STORE",
            observed="the containerd image store, where an image's id is not the digest of its configuration",
            expected="a graph driver store such as overlay2",
            hint='set {"features": {"containerd-snapshotter": false}} in the engine\'s configuration and restart it',
        )


def parse_user(user: str) -> tuple[int, int]:
    """Return the numeric user and group of an image's USER; the group defaults to the user's number.

    Raises InvalidSubmission IMAGE_USER for an absent, named, root or impossible one.
    """
    match = _USER.fullmatch(user)
    ids = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
    if min(ids) < 1 or max(ids) > MAX_ID:
        raise InvalidSubmission(
            code="IMAGE_USER",
            observed=f"USER {user[:80]!r}" if user else "no USER, which means root",
            expected="a numeric user and group that are not root, such as 65532:65532",
            hint="end the Dockerfile with `USER 65532:65532` and make the model's files readable for it",
        )
    return ids


def check_resources(resources: Resources, facts: EngineFacts) -> None:
    """Raise InvalidSubmission RESOURCES if the request is senseless or larger than the machine."""
    memory, shm, cpus = resources.memory_bytes, resources.shm_bytes, resources.cpus
    problems = (
        (not MEMORY_FLOOR_BYTES <= memory <= facts.memory_bytes, f"memory of {memory} bytes"),
        (not 1 <= cpus <= len(facts.cpu_ids), f"{cpus} processors"),
        (not 0 <= shm <= memory, f"shared memory of {shm} bytes"),
    )
    wrong = [text for bad, text in problems if bad]
    if wrong:
        raise InvalidSubmission(
            code="RESOURCES",
            observed="; ".join(wrong),
            expected=f"{MEMORY_FLOOR_BYTES} to {facts.memory_bytes} bytes of memory, 1 to {len(facts.cpu_ids)} "
            "processors, shared memory within the memory",
            hint="lower `resources` in submission.yaml, or ask for a larger hardware class",
        )


def volume_paths(volumes: Sequence[str]) -> tuple[str, ...]:
    """Return the image's VOLUMEs as clean paths, sorted.

    Raises InvalidSubmission IMAGE_VOLUME for one that cannot be covered by a tmpfs.
    """
    if len(volumes) > MAX_VOLUMES:
        raise _bad_volume(f"{len(volumes)} VOLUMEs")
    return tuple(sorted({_volume_path(volume) for volume in volumes}))


def _volume_path(volume: str) -> str:
    path = volume.rstrip("/")
    parts = path.split("/")[1:]
    if not _VOLUME.fullmatch(path) or {".", ".."} & set(parts) or parts[0] in _KERNEL_FOLDERS:
        raise _bad_volume(f"VOLUME {volume[:80]!r}")
    above, below = f"{SOCKET_FOLDER}/".startswith(f"{path}/"), path.startswith(f"{SOCKET_FOLDER}/")
    if path != SOCKET_FOLDER and (above or below):
        raise _bad_volume(f"VOLUME {volume[:80]!r}")
    return path


def _bad_volume(observed: str) -> InvalidSubmission:
    return InvalidSubmission(
        code="IMAGE_VOLUME",
        observed=observed,
        expected=f"at most {MAX_VOLUMES} plain absolute paths outside /proc, /sys, /dev and {SOCKET_FOLDER}",
        hint="remove the VOLUME line from the Dockerfile; the sandbox has /tmp and /cache to write to",
    )


def environment_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the image's variable names; raises InvalidSubmission IMAGE_ENV for one that is no plain name."""
    for name in names:
        if not _ENV_NAME.fullmatch(name):
            raise InvalidSubmission(
                code="IMAGE_ENV",
                observed=f"an environment variable named {name[:80]!r}",
                expected="names of letters, digits, underscores, dots and hyphens",
                hint="rename or remove the ENV line",
            )
    return tuple(names)
