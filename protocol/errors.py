"""Every error that crosses a room's wall, sorted by who must act next.

    JoulesealError                       code, observed, expected, hint
     +- UsageError                       the caller                                              exit 2
     +- SubmissionError                  the vendor must change the submission; no retry         exit 3
     |   +- InvalidSubmission            what was handed in cannot be run
     |   +- SealBroken                   the container tried to be more than a sealed container
     |   +- ProtocolViolation            the container answered, but not as the wire says
     |   +- ContainerFailed              the container ended, or was ended for its own doing
     |   +- DeadlineExceeded             the container was too slow
     |   +- QualityGateFailed            the answers are below the task's floor
     +- RigError                         the operator must fix the machine; the job goes back    exit 4
     |   +- EngineUnavailable            the container engine does not answer
     |   +- AcceleratorUnavailable       the leased device is not there
     |   +- MeterUnavailable             an instrument cannot be opened
     |   +- DatasetUnavailable           the points are not there, or not the points they claim to be
     |   +- ClockUnsound                 the machine's clocks cannot be relied upon
     |   +- StorageFull                  evidence cannot be written
     |   +- RecordUnsound                the log, its keys or its witness cannot be continued safely
     +- InvalidMeasurement               the rig disturbed it; the session is void, again        exit 5
     |   +- TraceGap                     the sampler missed more than it may
     |   +- WindowTooShort               the window is shorter than the instrument can resolve
     |   +- CounterReset                 a cumulative counter went backwards
     |   +- Throttled                    the device was held back while it was measured
     |   +- ForeignProcess               something else used the device
     |   +- Unstable                     the runs disagree by more than they may
     |   +- Interrupted                  the operator or the machine stopped the session
     +- VerificationError                the claim is false                                      exit 1
     +- Unverifiable                     it cannot be judged: a version or format unknown to us  exit 6

What the vendor's container causes is a SubmissionError and ends the campaign: otherwise a vendor could abort its bad
runs. Anything that is not in this tree is our own fault and exits 70.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_VERIFIED = 0
EXIT_INTERNAL = 70  # sysexits.h EX_SOFTWARE


class JoulesealError(Exception):
    """The root: what was seen, what was expected, and what to do next.

    `code` is stable, upper case with underscores, and is what tests, manifests and vendors' scripts refer to.
    `observed` and `expected` are one sentence or value each; `hint` is the next step of the person named by the class.
    """

    exit_code: ClassVar[int] = EXIT_INTERNAL
    default_code: ClassVar[str] = "INTERNAL"

    def __init__(self, *, observed: str, expected: str, hint: str, code: str | None = None) -> None:
        self.code = code or self.default_code
        self.observed = observed
        self.expected = expected
        self.hint = hint
        super().__init__(f"{self.code}: {observed} (expected: {expected}). Next: {hint}")

    def as_dict(self) -> dict[str, str]:
        """Return the error as a flat mapping of strings, for `--json` screens."""
        return {
            "kind": type(self).__name__,
            "code": self.code,
            "observed": self.observed,
            "expected": self.expected,
            "hint": self.hint,
        }


class UsageError(JoulesealError):
    """The caller asked for something that does not exist or does not fit."""

    exit_code = 2
    default_code = "USAGE"


class SubmissionError(JoulesealError):
    """The vendor must change the submission; running it again unchanged cannot help."""

    exit_code = 3
    default_code = "SUBMISSION"


class InvalidSubmission(SubmissionError):
    """What was handed in cannot be run."""

    default_code = "INVALID_SUBMISSION"


class SealBroken(SubmissionError):
    """The container tried to be more than a sealed container."""

    default_code = "SEAL_BROKEN"


class ProtocolViolation(SubmissionError):
    """The container answered, but not as the wire says."""

    default_code = "PROTOCOL_VIOLATION"


class ContainerFailed(SubmissionError):
    """The container ended, or was ended for its own doing."""

    default_code = "CONTAINER_FAILED"


class DeadlineExceeded(SubmissionError):
    """The container was too slow."""

    default_code = "DEADLINE_EXCEEDED"


class QualityGateFailed(SubmissionError):
    """The answers are below the task's floor."""

    default_code = "QUALITY_GATE"


class RigError(JoulesealError):
    """The operator must fix the machine; the job goes back."""

    exit_code = 4
    default_code = "RIG"


class EngineUnavailable(RigError):
    """The container engine does not answer, or refuses what the profile needs."""

    default_code = "ENGINE_UNAVAILABLE"


class AcceleratorUnavailable(RigError):
    """The leased device is not there."""

    default_code = "ACCELERATOR_UNAVAILABLE"


class MeterUnavailable(RigError):
    """An instrument cannot be opened, or the sampler does not answer."""

    default_code = "METER_UNAVAILABLE"


class DatasetUnavailable(RigError):
    """The points are not there, or they are not the points that they claim to be."""

    default_code = "DATASET_UNAVAILABLE"


class ClockUnsound(RigError):
    """The machine's clocks cannot be relied upon."""

    default_code = "CLOCK_UNSOUND"


class StorageFull(RigError):
    """Evidence cannot be written."""

    default_code = "STORAGE_FULL"


class RecordUnsound(RigError):
    """The log, its keys or its witness cannot be continued safely."""

    default_code = "RECORD_UNSOUND"


class InvalidMeasurement(JoulesealError):
    """The rig disturbed the measurement; the session is void and may be tried again, within the plan's attempts."""

    exit_code = 5
    default_code = "INVALID_MEASUREMENT"


class TraceGap(InvalidMeasurement):
    """The sampler missed more than it may."""

    default_code = "TRACE_GAP"


class WindowTooShort(InvalidMeasurement):
    """The window is shorter than the instrument can resolve."""

    default_code = "WINDOW_TOO_SHORT"


class CounterReset(InvalidMeasurement):
    """A cumulative counter went backwards."""

    default_code = "COUNTER_RESET"


class Throttled(InvalidMeasurement):
    """The device was held back while it was measured."""

    default_code = "THROTTLED"


class ForeignProcess(InvalidMeasurement):
    """Something else used the device."""

    default_code = "FOREIGN_PROCESS"


class Unstable(InvalidMeasurement):
    """The runs disagree by more than they may."""

    default_code = "UNSTABLE"


class Interrupted(InvalidMeasurement):
    """The operator or the machine stopped the session before its outcome."""

    default_code = "INTERRUPTED"


class VerificationError(JoulesealError):
    """The claim is false, or the evidence for it is absent or damaged."""

    exit_code = 1
    default_code = "CLAIM_FALSE"


class Unverifiable(JoulesealError):
    """It cannot be judged: a version or a format that this verifier does not know."""

    exit_code = 6
    default_code = "UNKNOWN_FORMAT"
