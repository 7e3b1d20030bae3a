"""A tree that is read leaf by leaf: its tiles as they fill, and its root at any moment, in bounded memory.

It keeps at most 256 hashes a level, whatever the size of the log, so that a reader can recompute a log of millions of
entries, compare every tile with the one on the disk, and know the root at every size for which a checkpoint was kept.
"""

from __future__ import annotations

from collections.abc import Iterator

from protocol.tlog.merkle import EMPTY_ROOT, node_hash, root_of
from protocol.tlog.tiles import TILE_WIDTH, TileRef, complete_subtrees


class TileStream:
    """The right edge of a growing tree, as the partial hash tiles of C2SP tlog-tiles."""

    def __init__(self) -> None:
        self._edge: list[list[bytes]] = [[]]
        self._full: list[int] = [0]  # how many full tiles each level has behind it
        self.size = 0

    def append(self, leaf: bytes) -> Iterator[tuple[TileRef, bytes]]:
        """Add a leaf hash (32 bytes) and yield the tiles that it completes, each with its bytes, lowest level first."""
        self.size += 1
        self._edge[0].append(leaf)
        if len(self._edge[0]) < TILE_WIDTH:
            return iter(())
        return iter(self._fold())

    def root(self) -> bytes:
        """Return the root over the leaves so far."""
        subtrees = [root for hashes in self._edge for root in complete_subtrees(hashes)]
        if not subtrees:
            return EMPTY_ROOT
        value = subtrees[0]
        for subtree in subtrees[1:]:
            value = node_hash(subtree, value)
        return value

    def edge(self) -> list[tuple[TileRef, bytes]]:
        """Return the partial tiles of the right edge, each with its bytes, lowest level first."""
        return [
            (TileRef(level, self._full[level], len(hashes)), b"".join(hashes))
            for level, hashes in enumerate(self._edge)
            if hashes
        ]

    def _fold(self) -> list[tuple[TileRef, bytes]]:
        done, level = [], 0
        while len(self._edge[level]) == TILE_WIDTH:
            hashes = self._edge[level]
            done.append((TileRef(level, self._full[level], TILE_WIDTH), b"".join(hashes)))
            if level + 1 == len(self._edge):
                self._edge.append([])
                self._full.append(0)
            self._edge[level + 1].append(root_of(hashes))
            self._edge[level] = []
            self._full[level] += 1
            level += 1
        return done
