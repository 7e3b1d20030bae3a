"""Tiny packages of all three kinds, made here byte by byte, and managers that serve them without a network."""

import gzip
import io
import json
import lzma
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

from orchestrator.datasets.lock import FORMAT, read_lock
from orchestrator.datasets.pin import entry_of, text_of

MEMBERS = {
    "data/points.json": b'["one", "two"]\n',
    "data/more.txt": b"more\n",
    "tiny/__init__.py": b"raise SystemExit(9)\n",
}


def tar_of(members, *, prefix="", link=None):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, content in members.items():
            entry = tarfile.TarInfo(prefix + path)
            if path == link:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def wheel(members, link=None):
    stream = io.BytesIO()
    metadata = {
        "tiny_set-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-set\nVersion: 1.0\n",
        "tiny_set-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_set-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(stream, "w") as archive:
        for path, content in (members | metadata).items():
            entry = zipfile.ZipInfo(path)
            mode = stat.S_IFLNK if path == link else stat.S_IFREG
            entry.external_attr = (mode | 0o644) << 16
            archive.writestr(entry, content)
    return stream.getvalue()


def tarball(members, link=None):
    return gzip.compress(tar_of(members, link=link), mtime=0)


def deb(members, link=None, compress=lzma.compress, suffix=".xz"):
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": lzma.compress(tar_of({})),
        f"data.tar{suffix}": compress(tar_of(members, prefix="./", link=link)),
    }
    return b"!<arch>\n" + b"".join(
        f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode() + body + b"\n" * (len(body) % 2)
        for name, body in parts.items()
    )


MAKERS = {"pypi": wheel, "npm": tarball, "deb": deb}
FILES = {"pypi": "tiny_set-1.0-py3-none-any.whl", "npm": "tiny-set-1.0.tgz", "deb": "tiny-set_1.0_all.deb"}
MANAGERS = {"npm": "npm", "deb": "apt-get"}


class Shelf:
    """One package on a shelf from which its manager takes it; what is served can be changed after it was locked."""

    def __init__(self, folder: Path, monkeypatch, kind: str, members=None, link=None):
        self.kind, self.file, self.folder, self.patch = kind, FILES[kind], folder, monkeypatch
        self.cache = folder / "cache"
        for name in ("shelf", "bin"):
            (folder / name).mkdir()
        self.serve(MAKERS[kind](members or MEMBERS, link))
        for name, value in {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder / "shelf"),
            "PIP_CONFIG_FILE": "/dev/null",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", str(folder / "bin"))
        if kind in MANAGERS:
            self.manager(f"import shutil; shutil.copy({str(folder / 'shelf' / self.file)!r}, '.')")

    @property
    def archive(self):
        return self.folder / "shelf" / self.file

    def serve(self, content):
        self.archive.write_bytes(content)

    def manager(self, program):
        """Let npm or apt-get be a program of ours."""
        place = self.folder / "bin" / MANAGERS[self.kind]
        place.write_text(f"#!{sys.executable}\n{program}\n")
        place.chmod(0o755)

    def unplug(self):
        """Take away the network and every package manager but the interpreter's own pip, which finds an empty shelf."""
        self.patch.setenv("PATH", "/nowhere")
        self.patch.setenv("PIP_FIND_LINKS", str(self.folder / "bin"))

    def lock(self, patterns=("data/*",), **changes):
        """Return the lock file of the package as it lies on the shelf, with changes to its row."""
        row = entry_of(self.archive, "1.0", "MIT", "made here", list(patterns)) | changes
        return self.written({"tiny-set": row})

    def written(self, packages):
        file = self.folder / "packages.lock.json"
        file.write_text(text_of(packages))
        assert json.loads(file.read_text())["format"] == FORMAT
        return read_lock(file)

    def kept(self):
        """Return every file in the cache."""
        return sorted(str(path.relative_to(self.cache)) for path in self.cache.rglob("*") if path.is_file())
