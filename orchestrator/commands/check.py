"""`jouleseal check IMAGE|SUBMISSION`: show a vendor all that an official run would find."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.conformance.report import IMAGE_SCOPE, SHOWN_OUTPUT_BYTES, Finding, Notes, Output, Report
from orchestrator.conformance.rules import Rule
from orchestrator.conformance.suite import Suite, Target
from orchestrator.datasets import store as datasets
from orchestrator.doctor import Health
from orchestrator.drive.loadgen import Progress
from orchestrator.interrupt import Interrupts
from orchestrator.launch.checking import CheckingEngine
from orchestrator.live import PlainView, View
from orchestrator.submission import DEFAULT_CPUS, DEFAULT_MEMORY_MIB, DEFAULT_SHM_MIB, read_submission
from protocol.errors import Interrupted, InvalidSubmission, SubmissionError, UsageError
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import Task
from protocol.submission import Resources, TaskRequest
from protocol.units import MIB

_DOCUMENTS = frozenset({".yaml", ".yml"})
_STYLES = {Health.OK: "green", Health.WARNING: "yellow", Health.FAILED: "bold red"}
_MINUTE_S = 60


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 0 where nothing failed, 3 where the vendor must change something."""
    report = _check(arguments)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        _print(report)
    return 0 if report.passed else SubmissionError.exit_code


def target_of(argument: str, tasks: list[str] | None, folder: Path | None = None) -> Target:
    """Return what is to be checked: a submission.yaml's whole content, or an image with the tasks named.

    `folder` holds the built datasets. Raises UsageError (TASK_MISSING, TASK_UNKNOWN, TASK_NOT_ALLOWED,
    SUBMISSION_UNREADABLE) and InvalidSubmission.
    """
    path = Path(argument)
    if path.suffix in _DOCUMENTS or path.is_file():
        if tasks:
            raise UsageError(
                code="TASK_NOT_ALLOWED",
                observed="--task beside a submission",
                expected="a submission alone: it names its tasks itself",
                hint="leave --task out, or give the image's name",
            )
        return Target.of(read_submission(path, datasets.DEFAULT_DATASETS, datasets.by_task(folder))[0])
    return Target(
        image=argument,
        tasks=tuple(TaskRequest(task=task, precisions=(Precision.FP32,), dataset=name) for task, name in _named(tasks)),
        scenarios=tuple(Scenario),
        resources=Resources(memory_bytes=DEFAULT_MEMORY_MIB * MIB, cpus=DEFAULT_CPUS, shm_bytes=DEFAULT_SHM_MIB * MIB),
    )


def _named(tasks: list[str] | None) -> Iterable[tuple[Task, str]]:
    known = {task.value: task for task in datasets.DEFAULT_DATASETS}
    listing = ", ".join(sorted(known))
    if not tasks:
        raise UsageError(
            code="TASK_MISSING",
            observed="an image without --task",
            expected=f"at least one of {listing}",
            hint="add --task, or check a submission.yaml, which names its tasks itself",
        )
    unknown = sorted(set(tasks) - known.keys())
    if unknown:
        raise UsageError(
            code="TASK_UNKNOWN",
            observed=f"--task {', '.join(unknown)}",
            expected=f"a task with public points: {listing}",
            hint="choose one of them",
        )
    return [(known[name], datasets.DEFAULT_DATASETS[known[name]]) for name in dict.fromkeys(tasks)]


def _check(arguments: argparse.Namespace) -> Report:
    try:
        target = target_of(arguments.target, arguments.task, arguments.datasets)
    except InvalidSubmission as error:
        notes = Notes(IMAGE_SCOPE)
        notes.failed(error, Rule.SUBMISSION)
        return Report(image=arguments.target, config_digest=None, profile_sha256=None, findings=tuple(notes.findings))
    loaded = {
        name: datasets.load(name, arguments.datasets) for name in sorted({asked.dataset for asked in target.tasks})
    }
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts(last=arguments.last).installed())
        engine = CheckingEngine.connect()
        stack.callback(engine.close)
        suite = Suite(
            engine=engine,
            datasets=loaded,
            samples=arguments.samples,
            view=View(Progress()) if arguments.json else PlainView(sys.stderr, Progress()),
            interrupts=interrupts,
        )
        try:
            return suite.check(target)
        except Interrupted as error:
            raise KeyboardInterrupt from error  # nothing is kept of a check, so there is nothing to take up again


def _print(report: Report) -> None:
    console = Console(soft_wrap=not sys.stdout.isatty())
    scopes = dict.fromkeys([*(found.scope for found in report.findings), *(one.scope for one in report.untried)])
    for scope in scopes:
        console.print(Text(f"\n{report.image if scope == IMAGE_SCOPE else scope}", style="bold"))
        _print_findings(console, [found for found in report.findings if found.scope == scope])
        for one in report.untried:
            if one.scope == scope:
                words = ", ".join(rule.value for rule in one.rules)
                console.print(Text(f"not tried, for what failed before: {words}", style="yellow"))
    for output in report.outputs:
        _print_output(console, output)
    console.print(Text(f"\n{_verdict(report)}"))


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print a table on a terminal, and elsewhere lines that are never folded, so that they can be searched."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for found in findings:
        health = Text(found.health.value, style=_STYLES[found.health])
        table.add_row(health, Text(found.rule.value), Text(_said(found), overflow="fold"))
        if not console.is_terminal:
            console.print(f"{found.health.value:8} {found.rule.value:13} {_said(found, '; ')}", markup=False)
    if console.is_terminal:
        console.print(table)


def _said(found: Finding, separator: str = "\n") -> str:
    if found.health is Health.OK:
        return found.observed
    return separator.join([f"{found.code}: {found.observed}", f"expected: {found.expected}", f"next: {found.remedy}"])


def _print_output(console: Console, output: Output) -> None:
    if not output.size:
        return
    cut = f", the last {SHOWN_OUTPUT_BYTES} of them" if output.size > SHOWN_OUTPUT_BYTES else ""
    console.print(Text(f"\noutput of the container for {output.scope}, {output.size} bytes{cut}:", style="bold"))
    console.print(Text(output.text.rstrip("\n")), soft_wrap=True)


def _verdict(report: Report) -> str:
    failed = sum(found.health is Health.FAILED for found in report.findings)
    warned = sum(found.health is Health.WARNING for found in report.findings)
    untried = sum(len(one.rules) for one in report.untried)
    counts = f"{len(report.findings)} findings, {failed} failed, {warned} warnings, {untried} rules not tried"
    if not report.passed:
        return f"{counts}: NOT ready to hand in"
    seconds = report.campaign_seconds or 0
    took = f"{seconds // _MINUTE_S} min {seconds % _MINUTE_S:02d} s"
    return f"{counts}: ready to hand in; on this machine the official campaign would take about {took}"
