"""What others' programs say of our files: each accepts the honest one and refuses six mutations of it.

`make test-oracles` brings the programs (`python -m tests.oracles`) and runs this file. A program that is absent fails
the test that needs it, by name: an oracle that was not asked has not agreed.

What their yes means differs: openssl and securesystemslib check a signature, rfc8785 a spelling, python-tuf a root's
threshold, Go's x/mod a checkpoint and an entry's place, @sigstore/verify a signature and its inclusion. None of them
looks at subject, predicate, evidence or completeness.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
from pathlib import Path

import pytest

from protocol.attestation.bundle import POLICY_PATH, read_bundle
from protocol.attestation.envelope import pae
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.vsa import Summary, sign_summary, verifier_id_of
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.policy import parse_policy
from tests.oracles.__main__ import FOLDER, NODE_MODULES, PYTHON, present
from tests.worlds.tampering import statement_file
from tests.worlds.world import Key, Trust, World

HERE = Path(__file__).parent
THERE = present()


@pytest.fixture(name="files", scope="module", params=["world", "museum"])
def _files(request):
    """A bundle of a world in virtual time, and one that a real campaign of the demo left."""
    if request.param == "museum":
        return read_bundle(HERE.parent / "museum" / "sample-1" / "bundle.tar").files
    world = World(idle_ms=110)
    world.campaign()
    return world.bundle()


@pytest.fixture(name="ask")
def _ask(tmp_path):
    """Return a function that asks an oracle about a JSON value and returns its answer."""

    def ask(command, value, env=None):
        path = tmp_path / "asked.json"
        path.write_text(json.dumps(value))
        done = subprocess.run(
            [*command, str(path)], capture_output=True, check=False, env={**os.environ, **(env or {})}
        )
        assert done.returncode in {0, 1}, done.stderr.decode()
        return done.returncode == 0

    return ask


def need(tool):
    assert THERE[tool], f"oracle absent: {tool}; bring it with: make test-oracles"


def b64(data):
    return base64.b64encode(data).decode()


def flip(text):
    """Flip one bit of base64 text's bytes."""
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return b64(bytes(data))


def resized(note):
    """Return a note whose second line, the size, is one more."""
    origin, size, rest = note.split("\n", 2)
    return f"{origin}\n{int(size) + 1}\n{rest}"


def agrees(judge, honest, mutations):
    """Assert that an oracle accepts the honest value and refuses every mutation; there are six."""
    assert judge(honest)
    assert len(mutations) == 6
    for number, mutate in enumerate(mutations):
        changed = copy.deepcopy(honest)
        mutate(changed)
        assert changed != honest, number
        assert not judge(changed), number


def statement(files, name="campaign-plan"):
    return json.loads(files[statement_file(files, name)])


def entry_of(files, name="campaign-plan"):
    return parse_sigstore_bundle(files[statement_file(files, name)]).entry


def runner_key(files):
    return parse_leaf(entry_of(files).body).key


def log_of(files):
    return parse_policy(files[POLICY_PATH]).log


def other_signature(files):
    return statement(files, "campaign-result")["dsseEnvelope"]["signatures"][0]["sig"]


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
        for name, data in (
            ("signed", message),
            ("signature", base64.b64decode(envelope["signatures"][0]["sig"])),
            ("key.der", base64.b64decode(asked["spki"])),
        ):
            (tmp_path / name).write_bytes(data)
        command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in signed -sigfile signature"
        return subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False).returncode == 0

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
    command = ["node", str(HERE / "ask_sigstore.js")]
    agrees(lambda asked: ask(command, asked, {"NODE_PATH": str(NODE_MODULES)}), honest, mutations)


@pytest.fixture(name="go", scope="module")
def _go(tmp_path_factory):
    """Build the Go oracle with Debian's x/mod."""
    need("go")
    out = tmp_path_factory.mktemp("go") / "ask_go"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(FOLDER / "go-cache")}
    done = subprocess.run(
        ["go", "build", "-o", str(out), str(HERE / "ask_go.go")], env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return [str(out)]


def test_go_x_mod(files, ask, go):
    found = entry_of(files, "session-outcome")
    honest = {
        "Note": b64(found.checkpoint),
        "Vkey": log_of(files).to_vkey(),
        "Entry": b64(found.body),
        "Index": found.log_index,
        "Proof": [b64(value) for value in found.hashes],
    }
    witness = next(iter(parse_policy(files[POLICY_PATH]).witnesses.values()))
    mutations = [
        lambda asked: asked.update(Entry=flip(asked["Entry"])),
        lambda asked: asked.update(Index=asked["Index"] - 1),
        lambda asked: asked["Proof"].pop(),
        lambda asked: asked["Proof"].__setitem__(0, flip(asked["Proof"][0])),
        lambda asked: asked.update(Note=b64(resized(base64.b64decode(asked["Note"]).decode()).encode())),
        lambda asked: asked.update(Vkey=witness.to_vkey()),
    ]
    agrees(lambda asked: ask(go, asked), honest, mutations)
