"""The catalogue of codes against the code that raises them, and docs/vendor.md against both."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from orchestrator.conformance import page
from orchestrator.conformance.cell import CELL_RULES
from orchestrator.conformance.image import IMAGE_RULES
from orchestrator.conformance.rules import CODES, EXPECTED, Rule
from orchestrator.datasets.store import DEFAULT_DATASETS
from orchestrator.launch.connect import NotYet
from orchestrator.submission import parse_submission
from protocol import errors
from protocol.errors import InvalidSubmission, SubmissionError

ROOT = Path(orchestrator.__file__).parent
VENDORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SubmissionError)}
HELPERS = {"violation", "_violation", "late", "_guarded"}  # make or map to vendors' errors; the code comes first
ELSEWHERE = {
    "QUALITY_GATE",  # the class's own, never raised without a code
}


def constants(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.isupper():
            yield part.value


def raised(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in VENDORS:
                yield from (code for word in node.keywords if word.arg == "code" for code in constants(word.value))
            elif node.func.id in HELPERS and node.args:
                yield from constants(node.args[0])


def test_every_fault_of_a_vendors_has_a_code_with_a_remedy():
    rooms = [*(ROOT / "drive").glob("*.py"), *(ROOT / "launch").glob("*.py"), *(ROOT / "evaluate").glob("*.py")]
    found = {code for path in [*rooms, ROOT / "session.py", ROOT / "submission.py"] for code in raised(path)}
    found |= {state.value for state in NotYet}
    assert len(found) > 40
    assert found - CODES.keys() - ELSEWHERE == set()


def test_every_code_of_ours_is_one_that_something_reports():
    text = "".join(path.read_text() for path in ROOT.rglob("*.py") if path.name != "rules.py")
    assert [code for code in CODES if f'"{code}"' not in text] == []


def test_every_rule_is_checked_somewhere_and_says_what_it_expects():
    assert {*IMAGE_RULES, *CELL_RULES, Rule.SUBMISSION} == set(Rule) == EXPECTED.keys()


def test_a_remedy_never_sends_the_vendor_back_to_the_check_that_found_it():
    assert all(code.remedy and code.meaning and "jouleseal check" not in code.remedy for code in CODES.values())


def test_the_vendors_page_has_the_numbers_of_the_code():
    text = page.PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- made: {name} -->" in text for name in page.TABLES)
    assert page.renewed(text) == text


def test_a_table_that_the_code_does_not_make_is_noticed():
    with pytest.raises(KeyError):
        page.renewed("<!-- made: nothing -->\n<!-- end -->")


def test_every_key_that_a_submission_may_have_is_on_the_vendors_page():
    wrong = b"x: 1\nmodel: {x: 1}\nresources: {x: 1}\ntasks: [{x: 1}]\n"
    with pytest.raises(InvalidSubmission) as caught:
        parse_submission(wrong, DEFAULT_DATASETS)
    table = page.submission_table()
    listed = [line.split("expected one of ")[1] for line in caught.value.observed.splitlines() if "one of " in line]
    prefixes = {"name": "model.", "memory_mib": "resources.", "task": "tasks[]."}
    assert len(listed) == 4
    for keys in (line.split(", ") for line in listed):
        prefix = next((prefixes[key] for key in keys if key in prefixes), "")
        assert all(f"| `{prefix}{key}` |" in table for key in keys)
