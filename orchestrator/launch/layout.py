"""The inside of a sandbox: its paths, its bounds, and the names by which a session's parts are known to the engine."""

from __future__ import annotations

import re

from protocol.errors import EngineUnavailable
from protocol.units import MIB

SESSION = "{session}"  # stands in a profile where a session's own name goes

SOCKET_FOLDER = "/run/jouleseal"
SOCKET_NAME = "model.sock"
SOCKET_PATH = f"{SOCKET_FOLDER}/{SOCKET_NAME}"
CACHE = "/cache"
SCRATCH = "/tmp"  # noqa: S108 - a mount point inside the sandbox, not a file of this machine

HOSTNAME = "sandbox"
STOP_SIGNAL = "SIGTERM"
STOP_GRACE_S = 5  # a server that ends needs well under a second; the rest is for a slow driver's teardown

SOCKET_FOLDER_BYTES = 256 * 1024  # a socket has no bytes; this is the smallest size that rounds to whole pages anywhere
SOCKET_FOLDER_INODES = (
    8  # the folder, the socket, and a few for a server that makes its socket under another name first
)
TMPFS_INODES = 65_536  # a large framework's compile cache has some ten thousand files; millions exhaust kernel memory
SCRATCH_BYTES = 256 * MIB
SHM_BYTES = 64 * MIB  # the engine's own default
PIDS = 1_024  # threads count; an inference server on a large machine has a few hundred
NOFILE = 65_536
OOM_SCORE = 500  # of 1,000: ahead of every ordinary process of the machine
LOG_BYTES = 10 * MIB
MEMORY_FLOOR_BYTES = 64 * MIB  # below this the interpreter of a server does not start

LABEL_RIG = "dev.jouleseal.rig"
LABEL_SESSION = "dev.jouleseal.session"
CGROUP_ROOT = "jouleseal"

_SESSION_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")


def valid_session(session_id: str) -> str:
    """Return the session id; raises EngineUnavailable unless it can name a control group, a volume and a container."""
    if _SESSION_ID.fullmatch(session_id):
        return session_id
    raise EngineUnavailable(
        code="SESSION_NAME",
        observed=f"the session name {session_id[:80]!r}",
        expected="1 to 63 lower-case letters, digits, dots and hyphens, beginning with a letter or digit",
        hint="this is a fault of the orchestrator: name sessions plainly",
    )


def container_name(session_id: str) -> str:
    """Return the name of the session's container."""
    return f"jouleseal-{session_id}"


def volume_name(session_id: str) -> str:
    """Return the name of the session's socket volume."""
    return f"jouleseal-{session_id}-socket"


def cgroup_parent(session_id: str, driver: str) -> str:
    """Return the session's control group as the engine's cgroup driver ("cgroupfs" or "systemd") wants it named."""
    return f"/{CGROUP_ROOT}/{session_id}" if driver == "cgroupfs" else f"{CGROUP_ROOT}-{session_id}.slice"
