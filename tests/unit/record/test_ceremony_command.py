"""`jouleseal keys` at the front door: what it prints, what it refuses, and that a dry run writes nothing."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator import cli
from orchestrator.commands import keys_step
from orchestrator.record.domain import create, open_domain
from orchestrator.record.keys import load_key
from orchestrator.record.log import read_entries
from orchestrator.record.registrar import Registrar
from protocol.attestation.root import parse_root
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.policy import build_policy
from tests.unit.record.ceremony_world import digest_of, trust_at
from tests.unit.record.record_world import evidence_of, steps

PASSPHRASE = "correct horse battery"


@pytest.fixture(name="desk")
def _desk(tmp_path, monkeypatch):
    """A folder with a home that was made a minute ago, and the keys of three holders and a guest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    create(tmp_path / "home", "runner-1", ["cpu:0"], now=datetime.now(UTC) - timedelta(minutes=1))
    for name in ("ada", "ben", "cy", "guest"):
        assert cli.main(["keys", "new", f"{name}.pem"]) == 0
    return tmp_path


@pytest.fixture(name="keys")
def _keys(desk, capsys):
    """Run `jouleseal keys` and return (exit code, standard output, standard error)."""
    assert desk.is_dir()

    def run(*words):
        capsys.readouterr()
        code = cli.main(["keys", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def refused(result, code, exit_code=2):
    assert result[0] == exit_code, result
    assert f"jouleseal: {code}" in result[2]


def domain_of(desk):
    return f"sha256:{trust_at(desk / 'home').domain}"


def prove(keys, desk, role="auditor", out="guest.proof"):
    code, *_ = keys("prove", "guest.pem", "--role", role, "--domain", domain_of(desk), "--out", out)
    assert code == 0
    return out


def enrol(*more):
    return ("enrol", "guest.proof", "--role", "auditor", "--name", "house", "--organisation", "House", *HOME, *more)


HOME = ("--home", "home")
HOLDERS = ("--holder", "ada.pub", "--holder", "ben.pub", "--holder", "cy.pub", "--threshold", "2")
DRAFTS = ("out/2.root.json", "out/keyring-2.dsse.json")


def to_three_holders(keys):
    for words in (
        ("root-init", *HOLDERS, "--from", "home/trust", "--out", "out"),
        ("root-sign", *DRAFTS[:1], "--key", "home/keys/root.pem", "--from", "home/trust", "--yes"),
        ("root-sign", *DRAFTS, "--key", "ada.pem", "--key", "cy.pem", "--from", "home/trust", "--yes"),
        ("install", *DRAFTS, *HOME),
    ):
        result = keys(*words)
        assert result[0] == 0, result


# New keys.


def test_a_new_key_is_private_and_its_public_half_is_beside_it(desk, keys):
    code, out, _ = keys("new", "sub/x.pem", "--dry-run")
    assert (code, "would make" in out, (desk / "sub").exists()) == (0, True, False)
    (desk / "sub").mkdir()
    code, out, _ = keys("new", "sub/x.pem", "--json")
    told = json.loads(out)
    assert (code, told["written"]) == (0, ["sub/x.pem", "sub/x.pub"])
    assert stat.S_IMODE((desk / "sub/x.pem").stat().st_mode) == 0o600
    assert (desk / "sub/x.pub").read_text() == told["publicKey"]
    assert load_key(desk / "sub/x.pem").public_key.key_id == told["keyId"]
    before = digest_of(desk)
    refused(keys("new", "sub/x.pem"), "FILE_EXISTS")
    refused(keys("new", "sub/x.pub"), "USAGE")
    (desk / "sub/x.pub").unlink()
    assert json.loads(keys("new", "sub/x.pem", "--json")[1])["written"] == ["sub/x.pub"]
    assert digest_of(desk) == before
    (desk / "sub/x.pem").rename(desk / "sub/y.pem")
    refused(keys("new", "sub/x.pem"), "FILE_EXISTS")
    assert before.keys() - digest_of(desk).keys() == {"sub/x.pem"}


def test_a_passphrase_comes_from_a_file_a_descriptor_or_the_terminal(desk, keys, monkeypatch):
    (desk / "p").write_text(PASSPHRASE + "\n")
    refused(keys("new", "f.pem", "--passphrase-file", "p"), "PASSPHRASE_EXPOSED")
    (desk / "p").chmod(0o600)
    assert keys("new", "f.pem", "--passphrase-file", "p")[0] == 0
    reader, writer = os.pipe()
    os.write(writer, PASSPHRASE.encode())
    os.close(writer)
    assert keys("new", "d.pem", "--passphrase-fd", str(reader))[0] == 0
    os.close(reader)
    refused(keys("new", "e.pem", "--passphrase-fd", str(reader)), "USAGE")
    refused(keys("new", "t.pem", "--encrypt"), "USAGE")
    at_the_terminal(monkeypatch, [PASSPHRASE, "another"])
    refused(keys("new", "t.pem", "--encrypt"), "USAGE")
    at_the_terminal(monkeypatch, [PASSPHRASE, PASSPHRASE])
    assert keys("new", "t.pem", "--encrypt")[0] == 0
    for name in "fdt":
        assert "ENCRYPTED" in (desk / f"{name}.pem").read_text()
        load_key(desk / f"{name}.pem", lambda _name: PASSPHRASE.encode())
    assert not (desk / "e.pem").exists()


def at_the_terminal(monkeypatch, answers, line="yes"):
    """Let somebody sit at a terminal, with these passphrases and this answer to a question."""
    left = iter(answers)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(f"{line}\n"))
    monkeypatch.setattr(keys_step.getpass, "getpass", lambda _prompt: next(left))


def test_no_option_takes_a_passphrase_itself():
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["keys", "new", "a.pem", "--passphrase", "secret"])


def test_an_encrypted_holder_signs_with_the_passphrase_and_not_without(desk, keys, monkeypatch):
    (desk / "p").write_text(PASSPHRASE)
    (desk / "p").chmod(0o600)
    keys("new", "enc.pem", "--passphrase-file", "p")
    keys("root-init", "--holder", "enc.pub", "--threshold", "1", "--out", "out")
    sign = ("root-sign", "out/1.root.json", "--key", "enc.pem", "--yes")
    refused(keys(*sign), "KEY_LOCKED", 4)
    (desk / "wrong").write_text("wrong")
    (desk / "wrong").chmod(0o600)
    refused(keys(*sign, "--passphrase-file", "wrong"), "WRONG_PASSPHRASE", 4)
    assert keys(*sign, "--passphrase-file", "p")[0] == 0
    assert parse_root((desk / "out/1.root.json").read_bytes()).version == 1
    at_the_terminal(monkeypatch, [PASSPHRASE])
    assert keys("prove", "enc.pem", "--role", "auditor", "--domain", "ab" * 32, "--out", "proof")[0] == 0
    at_the_terminal(monkeypatch, [""])
    refused(keys("prove", "enc.pem", "--role", "auditor", "--domain", "ab" * 32, "--out", "again"), "BAD_PASSPHRASE")
    assert not (desk / "again").exists()


def test_what_is_signed_is_named_by_a_digest_that_signatures_do_not_change(keys):
    said = keys("root-init", *HOLDERS, "--from", "home/trust", "--out", "out")[1]
    digests = [line.strip() for line in said.splitlines() if "what is signed: sha256:" in line]
    assert len(digests) == 2
    for signer in ("ada.pem", "ben.pem"):
        said = keys("root-sign", *DRAFTS, "--key", signer, "--from", "home/trust", "--yes")[1]
        assert [line.strip() for line in said.splitlines() if "what is signed: sha256:" in line] == digests


# Roots.


def test_a_first_root_goes_from_holder_to_holder_until_it_is_whole(desk, keys):
    code, out, _ = keys("root-init", *HOLDERS, "--out", "out")
    assert code == 0
    assert "2 of 3 holders" in out
    assert "2 to go" in out
    code, out, _ = keys("root-sign", "out/1.root.json", "--key", "ada.pem", "--yes", "--json")
    assert json.loads(out)["complete"] is False
    code, out, _ = keys("root-sign", "out/1.root.json", "--key", "cy.pem", "--yes")
    assert "the threshold is reached" in out
    assert len(parse_root((desk / "out/1.root.json").read_bytes()).signatures) == 2
    refused(keys("root-sign", "out/1.root.json", "--key", "guest.pem", "--yes"), "NOT_A_HOLDER")


def test_a_holder_sees_what_is_signed_and_is_asked(desk, keys, monkeypatch):
    keys("root-init", *HOLDERS, "--from", "home/trust", "--out", "out")
    before = digest_of(desk)
    sign = ("root-sign", *DRAFTS, "--key", "ada.pem", "--from", "home/trust")
    refused(keys(*sign), "NOT_CONFIRMED")
    at_the_terminal(monkeypatch, [], "y")
    refused(keys(*sign), "NOT_CONFIRMED")
    assert digest_of(desk) == before
    at_the_terminal(monkeypatch, [])
    code, out, _ = keys(*sign)
    assert code == 0
    shown, asked = out.index("since version 1: 1 of 1 before"), out.index("Sign this?")
    assert shown < asked
    key_id = load_key(desk / "ada.pem").public_key.key_id
    assert f"+ {key_id}" in out[:asked]
    assert "holders of version 1: 0 signed, 1 must: 1 to go" in out[asked:]


def test_a_next_root_without_the_one_before_says_that_it_is_not_at_hand(keys):
    keys("root-init", *HOLDERS, "--from", "home/trust", "--out", "out")
    _, out, _ = keys("root-sign", DRAFTS[0], "--key", "ada.pem", "--yes")
    assert "the version before is not at hand" in out
    refused(keys("root-sign", DRAFTS[1], "--key", "ada.pem", "--yes"), "NO_ROOT")


def test_a_draft_with_signatures_is_not_written_over(desk, keys):
    init = ("root-init", *HOLDERS, "--from", "home/trust", "--out", "out")
    keys(*init)
    before = digest_of(desk)
    refused(keys(*init), "FILE_EXISTS")
    assert digest_of(desk) == before


def test_what_is_not_signed_by_enough_is_not_installed(desk, keys):
    keys("root-init", *HOLDERS, "--from", "home/trust", "--out", "out")
    keys("root-sign", *DRAFTS, "--key", "ada.pem", "--key", "ben.pem", "--from", "home/trust", "--yes")
    before = digest_of(desk)
    refused(keys("install", *DRAFTS, *HOME), "BELOW_THRESHOLD", 1)
    assert digest_of(desk / "home" / "trust") == {
        name.removeprefix("home/trust/"): digest for name, digest in before.items() if name.startswith("home/trust/")
    }


# Enrolment, rotation, revocation.


def test_on_one_machine_enrolment_rotation_and_revocation_are_one_command_each(desk, keys):
    prove(keys, desk)
    code, out, _ = keys(*enrol())
    assert code == 0, out
    assert "+ auditor house of House" in out
    assert "the key event is in the log at index 0" in out
    code, out, _ = keys("rotate", *HOME, "--json")
    told = json.loads(out)
    assert (code, told["keyringVersion"], told["eventIndex"]) == (0, 3, 1)
    (path,) = told["written"]
    assert stat.S_IMODE((desk / path).stat().st_mode) == 0o600
    code, out, _ = keys("revoke", "house", "--reason", "the laptop was lost", *HOME)
    assert "signs nothing after log index 1" in out
    assert len(read_entries(desk / "home" / "log")) == 3
    with Registrar(open_domain(desk / "home"), boot_id="boot-1") as voice:
        assert len(list(steps(voice, evidence_of(desk / "home")))) == 4


@pytest.mark.parametrize(
    "words",
    [
        ("root-init", *HOLDERS, "--from", "home/trust", "--out", "out"),
        enrol(),
        enrol("--out", "out"),
        ("rotate", *HOME),
        ("rotate", *HOME, "--out", "out"),
        ("revoke", "runner-1", "--reason", "stolen", *HOME),
        ("revoke", "runner-1", "--reason", "stolen", *HOME, "--out", "out"),
        ("prove", "guest.pem", "--role", "vendor", "--domain", "ab" * 32, "--out", "out/p"),
        ("new", "another.pem"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_dry_run_says_what_would_change_and_writes_nothing(desk, keys, words):
    prove(keys, desk)
    before = digest_of(desk)
    code, out, err = keys(*words, "--dry-run")
    assert code == 0, err
    assert "This was a dry run: nothing was written." in out
    assert "What this does:" in out
    assert digest_of(desk) == before
    assert not (desk / "out").exists()


def test_a_dry_run_of_signing_and_installing_writes_nothing(desk, keys):
    keys("root-init", *HOLDERS, "--from", "home/trust", "--out", "out")
    before = digest_of(desk)
    sign = ("root-sign", *DRAFTS, "--key", "ada.pem", "--from", "home/trust", "--dry-run")
    assert keys(*sign)[0] == 0
    assert digest_of(desk) == before
    for signer in ("ada.pem", "ben.pem"):
        keys("root-sign", *DRAFTS, "--key", signer, "--from", "home/trust", "--yes")
    keys("root-sign", DRAFTS[0], "--key", "home/keys/root.pem", "--from", "home/trust", "--yes")
    before = digest_of(desk)
    code, out, _ = keys("install", *DRAFTS, *HOME, "--dry-run")
    assert (code, "would be in force: root version 2, keyring version 2" in out) == (0, True)
    assert digest_of(desk) == before


def test_three_holders_decide_and_the_key_of_init_no_longer(desk, keys):
    to_three_holders(keys)
    prove(keys, desk)
    before = digest_of(desk / "home")
    refused(keys(*enrol()), "BELOW_THRESHOLD")
    refused(keys(*enrol("--key", "ada.pem")), "BELOW_THRESHOLD")
    refused(keys(*enrol("--key", "guest.pem")), "NOT_A_HOLDER")
    refused(keys(*enrol("--key", "home/keys/root.pem")), "NOT_A_HOLDER")
    assert digest_of(desk / "home") == before
    assert keys(*enrol("--key", "ada.pem", "--key", "ben.pem"))[0] == 0


def test_on_a_machine_without_the_log_a_change_is_drafted_from_a_copy(desk, keys):
    (desk / "copy").mkdir()
    for path in (desk / "home" / "trust").iterdir():
        (desk / "copy" / path.name).write_bytes(path.read_bytes())
    away = ("--from", "copy", "--home", "nowhere")
    revoke = ("revoke", "runner-1", "--reason", "stolen", *away)
    refused(keys(*revoke), "USAGE")
    refused(keys(*revoke, "--out", "out"), "NO_LOG")
    refused(keys(*revoke, "--out", "out", "--last-valid-index", "-1"), "USAGE")
    assert keys(*revoke, "--out", "out", "--last-valid-index", "7")[0] == 0
    refused(keys("rotate", "runner-1", *away, "--out", "more"), "USAGE")
    prove(keys, desk, "runner", "next.proof")
    rotate = ("rotate", *away, "--proof", "next.proof", "--last-valid-index", "7", "--out", "more")
    refused(keys(*rotate), "USAGE")
    assert keys(rotate[0], "runner-1", *rotate[1:])[0] == 0
    drafts = ("more/keyring-2.dsse.json", "more/key-event-2.dsse.json")
    assert keys("root-sign", *drafts, "--key", "home/keys/root.pem", "--from", "copy", "--yes")[0] == 0
    refused(keys("install", *drafts, *HOME), "KEY_MISSING", 4)


def test_an_enrolment_without_a_proof_or_with_anothers_is_refused(desk, keys):
    (desk / "guest.proof").write_bytes((desk / "guest.pub").read_bytes())
    refused(keys(*enrol()), "NO_PROOF")
    (desk / "guest.proof").unlink()
    prove(keys, desk, "vendor")
    refused(keys(*enrol()), "OTHER_PURPOSE", 1)
    refused(keys("enrol", "nothing", *enrol()[2:]), "USAGE")
    refused(keys("prove", "guest.pem", "--role", "vendor", "--domain", "here", "--out", "p"), "BAD_FINGERPRINT")
    weak = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    (desk / "weak.pub").write_text(f"-----BEGIN PUBLIC KEY-----\n{weak}\n-----END PUBLIC KEY-----\n")
    refused(keys("root-init", "--holder", "weak.pub", "--threshold", "1", "--out", "out"), "WEAK_KEY", 1)


def witness_policy(desk, *, asked):
    """Write a policy with the guest as a witness, in the quorum or beside it."""
    trust = trust_at(desk / "home")
    guest = WitnessKey(name="audit.example/w1", public_key=load_key(desk / "guest.pem").public_key)
    witnesses = {**trust.policy.witnesses, "audit": guest}
    (desk / "new.txt").write_bytes(build_policy(log=trust.policy.log, witnesses=witnesses, threshold=asked))


def as_witness(*more):
    words = ("--role", "witness", "--name", "audit.example/w1", "--organisation", "House", "--policy", "new.txt")
    return ("enrol", "guest.proof", *words, *HOME, *more)


def test_a_witness_is_enrolled_with_a_policy_whose_draft_goes_with_the_others(desk, keys):
    prove(keys, desk, "witness")
    witness_policy(desk, asked=1)
    code, out, err = keys(*as_witness("--out", "out"))
    assert code == 0, err
    drafts = ("out/keyring-2.dsse.json", "out/key-event-2.dsse.json", "out/policy-2.txt")
    assert all((desk / name).exists() for name in drafts)
    code, out, _ = keys("root-sign", *drafts, "--key", "home/keys/root.pem", "--from", "home/trust", "--yes")
    assert "+ witness audit: audit.example/w1" in out
    assert "~ policy" in out
    refused(keys("install", *drafts[:2], *HOME), "POLICY_REPLACED", 1)
    assert keys("install", *drafts, *HOME)[0] == 0
    assert set(trust_at(desk / "home").policy.witnesses) == {"operator", "audit"}


def test_a_key_event_whose_witness_does_not_answer_waits_and_is_in_force(desk, keys):
    prove(keys, desk, "witness")
    witness_policy(desk, asked=2)
    code, out, _ = keys(*as_witness())
    assert code == 0
    assert "now in force: root version 1, keyring version 2" in out
    assert "the key event waits for its witnesses: audit" in out
    assert (desk / "home/key-events/pending.json").exists()
    refused(keys("rotate", *HOME), "NO_QUORUM", 4)
    assert trust_at(desk / "home").keyring.version == 2


def test_a_rotation_that_cannot_be_installed_leaves_no_key_behind(desk, keys):
    (desk / "home" / "batch.json").write_text("{}")
    before = digest_of(desk / "home" / "keys")
    refused(keys("rotate", *HOME), "CAMPAIGN_OPEN")
    assert digest_of(desk / "home" / "keys") == before


# Show.


def test_show_says_who_may_sign_what_and_for_how_long(desk, keys):
    to_three_holders(keys)
    code, out, _ = keys("show", *HOME)
    assert code == 0
    for words in (
        f"domain   {domain_of(desk)}",
        "root version 1, expires",
        "root version 2, expires",
        "2 of 3 holders sign roots and keyrings",
        "keyring version 2",
        "runner runner-1 of operator",
        "in force, 89 days left",
        "devices: cpu:0",
        "predicates: campaign-plan",
        "signs the log's checkpoints",
        "policy: log",
    ):
        assert words in out, words
    told = json.loads(keys("show", "--from", "home/trust", "--json")[1])
    assert told["roots"][1]["threshold"] == 2
    assert [key["role"] for key in told["keyring"]["keys"]] == ["runner", "log", "witness"]
    assert told["keyring"]["keys"][0]["daysLeft"] == 89
    refused(keys("show", "--home", "nowhere"), "NO_DOMAIN")


def test_show_tells_what_is_past_not_yet_and_revoked(desk, keys):
    assert create(desk / "old", "runner-1", [], now=datetime.now(UTC) - timedelta(days=91))
    assert create(desk / "new", "runner-1", [], now=datetime.now(UTC) + timedelta(days=1))
    assert "expired, past for" in keys("show", "--home", "old")[1]
    assert "(not yet)" in keys("show", "--home", "new")[1]
    keys("revoke", "runner-1", "--reason", "stolen", *HOME)
    assert "ended: signs nothing after log index 0" in keys("show", *HOME)[1]


def test_a_trust_folder_with_a_changed_byte_is_not_shown(desk, keys):
    path = desk / "home" / "trust" / "keyring.dsse.json"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert keys("show", *HOME)[0] == 1
