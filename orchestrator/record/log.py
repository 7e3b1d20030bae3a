"""The log and its single writer: entries become tiles, tiles a root, and a root a signed and witnessed checkpoint.

Life of a leaf:
1. The writer holds an exclusive lock on the log for as long as it is open; a second writer is refused.
2. An entry is written into its entry bundle first, then the hash tiles over it, each file whole or not at all.
3. A checkpoint is signed, and its note is in the journal, on the disk, before anybody sees it.
4. The witnesses cosign: the domain's own from its folder, the others over their URLs, until the policy's quorum is
   there. The note with their lines becomes `log/checkpoint`. Without the quorum nothing is released: RecordUnsound
   NO_QUORUM, the note stays in the journal, and the next opening asks for it again.
5. At opening the root is recomputed from the entries. If the journal, the checkpoint or a tile says otherwise, nothing
   is signed: RecordUnsound. Whatever a crash left undone after step 2 is done again and gives the same bytes.

Ed25519 gives one signature for one text, and entries below a signed size never change, so there are never two notes of
one size with different roots. After an error the writer is closed; opening it again is the recovery.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.disk import disk_errors, make_folder, write_atomic
from orchestrator.record.domain import Domain
from orchestrator.record.witness import LocalWitness
from orchestrator.record.witness_client import Collected, Growth, Missing, RemoteWitness, collect
from protocol.errors import RecordUnsound, VerificationError
from protocol.tlog.checkpoint import Checkpoint, parse_checkpoint
from protocol.tlog.entry import SeenCheckpoint, open_checkpoint
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.note import Note, NoteSignature, parse_note, verify_note
from protocol.tlog.tiles import (
    ENTRIES,
    TILE_WIDTH,
    TileRef,
    encode_entries,
    parse_entries,
    parse_tile_path,
    tile_at,
    tile_bytes,
)

_LOCK = ".lock"
_JOURNAL = "journal"
_CHECKPOINT = "checkpoint"
_LEVELS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where an entry stands: its index and its RFC 6962 leaf hash (32 bytes)."""

    index: int
    leaf_hash: bytes


class LogWriter:
    """The one writer of a domain's log; a context manager that holds the lock."""

    def __init__(self, domain: Domain, witness: LocalWitness, remotes: Sequence[RemoteWitness] = ()) -> None:
        self._folder = domain.home / "log"
        self._policy = domain.policy
        self._signer = domain.log_signer
        self._witness = witness
        self._remotes = tuple(remotes)
        self.missing: tuple[Missing, ...] = ()  # who did not cosign the last checkpoint
        self._lock: int | None = None
        self._tree = Tree()
        self._entries: list[bytes] = []
        self._places: dict[bytes, int] = {}

    def __enter__(self) -> Self:
        self._lock = _take_lock(self._folder)
        self._tree, self._entries, self._places = Tree(), [], {}
        try:
            self._recover()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give up the lock; the writer refuses everything from here on."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def size(self) -> int:
        """The number of entries."""
        return len(self._entries)

    @property
    def entries(self) -> Sequence[bytes]:
        """The entries in order."""
        return tuple(self._entries)

    def append(self, entry: bytes) -> Placed:
        """Add an entry and return its place; the same statement again is at the place that it has.

        A statement is the digest of its PAE: a second signature over it does not make a second entry.
        """
        with self._guarded():
            identity = parse_leaf(entry).pae_sha256
            if identity not in self._places:
                index = self.size
                self._write_entries([*self._entries, entry], index // TILE_WIDTH)
                self._adopt(entry, identity)
                self._write_tiles(index)
            return Placed(index=self._places[identity], leaf_hash=leaf_hash(self._entries[self._places[identity]]))

    def checkpoint(self) -> SeenCheckpoint:
        """Sign, journal, cosign and publish a checkpoint over all entries; the one there is if nothing was added.

        RecordUnsound NO_QUORUM names every witness that is missing, and why.
        """
        with self._guarded():
            current = self.published()
            if current is not None and current.checkpoint.size == self.size and current.has_quorum(self._policy):
                return current
            return self._release(self._sign(), {}, ask_all=False)

    def refresh(self, offline: bytes | None = None) -> SeenCheckpoint:
        """Ask every witness again about the checkpoint over all entries, and publish the lines that were missing.

        `offline` is the same checkpoint's note with lines that witnesses without a connection added. A line that is
        there already stays: it is the earlier time. RecordUnsound NO_QUORUM, OTHER_CHECKPOINT.
        """
        with self._guarded():
            note, current = self._sign(), self.published()
            given = self._lines_of(note, offline)
            if current is not None and current.note.text == note.text:
                given |= self._lines_of(note, current.note.to_bytes())
            return self._release(note, given, ask_all=True)

    def _sign(self) -> Note:
        """Return the note over all entries, which is in the journal when it is returned."""
        log = self._policy.log
        text = Checkpoint(origin=log.name, size=self.size, root=self._tree.root()).to_body()
        note = Note(text=text, signatures=(log.sign(text, self._signer),))
        write_atomic(self._folder / _JOURNAL, note.to_bytes())
        return note

    def _release(self, note: Note, given: Mapping[str, NoteSignature], *, ask_all: bool) -> SeenCheckpoint:
        """Publish the note with its quorum's lines, in the policy's order; RecordUnsound NO_QUORUM without one."""
        lines = {**self._own_line(note), **given}
        asked = self._asked(note, lines.keys(), ask_all=ask_all)
        lines = {**asked.lines, **lines}
        self._name(tuple(item for item in asked.missing if item.name not in lines))
        if not self._policy.satisfied_by({line.key_id for line in lines.values()}):
            raise _no_quorum(self._policy.witnesses.keys() - lines.keys(), self.missing)
        ordered = tuple(lines[name] for name in self._policy.witnesses if name in lines)
        cosigned = Note(text=note.text, signatures=(*note.signatures, *ordered))
        write_atomic(self._folder / _CHECKPOINT, cosigned.to_bytes())
        self._drop_old_tiles()
        return open_checkpoint(cosigned.to_bytes(), self._policy)

    def _name(self, missing: tuple[Missing, ...]) -> None:
        """Say who did not cosign, once for as long as nothing changes."""
        known = {(item.name, item.code) for item in self.missing}
        for item in missing:
            if (item.name, item.code) not in known:
                print(f"jouleseal: a witness did not cosign: {item}", file=sys.stderr)
        self.missing = missing

    def _asked(self, note: Note, have: AbstractSet[str], *, ask_all: bool) -> Collected:
        if not self._remotes:
            return Collected(lines={}, missing=())
        keys = {name: key.key_id for name, key in self._policy.witnesses.items()}

        def enough(names: AbstractSet[str]) -> bool:
            return not ask_all and self._policy.satisfied_by({keys[name] for name in names | have})

        growth = Growth(note=note, size=self.size, proof=lambda old: self._tree.consistency(old, self.size))
        before = self.published()
        guesses = {} if before is None else dict.fromkeys(keys, before.checkpoint.size)
        return collect(self._remotes, growth, guesses=guesses, enough=enough, clock=self._witness.clock)

    def _lines_of(self, note: Note, given: bytes | None) -> dict[str, NoteSignature]:
        """Return the witnesses' lines of another copy of this note, each of which holds."""
        if given is None:
            return {}
        other = parse_note(given)
        if other.text != note.text:
            raise _unsound("OTHER_CHECKPOINT", "a note of another checkpoint", f"the one of {self.size} entries")
        witnesses = self._policy.witnesses
        held = {line.key_id for line in verify_note(other, list(witnesses.values()))}
        lines = {(line.name, line.key_id): line for line in reversed(other.signatures)}
        return {n: lines[key.name, key.key_id] for n, key in witnesses.items() if key.key_id in held}

    def published(self) -> SeenCheckpoint | None:
        """Return the checkpoint that was published last; None before the first."""
        path = self._folder / _CHECKPOINT
        with disk_errors("log/checkpoint"):
            data = path.read_bytes() if path.exists() else None
        return None if data is None else open_checkpoint(data, self._policy)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the proof that the entry is in the tree of the first `size` entries."""
        return tuple(self._tree.inclusion(index, size))

    def _own_line(self, note: Note) -> dict[str, NoteSignature]:
        """Return the line of the domain's own witness, by its name in the policy."""
        before = self._witness.remembered()
        old_size = 0 if before is None else before.size
        if old_size > self.size:
            raise _unsound("LOG_ROLLED_BACK", f"{self.size} entries", f"the {old_size} that the witness has seen")
        proof = self._tree.consistency(old_size, self.size) if 0 < old_size < self.size else []
        line = self._witness.cosign(old_size, proof, note.to_bytes())
        own = self._witness.key.key_id
        return {name: line for name, key in self._policy.witnesses.items() if key.key_id == own}

    def _adopt(self, entry: bytes, identity: bytes) -> None:
        self._places[identity] = self.size
        self._entries.append(entry)
        self._tree.append(leaf_hash(entry))

    def _write_entries(self, entries: Sequence[bytes], number: int) -> None:
        ref = tile_at(ENTRIES, number, len(entries))
        if ref is not None:
            part = entries[number * TILE_WIDTH : number * TILE_WIDTH + ref.width]
            self._write(ref, encode_entries(part))

    def _write_tiles(self, index: int) -> None:
        """Write the hash tiles that hold a complete subtree ending at this entry."""
        for level in range(_LEVELS):
            span = TILE_WIDTH**level
            if (index + 1) % span:
                return
            ref = tile_at(level, ((index + 1) // span - 1) // TILE_WIDTH, index + 1)
            if ref is not None:
                self._write(ref, tile_bytes(self._tree, ref))

    def _write(self, ref: TileRef, data: bytes) -> None:
        path = self._folder / ref.to_path()
        make_folder(path.parent)
        write_atomic(path, data)

    def _recover(self) -> None:
        """Read the entries, rebuild the tree, complete the tiles, and hold everything signed against it."""
        try:
            for entry in _stored_entries(self._folder):
                self._adopt(entry, parse_leaf(entry).pae_sha256)
            if len(self._places) != self.size:
                raise _unsound("LOG_CORRUPT", "one statement twice in the log", "each statement once")
            for name in (_JOURNAL, _CHECKPOINT):
                self._check_signed(name)
            self._complete_tiles()
        except VerificationError as error:
            raise _unsound("LOG_CORRUPT", str(error), "the log as it was written") from error

    def _check_signed(self, name: str) -> None:
        path = self._folder / name
        with disk_errors(f"log/{name}"):
            if not path.exists():
                return
            note = parse_note(path.read_bytes())
        if not verify_note(note, [self._policy.log]):
            raise _unsound("LOG_CORRUPT", f"log/{name} without our signature", "a note that this log signed")
        signed = parse_checkpoint(note.text)
        if signed.size > self.size:
            raise _unsound("LOG_ROLLED_BACK", f"{self.size} entries", f"the {signed.size} that log/{name} signs")
        if self._tree.root(signed.size) != signed.root:
            raise _unsound("LOG_CORRUPT", f"entries that do not give the root of log/{name}", "the signed root")

    def _complete_tiles(self) -> None:
        for ref in _all_tiles(self.size):
            path = self._folder / ref.to_path()
            data = tile_bytes(self._tree, ref)
            with disk_errors(ref.to_path()):
                present = path.read_bytes() if path.exists() else None
            if present is None:
                self._write(ref, data)
            elif present != data:
                raise _unsound("LOG_CORRUPT", f"{ref.to_path()} is not what the entries give", "the tile as written")

    def _drop_old_tiles(self) -> None:
        """Remove partial tiles that wider ones have replaced, once a checkpoint over the wider ones is out."""
        with disk_errors("log/tile"):
            for ref in _present_tiles(self._folder):
                if ref.width < TILE_WIDTH and tile_at(ref.level, ref.number, self.size) != ref:
                    (self._folder / ref.to_path()).unlink()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        if self._lock is None:
            raise _unsound("LOG_CLOSED", "a writer that was closed or had failed", "an open writer")
        try:
            yield
        except BaseException:
            self.close()
            raise


def read_entries(folder: Path) -> list[bytes]:
    """Return the entries of the log in a folder, without the lock; RecordUnsound LOG_CORRUPT where they do not fit."""
    return _stored_entries(folder)


def _take_lock(folder: Path) -> int:
    make_folder(folder)
    with disk_errors("log/.lock"):
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise _unsound("LOG_BUSY", "another process writes this log", "one writer at a time") from error
    return descriptor


def _stored_entries(folder: Path) -> list[bytes]:
    """Return the entries: every full bundle, and the widest partial one of each number that has no full one."""
    widest: dict[int, TileRef] = {}
    for ref in _present_tiles(folder):
        if ref.level == ENTRIES and ref.width > getattr(widest.get(ref.number), "width", 0):
            widest[ref.number] = ref
    entries: list[bytes] = []
    for number in sorted(widest):
        if number * TILE_WIDTH != len(entries):
            raise _unsound("LOG_CORRUPT", f"no entries before bundle {number}", "all bundles from the first on")
        with disk_errors(widest[number].to_path()):
            data = (folder / widest[number].to_path()).read_bytes()
        entries += parse_entries(data, widest[number].width)
    return entries


def _present_tiles(folder: Path) -> list[TileRef]:
    top = folder / "tile"
    if not top.is_dir():
        return []
    paths = (path.relative_to(folder).as_posix() for path in top.rglob("*") if path.is_file())
    return [parse_tile_path(path) for path in paths if not path.endswith(".part")]


def _all_tiles(size: int) -> Iterator[TileRef]:
    for level in range(_LEVELS):
        number = 0
        while (ref := tile_at(level, number, size)) is not None:
            yield ref
            number += 1


def _no_quorum(absent: AbstractSet[str], missing: Sequence[Missing]) -> RecordUnsound:
    named = {item.name: str(item) for item in missing}
    words = [named.get(name, f"{name}: no URL is known to ask it at") for name in sorted(absent)]
    return RecordUnsound(
        code="NO_QUORUM",
        observed="; ".join(words)[:1000] or "no witness of the policy cosigned",
        expected="the quorum of witnesses that trust/policy.txt asks for",
        hint="nothing was released; see that the witnesses run, then run the same command again: it goes on from here",
    )


def _unsound(code: str, observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code=code,
        observed=observed,
        expected=expected,
        hint="if another command is running, wait for it; else restore log/ from a backup and open it again",
    )
