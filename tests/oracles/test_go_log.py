"""What Go's x/mod says of our log: notes, entries and their places, growth from size to size, and every tile."""

from __future__ import annotations

import base64

import pytest

from protocol.attestation.bundle import CHECKPOINT_PATH, LOG_PREFIX
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.note import LogKey, Note
from protocol.tlog.tiles import ENTRIES, TILE_WIDTH, encode_entries, tile_at, tile_bytes, tiles_of
from tests.oracles.asking import agrees, b64, entry_of, flip, log_of, resized, witness_of
from tests.worlds.world import START, Key

KEY, WITNESS = Key("a log of many"), Key("a witness of many")
LOG = LogKey(name="many.example/log", public_key=KEY.public_key)
OBSERVER = WitnessKey(name="many.example/witness", public_key=WITNESS.public_key)
FULL_LEVELS = TILE_WIDTH * TILE_WIDTH  # leaves from which on a log has tiles of three levels
SIZES = (1, 2, 255, 256, 257, FULL_LEVELS - 1, FULL_LEVELS, FULL_LEVELS + 700)
ENTRY = b"entry %d"


def grown(text):
    """Return a note, as base64, whose size is one more than it was signed for."""
    return b64(resized(base64.b64decode(text).decode()).encode())


def flip_last(proof):
    proof[-1] = flip(proof[-1])


def test_an_entry_is_where_we_say_in_the_checkpoint_that_log_and_witness_signed(files, ask, go):
    found = entry_of(files, "session-outcome")
    honest = {
        "Note": b64(found.checkpoint),
        "Vkey": log_of(files).to_vkey(),
        "Witness": witness_of(files).to_vkey(),
        "Entry": b64(found.body),
        "Index": found.log_index,
        "Proof": [b64(value) for value in found.hashes],
    }
    mutations = [
        lambda asked: asked.update(Entry=flip(asked["Entry"])),
        lambda asked: asked.update(Index=asked["Index"] - 1),
        lambda asked: asked["Proof"].pop(),
        lambda asked: flip_last(asked["Proof"]),
        lambda asked: asked.update(Note=grown(asked["Note"])),
        lambda asked: asked.update(Witness=OBSERVER.to_vkey()),
    ]
    agrees(lambda asked: ask([go, "entry"], asked), honest, mutations)


def test_the_tiles_of_a_bundle_are_those_of_its_checkpoint(files, ask, go):
    tiles = {path.removeprefix(LOG_PREFIX): data for path, data in files.items() if path.startswith(LOG_PREFIX)}
    tiles = {path: b64(data) for path, data in tiles.items() if path.startswith("tile/")}
    entries = next(path for path in tiles if path.startswith("tile/entries/"))
    hashes = next(path for path in tiles if path.startswith("tile/0/"))
    honest = {"Note": b64(files[CHECKPOINT_PATH]), "Vkey": log_of(files).to_vkey(), "Files": tiles}

    def tile(path, change):
        return lambda asked: asked["Files"].update({path: b64(change(base64.b64decode(asked["Files"][path])))})

    mutations = [
        lambda asked: asked["Files"].update({entries: flip(asked["Files"][entries])}),
        tile(entries, lambda data: data + b"\0\0"),
        lambda asked: asked["Files"].update({hashes: flip(asked["Files"][hashes])}),
        tile(hashes, lambda data: data[32:64] + data[:32] + data[64:]),
        tile(hashes, lambda data: data[:-32]),
        lambda asked: asked["Files"].pop(hashes),
    ]
    agrees(lambda asked: ask([go, "tiles"], asked), honest, mutations)


@pytest.fixture(name="many", scope="module")
def _many():
    """A log of 66,236 entries, which has tiles of three levels."""
    return Tree(leaf_hash(ENTRY % number) for number in range(SIZES[-1]))


def note_of(tree, size):
    """Return the checkpoint of a size, signed by the log and by its witness."""
    body = Checkpoint(origin=LOG.name, size=size, root=tree.root(size)).to_body()
    return Note(text=body, signatures=(LOG.sign(body, KEY), OBSERVER.sign(body, START, WITNESS))).to_bytes()


def growth(tree, old, new):
    return {
        "Note": b64(note_of(tree, new)),
        "Old": b64(note_of(tree, old)),
        "Vkey": LOG.to_vkey(),
        "Witness": OBSERVER.to_vkey(),
        "Proof": [b64(value) for value in tree.consistency(old, new)],
    }


def test_a_log_grew_from_every_size_to_every_later_one(many, ask, go):
    for at, old in enumerate(SIZES):
        for new in SIZES[at + 1 :]:
            assert ask([go, "growth"], growth(many, old, new)), (old, new)


def test_a_proof_of_growth_is_refused_once_anything_in_it_is_changed(many, ask, go):
    mutations = [
        lambda asked: flip_last(asked["Proof"]),
        lambda asked: asked["Proof"].pop(),
        lambda asked: asked["Proof"].reverse(),
        lambda asked: asked.update(Old=b64(note_of(many, 256))),
        lambda asked: asked.update(Note=b64(note_of(many, FULL_LEVELS))),
        lambda asked: asked.update(Old=grown(asked["Old"])),
    ]
    agrees(lambda asked: ask([go, "growth"], asked), growth(many, 257, SIZES[-1]), mutations)


def tiles_with(tree, size, first, last):
    """Return the files that open the entries first to last of a log of that size, as we publish them."""
    files = {}
    for ref in tiles_of(size, first, last):
        start = ref.number * TILE_WIDTH
        framed = encode_entries(ENTRY % number for number in range(start, start + ref.width))
        files[ref.to_path()] = b64(framed if ref.level == ENTRIES else tile_bytes(tree, ref))
    return files


def test_tiles_of_three_levels_give_the_root_and_the_same_proofs(many, ask, go):
    size, index, old = SIZES[-1], 66_100, FULL_LEVELS + 256
    honest = {
        "Note": b64(note_of(many, size)),
        "Vkey": LOG.to_vkey(),
        "Files": tiles_with(many, size, 65_900, size - 1),
        "Index": index,
        "Proof": [b64(value) for value in many.inclusion(index, size)],
        "OldSize": old,
        "Growth": [b64(value) for value in many.consistency(old, size)],
    }
    top = tile_at(2, 0, size).to_path()
    full = next(path for path in honest["Files"] if path.startswith("tile/0/") and ".p/" not in path)
    mutations = [
        lambda asked: flip_last(asked["Proof"]),
        lambda asked: asked.update(Index=index - 1),
        lambda asked: flip_last(asked["Growth"]),
        lambda asked: asked["Files"].update({top: flip(asked["Files"][top])}),
        lambda asked: asked["Files"].update({full: flip(asked["Files"][full])}),
        lambda asked: asked.update(Note=b64(note_of(many, size - 1))),
    ]
    agrees(lambda asked: ask([go, "tiles"], asked), honest, mutations)
