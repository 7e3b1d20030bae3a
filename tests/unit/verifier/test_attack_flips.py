"""Flip single bytes of a small bundle, file by file: no byte but those of the unauthenticated key hint may pass.

The hint stands twice in a statement's file, as `publicKey.hint` and as the envelope's `keyid`, with one text; flipping
either alone is refused, so the only accepted change is the same one in both. The pass over a seeded sample runs always,
the whole sweep is slow.
"""

from __future__ import annotations

import random
import re

import pytest

from tests.worlds.tampering import flip
from tests.worlds.world import World, cell
from verifier.report import Status, Verdict

SAMPLE = 300


@pytest.fixture(name="world", scope="module")
def _world():
    world = World(idle_ms=110)
    world.campaign([cell(points=2, runs=2)])
    return world


@pytest.fixture(name="files", scope="module")
def _files(world):
    return world.bundle()


def accepted(world, files, path, at, bit):
    """Return why a flip was accepted, or nothing."""
    report = world.judge({**files, path: flip(files[path], at, bit)})
    if report.verdict is Verdict.VERIFIED:
        return f"{path} at {at}, bit {bit}: {files[path][max(at - 40, 0) : at + 20]!r}"
    named = [result for result in report.checks if result.code]
    if not named or not all(result.observed and result.expected for result in named):
        return f"{path} at {at}, bit {bit}: refused without naming the claim"
    return None


def test_a_seeded_sample_of_all_bytes(world, files):
    places = [(path, at) for path in sorted(files) for at in range(len(files[path]))]
    drawn = random.Random(20261123).sample(places, SAMPLE)
    bits = random.Random(2)
    assert [why for path, at in drawn if (why := accepted(world, files, path, at, bits.randrange(8)))] == []


def test_every_file_is_reached_by_the_sample(files):
    """At least the first, a middle and the last byte of every file, however small it is."""
    assert len(files) == 17
    assert all(files.values())


def test_first_middle_and_last_byte_of_every_file(world, files):
    places = [(path, at) for path in sorted(files) for at in {0, len(files[path]) // 2, len(files[path]) - 1}]
    assert [why for path, at in places if (why := accepted(world, files, path, at, 1))] == []


def test_the_key_hint_is_the_only_thing_that_may_change(world, files):
    path = next(path for path in files if path.endswith("campaign-result.sigstore.json"))
    key = world.trust.runner.public_key.key_id.encode()
    hints = [found.start() for found in re.finditer(key, files[path])]
    assert len(hints) == 2
    both = files[path].replace(key, b"f" + key[1:])
    assert both != files[path]
    assert world.judge({**files, path: both}).verdict is Verdict.VERIFIED
    for at in hints:
        report = world.judge({**files, path: flip(files[path], at)})
        assert [result.code for result in report.checks if result.status is Status.FAILED] == ["BAD_HINT"]


def test_every_byte_swapped_with_its_neighbour_in_the_trust_files(world, files):
    """Not only bits: order, too."""
    for path in sorted(path for path in files if path.startswith(("trust/", "log/checkpoint"))):
        data = files[path]
        for at in range(0, len(data) - 1, 7):
            if data[at] != data[at + 1]:
                swapped = data[:at] + bytes([data[at + 1], data[at]]) + data[at + 2 :]
                assert world.judge({**files, path: swapped}).verdict is not Verdict.VERIFIED, (path, at)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_byte_of_every_file(world, files):
    bits = random.Random(3)
    places = [(path, at) for path in sorted(files) for at in range(len(files[path]))]
    assert [why for path, at in places if (why := accepted(world, files, path, at, bits.randrange(8)))] == []
