"""What others say of what we publish for them: golden vectors, schemas, and the edge cases of our signatures."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest

from protocol.attestation.keys import Algorithm
from protocol.attestation.schemas import statement_schemas
from tests.golden import vectors
from tests.golden.mutants import mutants
from tests.oracles.__main__ import NODE, PYTHON
from tests.oracles.asking import HERE, b64, need, openssl_accepts
from tests.unit.attestation.edge_cases import NEUTRAL_R, key_cases, signature_cases
from tests.worlds.json_schema import accepts

GOLDEN = sorted(path.name.removesuffix(".payload.json") for path in vectors.FOLDER.glob("*.payload.json"))
MUTANTS_ASKED = 31  # one of so many, and none of
MANY_BYTES = 20_000  # or more: the library takes its time, and every rule is reached many times over
golden = pytest.mark.parametrize("name", GOLDEN)


def vector_of(name):
    return json.loads((vectors.FOLDER / f"{name}.vector.json").read_bytes())


@golden
def test_openssl_accepts_both_signatures_of_every_vector_and_neither_over_other_bytes(name, tmp_path):
    need("openssl")
    vector = vector_of(name)
    message = base64.b64decode(vector["pae"])
    for said in vector["signatures"]:
        key, signature = base64.b64decode(said["publicKey"]), base64.b64decode(said["signature"])
        assert openssl_accepts(tmp_path, key, signature, message)
        assert not openssl_accepts(tmp_path, key, signature, message + b" ")


@golden
def test_rfc8785_spells_every_payload_as_we_do(name, ask):
    need("python")
    payload = (vectors.FOLDER / f"{name}.payload.json").read_bytes()
    command = [str(PYTHON), str(HERE / "ask_python.py"), "rfc8785"]
    assert ask(command, {"payload": b64(payload)})
    assert not ask(command, {"payload": b64(payload + b"\n")})


def test_jsonschema_says_of_every_example_and_its_mutants_what_our_judge_says(tmp_path):
    """The library also finds every schema valid under draft 2020-12's own."""
    need("python")
    schemas, cases = statement_schemas(), []
    for name in GOLDEN:
        for number, (_, statement) in enumerate(mutants(name)):
            if number % MUTANTS_ASKED == 0 and len(json.dumps(statement)) < MANY_BYTES:
                kind = vectors.statements()[name]["predicateType"].split("/")[-2]
                cases.append({"kind": kind, "value": statement, "expected": accepts(schemas[kind], statement)})
    assert {case["expected"] for case in cases} == {True, False}
    path = tmp_path / "asked.json"
    path.write_text(json.dumps({"schemas": schemas, "cases": cases}))
    done = subprocess.run(
        [str(PYTHON), str(HERE / "ask_jsonschema.py"), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"judged": len(cases), "differs": []}


def test_openssl_gives_every_edge_signature_our_verdict_but_one_that_we_refuse(tmp_path):
    need("openssl")
    cases = signature_cases()
    found = {
        (case.algorithm, case.name): openssl_accepts(tmp_path, case.spki, case.signature, case.message)
        for case in cases
        if case.signature
    }
    ours = {(case.algorithm, case.name): case.holds for case in cases if case.signature}
    assert {which for which in ours if found[which] != ours[which]} == {(Algorithm.ED25519, NEUTRAL_R)}


def test_openssl_reads_every_key_that_we_let_in(tmp_path):
    """The other way round it need not: it reads weak and strangely spelled keys, which is why we refuse them first."""
    need("openssl")
    read = {}
    for case in key_cases():
        (tmp_path / "key.der").write_bytes(case.spki)
        command = ["openssl", "pkey", "-pubin", "-inform", "DER", "-in", "key.der", "-noout"]
        read[case] = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert all(read[case] for case in read if case.code is None)
    assert any(read[case] for case in read if case.code == "WEAK_KEY")


def test_node_gives_every_edge_signature_our_verdict(tmp_path):
    need("node")
    cases = signature_cases()
    asked = [{"spki": b64(case.spki), "signature": b64(case.signature), "message": b64(case.message)} for case in cases]
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(asked))
    done = subprocess.run([str(NODE), str(HERE / "ask_node.js"), str(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert {(case.algorithm, case.name): said for case, said in zip(cases, found, strict=True)} == {
        (case.algorithm, case.name): case.holds for case in cases
    }
