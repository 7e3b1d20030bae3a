"""The lock file: which packages data and models may come from, which of their members are read, and on what terms.

Rules:
1. A package is named with its kind (the package manager that brings it), version, file, size and SHA-256; every member
   that may be read with its own size and SHA-256. What is not in the lock file is never fetched and never opened.
2. Points stand in evidence that is handed on, so a licence must allow use, change and redistribution by anybody. One
   that is not in PERMITTED is refused with the reason; so is a member that the lock file withholds.
3. A member's path is relative, in POSIX form, and stays inside the package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from protocol.errors import DatasetUnavailable

FORMAT = "jouleseal-packages/1"
LOCK_FILE = "packages.lock.json"
PERMITTED = frozenset(
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 GFDL-1.1-or-later "
    "GPL-2.0-only GPL-2.0-or-later GPL-3.0-or-later ISC LGPL-2.1-only LGPL-2.1-or-later MIT PSF-2.0".split()
)
"""SPDX ids of licences under which points may be cached, shown and handed on with the evidence."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~%-]*")


class Kind(Enum):
    """The package manager that brings a package."""

    PYPI = "pypi"
    NPM = "npm"
    DEB = "deb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a package: its path there, its size in bytes and its SHA-256 (64 hex digits)."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One locked package.

    `file` is the archive's name, `size` its bytes, `sha256` its digest. `licence` is an SPDX expression over the
    members that are read, `licence_source` says where it is stated. `withheld` gives, by path, the members that must
    not be read and why.
    """

    name: str
    kind: Kind
    version: str
    file: str
    size: int
    sha256: str
    licence: str
    licence_source: str
    members: Mapping[str, Member]
    withheld: Mapping[str, str]


def read_lock(file: Traversable | None = None) -> Mapping[str, Package]:
    """Return the locked packages by name, from the runner's own lock file by default.

    Raises DatasetUnavailable: LOCK_UNREADABLE where the file is no lock file, MEMBER_PATH where a member would leave
    its package.
    """
    file = file or resources.files("orchestrator.datasets") / LOCK_FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise _unreadable(f"its format is {document['format']!r}")
        return MappingProxyType({name: _package(name, row) for name, row in document["packages"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(f"{type(error).__name__}: {error}") from error


def locked(name: str, lock: Mapping[str, Package] | None = None) -> Package:
    """Return a package that may be fetched; raises DatasetUnavailable: PACKAGE_UNKNOWN, PACKAGE_LICENCE."""
    packages = read_lock() if lock is None else lock
    if name not in packages:
        raise DatasetUnavailable(
            code="PACKAGE_UNKNOWN",
            observed=f"no package in the lock file is called {name!r}",
            expected=f"one of {', '.join(sorted(packages))}",
            hint="name a locked package, or lock this one with python -m orchestrator.datasets.pin",
        )
    package = packages[name]
    reason = licence_refusal(package.licence)
    if reason is not None:
        raise DatasetUnavailable(
            code="PACKAGE_LICENCE",
            observed=f"{name} {package.version}: {reason} ({package.licence_source})",
            expected="a licence that allows everybody to use, change and hand on what is read",
            hint="use another source; the licences that are known to allow it stand in orchestrator.datasets.lock",
        )
    return package


def licence_refusal(expression: str) -> str | None:
    """Return why data under an SPDX expression cannot be used here, None where it can.

    Every licence of an AND must permit, and one of an OR; parentheses are not read.
    """
    reasons = [_of_choice(part) for part in expression.split(" AND ")]
    return next((reason for reason in reasons if reason is not None), None)


def _of_choice(part: str) -> str | None:
    ids = [one.strip() for one in part.split(" OR ")]
    if any(one in PERMITTED for one in ids):
        return None
    one = ids[0]
    if re.search(r"-NC\b", one):
        return f"{one} forbids commercial use"
    if re.search(r"-ND\b", one):
        return f"{one} forbids to hand on what was changed"
    if one in {"", "NONE", "NOASSERTION"}:
        return "no licence is stated, so nothing is allowed"
    return f"{one} is not known to allow redistribution"


def _package(name: str, row: Mapping[str, Any]) -> Package:
    package = Package(
        name=name,
        kind=Kind(row["kind"]),
        version=str(row["version"]),
        file=str(row["file"]),
        size=int(row["size"]),
        sha256=str(row["sha256"]),
        licence=str(row["licence"]),
        licence_source=str(row["licence_source"]),
        members=MappingProxyType({path: _member(name, path, facts) for path, facts in row["members"].items()}),
        withheld=MappingProxyType({str(path): str(reason) for path, reason in row.get("withheld", {}).items()}),
    )
    if not _SHA256.fullmatch(package.sha256) or not _FILE.fullmatch(package.file):
        raise ValueError(f"{name}: its SHA-256 is {package.sha256!r}, its file {package.file!r}")
    return package


def _member(name: str, path: str, facts: list[Any]) -> Member:
    size, sha256 = facts
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or str(pure) != path or "\\" in path or "\0" in path or path == ".":
        raise DatasetUnavailable(
            code="MEMBER_PATH",
            observed=f"{name}: the member {path!r} would leave the package",
            expected="a relative path without '..'",
            hint="correct the lock file; nothing was fetched",
        )
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{name}: {path}: its SHA-256 is {sha256!r}")
    return Member(path=path, size=int(size), sha256=sha256)


def _unreadable(what: str) -> DatasetUnavailable:
    return DatasetUnavailable(
        code="LOCK_UNREADABLE",
        observed=f"the lock file of packages cannot be read: {what}",
        expected=f"a JSON document of the format {FORMAT}",
        hint="install the runner again if its own lock file is damaged",
    )
