"""A log as anybody reads it: a folder of static files, its signed notes, and everything recomputed from the entries.

It takes no lock and no key, writes nothing, and works on a domain's folder, on a log's folder, or on a copy of either,
while the writer may be adding to it. Entries are read one bundle at a time, so that memory stays small however long the
log; what is wrong is a finding with a code and not an exception, because whoever audits wants to know all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.disk import disk_errors
from orchestrator.record.trust import POLICY_FILE, TRUST
from protocol.errors import UsageError, VerificationError
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.entry import open_checkpoint
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.policy import Policy, parse_policy
from protocol.tlog.proofs import InclusionText
from protocol.tlog.stream import TileStream
from protocol.tlog.tiles import ENTRIES, TILE_WIDTH, TileRef, parse_entries, parse_tile_path

CHECKPOINT = "checkpoint"
JOURNAL = "journal"
LOG = "log"

_ATTEMPTS = 5  # a partial bundle may be replaced by a wider one between its listing and its reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that an auditor should know: a stable code, where, and what; `wrong` where it must not be."""

    code: str
    where: str
    observed: str
    wrong: bool = True

    def as_dict(self) -> dict[str, object]:
        """Return the finding for a `--json` screen."""
        return {"code": self.code, "where": self.where, "observed": self.observed, "wrong": self.wrong}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptNote:
    """A signed note that stands somewhere: where, its bytes, and the checkpoint in it."""

    where: str
    data: bytes
    checkpoint: Checkpoint


@dataclass(slots=True, kw_only=True)
class Recomputed:
    """What the entries give: the number of them, their leaf hashes, and the roots at the sizes that were asked for."""

    size: int = 0
    root: bytes = b""
    hashes: list[bytes] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCopy:
    """A log's folder, the policy that says whose log it is, and the domain's folder where there is one."""

    folder: Path
    policy: Policy
    home: Path | None

    def head(self) -> KeptNote | None:
        """Return the published checkpoint, None before the first; VerificationError where it is not this log's."""
        return self.note(self.folder / CHECKPOINT)

    def note(self, path: Path, where: str | None = None) -> KeptNote | None:
        """Return the checkpoint in a file, None where there is no file; VerificationError as of `open_checkpoint`."""
        with disk_errors(path.name):
            data = path.read_bytes() if path.is_file() else None
        if data is None:
            return None
        return self.read_note(data, where or path.name)

    def read_note(self, data: bytes, where: str) -> KeptNote:
        """Return the checkpoint in a note; VerificationError as of `open_checkpoint`."""
        return KeptNote(where=where, data=data, checkpoint=open_checkpoint(data, self.policy).checkpoint)

    def entries(self) -> Iterator[bytes]:
        """Yield the entries in order; VerificationError BAD_TILE for a bundle that is not whole."""
        number = 0
        while (bundle := self._bundle(number)) is not None:
            yield from bundle
            if len(bundle) < TILE_WIDTH:
                return
            number += 1

    def recompute(
        self, sizes: AbstractSet[int], *, tiles: bool = True, leaf: Callable[[int, bytes], None] | None = None
    ) -> Recomputed:
        """Read everything and return what it gives; `leaf` is told each entry, `tiles` compares the hash tiles too."""
        found, stream = Recomputed(), TileStream()
        found.roots[0] = found.root = stream.root()
        try:
            for entry in self.entries():
                value = leaf_hash(entry)
                for ref, data in stream.append(value):
                    if tiles:
                        self._compare(ref, data, found)
                if leaf is not None:
                    leaf(len(found.hashes), entry)
                found.hashes.append(value)
                if stream.size in sizes:
                    found.roots[stream.size] = stream.root()
        except VerificationError as error:
            found.findings.append(Finding(code=error.code, where=f"entry {stream.size}", observed=error.observed))
        found.size, found.root = stream.size, stream.root()
        found.roots[found.size] = found.root
        if tiles:
            for ref, data in stream.edge():
                self._compare(ref, data, found)
            self._check_beyond(found)
        return found

    def inclusion_text(self, index: int) -> InclusionText:
        """Return the proof that the published log has an entry; UsageError NOT_IN_LOG for an index beyond it."""
        head = self.published()
        size = head.checkpoint.size
        if not 0 <= index < size:
            raise UsageError(
                code="NOT_IN_LOG",
                observed=f"entry {index}",
                expected=f"an entry below the {size} that are published",
                hint="name an index that the log has",
            )
        return InclusionText(index=index, proof=tuple(self.tree(size).inclusion(index, size)), note=head.data)

    def tree(self, size: int) -> Tree:
        """Return the tree over the first entries, to make proofs from; UsageError LOG_SHORT if they are not there."""
        tree = Tree(leaf_hash(entry) for _, entry in zip(range(size), self.entries(), strict=False))
        if tree.size < size:
            raise UsageError(
                code="LOG_SHORT",
                observed=f"{tree.size} entries",
                expected=f"{size}",
                hint="run `jouleseal log audit`, which says what is missing",
            )
        return tree

    def published(self) -> KeptNote:
        """Return the published checkpoint; UsageError NO_CHECKPOINT before the first."""
        head = self.head()
        if head is None:
            raise UsageError(
                code="NO_CHECKPOINT",
                observed=f"{self.folder.name} has no checkpoint",
                expected="a log that has published one",
                hint="run `jouleseal log checkpoint`, which signs one and has it cosigned",
            )
        return head

    def _bundle(self, number: int) -> list[bytes] | None:
        """Return a bundle at the greatest width that is there; None where there is none."""
        for _ in range(_ATTEMPTS):
            ref = self._widest(number)
            if ref is None:
                return None
            path = self.folder / ref.to_path()
            with disk_errors(ref.to_path()):
                try:
                    return parse_entries(path.read_bytes(), ref.width)
                except FileNotFoundError:
                    continue
        return None

    def _widest(self, number: int) -> TileRef | None:
        full = TileRef(ENTRIES, number, TILE_WIDTH)
        if (self.folder / full.to_path()).is_file():
            return full
        partial = self.folder / f"{full.to_path()}.p"
        names = [path.name for path in partial.iterdir()] if partial.is_dir() else []
        widths = [int(name) for name in names if name.isascii() and name.isdigit() and name[0] != "0"]
        widths = [width for width in widths if width < TILE_WIDTH]
        return TileRef(ENTRIES, number, max(widths)) if widths else None

    def _compare(self, ref: TileRef, data: bytes, found: Recomputed) -> None:
        path = self.folder / ref.to_path()
        with disk_errors(ref.to_path()):
            present = path.read_bytes() if path.is_file() else None
        if present is None:
            found.findings.append(Finding(code="TILE_MISSING", where=ref.to_path(), observed="no such file"))
        elif present != data:
            observed = "hashes that the entries do not give"
            found.findings.append(Finding(code="TILE_FALSE", where=ref.to_path(), observed=observed))

    def _check_beyond(self, found: Recomputed) -> None:
        """Find entry bundles that stand behind a gap, and files that are no tiles."""
        top = self.folder / "tile"
        for path in sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else ():
            name = path.relative_to(self.folder).as_posix()
            try:
                ref = parse_tile_path(name)
            except VerificationError as error:
                unfinished = name.endswith(".part")
                found.findings.append(
                    Finding(code=error.code, where=name[:100], observed="no tile's name", wrong=not unfinished)
                )
                continue
            if ref.level == ENTRIES and ref.number * TILE_WIDTH >= max(found.size, 1):
                observed = f"entries behind a gap: only {found.size} can be read from the first on"
                found.findings.append(Finding(code="LOG_GAP", where=name, observed=observed))


def open_copy(path: Path, policy_file: Path | None = None) -> LogCopy:
    """Open a domain's folder, a log's folder, or a copy; the policy is the domain's own unless a file is named.

    UsageError NO_LOG, NO_POLICY; VerificationError BAD_POLICY. A policy of the domain itself says whose log it claims
    to be: an auditor who has another source for it names that.
    """
    home = path if (path / LOG).is_dir() else None
    folder = path / LOG if home is not None else path
    if not ((folder / CHECKPOINT).is_file() or (folder / "tile").is_dir() or home is not None):
        raise UsageError(
            code="NO_LOG",
            observed=f"{path} holds no log",
            expected="a domain's folder, or the folder with `checkpoint` and `tile`",
            hint="name the folder that `jouleseal init` made, or a copy of its log",
        )
    near = [path.parent / TRUST / POLICY_FILE] if home is None else [path / TRUST / POLICY_FILE]
    found = next((each for each in [policy_file, *near] if each is not None and each.is_file()), None)
    if found is None or (policy_file is not None and found != policy_file):
        raise UsageError(
            code="NO_POLICY",
            observed="no policy file",
            expected="the policy that names the log's key and its witnesses",
            hint="add --policy FILE; an operator publishes it as trust/policy.txt and in every bundle",
        )
    with disk_errors(found.name):
        return LogCopy(folder=folder, policy=parse_policy(found.read_bytes()), home=home)


def check_note(note: KeptNote, found: Recomputed) -> Finding | None:
    """Return what is wrong with a signed note in the light of what the entries give."""
    signed = note.checkpoint
    if signed.size > found.size:
        observed = f"{found.size} entries of the {signed.size} that were signed"
        return Finding(code="LOG_ROLLED_BACK", where=note.where, observed=observed)
    if found.roots[signed.size] != signed.root:
        observed = f"size {signed.size}: root {signed.root.hex()[:16]} was signed, the entries give another"
        return Finding(code="FORK", where=note.where, observed=observed)
    return None
