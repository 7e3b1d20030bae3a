"""Read named members of a package's archive: wheels are zip files, npm's tarballs are tar files, Debian's are ar files.

Rules:
1. Only members that are asked for are opened. Each must be a regular file; nothing is followed, imported or run.
2. No member is read beyond its locked size, so that no archive can fill a disk.
"""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orchestrator.datasets.lock import Kind

Take = Callable[[str, IO[bytes]], None]
"""Gets the path of a member and a stream of its bytes."""

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60
DAMAGED = (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
"""What the readers raise where an archive is damaged or of another kind; NotAFile is a ValueError, too."""


class NotAFile(ValueError):
    """A member is a link, a folder or a device: it names something else and is not read."""


def read_members(archive: Path, kind: Kind, wanted: Collection[str], take: Take) -> None:
    """Give every wanted member that is in the archive to `take`; those that are not there are left out.

    Raises NotAFile and the errors of DAMAGED.
    """
    if kind is Kind.PYPI:
        _read_zip(archive, wanted, take)
    elif kind is Kind.NPM:
        with tarfile.open(archive, "r|*") as members:
            _read_tar(members, wanted, take)
    else:
        with _deb_data(archive) as members:
            _read_tar(members, wanted, take)


def list_members(archive: Path, kind: Kind) -> list[str]:
    """Return the paths of all regular files of an archive, in its order."""
    if kind is Kind.PYPI:
        with zipfile.ZipFile(archive) as members:
            return [entry.filename for entry in members.infolist() if not entry.is_dir()]
    if kind is Kind.NPM:
        with tarfile.open(archive, "r|*") as members_of_tar:
            return [_plain(entry.name) for entry in members_of_tar if entry.isreg()]
    with _deb_data(archive) as data:
        return [_plain(entry.name) for entry in data if entry.isreg()]


def _read_zip(archive: Path, wanted: Collection[str], take: Take) -> None:
    with zipfile.ZipFile(archive) as members:
        names = set(members.namelist())
        for path in wanted:
            if path not in names:
                continue
            mode = members.getinfo(path).external_attr >> 16
            if mode & 0o170000 not in {0, 0o100000}:
                raise NotAFile(path)
            with members.open(path) as stream:
                take(path, stream)


def _read_tar(members: tarfile.TarFile, wanted: Collection[str], take: Take) -> None:
    for entry in members:
        path = _plain(entry.name)
        if path not in wanted:
            continue
        stream = members.extractfile(entry) if entry.isreg() else None
        if stream is None:
            raise NotAFile(path)
        take(path, stream)


def _plain(name: str) -> str:
    return name.removeprefix("./")


@contextmanager
def _deb_data(archive: Path) -> Iterator[tarfile.TarFile]:
    """The files of a Debian package, whose format is deb(5): an ar file whose member `data.tar` holds them."""
    with archive.open("rb") as stream:
        name, size = _find_data(stream)
        if name.endswith(".zst"):
            with _through_dpkg(archive) as members:
                yield members
        else:
            with tarfile.open(fileobj=_Slice(stream, size), mode="r|*") as members:
                yield members


def _find_data(stream: IO[bytes]) -> tuple[str, int]:
    if stream.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ValueError("it does not begin like an ar file")
    while header := stream.read(_AR_HEADER):
        if len(header) != _AR_HEADER or header[58:] != b"`\n":
            raise ValueError("it ends in the middle of an ar header")
        name, size = header[:16].decode("ascii").strip().removesuffix("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return name, size
        stream.seek(size + size % 2, 1)
    raise ValueError("it holds no data.tar")


class _Slice(io.RawIOBase):
    """The next `size` bytes of a stream, as tarfile reads a stream: forwards only."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        super().__init__()
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(chunk)
        return chunk


@contextmanager
def _through_dpkg(archive: Path) -> Iterator[tarfile.TarFile]:
    """Zstandard is in no standard library before Python 3.14, so dpkg-deb reads it, where there is one."""
    if shutil.which("dpkg-deb") is None:
        raise ValueError("its data.tar.zst needs dpkg-deb, which is not installed")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise ValueError("dpkg-deb gave no stream")
        with tarfile.open(fileobj=process.stdout, mode="r|") as members:
            yield members
        shutil.copyfileobj(process.stdout, _Nowhere())
    if process.returncode != 0:
        raise ValueError(f"dpkg-deb ended with {process.returncode}")


class _Nowhere:
    def write(self, chunk: bytes) -> int:
        return len(chunk)
