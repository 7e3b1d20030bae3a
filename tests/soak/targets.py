"""Every parser that touches untrusted bytes, with seeds to start from and a reading that may refuse but never crash.

Rules:
1. A reading raises an error of our tree that says whose mistake it is, or returns. Anything else is a finding.
2. JSON is tried as it comes and, where it is JSON at all, once more in canonical spelling; a meter's record once more
   with its chain mended. Otherwise nearly every mutation would stop at the first rule, and the rest stay untried.
3. Seeds are files of a world in virtual time, small ones, so that an execution is short.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

from orchestrator.record.ceremony_files import read_file
from orchestrator.record.trust import open_trust
from protocol.attestation import bundle as layout
from protocol.attestation.beside import read_beside, read_beside_file
from protocol.attestation.digest import parse_sha256_hex
from protocol.attestation.encoding import b64decode
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, read_envelope, sign
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import dumps, loads, loads_canonical
from protocol.attestation.key_event import KEY_EVENT, parse_key_statement, read_key_event
from protocol.attestation.keyring import KEYRING_PAYLOAD_TYPE, open_keyring, parse_keyring, read_keyring_draft
from protocol.attestation.openings import parse_openings, top_label, write_openings
from protocol.attestation.pem import pem_public_key, pem_signer
from protocol.attestation.possession import prove, read_possession
from protocol.attestation.predicates import read_predicate
from protocol.attestation.root import Root, parse_root, read_root_draft
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import BESIDE_NAMES, parse_statement
from protocol.attestation.vsa import ListedVerifier, Summary, open_summary, parse_summary
from protocol.methodology import dataset_index
from protocol.methodology.beside import BESIDE, WALL_CALIBRATION, WALL_LOG
from protocol.methodology.beside import read_beside as read_byproduct_files
from protocol.methodology.energy import validate
from protocol.methodology.factors import parse_factors
from protocol.methodology.gain_document import parse_gain
from protocol.methodology.site import parse_site
from protocol.methodology.timeline import unpack
from protocol.methodology.trace import GENESIS, advance, encode_line, parse_trace
from protocol.methodology.wall_calibration import parse_calibration
from protocol.methodology.wall_csv import parse_wall
from protocol.samples import Point, TextInput
from protocol.tlog.checkpoint import parse_checkpoint
from protocol.tlog.entry import open_checkpoint
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.note import parse_note, parse_vkey
from protocol.tlog.policy import Policy, parse_policy
from protocol.tlog.proofs import parse_growth, parse_inclusion
from protocol.tlog.tiles import TILE_WIDTH, parse_entries, parse_tile_path
from tests.golden import vectors
from tests.soak.outside import OUTSIDE
from tests.soak.points import DATASETS
from tests.soak.target import MAX_INPUT, REFUSALS, Target, each, respelled
from tests.worlds.accelerated import CERTIFICATE, PROFILE
from tests.worlds.world import IMAGE, Key, World, answer, cell, moment
from verifier.auditor_policy import POLICY_FORMAT, parse_auditor_policy
from verifier.state import SeenKeys, SeenLog, State, parse_state


def rechained(data: bytes) -> bytes:
    """Return a meter's record with every digest of its chain computed anew."""
    digest, lines = GENESIS, []
    for line in data.splitlines(keepends=True):
        mended = encode_line(["k", digest.hex()]) if line.startswith(b'["k",') else line
        digest = advance(digest, mended)
        lines.append(mended)
    return b"".join(lines)


@cache
def files() -> dict[str, bytes]:
    """Return the files of a small bundle."""
    world = World(query_ms=3, idle_ms=110)
    world.campaign([cell(points=2, runs=1)])
    return world.bundle()


def of(prefix: str, suffix: str = "") -> Callable[[], list[bytes]]:
    """Return the seeds under a path of the bundle, none longer than an execution may be."""
    return lambda: [
        data[:MAX_INPUT] for path, data in files().items() if path.startswith(prefix) and path.endswith(suffix)
    ]


def payloads() -> list[bytes]:
    return [parse_sigstore_bundle(data).envelope.payload for data in of("statements/")()]


def bodies() -> list[bytes]:
    return [parse_sigstore_bundle(data).entry.body for data in of("statements/")()]


def inside(path: str) -> Callable[[], list[bytes]]:
    return lambda: [b64decode(json.loads(files()[path])["payload"])]


def records() -> list[bytes]:
    return [data for data in of(layout.EVIDENCE_PREFIX)() if data.startswith(b'{"') and b"jouleseal-trace" in data]


def timelines() -> list[bytes]:
    return [data for data in of(layout.EVIDENCE_PREFIX)() if not data.startswith(b"{")]


def tars() -> list[bytes]:
    small = {path: data for path, data in files().items() if len(data) < 600}
    return [b"".join(layout.write_tar(small)), b"".join(layout.write_tar({}))]


def verdicts() -> list[bytes]:
    summary = Summary(
        verifier_id="https://jouleseal.dev/verifier/x",
        version={"jouleseal-verify": "1"},
        time_verified=moment(1_700_000_000),
        inputs=("ab" * 32,),
        images=(IMAGE,),
        policy_sha256="cd" * 32,
        passed=True,
        levels=("JOULESEAL_T1",),
    )
    return [summary.to_payload()]


def openings() -> list[bytes]:
    world = World(query_ms=3, idle_ms=110)
    world.campaign([cell(points=4, runs=1)])
    outcome = next(said for said in world.said if said.name == "session-outcome")
    return [write_openings(world.openings(outcome, 1, [0, 3]))]


def indexes() -> list[bytes]:
    points = [Point(index=n, point_id=f"p-{n}", source="s", input=TextInput(text="a"), reference="b") for n in (0, 1)]
    return [dataset_index.pack(points), dataset_index.pack(points[:1])]


def listed() -> list[ListedVerifier]:
    return [ListedVerifier(verifier_id="https://jouleseal.dev/verifier/x", key=Key("an auditor").public_key)]


def verdict_files() -> list[bytes]:
    return [dumps(sign(IN_TOTO_PAYLOAD_TYPE, payload, Key("an auditor")).to_json()) for payload in verdicts()]


def goldens(kinds: Sequence[str]) -> list[bytes]:
    """Return the golden payloads of some kinds."""
    said = vectors.statements().values()
    return [dumps(each) for each in said if each["predicateType"].split("/")[-2] in kinds]


def enveloped(*kinds: str) -> list[bytes]:
    return [dumps(sign(IN_TOTO_PAYLOAD_TYPE, payload, Key("k")).to_json()) for payload in goldens(kinds)]


def files_beside() -> list[bytes]:
    return enveloped(*BESIDE_NAMES)


def read_any_beside(data: bytes) -> object:
    return read_beside(parse_statement(data, BESIDE_NAMES))


def root() -> Root:
    return parse_root(of("trust/root")()[0])


@cache
def policy() -> Policy:
    return parse_policy(files()[layout.POLICY_PATH])


WALL = b"time,watts\n1700000000.1,201.5\n1700000000.2,202\n"
FACTORS = {
    "format": "jouleseal-factors/1",
    "id": "a-table",
    "date": "2026-03-01",
    "source": "a source",
    "licence": "CC-BY-4.0",
    "grid": {
        "WOR": {
            "carbonGramsPerKwh": "480.5",
            "carbonKind": "average",
            "waterLitresPerKwh": "3.2",
            "abioticKgSbPerKwh": "0.00000007",
            "primaryMjPerKwh": "9.9",
            "notes": ["a world average"],
        }
    },
    "embodied": {"server": {"carbonKg": "5700", "abioticKgSb": "0.37", "primaryMj": "70000", "source": "a source"}},
}


def byproducts() -> list[bytes]:
    """Return what may stand beside a record, each after the number of its name."""
    documents = (WALL, json.dumps(CERTIFICATE).encode(), json.dumps(CERTIFICATE).encode(), json.dumps(PROFILE).encode())
    return [bytes([number]) + data for number, data in enumerate(documents)]


def read_byproducts(data: bytes) -> None:
    """Read the bytes as the byproduct that their first one says; a wall log and its calibration want each other."""
    name = BESIDE[data[0] % len(BESIDE)] if data else BESIDE[0]
    honest = {WALL_LOG: WALL, WALL_CALIBRATION: json.dumps(CERTIFICATE).encode()}
    each(lambda files=files: read_byproduct_files(files) for files in ({name: data[1:]}, {**honest, name: data[1:]}))  # type: ignore[misc]


def read_trust(data: bytes) -> None:
    """Read the bytes in the place of a domain's root and of its keyring, and both beside the honest other."""
    there = files()
    (honest,), keyring, terms = of("trust/root")(), there[layout.KEYRING_PATH], there[layout.POLICY_PATH]
    each((lambda: open_trust((data,), keyring, terms), lambda: open_trust((honest,), data, terms)))


def states() -> list[bytes]:
    log, keys = SeenLog(size=5, root="ab" * 32), SeenKeys(root_version=1, keyring_version=1, keyring_sha256="cd" * 32)
    return [State().advanced(origin="a.example/log", log=log, root="sha256:" + "ef" * 32, keys=keys).to_bytes()]


def notes() -> list[bytes]:
    return [files()[layout.CHECKPOINT_PATH]]


def read_note(data: bytes) -> object:
    return parse_checkpoint(parse_note(data).text)


def read_chained(data: bytes) -> None:
    each(lambda record=record: validate(parse_trace(record)) for record in (data, rechained(data)))  # type: ignore[misc]


TARGETS: tuple[Target, ...] = (
    Target(name="bundle-tar", read=lambda data: layout.read_tar(io.BytesIO(data), len(data)), seeds=tars),
    Target(name="json", read=loads, seeds=payloads),
    Target(name="canonical-json", read=respelled(loads_canonical), seeds=payloads),
    Target(name="statement", read=respelled(lambda data: read_predicate(parse_statement(data))), seeds=payloads),
    Target(name="statement-beside", read=respelled(read_any_beside), seeds=lambda: goldens(BESIDE_NAMES)),
    Target(name="file-beside", read=respelled(read_beside_file), seeds=files_beside),
    Target(name="key-event", read=respelled(parse_key_statement), seeds=lambda: goldens((KEY_EVENT,))),
    Target(name="key-event-file", read=respelled(read_key_event), seeds=lambda: enveloped(KEY_EVENT)),
    Target(name="sigstore-bundle", read=respelled(parse_sigstore_bundle), seeds=of("statements/")),
    Target(name="log-leaf", read=respelled(parse_leaf), seeds=bodies),
    Target(name="note", read=read_note, seeds=notes),
    Target(name="checkpoint", read=lambda data: open_checkpoint(data, policy()), seeds=notes),
    Target(name="witness-policy", read=parse_policy, seeds=of(layout.POLICY_PATH)),
    Target(name="log-proof", read=lambda data: (_quiet(parse_inclusion, data), parse_growth(data)), seeds=notes),
    Target(
        name="log-tile",
        read=lambda data: parse_entries(data, len(data) % TILE_WIDTH + 1),
        seeds=of(layout.LOG_PREFIX + "tile/entries"),
    ),
    Target(
        name="tile-path",
        read=lambda data: parse_tile_path(data.decode("latin-1")),
        seeds=lambda: [b"tile/0/x001/067.p/5", b"tile/entries/000"],
    ),
    Target(
        name="keyring",
        read=respelled(
            lambda data: read_envelope(Fields(loads_canonical(data), "keyring"), payload_type=KEYRING_PAYLOAD_TYPE)
        ),
        seeds=of(layout.KEYRING_PATH),
    ),
    Target(name="keyring-payload", read=respelled(parse_keyring), seeds=inside(layout.KEYRING_PATH)),
    Target(
        name="keyring-draft",
        read=respelled(lambda data: parse_keyring(read_keyring_draft(data).payload)),
        seeds=of(layout.KEYRING_PATH),
    ),
    Target(
        name="keyring-signed", read=respelled(lambda data: open_keyring(data, root())), seeds=of(layout.KEYRING_PATH)
    ),
    Target(name="trust", read=read_trust, seeds=lambda: [*of("trust/root")(), *of(layout.KEYRING_PATH)()]),
    Target(name="root", read=respelled(parse_root), seeds=of("trust/root")),
    Target(name="root-draft", read=respelled(read_root_draft), seeds=of("trust/root")),
    Target(name="key-pem", read=lambda data: (_quiet(pem_signer, data), pem_public_key(data)), seeds=lambda: [_pem()]),
    Target(name="possession", read=respelled(read_possession), seeds=lambda: [prove(Key("k"), "witness", "a domain")]),
    Target(
        name="ceremony-file",
        read=respelled(read_file),
        seeds=lambda: [*of("trust/root")(), *of(layout.KEYRING_PATH)(), *of(layout.POLICY_PATH)()],
    ),
    Target(
        name="verifier-key",
        read=lambda data: parse_vkey(data.decode("latin-1")),
        seeds=lambda: [World().trust.log.to_vkey().encode()],
    ),
    Target(name="meter-record", read=read_chained, seeds=records),
    Target(name="timeline", read=unpack, seeds=timelines),
    Target(name="wall-log", read=parse_wall, seeds=lambda: [WALL]),
    Target(
        name="wall-calibration",
        read=respelled(parse_calibration),
        seeds=lambda: [json.dumps(CERTIFICATE).encode()],
    ),
    Target(name="site", read=respelled(parse_site), seeds=lambda: [json.dumps(PROFILE).encode()]),
    Target(name="gain-document", read=respelled(parse_gain), seeds=lambda: [json.dumps(CERTIFICATE).encode()]),
    Target(name="byproducts", read=read_byproducts, seeds=byproducts),
    Target(name="digest", read=lambda data: parse_sha256_hex(data.decode("latin-1")), seeds=lambda: [b"ab" * 32]),
    Target(name="factors", read=respelled(parse_factors), seeds=lambda: [json.dumps(FACTORS).encode()]),
    Target(name="verdict", read=respelled(parse_summary), seeds=verdicts),
    Target(name="verdict-file", read=respelled(lambda data: open_summary(data, listed())), seeds=verdict_files),
    Target(name="openings", read=parse_openings, seeds=openings),
    Target(name="dataset-index", read=dataset_index.unpack, seeds=indexes),
    Target(name="answer", read=top_label, seeds=lambda: [answer("7"), answer("a longer label")]),
    Target(name="auditor-state", read=respelled(parse_state), seeds=states),
    Target(
        name="auditor-policy",
        read=respelled(parse_auditor_policy),
        seeds=lambda: [json.dumps({"format": POLICY_FORMAT, "tier": "T1", "maximumAgeDays": 3}).encode()],
    ),
    *OUTSIDE,
    *DATASETS,
)


def _pem() -> bytes:
    return Key("a key").public_key.to_pem().encode()


def _quiet(read: Callable[[bytes], object], data: bytes) -> None:
    with suppress(*REFUSALS):
        read(data)
