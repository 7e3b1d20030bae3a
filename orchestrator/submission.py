"""submission.yaml becomes a Submission, or every mistake in it at once, each with its line.

The only room that imports yaml. The document is composed into nodes, never constructed into objects; anchors, aliases
and tags are refused, so that a small file stays a small value. Format: docs/vendor.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeAlias, TypeVar

import yaml

from protocol.errors import InvalidSubmission, UsageError
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import Task
from protocol.submission import Resources, Submission, TaskRequest
from protocol.units import MIB

SCHEMA = 1
MAX_DOCUMENT_BYTES = 64 * 1024  # a submission names things; it carries none of them
MAX_NAME_CHARS = 128  # as on the wire
MAX_MEMORY_MIB = 1 << 20  # 1 TiB: more than any single node that we know of
MAX_CPUS = 1024
DEFAULT_MEMORY_MIB = 2048
DEFAULT_CPUS = 1
DEFAULT_SHM_MIB = 64  # Docker's own default

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+:@/()-]*")
_E = TypeVar("_E", bound=Enum)
_Offered: TypeAlias = Mapping[Task, tuple[str, ...]]  # the datasets of each task, its default first


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the document: its line (from 1), what was seen, and what was expected."""

    line: int
    observed: str
    expected: str

    def __str__(self) -> str:
        """Return the mistake as one line of text."""
        return f"line {self.line}: {self.observed}; expected {self.expected}"


@dataclass
class _Document:
    """The nodes of one document and the mistakes found so far."""

    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, node: yaml.Node, observed: str, expected: str) -> None:
        self.mistakes.append(Mistake(node.start_mark.line + 1, observed, expected))

    def mapping(self, node: yaml.Node, required: set[str], optional: set[str], what: str) -> dict[str, yaml.Node]:
        """Return the entries of a mapping by key; unknown, missing and repeated keys are mistakes."""
        if not isinstance(node, yaml.MappingNode):
            self.mistake(node, f"{what} is {_kind(node)}", f"a mapping with {_listing(required)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else _kind(key)
            if name in found:
                self.mistake(key, f"{what} has the key {name!r} twice", "each key once")
            elif name not in required | optional:
                self.mistake(key, f"{what} has the key {name!r}", f"one of {_listing(required | optional)}")
            found[name] = value
        for name in sorted(required - found.keys()):
            self.mistake(node, f"{what} has no key {name!r}", f"the keys {_listing(required)}")
        return found

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.mistake(node, f"{what} is {_kind(node)}", "a list with at least one item")
            return []
        return list(node.value)

    def name(self, node: yaml.Node, what: str) -> str:
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        if not _NAME.fullmatch(text) or len(text) > MAX_NAME_CHARS:
            seen = repr(text[:40]) if text else _kind(node)
            self.mistake(
                node, f"{what} is {seen}", f"a name of at most {MAX_NAME_CHARS} letters, digits, spaces or ._+:@/()-"
            )
            return "?"
        return text

    def integer(self, node: yaml.Node, what: str, low: int, high: int) -> int:
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(high)) else -1
        if not low <= value <= high:
            self.mistake(node, f"{what} is {text or _kind(node)}", f"a whole number from {low} to {high}")
            return low
        return value

    def choice(self, node: yaml.Node, what: str, choices: type[_E]) -> _E | None:
        text = node.value if isinstance(node, yaml.ScalarNode) else _kind(node)
        for choice in choices:
            if choice.value == text:
                return choice
        self.mistake(node, f"{what} is {text!r}", f"one of {_listing({str(c.value) for c in choices})}")
        return None

    def choices(self, node: yaml.Node, what: str, choices: type[_E]) -> tuple[_E, ...]:
        named = [self.choice(item, what, choices) for item in self.items(node, f"the list of {what}s")]
        found = [choice for choice in named if choice is not None]
        if len(set(found)) != len(found):
            self.mistake(node, f"a {what} is listed twice", "each once")
        return tuple(found)


def read_submission(
    path: Path, datasets: Mapping[Task, str], named: Mapping[Task, Collection[str]] | None = None
) -> tuple[Submission, bytes]:
    """Read a submission file; returns the submission and the document's bytes, which become evidence.

    `datasets` maps each task that can be run here to its default dataset, `named` to others that may be named. Raises
    UsageError where the file cannot be read and InvalidSubmission with every mistake, each with its line, where its
    content is wrong.
    """
    try:
        document = path.read_bytes()
    except OSError as error:
        raise UsageError(
            code="SUBMISSION_UNREADABLE",
            observed=f"{path}: {error.strerror}",
            expected="a readable submission.yaml",
            hint="check the path; `jouleseal new DIR` makes a folder with a working submission.yaml",
        ) from error
    return parse_submission(document, datasets, named), document


def parse_submission(
    document: bytes, datasets: Mapping[Task, str], named: Mapping[Task, Collection[str]] | None = None
) -> Submission:
    """Parse a document's bytes; raises InvalidSubmission with every mistake."""
    reader = _Document()
    root = _compose(document)
    more = named or {}
    offered = {task: (name, *sorted({*more.get(task, ())} - {name})) for task, name in datasets.items()}
    submission = _submission(reader, root, document, offered)
    if reader.mistakes:
        mistakes = sorted(set(reader.mistakes), key=lambda m: (m.line, m.observed))
        raise InvalidSubmission(
            code="SUBMISSION_MISTAKES",
            observed=f"{len(mistakes)} mistake{'s' * (len(mistakes) > 1)}:\n  " + "\n  ".join(map(str, mistakes)),
            expected="a document as described in docs/vendor.md",
            hint="correct the lines named above and hand it in again",
        )
    return submission


def _compose(document: bytes) -> yaml.Node:
    if len(document) > MAX_DOCUMENT_BYTES:
        raise _unreadable(f"{len(document)} bytes", f"at most {MAX_DOCUMENT_BYTES} bytes")
    try:
        text = document.decode("utf-8")
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken | yaml.TagToken):
                line = token.start_mark.line + 1
                raise _unreadable(f"line {line}: an anchor, an alias or a tag", "plain mappings, lists and scalars")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise _unreadable(where + str(getattr(error, "problem", None) or error), "a YAML document in UTF-8") from error
    if node is None:
        raise _unreadable("an empty document", "a YAML mapping")
    return node


def _unreadable(observed: str, expected: str) -> InvalidSubmission:
    return InvalidSubmission(
        code="SUBMISSION_UNPARSABLE", observed=observed, expected=expected, hint="compare with docs/vendor.md"
    )


def _submission(reader: _Document, root: yaml.Node, document: bytes, offered: _Offered) -> Submission:
    top = reader.mapping(
        root, {"schema", "vendor", "model", "image", "tasks"}, {"scenarios", "resources"}, "the document"
    )
    get = _getter(top)
    if "schema" in top and reader.integer(top["schema"], "schema", 0, 1_000_000) != SCHEMA:
        reader.mistake(top["schema"], "this schema", f"schema {SCHEMA}, the one that this version reads")
    model_node = top.get("model")
    model = (
        reader.mapping(model_node, {"name", "version", "licence", "framework"}, set(), "model") if model_node else {}
    )
    model_get = _getter(model)
    image = get("image", lambda node: reader.name(node, "image"))
    sha256 = hashlib.sha256(document).hexdigest()
    return Submission(
        submission_id=f"{_slug(model_get('name', lambda n: reader.name(n, 'model.name')))}-{sha256[:12]}",
        document_sha256=sha256,
        vendor=get("vendor", lambda node: reader.name(node, "vendor")),
        model=model_get("name", lambda node: reader.name(node, "model.name")),
        model_version=model_get("version", lambda node: reader.name(node, "model.version")),
        proprietary=_licence(reader, model.get("licence")),
        framework=model_get("framework", lambda node: reader.name(node, "model.framework")),
        image=image,
        tasks=_tasks(reader, top.get("tasks"), offered),
        scenarios=reader.choices(top["scenarios"], "scenario", Scenario) if "scenarios" in top else tuple(Scenario),
        resources=_resources(reader, top.get("resources")),
    )


def _getter(found: Mapping[str, yaml.Node]) -> Callable[[str, Callable[[yaml.Node], str]], str]:
    # A missing key is already a mistake of the mapping; the "?" never leaves this file.
    return lambda key, read: read(found[key]) if key in found else "?"


def _licence(reader: _Document, node: yaml.Node | None) -> bool:
    if node is None:
        return False
    text = node.value if isinstance(node, yaml.ScalarNode) else _kind(node)
    if text not in {"open", "proprietary"}:
        reader.mistake(node, f"model.licence is {text!r}", "open or proprietary")
    return bool(text == "proprietary")


def _tasks(reader: _Document, node: yaml.Node | None, offered: _Offered) -> tuple[TaskRequest, ...]:
    requests: list[TaskRequest] = []
    for item in reader.items(node, "tasks") if node else []:
        entry = reader.mapping(item, {"task", "precisions"}, {"dataset"}, "a task")
        if "task" not in entry or "precisions" not in entry:
            continue
        task = reader.choice(entry["task"], "task", Task)
        if task is None:
            continue
        if any(request.task is task for request in requests):
            reader.mistake(item, f"task {task.value!r} is listed twice", "each task once, with all its precisions")
        precisions = reader.choices(entry["precisions"], "precision", Precision)
        dataset = _dataset(reader, entry, task, offered)
        requests.append(TaskRequest(task=task, precisions=precisions, dataset=dataset))
    return tuple(requests)


def _dataset(reader: _Document, entry: Mapping[str, yaml.Node], task: Task, offered: _Offered) -> str:
    names = offered.get(task)
    if names is None:
        expected = f"one of {_listing({t.value for t in offered})}"
        reader.mistake(entry["task"], f"task {task.value!r} has no dataset here", expected)
        return "?"
    name = reader.name(entry["dataset"], "dataset") if "dataset" in entry else names[0]
    if name not in names:
        reader.mistake(entry["dataset"], f"dataset {name!r} for {task.value}", " or ".join(names))
    return name


def _resources(reader: _Document, node: yaml.Node | None) -> Resources:
    found = reader.mapping(node, set(), {"memory_mib", "cpus", "shm_mib"}, "resources") if node else {}

    def number(key: str, default: int, high: int) -> int:
        return reader.integer(found[key], f"resources.{key}", 1, high) if key in found else default

    return Resources(
        memory_bytes=number("memory_mib", DEFAULT_MEMORY_MIB, MAX_MEMORY_MIB) * MIB,
        cpus=number("cpus", DEFAULT_CPUS, MAX_CPUS),
        shm_bytes=number("shm_mib", DEFAULT_SHM_MIB, MAX_MEMORY_MIB) * MIB,
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "empty" if not node.value else repr(node.value[:40])


def _listing(words: set[str]) -> str:
    return ", ".join(sorted(words))
