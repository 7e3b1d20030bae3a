"""docs/manifest.md says what the readers do: its tables have exactly their fields, and they read its examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from protocol.attestation.beside import SPEAKERS, read_beside
from protocol.attestation.key_event import KEY_EVENT, KeyEvent
from protocol.attestation.predicates import read_predicate
from protocol.attestation.statement import BESIDE_NAMES, PREDICATE_NAMES, Statement, predicate_type
from tests.unit.attestation import statements

PAGE = (Path(__file__).parents[3] / "docs/manifest.md").read_text(encoding="utf-8")
OPEN = {"figures", "environment", "sources", "recomputed", "committed", "secondary"}


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def table(text: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def example(name: str):
    return json.loads(re.search(r"```json\n(.*?)```", section(name), re.DOTALL)[1])


def paths(value, prefix="") -> set[str]:
    """Return the paths of a predicate's fields, as the tables write them; open objects are one field."""
    found = set()
    for key, inner in value.items():
        path = f"{prefix}{key}"
        if isinstance(inner, dict) and key not in OPEN:
            found |= paths(inner, path + ".")
        elif isinstance(inner, list):
            for item in inner:
                found |= paths(item, path + "[].") if isinstance(item, dict) else {path + "[]"}
        else:
            found.add(path)
    return found


@pytest.mark.parametrize("name", PREDICATE_NAMES)
def test_the_tables_have_exactly_the_fields_of_the_predicate(name):
    rows = table(section(name)) | table(section("What all four share"))
    written = paths(example(name))
    if name == "session-outcome":
        written |= paths({"runner": statements.RUNNER, **statements.aborted()})
    nullable = {row for row in rows if any(other.startswith(row + ".") for other in rows)}
    later = ("submissionStatement", "probes", "cells[].probes", "cells[].dataset.privateShard")
    optional = {row for row in rows if row.endswith((".mediaType", ".outputTokens")) or row.startswith(later)}
    assert written - rows == set()
    unexplained = rows - written - nullable - optional - {"failure.code", "failure.blame"}
    assert unexplained == set()


def test_a_key_event_is_specified_and_its_example_read():
    written = example(KEY_EVENT)
    assert table(section(KEY_EVENT)) == paths(written)
    assert KeyEvent.from_json(written).to_json() == written
    assert f"`{predicate_type(KEY_EVENT)}`" in section(KEY_EVENT)


@pytest.mark.parametrize("name", BESIDE_NAMES)
def test_what_vendors_and_auditors_sign_is_specified_and_its_example_read(name):
    written = example(name)
    rows = table(section(name))
    assert rows - paths(written) == {row for row in rows if row == "production"}
    assert paths(written) <= rows
    statement = Statement(predicate_name=name, subject_sha256=statements.IMAGE, predicate=written)
    assert read_beside(statement).to_json() == written
    assert f"`{predicate_type(name)}`" in section(name)
    assert f"role `{SPEAKERS[name]}`" in section(name) or name == "equivalence-finding"


@pytest.mark.parametrize("name", PREDICATE_NAMES)
def test_the_examples_are_read_by_the_strict_reader(name):
    written = Statement(predicate_name=name, subject_sha256=statements.IMAGE, predicate=example(name))
    assert read_predicate(written).to_json() == example(name)
    assert f"`{predicate_type(name)}`" in section(name)
