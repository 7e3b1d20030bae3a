"""One session: a fresh sandbox, one cell, all its runs, metered from outside; or the reason why not.

Life of a session (the corridor knows the rooms; the rooms do not know each other):
 1. The sampler starts, before the sandbox exists.
 2. The sandbox is launched under the profile, read back, compared; the sampler attaches to its control group.
 3. The socket is opened without following anything, and it is the sandbox's own.
 4. Health, Describe, Load: each has a deadline and an error code.
 5. Warm-up, on points outside the dataset.
 6. An idle window. Then for each run, and each probe that the nonce has put between them (`stages`): requests are
    serialised; on an accelerator the meter waits until it is at rest, and locates ticks of its counter; the window, in
    which the driver only sends, receives, reads the clock and appends, in a run on an accelerator pass after pass until
    the window is long enough; an idle window again. Answers are parsed and judged after that.
 7. Unload, the sandbox and its volumes go, the sampler closes its record.

Whatever happens, the sandbox and its volumes are gone afterwards and what was finished is kept. Stopping is safe at any
moment of 1 to 7 (`Interrupts.allowed`); the tidying runs outside of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.affinity import kept_off
from orchestrator.drive import codec, loadgen
from orchestrator.drive.endpoint import Endpoint
from orchestrator.evaluate import commitment, quality
from orchestrator.interrupt import Interrupts
from orchestrator.launch.engine import DockerEngine
from orchestrator.launch.profile import LaunchProfile
from orchestrator.launch.sandbox import Sandbox
from orchestrator.live import View
from orchestrator.meter import gating
from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig, SandboxTarget
from protocol.errors import (
    ContainerFailed,
    DeadlineExceeded,
    InvalidMeasurement,
    JoulesealError,
    ProtocolViolation,
    RigError,
    SubmissionError,
)
from protocol.methodology import order
from protocol.methodology.dataset import Dataset
from protocol.methodology.scenario import PROBE_IDLE_NS
from protocol.methodology.session_figures import required_window_ns
from protocol.methodology.stages import Asked, Probe, stages, window_name
from protocol.methodology.tasks import REGISTRY, TaskSpec
from protocol.methodology.timeline import QueryRecord
from protocol.samples import Point
from protocol.submission import Cell, SealedImage
from protocol.units import NS_PER_S

_BROKEN = frozenset({"STREAM_BROKEN", "STREAM_ENDED"})
_ENDING_S = 2.0  # a server's connections end before the server does, and that before its container
_ENDING_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a container may take, in seconds. A vendor reads the same numbers in docs/vendor.md."""

    start_s: float = 60.0  # from launch to its socket accepting: large images unpack slowly on a cold disk
    health_s: float = 120.0  # from the socket to the first SERVING
    describe_s: float = 5.0  # static facts, promised under 1 s
    load_s: float = 1800.0  # weights of hundreds of gigabytes from a local disk
    unload_s: float = 60.0


@dataclass(slots=True, kw_only=True)
class Bench:
    """What a session needs of this machine: the doors, opened once, and where to write.

    `sampler` is the one of the session under way, for whoever shows its power; `wall_log` the file that a wall meter's
    logger keeps writing, where there is one.
    """

    engine: DockerEngine
    interrupts: Interrupts
    view: View
    work: Path
    deadlines: Deadlines = field(default_factory=Deadlines)
    sampler_config: SamplerConfig = field(default_factory=SamplerConfig)
    progress: loadgen.Progress = field(default_factory=loadgen.Progress)
    sampler: Sampler | None = None
    wall_log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOrder:
    """What one session is to do: one cell of one image, under one profile, with the nonce of its witnessed intent.

    `private` are the points of the private shard that the plan binds by its salted digest `private_sha256`, none
    without one.
    """

    session_id: str
    cell: Cell
    image: SealedImage
    profile: LaunchProfile
    cpus: int
    dataset: Dataset
    nonce: bytes
    private: tuple[Point, ...] = ()
    private_sha256: str | None = None

    @property
    def asked(self) -> Asked:
        """What its windows follow from."""
        return Asked(
            nonce=self.nonce,
            points=len(self.points),
            batch=self.cell.scenario.batch,
            runs=self.cell.runs,
            private=len(self.private),
        )

    @property
    def spec(self) -> TaskSpec:
        """The registry's row of the cell's task."""
        return REGISTRY[self.cell.task]

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that every run asks: all of the dataset, or its first ones in a shortened session."""
        return self.dataset.points[: self.cell.points]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """One run after its window closed: its queries, its quality, and the commitment to its answers."""

    run: int
    records: tuple[QueryRecord, ...]
    quality: quality.Quality
    commitment: commitment.Commitment


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedProbe:
    """One probe after its window closed; `quality` is that of its private answers, None where it asked none."""

    probe: Probe
    records: tuple[QueryRecord, ...]
    quality: quality.Quality | None
    commitment: commitment.Commitment


@dataclass(slots=True, kw_only=True)
class SessionRecord:
    """What a session leaves: `error` is None where it ran to its end.

    `trace` is the meter's record, None where there is none; `inspect` is the sandbox as it was read back.
    """

    order: SessionOrder
    started: datetime
    finished: datetime
    error: JoulesealError | None = None
    runs: list[FinishedRun] = field(default_factory=list)
    probes: list[FinishedProbe] = field(default_factory=list)
    trace: bytes | None = None
    inspect: dict[str, object] | None = None
    description: dict[str, str] = field(default_factory=dict)
    secret: bytes = field(default_factory=commitment.new_secret)


def conduct(bench: Bench, session: SessionOrder) -> SessionRecord:
    """Run a session to its end or to its first error, which is kept in the record's `error` and not raised."""
    now = datetime.now(UTC)
    record = SessionRecord(order=session, started=now, finished=now)
    trace_path = bench.work / f"{session.session_id}.trace"
    try:
        with ExitStack() as stack:
            stack.enter_context(kept_off(session.profile.cpuset))
            try:
                with bench.interrupts.allowed():
                    _Conversation(bench, session, record, stack).hold(trace_path)
            except (SubmissionError, RigError, InvalidMeasurement) as error:
                record.error = error
    except (RigError, InvalidMeasurement) as error:  # from the tidying: the engine or the sampler at the very end
        record.error = record.error or error
    bench.sampler = None
    record.trace = trace_path.read_bytes() if trace_path.exists() else None
    trace_path.unlink(missing_ok=True)
    record.finished = datetime.now(UTC)
    return record


@contextmanager
def conversation(bench: Bench, session: SessionOrder, sandbox: Sandbox) -> Iterator[Endpoint]:
    """Open the sandbox's own socket and wait for health; closes the endpoint and the descriptor afterwards.

    Raises START_TIMEOUT and its kin, SealBroken for a socket that is not the sandbox's, HEALTH_TIMEOUT.
    """
    with ExitStack() as stack:
        socket_fd = sandbox.open_socket(bench.deadlines.start_s)
        stack.callback(os.close, socket_fd)
        endpoint = Endpoint.connect(socket_fd, session.spec, session.cell.scenario.batch)
        stack.callback(endpoint.close)
        endpoint.wait_healthy(bench.deadlines.health_s, lambda: _require_alive(sandbox))
        yield endpoint


def require_offer(endpoint: Endpoint, cell: Cell, timeout_s: float) -> dict[str, str]:
    """Ask for the static facts; returns those that go into the evidence. Raises CELL_NOT_OFFERED."""
    facts = endpoint.describe(timeout_s)
    batch = cell.scenario.batch
    offered = any(cell.precision in support.precisions for support in facts.tasks if support.task is cell.task)
    if not offered or facts.max_batch < batch:
        raise ProtocolViolation(
            code="CELL_NOT_OFFERED",
            observed=f"Describe does not offer {cell.task.value} at {cell.precision.value} in batches of {batch}",
            expected="every task, precision and batch of the submission",
            hint="add it to what describe() returns, or take it out of submission.yaml",
        )
    return {
        "model": facts.model,
        "modelVersion": facts.model_version,
        "engine": facts.engine,
        "engineVersion": facts.engine_version,
    }


Drive = Callable[[int], loadgen.RunRecord]  # asks everything, again and again until so many nanoseconds have passed


def ask(
    endpoint: Endpoint,
    session: SessionOrder,
    points: Sequence[Point],
    metered: Callable[[Drive], loadgen.RunRecord] = lambda drive: drive(0),
    progress: loadgen.Progress | None = None,
) -> loadgen.RunRecord:
    """Ask points in the order given; `metered` is handed the driving and puts a window around it."""
    batch = session.cell.scenario.batch
    requests = codec.encode_requests(points, batch)
    sizes = [min(batch, len(points) - start) for start in range(0, len(points), batch)]
    deadlines = [size * session.spec.sample_deadline_ns for size in sizes]
    exchange = endpoint.open_exchange()

    def drive(least_ns: int) -> loadgen.RunRecord:
        return loadgen.drive_run(exchange, requests, sizes, deadlines, progress=progress, least_ns=least_ns)

    try:
        return metered(drive)
    finally:
        exchange.close()


@dataclass(slots=True)
class _Conversation:
    """One session under way: the rooms that it has opened are on the stack, what it has finished is in the record."""

    bench: Bench
    session: SessionOrder
    record: SessionRecord
    stack: ExitStack

    def hold(self, trace_path: Path) -> None:
        self.bench.view.stage("starting the sampler")
        sampler = self.stack.enter_context(Sampler.start(trace_path, self.bench.sampler_config))
        self.stack.callback(sampler.stop)
        self.bench.sampler = sampler
        self.bench.view.stage("launching the sandbox")
        # Before the launch, so that a signal between its return and the next line leaves nothing behind.
        self.stack.callback(self.bench.engine.reap, [self.session.session_id])
        sandbox = self.bench.engine.launch(self.session.image, self.session.profile, self.session.session_id)
        self.stack.callback(sandbox.destroy)
        try:
            self._with(sampler, sandbox)
        except (ProtocolViolation, DeadlineExceeded, RigError) as error:
            # The wire only sees that nobody answers any more; whether the container ended, the engine knows.
            ended = _ending(sandbox, error)
            if ended is None:
                raise
            raise ended from error

    def _with(self, sampler: Sampler, sandbox: Sandbox) -> None:
        self.record.inspect = sandbox.inspect()
        sampler.attach(
            SandboxTarget(
                container_id=sandbox.container_id,
                init_pid=sandbox.init_pid,
                cgroup_dirs=sandbox.cgroup_dirs,
                cpus_milli=self.session.cpus * 1000,
            )
        )
        cell, deadlines = self.session.cell, self.bench.deadlines
        self.bench.view.stage("waiting for the model's server")
        with conversation(self.bench, self.session, sandbox) as endpoint:
            self.record.description = require_offer(endpoint, cell, deadlines.describe_s)
            self.bench.view.stage("loading the model")
            endpoint.load(cell.task, cell.precision, cell.scenario.batch, deadlines.load_s)
            self.bench.view.stage("warming up")
            self._warm_up(endpoint)
            self.bench.view.stage("idle baseline")
            gating.idle(sampler, 0)
            for number, stage in enumerate(stages(self.session.asked), 1):
                if isinstance(stage, int):
                    self.record.runs.append(self._run(sampler, endpoint, stage, number))
                else:
                    self.record.probes.append(self._probe(sampler, endpoint, stage, number))
            self.bench.view.stage("unloading the model")
            endpoint.unload(deadlines.unload_s)

    def _warm_up(self, endpoint: Endpoint) -> None:
        pool, batch = self.session.dataset.warm_up, self.session.cell.scenario.batch
        points = [pool[i % len(pool)] for i in range(self.session.spec.warm_up_queries * batch)]
        codec.decode_responses(ask(endpoint, self.session, points).responses, points, self.session.spec, batch)

    def _window(
        self, sampler: Sampler, endpoint: Endpoint, points: Sequence[Point], stage: int | Probe, number: int
    ) -> loadgen.RunRecord:
        """Ask points inside a window of their own, and meter the idle window `number` after it.

        A probe asks its points once, however short that is: what is asked again is no longer new.
        """
        probe = not isinstance(stage, int)

        def metered(drive: Drive) -> loadgen.RunRecord:
            gating.settle(sampler)
            gating.arm(sampler)
            least_ns = required_window_ns(sampler.update_ns) if sampler.devices and not probe else 0
            sampler.open_window(window_name(stage))
            self.bench.view.window_opens(least_ns / NS_PER_S)
            passed = drive(least_ns)
            closed_ns = sampler.close_window()
            gating.idle(sampler, number, closed_ns, PROBE_IDLE_NS if probe else None)
            return passed

        return ask(endpoint, self.session, points, metered, self.bench.progress)

    def _probe(self, sampler: Sampler, endpoint: Endpoint, probe: Probe, number: int) -> FinishedProbe:
        session = self.session
        self.bench.view.stage(f"probe {probe.name}: {len(probe.messages)} queries among the runs")
        self.bench.progress.done = 0
        asked = [(message, place) for message in probe.messages for place in message.places]
        points = [(session.private if m.role == "private" else session.points)[place] for m, place in asked]
        passed = self._window(sampler, endpoint, points, probe, number)
        answers = codec.decode_responses(passed.responses, points, session.spec, session.cell.scenario.batch)
        sampler.check()
        private = [at for at, (message, _) in enumerate(asked) if message.role == "private"]
        found = None
        if private:
            found = quality.score(session.spec, [points[at] for at in private], [answers[at] for at in private])
        committed = commitment.commit(
            self.record.secret,
            probe.number,
            {place: codec.encode_answer(answer) for place, answer in enumerate(answers)},
        )
        return FinishedProbe(probe=probe, records=passed.queries, quality=found, commitment=committed)

    def _run(self, sampler: Sampler, endpoint: Endpoint, run: int, number: int) -> FinishedRun:
        session, view = self.session, self.bench.view
        began = time.monotonic()
        points = [session.points[i] for i in order.run_order(session.nonce, run, len(session.points))]
        view.run_begins(run, session.cell.runs, -(-len(points) // session.cell.scenario.batch))
        passed = self._window(sampler, endpoint, points, run, number)
        answers = codec.decode_responses(passed.responses, points, session.spec, session.cell.scenario.batch)
        passes = len(answers) // len(points)
        found = quality.score(session.spec, points * passes, answers)
        quality.gate(session.spec, found)
        sampler.check()
        places = [passno * len(points) + point.index for passno in range(passes) for point in points]
        committed = commitment.commit(
            self.record.secret,
            run,
            {place: codec.encode_answer(answer) for place, answer in zip(places, answers, strict=True)},
        )
        view.run_ended(time.monotonic() - began)
        return FinishedRun(run=run, records=passed.queries, quality=found, commitment=committed)


def _ending(sandbox: Sandbox, error: JoulesealError) -> ContainerFailed | None:
    """Return why the container ended, if it did; one whose connection broke is given the time to end."""
    deadline = time.monotonic() + (_ENDING_S if error.code in _BROKEN else 0.0)
    while True:
        failure = sandbox.failure()
        if failure is not None or time.monotonic() >= deadline:
            return failure
        time.sleep(_ENDING_POLL_S)


def _require_alive(sandbox: Sandbox) -> None:
    failure = sandbox.failure()
    if failure is not None:
        raise failure
