"""What tests with a real engine share: the engine itself, images of one script each, and the hostile vendors' images.

A test that needs the engine and finds none fails: a suite that skipped it would say that the seal holds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.launch.engine import DockerEngine
from orchestrator.launch.identity import ImageIdentity
from orchestrator.launch.profile import LaunchProfile, Logs, build_profile
from orchestrator.launch.sandbox import Sandbox
from orchestrator.launch.sealed import sealed_image
from protocol.errors import EngineUnavailable
from protocol.submission import Resources, SealedImage
from protocol.units import MIB

BASE = "jouleseal/base:local"
BUILD = Path(__file__).resolve().parents[2] / "reference_containers" / "build.py"
SMALL = Resources(memory_bytes=128 * MIB, cpus=1, shm_bytes=16 * MIB)


@pytest.fixture(scope="session")
def hostile() -> dict[str, str]:
    """The hostile vendors' images by the name of what is wrong with them."""
    spec = importlib.util.spec_from_file_location("hostile_build", Path(__file__).parent / "hostile" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build()


def docker(*words: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the engine's own command: the tests' second opinion."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(["docker", *words], input=text, capture_output=True, text=True, check=False, env=environment)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def rig_name() -> str:
    return f"test-{os.getpid()}"


def leftovers(rig: str) -> str:
    """Everything of a rig's that the engine or the kernel still has."""
    label = f"label=dev.jouleseal.rig={rig}"
    found = docker("ps", "-aq", "--filter", label).stdout + docker("volume", "ls", "-q", "--filter", label).stdout
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/jouleseal/{rig}-*")]
    return found + "\n".join(groups)


def described(reference: str) -> SealedImage:
    """The image as the engine describes it: what `resolve` computes from the archive, without reading the archive."""
    found = json.loads(docker("inspect", reference).stdout)[0]
    identity = ImageIdentity(
        config_digest=found["Id"],
        diff_ids=tuple(found["RootFS"]["Layers"]),
        manifest_digest=None,
        config={"config": found["Config"]},
        layer_bytes=found["Size"],
    )
    return sealed_image(identity)


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    """The real engine, under a rig's name of this test run's own; nothing may be left of it at the end."""
    try:
        connected = DockerEngine.connect(rig_name())
    except EngineUnavailable as error:
        pytest.fail(f"this test needs a container engine: {error}", pytrace=False)
    built = subprocess.run([sys.executable, str(BUILD), "base", "probe"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    yield connected
    connected.reap()
    connected.close()
    assert leftovers(rig_name()).strip() == ""


@pytest.fixture(scope="session")
def session_ids() -> Iterator[str]:
    """Names of sessions that no other test run uses."""
    return (f"{rig_name()}-{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def scripted() -> Iterator[Callable[..., str]]:
    """Build an image of one Python script, with further lines of Dockerfile; the images are gone at the end."""
    made: list[str] = []

    def build(script: str, *lines: str, user: str = "USER 65532:65532", entry: str = '["python3", "/m.py"]') -> str:
        dockerfile = "\n".join([f"FROM {BASE}", "COPY m.py /m.py", *lines, user, f"ENTRYPOINT {entry}", ""])
        key = hashlib.sha256((dockerfile + script).encode()).hexdigest()[:16]
        tag = f"jouleseal-test/{os.getpid()}-{key}:local"
        if tag not in made:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "m.py").write_text(script)
                Path(folder, "Dockerfile").write_text(dockerfile)
                docker("build", "--quiet", "--network", "none", "--tag", tag, folder)
            made.append(tag)
        return tag

    yield build
    for tag in made:
        docker("rmi", "--force", tag, check=False)


@pytest.fixture
def launched(engine: DockerEngine, session_ids: Iterator[str]) -> Iterator[Callable[..., Sandbox]]:
    """Launch an image under its profile; every sandbox is destroyed when the test ends."""
    running: list[Sandbox] = []

    def launch(
        reference: str,
        resources: Resources = SMALL,
        logs: Logs = Logs.NONE,
        change: Callable[[LaunchProfile], LaunchProfile] = lambda profile: profile,
    ) -> Sandbox:
        image = described(reference)
        profile = change(build_profile(image, resources, None, engine.facts(), logs=logs))
        running.append(engine.launch(image, profile, next(session_ids)))
        return running[-1]

    yield launch
    for sandbox in running:
        sandbox.destroy()
