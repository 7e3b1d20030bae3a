"""The whole check of a target: the image, then every cell in sandboxes of its own.

Rules:
 1. The profile is the operator's; the points are public; nothing is metered, signed or recorded.
 2. What failed in the image keeps every sandbox from starting. A container that does not come up for one cell does not
    come up for another: the other cells are named as untried rather than waited for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.conformance.cell import CellCheck, rules_of
from orchestrator.conformance.image import IMAGE_RULES, examine, profiles, resolve
from orchestrator.conformance.report import IMAGE_SCOPE, Finding, Notes, Report, Untried
from orchestrator.conformance.rules import Rule
from orchestrator.conformance.seat import Bringing
from orchestrator.doctor import Health
from orchestrator.interrupt import Interrupts
from orchestrator.launch.checking import CheckingEngine
from orchestrator.launch.profile import LaunchProfile
from orchestrator.live import View
from orchestrator.session import Bench, Deadlines, SessionOrder
from protocol.methodology.dataset import Dataset
from protocol.methodology.scenario import Scenario
from protocol.submission import Cell, Resources, SealedImage, Submission, TaskRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is checked. `claimed` are the model's name and version as submitted, None for a bare image."""

    image: str
    tasks: tuple[TaskRequest, ...]
    scenarios: tuple[Scenario, ...]
    resources: Resources
    claimed: tuple[str, str] | None = None

    @classmethod
    def of(cls, submission: Submission) -> Target:
        """Return everything that a submission asks to be measured."""
        return cls(
            image=submission.image,
            tasks=submission.tasks,
            scenarios=submission.scenarios,
            resources=submission.resources,
            claimed=(submission.model, submission.model_version),
        )


@dataclass(slots=True, kw_only=True)
class Suite:
    """What a check needs of this machine. `samples` are the public points asked of every cell, at least a batch."""

    engine: CheckingEngine
    datasets: Mapping[str, Dataset]
    samples: int
    view: View
    interrupts: Interrupts = field(default_factory=Interrupts)
    deadlines: Deadlines = field(default_factory=Deadlines)

    def check(self, target: Target) -> Report:
        """Try every rule and return the report; raises RigError for what is not the vendor's doing, and Interrupted."""
        notes = Notes(IMAGE_SCOPE)
        self.view.stage(f"reading the image {target.image}")
        with self.interrupts.allowed():
            image = resolve(self.engine, target.image, notes)
            if image is not None:
                examine(self.engine, image, target.resources, notes)
        if image is None or _failed(notes.findings):
            return self._unstarted(target, image, notes)
        official, capped = profiles(self.engine, image, target.resources)
        cells = self._cells(target)
        checks = [self._prepare(target, image, capped, cell, number) for number, cell in enumerate(cells)]
        for number, check in enumerate(checks):
            self.view.session_begins(number + 1, len(checks), check.bringing.notes.scope)
            with self.interrupts.allowed():
                check.check()
            if not check.bringing.notes.has(Rule.DESCRIBE):
                break
        untried = [check.bringing.notes.untried(rules_of(check.bringing.order.cell.scenario)) for check in checks]
        return Report(
            image=target.image,
            config_digest=image.config_digest,
            profile_sha256=official.digest(),
            findings=(*notes.findings, *(found for check in checks for found in check.bringing.notes.ordered())),
            untried=tuple(one for one in untried if one.rules),
            estimates=tuple(check.estimate for check in checks),
            outputs=tuple(output for check in checks for output in check.bringing.outputs),
        )

    def _cells(self, target: Target) -> list[Cell]:
        return [
            Cell(
                task=asked.task,
                scenario=scenario,
                precision=precision,
                dataset=asked.dataset,
                dataset_digest=self.datasets[asked.dataset].digest,
                points=min(max(self.samples, scenario.batch), len(self.datasets[asked.dataset].points)),
                runs=1,
            )
            for asked in target.tasks
            for precision in asked.precisions
            for scenario in target.scenarios
        ]

    def _prepare(
        self, target: Target, image: SealedImage, profile: LaunchProfile, cell: Cell, number: int
    ) -> CellCheck:
        bench = Bench(
            engine=self.engine,
            interrupts=self.interrupts,
            view=self.view,
            work=Path(),  # nothing is written
            deadlines=self.deadlines,
        )
        order = SessionOrder(
            session_id=f"check-{os.getpid()}-{number}",
            cell=cell,
            image=image,
            profile=profile,
            cpus=target.resources.cpus,
            dataset=self.datasets[cell.dataset],
            nonce=b"",
        )
        return CellCheck(
            Bringing(engine=self.engine, bench=bench, order=order, claimed=target.claimed, notes=Notes(cell.cell_id))
        )

    def _unstarted(self, target: Target, image: SealedImage | None, notes: Notes) -> Report:
        """Return the report of an image that no sandbox may run: every rule of every cell is untried."""
        cells = [Untried(scope=cell.cell_id, rules=rules_of(cell.scenario)) for cell in self._cells(target)]
        untried = [notes.untried(IMAGE_RULES), *cells]
        return Report(
            image=target.image,
            config_digest=None if image is None else image.config_digest,
            profile_sha256=None,
            findings=tuple(notes.findings),
            untried=tuple(one for one in untried if one.rules),
        )


def _failed(findings: list[Finding]) -> bool:
    return any(finding.health is Health.FAILED for finding in findings)
