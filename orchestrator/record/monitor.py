"""Watch a log: what somebody else signed with a runner's key, which campaigns there are, and whether the log forks.

The list:
1. Every entry under a runner's key is in that runner's own statements. One that is not was made by somebody else who
   holds the key: FOREIGN_ENTRY, and the key is to be revoked at the last entry that is the runner's.
2. The plans of each vendor and model are numbered from 1 on without a gap, and each names the one before it: a second
   plan that nobody shows leaves a hole (PLAN_MISSING, PLAN_TWICE, PLAN_CHAIN).
3. Two copies of one log are beginnings of one another: two roots at one size are a FORK, and so is a larger tree that
   does not begin with the smaller. A copy is also held against what this monitor saw before.
4. Each copy's entries give the root that the log signed for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.disk import disk_errors, write_atomic
from orchestrator.record.audit import PENDING, STATEMENTS, Audit, pending_id, read_statements, recorded_of
from orchestrator.record.log_copy import Finding, KeptNote, LogCopy, Recomputed, check_note
from orchestrator.record.sequence import Recorded
from orchestrator.record.trust import TRUST, read_trust
from protocol.attestation.digest import is_sha256_hex
from protocol.attestation.jcs import loads
from protocol.attestation.predicates import CampaignPlan, CampaignResult
from protocol.errors import JoulesealError, RecordUnsound, Unverifiable, UsageError, VerificationError
from protocol.tlog.leaf import parse_leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignSeen:
    """One campaign of a vendor and model: its place in their count, its plan, and how it ended (or `open`)."""

    vendor: str
    model: str
    vendor_seq: int
    plan_id: str
    log_index: int
    status: str

    def as_dict(self) -> dict[str, object]:
        """Return the campaign for a `--json` screen."""
        return {
            "vendor": self.vendor,
            "model": self.model,
            "vendorSeq": self.vendor_seq,
            "plan": self.plan_id,
            "logIndex": self.log_index,
            "status": self.status,
        }


@dataclass(slots=True, kw_only=True)
class Watched:
    """What one look found; `notes` are the signed notes that a FORK finding stands on."""

    size: int = 0
    root: bytes = b""
    campaigns: list[CampaignSeen] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[bytes] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.wrong for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is watched: a log, another copy of it, whose keys, and the folders in which their owner keeps statements."""

    copy: LogCopy
    against: LogCopy | None
    statements: tuple[Path, ...]
    keys: frozenset[str]
    state: Path | None


def default_keys(copy: LogCopy) -> frozenset[str]:
    """Return the ids of the runners' keys in the keyring beside the log; VerificationError where it is false."""
    if copy.home is None or not (copy.home / TRUST).is_dir():
        return frozenset()
    return frozenset(item.key.key_id for item in read_trust(copy.home / TRUST).keyring.in_role("runner"))


def look(watch: Watch) -> Watched:
    """Look once, and remember the log's head in the state file unless the log is wrong."""
    seen = Watched()
    head = _head(watch.copy, "log/checkpoint", seen)
    before = _remembered(watch)
    other_note = None if watch.against is None else _head(watch.against, "the other copy", seen)
    sizes = {note.checkpoint.size for note in (head, other_note, before) if note is not None}
    entries = _Entries()
    found = watch.copy.recompute(sizes, tiles=False, leaf=entries)
    seen.size, seen.root = found.size, found.root
    seen.findings += [*found.findings, *entries.findings]
    _check_heads([head, before], found, seen)
    if watch.against is not None:
        other = watch.against.recompute(sizes, tiles=False)
        seen.findings += other.findings
        _check_heads([other_note], other, seen)
        _check_copies(head, found, other_note, other, seen)
    _check_owner(watch, entries, seen)
    _check_campaigns(watch, seen)
    if watch.state is not None and head is not None and seen.sound:
        write_atomic(watch.state, json.dumps({"note": head.data.decode("utf-8")}).encode())
    return seen


class _Entries:
    """The statements and keys of the entries, as the log is read."""

    def __init__(self) -> None:
        self.by_key: dict[str, list[tuple[int, str]]] = {}
        self.findings: list[Finding] = []

    def __call__(self, index: int, entry: bytes) -> None:
        try:
            leaf = parse_leaf(entry)
        except JoulesealError as error:
            self.findings.append(Finding(code="ENTRY_FALSE", where=f"entry {index}", observed=str(error.observed)))
            return
        self.by_key.setdefault(leaf.key.key_id, []).append((index, leaf.pae_sha256.hex()))


def _head(copy: LogCopy, where: str, seen: Watched) -> KeptNote | None:
    try:
        return copy.note(copy.folder / "checkpoint", where)
    except VerificationError as error:
        seen.findings.append(Finding(code="NOTE_FALSE", where=where, observed=f"{error.code}: {error.observed}"))
        return None


def _remembered(watch: Watch) -> KeptNote | None:
    """Return the head that this monitor saw last; RecordUnsound MONITOR_STATE for a file that is not its own."""
    if watch.state is None or not watch.state.is_file():
        return None
    with disk_errors(watch.state.name):
        data = watch.state.read_bytes()
    try:
        found = loads(data)
        note = found["note"].encode() if isinstance(found, dict) and isinstance(found.get("note"), str) else b""
        return watch.copy.read_note(note, "what was seen before")
    except VerificationError as error:
        raise RecordUnsound(
            code="MONITOR_STATE",
            observed=f"{watch.state.name}: {error.observed}",
            expected="what this monitor wrote about this log",
            hint="name the state file of this log; keep the old one, it may be evidence",
        ) from error


def _check_heads(notes: Sequence[KeptNote | None], found: Recomputed, seen: Watched) -> None:
    for note in notes:
        finding = None if note is None else check_note(note, found)
        if note is not None and finding is not None:
            seen.findings.append(finding)
            seen.notes.append(note.data)


def _check_copies(
    head: KeptNote | None, found: Recomputed, other_note: KeptNote | None, other: Recomputed, seen: Watched
) -> None:
    """Hold two copies against each other at the largest size that both have a signed note or all entries for."""
    for note, entries, where in ((head, other, "the other copy"), (other_note, found, "this copy")):
        if note is None or note.checkpoint.size > entries.size:
            continue
        if entries.roots[note.checkpoint.size] != note.checkpoint.root:
            observed = f"{where} has another tree of {note.checkpoint.size} entries than {note.where} signs"
            seen.findings.append(Finding(code="FORK", where=where, observed=observed))
            seen.notes += [each.data for each in (head, other_note) if each is not None]
            return


def _check_owner(watch: Watch, entries: _Entries, seen: Watched) -> None:
    if not watch.keys:
        observed = "no runner's key is known: add --key, or name a domain's folder"
        seen.findings.append(Finding(code="NOT_CHECKED", where="keys", observed=observed, wrong=False))
        return
    if not watch.statements:
        observed = "no statements of the runner's own: add --statements"
        seen.findings.append(Finding(code="NOT_CHECKED", where="statements", observed=observed, wrong=False))
        return
    own = set(_own_ids(watch.statements))
    for key in sorted(watch.keys):
        mine = [index for index, statement in entries.by_key.get(key, ()) if statement in own]
        last = f"its own last entry is {max(mine)}" if mine else "it made none"
        for index, statement in entries.by_key.get(key, ()):
            if statement not in own:
                observed = f"statement {statement[:16]} under key {key[:16]}, which the runner did not make; {last}"
                seen.findings.append(Finding(code="FOREIGN_ENTRY", where=f"entry {index}", observed=observed))


def _own_ids(folders: Sequence[Path]) -> Iterator[str]:
    """Yield the ids of the statements that the runner keeps; first the one that it is about to log, then the files."""
    yield from (pending for folder in folders if (pending := pending_id(folder / PENDING)) is not None)
    for folder in folders:
        for _, bundle in read_statements(folder, Audit()):
            yield bundle.envelope.statement_id


def _check_campaigns(watch: Watch, seen: Watched) -> None:
    history = list(_history(watch, seen))
    said_last = [item.predicate for item in history if isinstance(item.predicate, CampaignResult)]
    results = {result.campaign: result for result in said_last}
    chains: dict[tuple[str, str], list[tuple[Recorded, CampaignPlan]]] = {}
    for item in history:
        if isinstance(item.predicate, CampaignPlan):
            said = item.predicate.submission
            chains.setdefault((said.vendor, said.model), []).append((item, item.predicate))
    for (vendor, model), plans in sorted(chains.items()):
        _check_chain(f"{vendor}/{model}", plans, seen)
        for item, plan in plans:
            result = results.get(item.statement_id)
            status = "open" if result is None else result.status
            seen.campaigns.append(
                CampaignSeen(
                    vendor=vendor,
                    model=model,
                    vendor_seq=plan.vendor_seq,
                    plan_id=item.statement_id,
                    log_index=item.log_index,
                    status=status,
                )
            )


def _history(watch: Watch, seen: Watched) -> Iterator[Recorded]:
    """Return what the statements say, in log order, each once."""
    found: dict[str, Recorded] = {}
    notes = Audit()
    for folder in watch.statements:
        for name, bundle in read_statements(folder, notes):
            try:
                item = recorded_of(bundle)
            except (VerificationError, Unverifiable) as error:
                notes.add("STATEMENT_FALSE", name, f"{error.code}: {error.observed}")
                continue
            found[item.statement_id] = item
    seen.findings += notes.findings
    yield from sorted(found.values(), key=lambda item: item.log_index)


def _check_chain(name: str, plans: Sequence[tuple[Recorded, CampaignPlan]], seen: Watched) -> None:
    numbers = [plan.vendor_seq for _, plan in plans]
    by_number = {plan.vendor_seq: item.statement_id for item, plan in plans}
    for missing in sorted(set(range(1, max(numbers) + 1)) - set(numbers)):
        observed = f"campaign {missing} of {max(numbers)} is not shown"
        seen.findings.append(Finding(code="PLAN_MISSING", where=name, observed=observed))
    for twice in sorted({number for number in numbers if numbers.count(number) > 1}):
        observed = f"{numbers.count(twice)} plans call themselves campaign {twice}"
        seen.findings.append(Finding(code="PLAN_TWICE", where=name, observed=observed))
    for item, plan in plans:
        before = by_number.get(plan.vendor_seq - 1)
        if (plan.vendor_seq == 1) != (plan.prev_plan is None) or (before is not None and plan.prev_plan != before):
            observed = f"campaign {plan.vendor_seq} (entry {item.log_index}) names another plan before it"
            seen.findings.append(Finding(code="PLAN_CHAIN", where=name, observed=observed))


def watch_of(
    copy: LogCopy,
    *,
    against: LogCopy | None,
    statements: Sequence[Path],
    keys: Sequence[str],
    state: Path | None,
) -> Watch:
    """Return what to watch, from the log's own domain where nothing else was named; UsageError BAD_KEY_ID."""
    for key in keys:
        if not is_sha256_hex(key):
            raise UsageError(
                code="BAD_KEY_ID",
                observed=repr(key[:80]),
                expected="the 64 hexadecimal digits of a key id",
                hint="`jouleseal keys show` prints it",
            )
    folders = tuple(statements)
    if not folders and copy.home is not None:
        folders = tuple(path for path in (copy.home / STATEMENTS,) if path.is_dir())
    return Watch(
        copy=copy,
        against=against,
        statements=folders,
        keys=frozenset(keys) or default_keys(copy),
        state=state,
    )
