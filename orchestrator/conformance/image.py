"""Examines an image before it runs: every rule on its own, so that all that is wrong is known at once."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.conformance.report import Notes
from orchestrator.conformance.rules import Rule
from orchestrator.launch.checking import CheckingEngine
from orchestrator.launch.facts import EngineFacts
from orchestrator.launch.profile import LaunchProfile, Logs, build_profile
from orchestrator.launch.vetting import (
    check_resources,
    environment_names,
    parse_user,
    refuse_unfit_engine,
    volume_paths,
)
from protocol.errors import InvalidSubmission
from protocol.submission import Resources, SealedImage
from protocol.units import MIB

IMAGE_RULES = (
    Rule.IMAGE,
    Rule.USER,
    Rule.RESOURCES,
    Rule.VOLUMES,
    Rule.ENVIRONMENT,
    Rule.HEALTH_CHECK,
    Rule.STOP_SIGNAL,
)
NEUTRALISED_PREFIXES = ("LD_", "NVIDIA_", "JOULESEAL_")  # what the profile clears or sets itself, by its reasons


def resolve(engine: CheckingEngine, reference: str, notes: Notes) -> SealedImage | None:
    """Return the image that a reference names, None where it cannot be used; noted either way."""
    try:
        image = engine.resolve(reference)
    except InvalidSubmission as error:
        notes.failed(error, Rule.IMAGE)
        return None
    notes.ok(Rule.IMAGE, f"{image.config_digest}, {image.size_bytes // MIB} MiB in {len(image.diff_ids)} layers")
    return image


def examine(engine: CheckingEngine, image: SealedImage, resources: Resources, notes: Notes) -> None:
    """Note what can be said about an image and a request without starting anything."""
    facts = engine.facts()
    refuse_unfit_engine(facts)
    _vet(notes, Rule.USER, lambda: "user {}, group {}".format(*parse_user(image.user)))
    _vet(notes, Rule.RESOURCES, lambda: _resources(resources, facts))
    if _vet(notes, Rule.VOLUMES, lambda: _volumes(image)) and image.volumes:
        notes.broken("VOLUME_COVERED", f"VOLUME {', '.join(volume_paths(image.volumes))}")
    cleared = [name for name in image.env_names if name.startswith(NEUTRALISED_PREFIXES)]
    if _vet(notes, Rule.ENVIRONMENT, lambda: _environment(image, cleared)) and cleared:
        notes.broken("ENV_CLEARED", f"ENV {', '.join(sorted(cleared))}")
    wishes = engine.wishes(image)
    if wishes.health_check:
        notes.broken("HEALTHCHECK_IGNORED", f"HEALTHCHECK {wishes.health_check[:80]}")
    else:
        notes.ok(Rule.HEALTH_CHECK, "none")
    if wishes.stop_signal:
        notes.broken("STOPSIGNAL_IGNORED", f"STOPSIGNAL {wishes.stop_signal[:80]}")
    else:
        notes.ok(Rule.STOP_SIGNAL, "SIGTERM")


def profiles(engine: CheckingEngine, image: SealedImage, resources: Resources) -> tuple[LaunchProfile, LaunchProfile]:
    """Return the profile of official runs and that of a check, which differ in the log driver alone."""
    facts = engine.facts()
    official = build_profile(image, resources, None, facts)
    return official, build_profile(image, resources, None, facts, logs=Logs.CAPPED)


def _vet(notes: Notes, rule: Rule, judge: Callable[[], str]) -> bool:
    """Note the outcome of a judgement; an empty word leaves the noting to the caller. Returns whether it held."""
    try:
        said = judge()
    except InvalidSubmission as error:
        notes.failed(error, rule)
        return False
    if said:
        notes.ok(rule, said)
    return True


def _resources(resources: Resources, facts: EngineFacts) -> str:
    check_resources(resources, facts)
    memory, shm = resources.memory_bytes // MIB, resources.shm_bytes // MIB
    return f"{memory} MiB of memory, {resources.cpus} processors, {shm} MiB of shared memory"


def _volumes(image: SealedImage) -> str:
    return "" if volume_paths(image.volumes) else "none"


def _environment(image: SealedImage, cleared: list[str]) -> str:
    names = environment_names(image.env_names)
    return "" if cleared else f"{len(names)} variables, none of them cleared"
