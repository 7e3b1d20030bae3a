"""A whole rig for stories of faults: a trust domain of its own, the corridor in this process, the command as a process.

A story runs submissions, then asks what is left: the statements in the log, the bundle's verdict, and whether anything
of a session is still there. Idle windows are short, because what they measure is not what these stories are about.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

import orchestrator.meter.gating
from orchestrator.books import Books
from orchestrator.commands.run import BUNDLE_NAME, ROOT_NAME
from orchestrator.datasets import store as datasets
from orchestrator.datasets.shard import shards_in_force
from orchestrator.disk import make_folder, write_atomic
from orchestrator.drive.loadgen import Progress
from orchestrator.interrupt import Interrupts
from orchestrator.launch import cgroups
from orchestrator.launch.engine import DockerEngine
from orchestrator.launch.sandbox import session_groups
from orchestrator.live import PlainView
from orchestrator.pipeline import Corridor, Request
from orchestrator.record import domain
from orchestrator.record.registrar import Registrar
from orchestrator.record.sequence import Recorded
from orchestrator.session import Bench, Deadlines
from orchestrator.submission import read_submission
from protocol.attestation.predicates import CampaignPlan, CampaignResult, SessionIntent, SessionOutcome
from protocol.errors import JoulesealError
from protocol.submission import SealedImage
from protocol.units import NS_PER_MS
from verifier.cli import main as verifier

POINTS = 20  # hostile vendors go wrong at the sixth query of the first run
IDLE_NS = 300 * NS_PER_MS  # three samples of the meter
QUICK = Deadlines(start_s=20, health_s=20, describe_s=5, load_s=20, unload_s=5)
PATIENCE_S = 20
REPOSITORY = Path(__file__).resolve().parents[2]

_SUBMISSION = """\
schema: 1
vendor: Story Lab
model: {{name: {name}, version: "1.0", licence: open, framework: none}}
image: {image}
resources: {{memory_mib: {memory_mib}, cpus: 1, shm_mib: 16}}
scenarios: [{scenarios}]
tasks:
{tasks}
"""

Hooks = Mapping[str, Callable[[], object]]


class Reading(DockerEngine):
    """The real engine; an image's identity, which takes seconds to compute, is computed once in a test run."""

    _identities: ClassVar[dict[str, SealedImage]] = {}

    def resolve(self, reference: str) -> SealedImage:
        image_id = self._image_id(reference)
        if image_id not in self._identities:
            self._identities[image_id] = super().resolve(reference)
        return self._identities[image_id]


class Watched(PlainView):
    """Plain lines that go nowhere, and what a story does when a stage begins whose name starts as it says."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__(io.StringIO(), Progress())
        self._hooks = hooks

    def _reached(self, where: str) -> None:
        for name, action in self._hooks.items():
            if where.startswith(name):
                action()

    def stage(self, text: str) -> None:
        super().stage(text)
        self._reached(text)

    def window_opens(self, least_s: float = 0.0) -> None:
        super().window_opens(least_s)
        self._reached("window")

    def run_ended(self, seconds: float) -> None:
        super().run_ended(seconds)
        self._reached("run ended")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one run in this process left behind."""

    error: JoulesealError | None
    history: tuple[Recorded, ...]

    def all(self, kind: type) -> list:
        return [item.predicate for item in self.history if isinstance(item.predicate, kind)]

    @property
    def aborts(self) -> list[tuple[str, str] | None]:
        """The code and the blame of every session in log order, None for a completed one."""
        return [None if o.abort is None else (o.abort.code, o.abort.blame) for o in self.all(SessionOutcome)]

    @property
    def results(self) -> list[tuple[str, str | None]]:
        """The status of every campaign with a result, and the code of its failure."""
        return [(r.status, None if r.failure is None else r.failure.code) for r in self.all(CampaignResult)]

    @property
    def open_campaigns(self) -> int:
        return len(self.all(CampaignPlan)) - len(self.all(CampaignResult))

    @property
    def sessions(self) -> list[str]:
        """The names by which the engine and the kernel know the sessions."""
        intents = [item for item in self.history if isinstance(item.predicate, SessionIntent)]
        return [f"{item.log_index}-{item.statement_id[:12]}" for item in intents]


@dataclass(kw_only=True)
class Rig:
    """One rig of one test; `home` may be moved to another disk before anything is run."""

    home: Path
    out: Path
    rig_id: str
    folder: Path
    tasks: Sequence[tuple[str, str]] = (("text-classification", "embedded-reviews"),)
    threads: set[int] = field(default_factory=lambda: {thread.ident for thread in threading.enumerate()})

    @classmethod
    def new(cls, folder: Path, home: Path | None = None) -> Rig:
        home = home or folder / "home"
        make_folder(home, mode=0o700)
        made = domain.create(home, "runner-1", devices=(), now=datetime.now(UTC))
        return cls(home=home, out=folder / "out", rig_id=made.runner.key.key_id[:16], folder=folder)

    def submission(
        self, image: str, *, scenarios: Sequence[str] = ("latency",), memory_mib: int = 512, name: str = "model"
    ) -> Path:
        """Write a submission of an image and return its path."""
        path = self.folder / f"{name}.yaml"
        words = {"name": name, "image": image, "memory_mib": memory_mib, "scenarios": ", ".join(scenarios)}
        tasks = [f"  - {{task: {task}, precisions: [fp32], dataset: {dataset}}}" for task, dataset in self.tasks]
        path.write_text(_SUBMISSION.format(**words, tasks="\n".join(tasks)))
        return path

    def run(
        self,
        *submissions: Path,
        points: int = POINTS,
        runs: int = 1,
        deadlines: Deadlines = QUICK,
        hooks: Hooks | None = None,
        abandon_open: bool = False,
    ) -> Told:
        """Take submissions through the corridor in this process; the error that it raised is in what is told."""
        requests = []
        for path in submissions:
            submission, document = read_submission(path, datasets.DEFAULT_DATASETS)
            requests.append(Request(submission=submission, document=document, points=points, runs=runs))
        error = None
        books = Books.open(self.home)
        try:
            error = self._walk(books, requests, Watched(hooks or {}), deadlines, abandon_open=abandon_open)
        finally:
            books.close()
        return Told(error=error, history=self.history())

    def _walk(self, books, requests, view, deadlines, *, abandon_open: bool) -> JoulesealError | None:
        """What the command does with its submissions, without its doctor; returns the error that it ended with."""
        loaded = {name: datasets.load(name) for _, name in self.tasks}
        work = self.home / "work"
        with ExitStack() as stack:
            try:
                engine = Reading.connect(rig_id=self.rig_id)
                stack.callback(engine.close)
                make_folder(work, mode=0o700)
                make_folder(self.out)
                write_atomic(self.out / ROOT_NAME, books.registrar.domain.root_bytes)
                bench = Bench(engine=engine, interrupts=Interrupts(), view=view, work=work, deadlines=deadlines)
                shards = shards_in_force(self.home, loaded)
                corridor = Corridor(bench=bench, books=books, datasets=loaded, shards=shards)
                corridor.run_batch(requests, self.bundle, abandon_open=abandon_open)
            except JoulesealError as raised:
                return raised
        return None

    def argv(self, *submissions: Path, points: int = POINTS, runs: int = 1, words: Sequence[str] = ()) -> list[str]:
        """The arguments of `jouleseal` that run these submissions here."""
        counts = ["--points", str(points), "--runs", str(runs), *words]
        return ["run", "--home", str(self.home), "--out", str(self.out), *counts, *map(str, submissions)]

    def command(self, *submissions: Path, story: Mapping[str, object] | None = None, **options) -> subprocess.Popen:
        """Start the command as a process of its own, with its lines on a pipe; `story` as in command.py."""
        words = [json.dumps(dict(story or {})), *self.argv(*submissions, **options)]
        argv = [sys.executable, "-m", "tests.engine.command", *words]
        return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)

    def completed(self, *submissions: Path, **options) -> tuple[int, str]:
        """Run the command to its end; returns its exit code and what it said."""
        with self.command(*submissions, **options) as process:
            _, said = process.communicate(timeout=120)
        return process.returncode, said

    def history(self) -> tuple[Recorded, ...]:
        with Registrar.open(self.home) as registrar:
            return registrar.history

    def told(self) -> Told:
        return Told(error=None, history=self.history())

    @property
    def bundle(self) -> Path:
        return self.out / BUNDLE_NAME

    def verdict(self) -> int:
        """What the verifier says of the bundle: its exit code."""
        return verifier([str(self.bundle), "--root", str(self.out / ROOT_NAME)])

    def know_threads(self) -> None:
        """Take the threads that there are now for the test's own."""
        self.threads = {thread.ident for thread in threading.enumerate()}

    def half_written(self) -> list[str]:
        """Files that only exist while something is being written."""
        names = ("*.part", "pending.json", "*.trace")
        return [str(path) for top in (self.home, self.out) for name in names for path in top.rglob(name)]

    def left_in_the_engine(self) -> list[str]:
        """Containers, volumes and control groups of this rig's sessions."""
        label = f"label=dev.jouleseal.rig={self.rig_id}"
        found = docker("ps", "--all", "--quiet", "--filter", label).split()
        found += docker("volume", "ls", "--quiet", "--filter", label).split()
        groups = Path("/sys/fs/cgroup")
        for session in self.told().sessions:
            found += [str(path) for path in groups.rglob(f"*{session}*") if path.is_dir()]
        return found

    def left_running(self) -> list[str]:
        """Processes that work on this rig's files, children that nobody waited for, and threads that did not end."""
        found = [line for line in _command_lines() if str(self.home) in line]
        found += [f"child {pid}" for pid in children()]
        found += [thread.name for thread in threading.enumerate() if thread.ident not in self.threads]
        return found

    def leftovers(self) -> list[str]:
        """Everything that must not be there once a run has ended; what is still ending is waited for."""
        found = self.half_written()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and (self.left_running() or self.left_in_the_engine()):
            time.sleep(0.1)
        return [*found, *self.left_running(), *self.left_in_the_engine()]


def docker(*words: str, text: str | None = None) -> str:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    environment.pop("DOCKER_HOST", None)
    done = subprocess.run(["docker", *words], input=text, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def _command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it ended meanwhile
    return lines


def children() -> list[str]:
    """The numbers of this process's children, those that nobody waited for included."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [pid for path in tasks for pid in path.read_text().split()]


@pytest.fixture
def rig(
    engine: DockerEngine, hostile: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    """A rig with a fresh domain and short idle windows; the engine and the hostile images are there, or it fails."""
    monkeypatch.setattr(orchestrator.meter.gating, "IDLE_WINDOW_NS", IDLE_NS)
    made = Rig.new(tmp_path)
    yield made
    reap(made.rig_id)


def reap(rig_id: str) -> None:
    """Remove what a failed test left in the engine and in the kernel."""
    label = f"label=dev.jouleseal.rig={rig_id}"
    names = docker("ps", "--all", "--filter", label, "--format", '{{.Label "dev.jouleseal.session"}}').split()
    for container in docker("ps", "--all", "--quiet", "--filter", label).split():
        docker("rm", "--force", "--volumes", container)
    for volume in docker("volume", "ls", "--quiet", "--filter", label).split():
        docker("volume", "rm", "--force", volume)
    for name in names:
        cgroups.remove(session_groups(name))
