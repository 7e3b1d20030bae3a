"""`jouleseal dataset`: what is built is whole or not there, says what it lacks, and a flipped byte in it is named."""

import base64
import hashlib
import json
from pathlib import Path

import mlcroissant
import pytest

from orchestrator.cli import main
from orchestrator.commands.run import _folder
from orchestrator.datasets import build
from orchestrator.datasets.canonical import read_dataset, write_dataset
from orchestrator.datasets.store import by_task, load
from orchestrator.submission import parse_submission
from protocol.errors import DatasetUnavailable, InvalidSubmission, RecordUnsound
from protocol.methodology.dataset import salted_digest
from protocol.methodology.tasks import Task

REPOSITORY = Path(__file__).resolve().parents[3]
PICTURES = [
    base64.b64decode(json.loads(line)["png"])
    for line in (REPOSITORY / "orchestrator" / "data" / "digits" / "points.jsonl").read_text().splitlines()[:9]
]
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "

FORMS = {
    Task.TEXT_CLASSIFICATION: [{"text": f"a text {n}\u2028", "reference": "x"} for n in range(9)],
    Task.EXTRACTIVE_QA: [{"question": f"q {n}", "context": "c", "reference": "[]"} for n in range(9)],
    Task.SEMANTIC_SIMILARITY: [{"first": f"a {n}", "second": "b", "reference": "0.5"} for n in range(9)],
    Task.REASONING: [
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": f"{n} + 1?"}]}
        for n in range(9)
    ],
    Task.IMAGE_CLASSIFICATION: [{"image": f"{n}.png", "reference": "7"} for n in range(9)],
    Task.SPEECH_TO_TEXT: [{"audio": f"{n}.wav", "reference": "hello"} for n in range(9)],
}


@pytest.fixture
def home(tmp_path):
    for number, content in enumerate(PICTURES):
        (tmp_path / f"{number}.png").write_bytes(content)
        (tmp_path / f"{number}.wav").write_bytes(WAV + bytes([number]))
    return tmp_path


def own(home, rows, task=Task.TEXT_CLASSIFICATION, name="own-set", more=()):
    file = home / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    argv = ["dataset", "build", "--from-jsonl", str(file), "--task", task.value, "--name", name, "--licence", "CC0-1.0"]
    return main([*argv, "--blobs", str(home), "--home", str(home), "--json", *more])


def pooled(home):
    rows = [{"text": f"point {n}", "reference": "x"} for n in range(20)]
    rows += [{"text": f"spare {n}", "reference": "x", "use": "pool"} for n in range(250)]
    assert own(home, [*rows, {"text": "first", "use": "warm-up"}]) == 0
    return load("own-set", home / "datasets")


@pytest.mark.parametrize("task", FORMS, ids=lambda task: task.value)
def test_a_users_own_points_of_every_kind_come_back_as_they_were(home, task, capsys):
    assert own(home, FORMS[task], task) == 0
    said = json.loads(capsys.readouterr().out)
    dataset = load("own-set", home / "datasets")
    assert (dataset.task, len(dataset.points), dataset.own) == (task, 9, True)
    assert said["digest"] == dataset.digest
    assert {"rating", "thirds", "1,000 points", "private shard"} <= set(said["lacks"])
    assert said["origin"]["kind"] == "own"
    if task is Task.IMAGE_CLASSIFICATION:
        assert [point.input.content for point in dataset.points] == PICTURES
    assert own(home, FORMS[task], task) == 0
    assert load("own-set", home / "datasets") == dataset
    assert sorted(item.name for item in (home / "datasets").iterdir()) == ["own-set"]


@pytest.mark.parametrize("task", FORMS, ids=lambda task: task.value)
def test_one_flipped_byte_anywhere_in_a_point_or_a_blob_is_found_and_the_point_named(home, task):
    assert own(home, FORMS[task], task) == 0
    folder = home / "datasets" / "own-set"
    lines = (folder / "points.jsonl").read_bytes().split(b"\n")[:-1]
    row = json.loads(lines[4])
    for blob in (folder / "blobs").glob("*") if (folder / "blobs").exists() else ():
        content = blob.read_bytes()
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        named = refusal(home)
        assert named.code == "POINT_DAMAGED"
        owner = next(json.loads(line)["id"] for line in lines if blob.name in line.decode())
        assert owner in named.observed
        blob.write_bytes(content)
    for at in range(len(lines[4])):
        flipped = lines[4][:at] + bytes([lines[4][at] ^ 1]) + lines[4][at + 1 :]
        (folder / "points.jsonl").write_bytes(b"\n".join([*lines[:4], flipped, *lines[5:], b""]))
        error = refusal(home)
        if error.code == "POINT_DAMAGED":
            assert "line 5" in error.observed
        else:  # its name, or its source, or bytes that are no text at all
            assert error.code in {"DATASET_DIGEST", "DATASET_UNREADABLE"}
    (folder / "points.jsonl").write_bytes(b"\n".join([*lines, b""]))
    assert load("own-set", home / "datasets").points[4].point_id == row["id"]


def refusal(home):
    with pytest.raises(DatasetUnavailable) as caught:
        load("own-set", home / "datasets")
    return caught.value


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"text": 7}, "int"),
        ({"text": "a", "txt": "b"}, "txt"),
        ({"question": "a"}, "question"),
        ({"image": "0.png"}, "image"),
        ({"image": "../secret"}, "outside"),
        ({"text": "a", "use": "test"}, "use"),
        ({"text": "a", "id": "a\nb"}, "id"),
        ({"text": "a", "source": ""}, "source"),
        ({"text": "a", "reference": 3}, "reference"),
        ([], "no object"),
    ],
)
def test_a_line_that_is_no_point_of_the_task_is_refused_by_its_number(home, row, word, capsys):
    assert own(home, [FORMS[Task.TEXT_CLASSIFICATION][0], row]) == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "OWN_POINT"
    assert "line 2" in error["observed"]
    assert word in error["observed"]
    assert not (home / "datasets").exists()


@pytest.mark.parametrize("name", ["mine", "embedded-digits", "own-UPPER", "own-../x", "own-" + "a" * 61])
def test_an_own_set_cannot_be_called_like_another(home, name, capsys):
    assert own(home, FORMS[Task.TEXT_CLASSIFICATION], name=name) == 2
    assert "OWN_NAME" in capsys.readouterr().out


def test_two_points_of_one_name_are_refused(home, capsys):
    assert own(home, [{"id": "a", "text": "b"}, {"id": "a", "text": "c"}]) == 4
    assert "POINT_TWICE" in capsys.readouterr().out


def test_a_set_that_could_not_be_written_leaves_the_former_one(home, monkeypatch):
    dataset = pooled(home)

    def full(_path, _data):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("orchestrator.datasets.canonical.write_atomic", full)
    with pytest.raises(RecordUnsound):
        write_dataset(dataset, home / "datasets" / "own-set")
    assert load("own-set", home / "datasets") == dataset
    assert [item.name for item in (home / "datasets").iterdir()] == ["own-set"]


@pytest.mark.parametrize("key", ["thirds", "points", "sources", "shard", "lacks", "pool", "warmUp", "references"])
def test_what_is_said_of_a_set_must_be_what_its_points_say(home, key):
    pooled(home)
    path = home / "datasets" / "own-set" / "dataset.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, key: ["better"]}))
    assert refusal(home).code == "DATASET_FACTS"


def test_a_set_whose_points_are_not_its_tasks_is_refused(home):
    pooled(home)
    path = home / "datasets" / "own-set" / "dataset.json"
    path.write_text(path.read_text().replace("text-classification", "speech-to-text"))
    assert refusal(home).code == "DATASET_FACTS"


@pytest.mark.filterwarnings("default::DeprecationWarning")  # rdflib's own, inside mlcroissant
@pytest.mark.parametrize("task", FORMS, ids=lambda task: task.value)
def test_the_croissant_is_valid_and_its_records_are_the_points(home, task):
    assert own(home, FORMS[task], task) == 0
    path = home / "datasets" / "own-set" / "croissant.json"
    found = mlcroissant.Dataset(jsonld=str(path))
    assert not found.metadata.issues.errors
    assert found.metadata.name == "own-set"
    files = {item.id: item.sha256 for item in found.metadata.distribution}
    assert files["points.jsonl"] == hashlib.sha256((path.parent / "points.jsonl").read_bytes()).hexdigest()
    records = list(found.records("points"))
    ids = [point.point_id for point in load("own-set", home / "datasets").points]
    assert [record["points/id"].decode() for record in records] == ids


def test_a_shard_is_shown_opened_once_and_checked_by_an_auditor(home, capsys):
    pooled(home)
    capsys.readouterr()

    def say(*words):
        assert main(["dataset", *words, "--home", str(home), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    shown = say("show", "own-set", "--private-shard")
    assert (shown["number"], shown["points"], shown["left"]) == (1, 100, 150)
    assert say("build", "own-set", "--private-shard") == shown
    assert "spare" not in json.dumps(shown)
    opened = say("open-shard", "own-set", "--out", str(home / "shard.jsonl"))
    assert (opened["saltedSha256"], opened["inForce"]) == (shown["saltedSha256"], 2)
    checked = say("check-shard", str(home / "shard.jsonl"), "--logged", shown["saltedSha256"])
    salt = json.loads((home / "shard.jsonl").read_text().split("\n")[0])["salt"]
    assert checked["saltedSha256"] == salted_digest(bytes.fromhex(salt), checked["digest"]) == shown["saltedSha256"]
    following = say("show", "own-set", "--private-shard")
    assert following["number"] == 2
    assert following["saltedSha256"] != shown["saltedSha256"]


def test_another_shard_than_the_logged_one_is_found_out(home, capsys):
    pooled(home)
    out = home / "shard.jsonl"
    assert main(["dataset", "open-shard", "own-set", "--out", str(out), "--home", str(home)]) == 0
    assert main(["dataset", "check-shard", str(out), "--logged", "0" * 64]) == 1
    assert "SHARD_NOT_LOGGED" in capsys.readouterr().err
    assert main(["dataset", "open-shard", "own-set", "--out", str(out), "--home", str(home)]) == 2
    lines = out.read_text().split("\n")
    for changed, code in (
        ([lines[0], lines[1].replace("spare", "spire"), *lines[2:]], "POINT_DAMAGED"),
        ([lines[0], *lines[2:]], "BAD_OPENED_SHARD"),
        (lines[:-1], "BAD_OPENED_SHARD"),
    ):
        out.write_text("\n".join(changed))
        assert main(["dataset", "check-shard", str(out)]) == 1
        assert code in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["build"],
        ["build", "gsm8k", "--licence", "MIT"],
        ["build", "--from-jsonl", "x.jsonl"],
        ["build", "embedded-digits"],
    ],
)
def test_words_that_do_not_belong_together_are_refused(home, words):
    assert main(["dataset", *words, "--home", str(home)]) == 2


def test_what_is_here_is_listed_and_verified(home, capsys):
    pooled(home)
    capsys.readouterr()
    assert main(["dataset", "list", "--home", str(home)]) == 0
    listed = capsys.readouterr().out
    assert "own-set " in listed
    assert "dataset build gsm8k" in listed
    assert main(["dataset", "verify", "--home", str(home), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"embedded-digits", "embedded-reviews", "own-set"}


def test_a_submission_may_name_any_set_of_its_task_and_no_other(home):
    pooled(home)
    named = by_task(home / "datasets")
    assert {"aies-prompts", "gsm8k"} <= named[Task.REASONING]

    def parsed(dataset, task="text-classification"):
        document = (REPOSITORY / "reference_containers" / "reviews" / "submission.yaml").read_text()
        document = document.replace("text-classification", task).replace("embedded-reviews", dataset)
        return parse_submission(document.encode(), {Task.TEXT_CLASSIFICATION: "embedded-reviews"}, named)

    assert parsed("own-set").tasks[0].dataset == "own-set"
    for wrong in ("gsm8k", "own-other"):
        with pytest.raises(InvalidSubmission) as caught:
            parsed(wrong)
        assert "own-set" in caught.value.observed


def test_run_looks_beside_its_home_unless_told_otherwise(home):
    class Arguments:
        datasets = None

    Arguments.home = home
    assert _folder(Arguments) == home / "datasets"
    Arguments.datasets = home / "elsewhere"
    assert _folder(Arguments) == home / "elsewhere"


def test_a_recipe_that_is_built_twice_gives_the_same_files(home, monkeypatch):
    """The recipes' own tests build the real sets; here one stands in, so that no cache of packages is needed."""
    dataset = pooled(home)
    monkeypatch.setattr("orchestrator.commands.dataset.build.build_named", lambda name, packages: dataset)
    found = []
    for folder in ("one", "two"):
        assert main(["dataset", "build", "gsm8k", "--datasets", str(home / folder), "--home", str(home)]) == 0
        place = home / folder / "own-set"
        found.append({item.name: item.read_bytes() for item in place.iterdir()})
    assert found[0] == found[1]
    assert read_dataset("own-set", place).digest == dataset.digest
    assert build.described(dataset)["digest"] == dataset.digest
