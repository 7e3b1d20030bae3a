"""What others' programs say of our files: each accepts the honest one and refuses six mutations of it.

`make test-oracles` brings the programs (`python -m tests.oracles`) and runs this folder. A test whose program is absent
is skipped by name and counted, and in CI it fails: an oracle that was not asked has not agreed.

What their yes means differs: openssl and securesystemslib check a signature, rfc8785 a spelling, python-tuf a root's
threshold, Go's x/mod a log (test_go_log.py), @sigstore/verify a signature and its inclusion. None of them looks at
subject, predicate, evidence or completeness.
"""

from __future__ import annotations

import base64
import json

from protocol.attestation.envelope import pae
from protocol.attestation.vsa import Summary, sign_summary, verifier_id_of
from tests.oracles.__main__ import NODE, NODE_MODULES, PYTHON
from tests.oracles.asking import (
    HERE,
    agrees,
    b64,
    flip,
    log_of,
    need,
    openssl_accepts,
    other_signature,
    resized,
    runner_key,
    statement,
)
from tests.worlds.world import Key, Trust


def envelope_mutations(files):
    def signature(change):
        return lambda asked: asked["envelope"]["signatures"][0].update(
            sig=change(asked["envelope"]["signatures"][0]["sig"])
        )

    def payload(change):
        return lambda asked: asked["envelope"].update(payload=change(asked["envelope"]["payload"]))

    return [
        payload(flip),
        payload(lambda text: b64(base64.b64decode(text) + b" ")),
        payload(lambda text: b64(base64.b64decode(text)[:-1])),
        signature(flip),
        signature(lambda _: other_signature(files)),
        lambda asked: asked["envelope"].update(payloadType="application/json"),
    ]


def asked_envelope(files):
    return {"envelope": statement(files)["dsseEnvelope"], "spki": b64(runner_key(files).spki)}


def test_openssl(files, tmp_path):
    need("openssl")

    def judge(asked):
        envelope = asked["envelope"]
        message = pae(envelope["payloadType"], base64.b64decode(envelope["payload"]))
        signature = base64.b64decode(envelope["signatures"][0]["sig"])
        return openssl_accepts(tmp_path, base64.b64decode(asked["spki"]), signature, message)

    agrees(judge, asked_envelope(files), envelope_mutations(files))


def test_securesystemslib(files, ask):
    need("python")
    command = [str(PYTHON), str(HERE / "ask_python.py"), "securesystemslib"]
    agrees(lambda asked: ask(command, asked), asked_envelope(files), envelope_mutations(files))


def test_securesystemslib_reads_a_verdict(files, ask):
    """An auditor's verdict is a DSSE envelope like any other; what it says is SLSA's vocabulary."""
    need("python")
    key = Key("an auditor")
    summary = Summary(
        verifier_id=verifier_id_of(key.public_key),
        version={"jouleseal-verify": "1"},
        time_verified="2026-11-23T18:00:00Z",
        inputs=("ab" * 32,),
        images=("cd" * 32,),
        policy_sha256="ef" * 32,
        passed=True,
        levels=("JOULESEAL_T1",),
    )
    honest = {"envelope": json.loads(sign_summary(summary, key)), "spki": b64(key.public_key.spki)}
    command = [str(PYTHON), str(HERE / "ask_python.py"), "securesystemslib"]
    agrees(lambda asked: ask(command, asked), honest, envelope_mutations(files))


def test_rfc8785(files, ask):
    need("python")

    def spelled(change):
        return lambda asked: asked.update(payload=b64(change(base64.b64decode(asked["payload"]))))

    mutations = [
        spelled(lambda data: data + b"\n"),
        spelled(lambda data: data.replace(b":", b": ", 1)),
        spelled(lambda data: json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode()),
        spelled(lambda data: data.replace(b"campaign", b"\\u0063ampaign", 1)),
        spelled(lambda data: data.replace(b"https://", b"https:\\/\\/", 1)),
        spelled(lambda data: data.replace(b'"batch":1', b'"batch":1.0', 1)),
    ]
    command = [str(PYTHON), str(HERE / "ask_python.py"), "rfc8785"]
    agrees(lambda asked: ask(command, asked), {"payload": statement(files)["dsseEnvelope"]["payload"]}, mutations)


def test_python_tuf(ask):
    need("python")
    root = json.loads(Trust(root_holders=("a", "b", "c"), root_threshold=2).root())

    def edited(change):
        return lambda asked: change(asked["file"])

    mutations = [
        edited(lambda file: file["signed"].update(version=2)),
        edited(lambda file: file["signed"].update(expires="2999-01-01T00:00:00Z")),
        edited(lambda file: file["signed"]["roles"]["root"].update(threshold=1)),
        edited(lambda file: file["signatures"].__delitem__(slice(1, None))),
        edited(lambda file: [item.update(sig="00" * 64) for item in file["signatures"]]),
        edited(lambda file: file["signed"]["roles"]["root"]["keyids"].pop()),
    ]
    command = [str(PYTHON), str(HERE / "ask_python.py"), "tuf"]
    agrees(lambda asked: ask(command, {"root": b64(json.dumps(asked["file"]).encode())}), {"file": root}, mutations)


def test_sigstore_verify(files, ask):
    need("node")
    log = log_of(files)
    honest = {
        "bundle": statement(files, "session-outcome"),
        "key": runner_key(files).to_pem(),
        "log": {"id": b64(log.full_key_id), "key": log.public_key.to_pem(), "origin": log.name},
    }

    def envelope(asked):
        return asked["bundle"]["dsseEnvelope"]

    def entry(asked):
        return asked["bundle"]["verificationMaterial"]["tlogEntries"][0]

    def proof(asked):
        return entry(asked)["inclusionProof"]

    mutations = [
        lambda asked: envelope(asked).update(payload=flip(envelope(asked)["payload"])),
        lambda asked: envelope(asked)["signatures"][0].update(sig=other_signature(files)),
        lambda asked: entry(asked).update(canonicalizedBody=flip(entry(asked)["canonicalizedBody"])),
        lambda asked: proof(asked)["hashes"].__setitem__(0, flip(proof(asked)["hashes"][0])),
        lambda asked: proof(asked)["checkpoint"].update(envelope=resized(proof(asked)["checkpoint"]["envelope"])),
        lambda asked: asked.update(key=Key("somebody else").public_key.to_pem()),
    ]
    command = [str(NODE), str(HERE / "ask_sigstore.js")]
    agrees(lambda asked: ask(command, asked, {"NODE_PATH": str(NODE_MODULES)}), honest, mutations)
