"""A sandbox's first process, held by a pidfd so that a recycled number can never be taken for it."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import EngineUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process by number, with a pidfd that says whether the number is still that process.

    Whatever is read through /proc/<pid> counts only if `alive()` is still true afterwards.
    """

    pid: int
    pidfd: int
    proc: Path = Path("/proc")

    @classmethod
    def hold(cls, pid: int) -> Process | None:
        """Open a pidfd; None if no such process exists any more."""
        try:
            return cls(pid=pid, pidfd=os.pidfd_open(pid))
        except ProcessLookupError:
            return None
        except OSError as error:
            raise EngineUnavailable(
                code="PID_INVISIBLE",
                observed=f"process {pid} of the engine cannot be held here: {error.strerror}",
                expected="a kernel of 5.3 or later, and the engine's processes in sight",
                hint="run the orchestrator on the engine's machine, as a container with --pid=host",
            ) from error

    def alive(self) -> bool:
        """Whether the process has not ended."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def path(self, *parts: str) -> Path:
        """Return a path below the process's folder in /proc."""
        return self.proc.joinpath(str(self.pid), *parts)

    def release(self) -> None:
        """Close the pidfd."""
        os.close(self.pidfd)


def status_fields(text: str) -> dict[str, str]:
    """Parse /proc/<pid>/status into its fields, white space collapsed."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: " ".join(value.split()) for name, _, value in pairs if name}
