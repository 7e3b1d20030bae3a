"""The tree: what RFC 6962 computes, and what a proof binds."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import VerificationError
from protocol.tlog.merkle import EMPTY_ROOT, Tree, leaf_hash, root_of, verify_consistency, verify_inclusion

MOST = 70
LEAVES = [leaf_hash(bytes([number])) for number in range(MOST)]
TREE = Tree(LEAVES)


def naive_root(leaves):
    """Return the root by the recursive definition of RFC 6962 section 2.1, written a second time."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def accepts(**claim) -> bool:
    try:
        verify_inclusion(**claim)
    except VerificationError as error:
        return error.code != "BAD_PROOF"
    return True


def test_roots_are_those_of_the_definition():
    assert root_of([]) == EMPTY_ROOT == Tree().root()
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    for size in range(MOST + 1):
        assert TREE.root(size) == root_of(LEAVES[:size]) == naive_root(LEAVES[:size])


def test_every_leaf_of_every_tree_is_proved_at_its_index_and_at_no_other():
    for size in range(1, MOST + 1):
        root = TREE.root(size)
        for index in range(size):
            proof = TREE.inclusion(index, size)
            claimed = [
                other
                for other in range(size + 3)
                if accepts(leaf=LEAVES[index], index=other, size=size, proof=proof, root=root)
            ]
            assert claimed == [index]


def test_leaf_4_of_5_shown_as_2_of_3_is_what_a_believed_size_would_allow():
    proof, root = TREE.inclusion(4, 5), TREE.root(5)
    assert accepts(leaf=LEAVES[4], index=2, size=3, proof=proof, root=root)
    assert not accepts(leaf=LEAVES[4], index=2, size=5, proof=proof, root=root)


@given(st.integers(1, MOST), st.data())
def test_a_changed_proof_proves_nothing(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof, root = TREE.inclusion(index, size), TREE.root(size)
    longer = [*proof, bytes(32)]
    assert not accepts(leaf=LEAVES[index], index=index, size=size, proof=longer, root=root)
    if proof:
        assert not accepts(leaf=LEAVES[index], index=index, size=size, proof=proof[:-1], root=root)
        place = data.draw(st.integers(0, len(proof) - 1))
        changed = [bytes(32) if number == place else value for number, value in enumerate(proof)]
        assert not accepts(leaf=LEAVES[index], index=index, size=size, proof=changed, root=root)
        short = [value[:31] if number == place else value for number, value in enumerate(proof)]
        assert not accepts(leaf=LEAVES[index], index=index, size=size, proof=short, root=root)


def test_every_tree_begins_with_every_smaller_one():
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            proof = TREE.consistency(old, new)
            claim = {"old_size": old, "new_size": new, "new_root": TREE.root(new), "proof": proof}
            verify_consistency(old_root=TREE.root(old), **claim)
            with pytest.raises(VerificationError):
                verify_consistency(old_root=bytes(32), **claim)
            with pytest.raises(VerificationError):
                verify_consistency(old_root=TREE.root(old), **{**claim, "proof": [*proof, bytes(32)]})
            if proof:
                with pytest.raises(VerificationError):
                    verify_consistency(old_root=TREE.root(old), **{**claim, "proof": proof[:-1]})


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, 5)])
def test_nothing_is_proved_from_the_empty_tree_or_from_a_larger_one(old, new):
    with pytest.raises(VerificationError):
        verify_consistency(old_size=old, old_root=EMPTY_ROOT, new_size=new, new_root=TREE.root(5), proof=[])


def test_a_fork_cannot_be_joined():
    forked = Tree([*LEAVES[:3], leaf_hash(b"other"), *LEAVES[4:9]])
    with pytest.raises(VerificationError):
        verify_consistency(
            old_size=5, old_root=TREE.root(5), new_size=9, new_root=forked.root(), proof=forked.consistency(5, 9)
        )


@pytest.mark.parametrize("ask", [lambda: TREE.inclusion(70, 70), lambda: TREE.root(71), lambda: TREE.consistency(0, 3)])
def test_asking_beyond_the_tree_is_our_own_mistake(ask):
    with pytest.raises(IndexError):
        ask()


def test_a_tree_that_grew_a_level_at_a_time_is_the_one_that_grew_leaf_by_leaf():
    for begun in range(0, MOST, 3):
        for added in range(0, MOST - begun, 5):
            tree = Tree(LEAVES[:begun])
            tree.extend(LEAVES[begun : begun + added])
            single = Tree()
            for leaf in LEAVES[: begun + added]:
                single.append(leaf)
            assert tree.levels == single.levels
            assert tree.append(LEAVES[0]) == single.append(LEAVES[0])
            assert tree.root() == single.root()
