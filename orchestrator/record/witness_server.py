"""The HTTP side of a witness: `POST /add-checkpoint` on a unix socket or a TCP address, one process, bounded all over.

The bounds: a request has a length, of at most 64 KiB; a connection lives for a minute and may be silent for ten seconds
of it; 32 connections are open at a time, and one more is closed at once. What is decided stands in
`orchestrator.record.witness_home`; what is cosigned is on the disk before it is sent.
"""

from __future__ import annotations

import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from threading import BoundedSemaphore, Event, Lock, Thread, Timer
from typing import Any

from orchestrator.record.witness_home import NOT_FOUND, OK, TEXT_TYPE, TOO_LARGE, Answer, WitnessHome
from protocol.errors import RecordUnsound, UsageError
from protocol.tlog.proofs import MAX_REQUEST_BYTES

ADD_CHECKPOINT = "/add-checkpoint"
MAX_CONNECTIONS = 32
MAX_CONNECTION_S = 60.0
SILENCE_S = 10.0
REFUSED_HEADER = "Jouleseal-Refused"

_LENGTH_REQUIRED = 411
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a witness listens: a unix socket's path, or a host and a port (0 for any that is free)."""

    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.socket is not None or self.host in _LOOPBACK


class WitnessServer:
    """A witness that listens; `start` returns when it does, `stop` when every request in work was answered."""

    def __init__(self, home: WitnessHome, address: Address, *, say: Callable[[str], None] | None = None) -> None:
        handler = _handler(home, say or _print)
        try:
            if address.socket is not None:
                _clear_socket(address.socket)
            self._server = _Server(address, handler)
        except OSError as error:
            raise _cannot_listen(address, error) from error
        self.address = address
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def url(self) -> str:
        """The submission prefix, as a log's operator writes it into witnesses.json."""
        if self.address.socket is not None:
            return f"unix:{self.address.socket.resolve()}"
        return f"http://{self.address.host}:{self._server.socket.getsockname()[1]}"

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, finish the ones in work, and remove the socket."""
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()
        if self.address.socket is not None:
            self.address.socket.unlink(missing_ok=True)

    def run_until(self, stop: Event) -> None:
        """Listen until the event is set."""
        self.start()
        try:
            stop.wait()
        finally:
            self.stop()


class _Server(ThreadingMixIn, TCPServer):
    """Threads for connections: a bounded number of them, each cut off when its time is over."""

    daemon_threads = False
    block_on_close = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: Address, handler: type[BaseHTTPRequestHandler]) -> None:
        self._slots = BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self.address_family = _family(address)
        where: Any = (address.host, address.port) if address.socket is None else str(address.socket)
        super().__init__(where, handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's signature
        """Give the connection a thread, or close it where all are taken."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """Serve one connection, until its time is over."""
        timer = Timer(MAX_CONNECTION_S, _cut, (request, socket.SHUT_RDWR))
        timer.daemon = True
        timer.start()
        with self._lock:
            self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            with self._lock:
                self._open.discard(request)
            self._slots.release()

    def hang_up(self) -> None:
        """Let every connection read no further: idle ones end, answers in work are still sent."""
        with self._lock:
            for request in self._open:
                _cut(request, socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Say on the screen that a connection failed; the others do not notice."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"witness: a request failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection, of any number of requests."""

    protocol_version = "HTTP/1.1"
    server_version = "jouleseal-witness"
    sys_version = ""
    timeout = SILENCE_S
    home: WitnessHome
    say: Callable[[str], None]

    def do_POST(self) -> None:
        """Answer `add-checkpoint`; 404 for any other path."""
        body = self._body()
        if body is None:
            return
        if self.path != ADD_CHECKPOINT:
            self._send(Answer(status=NOT_FOUND, body=b"this witness answers POST /add-checkpoint\n"))
            return
        answer = self.home.add_checkpoint(body)
        if answer.status == OK:
            type(self).say(f"cosigned  {_subject(body)}")
        else:
            type(self).say(f"REFUSED   {answer.code}  {_subject(body)}  {answer.why}")
        self._send(answer)

    def do_GET(self) -> None:
        """Say what this address is for."""
        self._send(Answer(status=NOT_FOUND, body=b"this witness answers POST /add-checkpoint\n"))

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= _MAX_DIGITS):
            self._send(Answer(status=_LENGTH_REQUIRED, body=b"a request has a Content-Length\n"), close=True)
            return None
        if int(length) > MAX_REQUEST_BYTES:
            text = f"a request has at most {MAX_REQUEST_BYTES} bytes\n"
            self._send(Answer(status=TOO_LARGE, body=text.encode()), close=True)
            return None
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return None
        return body

    def _send(self, answer: Answer, *, close: bool = False) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type or TEXT_TYPE)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.code:
            self.send_header(REFUSED_HEADER, answer.code)
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(answer.body)

    def address_string(self) -> str:
        """Return nothing: a unix socket has no address, and a witness keeps no diary of who asks."""
        return "-"

    def log_message(self, *_args: object) -> None:
        """Say nothing; what matters is said by `do_POST`."""


def _handler(home: WitnessHome, say: Callable[[str], None]) -> type[_Handler]:
    return type("_BoundHandler", (_Handler,), {"home": home, "say": staticmethod(say)})


def _subject(body: bytes) -> str:
    """Return the log and the size that a request speaks of, made safe for a screen."""
    lines = body.partition(b"\n\n")[2].split(b"\n")[:2]
    words = " ".join(line[:80].decode("utf-8", "replace") for line in lines)
    return "".join(character if character.isprintable() else "?" for character in words)


def _family(address: Address) -> socket.AddressFamily:
    if address.socket is not None:
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _cut(request: socket.socket, how: int) -> None:
    with suppress(OSError):
        request.shutdown(how)


def _clear_socket(path: Path) -> None:
    """Remove a socket that nobody listens on any more; RecordUnsound WITNESS_BUSY where somebody does."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise UsageError(
            code="NOT_A_SOCKET",
            observed=f"{path.name} is a file of another kind",
            expected="a path for a new socket",
            hint="name another path",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise RecordUnsound(
        code="WITNESS_BUSY",
        observed=f"somebody listens on {path.name}",
        expected="a socket of this witness alone",
        hint="stop the other process, or name another path",
    )


def _cannot_listen(address: Address, error: OSError) -> RecordUnsound:
    where = f"{address.host}:{address.port}" if address.socket is None else address.socket.name
    return RecordUnsound(
        code="WITNESS_CANNOT_LISTEN",
        observed=f"{where}: {error.strerror or error}",
        expected="an address that is free",
        hint="name another address; a socket's path has at most 107 bytes",
    )


def _print(line: str) -> None:
    stream = sys.stderr if line.startswith("REFUSED") else sys.stdout
    print(f"witness: {line}", file=stream, flush=True)
