"""A sandbox in which a cell is checked: brought up step by step, asked, and ended, each step noted under its rule.

Rules:
 1. The steps and their deadlines are those of an official session (orchestrator.session), in the same order.
 2. When the wire breaks, the sandbox is asked why, as in an official session: EXITED and OOM_KILLED say more.
 3. What keeps a seat from being ready is noted before it is raised, so whoever catches it has nothing to add.
 4. However a seat is left, its sandbox, volume and control groups go, and its output is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrator.conformance.judge import milliseconds
from orchestrator.conformance.memory import memory_use
from orchestrator.conformance.report import Notes, Output
from orchestrator.conformance.rules import Rule, rule_of
from orchestrator.drive.endpoint import Endpoint
from orchestrator.launch.checking import CheckingEngine
from orchestrator.launch.layout import STOP_GRACE_S
from orchestrator.launch.sandbox import Sandbox
from orchestrator.session import Bench, SessionOrder, conversation, require_offer
from protocol.errors import SubmissionError
from protocol.units import MIB, NS_PER_S

DESCRIBE_PROMISED_NS = NS_PER_S  # the wire's promise: static facts, in under a second
MEMORY_SHARE = 0.8
OUTPUT_WARNED_BYTES = 256 * 1024  # a chatty framework's start; a line per query of a campaign is megabytes
_KILLED = 137  # 128 + SIGKILL
_ENDING_S = 2.0  # a process's connections end before it does, as in a session
_POLL_S = 0.05
_STEPS = frozenset({Rule.DESCRIBE, Rule.OFFER, Rule.LOAD})
_NO_USE_TO_LOAD = frozenset({"CELL_NOT_OFFERED", "STREAM_BROKEN", "EXITED", "OOM_KILLED"})
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One sandbox with a model that is READY, and how long that took from the launch."""

    sandbox: Sandbox
    endpoint: Endpoint
    ready_ns: int


@dataclass(slots=True, kw_only=True)
class Bringing:
    """How seats for one cell are made. `claimed` are the model's name and version as submitted, None for an image."""

    engine: CheckingEngine
    bench: Bench
    order: SessionOrder
    claimed: tuple[str, str] | None
    notes: Notes
    outputs: list[Output] = field(default_factory=list)
    _made: int = 0

    @contextmanager
    def seat(self) -> Iterator[Seat]:
        """Bring a sandbox up to READY and note each step that was not noted before; raises SubmissionError.

        When the block is left, memory, the end and the output are noted, and the sandbox goes.
        """
        self._made += 1
        session = f"{self.order.session_id}-{self._made}"
        began = time.monotonic_ns()
        try:
            sandbox = self._launch(session)
            with ExitStack() as stack:
                stack.callback(sandbox.destroy)
                stack.callback(self._end, sandbox)
                endpoint = self._connect(stack, sandbox, began)
                self._describe(sandbox, endpoint)
                self._load(sandbox, endpoint)
                yield Seat(sandbox=sandbox, endpoint=endpoint, ready_ns=time.monotonic_ns() - began)
        finally:
            self._keep_output()

    def _launch(self, session: str) -> Sandbox:
        self.bench.view.stage("launching the sandbox")
        self.engine.reap([session])
        try:
            sandbox = self.engine.launch(self.order.image, self.order.profile, session)
        except SubmissionError as error:
            # A container that ended by itself while it was read back is no fault of its profile.
            self.notes.failed(error, Rule.SOCKET if error.code == "EXITED" else Rule.PROFILE)
            raise
        self._once(Rule.PROFILE, "confirmed by engine and kernel; only the log driver differs from official runs")
        return sandbox

    def _connect(self, stack: ExitStack, sandbox: Sandbox, began: int) -> Endpoint:
        self.bench.view.stage("waiting for the model's server")
        deadlines = self.bench.deadlines
        is_open = f"open, and the container's own; deadline {deadlines.start_s:g} s"
        try:
            endpoint = stack.enter_context(conversation(self.bench, self.order, sandbox))
        except SubmissionError as error:
            if error.code == "HEALTH_TIMEOUT":
                self._once(Rule.SOCKET, is_open)
            self.notes.failed(error, Rule.SOCKET)
            raise
        took = milliseconds(time.monotonic_ns() - began)
        self._once(Rule.SOCKET, is_open)
        self._once(Rule.HEALTH, f"SERVING {took} after the launch; deadline {deadlines.health_s:g} s")
        return endpoint

    def _describe(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        """Note the description; where it is wrong in itself, loading can still be tried."""
        if self.notes.has(Rule.DESCRIBE):
            return
        cell, asked = self.order.cell, time.monotonic_ns()
        failure: SubmissionError | None = None
        facts: dict[str, str] = {}
        try:
            facts = self._step(
                sandbox, Rule.DESCRIBE, lambda: require_offer(endpoint, cell, self.bench.deadlines.describe_s)
            )
        except SubmissionError as error:
            failure = error
        took = time.monotonic_ns() - asked
        if took > DESCRIBE_PROMISED_NS:
            self.notes.broken("DESCRIBE_SLOW", milliseconds(took))
        self._once(Rule.DESCRIBE, f"complete, in {milliseconds(took)}")
        if failure is None:
            self._names(facts)
        elif failure.code in _NO_USE_TO_LOAD:
            raise failure

    def _names(self, facts: dict[str, str]) -> None:
        said = (facts["model"], facts["modelVersion"])
        if self.claimed is not None and said != self.claimed:
            self.notes.broken("NAME_DIFFERS", f"described as {' '.join(said)}, submitted as {' '.join(self.claimed)}")
        else:
            self.notes.ok(Rule.OFFER, f"{' '.join(said)} on {facts['engine']} {facts['engineVersion']}")

    def _load(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        self.bench.view.stage("loading the model")
        cell, deadline_s = self.order.cell, self.bench.deadlines.load_s
        phases: list[str] = []
        asked = time.monotonic_ns()
        self._step(
            sandbox,
            Rule.LOAD,
            lambda: endpoint.load(
                cell.task, cell.precision, cell.scenario.batch, deadline_s, lambda phase: phases.append(phase.name)
            ),
        )
        took = milliseconds(time.monotonic_ns() - asked)
        self._once(Rule.LOAD, f"{', '.join(phases)} in {took}; deadline {deadline_s:g} s")

    def _step(self, sandbox: Sandbox, rule: Rule, take: Callable[[], _T]) -> _T:
        try:
            return take()
        except SubmissionError as error:
            why = explained(sandbox, error)
            self.notes.failed(why, rule, here=rule_of(why.code) not in _STEPS)
            raise why from error

    def _once(self, rule: Rule, observed: str) -> None:
        if not self.notes.has(rule):
            self.notes.ok(rule, observed)

    def _end(self, sandbox: Sandbox) -> None:
        """Note the memory and the end of a sandbox that still runs, unless an earlier one was noted."""
        if self.notes.has(Rule.STOP) or not sandbox.state().running:
            return
        self._memory(sandbox)
        self.bench.view.stage("stopping the sandbox")
        began = time.monotonic_ns()
        sandbox.stop(STOP_GRACE_S)
        took = milliseconds(time.monotonic_ns() - began)
        if sandbox.state().exit_code == _KILLED:
            self.notes.broken("STOP_IGNORED", f"killed {STOP_GRACE_S} s after SIGTERM")
        else:
            self.notes.ok(Rule.STOP, f"ended {took} after SIGTERM; grace {STOP_GRACE_S} s")

    def _memory(self, sandbox: Sandbox) -> None:
        use, limit = memory_use(sandbox.cgroup_dirs), self.order.profile.memory_bytes
        if use is None:
            self.notes.ok(Rule.MEMORY, "this machine does not count it")
            return
        peak = "" if use.peak is None else f", {use.peak // MIB} MiB at the peak with file cache"
        said = f"{use.kept // MIB} MiB in use{peak}, limit {limit // MIB} MiB"
        if use.kept > limit * MEMORY_SHARE:
            self.notes.broken("MEMORY_MARGIN", said)
        else:
            self.notes.ok(Rule.MEMORY, said)

    def _keep_output(self) -> None:
        output = Output.of(self.notes.scope, self.engine.take_output())
        self.outputs.append(output)
        if output.size > OUTPUT_WARNED_BYTES:
            self.notes.broken("OUTPUT_VOLUME", f"at least {output.size // 1024} KiB")
        else:
            self._once(Rule.OUTPUT, f"{output.size} bytes; official runs keep none of it")


def explained(sandbox: Sandbox, error: SubmissionError) -> SubmissionError:
    """Return why a container answers no more, where the wire only saw that it does not."""
    patience_s = _ENDING_S if error.code in {"STREAM_BROKEN", "STREAM_ENDED"} else 0.0
    give_up = time.monotonic() + patience_s
    while (ended := sandbox.failure()) is None and time.monotonic() < give_up:
        time.sleep(_POLL_S)
    return ended or error
