"""The bundles that were published verify for ever, and not with one byte changed."""

import json
import random
from pathlib import Path

import pytest

from protocol.attestation.bundle import BundleFiles, read_bundle, write_tar
from protocol.errors import UsageError
from tests.museum.__main__ import keep, verdict_of
from tests.museum.twins import TWINS
from tests.worlds.world import failed
from verifier.cli import main
from verifier.demands import Demands, root_pin
from verifier.verify import verify, verify_path

MUSEUM = Path(__file__).parents[2] / "museum"
SAMPLES = sorted(path.parent for path in MUSEUM.glob("*/bundle.tar"))
FLIPS = 200
SEED = 20261123


def verdict(bundle, root, capsys):
    status = main([str(bundle), "--root", str(root), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_museum_is_not_empty():
    assert SAMPLES


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_published_bundle_still_gets_its_verdict(sample):
    report = verify_path(sample / "bundle.tar", Demands(root=root_pin(str(sample / "root.json"))))
    assert verdict_of(report) == json.loads((sample / "verdict.json").read_text())


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_its_evil_twin_is_refused_by_name(sample, twin):
    change, gives_away = TWINS[twin]
    files = dict(read_bundle(sample / "bundle.tar").files)
    change(files)
    demands = Demands(root=root_pin(str(sample / "root.json")))
    found = failed(verify(lambda: BundleFiles(files), demands))
    assert gives_away in found, found


def test_a_bundle_is_kept_with_its_verdict_and_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.museum.__main__.MUSEUM", tmp_path)
    sample = SAMPLES[0]
    folder = keep("new", sample / "bundle.tar", sample / "root.json")
    for name in ("bundle.tar", "root.json", "verdict.json"):
        assert (folder / name).read_bytes() == (sample / name).read_bytes()
    with pytest.raises(UsageError, match="is taken"):
        keep("new", sample / "bundle.tar", sample / "root.json")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_flipped_byte_of_any_file_is_named(sample, tmp_path, capsys):
    """Files are drawn first, so that small ones are hit as often; the tar around the flip is laid anew."""
    draw = random.Random(SEED)
    files = dict(read_bundle(sample / "bundle.tar").files)
    flipped = tmp_path / "flipped.tar"
    flipped.write_bytes(b"".join(write_tar(files)))
    assert verdict(flipped, sample / "root.json", capsys)[0] == 0, "laid anew without a flip it verifies"
    for _ in range(FLIPS):
        name = draw.choice(sorted(files))
        data = bytearray(files[name])
        place = draw.randrange(len(data))
        data[place] ^= 1 << draw.randrange(8)
        flipped.write_bytes(b"".join(write_tar({**files, name: bytes(data)})))
        status, report = verdict(flipped, sample / "root.json", capsys)
        failed = [check for check in report["checks"] if check["status"] == "failed"]
        assert status in {1, 6}, f"byte {place} of {name} was flipped and nobody noticed"
        assert failed, f"byte {place} of {name}: no claim is named"
        assert failed[0]["code"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_flipped_byte_of_the_tar_itself_is_noticed(sample, tmp_path, capsys):
    """Headers, padding and end of the archive are nobody's claim, and still every byte of them is held to be."""
    draw = random.Random(SEED)
    whole = (sample / "bundle.tar").read_bytes()
    for _ in range(FLIPS):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        flipped = tmp_path / "flipped.tar"
        flipped.write_bytes(bytes(data))
        status, report = verdict(flipped, sample / "root.json", capsys)
        assert status in {1, 6}
        assert any(check["status"] == "failed" for check in report["checks"])
