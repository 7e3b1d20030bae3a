"""An auditor who holds only the index finds the digest and the shares of the sources; any other index is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.datasets.store import load
from protocol.attestation.jcs import dumps
from protocol.errors import VerificationError
from protocol.methodology import dataset_index as index
from protocol.methodology.dataset import dataset_digest, shares_in_thirds, source_counts
from protocol.samples import ImageInput, Point, QuestionInput, TextInput, TextPairInput

TEXT = st.text(max_size=20)
NAME = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x7f"), min_size=1, max_size=20)
INPUTS = st.one_of(
    st.builds(TextInput, text=TEXT),
    st.builds(QuestionInput, question=TEXT, context=TEXT),
    st.builds(TextPairInput, first=TEXT, second=TEXT),
    st.builds(ImageInput, content=st.binary(max_size=20)),
)
POINTS = st.lists(
    st.builds(Point, index=st.just(0), point_id=NAME, source=NAME, input=INPUTS, reference=st.none() | TEXT),
    min_size=1,
    max_size=8,
    unique_by=lambda point: point.point_id,
)


def lines(count=2, **changes):
    """The lines of a good index with its second point changed."""
    rows = [{"id": f"p-{n}", "sha256": f"{n:064x}", "size": n, "source": "here"} for n in range(count)]
    rows[-1].update(changes)
    return [{"format": index.INDEX_FORMAT, "points": count}, *rows]


def written(rows):
    return b"".join(dumps(row) + b"\n" for row in rows)


def refusal(data):
    with pytest.raises(VerificationError) as caught:
        index.unpack(data)
    return caught.value


@given(POINTS)
def test_the_index_says_all_that_the_digest_stands_on(points):
    packed = index.pack(points)
    rows = index.unpack(packed)
    assert index.digest_of(rows) == dataset_digest(points)
    assert index.source_counts(rows) == source_counts(points)
    assert [row.point_id for row in rows] == [point.point_id for point in points]
    assert b"".join([packed.partition(b"\n")[0] + b"\n", *(row.to_line() for row in rows)]) == packed


@pytest.mark.parametrize(("name", "thirds"), [("embedded-reviews", True), ("embedded-digits", False)])
def test_an_auditor_finds_digest_and_thirds_of_the_sets_in_the_package(name, thirds):
    dataset = load(name)
    rows = index.unpack(index.pack(dataset.points))
    assert index.digest_of(rows) == dataset.digest
    assert shares_in_thirds(index.source_counts(rows)) is thirds is dataset.thirds


def test_no_point_can_be_changed_in_the_index_unseen():
    """Each of the four facts is part of the digest, so an index that was mended to look better is of another set."""
    honest = index.unpack(written(lines()))
    for change in ({"id": "p-9"}, {"sha256": "9" * 64}, {"size": 9}, {"source": "there"}):
        assert index.digest_of(index.unpack(written(lines(**change)))) != index.digest_of(honest)
    assert index.digest_of(honest[:1]) != index.digest_of(honest)
    assert index.digest_of(honest[::-1]) == index.digest_of(honest)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": "p-0"}, "BAD_INDEX"),
        ({"id": ""}, "BAD_FIELD"),
        ({"id": "a\nb"}, "BAD_FIELD"),
        ({"id": "a" * 513}, "BAD_FIELD"),
        ({"id": 7}, "BAD_FIELD"),
        ({"source": None}, "BAD_FIELD"),
        ({"size": -1}, "BAD_FIELD"),
        ({"size": True}, "BAD_FIELD"),
        ({"size": index.MAX_POINT_BYTES + 1}, "BAD_FIELD"),
        ({"sha256": "AB" * 32}, "BAD_FIELD"),
        ({"sha256": "ab" * 31}, "BAD_FIELD"),
        ({"more": 1}, "UNKNOWN_FIELD"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(change, code):
    assert refusal(written(lines(**change))).code == code


def test_a_file_that_breaks_a_rule_is_refused(monkeypatch):
    good = written(lines())
    assert len(index.unpack(good)) == 2
    head, first, second = lines()
    for data, code in (
        (b"", "BAD_INDEX"),
        (good[:-1], "BAD_INDEX"),
        (good + b"\n", "BAD_INDEX"),
        (written([head, first]), "BAD_INDEX"),
        (written([head, first, second, {**first, "id": "p-3"}]), "BAD_INDEX"),
        (written([{**head, "points": 0}]), "BAD_FIELD"),
        (written([{**head, "format": "jouleseal-dataset-index/2"}, first, second]), "BAD_FIELD"),
        (written([{**head, "note": ""}, first, second]), "UNKNOWN_FIELD"),
        (written([[], first, second]), "BAD_FIELD"),
        (good.replace(b'"size":0', b'"size": 0'), "NOT_CANONICAL"),
        (good.replace(b'"size":0', b'"size":0.0'), "MALFORMED_JSON"),
    ):
        assert refusal(data).code == code, data
    monkeypatch.setattr(index, "MAX_INDEX_BYTES", len(good) - 1)
    assert refusal(good).code == "BAD_INDEX"


def test_a_row_that_lacks_a_field_is_refused():
    for name in ("id", "source", "size", "sha256"):
        rows = lines()
        del rows[1][name]
        error = refusal(written(rows))
        assert (error.code, name in error.observed) == ("BAD_FIELD", True)


def test_the_index_of_a_small_set_is_this_file():
    """A file written down, so that what the index is does not change unnoticed."""
    packed = index.pack([Point(index=0, point_id="p-1", source="here", input=TextInput(text="ab"), reference="c")])
    assert [json.loads(line) for line in packed.splitlines()] == [
        {"format": "jouleseal-dataset-index/1", "points": 1},
        {
            "id": "p-1",
            "source": "here",
            "size": 47,
            # kind, number of parts, "ab" and "c", each behind its length in 8 bytes: written with printf, hashed with
            # sha256sum
            "sha256": "bb60ce6c6145dfb7182fc4082e5d0cf28862b3abc40ea870c68344559d06b802",
        },
    ]
