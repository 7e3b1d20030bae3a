"""A running sandbox: its socket, its state, its end; every wait bounded and every failure with a code.

Rules:
 1. A sandbox is destroyed whole: container, volumes, control groups, descriptors. Destroying twice is destroying once.
 2. A child that the kernel killed for memory does not end the container; the groups' own counters are read too.
 3. Nothing of a vendor's output is read here, except while a vendor checks its own image.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orchestrator.launch import cgroups
from orchestrator.launch.connect import NotYet, listener_of, open_socket_inode, require_same_sandbox
from orchestrator.launch.layout import CGROUP_ROOT, SOCKET_PATH, STOP_GRACE_S
from orchestrator.launch.process import Process, status_fields
from orchestrator.launch.profile import LaunchProfile
from orchestrator.launch.readback import evidence, group_limits, inspect_differences, kernel_differences
from protocol.errors import ContainerFailed, DeadlineExceeded, EngineUnavailable, SealBroken

_POLL_S = 0.01
_SHOWN = 2_000
_EXIT_NOT_RUNNABLE = 126
_EXIT_NOT_FOUND = 127
_SIGNAL_BASE = 128


class EngineCalls(Protocol):
    """What a sandbox asks of the engine; every method maps the engine's exceptions to ours."""

    def inspect(self, container_id: str) -> dict[str, Any]:
        """Return the engine's description of the container."""

    def stop(self, container_id: str, grace_s: int) -> None:
        """Send the stop signal, wait, then kill; no error if it has ended already."""

    def kill(self, container_id: str) -> None:
        """Kill it; no error if it has ended already."""

    def remove(self, container_id: str, volume: str) -> None:
        """Remove the container and its volumes; no error if they are gone already."""

    def logs(self, container_id: str) -> bytes:
        """Return the output that the engine kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxState:
    """Whether it runs; if not, with which code it ended. `oom_killed` is true also if only a child was killed."""

    running: bool
    exit_code: int | None
    oom_killed: bool


@dataclass(slots=True, kw_only=True)
class Sandbox:
    """The one noun with a life: made by the engine's door, ended by `destroy`.

    `cgroup_dirs` are the folders of the session's own parent group per controller ("cpuacct", "memory", ... on v1,
    "unified" on v2): they hold this sandbox alone, count it hierarchically, and survive its exit until `destroy`. Only
    "blkio" is the container's own, since the v1 counters that everybody reads are not hierarchical. `leaf_dirs` are all
    those of the container itself, which vanish when it ends.
    """

    container_id: str
    session_id: str
    volume: str
    profile: LaunchProfile
    request: Mapping[str, Any]
    process: Process
    membership: cgroups.Membership
    cgroup_dirs: Mapping[str, Path]
    leaf_dirs: Mapping[str, Path]
    calls: EngineCalls
    _oom_kills: int = field(default=0)
    _destroyed: bool = field(default=False)

    @property
    def init_pid(self) -> int:
        """The first process's number on this machine; held by a pidfd, so it is not reused while `alive`."""
        return self.process.pid

    def state(self) -> SandboxState:
        """Ask the engine and the kernel; raises EngineUnavailable if the engine does not answer."""
        self._oom_kills = max(self._oom_kills, cgroups.oom_kills(self.leaf_dirs), cgroups.oom_kills(self.cgroup_dirs))
        state = self.calls.inspect(self.container_id).get("State") or {}
        running = bool(state.get("Running"))
        return SandboxState(
            running=running,
            exit_code=None if running else int(state.get("ExitCode", -1)),
            oom_killed=bool(state.get("OOMKilled")) or self._oom_kills > 0,
        )

    def failure(self) -> ContainerFailed | None:
        """Return why the sandbox can serve no more (OOM_KILLED, EXITED), or None if it runs unharmed."""
        state = self.state()
        if state.oom_killed:
            return ContainerFailed(
                code="OOM_KILLED",
                observed=f"the kernel killed a process at the limit of {self.profile.memory_bytes} bytes",
                expected="a model that fits into the memory that the submission asks for",
                hint="raise `resources.memory`; the writable folders and shared memory count too",
            )
        if state.running or state.exit_code is None:
            return None
        return ContainerFailed(
            code="EXITED",
            observed=f"the container ended with {exit_meaning(state.exit_code)}",
            expected="a server that runs until it is stopped",
            hint="run `jouleseal check` on the image: it shows the output under the same profile",
        )

    def inspect(self) -> dict[str, Any]:
        """Return the engine's and the kernel's word on the profile's fields as JSON for the evidence."""
        status = self._status()
        names = ("Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed_list")
        return {
            "engine": evidence(self.request, self.calls.inspect(self.container_id)),
            "kernel": {
                **{name: status.get(name) for name in names},
                **{f"limit.{name}": value for name, value in group_limits(self.leaf_dirs).items()},
            },
            "launchProfileSha256": self.profile.digest(),
        }

    def differences(self, profile: LaunchProfile | None = None) -> list[str]:
        """Return one line per field of the profile that the engine or the kernel does not confirm.

        With no argument the sandbox is compared with the profile that it was launched under.
        """
        wanted = profile or self.profile
        labels = dict(self.request["Labels"])
        expected = wanted.to_engine(self.session_id, labels)
        lines = kernel_differences(wanted, self._status(), group_limits(self.leaf_dirs))
        return lines + inspect_differences(expected, self.calls.inspect(self.container_id))

    def verify(self, profile: LaunchProfile | None = None) -> dict[str, Any]:
        """Return the evidence of `inspect`, having compared it with the profile.

        Raises SealBroken PROFILE_DIFFERS, naming each field, unless the sandbox is what was asked for, and
        ContainerFailed (EXITED, OOM_KILLED) if it ended meanwhile.
        """
        lines = self.differences(profile)
        found = self.inspect()
        if not self.process.alive():
            raise self.failure() or self._ended()
        if lines:
            raise SealBroken(
                code="PROFILE_DIFFERS",
                observed="; ".join(lines)[:_SHOWN],
                expected="a sandbox that is exactly its launch profile",
                hint="run `jouleseal doctor`: this engine does not apply the profile, or the image overrides it",
            )
        return found

    def open_socket(self, timeout_s: float) -> int:
        """Return an O_PATH descriptor of the model's socket, verified to be the sandbox's own; the caller closes it.

        It is connected to as `unix:/proc/self/fd/N`. Raises SealBroken (SOCKET_IS_LINK, SOCKET_IS_NO_SOCKET,
        SOCKET_NOT_OURS), ContainerFailed (EXITED, OOM_KILLED), and DeadlineExceeded (SOCKET_MISSING,
        SOCKET_NOT_CONNECTABLE) when nothing listens after `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            outcome = self._try_socket()
            if isinstance(outcome, int):
                return outcome
            if not self.process.alive():
                raise self.failure() or self._ended()
            if time.monotonic() >= deadline:
                raise self.failure_of_children() or _no_socket(outcome, timeout_s)
            time.sleep(_POLL_S)

    def failure_of_children(self) -> ContainerFailed | None:
        """Return OOM_KILLED if a child was killed for memory while the first process lives on; else None."""
        failure = self.failure()
        return failure if failure is not None and failure.code == "OOM_KILLED" else None

    def _try_socket(self) -> int | NotYet:
        try:
            found = open_socket_inode(self.process.path("root"), SOCKET_PATH.strip("/").split("/"))
        except (FileNotFoundError, ProcessLookupError):
            return NotYet.MISSING
        except PermissionError as error:
            raise EngineUnavailable(
                code="NOT_PRIVILEGED",
                observed="the sandbox's file system cannot be entered",
                expected="an orchestrator that may look into its sandboxes",
                hint="run as root, or as a container with --pid=host",
            ) from error
        if isinstance(found, NotYet):
            return found
        try:
            listener = listener_of(found)
            if isinstance(listener, NotYet):
                return listener
            require_same_sandbox(listener, self.membership)
            verified = os.dup(found)
        finally:
            os.close(found)
        if not self.process.alive():
            os.close(verified)
            return NotYet.NOT_CONNECTABLE
        return verified

    def logs(self) -> bytes:
        """Return the vendor's output; empty under a profile that keeps none."""
        return b"" if self.profile.log_driver == "none" else self.calls.logs(self.container_id)

    def stop(self, grace_s: int = STOP_GRACE_S) -> None:
        """Ask it to end, and kill it after `grace_s` seconds."""
        self.calls.stop(self.container_id, grace_s)

    def kill(self) -> None:
        """End it now."""
        self.calls.kill(self.container_id)

    def destroy(self, grace_s: int = 0) -> None:
        """Stop it, with a grace if asked for, and remove everything that was it; safe to call again."""
        if self._destroyed:
            return
        if grace_s > 0:
            self.stop(grace_s)
        self.calls.remove(self.container_id, self.volume)
        cgroups.remove(session_groups(self.session_id))
        self.process.release()
        self._destroyed = True

    def _status(self) -> dict[str, str]:
        try:
            return status_fields(self.process.path("status").read_text())
        except OSError:
            return {}

    def _ended(self) -> EngineUnavailable:
        return EngineUnavailable(
            code="ENGINE_STATE",
            observed="the sandbox's first process ended, and the engine says that it runs",
            expected="an engine that knows its containers",
            hint="restart the engine and run `jouleseal doctor`",
        )


def session_groups(session_id: str, mountinfo: str | None = None) -> list[Path]:
    """Return the session's own group in every hierarchy where it is, found by its name alone."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    words = f"{CGROUP_ROOT}-{session_id}".split("-")
    nested = (f"{'-'.join(words[:count])}.slice" for count in range(1, len(words) + 1))  # systemd.slice(5)
    names = (f"{CGROUP_ROOT}/{session_id}", "/".join(nested))
    return [mount / name for mount, _ in cgroups.mounts(text).values() for name in names if (mount / name).is_dir()]


def exit_meaning(code: int) -> str:
    """Say what an exit code means, in words."""
    if code == _EXIT_NOT_RUNNABLE:
        return "code 126: the entry point cannot be executed by the image's user"
    if code == _EXIT_NOT_FOUND:
        return "code 127: the entry point or a library of it was not found"
    if code > _SIGNAL_BASE:
        return f"code {code}: killed by signal {code - _SIGNAL_BASE}"
    return f"code {code}"


def _no_socket(outcome: NotYet, timeout_s: float) -> DeadlineExceeded:
    missing = outcome is NotYet.MISSING
    return DeadlineExceeded(
        code=outcome.value,
        observed=f"{'no socket' if missing else 'a socket on which nothing answers'} at {SOCKET_PATH} "
        f"after {timeout_s:g} s",
        expected="a server that listens on the path in JOULESEAL_SOCKET",
        hint="call protocol.wire.serve(model), and open the socket before anything slow such as loading weights",
    )
