"""The bundles that the oracles are asked about, and the programs that ask them."""

from __future__ import annotations

import os
import subprocess

import pytest

from protocol.attestation.bundle import read_bundle
from tests.oracles.__main__ import FOLDER
from tests.oracles.asking import HERE, need, told
from tests.worlds.world import World


@pytest.fixture(name="files", scope="module", params=["world", "museum"])
def _files(request):
    """A bundle of a world in virtual time, and one that a real campaign of the demo left."""
    if request.param == "museum":
        return read_bundle(HERE.parent / "museum" / "sample-1" / "bundle.tar").files
    world = World(idle_ms=110)
    world.campaign()
    return world.bundle()


@pytest.fixture(name="ask")
def _ask(tmp_path):
    """Return a function that asks an oracle about a JSON value and returns its answer."""
    return lambda command, value, env=None: told(command, value, tmp_path, env)


@pytest.fixture(name="go", scope="session")
def _go(tmp_path_factory):
    """Build the Go oracle with Debian's x/mod."""
    need("go")
    out = tmp_path_factory.mktemp("go") / "ask_go"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(FOLDER / "go-cache")}
    done = subprocess.run(
        ["go", "build", "-o", str(out), str(HERE / "ask_go.go")], env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return str(out)
