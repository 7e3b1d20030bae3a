"""A witness as a party of its own: its key, the logs that it watches, and its answer to a request of C2SP tlog-witness.

    HOME/name                 the witness's key name, one line
    HOME/witness.pem          its Ed25519 key, mode 0600
    HOME/logs/<hex>/vkey      a log that it watches, in a folder named by the SHA-256 of the log's origin
    HOME/logs/<hex>/...       what it remembers of that log: see `orchestrator.record.witness`

Every answer is decided here, away from HTTP: the same request gets the same answer from a file and from a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder, write_atomic
from orchestrator.record.keys import FileSigner, Unlock, create_key, load_key, no_passphrase
from orchestrator.record.witness import CONFLICT, FORK, REFUSED, ROLLBACK, UNPROVED, LocalWitness
from protocol.attestation.digest import sha256_hex
from protocol.errors import JoulesealError, RecordUnsound, UsageError, VerificationError
from protocol.tlog.checkpoint import parse_checkpoint
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.note import ED25519_TYPE, LogKey, Note, is_key_name, parse_note, parse_vkey
from protocol.tlog.policy import parse_policy
from protocol.tlog.proofs import MAX_REQUEST_BYTES, GrowthText, parse_growth

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICTING, TOO_LARGE, UNPROCESSABLE, BROKEN = (
    200,
    400,
    403,
    404,
    409,
    413,
    422,
    500,
)
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
UNKNOWN_LOG = "WITNESS_UNKNOWN_LOG"

_NAME = "name"
KEY_FILE = "witness.pem"
_LOGS = "logs"
_VKEY = "vkey"
_STATUS = {REFUSED: FORBIDDEN, CONFLICT: CONFLICTING, FORK: CONFLICTING, ROLLBACK: BAD_REQUEST, UNPROVED: UNPROCESSABLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a witness answers: an HTTP status, a body, and where it refused, the code and one sentence of why."""

    status: int
    body: bytes
    content_type: str = TEXT_TYPE
    code: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessHome:
    """An opened witness; `clock` gives Unix seconds."""

    folder: Path
    key: WitnessKey
    signer: FileSigner
    clock: Callable[[], int]

    def logs(self) -> tuple[LogKey, ...]:
        """Return the logs that this witness watches, by name."""
        with disk_errors(_LOGS):
            texts = [path.read_text(encoding="utf-8") for path in sorted((self.folder / _LOGS).glob(f"*/{_VKEY}"))]
        return tuple(sorted((read_log(text) for text in texts), key=lambda log: log.name))

    def watch(self, log: LogKey) -> None:
        """Watch a log from now on; UsageError LOG_KNOWN where another key is watched under its name."""
        folder = self._folder(log.name)
        known = self._watched(log.name)
        if known is not None and known.public_key != log.public_key:
            raise UsageError(
                code="LOG_KNOWN",
                observed=f"{log.name} is watched under another key",
                expected="one key for one log",
                hint="ask the log's operator why it changed; a new key is a new log with a name of its own",
            )
        make_folder(folder)
        write_atomic(folder / _VKEY, f"{log.to_vkey()}\n".encode())

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer the body of an `add-checkpoint` request; whatever is wrong with it is an answer too."""
        if len(body) > MAX_REQUEST_BYTES:
            return _refusal(TOO_LARGE, "WITNESS_LIMIT", f"{len(body)} bytes, more than {MAX_REQUEST_BYTES}")
        try:
            request = parse_growth(body)
            origin = parse_checkpoint(parse_note(request.note).text).origin
        except VerificationError as error:
            return _refusal(BAD_REQUEST, error.code, error.observed)
        log = self._watched(origin)
        if log is None:
            return _refusal(NOT_FOUND, UNKNOWN_LOG, f"this witness does not watch {origin[:80]}")
        return self._answer(self._memory(log), request)

    def cosign(self, request: bytes) -> bytes:
        """Return the note of a request with this witness's line added; RecordUnsound for what is refused."""
        answer = self.add_checkpoint(request)
        if answer.status != OK:
            raise RecordUnsound(
                code=answer.code,
                observed=answer.why,
                expected="a checkpoint that grew from the one that this witness cosigned last",
                hint="ask the log's operator for `jouleseal log prove --from SIZE`, the size being what is remembered",
            )
        note = parse_note(parse_growth(request).note)
        others = tuple(line for line in note.signatures if (line.name, line.key_id) != (self.key.name, self.key.key_id))
        return Note(text=note.text, signatures=others).to_bytes() + answer.body

    def remembered_size(self, log: LogKey) -> int:
        """Return the size that was cosigned last for a log; 0 before the first."""
        before = self._memory(log).remembered()
        return 0 if before is None else before.size

    def _answer(self, memory: LocalWitness, request: GrowthText) -> Answer:
        try:
            line = memory.cosign(request.old_size, request.proof, request.note)
        except RecordUnsound as error:
            status = _STATUS.get(error.code, BROKEN)
            if status != CONFLICTING:
                return _refusal(status, error.code, error.observed)
            known = memory.remembered()
            size = b"%d\n" % (0 if known is None else known.size)
            return Answer(status=status, body=size, content_type=SIZE_TYPE, code=error.code, why=error.observed)
        except JoulesealError as error:  # a full disk: nothing was cosigned
            return _refusal(BROKEN, error.code, error.observed)
        return Answer(status=OK, body=line.to_line().encode())

    def _memory(self, log: LogKey) -> LocalWitness:
        return LocalWitness(folder=self._folder(log.name), key=self.key, signer=self.signer, log=log, clock=self.clock)

    def _watched(self, origin: str) -> LogKey | None:
        path = self._folder(origin) / _VKEY
        with disk_errors(_VKEY):
            return read_log(path.read_text(encoding="utf-8")) if path.exists() else None

    def _folder(self, origin: str) -> Path:
        return self.folder / _LOGS / sha256_hex(origin.encode())[:32]


def create_witness(
    folder: Path, name: str, *, clock: Callable[[], int], passphrase: bytes | None = None
) -> WitnessHome:
    """Make a witness with a key of its own, encrypted if a passphrase is given; UsageError BAD_NAME, WITNESS_EXISTS."""
    if not is_key_name(name) or not name.isascii():
        raise UsageError(
            code="BAD_NAME",
            observed=repr(name[:80]),
            expected="a key name without spaces or plus signs",
            hint="use a name under a domain of yours, such as audit.example/witness-1",
        )
    if (folder / KEY_FILE).exists() or (folder / _NAME).exists():
        raise UsageError(
            code="WITNESS_EXISTS",
            observed=f"{folder.name} already holds a witness",
            expected="a folder without one",
            hint="use the witness that is there, or name another folder: a witness that forgot must not go on",
        )
    make_folder(folder, mode=0o700)
    create_key(folder / KEY_FILE, passphrase)
    write_atomic(folder / _NAME, f"{name}\n".encode())
    return open_witness(folder, clock=clock, unlock=lambda _name: passphrase)


def open_witness(folder: Path, *, clock: Callable[[], int], unlock: Unlock = no_passphrase) -> WitnessHome:
    """Open the witness in a folder; UsageError NO_WITNESS where there is none, RecordUnsound as of `load_key`."""
    if not (folder / _NAME).is_file():
        raise UsageError(
            code="NO_WITNESS",
            observed=f"{folder.name} holds no witness",
            expected="a folder that `jouleseal witness init` made",
            hint="run `jouleseal witness init NAME --home DIR` once",
        )
    with disk_errors(_NAME):
        name = (folder / _NAME).read_text(encoding="ascii").strip()
    signer = load_key(folder / KEY_FILE, unlock)
    key = WitnessKey(name=name, public_key=signer.public_key)
    return WitnessHome(folder=folder, key=key, signer=signer, clock=clock)


def read_log(text: str) -> LogKey:
    """Return the log that a verifier key line, or a whole policy file, names; UsageError BAD_LOG_KEY."""
    try:
        if "\n" in text.strip():
            return parse_policy(text.encode()).log
        name, kind, key = parse_vkey(text.strip())
    except VerificationError as error:
        raise _bad_log(error.observed) from error
    if kind != ED25519_TYPE:
        raise _bad_log(f"a key of type {kind}")
    return LogKey(name=name, public_key=key)


def _bad_log(observed: str) -> UsageError:
    return UsageError(
        code="BAD_LOG_KEY",
        observed=observed,
        expected="the verifier key of a log, or a policy file that names one",
        hint="the log's operator finds it in trust/policy.txt, in the line that begins with `log`",
    )


def _refusal(status: int, code: str, why: str) -> Answer:
    return Answer(status=status, body=f"{code}: {why[:300]}\n".encode(), code=code, why=why[:300])
