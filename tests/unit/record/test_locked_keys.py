"""A home and a witness whose keys are encrypted: opened by a passphrase from a file, and by nothing that leaks it."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.books import Books
from orchestrator.commands import passphrase
from orchestrator.commands.passphrase import unlocker
from orchestrator.record.bundle import export
from orchestrator.record.domain import create, open_domain, runner_key_path
from orchestrator.record.keys import encrypt_key, load_key, new_key, read_passphrase_file, save_key
from orchestrator.record.registrar import Registrar
from protocol.errors import JoulesealError, RecordUnsound, UsageError
from tests.unit.record.record_world import campaign, evidence_of, new_domain, steps

SECRET = b"correct horse battery"
KEYS = ("runner", "log", "witness")
SUBMISSION = (
    "schema: 1\nvendor: V\nimage: x:y\nmodel: {name: m, version: '1', licence: open, framework: f}\n"
    "tasks: [{task: text-classification, precisions: [fp32]}]\n"
)


def opens(_name: str) -> bytes:
    return SECRET


def written(path: Path, secret: bytes = SECRET) -> Path:
    path.write_bytes(secret + b"\n")
    path.chmod(0o600)
    return path


def lock(home: Path) -> None:
    for name in KEYS:
        assert encrypt_key(home / "keys" / f"{name}.pem", SECRET)


def refused(code, function, *args):
    with pytest.raises(JoulesealError) as caught:
        function(*args)
    assert caught.value.code == code, str(caught.value)
    return caught.value


@pytest.fixture(name="desk")
def _desk(tmp_path, monkeypatch):
    """A folder with a home of a minute ago and a passphrase; nobody sits at the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    create(tmp_path / "home", "runner-1", ["cpu:0"], now=datetime.now(UTC) - timedelta(minutes=1))
    written(tmp_path / "secret")
    written(tmp_path / "wrong", b"another")
    return tmp_path


@pytest.fixture(name="said")
def _said(capsys):
    """Run the command and return (exit code, everything that it said)."""

    def run(*words):
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        both = capsys.readouterr()
        return code, both.out + both.err

    return run


# The home.


def test_a_home_whose_keys_are_encrypted_records_and_publishes_as_any_other(tmp_path):
    home = new_domain(tmp_path / "home").home
    lock(home)
    assert campaign(open_domain(home, opens))[-1].index == 3
    with Registrar.open(home, opens) as voice:
        assert len(voice.history) == 4
    export(home, 0, 3, evidence_of(home), home / "bundle.tar")  # publishing signs nothing, and needs no passphrase
    books = Books.open(home, opens)
    books.recover_room()  # opens the registrar once more
    books.close()


@pytest.mark.parametrize("name", KEYS)
def test_each_locked_key_is_named_with_what_opens_it(tmp_path, name):
    home = new_domain(tmp_path / "home").home
    encrypt_key(home / "keys" / f"{name}.pem", SECRET)
    error = refused("KEY_LOCKED", Registrar.open, home)
    assert error.observed == f"{name}.pem is encrypted, and no passphrase was given"
    assert error.expected == "the passphrase with which it was encrypted"
    assert "--passphrase-file" in error.hint
    assert error.exit_code == 4
    error = refused("WRONG_PASSPHRASE", Registrar.open, home, lambda _name: b"correct horse")
    assert name in error.observed
    assert "correct horse" not in str(error)


def test_the_next_key_of_a_locked_runner_is_locked_by_the_same_passphrase(desk, said):
    lock(desk / "home")
    assert said("keys", "rotate", "--home", "home")[0] == 4, "KEY_LOCKED"
    code, words = said("keys", "rotate", "--home", "home", "--passphrase-file", "secret")
    assert code == 0, words
    successor = open_domain(desk / "home", opens).runner.key
    path = runner_key_path(desk / "home", successor.key_id)
    refused("KEY_LOCKED", load_key, path)
    assert load_key(path, opens).public_key == successor
    code, words = said("keys", "rotate", "--home", "home", "--out", "drafts", "--passphrase-file", "secret")
    assert code == 0, words
    [drafted] = set((desk / "home/keys").glob("runner-*.pem")) - {path}
    refused("KEY_LOCKED", load_key, drafted)


def test_the_next_key_of_an_open_runner_is_open(desk, said):
    assert said("keys", "rotate", "--home", "home")[0] == 0
    assert open_domain(desk / "home").runner.key.key_id != load_key(desk / "home/keys/runner.pem").public_key.key_id


# `jouleseal keys encrypt`.


def test_keys_are_encrypted_in_place_all_or_none_and_once(desk, said):
    paths = [f"home/keys/{name}.pem" for name in KEYS]
    before = {path: Path(path).read_bytes() for path in paths}
    public = load_key(Path(paths[0])).public_key
    words = ["keys", "encrypt", *paths, "--passphrase-file", "secret"]
    assert "would encrypt" in said(*words, "--dry-run")[1]
    save_key(new_key(), desk / "other.pem", b"another")
    code, text = said("keys", "encrypt", *paths, "other.pem", "--passphrase-file", "secret")
    assert (code, "WRONG_PASSPHRASE" in text) == (4, True)
    assert said("keys", "encrypt", *paths)[0] == 2, "no passphrase, and nobody to type one"
    assert {path: Path(path).read_bytes() for path in paths} == before, "none of these wrote anything"
    assert said(*words)[0] == 0
    locked = {path: Path(path).read_bytes() for path in paths}
    assert load_key(Path(paths[0]), opens).public_key == public
    assert Path(paths[0]).stat().st_mode & 0o777 == 0o600
    code, text = said(*words)
    assert (code, text.count("already")) == (0, 3)
    assert {path: Path(path).read_bytes() for path in paths} == locked


# `jouleseal run`, as far as it goes without an engine.


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ([], (4, "KEY_LOCKED")),
        (["--passphrase-file", "wrong"], (4, "WRONG_PASSPHRASE")),
        (["--passphrase-file", "nowhere"], (2, "NO_PASSPHRASE_FILE")),
        (["--passphrase-file", "secret"], (4, "see that this user may use its socket")),
    ],
)
def test_a_run_opens_the_homes_keys_before_it_asks_the_engine(desk, said, monkeypatch, words, outcome):
    lock(desk / "home")
    Path("submission.yaml").write_text(SUBMISSION)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{desk}/no.sock")
    found, text = said("run", "submission.yaml", "--home", "home", *words)
    code, named = outcome
    assert (found, named in text) == (code, True), text
    assert SECRET.decode() not in text


def test_the_log_asks_its_witnesses_with_the_passphrase(desk, said):
    lock(desk / "home")
    with Registrar.open(desk / "home", opens) as voice:
        next(steps(voice, evidence_of(desk / "home")))
    assert said("log", "checkpoint", "--home", "home")[0] == 4
    code, text = said("log", "checkpoint", "--home", "home", "--passphrase-file", "secret")
    assert (code, "— " in text) == (0, True)
    assert said("log", "checkpoint", "--home", "home", "--as-is")[0] == 0, "who only reads needs no key"


def test_no_command_takes_a_passphrase_as_a_word_or_from_the_environment():
    takes = [action for action in options(cli.build_parser()) if "passphrase" in action.dest]
    assert len(takes) > 10
    assert {action.dest for action in takes} == {"passphrase_file", "passphrase_fd"}
    sources = Path(passphrase.__file__).read_text() + Path(cli.__file__).read_text()
    assert "PASSPHRASE" not in sources, "no variable of the environment is read for one"


def options(parser):
    for action in parser._actions:
        yield action
        for step in (action.choices or {}).values() if hasattr(action, "_name_parser_map") else ():
            yield from options(step)


# A witness.


def test_a_witness_is_made_and_served_with_its_key_encrypted(desk, said):
    init = ("witness", "init", "audit.example/w", "--home", "w", "--log", "home/trust/policy.txt")
    code, text = said(*init, "--passphrase-file", "secret")
    assert code == 0, text
    refused("KEY_LOCKED", load_key, desk / "w/witness.pem")
    assert said("witness", "show", "--home", "w")[0] == 4
    assert said("witness", "show", "--home", "w", "--passphrase-file", "secret")[0] == 0
    command = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"]
    serve = [*command, "witness", "serve", "--home", "w", "--socket", "s"]
    closed = subprocess.run(serve, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert (closed.returncode, "KEY_LOCKED" in closed.stderr) == (4, True)
    with subprocess.Popen([*serve, "--passphrase-file", "secret"], stdout=subprocess.PIPE, text=True) as process:
        assert "audit.example/w" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert process.returncode == 0


# Where a passphrase comes from.


def test_a_pipe_is_read_once_for_all_keys(tmp_path):
    home = new_domain(tmp_path / "home").home
    lock(home)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(SECRET + b"\n",))
    writer.start()
    unlock = unlocker(tmp_path / "pipe")
    writer.join()
    for _ in range(2):
        with Registrar.open(home, unlock):
            pass


def test_at_a_terminal_it_is_typed_once_for_each_key(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    asked = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(passphrase.getpass, "getpass", lambda prompt: asked.append(prompt) or SECRET.decode())
    home = new_domain(tmp_path / "home").home
    lock(home)
    unlock = unlocker(None)
    for _ in range(2):
        open_domain(home, unlock)
    assert asked == [f"passphrase of {name}.pem: " for name in KEYS]


def test_a_services_credential_is_read_where_only_its_own_user_may(tmp_path):
    """systemd gives a service's user its credential by a list of permissions; the mode then shows its mask."""
    path = written(tmp_path / "credential")

    def allow(*entries):
        body = b"".join(struct.pack("<HHI", *entry) for entry in entries)
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + body)

    nobody = 0xFFFFFFFF
    base = [(0x01, 4, nobody), (0x04, 0, nobody), (0x10, 4, nobody), (0x20, 0, nobody)]
    allow(base[0], (0x02, 4, os.geteuid()), *base[1:])
    assert path.stat().st_mode & 0o777 == 0o440
    assert read_passphrase_file(path) == SECRET
    allow(base[0], (0x02, 4, os.geteuid() + 1), *base[1:])
    assert refused("PASSPHRASE_EXPOSED", read_passphrase_file, path).exit_code == UsageError.exit_code
    allow(base[0], (0x02, 4, os.geteuid()), (0x04, 4, nobody), *base[2:])
    refused("PASSPHRASE_EXPOSED", read_passphrase_file, path)


def test_a_passphrase_that_others_can_read_opens_nothing(desk, said):
    lock(desk / "home")
    (desk / "secret").chmod(0o644)
    code, text = said("log", "checkpoint", "--home", "home", "--passphrase-file", "secret")
    assert (code, "PASSPHRASE_EXPOSED" in text) == (2, True)
    assert RecordUnsound.exit_code == 4
