"""The orchestrator as an image runs the same demo to the same verified end, and leaves nothing but its volume."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(name="volume")
def _volume(engine):
    name = f"jouleseal-test-{uuid.uuid4().hex[:12]}"
    yield name
    subprocess.run(["docker", "volume", "rm", "--force", name], check=True, capture_output=True)


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_the_demo_from_the_runner_image_ends_verified(volume, tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"JOULESEAL_STATE_VOLUME": volume, "JOULESEAL_BIN": str(Path(sys.executable).parent)}
    command = [str(REPOSITORY / ".ci" / "demo-runner"), str(out), "--points", "20", "--runs", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=540)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "VERIFIED  tier T1" in done.stdout
    assert {path.name for path in out.iterdir()} == {"bundle.tar", "root.json", "label.svg"}
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", f"volume={volume}"], check=True, capture_output=True, text=True
    )
    assert listed.stdout == ""
