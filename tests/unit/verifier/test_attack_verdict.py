"""The auditor's verdict: written, signed and believed only from those whom the reader lists."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protocol.attestation.digest import sha256_hex
from protocol.attestation.encoding import b64decode
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, sign
from protocol.attestation.jcs import dumps
from protocol.attestation.pem import pem_public_key, pem_signer
from protocol.attestation.vsa import ListedVerifier, open_summary, parse_summary, sign_summary, verifier_id_of
from protocol.errors import Unverifiable, VerificationError
from tests.worlds.tampering import flip
from tests.worlds.world import IMAGE, Key, Trust, World, moment
from tests.worlds.world import START as BEGIN
from verifier.cli import main


def pem_of(name):
    """The world's key of that name, as openssl would have written it."""
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(name="desk")
def _desk(tmp_path):
    """A bundle, its root and keyring, and two auditors' keys of which the keyring lists one."""
    world = World(Trust(auditors=("university",), not_after={"auditor-university": BEGIN + 10**9}))
    world.campaign()
    (tmp_path / "bundle.tar").write_bytes(world.tar())
    (tmp_path / "root.json").write_bytes(world.trust.root())
    (tmp_path / "keyring.json").write_bytes(world.trust.files()["trust/keyring.dsse.json"])
    for name, key in (("auditor", "acme-lab/auditor-university"), ("stranger", "nobody/stranger")):
        path = tmp_path / f"{name}.pem"
        path.write_bytes(pem_of(key))
        path.chmod(0o600)
        (tmp_path / f"{name}.pub").write_text(pem_signer(pem_of(key)).public_key.to_pem())
    return tmp_path


def judge(desk, *more, key="auditor", bundle="bundle.tar", out="verdict.json"):
    command = [str(desk / bundle), "--root", str(desk / "root.json"), "--vsa", str(desk / out)]
    return main([*command, "--key", str(desk / f"{key}.pem"), *more])


def believe(desk, *more, key="auditor", file="verdict.json"):
    return main(["vsa", str(desk / file), "--verifier-key", str(desk / f"{key}.pub"), *more])


def told(capsys):
    return capsys.readouterr().err.split(":")[0]


def test_a_verdict_is_written_and_believed(desk, capsys):
    assert judge(desk) == 0
    capsys.readouterr()
    asked = ["--bundle", str(desk / "bundle.tar"), "--root", str(desk / "root.json"), "--image", f"sha256:{IMAGE}"]
    assert believe(desk, *asked, "--json") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["result"] == "PASSED"
    assert verdict["levels"] == ["JOULESEAL_T1"]
    assert verdict["bundle"] == f"sha256:{sha256_hex((desk / 'bundle.tar').read_bytes())}"
    assert verdict["images"] == [f"sha256:{IMAGE}"]
    assert believe(desk) == 0
    assert "ACCEPTED  a listed verifier signed this; you have not verified the bundle" in capsys.readouterr().out


def test_it_is_what_slsa_specifies(desk):
    """Every field that verification_summary/v1 requires, in the words of the specification."""
    judge(desk)
    payload = json.loads(b64decode(json.loads((desk / "verdict.json").read_bytes())["payload"]))
    assert payload["_type"] == "https://in-toto.io/Statement/v1"
    assert payload["predicateType"] == "https://slsa.dev/verification_summary/v1"
    predicate = payload["predicate"]
    required = {"verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels"}
    assert required | {"inputAttestations"} == set(predicate)
    assert predicate["verifier"]["id"].startswith("https://")
    assert not any(level.startswith("SLSA_") for level in predicate["verifiedLevels"])
    assert [item["digest"] for item in predicate["inputAttestations"]] == [payload["subject"][0]["digest"]]


def test_a_verdict_by_an_unlisted_verifier(desk, capsys):
    assert judge(desk, key="stranger") == 0
    assert believe(desk, key="auditor") == 1
    assert told(capsys) == "VERIFIER_UNLISTED"
    keyring = ["vsa", str(desk / "verdict.json"), "--keyring", str(desk / "keyring.json")]
    assert main([*keyring, "--root", str(desk / "root.json")]) == 1
    assert told(capsys) == "VERIFIER_UNLISTED"


def test_a_keyring_lists_its_auditors_by_name_and_key(desk, capsys):
    keyring = ["vsa", str(desk / "verdict.json"), "--keyring", str(desk / "keyring.json")]
    command = [*keyring, "--root", str(desk / "root.json")]
    assert judge(desk, "--verifier-id", "university") == 0
    assert main(command) == 0
    capsys.readouterr()
    assert judge(desk, "--verifier-id", "somebody-else") == 0
    assert main(command) == 1
    assert told(capsys) == "VERIFIER_ID"


def test_a_verdict_under_a_keyring_of_another_root(desk, capsys):
    judge(desk, "--verifier-id", "university")
    (desk / "other.json").write_bytes(Trust(name="mallory").root())
    command = ["vsa", str(desk / "verdict.json"), "--keyring", str(desk / "keyring.json")]
    assert main([*command, "--root", str(desk / "other.json")]) == 1
    assert told(capsys) == "UNKNOWN_SIGNER"


def test_a_false_bundle_gets_a_verdict_that_names_no_image_and_is_never_accepted(desk, capsys):
    data = (desk / "bundle.tar").read_bytes()
    (desk / "bad.tar").write_bytes(flip(data, data.index(b'{"format":"jouleseal-trace/1"') + 5_000))
    assert judge(desk, bundle="bad.tar") == 1
    capsys.readouterr()
    assert believe(desk) == 1
    assert told(capsys) == "VERDICT_FAILED"
    payload = json.loads(b64decode(json.loads((desk / "verdict.json").read_bytes())["payload"]))
    assert [item["name"] for item in payload["subject"]] == ["bundle"]
    assert payload["predicate"]["verifiedLevels"] == ["FAILED"]


def test_what_is_no_bundle_at_all_gets_one_too(desk, capsys):
    (desk / "noise.tar").write_bytes(b"noise" * 300)
    assert judge(desk, bundle="noise.tar") == 1
    payload = json.loads(b64decode(json.loads((desk / "verdict.json").read_bytes())["payload"]))
    assert payload["subject"][0]["digest"]["sha256"] == sha256_hex(b"noise" * 300)


def test_what_cannot_be_judged_gets_no_verdict(desk, capsys):
    world = World()
    world.campaign(edit={"campaign-plan": lambda plan: plan.update(method="jouleseal-method/9")})
    (desk / "later.tar").write_bytes(world.tar())
    assert judge(desk, bundle="later.tar") == 6
    assert told(capsys) == "NO_VERDICT"
    assert not (desk / "verdict.json").exists()


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--image", f"sha256:{'0' * 64}", "IMAGE_NOT_ASKED_FOR"),
        ("--bundle", "other.tar", "OTHER_BUNDLE"),
        ("--root", "other.json", "OTHER_DEMANDS"),
    ],
)
def test_a_verdict_about_something_else(desk, option, value, code, capsys):
    judge(desk)
    world = World()
    world.campaign(model="other")
    (desk / "other.tar").write_bytes(world.tar())
    (desk / "other.json").write_bytes(Trust(name="mallory").root())
    capsys.readouterr()
    assert believe(desk, option, value if value.startswith("sha256:") else str(desk / value)) == 1
    assert told(capsys) == code


def test_every_flipped_byte_of_a_verdict_is_refused_apart_from_the_hint(desk):
    judge(desk)
    data = (desk / "verdict.json").read_bytes()
    key = pem_public_key((desk / "auditor.pub").read_bytes())
    listed = [ListedVerifier(verifier_id=verifier_id_of(key), key=key)]
    hint = data.index(key.key_id.encode())
    accepted = []
    for at in range(len(data)):
        try:
            open_summary(flip(data, at), listed)
        except (VerificationError, Unverifiable):
            continue
        accepted.append(at)
    assert set(accepted) <= set(range(hint, hint + 64))


CONTRADICTIONS = [
    lambda told: told["predicate"].update(verificationResult="FAILED"),
    lambda told: told["predicate"].update(verifiedLevels=["FAILED"]),
    lambda told: told["predicate"].update(verifiedLevels=[]),
    lambda told: told["predicate"].update(inputAttestations=[]),
    lambda told: told["predicate"]["inputAttestations"].reverse() or told["predicate"]["inputAttestations"].clear(),
    lambda told: told["predicate"].update(resourceUri="https://jouleseal.dev/bundle/sha256:" + "0" * 64),
    lambda told: told["subject"].reverse(),
    lambda told: told["subject"].pop(0),
    lambda told: told["predicate"]["policy"].update(uri="https://example.com/lenient"),
    lambda told: told["predicate"].pop("timeVerified"),
    lambda told: told.update(predicateType="https://slsa.dev/verification_summary/v0.2"),
]


@pytest.mark.parametrize("change", CONTRADICTIONS)
def test_a_verdict_that_contradicts_itself_although_its_verifier_signed_it(desk, change):
    judge(desk)
    payload = json.loads(b64decode(json.loads((desk / "verdict.json").read_bytes())["payload"]))
    change(payload)
    signer = pem_signer((desk / "auditor.pem").read_bytes())
    data = dumps(sign(IN_TOTO_PAYLOAD_TYPE, dumps(payload), signer).to_json())
    listed = [ListedVerifier(verifier_id=verifier_id_of(signer.public_key), key=signer.public_key)]
    with pytest.raises(VerificationError):
        open_summary(data, listed)


def test_a_field_that_is_unknown_here_cannot_be_judged(desk):
    judge(desk)
    payload = json.loads(b64decode(json.loads((desk / "verdict.json").read_bytes())["payload"]))
    payload["predicate"]["slsaVersion"] = "9.0"
    with pytest.raises(Unverifiable):
        parse_summary(dumps(payload))


@pytest.mark.parametrize(
    "window",
    [{"not_before": moment(4 * 10**9)}, {"not_after": moment(BEGIN)}, {"revoked": True}],
)
def test_a_verifier_who_was_not_in_force(desk, window):
    judge(desk)
    key = pem_public_key((desk / "auditor.pub").read_bytes())
    listed = ListedVerifier(verifier_id=verifier_id_of(key), key=key)
    data = (desk / "verdict.json").read_bytes()
    assert open_summary(data, [listed]).passed
    with pytest.raises(VerificationError, match="verdict of") as refused:
        open_summary(data, [replace(listed, **window)])
    assert refused.value.code == "VERIFIER_NOT_IN_FORCE"


def test_two_signatures_are_not_one(desk):
    judge(desk)
    summary = parse_summary(b64decode(json.loads((desk / "verdict.json").read_bytes())["payload"]))
    key = Key("one")
    envelope = json.loads(sign_summary(summary, key))
    envelope["signatures"] *= 2
    with pytest.raises(VerificationError) as refused:
        open_summary(dumps(envelope), [ListedVerifier(verifier_id=summary.verifier_id, key=key.public_key)])
    assert refused.value.code == "BAD_SIGNATURE_COUNT"


@pytest.mark.parametrize(
    "arguments",
    [["--vsa", "x"], ["--key", "x"], ["--verifier-id", "x"]],
)
def test_half_a_request_for_a_verdict_is_a_usage_error(desk, arguments, capsys):
    assert main([str(desk / "bundle.tar"), "--root", str(desk / "root.json"), *arguments]) == 2


def test_a_key_that_others_may_read_is_not_used(desk, capsys):
    (desk / "auditor.pem").chmod(0o644)
    assert judge(desk) == 2
    assert told(capsys) == "KEY_EXPOSED"
    assert not (desk / "verdict.json").exists()


def test_a_key_made_by_openssl_is_a_key(desk, capsys):
    script = (
        "umask 077; openssl genpkey -algorithm ed25519 -out stranger.pem; "
        "openssl pkey -in stranger.pem -pubout -out stranger.pub"
    )
    subprocess.run(["bash", "-euc", script], cwd=desk, check=True, capture_output=True)
    assert judge(desk, key="stranger") == 0
    assert believe(desk, key="stranger") == 0


def test_the_verdict_checks_with_openssl_alone(desk):
    judge(desk)
    script = (
        "import json,base64,sys;e=json.load(open('verdict.json'));p=base64.b64decode(e['payload']);"
        "t=e['payloadType'].encode();open('pae','wb').write(b'DSSEv1 %d %s %d %s'%(len(t),t,len(p),p));"
        "open('sig','wb').write(base64.b64decode(e['signatures'][0]['sig']))"
    )
    subprocess.run(["python3", "-c", script], cwd=desk, check=True)
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "auditor.pub", "-in", "pae"]
    done = subprocess.run([*command, "-sigfile", "sig"], cwd=desk, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
