"""Finds every public parser of bytes or text in the code, and which of them the soak's seeds reach.

A parser is a function or method whose name begins with one of `VERBS` and whose first argument is bytes or text, or
several of them. What a target reaches is observed, not declared: its seeds are read, and every call is noted.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.soak.target import Target

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("protocol", "orchestrator", "verifier")
VERBS = re.compile(r"(parse|read|unpack|loads|decode|pem|open)(_|$)")
TEXTS = {
    *("bytes", "str", "BinaryIO", "Sequence[bytes]", "Iterable[bytes]", "Mapping[str, bytes]"),
    *("tuple[bytes, ...]", "bytes | None", "bytes | str", "bytearray", "memoryview", "Iterable[str]", "Sequence[str]"),
}


def parsers() -> set[str]:
    """Return the parsers as `path:name`; methods as `path:Class.name`."""
    paths = [path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py") if "_pb2" not in path.name]
    return {
        f"{path.relative_to(REPOSITORY)}:{name}"
        for path in paths
        for name in _parsers(ast.parse(path.read_text(encoding="utf-8")).body, "")
    }


def _parsers(body: Sequence[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _parsers(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and VERBS.match(node.name) and _takes_text(node):
            yield f"{prefix}{node.name}"


def _takes_text(node: ast.FunctionDef) -> bool:
    first = next((each for each in node.args.args if each.arg not in {"self", "cls"}), None)
    return first is not None and first.annotation is not None and ast.unparse(first.annotation) in TEXTS


def reached(targets: Sequence[Target]) -> set[str]:
    """Return, as `path:name`, all of our functions that are called while the targets read their seeds."""
    found: set[tuple[str, str]] = set()

    def note(frame, event, _):
        if event == "call":
            found.add((frame.f_code.co_filename, frame.f_code.co_qualname))

    for target in targets:
        seeds = target.seeds()  # made before anything is noted: what makes a seed does not soak it
        sys.setprofile(note)
        try:
            for seed in seeds:
                target.run(seed)
        finally:
            sys.setprofile(None)
    ours = f"{REPOSITORY}/"
    return {f"{path.removeprefix(ours)}:{name}" for path, name in found if path.startswith(ours)}
