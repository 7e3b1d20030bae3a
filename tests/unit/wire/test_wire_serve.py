"""A vendor's program around `serve`: it comes up on its socket, answers, and goes away when it is told to."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.drive.codec import encode_requests
from orchestrator.drive.endpoint import Endpoint
from protocol.errors import JoulesealError, UsageError
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Answer, Point, TextAnswer, TextInput, TokenDelta
from protocol.wire.server import SealedInference, gather, start
from tests.unit.wire.vendor import Vendor

TEXT = Task.TEXT_CLASSIFICATION
T = 30.0
DAY_NS = 86_400 * 10**9
EX_TEMPFAIL = 75


@pytest.fixture
def socket_path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="js") as folder:
        yield str(Path(folder, "m.sock"))


def wait_for(condition) -> None:
    give_up = time.monotonic() + T
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@contextmanager
def vendor_process(path: str) -> Iterator[tuple[subprocess.Popen[str], Endpoint]]:
    """The vendor's program with its socket in the environment, and an endpoint that is loaded."""
    environment = os.environ | {"JOULESEAL_SOCKET": path, "PYTHONPATH": str(Path(__file__).parents[3])}
    program = [sys.executable, "-m", "tests.unit.wire.vendor"]
    with subprocess.Popen(
        program, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            wait_for(lambda: Path(path).is_socket() and stat.S_IMODE(Path(path).stat().st_mode) == 0o600)
            descriptor = os.open(path, os.O_PATH)
            endpoint = Endpoint.connect(descriptor, REGISTRY[TEXT], 1)
            endpoint.wait_healthy(T)
            endpoint.load(TEXT, Precision.FP32, 1, T)
            yield process, endpoint
            endpoint.close()
            os.close(descriptor)
        finally:
            process.kill()


def asking(text: str) -> bytes:
    point = Point(index=0, point_id="0", source="s", input=TextInput(text=text), reference=None)
    return encode_requests([point], 1)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_takes_its_socket_away(number, socket_path):
    with vendor_process(socket_path) as (process, endpoint):
        exchange = endpoint.open_exchange()
        assert exchange.ask(asking("x"), DAY_NS)
        process.send_signal(number)
        assert process.wait(T) == 0
        exchange.close()
    assert not Path(socket_path).exists()


def test_a_model_that_never_returns_is_left_behind_at_the_signal(socket_path):
    with vendor_process(socket_path) as (process, endpoint):
        exchange = endpoint.open_exchange()
        errors: list[JoulesealError] = []

        def ask() -> None:
            try:
                exchange.ask(asking("sleep"), DAY_NS)
            except JoulesealError as error:
                errors.append(error)

        asker = threading.Thread(target=ask)
        asker.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "asleep\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(T) == EX_TEMPFAIL
        asker.join(T)
        exchange.close()
    assert [error.code for error in errors] in (["STREAM_BROKEN"], ["VENDOR_STATUS"])


def test_a_server_that_is_killed_breaks_the_stream(socket_path):
    with vendor_process(socket_path) as (process, endpoint):
        exchange = endpoint.open_exchange()
        assert exchange.ask(asking("x"), DAY_NS)
        process.kill()
        process.wait(T)
        with pytest.raises(JoulesealError) as caught:
            exchange.ask(asking("x"), DAY_NS)
        exchange.close()
    assert caught.value.code == "STREAM_BROKEN"


def test_a_socket_that_an_earlier_server_left_is_replaced(socket_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(socket_path)
    start(SealedInference(Vendor()), socket_path).stop(0).wait()


@pytest.mark.parametrize(
    ("path", "code"), [("/" + "x" * 107, "SOCKET_PATH_TOO_LONG"), ("/proc/none/m.sock", "SOCKET_NOT_BOUND")]
)
def test_a_socket_that_cannot_be_is_named(path, code):
    with pytest.raises(UsageError) as caught:
        start(SealedInference(Vendor()), path)
    assert caught.value.code == code


def test_the_server_needs_only_the_wires_packages():
    """A vendor's image holds grpcio, protobuf and the health service; nothing of the runner may be imported."""
    foreign = "docker yaml rich cryptography sklearn segno pynvml numpy orchestrator verifier"
    code = f"import protocol.wire, sys; protocol.wire.serve; print([m for m in {foreign.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def gathered(*events: TokenDelta | Answer, window_ns: int) -> list[TokenDelta | Answer]:
    return list(gather(iter(events), window_ns))


def test_pieces_are_gathered_after_the_first_and_thoughts_stay_apart():
    def said(text: str, tokens: int = 1, *, reasoning: bool = False) -> TokenDelta:
        return TokenDelta(tokens=tokens, text=text, reasoning=reasoning)

    answer = TextAnswer(text="abc", reasoning="hm")
    pieces = (said("h", reasoning=True), said("m", reasoning=True), said("a"), said("b"), said("c"))
    assert gathered(*pieces, answer, window_ns=DAY_NS) == [
        said("h", reasoning=True),
        said("m", reasoning=True),
        said("abc", 3),
        answer,
    ]
    assert gathered(*pieces, answer, window_ns=0) == [*pieces, answer]
    assert gathered(*pieces, window_ns=DAY_NS)[-1] == said("abc", 3)
