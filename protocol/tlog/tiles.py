"""C2SP tlog-tiles: the log as static files, and a view of a part of it in which every byte was checked.

The rules (c2sp.org/tlog-tiles):
1. Tile n of level L holds the hashes of the complete subtrees of 256^L leaves from n*256 on, 256 of them or, at the
   right edge, as many as there are; `tile/entries/` holds the leaves themselves, each framed by a 16-bit length.
2. A path spells n in groups of three digits, all but the last after an x; a partial tile ends in `.p/` and its width.
3. The root is computed from the partial tiles of the right edge, every full tile's own root must be a hash of its
   parent, and every entry must hash to its place in a tile of level 0. A tile that none of this reaches is refused, so
   that no hash in a given file is left unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol.attestation.digest import DIGEST_BYTES
from protocol.attestation.refusal import refuse
from protocol.attestation.sigstore_bundle import MAX_BODY_BYTES
from protocol.errors import VerificationError
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.merkle import Tree, leaf_hash, node_hash, root_of

TILE_WIDTH = 256
ENTRIES = -1  # the "level" of entry bundles, which stand below the hashes

_HEIGHT = 8  # 2^8 hashes in a full tile
_MAX_LEVEL = 7  # 256^8 leaves are more than a checkpoint can count
_LENGTH_BYTES = 2
_PATH = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class TileRef:
    """One tile: its level (`ENTRIES` for leaves), its number, and its width of 1 to 256."""

    level: int
    number: int
    width: int

    def to_path(self) -> str:
        """Return the tile's path within a log."""
        groups = [f"{self.number % 1000:03d}"]
        rest = self.number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(groups)}{partial}"


def parse_tile_path(path: str) -> TileRef:
    """Return the tile that a path names; VerificationError BAD_TILE for any path that `to_path` does not write."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise _bad(path, "no path of a tile", "tile/<level>/<number>")
    number = int(match[2].replace("x", "").replace("/", ""))
    level = ENTRIES if match[1] == "entries" else int(match[1])
    ref = TileRef(level, number, int(match[3] or TILE_WIDTH))
    if ref.width > TILE_WIDTH or ref.to_path() != path:
        raise _bad(path, "another spelling of a path", ref.to_path()[:80])
    return ref


def tile_at(level: int, number: int, size: int) -> TileRef | None:
    """Return the tile of this level and number in a log of `size` leaves, at its width there; None if it is empty."""
    width = min(TILE_WIDTH, (size >> _HEIGHT * max(level, 0)) - number * TILE_WIDTH)
    return TileRef(level, number, width) if width > 0 else None


def tiles_of(size: int, first: int, last: int) -> list[TileRef]:
    """Return the tiles that open the entries first to last and lead from them to the root of `size` leaves.

    These are the entry bundles, the tiles above them level by level, and the partial tiles of the right edge.
    """
    wanted: set[TileRef | None] = set()
    for level in range(ENTRIES, _MAX_LEVEL + 1):
        shift = _HEIGHT * (max(level, 0) + 1)
        wanted.update(tile_at(level, number, size) for number in range(first >> shift, (last >> shift) + 1))
        if level != ENTRIES:
            wanted.add(tile_at(level, size >> shift, size))
    return sorted(tile for tile in wanted if tile is not None)


def tile_bytes(tree: Tree, ref: TileRef) -> bytes:
    """Return the bytes of a hash tile of the tree."""
    start = ref.number * TILE_WIDTH
    return b"".join(tree.levels[_HEIGHT * ref.level][start : start + ref.width])


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Return an entry bundle: each entry after its length as two bytes, big-endian."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def parse_entries(data: bytes, count: int) -> list[bytes]:
    """Return exactly `count` entries that fill the bytes; VerificationError BAD_TILE otherwise."""
    entries, position = [], 0
    for _ in range(count):
        end = position + _LENGTH_BYTES
        length = int.from_bytes(data[position:end], "big")
        if end + length > len(data) or length > MAX_BODY_BYTES:
            raise _bad("an entry bundle", "an entry that runs over the end", f"{count} whole entries")
        entries.append(data[end : end + length])
        position = end + length
    if position != len(data):
        raise _bad("an entry bundle", f"{len(data) - position} bytes after the last entry", f"{count} entries")
    return entries


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """A part of a log, every hash of which leads to the signed root; entries by their index."""

    checkpoint: Checkpoint
    entries: Mapping[int, bytes]

    def range(self, first: int, last: int) -> list[bytes]:
        """Return the entries first to last, both included; VerificationError LOG_INCOMPLETE if one is not here."""
        for index in range(first, last + 1):
            if index not in self.entries:
                raise refuse("LOG_INCOMPLETE", observed=f"no entry {index}", expected=f"all of {first} to {last}")
        return [self.entries[index] for index in range(first, last + 1)]


def view_log(files: Mapping[str, bytes], checkpoint: Checkpoint) -> LogView:
    """Return the view that the tile files (path to bytes) give of the log whose *verified* checkpoint this is.

    VerificationError BAD_TILE names a file that is misplaced, of a wrong length, not reached from the root, or false;
    BAD_ROOT if the right edge gives another root than the signed one.
    """
    refs = {parse_tile_path(path): data for path, data in files.items()}
    tiles = {ref: _hashes(ref, data, checkpoint) for ref, data in refs.items() if ref.level != ENTRIES}
    _check_root(tiles, checkpoint)
    for ref, hashes in tiles.items():
        if ref.width == TILE_WIDTH:
            _check_in_parent(ref, hashes, tiles, checkpoint.size)
    entries: dict[int, bytes] = {}
    for ref, data in refs.items():
        if ref.level == ENTRIES:
            entries.update(_checked_entries(ref, data, tiles, checkpoint))
    return LogView(checkpoint=checkpoint, entries=entries)


def _hashes(ref: TileRef, data: bytes, checkpoint: Checkpoint) -> list[bytes]:
    _check_place(ref, checkpoint)
    if len(data) != ref.width * DIGEST_BYTES:
        raise _bad(ref.to_path(), f"{len(data)} bytes", f"{ref.width * DIGEST_BYTES} bytes")
    return [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]


def _check_place(ref: TileRef, checkpoint: Checkpoint) -> None:
    if tile_at(ref.level, ref.number, checkpoint.size) != ref:
        raise _bad(ref.to_path(), "no such tile", f"a tile of a log of {checkpoint.size} leaves")


def _check_root(tiles: Mapping[TileRef, Sequence[bytes]], checkpoint: Checkpoint) -> None:
    """Fold the right edge, whose tiles hold the complete subtrees that the size is made of, into the root."""
    subtrees: list[bytes] = []  # from the smallest, which is the rightmost
    for level in range(_MAX_LEVEL + 1):
        count = checkpoint.size >> _HEIGHT * level
        if count % TILE_WIDTH:
            ref = TileRef(level, count // TILE_WIDTH, count % TILE_WIDTH)
            if ref not in tiles:
                raise _bad(ref.to_path(), "no such file", "the right edge of the log")
            subtrees += complete_subtrees(tiles[ref])
    value = subtrees[0] if subtrees else root_of(())
    for subtree in subtrees[1:]:
        value = node_hash(subtree, value)
    if value != checkpoint.root:
        observed = f"tiles with root {value.hex()[:16]}"
        raise refuse("BAD_ROOT", observed=observed, expected=f"the signed root {checkpoint.root.hex()[:16]}")


def complete_subtrees(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the roots of the largest complete subtrees over the hashes, the rightmost and smallest first."""
    roots, end = [], len(hashes)
    while end:
        span = end & -end
        roots.append(root_of(hashes[end - span : end]))
        end -= span
    return roots


def _check_in_parent(
    ref: TileRef, hashes: Sequence[bytes], tiles: Mapping[TileRef, Sequence[bytes]], size: int
) -> None:
    parent = tile_at(ref.level + 1, ref.number // TILE_WIDTH, size)
    if parent is None or parent not in tiles:
        raise _bad(ref.to_path(), "no tile above it", "a path from every tile to the root")
    if tiles[parent][ref.number % TILE_WIDTH] != root_of(hashes):
        raise _bad(ref.to_path(), "hashes of another subtree", f"the subtree that {parent.to_path()} has there")


def _checked_entries(
    ref: TileRef, data: bytes, tiles: Mapping[TileRef, Sequence[bytes]], checkpoint: Checkpoint
) -> dict[int, bytes]:
    _check_place(ref, checkpoint)
    hashes = tiles.get(TileRef(0, ref.number, ref.width))
    if hashes is None:
        raise _bad(ref.to_path(), "no tile above it", "a path from every tile to the root")
    entries = parse_entries(data, ref.width)
    for position, entry in enumerate(entries):
        if leaf_hash(entry) != hashes[position]:
            observed = f"another entry {ref.number * TILE_WIDTH + position}"
            raise _bad(ref.to_path(), observed, "the entry that the log has there")
    return {ref.number * TILE_WIDTH + position: entry for position, entry in enumerate(entries)}


def _bad(path: str, observed: str, expected: str) -> VerificationError:
    return refuse("BAD_TILE", observed=f"{path[:100]}: {observed}", expected=expected)
