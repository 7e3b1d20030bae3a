"""A witness over HTTP: every answer of C2SP tlog-witness, its bounds, and that it forgets nothing when it is killed."""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from orchestrator import disk
from orchestrator.record import witness_server
from orchestrator.record.witness_client import _UnixConnection
from orchestrator.record.witness_home import create_witness, open_witness, read_log
from orchestrator.record.witness_server import Address, WitnessServer
from protocol.errors import JoulesealError, RecordUnsound, UsageError
from protocol.tlog.checkpoint import Checkpoint, parse_checkpoint
from protocol.tlog.cosignature import COSIGNATURE_TYPE
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.note import LogKey, Note, format_vkey, parse_note, verify_note
from protocol.tlog.proofs import MAX_REQUEST_BYTES, GrowthText
from tests.unit.attestation.key_maker import ed_signer
from tests.unit.record.witness_world import short_folder

LOG_SIGNER = ed_signer(1)
LOG = LogKey(name="example/log", public_key=LOG_SIGNER.public_key)
NAME = "audit.example/w1"
TREE = Tree(leaf_hash(bytes([number])) for number in range(40))
FORK = Tree(leaf_hash(bytes([number ^ 1])) for number in range(40))
NOW = 1_700_000_000


def note_of(tree, size, *, origin=LOG.name, signer=LOG_SIGNER) -> bytes:
    text = Checkpoint(origin=origin, size=size, root=tree.root(size)).to_body()
    key = LogKey(name=origin, public_key=LOG.public_key)
    return Note(text=text, signatures=(key.sign(text, signer),)).to_bytes()


def request(old, new, *, tree=TREE, **changes) -> bytes:
    proof = tuple(tree.consistency(old, new)) if 0 < old < new else ()
    return GrowthText(old_size=old, proof=changes.pop("proof", proof), note=note_of(tree, new, **changes)).to_bytes()


@pytest.fixture
def folder():
    with short_folder() as path:
        yield path


@pytest.fixture
def home(folder):
    made = create_witness(folder / "home", NAME, clock=lambda: NOW)
    made.watch(LOG)
    return made


@pytest.fixture
def said():
    return []


@pytest.fixture
def place(home, folder, said):
    server = WitnessServer(home, Address(socket=folder / "s"), say=said.append)
    server.start()
    yield folder / "s"
    server.stop()
    assert not (folder / "s").exists()


def connect(place, timeout=20.0):
    return _UnixConnection(str(place), timeout)


def post(place, body, path="/add-checkpoint", **headers):
    with closing(connect(place)) as connection:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()


def test_a_checkpoint_that_grew_is_cosigned_in_one_line(place, home, said):
    for old, new in ((0, 3), (3, 3), (3, 9), (9, 40)):
        answer, data = post(place, request(old, new))
        assert answer.status == 200
        signed = parse_note(parse_note(note_of(TREE, new)).text + b"\n" + data)
        (line,) = verify_note(signed, [home.key])
        assert (line.name, line.timestamp) == (NAME, NOW)
        assert home.remembered_size(LOG) == new
    assert said[0] == "cosigned  example/log 3"


def test_every_refusal_has_the_answer_of_the_specification(place, home, said):
    assert post(place, request(0, 9))[0].status == 200
    refusals = [
        (request(5, 12), 409, b"9\n", "WITNESS_CONFLICT"),
        (request(0, 12), 409, b"9\n", "WITNESS_CONFLICT"),
        (request(9, 9, tree=FORK), 409, b"9\n", "WITNESS_FORK"),
        (request(9, 12, tree=FORK), 422, None, "WITNESS_UNPROVED"),
        (request(9, 12, proof=()), 422, None, "WITNESS_UNPROVED"),
        (request(9, 9, proof=(bytes(32),)), 422, None, "WITNESS_UNPROVED"),
        (request(9, 4, proof=()), 400, None, "WITNESS_ROLLBACK"),
        (request(9, 12, signer=ed_signer(5)), 403, None, "WITNESS_REFUSED"),
        (request(9, 12, origin="example/else"), 404, None, "WITNESS_UNKNOWN_LOG"),
        (b"", 400, None, "MALFORMED_PROOF"),
        (b"old 9\n\nno note", 400, None, "MALFORMED_NOTE"),
        (b"old +9\n\n" + note_of(TREE, 12), 400, None, "MALFORMED_PROOF"),
        (request(9, 12).replace(b"old 9", b"old 09"), 400, None, "MALFORMED_PROOF"),
        (request(9, 12).replace(b"\n12\n", b"\n+12\n"), 400, None, "MALFORMED_CHECKPOINT"),
    ]
    for body, status, expected, code in refusals:
        answer, data = post(place, body)
        assert (answer.status, answer.getheader("Jouleseal-Refused")) == (status, code)
        assert said[-1].startswith(f"REFUSED   {code}")
        if expected is not None:
            assert (answer.getheader("Content-Type"), data) == ("text/x.tlog.size", expected)
    assert home.remembered_size(LOG) == 9
    assert post(place, request(9, 12))[0].status == 200


def test_a_note_with_other_lines_beside_the_logs_is_cosigned(place, home):
    note = parse_note(note_of(TREE, 3))
    stranger = LogKey(name="stranger/x", public_key=ed_signer(9).public_key).sign(note.text, ed_signer(9))
    body = b"old 0\n\n" + Note(text=note.text, signatures=(stranger, *note.signatures)).to_bytes()
    assert post(place, body)[0].status == 200
    (state,) = (home.folder / "logs").glob("*/checkpoint")
    assert state.read_bytes() == note_of(TREE, 3), "what strangers add is not remembered"


def test_other_paths_and_methods_are_not_there(place):
    assert post(place, request(0, 3), "/")[0].status == 404
    assert post(place, request(0, 3), "/add-checkpoint/")[0].status == 404
    connection = connect(place)
    connection.request("GET", "/add-checkpoint")
    assert connection.getresponse().status == 404
    connection.close()


def test_a_connection_may_ask_again(place):
    connection = connect(place)
    for old, new in ((0, 3), (3, 9), (9, 12)):
        connection.request("POST", "/add-checkpoint", request(old, new))
        answer = connection.getresponse()
        assert (answer.status, len(answer.read()) > 0) == (200, True)
    connection.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n", 411),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9999999999999\r\n\r\n", 411),
        (b"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_REQUEST_BYTES + 1), 413),
        (b"POST /add-checkpoint HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_a_request_is_bounded(place, head, status):
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(place))
        raw.sendall(head)
        raw.shutdown(socket.SHUT_WR)
        data = b""
        while part := raw.recv(65536):
            data += part
    assert str(status).encode() in data.split(b"\r\n", 1)[0] or f"code: {status}".encode() in data
    assert post(place, request(0, 3))[0].status == 200


def test_who_sends_less_than_was_announced_gets_nothing(place, home):
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(place))
        raw.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 500\r\n\r\nold 0\n")
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(100) == b""
    assert home.remembered_size(LOG) == 0


def test_a_slow_client_is_cut_off_and_hinders_nobody(home, folder, monkeypatch):
    monkeypatch.setattr(witness_server, "MAX_CONNECTION_S", 0.3)
    server = WitnessServer(home, Address(socket=folder / "s"), say=lambda _: None)
    server.start()
    try:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(20)
            raw.connect(str(folder / "s"))
            raw.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 500\r\n\r\n")
            assert post(folder / "s", request(0, 3))[0].status == 200
            assert raw.recv(100) == b"", "it was let wait"
    finally:
        server.stop()


def test_more_connections_than_the_bound_are_closed_at_once(home, folder, monkeypatch):
    monkeypatch.setattr(witness_server, "MAX_CONNECTIONS", 3)
    server = WitnessServer(home, Address(socket=folder / "s"), say=lambda _: None)
    server.start()
    try:
        held = []
        for _ in range(3):
            raw = socket.socket(socket.AF_UNIX)
            raw.settimeout(20)
            raw.connect(str(folder / "s"))
            raw.sendall(b"POST /add-checkpoint HTTP/1.1\r\n")
            held.append(raw)
        with pytest.raises((OSError, http.client.HTTPException)):
            for _ in range(50):  # the third may not have its thread yet
                post(folder / "s", b"")
        for raw in held:
            raw.close()
        for _ in range(200):
            try:
                answer, _data = post(folder / "s", request(0, 3))
            except (OSError, http.client.HTTPException):
                continue
            assert answer.status == 200
            break
        else:
            pytest.fail("the slots were never given back")
    finally:
        server.stop()


def test_what_is_not_on_the_disk_is_not_cosigned(place, home, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    post(place, request(0, 3))
    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", full)
        answer, data = post(place, request(3, 9))
        assert answer.status == 500
        assert data.startswith(b"STORAGE_FULL")
    assert home.remembered_size(LOG) == 3
    assert post(place, request(3, 9))[0].status == 200


def test_many_at_once_leave_one_history(place, home):
    """The race of the specification, over the socket: eight clients push the log to different sizes at once."""
    lines, errors = [], []

    def push(start):
        old = 0
        for new in range(start, 40, 4):
            while True:
                answer, data = post(place, request(min(old, new), new))
                if answer.status == 200:
                    lines.append((new, data))
                    old = new
                    break
                if answer.status != 409:
                    errors.append((answer.status, data))
                    return
                old = int(data)
                if old > new:
                    break

    threads = [threading.Thread(target=push, args=(1 + number % 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert home.remembered_size(LOG) == max(size for size, _ in lines)
    (state,) = (home.folder / "logs").glob("*/checkpoint")
    assert parse_checkpoint(parse_note(state.read_bytes()).text).root == TREE.root(home.remembered_size(LOG))
    assert not list((home.folder / "logs").glob("*/refused"))


def test_a_second_witness_on_the_same_socket_is_refused_and_a_dead_socket_is_replaced(place, home, folder):
    with pytest.raises(RecordUnsound) as caught:
        WitnessServer(home, Address(socket=place))
    assert caught.value.code == "WITNESS_BUSY"
    dead = folder / "dead"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.bind(str(dead))
    server = WitnessServer(home, Address(socket=dead), say=lambda _: None)
    server.start()
    assert post(dead, request(0, 3))[0].status == 200
    server.stop()
    (folder / "file").write_text("not a socket")
    for path, code in ((folder / "file", "NOT_A_SOCKET"), (folder / ("x" * 200), "WITNESS_CANNOT_LISTEN")):
        with pytest.raises(JoulesealError) as refused:
            WitnessServer(home, Address(socket=path))
        assert refused.value.code == code
    assert (folder / "file").read_text() == "not a socket"


def test_a_witness_is_made_once_and_watches_one_key_a_log(home):
    with pytest.raises(UsageError) as caught:
        create_witness(home.folder, NAME, clock=lambda: NOW)
    assert caught.value.code == "WITNESS_EXISTS"
    with pytest.raises(UsageError) as caught:
        home.watch(LogKey(name=LOG.name, public_key=ed_signer(8).public_key))
    assert caught.value.code == "LOG_KNOWN"
    home.watch(LOG)
    assert home.logs() == (LOG,)
    again = open_witness(home.folder, clock=lambda: NOW)
    assert again.key == home.key
    assert (home.folder / "witness.pem").stat().st_mode & 0o777 == 0o600
    for name in ("", "a b", "a+b", "\u00e9"):
        with pytest.raises(UsageError) as caught:
            create_witness(home.folder / "other", name, clock=lambda: NOW)
        assert caught.value.code == "BAD_NAME"
    with pytest.raises(UsageError) as caught:
        open_witness(home.folder / "none", clock=lambda: NOW)
    assert caught.value.code == "NO_WITNESS"


def test_a_log_is_named_by_its_vkey_or_its_policy_and_by_nothing_else():
    assert read_log(LOG.to_vkey() + "\n") == LOG
    assert read_log(f"# a comment\nlog {LOG.to_vkey()}\nquorum none\n") == LOG
    cosigner = format_vkey(LOG.name, COSIGNATURE_TYPE, LOG.public_key.raw)
    small_order = format_vkey(LOG.name, 1, bytes([1]) + bytes(31))
    for text in ("", "x", LOG.to_vkey()[:-4], cosigner, small_order, "log\nquorum none\n"):
        with pytest.raises(UsageError) as caught:
            read_log(text)
        assert caught.value.code == "BAD_LOG_KEY"


# As a process of its own.


class Process:
    """`jouleseal witness serve` on a socket."""

    def __init__(self, home, place) -> None:
        command = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"]
        arguments = ["witness", "serve", "--home", str(home), "--socket", str(place), "--json"]
        self.process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.place = place
        self.told = json.loads(self.process.stdout.readline())

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out.decode(), err.decode()


def test_a_process_says_where_it_listens_and_ends_when_it_is_told_to(home, folder):
    process = Process(home.folder, folder / "s")
    assert process.told["url"] == f"unix:{folder}/s"
    assert process.told["vkey"] == home.key.to_vkey()
    idle = connect(folder / "s")
    idle.request("POST", "/add-checkpoint", request(0, 3))
    assert idle.getresponse().read().startswith("— ".encode())
    assert post(folder / "s", request(3, 3, tree=FORK))[0].status == 409
    code, _out, err = process.end()  # although a client keeps its connection open
    assert (code, "Traceback" in err) == (0, False)
    assert "REFUSED   WITNESS_FORK  example/log 3" in err
    assert not (folder / "s").exists()
    idle.close()


def test_a_process_that_is_killed_remembers_everything_that_it_answered(home, folder):
    """kill -9 between and during requests: whatever was answered is remembered, and no other root of that size is."""
    answered = 0
    for round_ in range(4):
        process = Process(home.folder, folder / "s")
        stop = threading.Timer(0.05 * round_, process.process.kill)
        stop.start()
        try:
            while True:
                old = home.remembered_size(LOG)
                new = min(old + 1, 40)
                answer, _data = post(folder / "s", request(old, new))
                assert answer.status == 200
                answered = new
        except (OSError, http.client.HTTPException):
            pass
        stop.join()
        process.process.communicate(timeout=30)
        assert home.remembered_size(LOG) in {answered, answered + 1}
    process = Process(home.folder, folder / "s")
    known = home.remembered_size(LOG)
    if known:
        assert post(folder / "s", request(known, known, tree=FORK))[0].status == 409
    assert post(folder / "s", request(known, 40))[0].status == 200
    assert process.end()[0] == 0
