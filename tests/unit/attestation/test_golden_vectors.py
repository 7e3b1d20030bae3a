"""The golden vectors are what they were: bytes, ids, signatures and leaves of one example of every statement."""

from __future__ import annotations

import hashlib
import json

import pytest

from protocol.attestation.beside import read_beside
from protocol.attestation.encoding import b64decode
from protocol.attestation.envelope import pae
from protocol.attestation.jcs import loads_canonical
from protocol.attestation.key_event import KEY_EVENT, parse_key_statement
from protocol.attestation.keys import Algorithm, public_key
from protocol.attestation.predicates import read_predicate
from protocol.attestation.schemas import statement_schemas
from protocol.attestation.statement import BESIDE_NAMES, parse_statement, statement_id
from protocol.errors import JoulesealError
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.merkle import leaf_hash
from tests.golden import vectors
from tests.worlds.json_schema import accepts

NAMES = sorted(path.name.removesuffix(".payload.json") for path in vectors.FOLDER.glob("*.payload.json"))
golden = pytest.mark.parametrize("name", NAMES)


def payload_of(name: str) -> bytes:
    return (vectors.FOLDER / f"{name}.payload.json").read_bytes()


def vector_of(name: str) -> dict:
    return json.loads((vectors.FOLDER / f"{name}.vector.json").read_bytes())


def kind_of(payload: bytes) -> str:
    return json.loads(payload)["predicateType"].split("/")[-2]


def test_every_file_is_byte_for_byte_what_the_generator_makes():
    assert vectors.stale() == []


def test_a_changed_byte_is_noticed(tmp_path, monkeypatch):
    for name, data in vectors.files().items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(vectors, "FOLDER", tmp_path)
    assert vectors.stale() == []
    victim = tmp_path / "session-intent.payload.json"
    victim.write_bytes(victim.read_bytes().replace(b"boot-7", b"boot-8"))
    (tmp_path / "nobody.payload.json").write_bytes(b"{}")
    assert vectors.stale() == ["nobody.payload.json", "session-intent.payload.json"]


def test_every_kind_has_an_example():
    assert {kind_of(payload_of(name)) for name in NAMES} == set(statement_schemas())


@golden
def test_it_is_accepted_by_its_schema_and_by_its_reader_alone(name):
    payload, schemas = payload_of(name), statement_schemas()
    kind = kind_of(payload)
    assert [each for each, schema in schemas.items() if accepts(schema, loads_canonical(payload))] == [kind]
    if kind == KEY_EVENT:
        parse_key_statement(payload)
        with pytest.raises(JoulesealError):
            parse_statement(payload)
        return
    statement = parse_statement(payload, (kind,))
    said = read_beside(statement) if kind in BESIDE_NAMES else read_predicate(statement)
    assert said.to_json() == json.loads(payload)["predicate"]
    with pytest.raises(JoulesealError):
        parse_key_statement(payload)


@golden
def test_its_vector_follows_from_its_payload(name):
    payload, vector = payload_of(name), vector_of(name)
    message = b64decode(vector["pae"])
    assert hashlib.sha256(payload).hexdigest() == vector["payloadSha256"]
    assert message == b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload
    assert message == pae(vector["payloadType"], payload)
    assert statement_id(payload) == vector["statementId"] == hashlib.sha256(message).hexdigest()


@golden
@pytest.mark.parametrize("algorithm", Algorithm)
def test_its_signature_holds_and_its_leaf_names_it(name, algorithm):
    vector = vector_of(name)
    (said,) = [item for item in vector["signatures"] if item["algorithm"] == algorithm.value]
    key = public_key(b64decode(said["publicKey"]), algorithm)
    key.verify(b64decode(said["signature"]), b64decode(vector["pae"]))
    entry = said["logEntry"].encode()
    leaf = parse_leaf(entry)
    assert (leaf.key, leaf.signature) == (key, b64decode(said["signature"]))
    assert leaf.pae_sha256.hex() == vector["statementId"]
    assert leaf_hash(entry).hex() == said["leafHash"]
    assert key.key_id == said["keyId"]


def test_the_story_is_one_chain():
    """Each statement of the runner names the one before it by the id that the vectors give."""
    order = ["campaign-plan", "session-intent", "session-outcome-aborted"]
    ids = [vector_of(name)["statementId"] for name in order]
    runners = [json.loads(payload_of(name))["predicate"]["runner"] for name in order]
    assert [runner["prev"] for runner in runners] == [None, *ids[:-1]]
    plan = vector_of("campaign-plan")["statementId"]
    for name in NAMES:
        said = json.loads(payload_of(name))
        assert said["predicate"].get("campaign", plan) == plan, name
