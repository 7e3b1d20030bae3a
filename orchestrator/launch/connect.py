"""The verified connect: a descriptor of the model's socket that is provably the sandbox's own.

A sandbox can replace its socket by a link to a socket of the host, or relay to another container; a client that follows
the path would talk to the wrong server.  So:
 1. The path is opened component by component from the root of the sandbox's first process, with O_PATH and O_NOFOLLOW.
 2. What is found must be a socket.
 3. A connection through /proc/self/fd/N reaches the inode that was checked, whatever the path names by then.
 4. The process that listens, as the kernel recorded it (SO_PEERCRED), must be in exactly the sandbox's control groups.
 5. The first process must still be the one that it was, or nothing of this counts.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from orchestrator.launch.cgroups import Membership
from orchestrator.launch.layout import SOCKET_PATH
from protocol.errors import EngineUnavailable, SealBroken

_CONNECT_TIMEOUT_S = 1.0
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_NOT_THERE = frozenset({errno.ENOENT})
_NOT_LISTENING = frozenset({errno.ECONNREFUSED, errno.EAGAIN, errno.ETIMEDOUT, errno.EACCES, errno.EPERM})


class NotYet(Enum):
    """Why there is nothing to connect to so far."""

    MISSING = "SOCKET_MISSING"
    NOT_CONNECTABLE = "SOCKET_NOT_CONNECTABLE"


def open_socket_inode(root: Path, parts: Sequence[str]) -> int | NotYet:
    """Return an O_PATH descriptor of the socket at `root`/parts, following no link; the caller closes it.

    Raises SealBroken SOCKET_IS_LINK or SOCKET_IS_NO_SOCKET for anything else that lies there.
    """
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for index, part in enumerate(parts):
        try:
            found = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return NotYet.MISSING
            raise
        finally:
            os.close(folder)
        mode = os.fstat(found).st_mode
        expected = stat.S_ISSOCK if index == len(parts) - 1 else stat.S_ISDIR
        if not expected(mode):
            os.close(found)
            raise _not_a_socket(mode, "/" + "/".join(parts[: index + 1]))
        folder = found
    return folder


def _not_a_socket(mode: int, path: str) -> SealBroken:
    link = stat.S_ISLNK(mode)
    return SealBroken(
        code="SOCKET_IS_LINK" if link else "SOCKET_IS_NO_SOCKET",
        observed=f"{path} inside the sandbox is {'a link' if link else f'of file type {stat.S_IFMT(mode):#o}'}",
        expected=f"a unix socket at {SOCKET_PATH} in plain folders",
        hint="listen on the path in JOULESEAL_SOCKET itself, and keep /run and /run/jouleseal plain folders",
    )


def listener_of(descriptor: int) -> int | NotYet:
    """Connect to the checked inode and return the pid that listens, in our own pid namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_TIMEOUT_S)
        try:
            probe.connect(f"/proc/self/fd/{descriptor}")
        except (TimeoutError, OSError) as error:
            if isinstance(error, TimeoutError) or error.errno in _NOT_LISTENING:
                return NotYet.NOT_CONNECTABLE
            raise
        pid, _, _ = _UCRED.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if pid == 0:
        raise EngineUnavailable(
            code="PID_INVISIBLE",
            observed="the process behind the sandbox's socket has no number here",
            expected="the sandbox's processes in sight",
            hint="start the orchestrator's container with --pid=host",
        )
    return int(pid)


def require_same_sandbox(listener: int, membership: Membership, proc: Path = Path("/proc")) -> None:
    """Raise SealBroken SOCKET_NOT_OURS unless the listening process is in exactly the sandbox's control groups."""
    try:
        theirs = Membership.parse((proc / str(listener) / "cgroup").read_text()).paths
    except OSError:
        theirs = {}
    if not theirs or dict(theirs) != dict(membership.paths):
        raise SealBroken(
            code="SOCKET_NOT_OURS",
            observed="the socket is served by a process outside the sandbox, or by one that has ended",
            expected="a listening process that lives in the sandbox",
            hint="let the process that calls listen() keep running, and do not relay to anything else",
        )
