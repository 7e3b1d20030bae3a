"""The tables of docs/vendor.md, made from the code, so that a vendor reads the numbers that will be applied.

`python -m orchestrator.conformance.page [--check]` writes or compares them; the text around them is the page's own.
A table stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from orchestrator.conformance.rules import CODES, EXPECTED, Rule
from orchestrator.datasets.store import DEFAULT_DATASETS
from orchestrator.launch import layout
from orchestrator.session import Deadlines
from orchestrator.submission import (
    DEFAULT_CPUS,
    DEFAULT_MEMORY_MIB,
    DEFAULT_SHM_MIB,
    MAX_CPUS,
    MAX_DOCUMENT_BYTES,
    MAX_MEMORY_MIB,
    MAX_NAME_CHARS,
    SCHEMA,
)
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import REGISTRY, Better, Task, TaskSpec
from protocol.units import MIB, NS_PER_S, decimal_string

PAGE = Path(__file__).parents[2] / "docs" / "vendor.md"
_FINAL = (
    "where the right answer is a number: the first number after the last `####`, else the last number of the text, "
    "compared by value; else the last line, normalised as SQuAD does"
)
_SPANS = (
    "the rule of SQuAD 2.0's script, the best of the accepted answers; only an empty span is right where there is none"
)
_SPEECH = (
    "jiwer over the set, after NFKC, lower case, and every character that is no letter, digit or apostrophe made a "
    "space; numbers stay as they are written"
)
METRIC_ROWS = (
    ("`accuracy`, `macro-f1`", "higher", "scikit-learn, over the first label; labels are compared as they are spelt"),
    ("`exact-match` of a text", "higher", _FINAL),
    ("`f1`, `exact-match` of a span", "higher", _SPANS),
    ("`rouge-1`, `rouge-2`, `rouge-l`", "higher", "rouge-score, mean F-measure, no stemming"),
    ("`bleu`", "higher", "sacrebleu over the corpus, its defaults, from 0 to 1"),
    ("`spearman`, `pearson`", "higher", "SciPy, for each source apart, averaged by how many points each has"),
    ("`ap50`", "higher", "pycocotools at IoU 0.5, at most 100 detections a picture; boxes are cut at its edges"),
    ("`wer`, `cer`", "lower", _SPEECH),
    ("`judge-accuracy`", "higher", "the share of pictures in which a pinned network sees the digit that was asked for"),
)
_MARKED = re.compile(r"<!-- made: ([a-z]+) -->\n.*?<!-- end -->", re.DOTALL)
_NAME = f"at most {MAX_NAME_CHARS} letters, digits, spaces or `._+:@/()-`, beginning with a letter or digit"


def submission_table() -> str:
    """Return every key of submission.yaml with its bounds and default."""
    tasks, sets = _words(task.value for task in DEFAULT_DATASETS), _words(DEFAULT_DATASETS.values())
    rows = [
        ("`schema`", "yes", f"`{SCHEMA}`"),
        ("`vendor`", "yes", f"your organisation: {_NAME}"),
        ("`model`", "yes", "a mapping with the four keys below"),
        ("`model.name`", "yes", "published; the same as in `describe()`"),
        ("`model.version`", "yes", "published; the same as in `describe()`"),
        ("`model.licence`", "yes", "`open` or `proprietary`"),
        ("`model.framework`", "yes", "what the model runs on, such as `onnxruntime`"),
        ("`image`", "yes", "the image as `docker images` shows it; it is loaded at intake and never pulled"),
        ("`tasks`", "yes", "a list of at least one; each with the keys below, each task once"),
        ("`tasks[].task`", "yes", f"one of {tasks}"),
        ("`tasks[].precisions`", "yes", f"a list of {_words(one.value for one in Precision)}"),
        ("`tasks[].dataset`", "the task's", f"the task's own: {sets}"),
        ("`scenarios`", _words(one.value for one in Scenario), "a list of them"),
        ("`resources`", "as below", "a mapping with the three keys below"),
        ("`resources.memory_mib`", f"`{DEFAULT_MEMORY_MIB}`", f"1 to {MAX_MEMORY_MIB}, and what the machine has"),
        ("`resources.cpus`", f"`{DEFAULT_CPUS}`", f"1 to {MAX_CPUS}, and what the machine has"),
        ("`resources.shm_mib`", f"`{DEFAULT_SHM_MIB}`", f"1 to {MAX_MEMORY_MIB}, and within the memory"),
    ]
    note = f"\n\nThe document is at most {MAX_DOCUMENT_BYTES} bytes of UTF-8, without anchors, aliases and tags."
    return _table(("key", "required, or default", "value"), rows) + note


def container_table() -> str:
    """Return where a container may write and what it may use."""
    scratch, floor = layout.SCRATCH_BYTES // MIB, layout.MEMORY_FLOOR_BYTES // MIB
    rows = [
        (f"`{layout.SOCKET_PATH}`", "the socket; the path is in `JOULESEAL_SOCKET`"),
        (
            f"`{layout.SOCKET_FOLDER}`",
            f"the socket's folder: {layout.SOCKET_FOLDER_BYTES // 1024} KiB, {layout.SOCKET_FOLDER_INODES} files",
        ),
        (f"`{layout.SCRATCH}`", f"writable, no execution: {scratch} MiB, or a quarter of the memory if that is less"),
        (f"`{layout.CACHE}`", "writable, with execution: half of the memory; `HOME` and `XDG_CACHE_HOME` are here"),
        ("everything else", "read-only; the network is absent but for loopback"),
        ("files", f"{layout.TMPFS_INODES} in each writable folder, {layout.NOFILE} open at a time"),
        ("processes and threads", f"{layout.PIDS}"),
        ("memory", f"as submitted, at least {floor} MiB; writable folders and shared memory count; no swap"),
    ]
    return _table(("what", "bound"), rows)


def deadline_table() -> str:
    """Return how long each step may take."""
    limits = Deadlines()
    rows = [
        ("start to a socket that accepts", _seconds(limits.start_s), "`SOCKET_MISSING`, `SOCKET_NOT_CONNECTABLE`"),
        ("socket to the first SERVING", _seconds(limits.health_s), "`HEALTH_TIMEOUT`"),
        ("Describe", f"{_seconds(limits.describe_s)}, promised under 1 s", "`DESCRIBE_TIMEOUT`"),
        ("Load, to READY", _seconds(limits.load_s), "`LOAD_TIMEOUT`"),
        ("one answer", "by task, below, times the samples of its query", "`SAMPLE_DEADLINE`"),
        ("Unload", _seconds(limits.unload_s), "`UNLOAD_TIMEOUT`"),
        ("SIGTERM to the end", f"{layout.STOP_GRACE_S} s, then it is killed", "`STOP_IGNORED`"),
    ]
    return _table(("step", "deadline", "code"), rows)


def task_table() -> str:
    """Return every task's bounds."""
    bounds = ("tokens", "MiB a sample, in and out", "deadline a sample")
    head = ("task", "input", "output", *bounds, "quality (published beside it), floor")
    return _table(head, (_task_row(REGISTRY[task]) for task in Task))


def _task_row(spec: TaskSpec) -> tuple[str, ...]:
    beside = f" ({', '.join(spec.secondary_metrics)})" if spec.secondary_metrics else ""
    side = "at most" if spec.better is Better.LOWER else "at least"
    floor = "no floor yet" if spec.quality_floor is None else f"{side} {decimal_string(spec.quality_floor, 1)}"
    return (
        f"`{spec.task.value}`",
        ", ".join(sorted(kind.value for kind in spec.inputs)),
        spec.output.value,
        "-" if spec.max_tokens is None else f"{spec.min_tokens} to {spec.max_tokens}",
        f"{spec.request_bytes // MIB}, {spec.response_bytes // MIB}",
        f"{spec.sample_deadline_ns // NS_PER_S} s",
        f"{spec.quality_metric}{beside}, {floor}",
    )


def metric_table() -> str:
    """Return how every metric is computed."""
    return _table(("metric", "better", "how it is computed"), METRIC_ROWS)


def rule_table() -> str:
    """Return every rule with what it expects."""
    return _table(("rule", "what is expected"), ((f"`{rule.value}`", EXPECTED[rule]) for rule in Rule))


def code_table() -> str:
    """Return every code with its rule, its meaning and its remedy."""
    rows = (
        (
            f"`{name}`",
            "any" if code.rule is None else f"`{code.rule.value}`",
            "warning" if code.warning else "failed",
            code.meaning,
            code.remedy,
        )
        for name, code in sorted(CODES.items())
    )
    return _table(("code", "rule", "health", "meaning", "remedy"), rows)


TABLES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "submission": submission_table,
        "container": container_table,
        "deadlines": deadline_table,
        "tasks": task_table,
        "metrics": metric_table,
        "rules": rule_table,
        "codes": code_table,
    }
)


def renewed(page: str) -> str:
    """Return the page with every marked table as the code has it; raises KeyError for a table that nothing makes."""
    return _MARKED.sub(lambda found: f"<!-- made: {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->", page)


def main(argv: Sequence[str]) -> int:
    """Write the tables, or with `--check` return 1 if the committed page has others."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.conformance.page")
    parser.add_argument("--check", action="store_true", help="compare instead of write")
    page = PAGE.read_text(encoding="utf-8")
    if parser.parse_args(argv).check:
        return int(page != renewed(page))
    PAGE.write_text(renewed(page), encoding="utf-8")
    return 0


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _seconds(value: float) -> str:
    return f"{value:g} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
