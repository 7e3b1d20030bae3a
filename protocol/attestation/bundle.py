"""The bundle: one canonical tar (or the same files in a folder) with everything that an auditor needs.

The rules:
1. Every path is one of the layout below; everything else is refused.
2. A tar is ustar with sorted unique names, mode 0644, owner 0, time 0, two zero blocks at the end and nothing after
   them: a set of files has exactly one tar, and a tar that is not the one of its files is refused.
3. Sizes are checked against the bytes that are there, and against the named limits, before anything is allocated.
4. A folder is read without following links, and holds regular files and folders only.

    trust/root/<version>.root.json    TUF root metadata
    trust/keyring.dsse.json           the keyring, signed by the root's targets keys
    trust/policy.txt                  log, witnesses and quorum
    log/checkpoint                    signed and cosigned note
    log/tile/...                      C2SP tlog-tiles
    statements/<index>-<name>.sigstore.json
    evidence/sha256/<hex>             what the statements refer to by digest
    VERIFY.txt                        how to verify, in three commands
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from protocol.attestation.digest import sha256_hex
from protocol.attestation.refusal import refuse
from protocol.attestation.statement import BESIDE_NAMES, PREDICATE_NAMES
from protocol.errors import UsageError, VerificationError
from protocol.units import MIB

KEYRING_PATH = "trust/keyring.dsse.json"
POLICY_PATH = "trust/policy.txt"
CHECKPOINT_PATH = "log/checkpoint"
VERIFY_PATH = "VERIFY.txt"
LOG_PREFIX = "log/"
EVIDENCE_PREFIX = "evidence/sha256/"

MAX_BUNDLE_BYTES = 512 * MIB  # a campaign of every task with second-by-second evidence is a tenth of it
MAX_FILE_BYTES = 64 * MIB  # the meter record of a day's session at ten samples a second
MAX_FILES = 20_000  # evidence of 600 runs is under 3,000 files
MAX_DEPTH = 8  # folders inside one another; a tile path has at most 7

_BLOCK = 512
_NAME_BYTES = 100
_END = bytes(2 * _BLOCK)
_ROOT_NAME = re.compile(r"trust/root/([1-9][0-9]{0,5})\.root\.json", re.ASCII)
_STATEMENT_NAME = re.compile(rf"statements/([0-9]{{8}})-({'|'.join(PREDICATE_NAMES)})\.sigstore\.json", re.ASCII)
_BESIDE_NAME = re.compile(rf"statements/([0-9]{{8}})-({'|'.join(BESIDE_NAMES)})\.sigstore\.json", re.ASCII)
_EVIDENCE_NAME = re.compile(r"evidence/sha256/[0-9a-f]{64}", re.ASCII)
_TILE_NAME = re.compile(r"log/tile/(entries|[0-7])/(x[0-9]{3}/)*[0-9]{3}(\.p/[1-9][0-9]{0,2})?", re.ASCII)
_FIXED_NAMES = frozenset({KEYRING_PATH, POLICY_PATH, CHECKPOINT_PATH, VERIFY_PATH})


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFile:
    """One statement of a bundle, as its path names it; the path is not believed, but must agree with what is inside."""

    path: str
    log_index: int
    predicate_name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """The files of a bundle by their paths, all of which the layout knows."""

    files: Mapping[str, bytes]

    def __getitem__(self, path: str) -> bytes:
        """Return a file; VerificationError FILE_MISSING where it is absent."""
        if path not in self.files:
            raise refuse("FILE_MISSING", observed=f"no {path}", expected=f"{path} in the bundle")
        return self.files[path]

    def statements(self) -> list[StatementFile]:
        """Return the runner's statement files in the order of their log indexes."""
        return self._named(_STATEMENT_NAME)

    def beside(self) -> list[StatementFile]:
        """Return the statement files of vendors and auditors in the order of their log indexes."""
        return self._named(_BESIDE_NAME)

    def _named(self, pattern: re.Pattern[str]) -> list[StatementFile]:
        found = []
        for path in sorted(self.files):
            match = pattern.fullmatch(path)
            if match is not None:
                item = StatementFile(path=path, log_index=int(match[1]), predicate_name=match[2], data=self.files[path])
                found.append(item)
        return found

    def roots(self) -> list[bytes]:
        """Return the root files in the order of their versions."""
        versions = [(int(match[1]), path) for path in self.files if (match := _ROOT_NAME.fullmatch(path))]
        return [self.files[path] for _, path in sorted(versions)]

    def tiles(self) -> dict[str, bytes]:
        """Return the tile files by their paths within the log."""
        prefix = LOG_PREFIX + "tile/"
        return {path[len(LOG_PREFIX) :]: data for path, data in self.files.items() if path.startswith(prefix)}

    def evidence_digests(self) -> frozenset[str]:
        """Return the digests that the files under evidence/ are named by."""
        return frozenset(path[len(EVIDENCE_PREFIX) :] for path in self.files if path.startswith(EVIDENCE_PREFIX))

    def evidence(self, digest: str) -> bytes:
        """Return the evidence with this digest; VerificationError EVIDENCE_MISSING or EVIDENCE_DIFFERS."""
        path = EVIDENCE_PREFIX + digest
        if path not in self.files:
            raise refuse("EVIDENCE_MISSING", observed=f"no {path}", expected="every file that a statement refers to")
        if sha256_hex(self.files[path]) != digest:
            observed = f"{path} with digest {sha256_hex(self.files[path])[:16]}"
            raise refuse("EVIDENCE_DIFFERS", observed=observed, expected="the digest that it is named by")
        return self.files[path]


def root_path(version: int) -> str:
    """Return the path of a version of the root."""
    return f"trust/root/{version}.root.json"


def statement_path(log_index: int, predicate_name: str) -> str:
    """Return the path of a statement."""
    return f"statements/{log_index:08d}-{predicate_name}.sigstore.json"


def evidence_path(digest: str) -> str:
    """Return the path of the evidence with this hexadecimal SHA-256."""
    return EVIDENCE_PREFIX + digest


def is_layout_path(path: str) -> bool:
    """Tell whether the layout has such a path."""
    patterns = (_ROOT_NAME, _STATEMENT_NAME, _BESIDE_NAME, _EVIDENCE_NAME, _TILE_NAME)
    return path in _FIXED_NAMES or any(pattern.fullmatch(path) for pattern in patterns)


def write_tar(files: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield the blocks of the one tar of these files; VerificationError as the reader would refuse them."""
    for path in sorted(files):
        _check_member(path, len(files[path]))
        yield _header(path, len(files[path]))
        yield files[path]
        yield bytes(-len(files[path]) % _BLOCK)
    yield _END


def read_bundle(path: Path) -> BundleFiles:
    """Read a bundle from a tar or from a folder; UsageError NO_BUNDLE where there is neither."""
    try:
        if path.is_dir():
            return BundleFiles(_read_folder(path))
        with path.open("rb") as stream:
            return BundleFiles(read_tar(stream, os.fstat(stream.fileno()).st_size))
    except OSError as error:
        raise UsageError(
            code="NO_BUNDLE",
            observed=f"{path.name}: {error.strerror}",
            expected="a bundle that can be read",
            hint="name the bundle's tar, or the folder that it was unpacked into",
        ) from error


def read_tar(stream: BinaryIO, size: int) -> dict[str, bytes]:
    """Read the files of a canonical tar of `size` bytes; VerificationError BAD_TAR, BUNDLE_LIMIT or UNKNOWN_FILE."""
    if size > MAX_BUNDLE_BYTES:
        raise _limit(f"{size} bytes", f"at most {MAX_BUNDLE_BYTES}")
    files: dict[str, bytes] = {}
    left, last = size, ""
    while (header := _take(stream, _BLOCK)) != bytes(_BLOCK):
        name, length = _parse_header(header)
        left -= _BLOCK
        padding = -length % _BLOCK
        if length + padding > left:
            raise _bad_tar(f"{name[:80]!r} of {length} bytes in the {left} that are left", "a file that is there")
        if name <= last:
            raise _bad_tar(f"{name[:80]!r} after {last[:80]!r}", "sorted names, each once")
        files[name] = _take(stream, length)
        if _take(stream, padding) != bytes(padding):
            raise _bad_tar(f"data after the end of {name[:80]!r}", "zeros")
        left, last = left - length - padding, name
        if len(files) > MAX_FILES:
            raise _limit(f"more than {MAX_FILES} files", f"at most {MAX_FILES}")
    if left != len(_END) or stream.read(_BLOCK + 1) != bytes(_BLOCK):
        raise _bad_tar("bytes after the end, or no end", "two zero blocks at the end")
    return files


def _parse_header(header: bytes) -> tuple[str, int]:
    """Return name and size of a member whose header is the canonical one for that name and size."""
    raw_name, raw_size = header[:_NAME_BYTES].rstrip(b"\0"), header[124:135]
    if not (raw_name.isascii() and re.fullmatch(rb"[0-7]{11}", raw_size)):
        raise _bad_tar(repr(raw_name[:80]), "an ASCII name and an octal size")
    name, length = raw_name.decode("ascii"), int(raw_size, 8)
    _check_member(name, length)
    if header != _header(name, length):
        raise _bad_tar(f"a header of {name[:80]!r} that is not canonical", "a regular file, mode 0644, owner 0, time 0")
    return name, length


def _header(name: str, size: int) -> bytes:
    """Return the ustar header (POSIX.1-1988) of a regular file."""
    fields = (
        name.encode("ascii").ljust(_NAME_BYTES, b"\0"),
        b"0000644\0" + b"0000000\0" + b"0000000\0",
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,
        b"0" + bytes(100),
        b"ustar\x0000" + bytes(64),
        b"0000000\0" + b"0000000\0" + bytes(155 + 12),
    )
    header = b"".join(fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _read_folder(top: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name, data in _walk(descriptor, "", 0):
            total += len(data)
            files[name] = data
            if total > MAX_BUNDLE_BYTES or len(files) > MAX_FILES:
                raise _limit(f"more than {total} bytes or {len(files)} files", "a smaller bundle")
    finally:
        os.close(descriptor)
    return files


def _walk(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, bytes]]:
    """Yield the files under an open folder, never following a link."""
    if depth > MAX_DEPTH:
        raise _limit(f"folders more than {MAX_DEPTH} deep", "a flatter bundle")
    for name in sorted(os.listdir(folder)):
        path = prefix + name
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                yield from _walk(inner, path + "/", depth + 1)
            finally:
                os.close(inner)
        elif stat.S_ISREG(mode):
            yield path, _read_file(folder, name, path)
        else:
            raise refuse("UNKNOWN_FILE", observed=f"{path[:120]!r} is a link or a device", expected="regular files")


def _read_file(folder: int, name: str, path: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        _check_member(path, size)
        return _take(stream, size)


def _check_member(path: str, size: int) -> None:
    if not is_layout_path(path) or len(path.encode("utf-8")) > _NAME_BYTES:
        raise refuse("UNKNOWN_FILE", observed=repr(path[:120]), expected="a path of the bundle's layout")
    if size > MAX_FILE_BYTES:
        raise _limit(f"{path[:80]!r} of {size} bytes", f"at most {MAX_FILE_BYTES}")


def _take(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise _bad_tar("the end of the file in the middle of a member", "whole members")
    return data


def _bad_tar(observed: str, expected: str) -> VerificationError:
    return refuse("BAD_TAR", observed=observed, expected=expected)


def _limit(observed: str, expected: str) -> VerificationError:
    return refuse("BUNDLE_LIMIT", observed=observed, expected=expected)
