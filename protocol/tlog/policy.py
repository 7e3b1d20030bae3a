"""The trust policy (C2SP tlog-policy): which log, which witnesses, and how many of them must have seen a checkpoint.

The rules: the first word of a line says what it is (`log`, `witness`, `group`, `quorum`); names are defined before they
are used; `#` starts a comment line; a quorum of `none` asks for the log's own signature only. A URL may end a log's or
a witness's line: where the witness is asked, which no verifier needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from protocol.attestation.refusal import refuse
from protocol.errors import VerificationError
from protocol.tlog.cosignature import COSIGNATURE_TYPE, WitnessKey
from protocol.tlog.note import ED25519_TYPE, LogKey, parse_vkey
from protocol.units import MIB

MAX_POLICY_BYTES = MIB
MAX_POLICY_LINES = 4096
NO_QUORUM = "none"

_MIN_GROUP_WORDS = 4
_QUORUM_WORDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some witnesses or groups by their names, and how many of them must agree."""

    members: tuple[str, ...]
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The one log, the witnesses and groups by their policy names, and what the quorum is (a name, or `none`).

    `urls` are the witnesses' submission prefixes by their policy names, where the file gives one.
    """

    log: LogKey
    witnesses: Mapping[str, WitnessKey]
    groups: Mapping[str, Group]
    quorum: str
    urls: Mapping[str, str] = field(default_factory=dict)

    def satisfied_by(self, key_ids: AbstractSet[bytes]) -> bool:
        """Tell whether cosignatures by witnesses with these key ids make the quorum."""
        agreed = {NO_QUORUM} | {name for name, key in self.witnesses.items() if key.key_id in key_ids}
        for name, group in self.groups.items():
            if sum(member in agreed for member in group.members) >= group.threshold:
                agreed.add(name)
        return self.quorum in agreed


def build_policy(*, log: LogKey, witnesses: Mapping[str, WitnessKey], threshold: int) -> bytes:
    """Return a policy file in which `threshold` of the witnesses are the quorum."""
    lines = [f"log {log.to_vkey()}"]
    lines += [f"witness {name} {key.to_vkey()}" for name, key in witnesses.items()]
    lines += [f"group quorum-group {threshold} {' '.join(witnesses)}", "quorum quorum-group"]
    return ("\n".join(lines) + "\n").encode("ascii")


def parse_policy(data: bytes) -> Policy:
    """Read a policy file; VerificationError BAD_POLICY names the line that is wrong."""
    reader = _Reader()
    for number, words in enumerate(_lines(data), start=1):
        if words and not words[0].startswith("#"):
            reader.line(words, number)
    return reader.policy()


class _Reader:
    """What the lines so far have defined."""

    def __init__(self) -> None:
        self._log: LogKey | None = None
        self._witnesses: dict[str, WitnessKey] = {}
        self._groups: dict[str, Group] = {}
        self._quorum: str | None = None
        self._urls: dict[str, str] = {}

    def line(self, words: list[str], number: int) -> None:
        match words:
            case ["log", vkey, *_] if self._log is None and len(words) <= 3:  # noqa: PLR2004  # a URL may follow
                self._log = _log_key(vkey)
            case ["witness", name, vkey, *rest] if self._is_new(name) and len(rest) <= 1:  # so here
                self._witnesses[name] = self._witness_key(vkey, number)
                self._urls |= {name: url for url in rest}  # noqa: B035  # one at most
            case ["group", name, threshold, *members] if self._is_new(name) and len(words) >= _MIN_GROUP_WORDS:
                self._groups[name] = self._group(threshold, members, number)
            case ["quorum", name] if self._quorum is None and (name == NO_QUORUM or not self._is_new(name)):
                self._quorum = name
            case _:
                raise _bad(number, " ".join(words), "log, witness, group or quorum, each name defined once and before")

    def policy(self) -> Policy:
        if self._log is None or self._quorum is None:
            raise _bad(0, "no log or no quorum", "one line of each")
        return Policy(
            log=self._log, witnesses=self._witnesses, groups=self._groups, quorum=self._quorum, urls=self._urls
        )

    def _is_new(self, name: str) -> bool:
        return name != NO_QUORUM and name not in self._witnesses and name not in self._groups

    def _witness_key(self, vkey: str, number: int) -> WitnessKey:
        name, kind, key = parse_vkey(vkey)
        if kind != COSIGNATURE_TYPE:
            raise _bad(number, f"a key of type {kind}", f"a cosigning key of type {COSIGNATURE_TYPE}")
        if any(key == known.public_key for known in self._witnesses.values()):
            raise _bad(number, "a key that another witness has", "one key a witness")
        return WitnessKey(name=name, public_key=key)

    def _group(self, threshold: str, members: list[str], number: int) -> Group:
        words = {"any": 1, "all": len(members)}
        if not (threshold in words or (threshold.isascii() and threshold.isdigit() and threshold[0] != "0")):
            raise _bad(number, f"the threshold {threshold[:20]!r}", "any, all or a number")
        count = words.get(threshold) or int(threshold[:6])
        if any(self._is_new(name) for name in members) or len(set(members)) != len(members):
            raise _bad(number, "members unknown or twice", "names that are defined above, each once")
        if not 1 <= count <= len(members):
            raise _bad(number, f"{count} of {len(members)}", "a threshold within the group")
        return Group(members=tuple(members), threshold=count)


def _log_key(vkey: str) -> LogKey:
    name, kind, key = parse_vkey(vkey)
    if kind != ED25519_TYPE:
        raise _bad(0, f"a log key of type {kind}", f"type {ED25519_TYPE}")
    return LogKey(name=name, public_key=key)


def _lines(data: bytes) -> list[list[str]]:
    if len(data) > MAX_POLICY_BYTES or data.count(b"\n") > MAX_POLICY_LINES:
        raise _bad(0, f"{len(data)} bytes", f"at most {MAX_POLICY_BYTES} bytes and {MAX_POLICY_LINES} lines")
    try:
        return [line.split() for line in data.decode("utf-8").split("\n")]
    except UnicodeDecodeError as error:
        raise _bad(0, "bytes that are not UTF-8", "UTF-8") from error


def _bad(number: int, observed: str, expected: str) -> VerificationError:
    return refuse("BAD_POLICY", observed=f"line {number}: {observed}"[:200], expected=expected)
