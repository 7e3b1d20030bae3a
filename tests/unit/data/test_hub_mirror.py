"""A standard dataset is read from a mirror in the hub's own layout, with no network, byte for byte."""

import hashlib
import io
import json

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from orchestrator.cli import main
from orchestrator.datasets import hub
from orchestrator.datasets.standard import ORGANISATION, STANDARD_SETS
from orchestrator.datasets.store import load
from protocol.errors import DatasetUnavailable, UsageError
from protocol.methodology.tasks import REGISTRY
from protocol.samples import AudioInput, ImageInput, QuestionInput, TextInput, TextPairInput

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILE = "train-00000-of-00001.parquet"
MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


def picture(number, kind="PNG"):
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (number % 256, 0, 90)).save(stream, kind)
    return stream.getvalue()


def recording(number, kind="FLAC"):
    stream = io.BytesIO()
    soundfile.write(stream, np.linspace(-0.5, 0.5, 160 + number), 16_000, format=kind)
    return stream.getvalue()


def media(make, kinds, rows):
    return [
        {"bytes": make(n, kinds[n % len(kinds)]), "path": f"{n}.{kinds[n % len(kinds)].lower()}"} for n in range(rows)
    ]


COLUMNS = {
    "text_generation": lambda rows: {"text": [f"prompt {n} \u2028 é" for n in range(rows)]},
    "summarization": lambda rows: {"text": [f"article {n}" for n in range(rows)]},
    "text_classification": lambda rows: {"text": [f"review {n}" for n in range(rows)]},
    "image_generation": lambda rows: {"prompt": [f"a cat {n}" for n in range(rows)]},
    "extractive_qa": lambda rows: {
        "id": list(range(rows)),
        "context": [f"c {n}" for n in range(rows)],
        "question": [f"q {n}" for n in range(rows)],
    },
    "sentence_similarity": lambda rows: {
        "sentence1": [f"one {n}" for n in range(rows)],
        "sentence2": [f"two {n}" for n in range(rows)],
    },
    "image_classification": lambda rows: {"image": media(picture, ("PNG", "JPEG"), rows)},
    "object_detection": lambda rows: {"image": media(picture, ("JPEG",), rows)},
    "ASR": lambda rows: {"audio": media(recording, ("FLAC", "WAV"), rows)},
    "image_captioning": lambda rows: {"image": media(picture, ("JPEG",), rows)},
}


def table(columns):
    """A table as the hub's tools write it: media as {bytes, path}, and the features in the schema's metadata."""
    arrays = {name: pa.array(values, MEDIA if name in {"image", "audio"} else None) for name, values in columns.items()}
    kinds = {"image": {"_type": "Image"}, "audio": {"_type": "Audio"}}
    features = {name: kinds.get(name, {"dtype": "string", "_type": "Value"}) for name in columns}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table(arrays).replace_schema_metadata(metadata)


def mirror(root, repository, rows=1000, columns=None):
    folder = root / ORGANISATION / repository / REVISION / "data"
    folder.mkdir(parents=True)
    pq.write_table(table(columns or COLUMNS[repository](rows)), folder / FILE)
    (folder.parent / "README.md").write_text("---\ndataset_info: {}\n---\n")
    return folder / FILE


def refusal(call, kind=DatasetUnavailable):
    with pytest.raises(kind) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("row", STANDARD_SETS.values(), ids=lambda row: row.repository)
def test_every_standard_set_is_read_from_the_hubs_layout_and_kept_in_canonical_form(row, tmp_path):
    rows = 40 if row.columns[0] in {"image", "audio"} else 1000
    file = mirror(tmp_path / "mirror", row.repository, rows)
    argv = ["dataset", "fetch", row.repository, "--revision", REVISION, "--mirror", str(tmp_path / "mirror")]
    assert main([*argv, "--home", str(tmp_path), "--json"]) == 0
    dataset = load(row.name, tmp_path / "datasets")
    assert len(dataset.points) == rows
    assert dataset.task is row.task
    assert {point.input.kind for point in dataset.points} <= REGISTRY[row.task].inputs
    assert dict(dataset.sources) == {row.hub_id: rows}
    assert not dataset.thirds
    facts = json.loads((tmp_path / "datasets" / row.name / "dataset.json").read_text())
    assert {"thirds", "private shard"} <= set(facts["lacks"])
    assert ("1,000 points" in facts["lacks"]) is (rows < 1000)
    assert ("references" in facts["lacks"]) is (REGISTRY[row.task].quality_metric != "none")
    assert facts["origin"]["revision"] == REVISION
    assert facts["origin"]["files"] == [
        {"path": f"data/{FILE}", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    ]


def test_inputs_are_what_the_hub_published_byte_for_byte(tmp_path):
    expected = {
        "text_generation": TextInput(text="prompt 7 \u2028 é"),
        "extractive_qa": QuestionInput(question="q 7", context="c 7"),
        "sentence_similarity": TextPairInput(first="one 7", second="two 7"),
        "image_classification": ImageInput(content=picture(7, "JPEG")),
        "ASR": AudioInput(content=recording(7, "WAV")),
    }
    for repository, asked in expected.items():
        mirror(tmp_path, repository, 40)
        dataset = hub.fetch_standard(repository, REVISION, tmp_path, offline=True)
        assert dataset.points[7].input == asked


def test_rows_to_spare_become_warm_up_points_outside_the_set(tmp_path):
    mirror(tmp_path, "text_generation", 1100)
    dataset = hub.fetch_standard("AIEnergyScore/text_generation", REVISION, tmp_path, offline=True)
    assert (len(dataset.points), len(dataset.warm_up)) == (1000, 32)
    assert not {p.input for p in dataset.points} & {p.input for p in dataset.warm_up}
    assert "no row to spare" not in dataset.note


def test_a_set_without_rows_to_spare_says_what_its_warm_up_is(tmp_path):
    mirror(tmp_path, "text_generation", 1000)
    assert "no row to spare" in hub.fetch_standard("text_generation", REVISION, tmp_path, offline=True).note


@pytest.mark.parametrize("revision", ["main", "v1.0", REVISION[:7], REVISION.upper(), REVISION + "0", ""])
def test_a_branch_a_tag_or_a_short_digest_is_refused_with_the_reason(revision, tmp_path):
    error = refusal(lambda: hub.fetch_standard("text_generation", revision, tmp_path), UsageError)
    assert error.code == "HUB_REVISION"
    assert "branch" in error.hint
    assert "2dc92b2ee2cd9776a51ccf08c6c2ab04138370c3" in error.hint


@pytest.mark.parametrize(
    ("repository", "columns", "code", "word"),
    [
        ("text_generation", {"prompt": ["a"]}, "HUB_COLUMNS", "prompt"),
        ("text_generation", {"text": ["a", None]}, "HUB_ROW", "row 1"),
        ("text_generation", {"text": [1, 2]}, "HUB_ROW", "row 0"),
        ("image_classification", {"image": [{"bytes": None, "path": "a.png"}]}, "HUB_ROW", "no bytes"),
        ("image_classification", {"image": [{"bytes": b"GIF89a", "path": None}]}, "HUB_ROW", "neither JPEG nor PNG"),
        ("image_classification", {"image": [{"bytes": picture(1)[:48], "path": None}]}, "HUB_ROW", "decoded"),
        ("ASR", {"audio": [{"bytes": recording(1)[:50], "path": None}]}, "HUB_ROW", "decoded"),
        ("ASR", {"audio": [{"bytes": b"ID3\x03", "path": None}]}, "HUB_ROW", "neither FLAC nor WAV"),
    ],
)
def test_a_file_that_is_not_what_the_task_asks_is_refused(repository, columns, code, word, tmp_path):
    mirror(tmp_path, repository, columns=columns)
    error = refusal(lambda: hub.fetch_standard(repository, REVISION, tmp_path, offline=True))
    assert error.code == code
    assert word in error.observed


def test_a_file_that_is_cut_off_and_a_mirror_without_the_commit_are_refused(tmp_path):
    file = mirror(tmp_path, "text_generation", 100)
    file.write_bytes(file.read_bytes()[:-100])
    assert refusal(lambda: hub.fetch_standard("text_generation", REVISION, tmp_path, offline=True)).code == "HUB_FILE"
    error = refusal(lambda: hub.fetch_standard("text_generation", "f" * 40, tmp_path, offline=True))
    assert error.code == "HUB_MIRROR"
    assert refusal(lambda: hub.fetch_standard("tables", REVISION, tmp_path), UsageError).code == "HUB_UNKNOWN"


def test_without_a_mirror_the_hub_is_asked_for_that_commit_and_nothing_else(tmp_path, monkeypatch):
    asked = {}

    def bring(**arguments):
        asked.update(arguments)
        mirror(tmp_path, "summarization", 5)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", bring)
    dataset = hub.fetch_standard("summarization", REVISION, tmp_path)
    assert asked == {
        "repo_id": "AIEnergyScore/summarization",
        "repo_type": "dataset",
        "revision": REVISION,
        "allow_patterns": ["data/*.parquet", "README.md"],
        "local_dir": tmp_path / "AIEnergyScore" / "summarization" / REVISION,
    }
    asked.clear()
    assert hub.fetch_standard("summarization", REVISION, tmp_path).digest == dataset.digest
    assert not asked  # what is there is not brought again


def test_a_hub_that_cannot_be_reached_is_the_operators_to_mend(tmp_path):
    error = refusal(lambda: hub.fetch_standard("summarization", REVISION, tmp_path))
    assert error.code == "HUB_UNAVAILABLE"
    assert "--mirror" in error.hint


def test_the_command_refuses_a_branch(tmp_path, capsys):
    assert main(["dataset", "fetch", "ASR", "--revision", "main", "--home", str(tmp_path)]) == 2
    assert "HUB_REVISION" in capsys.readouterr().err
