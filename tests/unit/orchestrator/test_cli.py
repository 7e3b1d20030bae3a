"""The front door answers quickly, says what is missing, and keeps its promises about exit codes."""

import json
import subprocess
import sys

import pytest

from orchestrator.cli import build_parser, main
from protocol.errors import EXIT_INTERNAL

HEAVY = {"docker", "grpc", "google", "pynvml", "yaml", "sklearn", "numpy", "segno", "cryptography", "rich"}


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_loads_nothing_heavy():
    loaded = python("import sys, orchestrator.cli; print(*{name.partition('.')[0] for name in sys.modules})")
    assert HEAVY.isdisjoint(loaded.stdout.split())


def test_a_base_install_says_which_extra_is_missing():
    code = "import sys; sys.modules['docker'] = None; from orchestrator.cli import main; sys.exit(main({}))"
    plain = python(code.format(["doctor"]))
    assert plain.returncode == 2
    assert "NOT_INSTALLED" in plain.stderr
    assert "jouleseal[runner]" in plain.stderr
    spoken = python(code.format(["doctor", "--json"]))
    assert json.loads(spoken.stdout)["error"]["code"] == "NOT_INSTALLED"


def test_what_nobody_foresaw_is_our_own_fault(monkeypatch, capsys):
    def broken(_arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("orchestrator.cli._dispatch", broken)
    assert main(["doctor"]) == EXIT_INTERNAL
    assert "our own fault" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", [[], ["fly"], ["run"], ["run", "x", "--points", "0"], ["new", "a", "--from", "thin-air"]]
)
def test_a_line_that_is_not_understood_exits_2(line, capsys):
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args(line)
    assert left.value.code == 2
    assert "usage: jouleseal" in capsys.readouterr().err


def test_a_home_without_a_domain_says_how_to_make_one(tmp_path, capsys):
    submission = tmp_path / "submission.yaml"
    submission.write_text(
        "schema: 1\nvendor: V\nimage: x:y\nmodel: {name: m, version: '1', licence: open, framework: f}\n"
        "tasks: [{task: text-classification, precisions: [fp32]}]\n"
    )
    assert main(["run", str(submission), "--home", str(tmp_path / "nowhere")]) == 2
    assert "jouleseal init" in capsys.readouterr().err
