"""Walking the numbered list: each step turns established facts into one more, or says why it could not.

Rules:
1. A check is a function from facts to `Established(value, detail)`. It raises VerificationError (or InvalidMeasurement:
   evidence that the method voids) where its claim is false, Unverifiable where it meets a version or format that is
   unknown, and an ExceptionGroup of those where it found several.
2. A fact is known only if the check that establishes it passed. A check that asks for a fact that is not known is
   recorded as not checked, with the name of the check that it waited for. So nothing is ever judged on damaged ground.
3. A check that leaves its claim open on purpose returns `Open(reason)`: not checked, and no failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from protocol.errors import InvalidMeasurement, JoulesealError, Unverifiable, VerificationError
from verifier.report import CheckResult, Status

T = TypeVar("T")

MAX_FAILURES_SHOWN = 20  # per check: enough to see the pattern, few enough to read


@dataclass(frozen=True, slots=True)
class Established(Generic[T]):
    """What a passed check leaves behind: a value for later checks, and one sentence on what was checked."""

    value: T
    detail: str


@dataclass(frozen=True, slots=True)
class Open:
    """A claim left open on purpose, and why."""

    reason: str


class _NotEstablishedError(Exception):
    """A check asked for a fact that is not known; `check` is the check that would have established it."""

    def __init__(self, check: str) -> None:
        super().__init__(check)
        self.check = check


@dataclass(frozen=True, slots=True)
class Fact(Generic[T]):
    """A value, if the check named `check` established one."""

    check: str
    _value: tuple[T] | None = None

    @property
    def known(self) -> bool:
        """Whether the check that establishes this fact passed."""
        return self._value is not None

    @property
    def value(self) -> T:
        """The value; asking for one that is not known ends the asking check as not checked."""
        if self._value is None:
            raise _NotEstablishedError(self.check)
        return self._value[0]


@dataclass(slots=True)
class Walk:
    """The results so far, in order."""

    results: list[CheckResult] = field(default_factory=list)

    def step(self, check: str, claim: Callable[[], Established[T] | Open]) -> Fact[T]:
        """Run one check of the list and record how it ended."""
        try:
            found = claim()
        except _NotEstablishedError as missing:
            self._not_checked(check, f"needs what check {missing.check!r} establishes, and that did not pass")
        except (VerificationError, InvalidMeasurement, Unverifiable) as error:
            self._refuse(check, error)
        except ExceptionGroup as several:
            for finding in _leaves(several)[:MAX_FAILURES_SHOWN]:
                self._refuse(check, finding)
        else:
            if isinstance(found, Open):
                self._not_checked(check, found.reason)
            else:
                self.results.append(CheckResult(check=check, status=Status.PASSED, detail=found.detail))
                return Fact(check, (found.value,))
        return Fact(check)

    def _not_checked(self, check: str, reason: str) -> None:
        self.results.append(CheckResult(check=check, status=Status.NOT_CHECKED, detail=reason))

    def _refuse(self, check: str, error: JoulesealError) -> None:
        status = Status.NOT_CHECKED if isinstance(error, Unverifiable) else Status.FAILED
        self.results.append(CheckResult.refused(check, status, error))


class Findings:
    """Collects the failures of one check, so that a report names every changed file and not only the first."""

    def __init__(self) -> None:
        self._errors: list[JoulesealError] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep a failure raised inside the block and go on."""
        try:
            yield
        except (VerificationError, InvalidMeasurement, Unverifiable) as error:
            self._errors.append(error)

    def add(self, error: JoulesealError) -> None:
        """Keep a failure."""
        self._errors.append(error)

    def settle(self) -> None:
        """Raise what was collected: nothing, the one failure, or all of them as a group."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise ExceptionGroup("several claims are false", self._errors)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as people say it."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{plural}"


def false(code: str, *, observed: str, expected: str, hint: str | None = None) -> VerificationError:
    """Return the error of a claim that is false; without a hint, the auditor is told not to rely on the result."""
    return VerificationError(code=code, observed=observed, expected=expected, hint=hint or DO_NOT_RELY)


DO_NOT_RELY = "do not rely on this result; ask whoever published it for the original bundle"


def _leaves(group: ExceptionGroup[Exception]) -> list[JoulesealError]:
    """Return the failures inside a group; anything that is not a finding is our own fault and is raised as it is."""
    found: list[JoulesealError] = []
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            found += _leaves(error)
        elif isinstance(error, VerificationError | InvalidMeasurement | Unverifiable):
            found.append(error)
        else:
            raise error
    return found
