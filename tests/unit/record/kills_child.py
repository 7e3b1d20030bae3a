"""What is killed: a runner that records campaigns without end, or a witness; in virtual time, which is kept in a file.

    python -m tests.unit.record.kills_child record HOME CLOCK STOP
    python -m tests.unit.record.kills_child witness FOLDER CLOCK SOCKET

The runner begins where the last one was killed and closes what is open; it ends when STOP is there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Event

from orchestrator.record import witness_client
from orchestrator.record.domain import open_domain
from orchestrator.record.registrar import Registrar
from orchestrator.record.sequence import outcomes_of
from orchestrator.record.witness_home import open_witness
from orchestrator.record.witness_server import Address, WitnessServer
from protocol.attestation.claims import Failure
from protocol.attestation.predicates import predicate_name
from protocol.errors import JoulesealError
from tests.unit.record.witness_world import RecordedWorld
from tests.worlds.world import Said, cell

INTERRUPTED = Failure(code="INTERRUPTED", blame="measurement")
CELL = cell()
ATTEMPTS = 2


class FileClock:
    """The time of a story, in Unix seconds, which outlives whoever is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def now(self) -> int:
        return int(self._path.read_text())

    @now.setter
    def now(self, value: int) -> None:
        part = self._path.with_suffix(".part")
        part.write_text(str(value))
        part.replace(self._path)

    def read(self) -> int:
        return self.now


class Survivor(RecordedWorld):
    """A world that remembers from the record what was said before it was killed."""

    def remember(self, voice: Registrar) -> None:
        self.speak_through(voice)
        self.evidence = {digest: self.store.get(digest) for digest in self.store.digests()}
        self.said = [
            Said(
                index=item.log_index,
                statement_id=item.statement_id,
                name=predicate_name(item.predicate),
                predicate=item.predicate.to_json(),
                nonce=item.nonce,
            )
            for item in voice.history
        ]

    def tell(self) -> None:
        """Tell one campaign to its end, from wherever it is."""
        plan = self._plan()
        for item in self.voice.open_intents():
            intent = self._said(item.recorded.statement_id)
            self.outcome(plan, intent, CELL, None, attempt=item.intent.attempt, failure=INTERRUPTED)
        while not self._completed(plan) and len(self._outcomes(plan)) < ATTEMPTS:
            self.session(plan, CELL, attempt=len(self._outcomes(plan)) + 1)
        self.result(plan, failure=None if self._completed(plan) else INTERRUPTED)

    def _plan(self) -> Said:
        for item in self.voice.open_campaigns():
            return self._said(item.recorded.statement_id)
        return self.plan([CELL], attempts=ATTEMPTS)

    def _outcomes(self, plan: Said) -> list:
        return [item.predicate for item in outcomes_of(self.voice.history, plan.statement_id)]

    def _completed(self, plan: Said) -> bool:
        return any(outcome.status == "completed" for outcome in self._outcomes(plan))

    def _said(self, statement_id: str) -> Said:
        return next(item for item in self.said if item.statement_id == statement_id)


def record(home: Path, clock: FileClock, stop: Path) -> None:
    witness_client.MOMENT_S = 0.1
    witness_client.PAUSE_S = 0.1
    world = Survivor(clock)
    with Registrar(open_domain(home), clock=clock.read, boot_id="boot-1") as voice:
        world.remember(voice)
        print("open", flush=True)
        while not stop.exists() or voice.open_campaigns():
            world.tell()


def witness(folder: Path, clock: FileClock, socket: Path) -> None:
    server = WitnessServer(open_witness(folder, clock=clock.read), Address(socket=socket), say=lambda _: None)
    print("open", flush=True)
    server.run_until(Event())


if __name__ == "__main__":
    try:
        {"record": record, "witness": witness}[sys.argv[1]](
            Path(sys.argv[2]), FileClock(Path(sys.argv[3])), Path(sys.argv[4])
        )
    except JoulesealError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
