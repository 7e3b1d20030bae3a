"""One step of the ceremony at a terminal: its options, what it says, what it reads and writes, its passphrase."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.disk import make_folder, write_atomic
from orchestrator.record.keys import FileSigner, load_key, read_passphrase, read_passphrase_file
from protocol.attestation.jcs import Json
from protocol.attestation.root import MAX_ROOT_BYTES
from protocol.errors import UsageError

_MAX_PASSPHRASE_READ = 4096


@dataclass(slots=True)
class Step:
    """A step and what it has to say: lines for people, and the same as one document."""

    arguments: argparse.Namespace
    lines: list[str] = field(default_factory=list)
    document: dict[str, Json] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    _passphrase: bytes | None = field(default=None, repr=False)

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be written."""
        return bool(getattr(self.arguments, "dry_run", False))

    def say(self, *lines: str) -> None:
        """Add lines for people."""
        self.lines += lines

    def load(self, path: Path) -> FileSigner:
        """Return the signer over a key file, asking for its passphrase if it has one."""
        return load_key(path, self.unlock)

    def unlock(self, name: str) -> bytes | None:
        """Return the passphrase of a key: from the file or descriptor that was given, else from the terminal."""
        given = self._given_passphrase()
        if given is not None:
            return given
        return getpass.getpass(f"passphrase of {name}: ").encode("utf-8") if sys.stdin.isatty() else None

    def new_passphrase(self) -> bytes | None:
        """Return the passphrase for a key that is being made; None where none is asked for."""
        given = self._given_passphrase()
        if given is not None or not self.arguments.encrypt:
            return given
        if not sys.stdin.isatty():
            raise usage("--encrypt and no terminal", "a passphrase", "give --passphrase-file or --passphrase-fd")
        first = getpass.getpass("passphrase: ")
        if getpass.getpass("once more: ") != first:
            raise usage("two different passphrases", "the same one twice", "run it again; nothing was written")
        return read_passphrase(first.encode("utf-8"), "the passphrase")

    def confirm(self) -> None:
        """Go on only if the holder, having read what is signed, says so; UsageError NOT_CONFIRMED."""
        if self.arguments.yes:
            return
        if self.arguments.json or not sys.stdin.isatty():
            raise UsageError(
                code="NOT_CONFIRMED",
                observed="nobody to ask whether this is to be signed",
                expected="a terminal, or --yes",
                hint="read what --dry-run prints, and give --yes if you mean it",
            )
        print("\n".join(self.lines))
        self.lines = []
        if input("Sign this? Type yes: ").strip() != "yes":
            raise UsageError(
                code="NOT_CONFIRMED", observed="another answer than yes", expected="yes", hint="nothing was signed"
            )

    def read(self, path: Path) -> bytes:
        """Return what is in a file; UsageError where it cannot be read."""
        try:
            with path.open("rb") as stream:
                return stream.read(MAX_ROOT_BYTES + 1)
        except OSError as error:
            raise usage(f"{path}: {error.strerror}", "a file that can be read", "check the path") from error

    def write(self, path: Path, data: bytes, *, over: bool = False) -> None:
        """Write a file whole or not at all; over another only where that is what the step is for."""
        if not over:
            self.check_new(path)
        if not self.dry_run:
            make_folder(path.parent)
            write_atomic(path, data)
            self.written.append(str(path))

    def check_new(self, path: Path) -> None:
        """Return if there is no such file; UsageError FILE_EXISTS."""
        if path.exists():
            hint = "name another folder or file, or remove the draft that is there: it may carry signatures"
            raise UsageError(code="FILE_EXISTS", observed=f"{path} is there", expected="a new file", hint=hint)

    def _given_passphrase(self) -> bytes | None:
        """Return what the options give; a descriptor is read once."""
        if self._passphrase is None and self.arguments.passphrase_file is not None:
            self._passphrase = read_passphrase_file(self.arguments.passphrase_file)
        if self._passphrase is None and self.arguments.passphrase_fd is not None:
            number = self.arguments.passphrase_fd
            try:
                data = os.read(number, _MAX_PASSPHRASE_READ)
            except OSError as error:
                hint = "for example: jouleseal keys new a.pem --passphrase-fd 3 3<FILE"
                raise usage(f"descriptor {number}: {error.strerror}", "an open descriptor", hint) from error
            self._passphrase = read_passphrase(data, f"descriptor {number}")
        return self._passphrase


def usage(observed: str, expected: str, hint: str) -> UsageError:
    """Return the error for a step that cannot be meant as it was called."""
    return UsageError(observed=observed, expected=expected, hint=hint)
