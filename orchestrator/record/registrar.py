"""The registrar: signs a statement, logs it, has it witnessed, and knows what it has signed before.

Life of a statement:
1. Its place in the runner's chain (`seq`, `prev`) is filled in, and the strict reader of its type reads it: what we
   would refuse to verify is never signed. It must also be in sequence (`orchestrator.record.sequence`).
2. It is signed, and its envelope is on the disk as `statements/pending.json`.
3. It is appended to the log and covered by a checkpoint with its quorum.
4. It is written as `statements/<index>-<name>.sigstore.json`, and the pending file goes.

A crash after step 2 is completed at the next opening: appending is idempotent, so the statement is in the log once.

A runner's keys follow one another, each with a chain of its own. What former keys recorded is read, held against the
log, and counted in a vendor's plans; only the key in force is spoken with. A key event that a ceremony left to be
logged (`key-events/pending.json`) is logged at the next opening, and what the log knows of keys is held against the
trust (`orchestrator.record.key_events`): a home whose keyring was put back to an older one is not opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.disk import disk_errors, make_folder, sync_folder, write_atomic
from orchestrator.record.domain import Domain, open_domain
from orchestrator.record.key_events import check_all_opened, check_not_rolled_back
from orchestrator.record.keys import Unlock, no_passphrase
from orchestrator.record.log import LogWriter
from orchestrator.record.sequence import (
    OpenCampaign,
    OpenIntent,
    Recorded,
    check_next,
    open_campaigns,
    open_intents,
)
from orchestrator.record.trust import KEY_EVENTS, PENDING_EVENT
from orchestrator.record.witness import LocalWitness
from orchestrator.record.witness_client import Missing, remote_witnesses
from protocol.attestation.bundle import statement_path
from protocol.attestation.claims import RunnerLink
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, Envelope, read_envelope, sign
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.key_event import KEY_EVENT, open_key_event, read_key_event
from protocol.attestation.keys import PublicKey
from protocol.attestation.moment import format_moment, parse_moment
from protocol.attestation.nonce import session_nonce
from protocol.attestation.predicates import CampaignPlan, Predicate, predicate_name, read_predicate
from protocol.attestation.refusal import refuse
from protocol.attestation.root import TARGETS_ROLE
from protocol.attestation.sigstore_bundle import LogEntry, SigstoreBundle, parse_sigstore_bundle
from protocol.attestation.statement import Statement, parse_statement
from protocol.errors import ClockUnsound, RecordUnsound, Unverifiable, VerificationError
from protocol.tlog.entry import SeenCheckpoint, check_entry
from protocol.tlog.leaf import Leaf, parse_leaf
from protocol.tlog.merkle import leaf_hash
from protocol.tlog.note import parse_note

_PENDING = "pending.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A statement that is signed, logged and witnessed; `checkpoint_note` is the cosigned note that covers it."""

    index: int
    statement_id: str
    leaf_hash: bytes
    checkpoint_note: bytes

    def nonce(self) -> str:
        """Return the session nonce that this statement, if it is an intent, and its checkpoint give."""
        return session_nonce(self.leaf_hash, parse_note(self.checkpoint_note).text)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorChain:
    """What the next plan of a vendor and model says: its number from 1 on, and the id of the plan before it."""

    seq: int
    prev_plan: str | None


class Registrar:
    """The one voice of a runner's key; a context manager that holds the log while it is open."""

    def __init__(self, domain: Domain, *, clock: Callable[[], int] | None = None, boot_id: str | None = None) -> None:
        self.domain = domain
        self._boot_id = boot_id or read_boot_id()
        self._clock = clock or _unix_now
        self._folder = domain.home / "statements"
        self._witness = LocalWitness(
            folder=domain.home / "witness",
            key=domain.witness_key,
            signer=domain.witness_signer,
            log=domain.policy.log,
            clock=self._clock,
        )
        remotes = remote_witnesses(domain.home, domain.policy, domain.witness_key)
        self._log = LogWriter(domain, self._witness, remotes)
        self._history: list[Recorded] = []

    @classmethod
    def open(cls, home: Path, unlock: Unlock = no_passphrase) -> Registrar:
        """Return the registrar of the domain in a folder, to be entered with `with`; `unlock` as of `open_domain`."""
        return cls(open_domain(home, unlock))

    def __enter__(self) -> Self:
        self._log.__enter__()
        try:
            self._recover()
        except BaseException:
            self._log.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._log.close()

    @property
    def history(self) -> tuple[Recorded, ...]:
        """Everything that this runner has recorded, with this key and those before it, in log order."""
        return tuple(self._history)

    @property
    def missing_witnesses(self) -> tuple[Missing, ...]:
        """Who did not cosign the last checkpoint, and why."""
        return self._log.missing

    def adopt(self, note: bytes) -> None:
        """Publish the latest checkpoint with lines that witnesses without a connection added; before entering.

        So a statement that waits for its quorum gets it by file. RecordUnsound as of `LogWriter.refresh`.
        """
        with self._log:
            self._log.refresh(note)

    def refresh(self, offline: bytes | None = None) -> SeenCheckpoint:
        """Ask every witness again about the latest checkpoint; see `LogWriter.refresh`."""
        return self._log.refresh(offline)

    def open_intents(self) -> tuple[OpenIntent, ...]:
        """Return the sessions that were declared and have no outcome: what a crash left behind."""
        return open_intents(self._own())

    def open_campaigns(self) -> tuple[OpenCampaign, ...]:
        """Return the campaigns that were planned and have no result."""
        return open_campaigns(self._own())

    def vendor_chain(self, vendor: str, model: str) -> VendorChain:
        """Return what the next plan of this vendor and model must say about the plans before it."""
        plans = [
            item.statement_id
            for item in self._history
            if isinstance(item.predicate, CampaignPlan)
            and (item.predicate.submission.vendor, item.predicate.submission.model) == (vendor, model)
        ]
        return VendorChain(seq=len(plans) + 1, prev_plan=plans[-1] if plans else None)

    def next_link(self) -> RunnerLink:
        """Return the place in the runner's chain that the next statement takes."""
        own = self._own()
        last = own[-1] if own else None
        return RunnerLink(
            runner_id=self.domain.scope.runner_id,
            key_id=self.domain.runner.key.key_id,
            boot_id=self._boot_id,
            seq=1 if last is None else last.predicate.runner.seq + 1,
            prev=None if last is None else last.statement_id,
        )

    @property
    def log_size(self) -> int:
        """The number of entries in the log."""
        return self._log.size

    def record(self, predicate_name: str, subject_sha256: str, predicate_json: Mapping[str, Json]) -> Logged:
        """Sign, log and witness one statement about an image, and return its place.

        `predicate_json` is the predicate without `runner`, which is filled in here (or with it, as `next_link` gives).
        RecordUnsound UNFIT_STATEMENT for a predicate that the strict reader refuses, OUT_OF_SEQUENCE, KEY_EXPIRED for a
        plan, or those of the log and the witness; ClockUnsound; StorageFull. After an error of the disk the
        registrar must be opened again.
        """
        predicate = {"runner": self.next_link().to_json(), **predicate_json}
        statement = Statement(predicate_name=predicate_name, subject_sha256=subject_sha256, predicate=predicate)
        payload = self._checked_payload(statement)
        envelope = sign(IN_TOTO_PAYLOAD_TYPE, payload, self.domain.runner_signer)
        make_folder(self._folder)
        write_atomic(self._folder / _PENDING, dumps(envelope.to_json()))
        return self._finish(envelope)

    def record_predicate(self, subject_sha256: str, predicate: Predicate) -> Logged:
        """Record a predicate that was built with `next_link`; otherwise as `record`."""
        return self.record(predicate_name(predicate), subject_sha256, predicate.to_json())

    def _checked_payload(self, statement: Statement) -> bytes:
        try:
            payload = statement.to_payload()
            predicate = read_predicate(parse_statement(payload))
        except (VerificationError, Unverifiable) as error:
            raise _unsound("UNFIT_STATEMENT", str(error), "a statement that our own verifier reads") from error
        if predicate.runner != self.next_link():
            raise _unsound("UNFIT_STATEMENT", "another place in the chain", "the runner's next place")
        if statement.predicate_name not in self.domain.scope.predicate_names:
            raise _unsound("UNFIT_STATEMENT", statement.predicate_name, "a predicate within the key's scope")
        check_next(self._own(), predicate)
        self._check_not_revoked()
        if isinstance(predicate, CampaignPlan):
            self._check_validity()
        return payload

    def _own(self) -> list[Recorded]:
        """Return what the key in force has recorded."""
        key_id = self.domain.runner.key.key_id
        return [item for item in self._history if item.predicate.runner.key_id == key_id]

    def _check_not_revoked(self) -> None:
        last = self.domain.runner.last_valid_index
        if last is not None and self._log.size > last:
            raise RecordUnsound(
                code="KEY_REVOKED",
                observed=f"the runner's key {self.domain.runner.key.key_id[:16]} at index {self._log.size}",
                expected=f"nothing after index {last}, where that key was revoked",
                hint="give the runner another key: jouleseal keys rotate",
            )

    def _check_validity(self) -> None:
        """Refuse to begin a campaign with a key that nobody would accept at this time."""
        key, now = self.domain.runner, datetime.fromtimestamp(self._clock(), UTC)
        if now < parse_moment(key.not_before):
            raise ClockUnsound(
                observed=f"it is {format_moment(now)}",
                expected=f"a time after {key.not_before}, when the runner's key was made",
                hint="set the machine's clock",
            )
        if now > parse_moment(key.not_after):
            raise RecordUnsound(
                code="KEY_EXPIRED",
                observed=f"it is {format_moment(now)}",
                expected=f"a time until {key.not_after}, when the runner's key ends",
                hint="give the runner another key: jouleseal keys rotate; what is published stays verifiable",
            )

    def _finish(self, envelope: Envelope) -> Logged:
        """Log a pending statement, write its file, and remember it."""
        bundle = self._logged(envelope, self.domain.runner.key)
        statement = parse_statement(envelope.payload)
        path = self.domain.home / statement_path(bundle.entry.log_index, statement.predicate_name)
        write_atomic(path, bundle.to_bytes())
        recorded = _recorded(bundle, statement)
        if recorded.log_index not in [item.log_index for item in self._history]:
            self._history.append(recorded)
        with disk_errors(_PENDING):
            (self._folder / _PENDING).unlink()
            sync_folder(self._folder)
        return Logged(
            index=recorded.log_index,
            statement_id=recorded.statement_id,
            leaf_hash=recorded.leaf_hash,
            checkpoint_note=recorded.checkpoint_note,
        )

    def append(self, envelope: Envelope, key: PublicKey) -> SigstoreBundle:
        """Log what somebody else signed with this key, beside the runner's chain; who may is for the caller to say.

        RecordUnsound as those of the log and the witness; StorageFull.
        """
        envelope.verify(key)
        return self._logged(envelope, key)

    def _logged(self, envelope: Envelope, key: PublicKey) -> SigstoreBundle:
        """Append the leaf of an envelope that the key signed, have it witnessed, and return both as one file."""
        signature = envelope.only_signature().signature
        leaf = Leaf(pae_sha256=envelope.pae_sha256, signature=signature, key=key).to_bytes()
        placed = self._log.append(leaf)
        seen = self._log.checkpoint()
        signed = seen.checkpoint
        entry = LogEntry(
            log_index=placed.index,
            log_id=self.domain.policy.log.full_key_id,
            tree_size=signed.size,
            root_hash=signed.root,
            hashes=self._log.inclusion(placed.index, signed.size),
            checkpoint=seen.note.to_bytes(),
            body=leaf,
        )
        return SigstoreBundle(envelope=envelope, entry=entry)

    def _log_key_event(self) -> None:
        """Log the key event that a ceremony left, as `key-events/<index>-key-event.sigstore.json`, and let go of it."""
        path = self.domain.home / KEY_EVENTS / PENDING_EVENT
        with disk_errors(PENDING_EVENT):
            data = path.read_bytes() if path.exists() else None
        if data is None:
            return
        try:
            envelope = read_key_event(data)
            open_key_event(envelope, self.domain.root, self.domain.keyring)
        except (VerificationError, Unverifiable) as error:
            raise _unsound("STATEMENT_LOST", str(error), "the key event as the ceremony left it") from error
        key = self.domain.root.role_keys(TARGETS_ROLE)[envelope.only_signature().key_hint]
        bundle = self._logged(envelope, key)
        write_atomic(path.with_name(f"{bundle.entry.log_index:08d}-{KEY_EVENT}.sigstore.json"), bundle.to_bytes())
        with disk_errors(PENDING_EVENT):
            path.unlink()
            sync_folder(path.parent)

    def _recover(self) -> None:
        """Read what was recorded, hold it against the log, and complete a statement that a crash interrupted."""
        check_not_rolled_back(self.domain.home, self.domain.trust, self._log.entries)
        try:
            self._history = [self._read(path) for path in sorted(self._folder.glob("*.sigstore.json"))]
            pending = self._pending()
        except (VerificationError, Unverifiable) as error:
            raise _unsound("STATEMENT_LOST", str(error), "the statement files as they were written") from error
        if pending is not None:
            self._finish(pending)
        self._check_complete()
        self._log_key_event()
        check_all_opened(self.domain.home, self.domain.trust, self._log.entries)

    def _read(self, path: Path) -> Recorded:
        with disk_errors(path.name):
            bundle = parse_sigstore_bundle(path.read_bytes())
        key = parse_leaf(bundle.entry.body).key
        if key not in self._keys():
            raise refuse(
                "UNKNOWN_SIGNER", observed=f"{path.name} by {key.key_id[:16]}", expected="a key of this runner"
            )
        bundle.envelope.verify(key)
        check_entry(bundle.envelope, key, bundle.entry, self.domain.policy)
        return _recorded(bundle, parse_statement(bundle.envelope.payload))

    def _keys(self) -> frozenset[PublicKey]:
        """Return the keys that speak or spoke for this runner."""
        runner_id = self.domain.scope.runner_id
        runners = self.domain.keyring.in_role("runner")
        return frozenset(item.key for item in runners if item.scope is not None and item.scope.runner_id == runner_id)

    def _pending(self) -> Envelope | None:
        path = self._folder / _PENDING
        with disk_errors(_PENDING):
            data = path.read_bytes() if path.exists() else None
        if data is None:
            return None
        envelope = read_envelope(Fields(loads_canonical(data), "pending"), payload_type=IN_TOTO_PAYLOAD_TYPE)
        envelope.verify(self.domain.runner.key)
        return envelope

    def _check_complete(self) -> None:
        """Hold the statement files against the log: each entry of this runner is opened by one, each key in a chain."""
        keys = self._keys()
        ours = {
            index: leaf_hash(entry) for index, entry in enumerate(self._log.entries) if parse_leaf(entry).key in keys
        }
        if ours != {item.log_index: item.leaf_hash for item in self._history}:
            observed = f"{len(self._history)} statement files for {len(ours)} log entries of this runner"
            raise _unsound("STATEMENT_LOST", observed, "one file for each entry")
        before: dict[str, Recorded] = {}
        for item in self._history:
            link = item.predicate.runner
            last = before.get(link.key_id)
            if (link.seq, link.prev) != (
                (1, None) if last is None else (last.predicate.runner.seq + 1, last.statement_id)
            ):
                raise _unsound("STATEMENT_LOST", f"a break in the chain at index {item.log_index}", "an unbroken chain")
            before[link.key_id] = item


def read_boot_id() -> str:
    """Return the kernel's id of this boot; RecordUnsound where /proc does not tell it."""
    with disk_errors("the boot id"):
        return _BOOT_ID.read_text(encoding="ascii").strip()


def _recorded(bundle: SigstoreBundle, statement: Statement) -> Recorded:
    body = parse_note(bundle.entry.checkpoint).text
    leaf = leaf_hash(bundle.entry.body)
    return Recorded(
        log_index=bundle.entry.log_index,
        statement_id=bundle.envelope.statement_id,
        subject_sha256=statement.subject_sha256,
        predicate=read_predicate(statement),
        leaf_hash=leaf,
        checkpoint_note=bundle.entry.checkpoint,
        nonce=session_nonce(leaf, body),
    )


def _unix_now() -> int:
    return int(time.time())


def _unsound(code: str, observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code=code,
        observed=observed,
        expected=expected,
        hint="keep the folders log, statements and witness as they are and restore them together from one backup",
    )
