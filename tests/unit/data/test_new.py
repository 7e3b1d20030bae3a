"""`jouleseal new` writes a vendor's folder that works as it stands, and never over anything."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.commands.new import model_name, run, scaffold
from orchestrator.datasets.store import DEFAULT_DATASETS, load
from orchestrator.submission import parse_submission
from protocol.errors import UsageError
from protocol.samples import ErrorReason, ImageInput, SampleError

FILES = {"Dockerfile", "README.md", "server.py", "submission.yaml"}


def server_of(folder):
    spec = importlib.util.spec_from_file_location("scaffolded_server", folder / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_folder_is_complete_and_says_what_comes_next(tmp_path, capsys):
    folder = tmp_path / "deep" / "My Model"
    assert run(argparse.Namespace(dir=folder, template="python", json=False)) == 0
    assert {path.name for path in folder.iterdir()} == FILES
    screen = capsys.readouterr().out
    assert "docker build --tag my-model:local" in screen
    assert "jouleseal check" in screen
    assert not any("$" in path.read_text(encoding="utf-8") for path in folder.iterdir())


def test_the_screen_for_machines_is_one_json_document(tmp_path, capsys):
    assert run(argparse.Namespace(dir=tmp_path / "m", template="python", json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], set(told["files"])) == ("m", FILES)


def test_the_submission_is_good_and_names_the_image_that_the_next_step_builds(tmp_path):
    scaffold(tmp_path / "null", "python")
    submission = parse_submission((tmp_path / "null" / "submission.yaml").read_bytes(), DEFAULT_DATASETS)
    assert (submission.model, submission.image) == ("null", "null:local")


def test_the_model_answers_better_than_guessing(tmp_path):
    scaffold(tmp_path / "m", "python")
    model = server_of(tmp_path / "m").Model()
    points = load("embedded-reviews").points
    answers = model.infer([point.input for point in points])
    right = sum(answer.labels[0][0] == point.reference for answer, point in zip(answers, points, strict=True))
    assert right > 550
    assert model.describe().model == "m"
    assert model.infer([ImageInput(content=b"")]) == [SampleError(reason=ErrorReason.UNREADABLE)]


def test_what_is_written_is_formatted_and_lints(tmp_path):
    scaffold(tmp_path / "m", "python")
    ruff = Path(sys.executable).with_name("ruff")
    for words in (["format", "--check", "--line-length", "120"], ["check", "--isolated", "--line-length", "120"]):
        done = subprocess.run([ruff, *words, tmp_path / "m" / "server.py"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My Model", "my-model"), ("..", "b"), ("Ünïcode", "n-code"), ("___", "my-model"), ("a" * 90, "a" * 64)],
)
def test_names_are_made_from_the_folders(tmp_path, folder, name):
    start = tmp_path / "b" / "c"
    assert model_name((start / folder).resolve() if folder == ".." else start / folder) == name


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path):
    (tmp_path / ".hidden").touch()
    with pytest.raises(UsageError, match="DIR_NOT_EMPTY"):
        scaffold(tmp_path, "python")
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


def test_an_empty_folder_is_taken_and_a_file_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(scaffold(tmp_path / "empty", "python")) == len(FILES)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="DIR_NOT_A_FOLDER"):
        scaffold(tmp_path / "file", "python")
    with pytest.raises(UsageError, match="DIR_NOT_WRITABLE"):
        scaffold(tmp_path / "file" / "below", "python")


def test_an_unknown_template_is_refused(tmp_path):
    with pytest.raises(UsageError, match="TEMPLATE_UNKNOWN"):
        scaffold(tmp_path / "m", "cobol")
    assert not (tmp_path / "m").exists()
