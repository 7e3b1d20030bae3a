"""Makes the golden vectors of tests/golden/statements: `python -m tests.golden.vectors` writes, `--check` compares.

One story told in statements, a file each, and beside it the forms of those that have two: an aborted outcome, a failed
result, and the other events of a key. The keys are test keys: their secrets are the SHA-256 of the words in `KEYS`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.attestation.digest import sha256_hex
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, pae
from protocol.attestation.equivalence import commitment_of
from protocol.attestation.jcs import dumps
from protocol.attestation.keys import Algorithm, PublicKey, public_key
from protocol.attestation.statement import STATEMENT_TYPE, predicate_type
from protocol.tlog.leaf import Leaf
from protocol.tlog.merkle import leaf_hash

FOLDER = Path(__file__).parent / "statements"
KEYS = {Algorithm.ED25519: "jouleseal golden ed25519", Algorithm.ECDSA_P256: "jouleseal golden p256"}
MODULE = "python -m tests.golden.vectors"

IMAGE, LAYER, DOCUMENT, PROFILE = (
    sha256_hex(word.encode()) for word in ("an image's configuration", "a layer", "a submission", "a launch profile")
)
DATASET, NONCE, TRACE, CHAIN, TIMELINE, RESPONSES, TEXT, RING, NEWER, RECORDED = (
    sha256_hex(word.encode())
    for word in (
        "points",
        "nonce",
        "record",
        "chain",
        "timeline",
        "responses",
        "VERIFY.txt",
        "keyring 1",
        "keyring 2",
        "set",
    )
)
CELL = "image-classification/latency/fp32"
OTHER_CELL = "image-classification/throughput/fp32"


def spki(algorithm: Algorithm) -> bytes:
    """Return the public half of a test key."""
    return _private(algorithm).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _private(algorithm: Algorithm):
    secret = hashlib.sha256(KEYS[algorithm].encode()).digest()
    if algorithm is Algorithm.ED25519:
        return Ed25519PrivateKey.from_private_bytes(secret)
    return derive_private_key(int.from_bytes(secret, "big"), SECP256R1())


def _sign(algorithm: Algorithm, message: bytes) -> bytes:
    """Sign, on P-256 with the nonce of RFC 6979, so that the bytes are the same every time."""
    key = _private(algorithm)
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    return key.sign(message, ECDSA(SHA256(), deterministic_signing=True))


def statements() -> dict[str, dict]:
    """Return the statements of the story by the names of their files."""
    plan = _of_image("campaign-plan", {**_runner(1, None), **PLAN})
    intent = _of_image("session-intent", {**_runner(2, plan), "campaign": _id(plan), **_session(1)})
    aborted = {**_runner(3, intent), "campaign": _id(plan), "intent": _link(41, intent), **ABORTED}
    again = _of_image(
        "session-intent",
        {**_runner(4, _of_image("session-outcome", aborted)), "campaign": _id(plan), **_session(2)},
    )
    outcome = {**_runner(5, again), "campaign": _id(plan), "intent": _link(43, again), **COMPLETED}
    links = [_link(42, _of_image("session-outcome", aborted)), _link(44, _of_image("session-outcome", outcome))]
    closing = {**_runner(6, _of_image("session-outcome", outcome)), "campaign": _id(plan)}
    figures = {"id": CELL, "outcome": links[1]["id"], **FIGURES}
    return {
        "campaign-plan": plan,
        "session-intent": intent,
        "session-outcome": _of_image("session-outcome", outcome),
        "session-outcome-metrics": _of_image("session-outcome", {**outcome, "runs": METRICS}),
        "campaign-plan-probed": _of_image("campaign-plan", {**_runner(1, None), **PLAN, "cells": [PROBED_CELL]}),
        "session-outcome-probed": _of_image("session-outcome", {**outcome, "probes": PROBES}),
        "session-outcome-aborted": _of_image("session-outcome", aborted),
        "campaign-result": _of_image("campaign-result", {**closing, "outcomes": links, "cells": [figures], **GOOD}),
        "campaign-result-failed": _of_image("campaign-result", {**closing, "outcomes": links[:1], "cells": [], **BAD}),
        **_beside(plan),
        **{f"key-event-{kind}": _of_keyring(said) for kind, said in EVENTS.items()},
    }


def _beside(plan: dict) -> dict[str, dict]:
    """Return what vendor and auditor say of the story, and the plan of one that began with the vendor."""
    submission = _of_image("submission", SUBMITTED)
    word = _of_image("production-equivalence", {"campaign": _id(plan), **WORD})
    challenge = _of_image("equivalence-challenge", {"campaign": _id(plan), "declaration": _id(word), **CHALLENGE})
    finding = {"campaign": _id(plan), "challenge": _link(47, challenge), **FINDING}
    recorded = {"endpoint": {**SERVICE, "kind": "recorded", "recordedSha256": RECORDED}, "verdict": "differ"}
    return {
        "submission": submission,
        "submission-only": _of_image("submission", {**SUBMITTED, "production": None}),
        "campaign-plan-submitted": _of_image(
            "campaign-plan", {**_runner(1, None), **PLAN, "submissionStatement": _link(39, submission)}
        ),
        "production-equivalence": word,
        "equivalence-challenge": challenge,
        "equivalence-finding": _of_image("equivalence-finding", finding),
        "equivalence-finding-recorded": _of_image("equivalence-finding", {**finding, **recorded}),
    }


def _runner(seq: int, before: dict | None) -> dict:
    link = {"id": "runner-1", "keyId": sha256_hex(spki(Algorithm.ED25519)), "bootId": "boot-7", "seq": seq}
    return {"runner": {**link, "prev": None if before is None else _id(before)}}


def _session(attempt: int) -> dict:
    return {"cell": CELL, "attempt": attempt, "declaredOn": f"2026-03-01T12:0{attempt}:00Z"}


def _link(index: int, statement: dict) -> dict:
    return {"logIndex": index, "id": _id(statement)}


def _id(statement: dict) -> str:
    return sha256_hex(pae(IN_TOTO_PAYLOAD_TYPE, dumps(statement)))


def _of_image(name: str, predicate: dict) -> dict:
    return _statement("image-config", IMAGE, name, predicate)


def _of_keyring(predicate: dict) -> dict:
    return _statement("keyring", NEWER, "key-event", predicate)


def _statement(subject: str, digest: str, name: str, predicate: dict) -> dict:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": subject, "digest": {"sha256": digest}}],
        "predicateType": predicate_type(name),
        "predicate": predicate,
    }


PLAN = {
    "submission": {
        "id": "s-1",
        "vendor": "Acme \u2014 Z\u00fcrich",
        "model": "digits \U0001f522",
        "modelVersion": "1",
        "proprietary": True,
        "framework": "onnxruntime",
        "documentSha256": DOCUMENT,
    },
    "vendorSeq": 1,
    "prevPlan": None,
    "image": {"configDigest": f"sha256:{IMAGE}", "manifestDigest": None, "diffIds": [f"sha256:{LAYER}"]},
    "method": "jouleseal-method/1",
    "official": True,
    "hardwareClass": "cpu",
    "devices": [{"uuid": "cpu:0", "name": "CPU"}],
    "cells": [
        {
            "id": cell,
            "task": "image-classification",
            "scenario": cell.split("/")[1],
            "precision": "fp32",
            "batch": batch,
            "points": 1000,
            "runs": 10,
            "dataset": {
                "name": "embedded-digits",
                "sha256": DATASET,
                "sources": {"digits": 1000},
                "thirds": False,
                "shard": False,
            },
        }
        for cell, batch in ((CELL, 1), (OTHER_CELL, 32))
    ],
    "orderRule": "sha256-sort/1",
    "statistic": "mean-of-runs/1",
    "attemptsPerCell": 2,
    "abortReasons": ["INTERRUPTED"],
    "launchProfileSha256": PROFILE,
    "runnerVersion": "0.1.0",
    "startedOn": "2026-03-01T12:00:00Z",
    "deadline": "2026-03-02T12:00:00Z",
}

RUN = {
    "run": 1,
    "window": "run-1",
    "timelineSha256": TIMELINE,
    "queries": 1000,
    "samples": 1000,
    "passes": 1,
    "figures": {"durationNs": "5000000000", "energyMj": {"gpu": {"kind": "unmeasured", "reason": "no accelerator"}}},
    "responses": {"root": RESPONSES, "leaves": 1000},
    "quality": {"metric": "accuracy", "value": "0.9430", "errors": 0},
    "discarded": False,
}
SPOKEN = {"metric": "wer", "value": "0.124500", "errors": 1, "secondary": {"cer": "0.061200"}}
METRICS = [
    {**RUN, "quality": {**SPOKEN, "outputTokens": {"counted": 31_415, "claimed": None}}},
    {**RUN, "run": 2, "window": "run-2", "quality": {"metric": "none", "value": None, "errors": 0}},
]
DISCARDED = {**RUN, "figures": None, "responses": None, "quality": None, "discarded": True}
PROBED_CELL = {
    **PLAN["cells"][0],
    "dataset": {
        **PLAN["cells"][0]["dataset"],
        "shard": True,
        "privateShard": {"points": 100, "number": 1, "saltedSha256": DATASET},
    },
    "probes": "jouleseal-probes/1",
}
PROBE = {
    "number": 101,
    "window": "shard-1",
    "timelineSha256": TIMELINE,
    "queries": 100,
    "samples": 100,
    "figures": {"durationNs": "500000000", "latencyNs": {"median": "4000000", "mean": "5000000"}, "cpuNs": "470000000"},
    "responses": {"root": RESPONSES, "leaves": 100},
    "quality": {
        "metric": "accuracy",
        "value": "0.940000",
        "errors": 0,
        "secondary": {"macro-f1": "0.938000"},
        "outputTokens": {"counted": 100, "claimed": None},
    },
    "discarded": False,
}
PROBES = [
    PROBE,
    {**PROBE, "number": 103, "window": "repeat-1", "queries": 40, "samples": 40, "quality": None},
]
SESSION = {
    "cell": CELL,
    "startedOn": "2026-03-01T12:02:00.25Z",
    "finishedOn": "2026-03-01T12:03:00Z",
    "nonce": NONCE,
    "environment": {"engine": "20.10", "device": {}},
    "resolvedDependencies": [{"name": "dataset:embedded-digits", "digest": {"sha256": DATASET}}],
}
COMPLETED = {
    **SESSION,
    "attempt": 2,
    "status": "completed",
    "abort": None,
    "traceSha256": TRACE,
    "traceChain": CHAIN,
    "runs": [RUN, {**RUN, "run": 2, "window": "run-2"}],
    "byproducts": [{"name": "meter-record", "digest": {"sha256": TRACE}, "mediaType": "application/x-ndjson"}],
}
ABORTED = {
    **SESSION,
    "attempt": 1,
    "status": "aborted",
    "abort": {"code": "INTERRUPTED", "blame": "rig"},
    "traceSha256": None,
    "traceChain": None,
    "runs": [DISCARDED],
    "byproducts": [],
}
FIGURES = {
    "recomputed": {"energyScope": "cpu", "itEnergyWhPer1000Queries": "0.012345", "runs": "10"},
    "committed": {"accuracy": "0.9430"},
}
GOOD = {
    "status": "completed",
    "failure": None,
    "certifiable": False,
    "flags": ["estimated-energy"],
    "byproducts": [{"name": "VERIFY.txt", "digest": {"sha256": TEXT}}],
}
BAD = {**GOOD, "status": "failed", "failure": {"code": "OUT_OF_MEMORY", "blame": "vendor"}, "flags": []}

PRODUCTION = {
    "precisions": ["fp32", "int8"],
    "engine": "onnxruntime",
    "engineVersion": "1.2",
    "differences": ["answers are cached"],
}
SUBMITTED = {
    "submission": PLAN["submission"],
    "production": PRODUCTION,
    "signedOn": "2026-02-28T12:00:00Z",
    "validUntil": "2026-05-28T12:00:00Z",
}
WORD = {
    "vendor": PLAN["submission"]["vendor"],
    "model": PLAN["submission"]["model"],
    "modelVersion": "1",
    "production": PRODUCTION,
    "declaredOn": "2026-03-02T12:00:00Z",
}
CHALLENGE = {
    "commitment": commitment_of(hashlib.sha256(b"an auditor's secret").digest()),
    "drawRule": "sha256-draw-equivalence/1",
    "leavesPerRun": 6,
    "challengedOn": "2026-03-02T13:00:00Z",
}
SERVICE = {
    "kind": "wire",
    "model": "digits",
    "modelVersion": "1",
    "engine": "onnxruntime",
    "engineVersion": "1.2",
    "recordedSha256": None,
}
COMPARED = {"run": 1, "places": [3, 14, 159, 265, 358, 979], "differing": [14]}
FINDING = {
    "secret": hashlib.sha256(b"an auditor's secret").hexdigest(),
    "nonce": NONCE,
    "comparisonRule": "jouleseal-equivalence/1",
    "endpoint": SERVICE,
    "cells": [{"id": CELL, "outcome": sha256_hex(b"an outcome"), "runs": [COMPARED, {**COMPARED, "run": 2}]}],
    "verdict": "differ",
    "foundOn": "2026-03-02T14:00:00Z",
}

EVENT = {
    "keyId": sha256_hex(b"an older runner key"),
    "role": "runner",
    "name": "runner-1",
    "successor": None,
    "lastValidIndex": None,
    "reason": "scheduled",
    "decidedOn": "2026-03-01T12:00:00Z",
    "keyringVersion": 2,
    "previousKeyring": RING,
}
EVENTS = {
    "enrolled": {**EVENT, "event": "enrolled"},
    "renewed": {**EVENT, "event": "renewed", "role": "log", "name": "acme.example/log"},
    "rotated": {
        **EVENT,
        "event": "rotated",
        "successor": sha256_hex(spki(Algorithm.ED25519)),
        "lastValidIndex": 44,
    },
    "revoked": {**EVENT, "event": "revoked", "lastValidIndex": 0, "reason": "the machine was stolen"},
}


def vector(statement: dict) -> dict:
    """Return what anybody gets who encodes, signs and logs the statement: bytes as base64, digests hexadecimal."""
    payload = dumps(statement)
    message = pae(IN_TOTO_PAYLOAD_TYPE, payload)
    return {
        "payloadType": IN_TOTO_PAYLOAD_TYPE,
        "payloadSha256": sha256_hex(payload),
        "pae": _b64(message),
        "statementId": sha256_hex(message),
        "signatures": [_signed(algorithm, message) for algorithm in KEYS],
    }


def _signed(algorithm: Algorithm, message: bytes) -> dict:
    key, signature = public_key(spki(algorithm), algorithm), _sign(algorithm, message)
    leaf = _leaf(key, signature, message)
    return {
        "algorithm": algorithm.value,
        "keyId": key.key_id,
        "publicKey": _b64(key.spki),
        "signature": _b64(signature),
        "logEntry": leaf.decode(),
        "leafHash": leaf_hash(leaf).hex(),
    }


def _leaf(key: PublicKey, signature: bytes, message: bytes) -> bytes:
    return Leaf(pae_sha256=hashlib.sha256(message).digest(), signature=signature, key=key).to_bytes()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def files() -> dict[str, bytes]:
    """Return the golden files by their names: the exact payload of each statement, and its vector."""
    made = {}
    for name, statement in statements().items():
        made[f"{name}.payload.json"] = dumps(statement)
        made[f"{name}.vector.json"] = (json.dumps(vector(statement), indent=1) + "\n").encode()
    return made


def stale() -> list[str]:
    """Return the names of golden files that are not what is made here, or that nothing makes."""
    there = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
    made = files()
    return sorted(name for name in there.keys() | made.keys() if there.get(name) != made.get(name))


def main() -> int:
    """Write or compare the vectors."""
    if "--check" in sys.argv[1:]:
        names = stale()
        if names:
            print(f"{FOLDER.name}: {', '.join(names)}: not what {MODULE} makes", file=sys.stderr)
        return int(bool(names))
    FOLDER.mkdir(exist_ok=True)
    for name, data in files().items():
        (FOLDER / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
