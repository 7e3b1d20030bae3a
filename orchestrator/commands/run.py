"""`jouleseal run SUBMISSION...`: measure submissions, sign what was seen, and write the bundle."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from orchestrator import doctor
from orchestrator.books import Books, Concluded
from orchestrator.commands import wall_inputs
from orchestrator.commands.passphrase import unlocker
from orchestrator.datasets import store as datasets
from orchestrator.datasets.shard import shards_in_force
from orchestrator.disk import make_folder, write_atomic
from orchestrator.drive.loadgen import Progress
from orchestrator.interrupt import Interrupts
from orchestrator.launch.engine import DockerEngine
from orchestrator.live import PowerNow, view_for
from orchestrator.meter import qualify
from orchestrator.meter.interface import LiveReading, Power, SamplerConfig
from orchestrator.meter.leased import leased_devices
from orchestrator.pipeline import Corridor, Request
from orchestrator.session import Bench
from orchestrator.submission import read_submission
from protocol.attestation.beside import read_beside_file
from protocol.attestation.submission_statement import SubmissionStatement
from protocol.errors import MeterUnavailable, Unverifiable, UsageError, VerificationError
from protocol.methodology.beside import GAIN_CALIBRATION, SITE, WALL_CALIBRATION

BUNDLE_NAME = "bundle.tar"
ROOT_NAME = "root.json"


def run(arguments: argparse.Namespace) -> int:
    """Measure, sign, log and publish; returns 0 when every campaign was completed, raises otherwise."""
    requests = _signed([_request(path, arguments) for path in arguments.submissions], arguments.signed)
    wall = wall_inputs.wall_input(arguments)  # read here to be refused here, before anything is started
    wall_inputs.site(arguments.site)
    wall_inputs.gains([] if arguments.gain_calibration is None else [arguments.gain_calibration], _devices(arguments))
    unlock = unlocker(arguments.passphrase_file)
    wanted = {asked.dataset for request in requests for asked in request.submission.tasks}
    loaded = {name: datasets.load(name, _folder(arguments)) for name in sorted(wanted)}  # before the first window
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts(last=arguments.last).installed())
        books = Books.open(arguments.home, unlock)
        stack.callback(books.close)
        engine = DockerEngine.connect(rig_id=books.registrar.domain.runner.key.key_id[:16])
        stack.callback(engine.close)
        progress = Progress()
        meter = _PowerNow()
        view = stack.enter_context(view_for(meter.read, progress, quiet=arguments.json))
        view.stage("examining this machine with a probe container")
        diagnosis = _fit(engine, arguments)
        work = arguments.home / "work"
        make_folder(work, mode=0o700)
        config = SamplerConfig(devices=_devices(arguments))
        bench = Bench(
            engine=engine,
            interrupts=interrupts,
            view=view,
            work=work,
            progress=progress,
            sampler_config=config,
            wall_log=None if wall is None else wall.path,
        )
        meter.bench = bench
        corridor = Corridor(
            bench=bench,
            books=books,
            datasets=loaded,
            shards=shards_in_force(arguments.home, loaded),
            devices=leased_devices(config, work, books.registrar.domain.scope.devices),
            shared=_shared(arguments, diagnosis),
        )
        make_folder(arguments.out)
        bundle = arguments.out / BUNDLE_NAME
        write_atomic(arguments.out / ROOT_NAME, books.registrar.domain.root_bytes)
        concluded = corridor.run_batch(requests, bundle, abandon_open=arguments.abandon_open)
    _report(bundle, concluded, as_json=arguments.json)
    return 0


def _request(path: Path, arguments: argparse.Namespace) -> Request:
    named = datasets.by_task(_folder(arguments))
    submission, document = read_submission(path, datasets.DEFAULT_DATASETS, named)
    return Request(submission=submission, document=document, points=arguments.points, runs=arguments.runs)


def _folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of built datasets."""
    folder: Path | None = arguments.datasets
    return arguments.home / datasets.FOLDER if folder is None else folder


def _signed(requests: Sequence[Request], paths: Sequence[Path]) -> list[Request]:
    """Return the requests, each with its vendor's own statement where one was given; none may be left over."""
    found = list(requests)
    for path in paths:
        data = path.read_bytes() if path.is_file() else b""
        try:
            said = read_beside_file(data)[2]
        except (VerificationError, Unverifiable) as error:
            raise _unmatched(path, f"{error.code}: {error.observed}") from error
        document = said.submission.document_sha256 if isinstance(said, SubmissionStatement) else None
        mine = [number for number, item in enumerate(found) if item.submission.document_sha256 == document]
        if not mine:
            raise _unmatched(path, "signed for another document")
        for number in mine:
            found[number] = replace(found[number], signed=data)
    return found


def _unmatched(path: Path, observed: str) -> UsageError:
    return UsageError(
        code="SIGNED_UNMATCHED",
        observed=f"--signed {path}: {observed}",
        expected="what `jouleseal submission sign` wrote for one of these submissions",
        hint="sign the submission.yaml again after every change: its digest is what is signed",
    )


def _fit(engine: DockerEngine, arguments: argparse.Namespace) -> doctor.Diagnosis:
    diagnosis = doctor.diagnose(engine, state=arguments.home, devices=_devices(arguments))
    diagnosis.require_fit()
    return diagnosis


def _devices(arguments: argparse.Namespace) -> tuple[str, ...]:
    return () if arguments.device is None else (arguments.device,)


def _shared(arguments: argparse.Namespace, diagnosis: doctor.Diagnosis) -> list[tuple[str, bytes]]:
    """Return the evidence of the whole command, by name: what the doctor found, and what stands beside the meter."""
    found = [("doctor", json.dumps(diagnosis.to_json(), sort_keys=True).encode())]
    qualified = qualify.load(arguments.home)
    if qualified is not None and qualify.devices_of(qualified) == _devices(arguments):
        found.append(("qualification", qualified))
    given = ((WALL_CALIBRATION, arguments.wall_calibration), (GAIN_CALIBRATION, arguments.gain_calibration))
    found += [(name, path.read_bytes()) for name, path in (*given, (SITE, arguments.site)) if path is not None]
    return found


class _PowerNow:
    """What the screen shows as power now: the sum over the channels, with what kind of figure it is."""

    def __init__(self) -> None:
        self.bench: Bench | None = None

    def read(self) -> PowerNow:
        """Return the power over the last second, or nothing where nothing samples."""
        sampler = None if self.bench is None else self.bench.sampler
        if sampler is None:
            return PowerNow()
        try:
            return _shown(sampler.latest())
        except MeterUnavailable:
            return PowerNow()  # the session will hear of it itself


def _shown(reading: LiveReading) -> PowerNow:
    in_run = (reading.window or "").startswith("run-")
    watts = reading.watts
    if watts is None:
        return PowerNow(in_run=in_run)
    known = {name: power for name, power in reading.channels.items() if isinstance(power, Power)}
    kind = "+".join(sorted({power.kind for power in known.values()}))
    words = f"{float(watts):.2f} W {kind} ({'+'.join(known)})"
    return PowerNow(watts=float(watts), kind=kind, words=words, in_run=in_run)


def _report(bundle: Path, concluded: Sequence[Concluded], *, as_json: bool) -> None:
    root = bundle.parent / ROOT_NAME
    if as_json:
        campaigns = [{"plan": item.plan_id, "first": item.first_index, "last": item.last_index} for item in concluded]
        print(json.dumps({"bundle": str(bundle), "root": str(root), "campaigns": campaigns}, indent=2))
        return
    print(f"bundle  {bundle}")
    print(f"root    {root}")
    print(f"next    jouleseal-verify {bundle} --root {root}")
