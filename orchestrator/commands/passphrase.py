"""The passphrase of encrypted keys, for the commands that sign unattended: from a file, else from a terminal, once.

It is in nobody's arguments and in no environment, so that neither a process list nor a container ever shows it.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from orchestrator.record.keys import Unlock, read_passphrase_file


def unlocker(path: Path | None) -> Unlock:
    """Return what opens encrypted keys: the first line of a file, which is read now, or what is typed when asked.

    A file may be a pipe, which can be read only once; what was typed for a key is remembered. UsageError as of
    `read_passphrase_file`.
    """
    if path is not None:
        given = read_passphrase_file(path)
        return lambda _name: given
    typed: dict[str, bytes] = {}

    def ask(name: str) -> bytes | None:
        if name not in typed and sys.stdin.isatty():
            typed[name] = getpass.getpass(f"passphrase of {name}: ").encode("utf-8")
        return typed.get(name)

    return ask
