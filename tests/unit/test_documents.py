"""What the pages say exists, exists: links, commands with their options, exit codes, make targets, sample files."""

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.cli import build_parser
from protocol import errors
from verifier.cli import inspect_parser, open_leaves_parser, verify_parser, vsa_parser

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("*/*/README.md")])
VERIFYING = {"inspect": inspect_parser, "open-leaves": open_leaves_parser, "vsa": vsa_parser}
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"(?m)^    (?:sudo )?(?:\.venv/bin/)?(jouleseal(?:-verify)? [^#\n]+)")


def name(path):
    return str(path.relative_to(REPOSITORY))


def commands():
    for page in PAGES:
        for line in COMMAND.findall(page.read_text(encoding="utf-8")):
            yield pytest.param(line.strip(), id=f"{name(page)}: {line.strip()[:60]}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name(page)} links to {target}"


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_shown_is_understood(line):
    words = shlex.split(re.sub(r"\[[^]]*\]|<[^>]*>|\$\([^)]*\)", "x", line))
    if words[0] == "jouleseal":
        build_parser().parse_args(words[1:])
    elif words[1] in VERIFYING:
        VERIFYING[words[1]]().parse_args(words[2:])
    else:
        verify_parser().parse_args(words[1:])


def test_the_pages_show_commands_at_all():
    assert len(list(commands())) >= 10


def test_the_readme_fits_on_a_screen_and_names_every_exit_code():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 60
    row = next(line for line in readme.splitlines() if line.startswith("| 0 |"))
    shown = {int(cell) for cell in row.strip("| ").split("|")}
    known = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert shown == known | {errors.EXIT_VERIFIED}


def test_every_make_target_named_exists():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    for page in PAGES:
        for line in re.findall(
            r"`make ([a-z -]+)`|^    make ([a-z -]+?)(?:  |$)", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            for target in "".join(line).split():
                assert target in targets, f"{name(page)} names make {target}"


def test_every_file_that_the_readme_asks_for_is_there():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"tests/museum/\S+?\.(?:tar|json)", readme)
    assert named
    assert all((REPOSITORY / path).exists() for path in named)
