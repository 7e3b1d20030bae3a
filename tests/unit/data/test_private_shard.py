"""A private shard can be named by its operator alone, follows from its key, and is never used again once opened."""

import hashlib
import stat
from dataclasses import replace

import pytest

from orchestrator.datasets.shard import (
    KEY_FILE,
    NUMBERS_FILE,
    SHARD_POINTS,
    draw_shard,
    has_shard,
    number_in_force,
    retire,
    shard_key,
)
from protocol.errors import DatasetUnavailable, RecordUnsound, UsageError
from protocol.methodology.dataset import Dataset, dataset_digest, salted_digest
from protocol.samples import Point, TextInput

KEY, OTHER = b"k" * 32, b"o" * 32


def points(word, count):
    return tuple(
        Point(index=n, point_id=f"{word}-{n}", source="s", input=TextInput(text=f"{word} {n}"), reference="r")
        for n in range(count)
    )


SET, WARM_UP, POOL = points("set", 20), points("warm", 5), points("pool", 350)
DATASET = Dataset(
    name="a-set",
    digest=dataset_digest(SET),
    points=SET,
    warm_up=WARM_UP,
    pool=POOL,
    sources={"s": 20},
    thirds=False,
    licence="CC0-1.0",
    note="",
)


def ids(shard):
    return {point.point_id for point in shard.points}


def test_the_shard_follows_from_the_key_and_from_nothing_else():
    shard = draw_shard(DATASET, KEY)
    assert draw_shard(replace(DATASET, pool=POOL[::-1]), KEY) == shard
    assert len(shard.points) == len(ids(shard)) == SHARD_POINTS
    assert [point.index for point in shard.points] == list(range(SHARD_POINTS))
    assert ids(draw_shard(DATASET, OTHER)) != ids(shard)
    assert ids(draw_shard(replace(DATASET, name="b-set"), KEY)) != ids(shard)


def test_what_is_logged_says_nothing_without_the_salt_and_everything_with_it():
    shard = draw_shard(DATASET, KEY)
    digest = dataset_digest(shard.points)
    assert shard.salted_sha256 == salted_digest(shard.salt, digest)
    assert shard.salted_sha256 == hashlib.sha256(shard.salt + bytes.fromhex(digest)).hexdigest()
    assert shard.salted_sha256 != salted_digest(draw_shard(DATASET, KEY, 2).salt, digest)
    changed = replace(shard.points[0], reference="another")
    assert shard.salted_sha256 != salted_digest(shard.salt, dataset_digest((changed, *shard.points[1:])))
    assert "pool" not in repr(shard)
    assert shard.salt.hex() not in repr(shard)
    with pytest.raises(ValueError, match="31"):
        salted_digest(shard.salt[1:], digest)


def test_shards_of_different_numbers_share_no_point():
    first, second, third = (draw_shard(DATASET, KEY, number) for number in (1, 2, 3))
    assert not ids(first) & ids(second)
    assert not (ids(first) | ids(second)) & ids(third)
    assert len({first.salt, second.salt, third.salt}) == 3


def test_a_pool_that_is_spent_or_absent_has_no_shard():
    assert has_shard(DATASET, 3)
    assert not has_shard(DATASET, 4)
    for dataset, number in ((DATASET, 4), (DATASET, 0), (replace(DATASET, pool=()), 1)):
        with pytest.raises(DatasetUnavailable) as caught:
            draw_shard(dataset, KEY, number)
        assert caught.value.code == "SHARD_IMPOSSIBLE"


def test_points_of_the_set_and_of_the_warm_up_are_never_drawn_whatever_the_pool_says():
    copies = tuple(replace(point, point_id=f"copy-{point.index}") for point in SET)
    shard = draw_shard(replace(DATASET, pool=(*SET, *copies, *WARM_UP, *POOL[:10])), KEY, count=10)
    assert ids(shard) == {point.point_id for point in POOL[:10]}


def test_the_key_is_made_once_for_its_owner_alone(tmp_path):
    key = shard_key(tmp_path)
    path = tmp_path / "keys" / KEY_FILE
    assert (len(key), stat.S_IMODE(path.stat().st_mode)) == (32, 0o600)
    assert [item.name for item in path.parent.iterdir()] == [KEY_FILE]
    assert shard_key(tmp_path) == key
    assert shard_key(tmp_path / "another") != key


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.chmod(0o640), "KEY_EXPOSED"),
        (lambda path: path.write_bytes(b"short"), "KEY_UNREADABLE"),
        (lambda path: path.write_bytes(b"l" * 33), "KEY_UNREADABLE"),
        (lambda path: (path.rename(path.with_name("moved")), path.symlink_to("moved")), "WRITE_FAILED"),
    ],
)
def test_a_key_that_others_may_know_or_that_is_none_is_refused(tmp_path, spoil, code):
    shard_key(tmp_path)
    spoil(tmp_path / "keys" / KEY_FILE)
    with pytest.raises(RecordUnsound) as caught:
        shard_key(tmp_path)
    assert caught.value.code == code


def test_an_opened_shard_is_retired_and_the_next_is_in_force(tmp_path):
    assert number_in_force(tmp_path, "a-set") == 1
    assert retire(tmp_path, "a-set", 1) == 2
    assert (number_in_force(tmp_path, "a-set"), number_in_force(tmp_path, "b-set")) == (2, 1)
    with pytest.raises(UsageError) as caught:
        retire(tmp_path, "a-set", 1)
    assert caught.value.code == "SHARD_RETIRED"


@pytest.mark.parametrize("spoilt", [b"", b"{}", b'{"format":"jouleseal-shards/1","inForce":{"a-set":0}}', b"[]"])
def test_numbers_that_cannot_be_read_bring_no_shard_back(tmp_path, spoilt):
    retire(tmp_path, "a-set", 1)
    (tmp_path / NUMBERS_FILE).write_bytes(spoilt)
    with pytest.raises(RecordUnsound) as caught:
        number_in_force(tmp_path, "a-set")
    assert caught.value.code == "SHARDS_UNREADABLE"
