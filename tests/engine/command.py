"""The `jouleseal` command with short idle windows, which kills itself (SIGKILL) where a story tells it to.

    python -m tests.engine.command STORY run ...

STORY is JSON: {} for no harm; {"session": n, "after_s": t} dies t seconds after session n of the command began;
{"session": n, "run": true} dies when the first run of session n begins;
{"session": n, "writes": w} dies when the w-th file since then is about to be put into its place, half of it written;
{"at": "plan"} dies where a second campaign would be planned, {"at": "groups"} where a sandbox is gone and its control
groups are not, {"at": "export"} where the bundle would be written.
The doctor, which has stories of its own, is left out.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from orchestrator import doctor, live, pipeline
from orchestrator.cli import entry
from orchestrator.commands import run
from orchestrator.launch import cgroups
from orchestrator.launch.engine import DockerEngine
from orchestrator.meter import gating
from tests.engine.rig import IDLE_NS


def die(*_arguments: object, **_options: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def at_session(number: int, action: Callable[[], None]) -> None:
    """Act when the session of this number begins."""
    begins = live.View.session_begins

    def watched(self: live.View, session_number: int, of: int, cell: str) -> None:
        begins(self, session_number, of, cell)
        if session_number == number:
            action()

    live.View.session_begins = watched  # type: ignore[method-assign]


def after(seconds: float) -> None:
    timer = threading.Timer(seconds, die)
    timer.daemon = True
    timer.start()


def in_a_run() -> None:
    live.View.window_opens = die  # type: ignore[method-assign]


def after_writes(count: int) -> None:
    replace, left = os.replace, [count]

    def counted(*places: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            die()
        replace(*places)

    os.replace = counted  # type: ignore[assignment]


def at_second_plan() -> None:
    plan = pipeline.Corridor._plan

    def second(self: pipeline.Corridor, item: pipeline.Admitted) -> str:
        if self.books.registrar.history:
            die()
        return plan(self, item)

    pipeline.Corridor._plan = second  # type: ignore[method-assign]


def read_once() -> None:
    """Compute the identity of an image, which takes a second, once for all submissions of it."""
    DockerEngine.resolve = functools.cache(DockerEngine.resolve)  # type: ignore[method-assign]


def prepare(story: dict[str, Any]) -> None:
    gating.IDLE_WINDOW_NS = IDLE_NS
    read_once()
    run._fit = lambda *_: doctor.Diagnosis(findings=(), facts=None, profile_sha256=None)
    if "after_s" in story:
        at_session(story["session"], lambda: after(story["after_s"]))
    if "run" in story:
        at_session(story["session"], in_a_run)
    if "writes" in story:
        at_session(story["session"], lambda: after_writes(story["writes"]))
    match story.get("at"):
        case "plan":
            at_second_plan()
        case "groups":
            cgroups.remove = die
        case "export":
            pipeline.export = die


if __name__ == "__main__":
    prepare(json.loads(sys.argv[1]))
    del sys.argv[1]
    entry()
