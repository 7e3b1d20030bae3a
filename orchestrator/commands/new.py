"""`jouleseal new DIR`: make a vendor's container folder that passes `jouleseal check` as it stands.

The files are templates in `orchestrator/scaffold/<template>`; in them `$name` stands for a name made from the folder's.
"""

from __future__ import annotations

import argparse
import json
import re
from importlib import resources
from pathlib import Path
from string import Template

from protocol.errors import UsageError

SUFFIX = ".template"
FALLBACK_NAME = "my-model"


def run(args: argparse.Namespace) -> int:
    """Write the folder `args.dir` from `args.template` and say what comes next; 0 when it is there."""
    written = scaffold(args.dir, args.template)
    name = model_name(args.dir)
    if args.json:
        print(json.dumps({"dir": str(args.dir), "name": name, "files": [path.name for path in written]}, indent=2))
        return 0
    print(f"made {args.dir}: {', '.join(path.name for path in written)}")
    print(f"next  docker build --tag {name}:local {args.dir}")
    print(f"then  jouleseal check {args.dir / 'submission.yaml'}")
    return 0


def model_name(folder: Path) -> str:
    """Return a name that an image and a model may bear, made from the folder's."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-")
    return name[:64].strip("-") or FALLBACK_NAME


def scaffold(folder: Path, template: str) -> list[Path]:
    """Write the template's files into a folder that is empty or not there; returns their paths.

    Raises UsageError: DIR_NOT_EMPTY, DIR_NOT_A_FOLDER, DIR_NOT_WRITABLE or TEMPLATE_UNKNOWN.
    """
    source = resources.files("orchestrator") / "scaffold" / template
    if not source.is_dir():
        raise UsageError(
            code="TEMPLATE_UNKNOWN",
            observed=f"no template is called {template!r}",
            expected="a template of `jouleseal new --help`",
            hint="leave --from out",
        )
    _refuse_occupied(folder)
    values = {"name": model_name(folder)}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for item in sorted(source.iterdir(), key=lambda item: item.name):
            if item.name.endswith(SUFFIX):
                path = folder / item.name.removesuffix(SUFFIX)
                path.write_text(Template(item.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
                written.append(path)
    except OSError as error:
        raise UsageError(
            code="DIR_NOT_WRITABLE",
            observed=f"{folder}: {error.strerror}",
            expected="a folder that can be written",
            hint="choose another folder",
        ) from error
    return written


def _refuse_occupied(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(
            code="DIR_NOT_A_FOLDER",
            observed=f"{folder} is a file",
            expected="a folder that is empty or does not exist yet",
            hint="choose another name",
        )
    if any(folder.iterdir()):
        raise UsageError(
            code="DIR_NOT_EMPTY",
            observed=f"{folder} holds files already",
            expected="a folder that is empty or does not exist yet",
            hint="choose another folder; nothing was written",
        )
