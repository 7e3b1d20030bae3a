"""Examines the rig: what the engine is, and what a probe finds from inside a sandbox; each finding with its remedy.

Rules:
 1. A finding is OK, a WARNING (results stand, but something is less than it could be) or FAILED (no sandbox may run).
 2. A check that cannot be made has failed; it is never left out.
 3. What the engine says of itself is not enough: a probe runs under the very profile of official runs.
 4. The findings go into the evidence of every session on this rig, so they hold no path of the host.
 5. Accelerators are read by the sampler's own process, as in a session: nothing else here opens their driver.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from orchestrator.launch.engine import DockerEngine
from orchestrator.launch.facts import EngineFacts
from orchestrator.launch.probe import PROBE_IMAGE, Hole, ask
from orchestrator.launch.profile import LaunchProfile, build_profile
from orchestrator.launch.sandbox import Sandbox
from orchestrator.launch.vetting import refuse_unfit_engine
from orchestrator.meter import qualify as rig
from protocol.errors import EngineUnavailable, JoulesealError
from protocol.methodology import findings as agreed
from protocol.submission import Resources
from protocol.units import MIB

OLDEST_ENGINE = (20, 10)  # the oldest release against which the profile is tested
NOFILE_WANTED = 4_096  # below this, servers with many weight shards fail to open them
FREE_BYTES_WANTED = 10 * 1024 * MIB
PROCESSORS_WANTED = 2  # one for the driver and the sampler, the rest for the sandbox
STABLE_CLOCKS = frozenset({"tsc", "kvm-clock", "arch_sys_counter"})
PROBE_RESOURCES = Resources(memory_bytes=256 * MIB, cpus=1, shm_bytes=0)

_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


class Health(Enum):
    """How a finding stands."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about the rig: what was seen, what was expected, and what to do about it (empty where it is OK)."""

    check: str
    health: Health
    observed: str
    expected: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as a flat mapping of strings."""
        return {
            "check": self.check,
            "health": self.health.value,
            "observed": self.observed,
            "expected": self.expected,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All findings, with the engine's facts and the digest of the profile that the probe ran under, where it ran."""

    findings: tuple[Finding, ...]
    facts: EngineFacts | None
    profile_sha256: str | None

    @property
    def fit(self) -> bool:
        """Whether sandboxes may run here."""
        return all(finding.health is not Health.FAILED for finding in self.findings)

    def to_json(self) -> dict[str, object]:
        """Return the diagnosis as JSON for a session's evidence."""
        return {
            "schema": "jouleseal-doctor/1",
            "fit": self.fit,
            "engine": {} if self.facts is None else self.facts.to_json(),
            "probeProfileSha256": self.profile_sha256,
            "findings": [finding.to_json() for finding in self.findings],
        }

    def require_fit(self) -> None:
        """Raise EngineUnavailable RIG_UNFIT, naming what failed, unless sandboxes may run here."""
        failed = [finding for finding in self.findings if finding.health is Health.FAILED]
        if failed:
            raise EngineUnavailable(
                code="RIG_UNFIT",
                observed="; ".join(f"{finding.check}: {finding.observed}" for finding in failed)[:2000],
                expected="a rig on which every check passes",
                hint=failed[0].remedy,
            )


def examine(
    *,
    rig_id: str | None = None,
    state: Path | None = None,
    probe_image: str = PROBE_IMAGE,
    devices: Sequence[str] = (),
) -> Diagnosis:
    """Examine this machine's engine and return every finding; raises nothing that a finding can say.

    `state` is the folder in which evidence will be written; its free space is a finding. `devices` are the UUIDs of
    accelerators to look at. The probe's container, volume and control group are gone afterwards.
    """
    try:
        engine = DockerEngine.connect(rig_id)
    except EngineUnavailable as error:
        findings = (_failed("engine", error), *_accelerators(devices))
        return Diagnosis(findings=findings, facts=None, profile_sha256=None)
    try:
        return diagnose(engine, state=state, probe_image=probe_image, devices=devices)
    finally:
        engine.close()


def qualify(
    diagnosis: Diagnosis, devices: Sequence[str], folder: Path, plan: rig.Plan | None = None
) -> rig.Qualification:
    """Qualify the rig's instruments; the document holds the diagnosis's findings too, the records stay in `folder`."""
    found = rig.qualify(devices, folder, plan)
    examined = tuple(
        agreed.find(
            finding.check,
            finding.observed,
            finding.expected,
            finding.remedy,
            good=finding.health is Health.OK,
            matters=finding.health is not Health.WARNING,
        )
        for finding in diagnosis.findings
    )
    return replace(found, findings=(*examined, *found.findings))


def health_of(finding: agreed.Finding) -> Health:
    """Return how a qualification's finding stands."""
    if finding.good:
        return Health.OK
    return Health.FAILED if finding.matters else Health.WARNING


def _accelerators(devices: Sequence[str]) -> tuple[Finding, ...]:
    """Look at accelerators for a moment; their own words, judged."""
    if not devices:
        return ()
    with tempfile.TemporaryDirectory(prefix="jouleseal-look-") as folder:
        return tuple(
            Finding(
                check=found.name,
                health=health_of(found),
                observed=found.observed,
                expected=found.expected,
                remedy=found.remedy,
            )
            for found in rig.look(devices, Path(folder))
        )


def diagnose(
    engine: DockerEngine,
    *,
    state: Path | None = None,
    probe_image: str = PROBE_IMAGE,
    devices: Sequence[str] = (),
) -> Diagnosis:
    """Examine an engine that is already connected; see `examine`."""
    facts = engine.facts()
    findings = [*_engine(facts), *_machine(facts, state)]
    profile, seal = _probe(engine, probe_image)
    return Diagnosis(
        findings=(*findings, *seal, *_accelerators(devices)),
        facts=facts,
        profile_sha256=None if profile is None else profile.digest(),
    )


def _engine(facts: EngineFacts) -> Iterator[Finding]:
    release = tuple(int(part) for part in facts.version.split("+")[0].split(".")[:2] if part.isdigit())
    yield _judge(
        "engine",
        good=release >= OLDEST_ENGINE,
        observed=f"engine {facts.version}, API {facts.api_version}, kernel {facts.kernel}",
        expected="20.10 or later",
        remedy="upgrade the container engine",
    )
    try:
        refuse_unfit_engine(facts)
    except EngineUnavailable as error:
        yield _failed("engine-seal", error)
    else:
        yield _ok("engine-seal", "seccomp, a graph driver store, no user mapping", "an engine that can hold a sandbox")
    rootless = "an engine that runs as root, on which the seal is tested"
    yield _judge(
        "rootless",
        good=not facts.rootless,
        observed="rootless" if facts.rootless else "runs as root",
        expected=rootless,
        remedy="run the engine as root; rootless engines on control groups v2 are not tested",
        worst=Health.WARNING,
    )
    yield _judge(
        "limits",
        good=facts.swap_limit and facts.pids_limit,
        observed=f"swap limit {facts.swap_limit}, process limit {facts.pids_limit}",
        expected="a kernel that limits swap and processes",
        remedy="boot with `cgroup_enable=memory swapaccount=1`",
        worst=Health.WARNING,
    )
    yield _judge(
        "open-files",
        good=facts.nofile_hard >= NOFILE_WANTED,
        observed=f"the engine may grant {facts.nofile_hard} open files",
        expected=f"at least {NOFILE_WANTED}",
        remedy="raise LimitNOFILE of the engine's service and restart it",
        worst=Health.WARNING,
    )
    devices = "CDI" if facts.cdi else "NVIDIA's runtime" if facts.gpu_runtime else "no accelerator support"
    yield _ok("accelerators", devices, "CDI or NVIDIA's runtime where accelerators are leased; none in the CPU class")


def _machine(facts: EngineFacts, state: Path | None) -> Iterator[Finding]:
    yield _judge(
        "processors",
        good=len(facts.cpu_ids) >= PROCESSORS_WANTED,
        observed=f"{len(facts.cpu_ids)} processors online",
        expected=f"at least {PROCESSORS_WANTED}: the driver and the sampler keep one to themselves",
        remedy="use a machine with more processors, or expect the sampler to be held up by the sandbox",
        worst=Health.WARNING,
    )
    clock = _CLOCK_SOURCE.read_text().strip() if _CLOCK_SOURCE.exists() else "unknown"
    yield _judge(
        "clock",
        good=clock in STABLE_CLOCKS,
        observed=f"clock source {clock}",
        expected="a clock source that is read without leaving the process: tsc, kvm-clock or arch_sys_counter",
        remedy="see the kernel's log for why the time stamp counter was given up; latencies will be coarser",
        worst=Health.WARNING,
    )
    if state is not None:
        free = shutil.disk_usage(_existing(state)).free
        yield _judge(
            "free-space",
            good=free >= FREE_BYTES_WANTED,
            observed=f"{free // MIB} MiB free for evidence",
            expected=f"at least {FREE_BYTES_WANTED // MIB} MiB",
            remedy="free space, or keep the state folder on a larger disk",
            worst=Health.WARNING,
        )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _probe(engine: DockerEngine, probe_image: str) -> tuple[LaunchProfile | None, tuple[Finding, ...]]:
    session = f"doctor-{os.getpid()}"
    try:
        engine.reap([session])
        image = engine.resolve(probe_image)
        profile = build_profile(image, PROBE_RESOURCES, None, engine.facts())
        sandbox = engine.launch(image, profile, session)
    except JoulesealError as error:
        return None, (_failed("seal", error),)
    try:
        return profile, tuple(_seal(sandbox))
    except JoulesealError as error:
        return profile, (_failed("seal", error),)
    finally:
        sandbox.destroy()


def _seal(sandbox: Sandbox) -> Sequence[Finding]:
    sandbox.verify()
    holes = ask(sandbox)
    profile = _ok("profile", "engine and kernel confirm every field", "a sandbox that is exactly its launch profile")
    return [profile, *(_hole(hole) for hole in holes)]


def _hole(hole: Hole) -> Finding:
    return _judge(
        f"hole.{hole.name}",
        good=not hole.open,
        observed=hole.detail,
        expected="closed, as tried from inside a sandbox",
        remedy="do not measure on this rig; upgrade the engine and the kernel, and report the hole with this finding",
    )


def _judge(
    check: str,
    *,
    good: bool,
    observed: str,
    expected: str,
    remedy: str,
    worst: Health = Health.FAILED,
) -> Finding:
    if good:
        return _ok(check, observed, expected)
    return Finding(check=check, health=worst, observed=observed, expected=expected, remedy=remedy)


def _ok(check: str, observed: str, expected: str) -> Finding:
    return Finding(check=check, health=Health.OK, observed=observed, expected=expected)


def _failed(check: str, error: JoulesealError) -> Finding:
    observed = f"{error.code}: {error.observed}"
    return Finding(check=check, health=Health.FAILED, observed=observed, expected=error.expected, remedy=error.hint)
