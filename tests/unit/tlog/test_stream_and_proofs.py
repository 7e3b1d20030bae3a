"""A tree that is read leaf by leaf against one that is kept whole, and proofs as text."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import JoulesealError, VerificationError
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.merkle import Tree, leaf_hash, verify_consistency
from protocol.tlog.note import LogKey, Note
from protocol.tlog.policy import NO_QUORUM, Policy
from protocol.tlog.proofs import MAX_PROOF_LINES, GrowthText, InclusionText, parse_growth, parse_inclusion
from protocol.tlog.stream import TileStream
from protocol.tlog.tiles import TILE_WIDTH, tile_at, tile_bytes
from tests.unit.attestation.key_maker import ed_signer

SIGNER = ed_signer(1)
LOG = LogKey(name="example/log", public_key=SIGNER.public_key)
POLICY = Policy(log=LOG, witnesses={}, groups={}, quorum=NO_QUORUM)
ENTRIES = [b"entry %d" % number for number in range(70)]
TREE = Tree(leaf_hash(entry) for entry in ENTRIES)


def note_of(tree, size) -> bytes:
    text = Checkpoint(origin=LOG.name, size=size, root=tree.root(size)).to_body()
    return Note(text=text, signatures=(LOG.sign(text, SIGNER),)).to_bytes()


def naive_hash(leaves):
    """Return the hash of RFC 6962 section 2.1 by its definition, with none of our code."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + naive_hash(leaves[:split]) + naive_hash(leaves[split:])).digest()


def naive_consistency(old, leaves, *, whole=True):
    """Return SUBPROOF of RFC 6962 section 2.1.2 by its definition, with none of our code."""
    if old == len(leaves):
        return [] if whole else [naive_hash(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= split:
        return [*naive_consistency(old, leaves[:split], whole=whole), naive_hash(leaves[split:])]
    return [*naive_consistency(old - split, leaves[split:], whole=False), naive_hash(leaves[:split])]


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=150), st.data())
def test_consistency_proofs_are_those_of_the_definition_and_join_only_what_grew(entries, data):
    leaves = [leaf_hash(entry) for entry in entries]
    tree, new = Tree(leaves), len(leaves)
    old = data.draw(st.integers(1, new))
    proof = tree.consistency(old, new)
    assert proof == naive_consistency(old, leaves)
    claim = {"old_size": old, "new_size": new, "new_root": naive_hash(leaves), "proof": proof}
    verify_consistency(old_root=naive_hash(leaves[:old]), **claim)
    changed = data.draw(st.integers(0, old - 1))
    forked = [leaf_hash(b"forked" + entry) if n == changed else leaves[n] for n, entry in enumerate(entries)]
    for root in (naive_hash(forked[:old]), bytes(32)):
        with pytest.raises(VerificationError):
            verify_consistency(old_root=root, **claim)


def test_a_proof_binds_no_size_which_is_why_sizes_come_from_signed_notes():
    """From 1 to 2 shown as from 2 to 3: the hashes join, so whoever believes the asker's sizes believes anything."""
    claim = {"old_root": TREE.root(1), "new_root": TREE.root(2), "proof": TREE.consistency(1, 2)}
    verify_consistency(old_size=1, new_size=2, **claim)
    verify_consistency(old_size=2, new_size=3, **claim)
    signed = Checkpoint(origin=LOG.name, size=3, root=TREE.root(3))
    with pytest.raises(VerificationError):
        verify_consistency(
            old_size=2, old_root=TREE.root(2), new_size=signed.size, new_root=signed.root, proof=claim["proof"]
        )


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 600])
def test_a_stream_knows_every_root_and_every_tile_of_the_tree(size):
    tree, stream, tiles = Tree(), TileStream(), {}
    for number in range(size):
        leaf = leaf_hash(b"%d" % number)
        tree.append(leaf)
        tiles.update(stream.append(leaf))
        if number % 37 == 0 or number > size - 3:
            assert stream.root() == tree.root()
    assert stream.root() == tree.root()
    assert stream.size == size
    tiles.update(stream.edge())
    expected = {}
    for level in range(3):
        for number in range(size // TILE_WIDTH ** (level + 1) + 1):
            ref = tile_at(level, number, size)
            if ref is not None:
                expected[ref] = tile_bytes(tree, ref)
    assert tiles == expected


def test_a_stream_over_three_levels_is_the_tree():
    """66 000 leaves: the first tile of level 2, in memory that does not grow with the log."""
    size = TILE_WIDTH**2 + 464
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    stream = TileStream()
    for leaf in leaves:
        for _ref, _data in stream.append(leaf):
            pass
    assert stream.root() == Tree(leaves).root()
    assert sum(len(data) for _, data in stream.edge()) <= 3 * 32 * TILE_WIDTH


@pytest.mark.slow
def test_a_million_leaves_stream_to_the_root_of_the_tree():
    leaves = [leaf_hash(b"%d" % number) for number in range(1_000_000)]
    stream = TileStream()
    for leaf in leaves:
        stream.append(leaf)
    assert stream.root() == Tree(leaves).root()


@pytest.mark.parametrize("size", [1, 2, 3, 64, 70])
def test_an_inclusion_proof_is_read_as_it_was_written_and_proves_one_entry_at_one_index(size):
    for index in range(0, size, 7):
        made = InclusionText(index=index, proof=tuple(TREE.inclusion(index, size)), note=note_of(TREE, size))
        read = parse_inclusion(made.to_bytes())
        assert read == made
        assert read.to_bytes() == made.to_bytes()
        assert read.verify(ENTRIES[index], POLICY).checkpoint.size == size
        with pytest.raises(VerificationError):
            read.verify(b"another entry", POLICY)
        for other in range(size):
            if other != index:
                with pytest.raises(VerificationError):
                    InclusionText(index=other, proof=read.proof, note=read.note).verify(ENTRIES[index], POLICY)


def test_a_growth_proof_is_read_as_it_was_written():
    for old, new in ((0, 5), (5, 5), (5, 9), (64, 70)):
        proof = tuple(TREE.consistency(old, new)) if 0 < old < new else ()
        made = GrowthText(old_size=old, proof=proof, note=note_of(TREE, new))
        assert parse_growth(made.to_bytes()) == made
        assert parse_growth(made.to_bytes()).to_bytes() == made.to_bytes()


HASH = "0" * 43 + "="


@pytest.mark.parametrize(
    "head",
    [
        "old +5",
        "old 05",
        "old 1_3",
        "old 5 ",
        "old  5",
        "old -1",
        "old 9223372036854775808",
        "old \u0665",
        "Old 5",
        "old",
        "",
        "old 5\nxyz",
        f"old 5\n{HASH[:-4]}",
        f"old 5\n {HASH}",
        "old 5\n" + "0" * 42 + "1=",
        "old 5\n" + "\n".join([HASH] * (MAX_PROOF_LINES + 1)),
        f"old 5\r\n{HASH}",
    ],
)
def test_malformed_requests_are_refused(head):
    with pytest.raises(VerificationError):
        parse_growth(head.encode() + b"\n\n" + note_of(TREE, 9))


@pytest.mark.parametrize(
    "head",
    ["c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2\nindex 1", "c2sp.org/tlog-proof@v1\nextra aGk=\nindex 1"],
)
def test_malformed_inclusion_proofs_are_refused(head):
    with pytest.raises(VerificationError):
        parse_inclusion(head.encode() + b"\n\n" + note_of(TREE, 9))


@given(st.binary(max_size=400))
def test_no_bytes_make_a_reader_fail_in_another_way(data):
    for read in (parse_growth, parse_inclusion):
        for told in (data, b"old 3\n" + data, data + b"\n\n" + note_of(TREE, 3)):
            try:
                read(told)
            except JoulesealError as error:
                assert isinstance(error, VerificationError)  # noqa: PT017
