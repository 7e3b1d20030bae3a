"""The published JSON Schemas say what the strict readers do: field by field, and for every mutation of every example.

Whoever adds a field to a reader and not to `protocol.attestation.schemas`, or the other way round, fails here.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.attestation.beside import read_beside
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import dumps
from protocol.attestation.key_event import KEY_EVENT, parse_key_statement
from protocol.attestation.predicates import read_predicate
from protocol.attestation.schemas import DIALECT, statement_schemas
from protocol.attestation.statement import BESIDE_NAMES, PREDICATE_NAMES, parse_statement, predicate_type
from protocol.errors import JoulesealError
from tests.golden import vectors
from tests.golden.mutants import VALUES, mutants, places, put
from tests.worlds.json_schema import accepts

REPOSITORY = Path(__file__).parents[3]
SCHEMAS = statement_schemas()
NAMES = sorted(vectors.statements())
WRAPPER = re.compile(r"\[\]\.(item|diffId|place)$")  # how the reader names the one value of a bare item

OPTIONAL = {
    "campaign-plan": {"submissionStatement", "privateShard", "probes"},
    "session-outcome": {"outputTokens", "secondary", "probes"},
}

kinds = pytest.mark.parametrize("kind", sorted(SCHEMAS))
examples = pytest.mark.parametrize("name", NAMES)


def kind_of(statement: dict) -> str:
    return statement["predicateType"].split("/")[-2]


def read(kind: str, payload: bytes) -> None:
    if kind == KEY_EVENT:
        parse_key_statement(payload)
        return
    statement = parse_statement(payload, (kind,))
    if kind in BESIDE_NAMES:
        read_beside(statement)
    else:
        read_predicate(statement)


def is_read(kind: str, statement: dict) -> bool:
    try:
        read(kind, dumps(statement))
    except JoulesealError:
        return False
    return True


def beyond(kind: str, statement: dict) -> bool:
    """Tell whether a statement that its schema accepts breaks a rule that the schema's $comment names."""
    said = statement["predicate"]
    times = [value for name, value in said.items() if name in TIMES]
    return (
        not all(exists(value) for value in times)
        or any(len({item[key] for item in said[field]}) < len(said[field]) for field, key in ONCE.get(kind, ()))
        or BEYOND.get(kind, lambda *_: False)(said, statement["subject"][0]["digest"]["sha256"])
    )


def not_in_order(said: dict, _: str) -> bool:
    runs = [cell["runs"] for cell in said["cells"]]
    numbers = [[run["run"] for run in each] for each in runs]
    places = [run[name] for each in runs for run in each for name in ("places", "differing")]
    stray = any(set(run["differing"]) - set(run["places"]) for each in runs for run in each)
    return stray or any(each != sorted(set(each)) for each in [*numbers, *places])


TIMES = {"startedOn", "finishedOn", "declaredOn", "decidedOn", "deadline", "signedOn", "validUntil"}
TIMES |= {"challengedOn", "foundOn"}
ONCE = {
    "campaign-plan": [("cells", "id")],
    "campaign-result": [("cells", "id"), ("byproducts", "name")],
    "session-outcome": [("resolvedDependencies", "name"), ("byproducts", "name")],
    "equivalence-finding": [("cells", "id")],
}
BEYOND = {
    "campaign-plan": lambda said, subject: said["image"]["configDigest"] != f"sha256:{subject}",
    KEY_EVENT: lambda said, _: said["successor"] == said["keyId"],
    "submission": lambda said, _: (
        datetime.fromisoformat(said["validUntil"]) <= datetime.fromisoformat(said["signedOn"])
    ),
    "equivalence-finding": not_in_order,
}


def exists(moment: str) -> bool:
    try:
        datetime.fromisoformat(moment)
    except ValueError:
        return False
    return True


def agree(kind: str, statement: dict, what: object) -> bool:
    valid = accepts(SCHEMAS[kind], statement)
    expected = valid and not beyond(kind, statement)
    assert is_read(kind, statement) == expected, f"schema {valid}, reader {not expected}: {what}"
    return expected


@examples
def test_schema_and_reader_agree_about_every_mutant(name):
    kind = kind_of(vectors.statements()[name])
    verdicts = [agree(kind, statement, what) for what, statement in mutants(name)]
    assert verdicts[0], "the example itself"
    assert len(verdicts) > 1000
    assert 0 < sum(verdicts) < len(verdicts), "some mutants are harmless, most are not: both ways are walked"


@st.composite
def several(draw):
    """Draw an example with two to five things changed."""
    name = draw(st.sampled_from(NAMES))
    statement = vectors.statements()[name]
    for _ in range(draw(st.integers(2, 5))):
        path = draw(st.sampled_from(places(name)))
        try:
            statement = put(statement, path, draw(st.sampled_from(VALUES)))
        except (KeyError, IndexError, TypeError):  # the place went with an earlier change
            continue
    return kind_of(vectors.statements()[name]), statement


@settings(max_examples=400, database=None, deadline=None)
@given(several())
def test_schema_and_reader_agree_about_several_changes(drawn):
    agree(*drawn, drawn)


def schema_paths(schema: dict, path: str, root: dict) -> tuple[set[str], set[str]]:
    """Return the paths of all fields that a schema names, and of the objects whose inside it leaves open."""
    if "$ref" in schema:
        return schema_paths(root["$defs"][schema["$ref"].rpartition("/")[2]], path, root)
    if "anyOf" in schema:
        parts = [schema_paths(each, path, root) for each in schema["anyOf"]]
        return set().union(*(part[0] for part in parts)), set().union(*(part[1] for part in parts))
    if "items" in schema:
        return schema_paths(schema["items"], path + "[]", root)
    if schema.get("type") == "object" and "properties" not in schema:
        return set(), {path}
    named, opened = set(), set()
    for name, inner in schema.get("properties", {}).items():
        found = schema_paths(inner, f"{path}.{name}", root)
        named |= {f"{path}.{name}"} | found[0]
        opened |= found[1]
    return named, opened


def asked_paths(kind: str, monkeypatch) -> set[str]:
    """Return the paths of all fields that the reader of a kind asks for, in any of its examples."""
    asked = set()

    def noting(original):
        def noted(self, name):
            asked.add(re.sub(r"\[\d+\]", "[]", self.at(name)))
            return original(self, name)

        return noted

    with monkeypatch.context() as patched:
        for method in ("raw", "has"):
            patched.setattr(Fields, method, noting(getattr(Fields, method)))
        for statement in vectors.statements().values():
            if kind_of(statement) == kind:
                read(kind, dumps(statement))
    # The reader calls the whole "statement" and the predicate by its kind.
    return {path.replace(f"{kind}.", "statement.predicate.", 1) if path.startswith(kind) else path for path in asked}


@kinds
def test_a_schema_names_exactly_the_fields_that_its_reader_asks_for(kind, monkeypatch):
    named, opened = schema_paths(SCHEMAS[kind], "statement", SCHEMAS[kind])
    asked = {path for path in asked_paths(kind, monkeypatch) if not WRAPPER.search(path)}
    asked = {path for path in asked if not any(path.startswith(f"{each}.") for each in opened)}
    assert asked == named


@kinds
def test_no_field_is_optional_but_media_types_and_those_that_came_later(kind):
    optional = defaultdict(set)

    def walk(value, path):
        if isinstance(value, dict):
            if "properties" in value and "additionalProperties" in value:
                optional[path] = set(value["properties"]) - set(value["required"])
            for name, inner in value.items():
                walk(inner, f"{path}/{name}")

    walk(SCHEMAS[kind], "")
    assert set().union(*optional.values()) <= OPTIONAL.get(kind, set()) | {"mediaType"}


@kinds
def test_a_schema_is_published_and_linked_from_the_manifest(kind):
    published = json.loads((REPOSITORY / f"docs/schemas/{kind}.schema.json").read_bytes())
    assert published == SCHEMAS[kind]
    assert published["$schema"] == DIALECT
    assert published["$id"].startswith(predicate_type(kind))
    page = (REPOSITORY / "docs/manifest.md").read_text(encoding="utf-8")
    assert f"(schemas/{kind}.schema.json)" in page


def test_every_statement_kind_has_a_schema_and_no_other_file_is_published():
    assert set(SCHEMAS) == {*PREDICATE_NAMES, *BESIDE_NAMES, KEY_EVENT}
    there = {path.name for path in (REPOSITORY / "docs/schemas").iterdir()}
    assert there == {f"{kind}.schema.json" for kind in SCHEMAS}


def test_the_judge_knows_its_words_and_no_others():
    with pytest.raises(KeyError):
        accepts({"minProperties": 1}, {})
    assert accepts({"const": 1}, 1)
    assert not accepts({"const": 1}, True)
    assert not accepts({"type": "integer"}, True)
    assert accepts({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"const": 1}}, 1)
    assert not accepts({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"const": 1}}, "x")
    assert not accepts({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}])
