"""What a check found: findings, what was not tried, how long a campaign would take, and the container's own output.

Rules:
 1. Every rule that was tried has a finding, and every rule that could not be tried is named: nothing is left out.
 2. A submission passes when nothing failed and everything was tried; warnings do not count against it.
 3. A remedy is the catalogue's (rules.py), because an error's own hint is written for somebody who has no check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.conformance.rules import CODES, EXPECTED, Rule, rule_of
from orchestrator.doctor import Health
from protocol.errors import JoulesealError

SCHEMA = "jouleseal-check/1"
IMAGE_SCOPE = "image"
OK_CODE = "OK"
SHOWN_OUTPUT_BYTES = 64 * 1024  # of each container, its last: a traceback is at the end, and a terminal has an end too


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule's outcome. `scope` is `image` or a cell's id; `remedy` is empty where it is OK."""

    scope: str
    rule: Rule
    code: str
    health: Health
    observed: str
    expected: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as a flat mapping of strings."""
        return {
            "scope": self.scope,
            "rule": self.rule.value,
            "code": self.code,
            "health": self.health.value,
            "observed": self.observed,
            "expected": self.expected,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a container wrote: how many bytes the engine kept, and the last of them as text without control codes."""

    scope: str
    size: int
    text: str

    @classmethod
    def of(cls, scope: str, data: bytes) -> Output:
        """Return a container's output, bounded and made safe for a terminal."""
        shown = data[-SHOWN_OUTPUT_BYTES:].decode("utf-8", "replace")
        text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in shown)
        return cls(scope=scope, size=len(data), text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Untried:
    """Rules of a scope that could not be tried, because of what failed before them."""

    scope: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How many whole seconds a cell would take in an official campaign; None where nothing could be measured."""

    scope: str
    seconds: int | None


@dataclass(slots=True)
class Notes:
    """The findings of one scope while they are made."""

    scope: str
    findings: list[Finding] = field(default_factory=list)

    def ok(self, rule: Rule, observed: str) -> None:
        """Note that a rule is kept."""
        self._add(rule, OK_CODE, Health.OK, observed=observed)

    def broken(self, code: str, observed: str, rule: Rule | None = None) -> None:
        """Note that a rule is broken, as a warning where the catalogue says so; `rule` overrides the catalogue's."""
        known = CODES[code]
        health = Health.WARNING if known.warning else Health.FAILED
        self._add(rule or known.rule or Rule.STREAM, code, health, observed=observed, remedy=known.remedy)

    def failed(self, error: JoulesealError, during: Rule, *, here: bool = False) -> None:
        """Note an error: under its own rule, or under the one being checked where it has none or where `here`."""
        known = CODES.get(error.code)
        rule = during if here else rule_of(error.code) or during
        remedy = error.hint if known is None else known.remedy
        self._add(rule, error.code, Health.FAILED, observed=error.observed, remedy=remedy, expected=error.expected)

    def has(self, rule: Rule) -> bool:
        """Whether the rule has been tried."""
        return any(finding.rule is rule for finding in self.findings)

    def ordered(self) -> list[Finding]:
        """Return the findings in the order of the rules."""
        places = {rule: place for place, rule in enumerate(Rule)}
        return sorted(self.findings, key=lambda finding: places[finding.rule])

    def untried(self, rules: Iterable[Rule]) -> Untried:
        """Return which of these rules have no finding."""
        return Untried(scope=self.scope, rules=tuple(rule for rule in rules if not self.has(rule)))

    def _add(
        self, rule: Rule, code: str, health: Health, *, observed: str, remedy: str = "", expected: str | None = None
    ) -> None:
        if health is not Health.OK:  # what held until now does not hold any more
            self.findings = [one for one in self.findings if (one.rule, one.health) != (rule, Health.OK)]
        self.findings.append(
            Finding(
                scope=self.scope,
                rule=rule,
                code=code,
                health=health,
                observed=observed,
                expected=expected or EXPECTED[rule],
                remedy=remedy,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole check. `image` is the reference; the digests are None where they could not be computed."""

    image: str
    config_digest: str | None
    profile_sha256: str | None
    findings: tuple[Finding, ...]
    untried: tuple[Untried, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    outputs: tuple[Output, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed and nothing was left untried."""
        return not self.untried and all(finding.health is not Health.FAILED for finding in self.findings)

    @property
    def campaign_seconds(self) -> int | None:
        """How long the whole official campaign would take; None unless every cell could be measured."""
        known = [estimate.seconds for estimate in self.estimates if estimate.seconds is not None]
        return sum(known) if known and len(known) == len(self.estimates) else None

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON."""
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "image": {"reference": self.image, "configDigest": self.config_digest},
            "launchProfileSha256": self.profile_sha256,
            "findings": [finding.to_json() for finding in self.findings],
            "untried": [{"scope": one.scope, "rules": [rule.value for rule in one.rules]} for one in self.untried],
            "estimate": {
                "totalSeconds": self.campaign_seconds,
                "cells": [{"cell": one.scope, "seconds": one.seconds} for one in self.estimates],
            },
            "output": [{"scope": one.scope, "bytes": one.size, "text": one.text} for one in self.outputs],
        }
