"""A whole trust domain in memory, in virtual time: keys, log, witnesses, sandboxes that never were, and their bundles.

`World().campaign()` tells an honest story and `bundle()` returns its files. Every step can be told otherwise: `edit`
changes a predicate before the runner's real key signs it, and `say` signs and logs anything. So a test can be the
operator who holds every key of the domain, or the outsider who has only the files.

    world = World()
    world.campaign(edit={"session-outcome": lambda outcome: outcome["runs"].pop()})
    assert "RUNS" in codes(world.judge())

Keys are derived from names, so a world is the same bytes every time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator import assemble
from orchestrator.evaluate.commitment import commit
from protocol.attestation import bundle as layout
from protocol.attestation.beside import Beside, beside_name, read_beside_file, sign_beside
from protocol.attestation.claims import Failure, PlanCell, QualityClaim, Resource, ShardClaim, StatementLink
from protocol.attestation.digest import sha256_hex
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, Envelope, sign
from protocol.attestation.keyring import EnrolledKey, Keyring, Scope, sign_keyring
from protocol.attestation.keys import PublicKey, ed25519_key
from protocol.attestation.moment import format_moment
from protocol.attestation.nonce import session_nonce
from protocol.attestation.openings import Opening, open_leaves
from protocol.attestation.predicates import CampaignPlan, SessionOutcome
from protocol.attestation.probed import probed_of
from protocol.attestation.root import ROLES, build_root
from protocol.attestation.sigstore_bundle import LogEntry, SigstoreBundle
from protocol.attestation.statement import PREDICATE_NAMES, Statement
from protocol.attestation.verify_txt import verify_text
from protocol.errors import VerificationError
from protocol.methodology import dataset_index
from protocol.methodology.dataset import Dataset, dataset_digest
from protocol.methodology.figures import RunFigures, run_figures
from protocol.methodology.hardware import DeviceFacts
from protocol.methodology.probe_figures import Probed, probe_figures
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.session_figures import SessionFigures, with_probes
from protocol.methodology.stages import PROBE_RULE, Asked, Message, Probe, stages, window_name
from protocol.methodology.stages import probes as probes_of
from protocol.methodology.tasks import Task
from protocol.methodology.timeline import QueryRecord, pack, unpack
from protocol.methodology.trace import parse_trace
from protocol.samples import Point, TextInput
from protocol.submission import Campaign, Cell, SealedImage, Submission
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.leaf import Leaf
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.note import LogKey, Note
from protocol.tlog.policy import build_policy
from protocol.tlog.tiles import ENTRIES, TILE_WIDTH, encode_entries, tile_bytes, tiles_of
from tests.standin.records import Scene
from verifier.demands import Demands
from verifier.report import Status, VerificationReport
from verifier.verify import verify

MS = 1_000_000
S = 1_000_000_000
EPOCH = 1_700_000_000  # where the stand-in records begin their calendar: November 2023
START = EPOCH + 5_000
IMAGE = sha256_hex(b"the image's configuration")
OTHER_IMAGE = sha256_hex(b"another image's configuration")
PROFILE = b'{"launch":"profile"}'
SECRET = hashlib.sha256(b"the secret of a session's answers").digest()
SUBMISSION = b"vendor: acme\nmodel: tiny\n"


def points(count: int) -> tuple[Point, ...]:
    return tuple(
        Point(index=n, point_id=f"d-{n}", source="digits", input=TextInput(text=str(n)), reference=str(n % 3))
        for n in range(count)
    )


DIGEST = dataset_digest(points(4))

Edit = Mapping[str, Callable[[dict], object]]


class Key:
    """An Ed25519 key that is derived from a name; a `protocol.attestation.keys.Signer`."""

    def __init__(self, name: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())

    @property
    def public_key(self) -> PublicKey:
        return ed25519_key(self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def moment(seconds: int) -> str:
    return format_moment(datetime.fromtimestamp(seconds, UTC))


@dataclass(kw_only=True)
class Trust:
    """Who is believed: edit a field before `files()` to make another domain of the same keys."""

    name: str = "acme-lab"
    witnesses: Sequence[str] = ("operator",)
    organisations: Mapping[str, str] = field(default_factory=dict)  # of keys; the rest are the operator's
    threshold: int = 1
    root_holders: Sequence[str] = ("root",)
    root_threshold: int = 1
    root_expires: int = START + 10**8
    not_before: Mapping[str, int] = field(default_factory=dict)  # by key name
    not_after: Mapping[str, int] = field(default_factory=dict)
    last_valid_index: int | None = None
    scope_names: Sequence[str] = PREDICATE_NAMES
    devices: Sequence[str] = ()  # that the runner's key may measure
    runner_role: str = "runner"
    keyring_signers: Sequence[str] | None = None
    keyring_version: int = 1
    runner_id: str = "runner-1"
    runner_key: str = "runner"
    vendors: Sequence[str] = ()  # the names of vendors who sign; their keys are vendor-<name>
    auditors: Sequence[str] = ()  # the names of verifiers whose verdicts count; their keys are auditor-<name>

    def key(self, name: str) -> Key:
        return Key(f"{self.name}/{name}")

    @property
    def runner(self) -> Key:
        return self.key(self.runner_key)

    @property
    def log(self) -> LogKey:
        return LogKey(name=f"{self.name}.example/log", public_key=self.key("log").public_key)

    def witness(self, name: str) -> WitnessKey:
        return WitnessKey(name=f"{self.name}.example/{name}", public_key=self.key(f"witness-{name}").public_key)

    def policy(self) -> bytes:
        return build_policy(
            log=self.log, witnesses={n: self.witness(n) for n in self.witnesses}, threshold=self.threshold
        )

    def enrol(self, key_name: str, role: str, name: str) -> EnrolledKey:
        scope = Scope(runner_id=self.runner_id, devices=tuple(self.devices), predicate_names=tuple(self.scope_names))
        return EnrolledKey(
            key=self.key(key_name).public_key,
            role=role,
            name=name,
            organisation=self.organisations.get(key_name, "operator"),
            scope=scope if role == "runner" else None,
            not_before=moment(self.not_before.get(key_name, START - 1000)),
            not_after=moment(self.not_after.get(key_name, START + 10**7)),
            last_valid_index=self.last_valid_index if role == "runner" else None,
        )

    def keyring(self) -> Keyring:
        keys = [self.enrol(self.runner_key, self.runner_role, self.runner_id), self.enrol("log", "log", self.log.name)]
        keys += [self.enrol(f"witness-{n}", "witness", self.witness(n).name) for n in self.witnesses]
        keys += [self.enrol(f"vendor-{n}", "vendor", n) for n in self.vendors]
        keys += [self.enrol(f"auditor-{n}", "auditor", n) for n in self.auditors]
        return Keyring(
            version=self.keyring_version,
            issued_on=moment(START),
            policy_sha256=sha256_hex(self.policy()),
            keys=tuple(keys),
        )

    def root(self) -> bytes:
        holders = [self.key(name) for name in self.root_holders]
        roles = {role: ([key.public_key for key in holders], self.root_threshold) for role in ROLES}
        return build_root(version=1, expires=moment(self.root_expires), roles=roles, signers=holders)

    def files(self) -> dict[str, bytes]:
        signers = [self.key(name) for name in self.keyring_signers or self.root_holders]
        return {
            layout.root_path(1): self.root(),
            layout.KEYRING_PATH: sign_keyring(self.keyring(), signers),
            layout.POLICY_PATH: self.policy(),
            layout.VERIFY_PATH: verify_text(self.runner.public_key),
        }


class Log:
    """A tile log in memory with its witnesses; whoever holds it can lie with it."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.entries: list[bytes] = []

    @property
    def tree(self) -> Tree:
        return Tree(leaf_hash(entry) for entry in self.entries)

    def note(self, at: int, *, size: int | None = None, witnesses: Sequence[str] | None = None) -> Note:
        size = len(self.entries) if size is None else size
        body = Checkpoint(origin=self.trust.log.name, size=size, root=self.tree.root(size)).to_body()
        lines = [self.trust.log.sign(body, self.trust.key("log"))]
        names = self.trust.witnesses if witnesses is None else witnesses
        lines += [self.trust.witness(name).sign(body, at, self.trust.key(f"witness-{name}")) for name in names]
        return Note(text=body, signatures=tuple(lines))

    def tiles(self, first: int, last: int) -> dict[str, bytes]:
        files = {}
        for ref in tiles_of(len(self.entries), first, last):
            start = ref.number * TILE_WIDTH
            entries = self.entries[start : start + ref.width]
            data = encode_entries(entries) if ref.level == ENTRIES else tile_bytes(self.tree, ref)
            files[layout.LOG_PREFIX + ref.to_path()] = data
        return files


@dataclass(frozen=True, kw_only=True)
class Said:
    """A statement that was signed and logged."""

    index: int
    statement_id: str
    name: str
    predicate: dict
    nonce: str

    @property
    def link(self) -> StatementLink:
        return StatementLink(log_index=self.index, statement_id=self.statement_id)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A session's evidence in virtual time: the meter's record and one timeline a run and a probe."""

    scene: Scene
    trace: bytes
    timelines: tuple[tuple[QueryRecord, ...], ...]
    probes: Mapping[str, tuple[QueryRecord, ...]]
    asked: Asked
    started: int
    finished: int

    @property
    def in_order(self) -> list[tuple[QueryRecord, ...]]:
        """Every timeline, of runs and probes, in the order of time."""
        return sorted((*self.timelines, *self.probes.values()), key=lambda records: records[0].sent_ns)


def cell(
    scenario: Scenario = Scenario.LATENCY, *, points: int = 4, runs: int = 2, task: Task = Task.IMAGE_CLASSIFICATION
) -> Cell:
    return Cell(
        task=task,
        scenario=scenario,
        precision=Precision.FP32,
        dataset="embedded-digits",
        dataset_digest=DIGEST,
        points=points,
        runs=runs,
    )


class World:
    """An operator with a runner, a log and witnesses, in virtual time; see the module's words."""

    def __init__(self, trust: Trust | None = None, *, query_ms: int = 50, idle_ms: int = 200) -> None:
        self.trust = trust or Trust()
        self.log = Log(self.trust)
        self.now = START
        self.boot_id = "boot-1"
        self.query_ms, self.idle_ms = query_ms, idle_ms
        self.said: list[Said] = []
        self.statements: dict[str, bytes] = {}
        self.evidence: dict[str, bytes] = {}
        self.ran: list[Ran] = []
        self.dataset = dataset()
        self.shard: ShardClaim | None = None
        self.private_share = Fraction(1)  # of a query's time: what a private one takes
        self.private_quality = "0.9100"
        self.passes = 1
        self.devices: tuple[DeviceFacts, ...] = ()

    # Speaking: sign, log, witness, keep.

    def link(self) -> dict:
        last = self.said[-1] if self.said else None
        return {
            "id": self.trust.runner_id,
            "keyId": self.trust.runner.public_key.key_id,
            "bootId": self.boot_id,
            "seq": len(self.said) + 1,
            "prev": last.statement_id if last else None,
        }

    def say(
        self,
        name: str,
        predicate: dict,
        *,
        subject: str = IMAGE,
        payload: bytes | None = None,
        signer: Key | None = None,
    ) -> Said:
        """Sign a statement with the runner's key, log it, and have it witnessed; the runner's chain goes on."""
        predicate = {"runner": self.link(), **predicate}
        if payload is None:
            payload = Statement(predicate_name=name, subject_sha256=subject, predicate=predicate).to_payload()
        return self.say_envelope(name, sign(IN_TOTO_PAYLOAD_TYPE, payload, signer or self.trust.runner), predicate)

    def say_envelope(self, name: str, envelope: Envelope, predicate: dict, *, key: PublicKey | None = None) -> Said:
        leaf = Leaf(
            pae_sha256=envelope.pae_sha256,
            signature=envelope.only_signature().signature,
            key=key or self.trust.runner.public_key,
        ).to_bytes()
        index = len(self.log.entries)
        self.log.entries.append(leaf)
        note = self.log.note(self.now)
        path = layout.statement_path(index, name)
        self.statements[path] = self.file(envelope, leaf, index, note).to_bytes()
        nonce = session_nonce(leaf_hash(leaf), note.text)
        said = Said(index=index, statement_id=envelope.statement_id, name=name, predicate=predicate, nonce=nonce)
        self.said.append(said)
        self.now += 1
        return said

    def speak(self, predicate: Beside, *, by: str, subject: str = IMAGE) -> Said:
        """Log what the holder of a key (by its name in `Trust`) says beside the runner's chain."""
        envelope, _, _ = read_beside_file(sign_beside(predicate, subject, self.trust.key(by)))
        chain = list(self.said)
        said = self.say_envelope(
            beside_name(predicate), envelope, predicate.to_json(), key=self.trust.key(by).public_key
        )
        self.said = chain
        return said

    def file(
        self, envelope: Envelope, leaf: bytes, index: int, note: Note, *, size: int | None = None
    ) -> SigstoreBundle:
        size = len(self.log.entries) if size is None else size
        entry = LogEntry(
            log_index=index,
            log_id=self.trust.log.full_key_id,
            tree_size=size,
            root_hash=self.log.tree.root(size),
            hashes=tuple(self.log.tree.inclusion(index, size)),
            checkpoint=note.to_bytes(),
            body=leaf,
        )
        return SigstoreBundle(envelope=envelope, entry=entry)

    def keep(self, data: bytes) -> str:
        """Store evidence and return its digest."""
        self.evidence[sha256_hex(data)] = data
        return sha256_hex(data)

    # The honest story, one step each.

    def plan(
        self,
        cells: Sequence[Cell],
        *,
        official: bool = False,
        model: str = "tiny",
        attempts: int = 2,
        edit: Edit | None = None,
    ) -> Said:
        plans = [s for s in self.said if s.name == "campaign-plan" and s.predicate["submission"]["model"] == model]
        campaign = Campaign(
            submission=submission(model),
            image=image(),
            cells=tuple(cells),
            official=official,
            attempts_per_cell=attempts,
        )
        most = max((planned.points for planned in cells), default=0)
        if most > len(self.dataset.points):
            self.dataset = dataset(most)
        predicate = assemble.plan_json(
            campaign,
            {"embedded-digits": self.dataset},
            self.devices,
            vendor_seq=len(plans) + 1,
            prev_plan=plans[-1].statement_id if plans else None,
            profile_sha256=sha256_hex(PROFILE),
            now=datetime.fromtimestamp(self.now, UTC),
            shards={} if self.shard is None else {"embedded-digits": self.shard},
        )
        self.keep(SUBMISSION)
        return self._edited("campaign-plan", predicate, edit)

    def intent(self, plan: Said, planned: Cell, attempt: int = 1, *, edit: Edit | None = None) -> Said:
        predicate = assemble.intent_json(plan.statement_id, planned, attempt, datetime.fromtimestamp(self.now, UTC))
        return self._edited("session-intent", predicate, edit)

    def run(self, planned: Cell, *, scene: Callable[[Scene], None] | None = None) -> Ran:
        """Let a session happen: windows, queries and samples in virtual time, after which the clock stands later."""
        started = self.now
        origin = (started - EPOCH) * S
        windows, timelines, probes = self._windows(planned, origin)
        stage = Scene(windows=windows, origin=origin, tail=100 * MS)
        self.prepare(stage, sorted((*timelines, *probes.values()), key=lambda records: records[0].sent_ns))
        if scene is not None:
            scene(stage)
        self.now = started + -(-(windows[-1][2] + 100 * MS) // S) + 1
        ran = Ran(
            scene=stage,
            trace=stage.data(),
            timelines=timelines,
            probes=probes,
            asked=self.asked(planned),
            started=started,
            finished=self.now,
        )
        self.ran.append(ran)
        return ran

    def prepare(self, stage: Scene, timelines: Sequence[tuple[QueryRecord, ...]]) -> None:
        """Add to a session's scene what this runner has beside its processors: nothing."""

    def asked(self, planned: Cell) -> Asked:
        """Return what the windows of the session follow from that was declared last."""
        intents = [said.nonce for said in self.said if said.name == "session-intent"]
        nonce = intents[-1] if intents else DIGEST
        private = 0 if self.shard is None else self.shard.points
        facts = {"points": planned.points, "batch": planned.scenario.batch, "runs": planned.runs, "private": private}
        return Asked(nonce=bytes.fromhex(nonce), **facts)

    def query_ns(self, message: Message | None) -> int:
        """Return how long a query of a probe takes, or one of a run, where there is no message."""
        share = self.private_share if message is not None and message.role == "private" else 1
        return int(self.query_ms * MS * share)

    def _windows(self, planned: Cell, origin: int) -> tuple[list, tuple, dict]:
        at, windows, timelines, probes = 10 * MS, [], [], {}
        batch = planned.scenario.batch
        sizes = [min(batch, planned.points - n) for n in range(0, planned.points, batch)]
        windows.append(("idle-0", at, at := at + self.idle_ms * MS))
        for number, stage in enumerate(stages(self.asked(planned)), 1):
            opened = at = at + MS
            records = []
            queries = [(query, passno, size, None) for passno in range(self.passes) for query, size in enumerate(sizes)]
            if not isinstance(stage, int):
                queries = [(query, 0, len(m.places), m) for query, m in enumerate(stage.messages)]
            for place, (query, passno, size, message) in enumerate(queries):
                sent = at + MS + 1000 * ((place * 7 + number) % 5)
                at = sent + self.query_ns(message)
                records.append(QueryRecord(origin + sent, None, origin + at, query, passno, size))
            windows.append((window_name(stage), opened, at := at + MS))
            at += MS
            windows.append((f"idle-{number}", at, at := at + self.idle_ms * MS))
            if isinstance(stage, int):
                timelines.append(tuple(records))
            else:
                probes[stage.name] = tuple(records)
        return windows, tuple(timelines), probes

    def outcome(
        self,
        plan: Said,
        intent: Said,
        planned: Cell,
        ran: Ran | None,
        *,
        attempt: int = 1,
        failure: Failure | None = None,
        edit: Edit | None = None,
    ) -> Said:
        facts = self.outcome_facts(plan, intent, planned, ran, attempt=attempt, failure=failure)
        return self._edited("session-outcome", assemble.outcome_json(facts), edit)

    def outcome_facts(
        self, plan: Said, intent: Said, planned: Cell, ran: Ran | None, *, attempt: int, failure: Failure | None
    ) -> assemble.OutcomeFacts:
        facts = assemble.OutcomeFacts(
            campaign=plan.statement_id,
            intent=intent.link,
            cell=planned.cell_id,
            attempt=attempt,
            nonce=intent.nonce,
            failure=failure,
            started=datetime.fromtimestamp(ran.started if ran else self.now, UTC),
            finished=datetime.fromtimestamp(self.now, UTC),
            dependencies=(
                Resource(name="dataset:embedded-digits", sha256=self.dataset.digest),
                *(
                    []
                    if self.shard is None
                    else [Resource(name="private-shard:embedded-digits", sha256=self.shard.salted_sha256)]
                ),
            ),
        )
        if ran is None:
            return facts
        timelines = [self.keep(pack(records)) for records in ran.timelines]
        byproducts = [Resource(name="launch-profile", sha256=self.keep(PROFILE), media_type="application/json")]
        byproducts.append(Resource(name="dataset-index", sha256=self.keep(dataset_index.pack(self.dataset.points))))
        byproducts += [Resource(name=name, sha256=self.keep(data)) for name, data in self.beside(ran).items()]
        byproducts.append(Resource(name="meter-record", sha256=self.keep(ran.trace), media_type="application/x-ndjson"))
        return assemble.OutcomeFacts(
            **{
                **{name: getattr(facts, name) for name in facts.__slots__},
                "trace_sha256": sha256_hex(ran.trace),
                "trace_chain": self._trace(ran).digest if failure is None else None,
                "runs": [self._run_facts(ran, number, digest, failure) for number, digest in enumerate(timelines, 1)],
                "probes": [
                    self._probe_facts(ran, probe, failure) for probe in probes_of(ran.asked) if probe.name in ran.probes
                ],
                "byproducts": byproducts,
            }
        )

    def beside(self, ran: Ran) -> Mapping[str, bytes]:
        """Return what stands beside a session's meter record, by name: nothing."""
        return {}

    def _trace(self, ran: Ran):
        return parse_trace(ran.trace)

    def _run_facts(self, ran: Ran, number: int, digest: str, failure: Failure | None) -> assemble.RunFacts:
        records = ran.timelines[number - 1]
        leaves = sum(record.samples for record in records)
        return assemble.RunFacts(
            run=number,
            timeline_sha256=digest,
            queries=len(records),
            samples=sum(record.samples for record in records),
            passes=records[-1].passno + 1,
            figures=None if failure else self.figures_of_run(ran, number),
            response_root=commit(SECRET, number, self.answers(leaves)).root,
            response_leaves=leaves,
            quality=QualityClaim(
                metric="accuracy", value=f"0.9{number}00", errors=0, secondary={"macro-f1": f"0.9{number}10"}
            ),
        )

    def _probe_facts(self, ran: Ran, probe: Probe, failure: Failure | None) -> assemble.ProbeFacts:
        records = ran.probes[probe.name]
        private = sum(len(message.places) for message in probe.messages if message.role == "private")
        figures = None
        if failure is None:
            asked = Probed(asked=ran.asked, timelines=ran.probes)
            figures = probe_figures(self._trace(ran), asked)[probe.name]
        return assemble.ProbeFacts(
            number=probe.number,
            name=probe.name,
            timeline_sha256=self.keep(pack(records)),
            queries=len(records),
            samples=probe.samples,
            figures=figures,
            response_root=commit(SECRET, probe.number, self.answers(probe.samples)).root,
            response_leaves=probe.samples,
            quality=QualityClaim(metric="accuracy", value=self.private_quality, errors=0) if private else None,
        )

    def answers(self, leaves: int) -> dict[int, bytes]:
        """Return the `Answer` messages of a run by place: labels that count up, each right but every fourth."""
        return {place: answer(str(place % 4 % 3)) for place in range(leaves)}

    def openings(self, outcome: Said, run: int, places: Iterable[int]) -> tuple[Opening, ...]:
        """Open leaves of a session, as its operator would from the vault."""
        leaves = outcome.predicate["runs"][run - 1]["responses"]["leaves"]
        return open_leaves(SECRET, outcome.statement_id, run, self.answers(leaves), places)

    def figures_of_run(self, ran: Ran, number: int) -> RunFigures:
        """Return what the runner says of one run."""
        return run_figures(self._trace(ran), number, ran.timelines[number - 1])

    def result(self, plan: Said, *, failure: Failure | None = None, edit: Edit | None = None) -> Said:
        """Close a campaign with what its outcomes give."""
        outcomes = [
            s for s in self.said if s.name == "session-outcome" and s.predicate["campaign"] == plan.statement_id
        ]
        told = [(s.link, SessionOutcome.from_json(s.predicate)) for s in outcomes]
        planned = {cell.cell_id: cell for cell in CampaignPlan.from_json(plan.predicate).cells}
        cells = {
            outcome.cell: self.judged(outcome, planned.get(outcome.cell), self.figures_of(outcome))
            for _, outcome in told
            if outcome.status == "completed"
        }
        predicate = assemble.result_json(
            plan.statement_id,
            CampaignPlan.from_json(plan.predicate),
            told,
            cells,
            failure=failure,
            verify_txt_sha256=sha256_hex(verify_text(self.trust.runner.public_key)),
        )
        return self._edited("campaign-result", predicate, edit)

    def figures_of(self, outcome: SessionOutcome) -> SessionFigures:
        """Return the figures of the runs that an outcome names, whatever it left out."""
        trace = parse_trace(self.evidence[outcome.trace_sha256])
        runs = [run_figures(trace, run.run, unpack(self.evidence[run.timeline_sha256])) for run in outcome.runs]
        return SessionFigures(runs=tuple(runs))

    def judged(self, outcome: SessionOutcome, cell: PlanCell | None, found: SessionFigures) -> SessionFigures:
        """Return figures with the verdicts of the probes, where all that they stand on is there."""
        if cell is None or len(outcome.runs) != cell.runs or cell.probes != PROBE_RULE:
            return found
        try:
            return self._judged(outcome, cell, found)
        except VerificationError:
            return found  # an evil twin's evidence that nobody could judge

    def _judged(self, outcome: SessionOutcome, cell: PlanCell, found: SessionFigures) -> SessionFigures:
        probed = probed_of(outcome, cell, {p.name: unpack(self.evidence[p.timeline_sha256]) for p in outcome.probes})
        timelines = [unpack(self.evidence[run.timeline_sha256]) for run in outcome.runs]
        whole = {probe.name for probe in probes_of(probed.asked)} == set(probed.timelines)
        return (
            with_probes(parse_trace(self.evidence[outcome.trace_sha256]), timelines, found, probed) if whole else found
        )

    def session(self, plan: Said, planned: Cell, *, attempt: int = 1, edit: Edit | None = None, scene=None) -> Said:
        """Tell one completed session."""
        intent = self.intent(plan, planned, attempt, edit=edit)
        return self.outcome(plan, intent, planned, self.run(planned, scene=scene), attempt=attempt, edit=edit)

    def aborted(
        self, plan: Said, planned: Cell, failure: Failure, *, attempt: int = 1, edit: Edit | None = None
    ) -> Said:
        """Tell one session that was aborted, with the runs that it had finished."""
        intent = self.intent(plan, planned, attempt, edit=edit)
        return self.outcome(plan, intent, planned, self.run(planned), attempt=attempt, failure=failure, edit=edit)

    def campaign(self, cells: Sequence[Cell] = (), *, edit: Edit | None = None, scene=None, **plan_facts) -> Said:
        """Tell an honest campaign, `edit` apart, and return its plan."""
        cells = cells or (cell(),)
        plan = self.plan(cells, edit=edit, **plan_facts)
        for planned in cells:
            self.session(plan, planned, edit=edit, scene=scene)
        self.result(plan, edit=edit)
        return plan

    def _edited(self, name: str, predicate: dict, edit: Edit | None) -> Said:
        if edit and name in edit:
            edit[name](predicate)
        return self.say(name, predicate)

    # Publishing and judging.

    def bundle(self, first: int = 0, last: int | None = None) -> dict[str, bytes]:
        """Return the files of the bundle over a range of the log."""
        last = len(self.log.entries) - 1 if last is None else last
        statements = {p: d for p, d in self.statements.items() if first <= int(p.split("/")[1][:8]) <= last}
        return {
            **self.trust.files(),
            **self.log.tiles(first, last),
            layout.CHECKPOINT_PATH: self.log.note(self.now).to_bytes(),
            **statements,
            **{layout.evidence_path(digest): data for digest, data in self.evidence.items()},
        }

    @property
    def pin(self) -> str:
        return f"sha256:{sha256_hex(self.trust.root())}"

    def judge(self, files: Mapping[str, bytes] | None = None, **demands) -> VerificationReport:
        """Verify the bundle (or these files) under this world's root."""
        found = layout.BundleFiles(self.bundle() if files is None else files)
        return verify(lambda: found, Demands(root=demands.pop("root", self.pin), **demands))

    def tar(self, files: Mapping[str, bytes] | None = None) -> bytes:
        return b"".join(layout.write_tar(self.bundle() if files is None else files))


def answer(label: str) -> bytes:
    """Return an `Answer` message with one label, in the wire's bytes."""
    name = label.encode()
    inner = b"\x0a" + bytes([len(name)]) + name
    labels = b"\x0a" + bytes([len(inner)]) + inner
    return b"\x22" + bytes([len(labels)]) + labels


def submission(model: str = "tiny") -> Submission:
    return Submission(
        submission_id="sub-1",
        document_sha256=sha256_hex(SUBMISSION),
        vendor="acme",
        model=model,
        model_version="1",
        proprietary=False,
        framework="none",
        image="acme/tiny",
        tasks=(),
        scenarios=(Scenario.LATENCY,),
        resources=None,
    )


def image() -> SealedImage:
    return SealedImage(
        config_digest=f"sha256:{IMAGE}",
        diff_ids=(f"sha256:{sha256_hex(b'layer')}",),
        manifest_digest=None,
        user="65532:65532",
        volumes=(),
        entrypoint=(),
        env_names=(),
        size_bytes=1,
    )


def dataset(count: int = 4) -> Dataset:
    found = points(count)
    return Dataset(
        name="embedded-digits",
        digest=dataset_digest(found),
        points=found,
        warm_up=(),
        sources={"digits": count},
        thirds=False,
        licence="none",
        note="a world's",
    )


def codes(report: VerificationReport) -> set[str]:
    """Return the codes of all failed checks."""
    return {result.code for result in report.checks if result.status is Status.FAILED}


def failed(report: VerificationReport) -> set[tuple[str, str]]:
    """Return (check, code) of all failed checks."""
    return {(result.check, result.code) for result in report.checks if result.status is Status.FAILED}
