"""Keeping the orchestrator off the sandbox's processors, so that neither waits for the other while it is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")


@contextmanager
def kept_off(cpuset: str) -> Iterator[None]:
    """Move every thread of this process, and those and the children that it starts, off a cpuset such as "2,3".

    Does nothing where no processor would be left: then they share, and the record shows it.
    """
    before = os.sched_getaffinity(0)
    left = before - {int(cpu) for cpu in cpuset.split(",") if cpu}
    if not left:
        yield
        return
    _move(left)
    try:
        yield
    finally:
        _move(before)


def _move(cpus: set[int]) -> None:
    for task in _TASKS.iterdir():
        with suppress(ProcessLookupError):  # a thread that ended meanwhile
            os.sched_setaffinity(int(task.name), cpus)
