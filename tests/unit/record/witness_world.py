"""A domain whose quorum needs outside organisations, their witnesses on unix sockets, and campaigns in virtual time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from orchestrator.record.domain import Domain, create, open_domain
from orchestrator.record.keys import load_key
from orchestrator.record.registrar import Registrar
from orchestrator.record.store import EvidenceStore
from orchestrator.record.witness_client import WITNESSES_FILE
from orchestrator.record.witness_home import Answer, WitnessHome, create_witness
from orchestrator.record.witness_server import Address, WitnessServer
from protocol.attestation.digest import sha256_hex
from protocol.attestation.jcs import dumps
from protocol.attestation.keyring import EnrolledKey, sign_keyring
from protocol.attestation.moment import format_moment
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.policy import build_policy
from tests.worlds.world import START, Said, World

OUTSIDE = ("auditor", "vendor")


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give a folder whose path leaves room for a socket's name: 107 bytes are all there is."""
    folder = Path(tempfile.mkdtemp(prefix="jw"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def new_domain(home: Path, at: int = START) -> Domain:
    """Make the local domain, whose only witness is the operator's own."""
    home.mkdir(parents=True, exist_ok=True)
    return create(home, "runner-1", [], now=datetime.fromtimestamp(at - 100, UTC))


def widen(domain: Domain, outside: Mapping[str, WitnessKey], *, threshold: int = 2, at: int = START) -> Domain:
    """Give the domain a policy of its own witness and these, each of an organisation of its own, and open it again."""
    home, names = domain.home, {"operator": domain.witness_key, **outside}
    policy = build_policy(log=domain.policy.log, witnesses=names, threshold=threshold)
    now = datetime.fromtimestamp(at - 100, UTC)
    enrolled = [
        EnrolledKey(
            key=key.public_key,
            role="witness",
            name=key.name,
            organisation=f"{name}.example",
            scope=None,
            not_before=format_moment(now),
            not_after=format_moment(now + timedelta(days=365)),
            last_valid_index=None,
        )
        for name, key in outside.items()
    ]
    keyring = replace(
        domain.keyring, version=2, policy_sha256=sha256_hex(policy), keys=(*domain.keyring.keys, *enrolled)
    )
    (home / "trust/policy.txt").write_bytes(policy)
    (home / "trust/keyring.dsse.json").write_bytes(sign_keyring(keyring, [load_key(home / "keys/root.pem")]))
    return open_domain(home)


def tell(domain: Domain, urls: Mapping[str, str]) -> None:
    """Write where the outside witnesses listen."""
    (domain.home / WITNESSES_FILE).write_bytes(dumps({"witnesses": dict(urls)}))


def witness(folder: Path, name: str, domain: Domain, clock: Callable[[], int]) -> WitnessHome:
    """Make an outside witness that watches the domain's log."""
    made = create_witness(folder / f"witness-{name}", f"{name}.example/witness", clock=clock)
    made.watch(domain.policy.log)
    return made


@contextmanager
def served(home: object, path: Path, said: list[str] | None = None) -> Iterator[str]:
    """Let a witness, or what answers like one, listen on a socket; give its URL."""
    server = WitnessServer(home, Address(socket=path), say=(said if said is not None else []).append)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


class Three:
    """A domain with its own witness and two of outside organisations, any two of the three being its quorum."""

    def __init__(self, folder: Path, clock: Callable[[], int]) -> None:
        self.folder, self.clock = folder, clock
        local = new_domain(folder / "home")
        self.homes = {name: witness(folder, name, local, clock) for name in OUTSIDE}
        self.domain = widen(local, {name: home.key for name, home in self.homes.items()})
        self.home = self.domain.home
        self.urls = {name: f"unix:{folder / name}" for name in OUTSIDE}
        self.said: list[str] = []
        tell(self.domain, self.urls)

    @contextmanager
    def listening(self, names: Sequence[str] = OUTSIDE, **others: object) -> Iterator[None]:
        """Let these outside witnesses listen; `others` answer in the place of a witness that they are named by."""
        with ExitStack() as stack:
            for name, home in {**{name: self.homes[name] for name in names}, **others}.items():
                stack.enter_context(served(home, self.folder / name, self.said))
            yield

    def registrar(self) -> Registrar:
        return Registrar(open_domain(self.home), clock=self.clock, boot_id="boot-1")


class Liar:
    """Answers every request in one way."""

    def __init__(self, answer: Callable[[bytes], Answer]) -> None:
        self.add_checkpoint = answer


class RecordedWorld(World):
    """The world's honest story, spoken through the real registrar of a real domain instead of a log in memory."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self._clock = clock
        super().__init__()

    @property
    def now(self) -> int:
        return self._clock.now

    @now.setter
    def now(self, value: int) -> None:
        self._clock.now = max(self._clock.now, value)  # a world that begins again does not turn its clock back

    def speak_through(self, voice: Registrar) -> None:
        self.voice = voice
        self.store = EvidenceStore(voice.domain.home / "evidence")
        self.trust = SimpleNamespace(runner=voice.domain.runner_signer)

    def link(self) -> dict:
        return self.voice.next_link().to_json()

    def keep(self, data: bytes) -> str:
        self.store.put(data)
        return super().keep(data)

    def say(self, name: str, predicate: dict, *, subject: str = "", payload=None, signer=None) -> Said:
        predicate = {"runner": self.link(), **predicate}
        logged = self.voice.record(name, subject or sha256_hex(b"the image's configuration"), predicate)
        said = Said(
            index=logged.index,
            statement_id=logged.statement_id,
            name=name,
            predicate=predicate,
            nonce=logged.nonce(),
        )
        self.said.append(said)
        self.now += 1
        return said


def virtual_clock() -> tuple[SimpleNamespace, Callable[[], int]]:
    """Return a clock that a story moves, and the function that reads it."""
    clock = SimpleNamespace(now=START)
    return clock, lambda: clock.now
