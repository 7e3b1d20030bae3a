"""Audit a log whole: every byte that can be recomputed is, and everything that does not fit is named.

The list:
1. Trust: the roots form a chain, the keyring is signed by their threshold, the policy is the keyring's.
2. Log: the entries are whole from the first on, each is a leaf, no statement is in it twice, every hash tile is what
   the entries give.
3. Checkpoints: every kept note (published, journal, the witness's memory, one in every statement, and any that the
   auditor brings) is signed by the log and has the root that the entries give at its size; the published one has its
   quorum. Two notes of one size with two roots are a fork, whoever kept them.
4. Statements: each file's signature is by an enrolled key, it is in the log at its index, and it is strict. Every entry
   under a runner's key is opened by a file; what other keys signed is said to be not checked.
5. Chain: the statements of each key follow one another without a gap. What is open or pending is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.disk import disk_errors
from orchestrator.record.beside import BESIDE
from orchestrator.record.log_copy import CHECKPOINT, JOURNAL, Finding, KeptNote, LogCopy, Recomputed, check_note
from orchestrator.record.sequence import Recorded, open_campaigns, open_intents
from orchestrator.record.trust import KEY_EVENTS, PENDING_EVENT, TRUST, read_trust
from protocol.attestation.beside import SPEAKERS, open_beside
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, read_envelope
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import loads_canonical
from protocol.attestation.key_event import KEY_EVENT, parse_key_statement
from protocol.attestation.keyring import Keyring
from protocol.attestation.keys import PublicKey
from protocol.attestation.nonce import session_nonce
from protocol.attestation.predicates import read_predicate
from protocol.attestation.root import TARGETS_ROLE, Root
from protocol.attestation.sigstore_bundle import LogEntry, SigstoreBundle, parse_sigstore_bundle
from protocol.attestation.statement import parse_statement
from protocol.errors import JoulesealError, RecordUnsound, Unverifiable, VerificationError
from protocol.tlog.entry import check_entry, open_checkpoint
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.merkle import leaf_hash
from protocol.tlog.note import parse_note
from protocol.tlog.policy import Policy

STATEMENTS = "statements"
PENDING = "pending.json"
_SUFFIX = ".sigstore.json"
_WITNESS_NOTE = "witness/checkpoint"
_PUBLISHED = "log/checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A statement file that was read: its name, its bundle, its key, and what a runner says (None for others)."""

    name: str
    bundle: SigstoreBundle
    key: PublicKey
    recorded: Recorded | None


@dataclass(slots=True, kw_only=True)
class Audit:
    """What an audit found; `checked` counts what was looked at, by name."""

    findings: list[Finding] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    size: int = 0
    root: bytes = b""
    statements: list[Opened] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.wrong for finding in self.findings)

    def add(self, code: str, where: str, observed: str, *, wrong: bool = True) -> None:
        """Add a finding."""
        self.findings.append(Finding(code=code, where=where, observed=observed[:300], wrong=wrong))


def audit(copy: LogCopy, others: Sequence[Path] = ()) -> Audit:
    """Audit a log, and a domain's statements where they are beside it; `others` are notes that were kept elsewhere."""
    done = Audit()
    keyring, root = _trust(copy, done)
    # In this order, so that a log that grows meanwhile looks whole: the head, what is pending, the files, the entries.
    notes = _notes(copy, others, done)
    pending = set(_pending_ids(copy.home, done))
    bundles = list(_bundles(copy.home, done))
    notes += _statement_notes(copy, bundles, done)
    leaves: list[tuple[bytes, PublicKey] | None] = []
    found = copy.recompute({note.checkpoint.size for note in notes}, leaf=_LeafReader(leaves, done))
    done.findings += found.findings
    done.size, done.root = found.size, found.root
    _check_notes(copy, notes, found, done)
    ground = _Ground(policy=copy.policy, found=found, keyring=keyring, root=root)
    for name, bundle in bundles:
        _check_statement(name, bundle, ground, done)
    published = max((note.checkpoint.size for note in notes if note.where == _PUBLISHED), default=0)
    _check_opened(leaves[:published], pending, keyring, done)
    _check_chains(done)
    _check_open(done)
    done.checked = {
        "entries": found.size,
        "checkpoints": len(notes),
        "statements": len(bundles),
        "signatures": len(done.statements),
    }
    return done


def kept_notes(copy: LogCopy) -> list[KeptNote]:
    """Return every note of this log that stands in its domain: signed, and believed for nothing else."""
    unread = Audit()
    notes = list(_statement_notes(copy, list(_bundles(copy.home, unread)), unread))
    return [*notes, *_notes(copy, (), unread)]


def read_statements(folder: Path, findings: Audit) -> Iterator[tuple[str, SigstoreBundle]]:
    """Yield the statement files of a folder by name; one that cannot be read is a finding STATEMENT_FALSE."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            with disk_errors(path.name):
                yield path.name, parse_sigstore_bundle(path.read_bytes())
        except (VerificationError, Unverifiable) as error:
            findings.add("STATEMENT_FALSE", path.name, f"{error.code}: {error.observed}")


def pending_id(path: Path) -> str | None:
    """Return the id of a statement that was signed and is about to be logged; None where there is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    fields = Fields(loads_canonical(data), path.name)
    return read_envelope(fields, payload_type=IN_TOTO_PAYLOAD_TYPE).statement_id


def recorded_of(bundle: SigstoreBundle) -> Recorded:
    """Return what a statement says and where it stands; VerificationError or Unverifiable where it is not strict."""
    statement = parse_statement(bundle.envelope.payload)
    leaf = leaf_hash(bundle.entry.body)
    return Recorded(
        log_index=bundle.entry.log_index,
        statement_id=bundle.envelope.statement_id,
        subject_sha256=statement.subject_sha256,
        predicate=read_predicate(statement),
        leaf_hash=leaf,
        checkpoint_note=bundle.entry.checkpoint,
        nonce=session_nonce(leaf, parse_note(bundle.entry.checkpoint).text),
    )


def _trust(copy: LogCopy, done: Audit) -> tuple[Keyring | None, Root | None]:
    if copy.home is None or not (copy.home / TRUST).is_dir():
        done.add("NO_KEYRING", "trust", "no trust folder: no statement's signer was checked", wrong=False)
        return None, None
    try:
        trust = read_trust(copy.home / TRUST)
    except (VerificationError, Unverifiable, RecordUnsound) as error:
        done.add("TRUST_FALSE", "trust", f"{error.code}: {error.observed}")
        return None, None
    return trust.keyring, trust.root


def _bundles(home: Path | None, done: Audit) -> Iterator[tuple[str, SigstoreBundle]]:
    if home is not None:
        yield from read_statements(home / STATEMENTS, done)
        yield from read_statements(home / KEY_EVENTS, done)
        yield from read_statements(home / BESIDE, done)


def _notes(copy: LogCopy, others: Sequence[Path], done: Audit) -> list[KeptNote]:
    places = [(copy.folder / CHECKPOINT, _PUBLISHED), (copy.folder / JOURNAL, "log/journal")]
    if copy.home is not None:
        places.append((copy.home / _WITNESS_NOTE, _WITNESS_NOTE))
    places += [(path, str(path)) for path in others]
    notes = []
    for path, where in places:
        try:
            note = copy.note(path, where)
        except VerificationError as error:
            done.add("NOTE_FALSE", where, f"{error.code}: {error.observed}")
            continue
        if note is not None:
            notes.append(note)
    return notes


def _statement_notes(copy: LogCopy, bundles: Sequence[tuple[str, SigstoreBundle]], done: Audit) -> Iterator[KeptNote]:
    for name, bundle in bundles:
        try:
            yield copy.read_note(bundle.entry.checkpoint, name)
        except VerificationError as error:
            done.add("NOTE_FALSE", name, f"{error.code}: {error.observed}")


def _pending_ids(home: Path | None, done: Audit) -> Iterator[bytes]:
    for folder, name in ((STATEMENTS, PENDING), (KEY_EVENTS, PENDING_EVENT)):
        where = f"{folder}/{name}"
        try:
            found = None if home is None else pending_id(home / folder / name)
        except (VerificationError, Unverifiable) as error:
            done.add("STATEMENT_FALSE", where, f"{error.code}: {error.observed}")
            continue
        if found is not None:
            done.add("PENDING", where, "the next start logs it and asks for its quorum", wrong=False)
            yield bytes.fromhex(found)


class _LeafReader:
    """Reads each entry as a leaf, and knows which statements were seen."""

    def __init__(self, leaves: list[tuple[bytes, PublicKey] | None], done: Audit) -> None:
        self._leaves, self._done = leaves, done
        self._seen: dict[bytes, int] = {}

    def __call__(self, index: int, entry: bytes) -> None:
        try:
            leaf = parse_leaf(entry)
        except JoulesealError as error:
            self._done.add("ENTRY_FALSE", f"entry {index}", f"{error.code}: {error.observed}")
            self._leaves.append(None)
            return
        first = self._seen.setdefault(leaf.pae_sha256, index)
        if first != index:
            self._done.add("ENTRY_TWICE", f"entry {index}", f"the statement of entry {first} again")
        self._leaves.append((leaf.pae_sha256, leaf.key))


def _check_notes(copy: LogCopy, notes: Sequence[KeptNote], found: Recomputed, done: Audit) -> None:
    for note in notes:
        finding = check_note(note, found)
        if finding is not None:
            done.findings.append(finding)
        if note.where == _PUBLISHED and not open_checkpoint(note.data, copy.policy).has_quorum(copy.policy):
            done.add("NO_QUORUM", note.where, "fewer cosignatures than the policy asks for")
    published = max((note.checkpoint.size for note in notes if note.where == _PUBLISHED), default=0)
    if found.size > published:
        observed = f"{found.size - published} entries are not covered by the published checkpoint"
        done.add("NOT_PUBLISHED", _PUBLISHED, observed, wrong=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What a statement is held against."""

    policy: Policy
    found: Recomputed
    keyring: Keyring | None
    root: Root | None

    def has(self, entry: LogEntry) -> bool:
        """Tell whether the log has this entry at its index."""
        hashes = self.found.hashes
        return entry.log_index < len(hashes) and hashes[entry.log_index] == leaf_hash(entry.body)

    def may_sign(self, key: PublicKey, kind: str) -> bool:
        """Tell whether the key is enrolled in the role that says this, or may speak of keys; yes if unknown."""
        if self.keyring is None or self.root is None:
            return True
        if kind == KEY_EVENT:
            return key.key_id in self.root.role_keys(TARGETS_ROLE)
        enrolled = self.keyring.find(key.key_id)
        return enrolled is not None and enrolled.role == SPEAKERS.get(kind, "runner")


def _check_statement(name: str, bundle: SigstoreBundle, ground: _Ground, done: Audit) -> None:
    entry, kind = bundle.entry, name.partition("-")[2].removesuffix(_SUFFIX)
    recorded = None
    try:
        key = parse_leaf(entry.body).key
        bundle.envelope.verify(key)
        check_entry(bundle.envelope, key, entry, ground.policy)
        if kind == KEY_EVENT:
            parse_key_statement(bundle.envelope.payload)
        elif kind in SPEAKERS:
            open_beside(bundle.envelope)
        else:
            recorded = recorded_of(bundle)
    except (VerificationError, Unverifiable) as error:
        done.add("STATEMENT_FALSE", name, f"{error.code}: {error.observed}")
        return
    if not name.startswith(f"{entry.log_index:08d}-"):
        done.add("STATEMENT_MISPLACED", name, f"the statement of entry {entry.log_index}")
    if not ground.has(entry):
        done.add("NOT_LOGGED", name, f"entry {entry.log_index} of the log is another one")
    if not ground.may_sign(key, kind):
        done.add("KEY_UNKNOWN", name, f"signed by {key.key_id[:16]}, which is enrolled for no such statement")
    done.statements.append(Opened(name=name, bundle=bundle, key=key, recorded=recorded))


def _check_opened(
    leaves: Sequence[tuple[bytes, PublicKey] | None], pending: set[bytes], keyring: Keyring | None, done: Audit
) -> None:
    opened = pending | {bytes.fromhex(item.bundle.envelope.statement_id) for item in done.statements}
    runners = {item.key for item in keyring.in_role("runner")} if keyring is not None else set()
    unopened = 0
    for index, leaf in enumerate(leaves):
        if leaf is None or leaf[0] in opened:
            continue
        if leaf[1] in runners:
            observed = f"under the runner's key {leaf[1].key_id[:16]}, and no statement file opens it"
            done.add("STATEMENT_MISSING", f"entry {index}", observed)
        else:
            unopened += 1
    if unopened:
        observed = f"{unopened} entries are opened by no statement here: their signatures were not checked"
        done.add("NOT_CHECKED", "log", observed, wrong=False)


def _check_chains(done: Audit) -> None:
    last: dict[str, Recorded] = {}
    items = [item.recorded for item in done.statements if item.recorded is not None]
    for item in sorted(items, key=lambda item: item.log_index):
        link, before = item.predicate.runner, last.get(item.predicate.runner.key_id)
        expected = (1, None) if before is None else (before.predicate.runner.seq + 1, before.statement_id)
        if (link.seq, link.prev) != expected:
            observed = f"statement {link.seq} of key {link.key_id[:16]} where {expected[0]} should follow"
            done.add("CHAIN_BROKEN", f"entry {item.log_index}", observed)
        last[link.key_id] = item


def _check_open(done: Audit) -> None:
    history = sorted(
        (item.recorded for item in done.statements if item.recorded is not None), key=lambda item: item.log_index
    )
    for intent in open_intents(history):
        observed = f"the session {intent.intent.cell} has no outcome yet"
        done.add("OPEN_INTENT", f"entry {intent.recorded.log_index}", observed, wrong=False)
    for campaign in open_campaigns(history):
        observed = "the campaign has no result yet"
        done.add("OPEN_CAMPAIGN", f"entry {campaign.recorded.log_index}", observed, wrong=False)
