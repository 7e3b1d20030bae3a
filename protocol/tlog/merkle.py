"""The RFC 6962 Merkle tree: hashes, inclusion and consistency proofs, and a tree that grows leaf by leaf.

The rules:
1. SHA-256 with the prefix 0x00 for leaves and 0x01 for nodes (RFC 6962 section 2.1).
2. A proof is checked against a size and a root from one signed checkpoint. A proof's own word for the size binds
   nothing: leaf 4 of 5 passes as leaf 2 of 3 when the sizes are believed.
3. Every hash is 32 bytes, and a consistency proof from the empty tree is refused: it would prove nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from protocol.attestation.digest import DIGEST_BYTES
from protocol.attestation.refusal import refuse
from protocol.errors import VerificationError

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf with these bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree over leaf hashes; it keeps every complete subtree, so that proofs need no rehashing.

    `levels[k][n]` is the hash of the complete subtree over leaves n*2^k to (n+1)*2^k - 1.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.levels: list[list[bytes]] = [[]]
        self.extend(leaves)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self.levels[0])

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order, a whole level at a time: for a million of them half the time of `append`."""
        self.levels[0].extend(leaves)
        height = 0
        while len(below := self.levels[height]) > 1:
            height += 1
            if height == len(self.levels):
                self.levels.append([])
            above = self.levels[height]
            pairs = iter(below[2 * len(above) : len(below) // 2 * 2])
            above += [node_hash(left, right) for left, right in zip(pairs, pairs, strict=True)]

    def append(self, leaf: bytes) -> int:
        """Add a leaf hash and return its index."""
        index, level = self.size, 0
        self.levels[0].append(leaf)
        while len(self.levels[level]) % 2 == 0:
            if level + 1 == len(self.levels):
                self.levels.append([])
            self.levels[level + 1].append(node_hash(self.levels[level][-2], self.levels[level][-1]))
            level += 1
        return index

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first `size` leaves; over all of them by default."""
        return self._subtree(0, self._checked(self.size if size is None else size))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the proof that the leaf is in the tree of the first `size` leaves (RFC 6962 section 2.1.1)."""
        if not 0 <= index < self._checked(size):
            raise IndexError(f"no leaf {index} in a tree of {size}")
        proof, first, last = [], 0, size
        while last - first > 1:
            middle = first + _split(last - first)
            if index < middle:
                proof.append(self._subtree(middle, last))
                last = middle
            else:
                proof.append(self._subtree(first, middle))
                first = middle
        return proof[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the tree of `old` leaves is a beginning of that of `new` (RFC 6962 section 2.1.2)."""
        if not 0 < old <= self._checked(new):
            raise IndexError(f"no proof from {old} to {new}")
        proof, first, last, whole = [], 0, new, True
        while old != last:
            middle = first + _split(last - first)
            if old <= middle:
                proof.append(self._subtree(middle, last))
                last = middle
            else:
                proof.append(self._subtree(first, middle))
                first, whole = middle, False
        return ([] if whole else [self._subtree(first, last)]) + proof[::-1]

    def _checked(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise IndexError(f"no tree of {size} in one of {self.size}")
        return size

    def _subtree(self, first: int, last: int) -> bytes:
        """Return the hash over leaves first to last - 1, where `first` is a multiple of the subtree's span."""
        if first == last:
            return EMPTY_ROOT
        size = last - first
        if size & (size - 1) == 0:
            return self.levels[size.bit_length() - 1][first // size]
        middle = first + _split(size)
        return node_hash(self._subtree(first, middle), self._subtree(middle, last))


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes, keeping one hash a level."""
    stack: list[tuple[int, bytes]] = []
    for leaf in leaves:
        height, value = 0, leaf
        while stack and stack[-1][0] == height:
            value = node_hash(stack.pop()[1], value)
            height += 1
        stack.append((height, value))
    if not stack:
        return EMPTY_ROOT
    value = stack.pop()[1]
    while stack:
        value = node_hash(stack.pop()[1], value)
    return value


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return if the leaf hash is at the index of the tree; VerificationError BAD_PROOF if not (RFC 9162 2.1.3.2).

    `size` and `root` must come from one signed checkpoint.
    """
    if not 0 <= index < size:
        raise _bad(f"index {index} in a tree of {size}", "an index within the tree")
    _check_hashes([leaf, root, *proof])
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _bad(f"{len(proof)} hashes", "a proof as long as the path")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise _bad(f"{len(proof)} hashes", "a proof as long as the path")
    if value != root:
        raise _bad(f"a path to root {value.hex()[:16]}", f"the signed root {root.hex()[:16]}")


def verify_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the old tree is a beginning of the new one; VerificationError BAD_PROOF if not (RFC 9162 2.1.4.2)."""
    if not 0 < old_size <= new_size:
        raise _bad(f"sizes {old_size} and {new_size}", "a tree that grew from at least one leaf")
    _check_hashes([old_root, new_root, *proof])
    if old_size == new_size:
        if proof or old_root != new_root:
            raise _bad("another root at the same size", "the same tree and an empty proof")
        return
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        raise _bad("an empty proof", "a proof between different sizes")
    _walk_consistency(old_size, old_root, new_size, new_root, path)


def _walk_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: list[bytes]) -> None:
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_value = new_value = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _bad("a proof that is too long", "a proof as long as the path")
        if position & 1 or position == last:
            old_value, new_value = node_hash(sibling, old_value), node_hash(sibling, new_value)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new_value = node_hash(new_value, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or old_value != old_root or new_value != new_root:
        raise _bad("roots that the proof does not join", "a new tree that begins with the old one")


def _split(size: int) -> int:
    """Return the largest power of two below the size."""
    return 1 << (size - 1).bit_length() - 1


def _check_hashes(hashes: Sequence[bytes]) -> None:
    for value in hashes:
        if len(value) != DIGEST_BYTES:
            raise _bad(f"a hash of {len(value)} bytes", f"{DIGEST_BYTES} bytes")


def _bad(observed: str, expected: str) -> VerificationError:
    return refuse("BAD_PROOF", observed=observed, expected=expected)
