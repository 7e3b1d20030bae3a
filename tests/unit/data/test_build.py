"""What the image builder decides without an engine: keys, order, the pictures it writes and the archive of the base."""

import hashlib
import io
import json
import shutil
import struct
import sys
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.datasets import load_digits

from orchestrator.datasets.store import load

REFERENCE = Path(__file__).resolve().parents[3] / "reference_containers"
sys.path.insert(0, str(REFERENCE))

import build  # noqa: E402 - found through the line above
import debian_base  # noqa: E402


def pixels_of(content):
    """Decode an 8-bit greyscale PNG without filters, by the specification and not by our writer."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        (crc,) = struct.unpack(">I", content[at + 8 + size : at + 12 + size])
        assert crc == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 0)
    raw = zlib.decompress(chunks[b"IDAT"])
    rows = [raw[row * (width + 1) : (row + 1) * (width + 1)] for row in range(height)]
    assert all(row[0] == 0 for row in rows)
    return [list(row[1:]) for row in rows]


def test_every_embedded_digit_shows_the_pixels_that_scikit_learn_bundles():
    bundled = load_digits()
    for point in load("embedded-digits").points:
        number = int(point.point_id.removeprefix("digit-"))
        assert pixels_of(point.input.content) == [[int(p) * 255 // 16 for p in row] for row in bundled.images[number]]
        assert point.reference == str(bundled.target[number])


def archive(root, labels):
    stream = io.BytesIO()
    debian_base.write_archive(stream, root, "jouleseal/base:test", labels)
    return stream.getvalue()


def test_the_archive_of_the_base_is_known_from_its_content(tmp_path):
    root = tmp_path / "root.tar"
    root.write_bytes(b"a root file system" * 1000)
    made = archive(root, {"key": "1"})
    assert archive(root, {"key": "1"}) == made
    assert archive(root, {"key": "2"}) != made
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        (manifest,) = json.loads(tar.extractfile("manifest.json").read())
        config = tar.extractfile(manifest["Config"]).read()
        layer = tar.extractfile(manifest["Layers"][0]).read()
    assert manifest["Config"] == hashlib.sha256(config).hexdigest() + ".json"
    assert layer == root.read_bytes()
    facts = json.loads(config)
    assert facts["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    assert facts["config"]["User"] == "65532:65532"


def test_images_are_built_after_what_they_stand_on():
    assert build.needed(["digits", "reviews", "vendor-base"]) == ["vendor-base", "digits", "reviews"]
    assert build.needed(["base"]) == []
    with pytest.raises(build.BuildFailed, match="nothing"):
        build.needed(["nothing"])


@pytest.fixture
def key(monkeypatch, tmp_path):
    """The content key of a recipe over a folder, with the image that it stands on given."""

    def of(recipe, folder, stands_on="sha256:1"):
        monkeypatch.setattr(build, "image_id", lambda _tag: stands_on)
        return build.content_key(recipe, folder)

    return of


def test_a_key_changes_with_everything_that_decides_the_image(key, tmp_path):
    recipe = build.RECIPES["null"]
    build.fill_context(recipe, tmp_path / "one")
    first = key(recipe, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert key(recipe, tmp_path / "two") == first
    assert key(recipe, tmp_path / "two", "sha256:2") != first
    assert key(replace(recipe, wheels=("numpy==1",)), tmp_path / "two") != first
    assert key(replace(recipe, arguments=(("FRAMEWORK", "torch"),)), tmp_path / "two") != first
    (tmp_path / "two" / "server.py").chmod(0o755)
    assert key(recipe, tmp_path / "two") != first
    (tmp_path / "one" / "server.py").write_text("pass", encoding="utf-8")
    assert key(recipe, tmp_path / "one") != first


def test_heavy_images_are_built_by_name_and_pytorch_only_as_its_cpu_build(tmp_path):
    assert not set(build.GROUPS["frameworks"]) & set(build.BY_DEFAULT)
    assert [name.removeprefix("frameworks-") for name in build.GROUPS["frameworks"]] == list(build.FRAMEWORKS)
    (torch,) = build.FRAMEWORKS["torch"]
    assert torch.startswith("torch==")
    assert torch.endswith("+cpu")
    for name in build.FRAMEWORKS:
        context = tmp_path / name
        build.fill_context(build.RECIPES[f"frameworks-{name}"], context)
        backend = REFERENCE / "frameworks" / "backends" / f"{name}.py"
        assert (context / "backend.py").read_bytes() == backend.read_bytes()
        assert not (context / "backends").exists()
        assert not (context / "train.py").exists()


def test_a_context_holds_what_the_image_needs_and_no_more(tmp_path):
    build.fill_context(build.RECIPES["vendor-base"], tmp_path / "base")
    shipped = {path.name for path in (tmp_path / "base" / "protocol").iterdir()}
    assert {"wire", "methodology", "errors.py", "samples.py"} <= shipped
    assert not {"attestation", "tlog", "__pycache__"} & shipped
    build.fill_context(build.RECIPES["digits"], tmp_path / "digits")
    assert {path.name for path in (tmp_path / "digits").iterdir()} == {
        "Dockerfile",
        "server.py",
        "train.py",
        "train.jsonl",
    }
    build.fill_context(build.RECIPES["runner"], tmp_path / "runner")
    assert (tmp_path / "runner" / "submissions" / "reviews.yaml").exists()
    assert (tmp_path / "runner" / "source" / "protocol" / "attestation").is_dir()
    assert (tmp_path / "runner" / "source" / "orchestrator" / "data" / "digits" / "points.jsonl").exists()


def test_no_machine_without_its_own_archives_makes_a_base(monkeypatch):
    monkeypatch.setattr(debian_base, "os_release", lambda: {"ID": "elsewhere"})
    monkeypatch.setenv("PATH", "")
    with pytest.raises(debian_base.BaseUnavailable, match="no apt"):
        debian_base.sources()
