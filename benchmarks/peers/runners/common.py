"""The loop that every tool runs in, inside its own environment: standard library only, the same for all.

It says `ready` when the tool stands, reads a plan (one line of JSON) from standard input, and then for each window
prepares, begins `lead_ns` before it opens, ends when it closes, and prints what the tool said. Instants are
CLOCK_MONOTONIC nanoseconds: `begun` when begin() had returned, `ending` just before end() was called. What is measured
is what lies between these two, as it would be for a caller that works in between.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

FAILED = 70


class Tool:
    """What a runner implements; one object for all windows of a plan."""

    prepare_ns = 500_000_000  # how long before the opening `prepare` is called

    def prepare(self, _open_ns: int) -> None:
        """Get ready for a window that opens at that instant."""

    def begin(self, _name: str) -> None:
        """Begin a window."""

    def end(self, _name: str) -> Any:  # noqa: ANN401 - a number or more
        """End it and return its joules, or a dictionary that says more."""

    def late_ms(self) -> list[float] | None:
        """Return how late each sample of the last window was, in ms, where the tool knows."""
        return None


def sleep_until(instant_ns: int) -> None:
    """Sleep to an instant of the monotonic clock."""
    while (left := instant_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


def cpu_ns() -> int:
    """Return the CPU time of this process and of the children that run, threads included."""
    children = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            children += (task / "children").read_text().split()
    spent = time.process_time_ns()
    for child in children:
        with contextlib.suppress(OSError):
            spent += time.clock_gettime_ns(
                (~int(child) << 3) | 2
            )  # CPUCLOCK_SCHED of that process (clock_getcpuclockid)
    return spent


def _window(tool: Tool, window: tuple[str, int, int], lead_ns: int) -> dict[str, Any]:
    name, opens, closes = window
    found = {"window": name}
    sleep_until(opens - tool.prepare_ns)
    at = [time.monotonic_ns()]
    try:
        tool.prepare(opens)
        found["prepare_ns"] = time.monotonic_ns() - at[0]
        sleep_until(opens - lead_ns)
        at = [time.monotonic_ns()]
        tool.begin(name)
        at.append(time.monotonic_ns())
        spent = cpu_ns()
        sleep_until(closes)
        spent = cpu_ns() - spent
        at.append(time.monotonic_ns())
        said = tool.end(name)
        at.append(time.monotonic_ns())
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is what it answers
        return found | {"raises": getattr(error, "code", None) or type(error).__name__, "words": str(error)[:300]}
    said = said if isinstance(said, dict) else {"joules": None if said is None or math.isnan(said) else float(said)}
    instants = dict(zip(("begin_ns", "begun_ns", "ending_ns", "ended_ns"), at, strict=True))
    return found | said | instants | {"cpu_ns": spent, "late_ms": tool.late_ms()}


def serve(make: Callable[[], Tool]) -> NoReturn:
    """Run a plan with the tool that `make` returns; never returns."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a tool prints is no result
    try:
        tool = make()
    except BaseException as error:  # noqa: BLE001 - a tool that cannot be started has answered too
        print(json.dumps({"raises": type(error).__name__, "words": str(error)[:300]}), file=out)
        os._exit(FAILED)
    print(json.dumps({"ready": os.getpid()}), file=out)
    plan = json.loads(sys.stdin.readline())
    for window in plan["windows"]:
        print(json.dumps(_window(tool, window, plan["lead_ns"])), file=out)
    os._exit(0)
