"""How the oracles are asked: what they need, what they are given, and one honest value beside six mutations of it."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
from pathlib import Path

import pytest

from protocol.attestation.bundle import POLICY_PATH
from protocol.attestation.sigstore_bundle import LogEntry, parse_sigstore_bundle
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.policy import parse_policy
from tests.oracles.__main__ import present, required
from tests.worlds.tampering import statement_file

HERE = Path(__file__).parent
MUTATIONS = 6
THERE = present()


def need(tool):
    """Return if an oracle is there; otherwise the test is skipped by name, and fails where oracles are required."""
    if not THERE[tool]:
        absent = pytest.fail if required() else pytest.skip
        absent(f"oracle absent: {tool}; bring it with: make test-oracles")


def agrees(judge, honest, mutations):
    """Assert that an oracle accepts the honest value and refuses every mutation; there are six."""
    assert judge(honest)
    assert len(mutations) == MUTATIONS
    for number, mutate in enumerate(mutations):
        changed = copy.deepcopy(honest)
        mutate(changed)
        assert changed != honest, number
        assert not judge(changed), number


def told(command, value, folder, env=None):
    """Ask a program about a JSON value and return its answer."""
    path = folder / "asked.json"
    path.write_text(json.dumps(value))
    done = subprocess.run([*command, str(path)], capture_output=True, check=False, env={**os.environ, **(env or {})})
    assert done.returncode in {0, 1}, done.stderr.decode()
    return done.returncode == 0


def openssl_accepts(folder, spki, signature, message):
    """Ask openssl whether a signature holds; an ECDSA signature is over the message's SHA-256, as ours are."""
    for name, data in (("signed", message), ("signature", signature), ("key.der", spki)):
        (folder / name).write_bytes(data)
    command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in signed -sigfile signature"
    return subprocess.run(command.split(), cwd=folder, capture_output=True, check=False).returncode == 0


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


def statement(files, name="campaign-plan"):
    return json.loads(files[statement_file(files, name)])


def entry_of(files, name="campaign-plan") -> LogEntry:
    return parse_sigstore_bundle(files[statement_file(files, name)]).entry


def runner_key(files):
    return parse_leaf(entry_of(files).body).key


def log_of(files):
    return parse_policy(files[POLICY_PATH]).log


def witness_of(files):
    return next(iter(parse_policy(files[POLICY_PATH]).witnesses.values()))


def other_signature(files):
    return statement(files, "campaign-result")["dsseEnvelope"]["signatures"][0]["sig"]
