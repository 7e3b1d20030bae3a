"""Makes the pages that are made from the code: commands, errors, and the JSON Schema of every statement.

`python docs/generate.py` writes them, `--check` compares and exits 1 where a page is not what the code says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from orchestrator.cli import build_parser as jouleseal_parser
from orchestrator.datasets.lock import read_lock
from orchestrator.datasets.recipes import RECIPES
from orchestrator.datasets.standard import STANDARD_SETS
from orchestrator.datasets.store import ALSO_FOR, DEFAULT_DATASETS, PACKAGED, load
from protocol import errors
from protocol.attestation.schemas import statement_schemas
from verifier.cli import inspect_parser, open_leaves_parser, verify_parser, vsa_parser

DOCS = Path(__file__).parent
_COLUMNS = "100"  # argparse wraps at the terminal's width unless told


def cli_page() -> str:
    """Return the page of commands: every help text, as the commands print it."""
    parts = ["# Commands\n\nMade from the code by `make docs`; `make check` compares.\n"]
    for parser in (jouleseal_parser(), verify_parser(), inspect_parser(), open_leaves_parser(), vsa_parser()):
        parts += _blocks(parser)
    return "\n".join(parts)


def errors_page() -> str:
    """Return the page of errors: the tree, as the code draws it."""
    tree = (errors.__doc__ or "").strip()
    return f"# Errors\n\nMade from the code by `make docs`; `make check` compares.\n\n{tree}\n"


def schema_pages() -> dict[str, str]:
    """Return the schema files by their paths under docs."""
    return {
        f"schemas/{name}.schema.json": json.dumps(schema, indent=1) + "\n"
        for name, schema in statement_schemas().items()
    }


def datasets_page() -> str:
    """Return the page of datasets with its tables made anew."""
    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    for name, rows in {"embedded": _embedded_rows(), "standard": _standard_rows()}.items():
        head, _, rest = page.partition(f"<!-- made: {name} -->\n")
        page = f"{head}<!-- made: {name} -->\n" + "\n".join(rows) + "\n<!-- end -->" + rest.partition("<!-- end -->")[2]
    return page


def _embedded_rows() -> list[str]:
    """Return a row for every set of the package and of the recipes; a default of its task is set in bold."""
    lock = read_lock()
    found = {}
    for name in PACKAGED:
        dataset = load(name)
        task = "" if dataset.task is None else dataset.task.value
        found[name] = (task, "*in the package*", dataset.licence)
    for name, recipe in RECIPES.items():
        used = [lock[package] for package in recipe.packages]
        tasks = ", ".join([recipe.task.value, *sorted(task.value for task in ALSO_FOR.get(name, ()))])
        licences = " AND ".join(dict.fromkeys(one.licence for one in used))
        found[name] = (tasks, ", ".join(f"{one.name} {one.version}" for one in used), licences)
    defaults = set(DEFAULT_DATASETS.values())
    return ["| name (bold: the task's default) | task | packages | licence of the packages |", "|---|---|---|---|"] + [
        f"| {f'**{name}**' if name in defaults else name} | {' | '.join(cells)} |"
        for name, cells in sorted(found.items())
    ]


def _standard_rows() -> list[str]:
    return ["| hub | name here | task | columns | mixed from | revision |", "|---|---|---|---|---|---|"] + [
        f"| {row.hub_id} | {name} | {row.task.value} | {', '.join(row.columns)} | {', '.join(row.mixed)} | "
        f"{row.revision or 'not seen in full'} |"
        for name, row in STANDARD_SETS.items()
    ]


def _blocks(parser: argparse.ArgumentParser) -> list[str]:
    """Return the help text of a parser and, below it, of all its subcommands."""
    blocks = [_block(parser)]
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to its subcommands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            blocks += [block for command in action.choices.values() for block in _blocks(command)]
    return blocks


def _block(parser: argparse.ArgumentParser) -> str:
    return f"## `{parser.prog}`\n\n```text\n{parser.format_help().rstrip()}\n```\n"


def main() -> int:
    """Write or compare the pages."""
    os.environ["COLUMNS"] = _COLUMNS
    os.environ.pop("JOULESEAL_HOME", None)
    stale = []
    for name, page in {
        "cli.md": cli_page(),
        "datasets.md": datasets_page(),
        "errors.md": errors_page(),
        **schema_pages(),
    }.items():
        path = DOCS / name
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(exist_ok=True)
            path.write_text(page, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != page:
            stale.append(name)
    if stale:
        print(f"docs/{', docs/'.join(stale)}: not what the code says; run `make docs`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
