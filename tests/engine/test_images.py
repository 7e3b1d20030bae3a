"""The reference images, built and asked for real: they answer, they answer well, and they build without a network.

The containers here are sealed as far as the engine's command line goes (no network, read-only, no rights); the whole
launch profile has tests of its own.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.commands.new import scaffold
from orchestrator.datasets.store import DEFAULT_DATASETS, load
from orchestrator.drive.codec import decode_responses, encode_requests
from orchestrator.drive.endpoint import Endpoint
from protocol.errors import ProtocolViolation
from protocol.methodology.scenario import WARM_UP_QUERIES, Precision
from protocol.methodology.tasks import REGISTRY, Task
from protocol.units import NS_PER_S

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "reference_containers" / "build.py"
WAIT_S = 30
AFTER = 5  # HOSTILE_AFTER of the hostile images
RUN = (
    "--detach --network none --read-only --cap-drop ALL --security-opt no-new-privileges --memory 512m "
    "--pids-limit 256 --tmpfs /tmp --tmpfs /run/jouleseal:uid=65532,gid=65532,mode=0700"
).split()

pytestmark = pytest.mark.engine


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def running(image: str, name: str = "model.sock") -> Iterator[Path]:
    """Start an image and yield the path of its socket, as root of the host sees it."""
    container = docker("run", *RUN, image)
    try:
        pid = docker("inspect", "--format", "{{.State.Pid}}", container)
        path = Path("/proc", pid, "root/run/jouleseal", name)
        deadline = time.monotonic() + WAIT_S
        while not path.is_socket():
            assert time.monotonic() < deadline, docker("logs", container)
            time.sleep(0.02)
        yield path
    finally:
        docker("rm", "--force", container)


@contextmanager
def asked(image: str, task: Task, batch: int) -> Iterator[Endpoint]:
    """Start an image, load the task and yield the endpoint."""
    with running(image) as path:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        endpoint = Endpoint.connect(descriptor, REGISTRY[task], batch)
        try:
            endpoint.wait_healthy(WAIT_S)
            endpoint.load(task, Precision.FP32, batch, WAIT_S)
            yield endpoint
        finally:
            endpoint.close()
            os.close(descriptor)


def answers_to(image, task, points, batch):
    spec = REGISTRY[task]
    with asked(image, task, batch) as endpoint:
        exchange = endpoint.open_exchange()
        responses = [exchange.ask(request, WAIT_S * NS_PER_S) for request in encode_requests(points, batch)]
        exchange.close()
        endpoint.unload(WAIT_S)
    return decode_responses(responses, points, spec, batch)


def accuracy(answers, points):
    right = [answer.labels[0][0] == point.reference for answer, point in zip(answers, points, strict=True)]
    return sum(right) / len(right)


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize(
    ("image", "task", "least"),
    [("digits", Task.IMAGE_CLASSIFICATION, 0.94), ("reviews", Task.TEXT_CLASSIFICATION, 0.75)],
)
def test_a_reference_vendor_answers_well(image, task, least, batch):
    points = load(DEFAULT_DATASETS[task]).points[:333]
    answers = answers_to(f"jouleseal/{image}:local", task, points, batch)
    assert accuracy(answers, points) > least


def test_what_a_new_vendor_is_given_builds_and_answers(tmp_path):
    folder = tmp_path / "scaffolded"
    scaffold(folder, "python")
    docker("build", "--quiet", "--network", "none", "--tag", "jouleseal/scaffolded:local", str(folder))
    try:
        points = load("embedded-reviews").points[:100]
        answers = answers_to("jouleseal/scaffolded:local", Task.TEXT_CLASSIFICATION, points, 32)
        assert accuracy(answers, points) > 0.5
    finally:
        docker("image", "rm", "jouleseal/scaffolded:local")


def test_the_null_model_keeps_a_raw_socket_beside_the_wire():
    with running("jouleseal/null:local", "raw.sock") as path, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(struct.pack(">II", 1000, 37))
        for _ in range(3):
            client.sendall(b"x" * 1000)
            assert client.recv(37, socket.MSG_WAITALL) == bytes(37)


def test_every_image_runs_as_a_number_without_rights():
    for name in ("base", "vendor-base", "digits", "reviews", "null"):
        assert docker("image", "inspect", "--format", "{{.Config.User}}", f"jouleseal/{name}:local") == "65532:65532"


def test_building_again_builds_nothing():
    names = ["base", "vendor-base", "digits", "reviews", "null"]
    tags = [f"jouleseal/{name}:local" for name in names]
    subprocess.run([sys.executable, BUILD, *names], check=True)
    before = docker("image", "inspect", "--format", "{{.Id}}", *tags)
    done = subprocess.run([sys.executable, BUILD, *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert docker("image", "inspect", "--format", "{{.Id}}", *tags) == before


def test_an_unknown_image_is_refused_with_the_known_ones():
    done = subprocess.run([sys.executable, BUILD, "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "no image is called nothing" in done.stderr
    assert "digits" in done.stderr


@pytest.mark.parametrize("image", ["digits", "reviews"])
def test_no_wheel_and_no_training_data_stay_in_a_vendors_image(image):
    names = "-name *.whl -o -name train.jsonl -o -name sklearn -o -name pip".split()
    sealed = ["run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "find", f"jouleseal/{image}:local"]
    assert docker(*sealed, "/opt", *names) == ""
    assert docker(*sealed, "/opt", "-maxdepth", "2", "-name", "server.py") == f"/opt/{image}/server.py"


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("wrong-count", "WRONG_OUTPUT_COUNT"),
        ("out-of-order", "OUT_OF_ORDER"),
        ("nan", "NOT_A_NUMBER"),
        ("garbage", "GARBAGE_BYTES"),
        ("honest", None),
    ],
)
def test_a_hostile_vendor_goes_wrong_after_the_warm_up_and_not_before(hostile, mode, code, batch):
    task, spec = Task.TEXT_CLASSIFICATION, REGISTRY[Task.TEXT_CLASSIFICATION]
    honest = WARM_UP_QUERIES + AFTER
    points = load("embedded-reviews").points[: (honest + 1) * batch]
    with asked(hostile[mode], task, batch) as endpoint:
        exchange = endpoint.open_exchange()
        responses = [exchange.ask(request, WAIT_S * NS_PER_S) for request in encode_requests(points, batch)]
        exchange.close()
    first = points[: honest * batch]
    assert len(decode_responses(responses[:honest], first, spec, batch)) == len(first)
    if code is None:
        assert len(decode_responses(responses, points, spec, batch)) == len(points)
        return
    with pytest.raises(ProtocolViolation) as caught:
        decode_responses(responses, points, spec, batch)
    assert caught.value.code == code


def test_every_kind_of_harm_has_its_image(hostile):
    shapes = {
        "volume": ("Volumes", {"/var/hoard": {}}),
        "named-user": ("User", "sealed"),
        "root-user": ("User", "0:0"),
        "stop-signal": ("StopSignal", "SIGCONT"),
    }
    for name, (field, value) in shapes.items():
        config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", hostile[name]))
        assert config[field] == value
    environment = docker("image", "inspect", "--format", "{{json .Config.Env}}", hostile["ld-preload"])
    assert "LD_PRELOAD=/opt/hostile/evil.so" in environment
    assert "touch /tmp/checked" in docker("image", "inspect", "--format", "{{json .Config}}", hostile["healthcheck"])


def test_an_engine_that_answers_is_left_alone():
    before = docker("info", "--format", "{{.ID}}")
    script = HERE.parents[1] / ".ci" / "engine"
    for word in ("status", "up"):
        assert subprocess.run([script, word], capture_output=True, check=False).returncode == 0
    assert docker("info", "--format", "{{.ID}}") == before
    assert subprocess.run([script, "down"], capture_output=True, check=False).returncode == 2
