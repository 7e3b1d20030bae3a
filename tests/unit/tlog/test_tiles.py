"""Tiles: paths, and a view of a part of a log in which no byte goes unchecked."""

from __future__ import annotations

import pytest

from protocol.errors import VerificationError
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.tiles import (
    ENTRIES,
    TILE_WIDTH,
    TileRef,
    encode_entries,
    parse_entries,
    parse_tile_path,
    tile_bytes,
    tiles_of,
    view_log,
)


def part_of_a_log(size, first, last):
    entries = [b"entry %d" % number for number in range(size)]
    tree = Tree(leaf_hash(entry) for entry in entries)
    files = {}
    for ref in tiles_of(size, first, last):
        start = ref.number * TILE_WIDTH
        files[ref.to_path()] = (
            encode_entries(entries[start : start + ref.width]) if ref.level == ENTRIES else tile_bytes(tree, ref)
        )
    return files, Checkpoint(origin="log", size=size, root=tree.root()), entries


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        (TileRef(0, 0, 256), "tile/0/000"),
        (TileRef(ENTRIES, 5, 7), "tile/entries/005.p/7"),
        (TileRef(3, 1234067, 256), "tile/3/x001/x234/067"),
        (TileRef(1, 1000, 1), "tile/1/x001/000.p/1"),
    ],
)
def test_paths_are_those_of_the_specification(ref, path):
    assert ref.to_path() == path
    assert parse_tile_path(path) == ref


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/0/0000",
        "tile/8/000",
        "tile/00/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/../0/000",
        "tile/0/000/",
        "tile/0/\uff10\uff10\uff10",
        "/tile/0/000",
    ],
)
def test_other_paths_are_refused(path):
    with pytest.raises(VerificationError) as caught:
        parse_tile_path(path)
    assert caught.value.code == "BAD_TILE"


@pytest.mark.parametrize(
    ("size", "first", "last"),
    [
        (1, 0, 0),
        (4, 0, 3),
        (255, 3, 9),
        (256, 0, 255),
        (257, 0, 0),
        (257, 256, 256),
        (700, 250, 520),
        (1024, 600, 600),
        (65_537, 300, 301),
    ],
)
def test_a_range_of_any_log_opens(size, first, last):
    files, checkpoint, entries = part_of_a_log(size, first, last)
    view = view_log(files, checkpoint)
    assert view.range(first, last) == entries[first : last + 1]


def test_no_byte_of_any_tile_can_be_flipped():
    files, checkpoint, _ = part_of_a_log(300, 255, 258)
    assert len(files) == 5
    for path, data in files.items():
        for position in range(0, len(data), 7):
            changed = bytearray(data)
            changed[position] ^= 1
            with pytest.raises(VerificationError) as caught:
                view_log({**files, path: bytes(changed)}, checkpoint)
            assert caught.value.code in {"BAD_TILE", "BAD_ROOT"}


def test_no_tile_can_be_left_out_shortened_or_added():
    files, checkpoint, _ = part_of_a_log(300, 255, 258)
    for path, data in files.items():
        kept = {other: content for other, content in files.items() if other != path}
        changes = [{**files, path: data[:-1]}, {**files, path: data + b"\0"}]
        for wrong in changes if "entries" in path else [*changes, kept]:
            with pytest.raises(VerificationError):
                view_log(wrong, checkpoint)
    for path in ("tile/0/002.p/1", "tile/0/001.p/43", "tile/2/000.p/1", "tile/entries/002.p/1", "tile/0/001"):
        with pytest.raises(VerificationError) as caught:
            view_log({**files, path: bytes(32)}, checkpoint)
        assert caught.value.code == "BAD_TILE"


def test_an_entry_that_is_not_there_is_told():
    files, checkpoint, _ = part_of_a_log(700, 0, 10)
    view = view_log(files, checkpoint)
    with pytest.raises(VerificationError) as caught:
        view.range(0, 256)
    assert caught.value.code == "LOG_INCOMPLETE"


def test_tiles_of_another_log_do_not_give_the_signed_root():
    files, checkpoint, _ = part_of_a_log(5, 0, 4)
    other = Checkpoint(origin="log", size=5, root=bytes(32))
    with pytest.raises(VerificationError) as caught:
        view_log(files, other)
    assert caught.value.code == "BAD_ROOT"
    with pytest.raises(VerificationError) as caught:
        view_log(files, Checkpoint(origin="log", size=6, root=checkpoint.root))
    assert caught.value.code == "BAD_TILE"


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1", b"\0\1ab", b"\0\2ab\0", b"\0\0\0"])
def test_an_entry_bundle_is_filled_exactly(data):
    with pytest.raises(VerificationError):
        parse_entries(data, 1)
