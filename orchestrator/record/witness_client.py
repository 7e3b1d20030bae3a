"""Asking the policy's other witnesses to cosign a checkpoint: in parallel, bounded in time, and naming who did not.

The rules:
1. Where each witness listens is the operator's own affair: HOME/witnesses.json, or a URL in the policy's line.
2. A witness is asked with the growth since the size that it is thought to remember; if it names another size, again.
3. Its answer counts only as a cosignature by its key of the policy over exactly this checkpoint, at a time near ours.
4. All are asked at once. When the quorum is reached the others have a moment more, then the log goes on without them.
5. Who is down is asked again, a few times, within the deadline; who refuses or lies is not. Each is named with a code.
"""

from __future__ import annotations

import http.client
import json
import queue
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread, Timer
from urllib.parse import SplitResult, urlsplit

from orchestrator.disk import disk_errors
from protocol.attestation.jcs import loads
from protocol.errors import JoulesealError, RecordUnsound, VerificationError
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.note import Note, NoteSignature, parse_note, verify_note
from protocol.tlog.policy import Policy
from protocol.tlog.proofs import GrowthText

WITNESSES_FILE = "witnesses.json"
DEADLINE_S = 30.0  # for a checkpoint, over all witnesses and attempts
ATTEMPT_S = 10.0  # for one request
ATTEMPTS = 4
PAUSE_S = 0.5  # after the first failure; it doubles
MOMENT_S = 0.5  # for the others, when the quorum is there
CLOCK_SKEW_S = 60  # a cosignature's time bounds a session's time; a witness whose clock is wrong is no witness
MAX_ANSWER_BYTES = 64 * 1024
MAX_CONFLICTS = 3

DOWN = "WITNESS_DOWN"
LIES = "WITNESS_LIES"
AHEAD = "WITNESS_AHEAD"
FORK = "WITNESS_FORK"
REFUSES = "WITNESS_REFUSES"
CLOCK = "WITNESS_CLOCK"

_OK, _CONFLICT, _SERVER_ERROR = 200, 409, 500
_MAX_SIZE_DIGITS = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWitness:
    """A witness of the policy that somebody else runs: its policy name, its key, and its submission prefix."""

    name: str
    key: WitnessKey
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A witness that did not cosign, and why."""

    name: str
    code: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.code} ({self.why})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A checkpoint to be cosigned: its note, its size, and the proof from any smaller size to it."""

    note: Note
    size: int
    proof: Callable[[int], Sequence[bytes]]

    def request(self, old_size: int) -> bytes:
        """Return the body that asks a witness which remembers the old size."""
        proof = self.proof(old_size) if 0 < old_size < self.size else ()
        return GrowthText(old_size=old_size, proof=tuple(proof), note=self.note.to_bytes()).to_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the witnesses answered: lines by policy name, and who is missing."""

    lines: Mapping[str, NoteSignature]
    missing: tuple[Missing, ...]


def remote_witnesses(home: Path, policy: Policy, own: WitnessKey) -> tuple[RemoteWitness, ...]:
    """Return the policy's witnesses that are asked over a URL; the domain's own is not.

    A name that the policy does not have is of a witness that is still to be enrolled, and is not asked. RecordUnsound
    BAD_WITNESSES where HOME/witnesses.json is not `{"witnesses": {"<policy name>": "<url>"}}`.
    """
    urls = {**policy.urls, **_configured(home / WITNESSES_FILE)}
    for url in urls.values():
        _split(url)
    return tuple(
        RemoteWitness(name=name, key=key, url=urls[name])
        for name, key in policy.witnesses.items()
        if name in urls and key.key_id != own.key_id
    )


def collect(
    witnesses: Sequence[RemoteWitness],
    growth: Growth,
    *,
    guesses: Mapping[str, int],
    enough: Callable[[AbstractSet[str]], bool],
    clock: Callable[[], int],
) -> Collected:
    """Ask all witnesses at once; return when `enough` says so of the names that cosigned, or at the deadline.

    `guesses` are the sizes that they are thought to remember, 0 where absent; `clock` gives Unix seconds.
    """
    answers: queue.SimpleQueue[tuple[str, NoteSignature | Missing]] = queue.SimpleQueue()
    over = Event()
    for witness in witnesses:
        asked = _Asked(witness, growth, clock, over)
        Thread(target=asked.run, args=(guesses.get(witness.name, 0), answers), daemon=True).start()
    lines: dict[str, NoteSignature] = {}
    missing: dict[str, Missing] = {}
    deadline = time.monotonic() + DEADLINE_S
    while len(lines) + len(missing) < len(witnesses):
        if enough(lines.keys()):
            deadline = min(deadline, time.monotonic() + MOMENT_S)
        try:
            name, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(answer, Missing):
            missing[name] = answer
        else:
            lines[name] = answer
    over.set()
    for witness in witnesses:
        if witness.name not in lines and witness.name not in missing:
            missing[witness.name] = Missing(name=witness.name, code=DOWN, why="no answer in time")
    return Collected(lines=lines, missing=tuple(missing.values()))


class _Asked:
    """One witness that is being asked."""

    def __init__(self, witness: RemoteWitness, growth: Growth, clock: Callable[[], int], over: Event) -> None:
        self._witness, self._growth, self._clock, self._over = witness, growth, clock, over

    def run(self, guess: int, answers: queue.SimpleQueue[tuple[str, NoteSignature | Missing]]) -> None:
        """Put the cosignature, or who is missing and why, into the queue."""
        why = ""
        for attempt in range(ATTEMPTS):
            try:
                answers.put((self._witness.name, self._ask(min(guess, self._growth.size))))
            except _NotNow as error:
                why = str(error)
                if attempt + 1 < ATTEMPTS and self._over.wait(PAUSE_S * 2**attempt):
                    return
            else:
                return
        answers.put((self._witness.name, self._missing(DOWN, why)))

    def _ask(self, old_size: int) -> NoteSignature | Missing:
        for _ in range(MAX_CONFLICTS):
            status, body = _post(self._witness.url, self._growth.request(old_size))
            if status >= _SERVER_ERROR:
                raise _NotNow(f"HTTP {status}: {_words(body)}")
            if len(body) > MAX_ANSWER_BYTES:
                return self._missing(LIES, f"an answer of more than {MAX_ANSWER_BYTES} bytes")
            if status == _OK:
                return self._line(body)
            if status != _CONFLICT:
                return self._missing(REFUSES, f"HTTP {status}: {_words(body)}")
            known = self._conflict(old_size, body)
            if isinstance(known, Missing):
                return known
            old_size = known
        return self._missing(LIES, "it names another size each time")

    def _conflict(self, old_size: int, body: bytes) -> int | Missing:
        """Return the size that the witness says it remembers, if it can be asked from there."""
        known = _size(body)
        if known is None:
            return self._missing(LIES, f"a conflict without a size: {_words(body)}")
        if known > self._growth.size:
            return self._missing(AHEAD, f"it remembers {known} entries, more than the {self._growth.size} here")
        if known == old_size:
            return self._missing(FORK, f"it remembers another tree of {known} entries")
        return known

    def _line(self, body: bytes) -> NoteSignature | Missing:
        """Return this witness's one line of an answer; lines by other keys are ignored."""
        key, text = self._witness.key, self._growth.note.text
        try:
            lines = parse_note(text + b"\n" + body).signatures
            own = tuple(line for line in lines if (line.name, line.key_id) == (key.name, key.key_id))
            verified = verify_note(Note(text=text, signatures=own), [key])
        except VerificationError as error:
            return self._missing(LIES, f"{error.code}: {error.observed}")
        if len(own) != 1 or verified[0].timestamp is None:
            return self._missing(LIES, f"{len(own)} lines by its key of the policy")
        if abs(verified[0].timestamp - self._clock()) > CLOCK_SKEW_S:
            return self._missing(CLOCK, f"its clock is {verified[0].timestamp - self._clock()} s from ours")
        return own[0]

    def _missing(self, code: str, why: str) -> Missing:
        return Missing(name=self._witness.name, code=code, why=_printable(why[:200]))


class _NotNow(Exception):
    """A witness that may answer if it is asked again; never leaves this module."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("witness", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    """Return status and body of one request, which ends within its time however slowly the other side speaks."""
    parts = _split(url)
    connection = _connection(parts)
    prefix = "" if parts.scheme == "unix" else parts.path.rstrip("/")
    timer = Timer(ATTEMPT_S, _cut, (connection,))
    timer.daemon = True
    timer.start()
    try:
        headers = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
        connection.request("POST", f"{prefix}/add-checkpoint", body, headers)
        answer = connection.getresponse()
        data = answer.read(MAX_ANSWER_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _NotNow(str(error) or type(error).__name__) from error
    finally:
        timer.cancel()
        connection.close()
    return answer.status, data


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    if parts.scheme == "unix":
        return _UnixConnection(parts.path, ATTEMPT_S)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=ATTEMPT_S)


def _cut(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _configured(path: Path) -> dict[str, str]:
    with disk_errors(path.name):
        data = path.read_bytes() if path.exists() else None
    if data is None:
        return {}
    try:
        found = loads(data)
    except JoulesealError as error:
        raise _bad_config(error.observed, "one JSON object") from error
    urls = found.get("witnesses") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(urls, dict) or not all(isinstance(url, str) for url in urls.values()):
        raise _bad_config("another JSON", json.dumps({"witnesses": {"auditor": "https://witness.example/path"}}))
    return {name: str(url) for name, url in urls.items()}


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = parts.port is None or parts.port > 0
    except ValueError:
        raise _bad_config(repr(url[:120]), "a URL") from None
    place = parts.path.startswith("/") if parts.scheme == "unix" else bool(parts.hostname)
    if parts.scheme not in {"http", "https", "unix"} or not (sound and place) or parts.query or parts.fragment:
        raise _bad_config(repr(url[:120]), "http://HOST:PORT/PREFIX, https://... or unix:/PATH")
    return parts


def _size(body: bytes) -> int | None:
    digits = body.removesuffix(b"\n")
    canonical = digits.isdigit() and len(digits) <= _MAX_SIZE_DIGITS and (digits == b"0" or digits[:1] != b"0")
    return int(digits) if canonical else None


def _words(body: bytes) -> str:
    """Return the beginning of an answer, made safe for a screen."""
    return _printable(body[:120].decode("utf-8", "replace"))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _bad_config(observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code="BAD_WITNESSES",
        observed=f"{WITNESSES_FILE} or policy.txt: {observed}",
        expected=expected,
        hint="correct the file; docs/log.md shows one",
    )
