"""Opened leaves: an operator who shows other answers than were given, or not the ones that were drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evaluate.commitment import commit
from orchestrator.record.vault import Vault
from protocol.attestation.openings import (
    accuracy_of,
    drawn_places,
    open_leaves,
    parse_openings,
    top_label,
    write_openings,
)
from protocol.errors import VerificationError
from tests.worlds.world import SECRET, World, answer, cell
from verifier.cli import main

SEED = "5e" * 32
CELL = cell(points=12, runs=2)


@pytest.fixture(name="desk")
def _desk(tmp_path):
    world = World()
    world.campaign([CELL])
    (tmp_path / "bundle.tar").write_bytes(world.tar())
    (tmp_path / "references.json").write_text(json.dumps([str(point % 4) for point in range(CELL.points)]))
    outcome = next(said for said in world.said if said.name == "session-outcome")
    return tmp_path, world, outcome


def drawn(outcome, count=5):
    return {run: drawn_places(bytes.fromhex(SEED), outcome.statement_id, run, CELL.points, count) for run in (1, 2)}


def honest(world, outcome, count=5):
    return [leaf for run, places in drawn(outcome, count).items() for leaf in world.openings(outcome, run, places)]


def show(desk, openings, *more, count=5):
    folder, world, _ = desk
    data = openings if isinstance(openings, bytes) else write_openings(openings)
    (folder / "openings.jsonl").write_bytes(data)
    command = ["open-leaves", str(folder / "bundle.tar"), "--root", world.pin]
    drew = ["--seed", SEED, "--count", str(count)] if count else []
    return main([*command, "--openings", str(folder / "openings.jsonl"), *drew, *more])


def told(capsys):
    return capsys.readouterr().err.split(":")[0]


def test_drawn_leaves_are_checked_and_their_quality_reported(desk, capsys):
    folder, world, outcome = desk
    openings = honest(world, outcome)
    assert show(desk, openings, "--references", str(folder / "references.json"), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    right = sum(leaf.place % 4 != 3 for leaf in openings)  # every fourth answer of the world is wrong
    expected = {"opened": 10, "committed": 24, "drawn": True, "right": right, "compared": 10}
    assert report == expected
    assert show(desk, openings) == 0
    assert "10 of 24 leaves opened, each under its signed root, exactly those that your seed draws" in (
        capsys.readouterr().out
    )


def test_leaves_that_nobody_drew_are_said_to_be_so(desk, capsys):
    _, world, outcome = desk
    assert show(desk, world.openings(outcome, 1, [0]), count=0) == 0
    assert "chosen by whoever opened them" in capsys.readouterr().out


def test_another_answer_than_was_given(desk, capsys):
    _, world, outcome = desk
    first, *rest = honest(world, outcome)
    assert show(desk, [replace(first, answer=answer("7")), *rest]) == 1
    assert told(capsys) == "LEAF_NOT_COMMITTED"


@pytest.mark.parametrize("part", ["salt", "proof"])
def test_another_salt_or_proof(desk, part, capsys):
    _, world, outcome = desk
    first, *rest = honest(world, outcome)
    changed = {"salt": bytes(32)} if part == "salt" else {"proof": first.proof[:-1]}
    assert show(desk, [replace(first, **changed), *rest]) == 1
    assert told(capsys) == "LEAF_NOT_COMMITTED"


def test_a_good_answer_shown_in_the_place_of_a_bad_one(desk, capsys):
    """The leaf holds its own place: a right answer of one point cannot stand for another point."""
    _, world, outcome = desk
    (leaf,) = world.openings(outcome, 1, [2])
    assert show(desk, [replace(leaf, place=3)], count=0) == 1
    assert told(capsys) == "LEAF_NOT_COMMITTED"


def test_a_run_shown_as_another_run(desk, capsys):
    _, world, outcome = desk
    (leaf,) = world.openings(outcome, 1, [2])
    assert show(desk, [replace(leaf, run=2)], count=0) == 1
    assert told(capsys) == "LEAF_NOT_COMMITTED"


def test_a_drawn_leaf_left_out(desk, capsys):
    _, world, outcome = desk
    assert show(desk, honest(world, outcome)[1:]) == 1
    assert told(capsys) == "NOT_THE_DRAWN_LEAVES"


def test_another_leaf_instead_of_the_drawn_one(desk, capsys):
    _, world, outcome = desk
    _first, *rest = honest(world, outcome)
    other = next(place for place in range(CELL.points) if place not in drawn(outcome)[1])
    assert show(desk, [*world.openings(outcome, 1, [other]), *rest]) == 1
    assert told(capsys) == "NOT_THE_DRAWN_LEAVES"


def test_a_leaf_of_another_session(desk, capsys):
    _, world, outcome = desk
    (leaf,) = world.openings(outcome, 1, [0])
    assert show(desk, [replace(leaf, outcome="0" * 64)], count=0) == 1
    assert told(capsys) == "OTHER_SESSION"


def test_nothing_is_opened_against_a_bundle_that_is_false(desk, capsys):
    folder, world, outcome = desk
    (folder / "bundle.tar").write_bytes(world.tar()[:-1])
    assert show(desk, honest(world, outcome)) == 1
    assert "container" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--seed", SEED], ["--count", "3"], ["--seed", "short", "--count", "3"]])
def test_half_a_draw_is_a_usage_error(desk, more):
    _, world, outcome = desk
    assert show(desk, honest(world, outcome), *more, count=0) == 2


@pytest.mark.parametrize("references", ["{}", "[]", "[1]", "nonsense"])
def test_references_that_are_none_are_a_usage_error(desk, references, capsys):
    folder, world, outcome = desk
    (folder / "references.json").write_text(references)
    assert show(desk, honest(world, outcome), "--references", str(folder / "references.json")) == 2
    assert told(capsys) == "REFERENCES_MALFORMED"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data.replace(b'"run":1', b'"run":01'),
        lambda data: data.replace(b'"run":1', b'"run":1,"run":1'),
        lambda data: data.replace(b"jouleseal-openings/1", b"jouleseal-openings/2"),
        lambda data: data.partition(b"\n")[2],
        lambda data: data + data.splitlines(keepends=True)[-1],
        lambda data: b"".join([data.splitlines(keepends=True)[0], *data.splitlines(keepends=True)[:0:-1]]),
        lambda data: data.replace(b'"place":', b'"colour":1,"place":'),
    ],
)
def test_a_file_that_is_not_as_it_is_written(desk, change):
    _, world, outcome = desk
    with pytest.raises(VerificationError):
        parse_openings(change(write_openings(honest(world, outcome))))


def test_what_is_written_is_read_again(desk):
    _, world, outcome = desk
    openings = honest(world, outcome)
    assert list(parse_openings(write_openings(reversed(openings)))) == openings


@given(seed=st.binary(min_size=32, max_size=32), leaves=st.integers(0, 300), count=st.integers(0, 40))
def test_a_draw_is_of_the_size_asked_for_and_within_the_run(seed, leaves, count):
    places = drawn_places(seed, "ab" * 32, 1, leaves, count)
    assert len(places) == min(count, leaves)
    assert list(places) == sorted(set(places))
    assert all(0 <= place < leaves for place in places)


def test_every_leaf_is_drawn_about_as_often_as_any_other():
    counts = [0] * 50
    for number in range(2_000):
        for place in drawn_places(number.to_bytes(32, "big"), "ab" * 32, 1, 50, 5):
            counts[place] += 1
    assert min(counts) > 140  # 200 expected, deviation 13.4
    assert max(counts) < 260


def test_the_golden_draw():
    """A second implementation has something to agree with."""
    assert drawn_places(bytes(32), "00" * 32, 1, 1_000, 3) == GOLDEN


GOLDEN = (38, 552, 828)


def test_top_labels_are_what_the_wire_says():
    from orchestrator.drive.codec import encode_answer  # noqa: PLC0415 - the wire, which the verifier cannot import
    from protocol.samples import LabelsAnswer, SampleError, TextAnswer  # noqa: PLC0415

    assert top_label(answer("7")) == "7"
    assert top_label(encode_answer(LabelsAnswer(labels=(("7", 0.5), ("1", 0.25)), usage=None))) == "7"
    assert top_label(encode_answer(LabelsAnswer(labels=(), usage=None))) == ""
    assert top_label(encode_answer(TextAnswer(text="seven", reasoning=None, usage=None))) is None
    assert SampleError is not None


@pytest.mark.parametrize(
    "data", [b"\x22\x05\x0a", b"\x22", b"\x80" * 11, b"\x23\x00", b"\x00\x01", b"\x22\x05\x0a\x03\x0a\x01\xff"]
)
def test_bytes_that_are_no_answer(data):
    with pytest.raises(VerificationError) as refused:
        top_label(data)
    assert refused.value.code == "BAD_ANSWER"


def test_accuracy_is_exact_and_passes_over_other_answers():
    leaves = open_leaves(SECRET, "ab" * 32, 1, {0: answer("a"), 1: answer("b"), 2: b"\x12\x00"}, [0, 1, 2])
    assert accuracy_of(leaves, ["a", "c"]) == (1, 2)
    assert Fraction(*accuracy_of(leaves, ["a", "c"])) == Fraction(1, 2)


def test_the_vault_opens_what_it_kept(tmp_path):
    """What the operator committed to is what the vault opens, under the root that was signed."""
    vault = Vault(tmp_path / "private", tmp_path / "vault.key")
    kept = {1: {n: answer(str(n)) for n in range(7)}, 2: {n: answer("x") for n in range(7)}}
    vault.put("3-abc", SECRET, kept)
    opened = vault.open_leaves("3-abc", "ab" * 32, {1: (0, 6), 2: (3,)})
    for leaf in opened:
        tree = commit(SECRET, leaf.run, kept[leaf.run])
        leaf.check(root=tree.root.hex(), leaves=tree.leaves)
    assert [leaf.at[1:] for leaf in opened] == [(1, 0), (1, 6), (2, 3)]
    with pytest.raises(VerificationError) as refused:
        vault.open_leaves("3-abc", "ab" * 32, {1: (7,)})
    assert refused.value.code == "NO_SUCH_LEAF"


def test_the_operators_command_opens_what_the_auditor_drew(desk, capsys):
    """`jouleseal open` and `jouleseal-verify open-leaves` draw the same leaves from one seed."""
    from orchestrator.cli import main as operator  # noqa: PLC0415 - the other wing, which the verifier cannot import

    folder, world, outcome = desk
    intent = next(said for said in world.said if said.name == "session-intent")
    kept = {run: world.answers(CELL.points) for run in (1, 2)}
    Vault(folder / "private", folder / "keys" / "vault.key").put(
        f"{intent.index}-{intent.statement_id[:12]}", SECRET, kept
    )
    command = ["open", str(folder / "bundle.tar"), "--home", str(folder), "--seed", SEED, "--count", "5"]
    assert operator([*command, "--out", str(folder / "out.jsonl")]) == 0
    assert "10 leaves" in capsys.readouterr().out
    assert (folder / "out.jsonl").stat().st_mode & 0o777 == 0o600
    assert (folder / "out.jsonl").read_bytes() == write_openings(honest(world, outcome))
    assert show(desk, (folder / "out.jsonl").read_bytes()) == 0
    assert operator([*command[:5], "short", "--count", "5", "--out", str(folder / "none")]) == 2


def test_a_bundle_that_names_a_session_twice_opens_nothing(desk, capsys):
    """Somebody sends the operator a bundle of their own making, to see more answers than they drew."""
    from orchestrator.cli import main as operator  # noqa: PLC0415 - see above

    folder, world, _ = desk
    intent = next(said for said in world.said if said.name == "session-intent")
    vault = Vault(folder / "private", folder / "keys" / "vault.key")
    vault.put(f"{intent.index}-{intent.statement_id[:12]}", SECRET, {run: world.answers(CELL.points) for run in (1, 2)})
    files = world.bundle()
    path = next(path for path in files if path.endswith("session-outcome.sigstore.json"))
    files["statements/00000099-session-outcome.sigstore.json"] = files[path]
    (folder / "forged.tar").write_bytes(world.tar(files))
    command = ["open", str(folder / "forged.tar"), "--home", str(folder), "--seed", SEED, "--count", "5"]
    assert operator([*command, "--out", str(folder / "out.jsonl")]) == 2
    assert "SESSION_TWICE" in capsys.readouterr().err
    assert not (folder / "out.jsonl").exists()
