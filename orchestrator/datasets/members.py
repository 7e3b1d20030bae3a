"""The members of one package in the cache: read only after they proved to be the locked bytes.

The cache is `packages/<SHA-256 of the archive>/members/<path>` in a folder of the user's (XDG_CACHE_HOME/jouleseal).
The archive itself is not kept.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.datasets.lock import Member, Package
from protocol.errors import DatasetUnavailable

CHUNK = 1 << 20


def cache_root() -> Path:
    """Return the folder of cached packages: XDG_CACHE_HOME/jouleseal/packages, ~/.cache where that is not set."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "jouleseal" / "packages"


def folder_of(package: Package, root: Path) -> Path:
    """Return the folder of one package in the cache."""
    return root / package.sha256


class CachedMembers(Mapping[str, bytes]):
    """The locked members of a package that is in the cache, by their paths; every read is checked.

    Raises DatasetUnavailable (MEMBER_DIGEST) where a cached file is not what was locked, (MEMBER_WITHHELD) for a member
    that must not be read, and KeyError for one that the lock file does not name.
    """

    def __init__(self, package: Package, root: Path) -> None:
        self._package = package
        self._folder = folder_of(package, root) / "members"

    def __getitem__(self, path: str) -> bytes:
        """Return the bytes of a member."""
        member = self.member(path)
        try:
            content = (self._folder / path).read_bytes()
        except OSError as error:
            raise damaged(self._package, member, f"cannot be read ({error.strerror})", self._folder) from error
        seen = hashlib.sha256(content).hexdigest()
        if seen != member.sha256:
            raise damaged(self._package, member, f"has the SHA-256 {seen}", self._folder)
        return content

    def __iter__(self) -> Iterator[str]:
        """Iterate over the members' paths in the lock file's order."""
        return iter(self._package.members)

    def __len__(self) -> int:
        """Return how many members are locked."""
        return len(self._package.members)

    def __contains__(self, path: object) -> bool:
        """Say whether the lock file names the member, without reading it."""
        return path in self._package.members

    def path(self, path: str) -> Path:
        """Return where a member lies, after its digest proved right; for files that are copied or mapped."""
        member = self.member(path)
        place = self._folder / path
        digest = hashlib.sha256()
        try:
            with place.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise damaged(self._package, member, f"cannot be read ({error.strerror})", self._folder) from error
        if digest.hexdigest() != member.sha256:
            raise damaged(self._package, member, f"has the SHA-256 {digest.hexdigest()}", self._folder)
        return place

    def member(self, path: str) -> Member:
        """Return what is locked of a member that may be read."""
        if path in self._package.withheld:
            raise DatasetUnavailable(
                code="MEMBER_WITHHELD",
                observed=f"{self._package.name}: {path} must not be read: {self._package.withheld[path]}",
                expected="a member whose licence allows it",
                hint="use another source of data",
            )
        return self._package.members[path]


def damaged(package: Package, member: Member, what: str, folder: Path) -> DatasetUnavailable:
    """Return the refusal of a member that is not the locked one."""
    return DatasetUnavailable(
        code="MEMBER_DIGEST",
        observed=f"{package.name} {package.version}: the member {member.path} {what}",
        expected=f"{member.size} bytes with the SHA-256 {member.sha256}",
        hint=f"remove {folder} and run it again; if it happens again, the lock file and the package disagree",
    )
