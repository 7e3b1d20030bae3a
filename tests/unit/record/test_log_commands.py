"""What anybody can ask of a log: proofs that stand alone, an audit that finds every edit, a monitor of its keys."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from orchestrator.cli import main
from orchestrator.record import witness_client
from orchestrator.record.domain import open_domain
from orchestrator.record.log import LogWriter, read_entries
from orchestrator.record.registrar import Registrar
from orchestrator.record.witness import LocalWitness
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, sign
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import Statement
from protocol.tlog.checkpoint import Checkpoint, parse_checkpoint
from protocol.tlog.entry import open_checkpoint
from protocol.tlog.leaf import Leaf
from protocol.tlog.merkle import Tree, leaf_hash, verify_consistency
from protocol.tlog.note import Note, parse_note
from protocol.tlog.proofs import parse_growth, parse_inclusion
from protocol.tlog.tiles import encode_entries
from tests.unit.attestation import statements
from tests.unit.attestation.key_maker import ed_signer
from tests.unit.record.record_world import (
    IMAGE,
    campaign,
    evidence_of,
    new_domain,
    record_intent,
    record_plan,
    record_result,
    registrar,
)
from tests.unit.record.witness_world import START, Three, short_folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Shorten the pauses between attempts at witnesses that do not listen."""
    monkeypatch.setattr(witness_client, "PAUSE_S", 0.01)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A domain with one campaign of four statements, to be copied."""
    home = tmp_path_factory.mktemp("log") / "home"
    campaign(new_domain(home))
    return home


@pytest.fixture
def home(made, tmp_path):
    shutil.copytree(made, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def ask(capsys):
    """Run `jouleseal log ...` and return its exit code and what it printed, as JSON where it was asked for."""

    def run(*argv):
        capsys.readouterr()
        code = main(["log", *map(str, argv)])
        out = capsys.readouterr().out
        return code, json.loads(out) if "--json" in argv else out

    return run


def codes(told) -> set[str]:
    return {finding["code"] for finding in told["findings"] if finding["wrong"]}


def notes(told) -> set[str]:
    return {finding["code"] for finding in told["findings"] if not finding["wrong"]}


# Proofs.


def test_an_inclusion_proof_is_checked_with_the_policy_alone(ask, home):
    domain, entries = open_domain(home), read_entries(home / "log")
    for index in range(4):
        code, text = ask("prove", index, "--home", home)
        proof = parse_inclusion(text.encode())
        assert (code, proof.index) == (0, index)
        seen = proof.verify(entries[index], domain.policy)
        assert seen.has_quorum(domain.policy)
    named = next((home / "statements").glob("00000002-*"))
    assert ask("prove", named, "--home", home)[1] == ask("prove", 2, "--home", home)[1]


def test_growth_is_proved_between_every_two_sizes_that_were_signed(ask, home):
    domain, tree = open_domain(home), Tree(leaf_hash(entry) for entry in read_entries(home / "log"))
    for new in range(1, 5):
        for old in range(1, new + 1):
            code, text = ask("prove", "--from", old, "--to", new, "--home", home)
            proof = parse_growth(text.encode())
            signed = open_checkpoint(proof.note, domain.policy).checkpoint
            assert (code, signed.size) == (0, new)
            verify_consistency(
                old_size=old, old_root=tree.root(old), new_size=new, new_root=signed.root, proof=proof.proof
            )
    assert parse_growth(ask("prove", "--from", 0, "--home", home)[1].encode()).proof == ()


@pytest.mark.parametrize(
    "argv", [["prove"], ["prove", "4"], ["prove", "--from", "5"], ["prove", "--from", "1", "--to", "9"], ["prove", "x"]]
)
def test_what_cannot_be_proved_is_a_mistake_of_the_caller(ask, home, argv):
    assert ask(*argv, "--home", home)[0] == 2


def test_a_checkpoint_is_printed_as_it_is_or_after_asking_again(ask, home):
    published = (home / "log/checkpoint").read_text()
    assert ask("checkpoint", "--as-is", "--home", home) == (0, published)
    code, text = ask("checkpoint", "--home", home)
    assert (code, text) == (0, published), "the earlier cosignature stays"
    code, told = ask("checkpoint", "--home", home, "--json")
    assert (code, told["missing"], len(told["signedBy"])) == (0, [], 2)


def test_a_witness_without_a_network_cosigns_by_file_as_the_page_says(ask, capsys):
    """docs/log.md, the section on witnesses without a network, word for word."""
    with short_folder() as folder:
        three = Three(folder, lambda: START)
        home = three.home
        with three.registrar() as voice, pytest.raises(Exception, match="NO_QUORUM"):
            record_plan(voice, evidence_of(home))
        proof, note = folder / "ask.txt", folder / "cosigned.note"
        assert ask("prove", "--from", 0, "--home", home, "--out", proof)[0] == 0
        assert (
            main(["witness", "cosign", str(proof), "--home", str(folder / "witness-auditor"), "--out", str(note)]) == 0
        )
        code, told = ask("checkpoint", "--add", note, "--home", home, "--json")
        assert code == 0
        assert "auditor.example/witness" in told["signedBy"]
        assert [word.partition(":")[0] for word in told["missing"]] == ["vendor"]
        code, told = ask("audit", home, "--json")
        assert (code, told["checked"]["signatures"]) == (0, 1)
    capsys.readouterr()


# The audit.


def test_an_honest_log_is_sound_to_the_last_byte(ask, home):
    code, told = ask("audit", home, "--json")
    assert (code, told["sound"], told["size"], told["findings"]) == (0, True, 4, [])
    assert told["checked"] == {"entries": 4, "checkpoints": 7, "statements": 4, "signatures": 4}
    assert "sound" in ask("audit", home)[1]


def test_a_copy_of_the_log_alone_is_audited_with_the_policy(ask, home, tmp_path):
    shutil.copytree(home / "log", tmp_path / "copy")
    assert ask("audit", tmp_path / "copy", "--json")[0] == 2
    code, told = ask("audit", tmp_path / "copy", "--policy", home / "trust/policy.txt", "--json")
    assert (code, codes(told), notes(told)) == (0, set(), {"NO_KEYRING", "NOT_CHECKED"})


def flip(path, position) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def statement(home, number):
    return next((home / "statements").glob(f"{number:08d}-*.sigstore.json"))


def strip(path) -> None:
    note = parse_note(path.read_bytes())
    path.write_bytes(Note(text=note.text, signatures=note.signatures[:1]).to_bytes())


def gap(home) -> None:
    bundle = home / "log/tile/entries/002.p/1"
    bundle.parent.mkdir()
    bundle.write_bytes(encode_entries([b"x"]))


ATTACKS = {
    "an entry edited": (lambda home: flip(home / "log/tile/entries/000.p/4", 300), "FORK"),
    "an entry cut off": (lambda home: flip(home / "log/tile/entries/000.p/4", 1), "BAD_TILE"),
    "a hash tile edited": (lambda home: flip(home / "log/tile/0/000.p/4", 40), "TILE_FALSE"),
    "a hash tile removed": (lambda home: (home / "log/tile/0/000.p/4").unlink(), "TILE_MISSING"),
    "the log removed": (lambda home: shutil.rmtree(home / "log/tile"), "LOG_ROLLED_BACK"),
    "a checkpoint's root edited": (lambda home: flip(home / "log/checkpoint", 55), "NOTE_FALSE"),
    "a checkpoint's cosignature stripped": (lambda home: strip(home / "log/checkpoint"), "NO_QUORUM"),
    "a journal edited": (lambda home: flip(home / "log/journal", 45), "NOTE_FALSE"),
    "a statement dropped": (lambda home: statement(home, 2).unlink(), "STATEMENT_MISSING"),
    "a statement edited": (lambda home: flip(statement(home, 1), 400), "STATEMENT_FALSE"),
    "a statement under another index": (
        lambda home: statement(home, 1).rename(home / "statements/00000009-session-intent.sigstore.json"),
        "STATEMENT_MISPLACED",
    ),
    "a keyring edited": (lambda home: flip(home / "trust/keyring.dsse.json", 200), "TRUST_FALSE"),
    "a file that is no tile": (lambda home: (home / "log/tile/0/extra").write_text("x"), "BAD_TILE"),
    "entries behind a gap": (gap, "LOG_GAP"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_audit_names(ask, home, attack):
    edit, code = ATTACKS[attack]
    edit(home)
    exit_code, told = ask("audit", home, "--json")
    assert exit_code == 1
    assert code in codes(told), told["findings"]
    assert "WRONG" in ask("audit", home)[1]


def rewritten(home, edit) -> None:
    """Let the operator, who holds every key but no outside witness, write the log anew with edited entries."""
    domain, entries = open_domain(home), read_entries(home / "log")
    edit(entries)
    for part in ("log", "witness"):
        shutil.rmtree(home / part)
    own = LocalWitness(
        folder=home / "witness",
        key=domain.witness_key,
        signer=domain.witness_signer,
        log=domain.policy.log,
        clock=lambda: START,
    )
    with LogWriter(domain, own) as log:
        for entry in entries:
            log.append(entry)
        log.checkpoint()


def other_leaf(number=5) -> bytes:
    return Leaf(pae_sha256=bytes([number]) * 32, signature=bytes(64), key=ed_signer(number).public_key).to_bytes()


@pytest.mark.parametrize(
    "edit",
    [
        lambda entries: entries.pop(1),
        lambda entries: entries.__setitem__(1, other_leaf()),
        lambda entries: entries.reverse(),
        lambda entries: entries.insert(0, other_leaf()),
    ],
    ids=["dropped", "replaced", "reordered", "inserted"],
)
def test_a_log_that_was_written_anew_with_every_key_is_caught_by_the_notes_in_its_statements(ask, home, edit):
    rewritten(home, edit)
    code, told = ask("audit", home, "--json")
    assert code == 1
    assert codes(told) & {"FORK", "LOG_ROLLED_BACK"}
    assert codes(told) & {"NOT_LOGGED", "STATEMENT_MISSING"}


def test_a_note_that_an_auditor_kept_convicts_a_log_that_was_written_anew_whole(ask, home, tmp_path):
    kept = tmp_path / "kept.note"
    shutil.copy(home / "log/checkpoint", kept)
    rewritten(home, lambda entries: entries.__setitem__(slice(0, 4), [other_leaf(number) for number in range(5, 9)]))
    shutil.rmtree(home / "statements")
    assert ask("audit", home, "--json")[0] == 0, "nothing in the folder says otherwise"
    code, told = ask("audit", home, "--note", kept, "--json")
    assert (code, codes(told)) == (1, {"FORK"})


def test_what_is_pending_or_open_is_said_and_not_called_wrong(ask, home):
    domain = open_domain(home)
    with registrar(domain) as voice:
        plan = record_plan(voice, evidence_of(home))
        record_intent(voice, plan)
    code, told = ask("audit", home, "--json")
    assert (code, notes(told)) == (0, {"OPEN_INTENT", "OPEN_CAMPAIGN"})
    with short_folder() as folder:
        three = Three(folder, lambda: START)
        with three.registrar() as voice, pytest.raises(Exception, match="NO_QUORUM"):
            record_plan(voice, evidence_of(three.home))
        code, told = ask("audit", three.home, "--json")
        assert (code, notes(told)) == (0, {"PENDING", "NOT_PUBLISHED"})


# The monitor.


def stolen(home) -> str:
    """Let a thief with the runner's key and access to the log record a statement that the runner knows nothing of."""
    domain = open_domain(home)
    said = Statement(predicate_name="session-intent", subject_sha256=IMAGE, predicate=statements.intent())
    envelope = sign(IN_TOTO_PAYLOAD_TYPE, said.to_payload(), domain.runner_signer)
    signature = envelope.only_signature().signature
    leaf = Leaf(pae_sha256=envelope.pae_sha256, signature=signature, key=domain.runner.key).to_bytes()
    with Registrar(domain, clock=lambda: START, boot_id="b")._log as log:
        log.append(leaf)
        log.checkpoint()
    return envelope.statement_id


def test_the_monitor_finds_what_a_thief_signed_with_the_runners_key(ask, home):
    assert ask("monitor", home, "--json")[0] == 0
    statement_id = stolen(home)
    code, told = ask("monitor", home, "--json")
    assert (code, codes(told)) == (1, {"FOREIGN_ENTRY"})
    (finding,) = told["findings"]
    assert finding["where"] == "entry 4"
    assert statement_id[:16] in finding["observed"]
    assert "its own last entry is 3" in finding["observed"], "where the key is to be revoked"


def test_a_runners_owner_monitors_a_copy_with_its_own_statements_and_key(ask, home, tmp_path):
    shutil.copytree(home / "statements", tmp_path / "own")
    key = open_domain(home).runner.key.key_id
    stolen(home)
    shutil.copytree(home / "log", tmp_path / "copy")
    argv = ["monitor", tmp_path / "copy", "--policy", home / "trust/policy.txt", "--json"]
    code, told = ask(*argv)
    assert (code, notes(told)) == (0, {"NOT_CHECKED"}), "without a key there is nothing to look for, and it says so"
    code, told = ask(*argv, "--key", key)
    assert (code, notes(told)) == (0, {"NOT_CHECKED"})
    code, told = ask(*argv, "--key", key, "--statements", tmp_path / "own")
    assert (code, codes(told)) == (1, {"FOREIGN_ENTRY"})
    assert ask(*argv, "--key", "runner-1")[0] == 2


def test_the_monitor_counts_all_campaigns_of_a_vendor_and_model(ask, home):
    with registrar(open_domain(home)) as voice:
        plan = record_plan(voice, evidence_of(home))
        record_result(voice, plan, [])
        record_plan(voice, evidence_of(home))
    code, told = ask("monitor", home, "--json")
    assert code == 0
    assert [(item["vendorSeq"], item["status"]) for item in told["campaigns"]] == [
        (1, "completed"),
        (2, "completed"),
        (3, "open"),
    ]
    assert "acme/digits campaign 3: open" in ask("monitor", home)[1]


def test_the_monitor_names_a_hidden_campaign(ask, home):
    """Campaign 2 of 3 is in the log, and its plan is not shown."""
    with registrar(open_domain(home)) as voice:
        for _ in range(2):
            record_result(voice, record_plan(voice, evidence_of(home)), [])
    statement(home, 4).unlink()
    code, told = ask("monitor", home, "--json")
    assert code == 1
    assert codes(told) == {"PLAN_MISSING", "FOREIGN_ENTRY"}
    assert any("campaign 2 of 3" in finding["observed"] for finding in told["findings"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"vendorSeq": 3}, "PLAN_MISSING"),
        ({"vendorSeq": 1, "prevPlan": None}, "PLAN_TWICE"),
        ({"prevPlan": statements.OTHER}, "PLAN_CHAIN"),
        ({"prevPlan": None}, "PLAN_CHAIN"),
    ],
)
def test_the_monitor_names_a_plan_that_lies_about_those_before_it(ask, home, changes, code):
    with registrar(open_domain(home)) as voice:
        record_plan(voice, evidence_of(home), **changes)
    exit_code, told = ask("monitor", home, "--json")
    assert exit_code == 1
    assert code in codes(told)


def forks(home, tmp_path, more):
    """Let an operator with every key show one log to one reader and another log to the other."""
    other = tmp_path / "other"
    shutil.copytree(home, other)
    for each, number in ((home, 5), (other, 6)):
        rewritten(each, lambda entries, number=number: entries.append(other_leaf(number)))
    if more:
        with Registrar(open_domain(other), clock=lambda: START, boot_id="b")._log as log:
            log.append(other_leaf(7))
            log.checkpoint()
    return other


@pytest.mark.parametrize("more", [0, 1], ids=["same-size", "larger"])
def test_the_monitor_finds_a_fork_between_two_copies(ask, home, tmp_path, more):
    other = forks(home, tmp_path, more)
    for first, second in ((home, other), (other, home)):
        assert ask("monitor", first, "--json")[0] == 0, "each copy is sound in itself"
        code, told = ask("monitor", first, "--against", second, "--json")
        assert (code, codes(told)) == (1, {"FORK"})
        signed = [parse_checkpoint(parse_note(note.encode()).text) for note in told["notes"]]
        assert len({item.root for item in signed}) == 2, "both signed notes are handed over"
        assert "keep this signed note" in ask("monitor", first, "--against", second)[1]


def test_two_honest_copies_of_different_sizes_are_one_history(ask, home, tmp_path):
    shutil.copytree(home, tmp_path / "older")
    with registrar(open_domain(home)) as voice:
        record_plan(voice, evidence_of(home))
    for first, second in ((home, tmp_path / "older"), (tmp_path / "older", home)):
        assert ask("monitor", first, "--against", second, "--json")[0] == 0


def test_the_monitor_remembers_and_finds_a_rollback_and_a_fork_since(ask, home, tmp_path):
    state = tmp_path / "state.json"
    shutil.copytree(home, tmp_path / "backup")
    with registrar(open_domain(home)) as voice:
        plan = record_plan(voice, evidence_of(home))
    assert ask("monitor", home, "--state", state, "--json")[0] == 0
    remembered = state.read_bytes()

    code, told = ask("monitor", tmp_path / "backup", "--state", state, "--json")
    assert (code, codes(told)) == (1, {"LOG_ROLLED_BACK"})
    assert state.read_bytes() == remembered, "a log that is wrong is not what is remembered"

    rewritten(home, lambda entries: entries.__setitem__(4, other_leaf()))
    code, told = ask("monitor", home, "--state", state, "--json")
    assert code == 1
    assert "FORK" in codes(told)
    assert plan.index == 4

    state.write_bytes(b'{"note":5}')
    assert ask("monitor", home, "--state", state, "--json")[0] == 4


def test_a_monitor_that_follows_ends_when_something_is_wrong(home):
    script = "import sys; from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", script, "log", "monitor", str(home), "--every", "1", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        first = json.loads(process.stdout.readline())
        assert (first["sound"], first["size"]) == (True, 4)
        stolen(home)
        looks = [json.loads(line) for line in process.stdout]
        assert process.wait(30) == 1
    assert codes(looks[-1]) == {"FOREIGN_ENTRY"}
    assert all(look["sound"] for look in looks[:-1])


def test_a_monitor_that_follows_ends_when_it_is_told_to(home):
    script = "import sys; from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", script, "log", "monitor", str(home), "--every", "600", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--listen", "nowhere"],
        ["serve", "--listen", "127.0.0.1:99999"],
        ["cosign", "no-such-file"],
        ["watch", "no-such-file"],
        ["watch", "name+00000000+AAAA"],
        ["init", "audit.example/w"],
    ],
)
def test_mistakes_at_a_witness_are_the_callers(tmp_path, capsys, words):
    assert main(["witness", "init", "audit.example/w", "--home", str(tmp_path)]) == 0
    assert main(["witness", *words, "--home", str(tmp_path)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_log_signed_by_another_key_is_not_this_log(ask, home, tmp_path):
    shutil.copytree(home / "log", tmp_path / "copy")
    domain = open_domain(home)
    text = parse_note((home / "log/checkpoint").read_bytes()).text
    size = parse_checkpoint(text).size
    forged = Checkpoint(origin=domain.policy.log.name, size=size, root=bytes(32)).to_body()
    other = replace(domain.policy.log, public_key=ed_signer(5).public_key)
    note = Note(text=forged, signatures=(other.sign(forged, ed_signer(5)),))
    (tmp_path / "copy/checkpoint").write_bytes(note.to_bytes())
    code, told = ask("monitor", home, "--against", tmp_path / "copy", "--json")
    assert (code, codes(told)) == (1, {"NOTE_FALSE"})


def test_every_statement_says_the_same_in_the_log_and_in_its_file(home):
    entries = read_entries(home / "log")
    for path in (home / "statements").glob("*.sigstore.json"):
        entry = parse_sigstore_bundle(path.read_bytes()).entry
        assert entries[entry.log_index] == entry.body
