"""A folder for a socket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def socket_path() -> Iterator[str]:
    """A path short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="js") as folder:
        yield str(Path(folder, "m.sock"))
