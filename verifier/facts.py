"""What checks hand to one another: each value exists only because the check that makes it passed.

container   -> BundleFiles   the files, each at a path of the layout
log         -> Final         the final checkpoint, the entries under its root, and the time at which all is judged
inclusion   -> Logged        a statement file whose entry is in the log, and when witnesses saw it
signatures  -> Logged        the same, now known to be signed by a key that was in force
statements  -> Opened        the runner's, read
beside      -> Spoken        a vendor's or an auditor's, read
campaign    -> Story         plan, sessions and result of one campaign
timeline    -> Timelines     every query of every run and probe
trace       -> Traces        the meter's records
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from protocol.attestation.beside import Beside
from protocol.attestation.claims import StatementLink
from protocol.attestation.envelope import Envelope
from protocol.attestation.keyring import EnrolledKey
from protocol.attestation.nonce import session_nonce
from protocol.attestation.predicates import CampaignPlan, CampaignResult, Predicate, SessionIntent, SessionOutcome
from protocol.attestation.statement import Statement
from protocol.methodology.timeline import QueryRecord
from protocol.methodology.trace import PowerTrace
from protocol.tlog.entry import SeenCheckpoint
from protocol.tlog.tiles import LogView

P_co = TypeVar("P_co", bound=Predicate, covariant=True)
B_co = TypeVar("B_co", bound=Beside, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """When a quorum's cosignatures were made, by the witnesses' own clocks, whole seconds in UTC."""

    earliest: datetime
    latest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The log at the bundle's last checkpoint; `judged_at` is the moment at which keys and roots must be in force."""

    seen: SeenCheckpoint
    view: LogView
    witnessed: Witnessed
    judged_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A statement file at its index in the log, not yet read: who signed it, and the checkpoint that first held it.

    `predicate_name` is the file name's word for it.
    """

    index: int
    path: str
    predicate_name: str
    envelope: Envelope
    signer: EnrolledKey
    leaf_hash: bytes
    seen: SeenCheckpoint
    witnessed: Witnessed


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Generic[P_co]):
    """A statement that is logged, witnessed, signed and read."""

    logged: Logged
    statement: Statement
    predicate: P_co

    @property
    def index(self) -> int:
        """Its place in the log."""
        return self.logged.index

    @property
    def path(self) -> str:
        """Its file in the bundle."""
        return self.logged.path

    @property
    def statement_id(self) -> str:
        """The name by which other statements refer to it."""
        return self.logged.envelope.statement_id

    @property
    def witnessed(self) -> Witnessed:
        """When witnesses first saw it."""
        return self.logged.witnessed


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken(Generic[B_co]):
    """A statement of a vendor or an auditor that is logged, witnessed, signed and read."""

    logged: Logged
    statement: Statement
    predicate: B_co

    @property
    def index(self) -> int:
        """Its place in the log."""
        return self.logged.index

    @property
    def path(self) -> str:
        """Its file in the bundle."""
        return self.logged.path

    @property
    def link(self) -> StatementLink:
        """How another statement refers to this one."""
        return StatementLink(log_index=self.logged.index, statement_id=self.logged.envelope.statement_id)

    @property
    def nonce(self) -> str:
        """What its leaf and the checkpoint that first covered it give; for a challenge."""
        return session_nonce(self.logged.leaf_hash, self.logged.seen.note.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One intent and its one outcome."""

    intent: Opened[SessionIntent]
    outcome: Opened[SessionOutcome]

    @property
    def name(self) -> str:
        """The cell and the attempt, for messages."""
        return f"{self.outcome.predicate.cell} attempt {self.outcome.predicate.attempt}"

    @property
    def completed(self) -> bool:
        """Whether its runs count."""
        return self.outcome.predicate.status == "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One campaign from its plan to its result, with every session between them in log order."""

    plan: Opened[CampaignPlan]
    sessions: tuple[Session, ...]
    result: Opened[CampaignResult]

    @property
    def campaign(self) -> str:
        """The campaign's id: that of its plan."""
        return self.plan.statement_id

    @property
    def completed(self) -> tuple[Session, ...]:
        """The sessions whose runs count."""
        return tuple(session for session in self.sessions if session.completed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimelines:
    """Every query of a session: a timeline a run, and one a probe by its window."""

    runs: tuple[tuple[QueryRecord, ...], ...]
    probes: Mapping[str, tuple[QueryRecord, ...]]


Timelines = dict[str, SessionTimelines]  # by outcome id
Traces = dict[str, PowerTrace]  # by outcome id, of completed sessions
