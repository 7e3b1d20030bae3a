"""The auditor's command: what it needs, what it prints, how it leaves, and that it needs no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds.world import IMAGE, OTHER_IMAGE, Trust, World
from verifier import cli
from verifier.cli import main

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(name="world", scope="module")
def _world():
    world = World()
    world.campaign()
    return world


@pytest.fixture(name="bundle")
def _bundle(world, tmp_path):
    path = tmp_path / "bundle.tar"
    path.write_bytes(world.tar())
    return str(path)


@pytest.fixture(name="root")
def _root(world, tmp_path):
    path = tmp_path / "root.json"
    path.write_bytes(world.trust.root())
    return str(path)


def test_verified_under_the_roots_file_and_under_its_fingerprint(bundle, root, world, capsys):
    assert main([bundle, "--root", root]) == 0
    assert main([bundle, "--root", world.pin]) == 0
    out = capsys.readouterr().out
    assert "VERIFIED  tier T1, not certifiable" in out
    assert "committed, not checked" in out
    assert world.pin in out


def test_json_has_the_whole_report(bundle, root, capsys):
    assert main([bundle, "--root", root, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["tier"], report["certifiable"]) == ("verified", "T1", False)
    assert all(
        set(check) == {"id", "status", "code", "detail", "observed", "expected", "next"} for check in report["checks"]
    )
    (cells,) = report["figures"].values()
    (figures,) = cells.values()
    assert set(figures) == {"recomputed", "committed"}
    assert {signer["role"] for signer in report["signers"]} == {"runner", "log", "witness"}
    assert "estimated-energy" in report["flags"]
    assert report["judgedAt"].endswith("Z")


def test_without_a_pinned_root_it_refuses(bundle, capsys):
    assert main([bundle]) == 2
    assert "ROOT_REQUIRED" in capsys.readouterr().err
    assert main([bundle, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "ROOT_REQUIRED"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--root", "sha256:abc"],
        ["--root", "sha256:" + "A" * 64],
        ["--root", "no/such/root.json"],
        ["--root", "sha256:" + "0" * 64, "--image", "latest"],
        ["--root", "sha256:" + "0" * 64, "--as-of", "yesterday"],
        ["--root", "sha256:" + "0" * 64, "--as-of", "2026-02-30T00:00:00Z"],
        ["--root", "sha256:" + "0" * 64, "--trust-me"],
    ],
)
def test_usage_errors_say_what_to_do(bundle, arguments, capsys):
    assert main([bundle, *arguments]) == 2
    assert "next:" in capsys.readouterr().err


def test_no_such_bundle(root, capsys):
    assert main(["no-such.tar", "--root", root]) == 2
    assert "NO_BUNDLE" in capsys.readouterr().err


def test_an_empty_root_file_is_no_pin(bundle, tmp_path, capsys):
    (tmp_path / "empty").write_bytes(b"")
    assert main([bundle, "--root", str(tmp_path / "empty")]) == 2
    assert "ROOT_UNREADABLE" in capsys.readouterr().err


def test_false_is_1_and_names_the_claim(bundle, capsys):
    assert main([bundle, "--root", "sha256:" + "0" * 64]) == 1
    out = capsys.readouterr().out
    assert "UNTRUSTED_ROOT" in out
    assert "FALSE" in out
    assert "do not rely on anything" in out


def test_another_image_than_asked_about_is_1(bundle, root, capsys):
    assert main([bundle, "--root", root, "--image", f"sha256:{IMAGE}"]) == 0
    assert main([bundle, "--root", root, "--image", f"sha256:{OTHER_IMAGE}"]) == 1
    assert "IMAGE_NOT_ASKED_FOR" in capsys.readouterr().out


def test_as_of(bundle, root, capsys):
    assert main([bundle, "--root", root, "--as-of", "2023-11-15T00:00:00Z"]) == 0
    assert main([bundle, "--root", root, "--as-of", "2020-01-01T00:00:00Z"]) == 1
    assert "WITNESSED_LATER" in capsys.readouterr().out


def test_what_is_unknown_here_is_6(tmp_path, root, capsys):
    later = World()
    later.campaign(edit={"campaign-plan": lambda plan: plan.update(method="jouleseal-method/9")})
    (tmp_path / "later.tar").write_bytes(later.tar())
    assert main([str(tmp_path / "later.tar"), "--root", root, "--json"]) == 6
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "unjudged"
    (unknown,) = [check for check in report["checks"] if check["code"]]
    assert (unknown["status"], unknown["code"]) == ("not-checked", "UNKNOWN_METHOD")
    assert main([str(tmp_path / "later.tar"), "--root", root]) == 6
    assert "CANNOT BE JUDGED" in capsys.readouterr().out


def test_our_own_fault_is_70_and_never_1(bundle, root, capsys, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("verifier.checks.recompute.published", broken)
    assert main([bundle, "--root", root, "--json"]) == 70
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "INTERNAL"


def test_help_names_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    assert "exit codes: 0 verified, 1 false, 2 usage, 6 cannot be judged, 70 our own fault" in capsys.readouterr().out


def test_inspect_prints_without_trusting_and_says_so(bundle, capsys):
    assert main(["inspect", bundle]) == 0
    out = capsys.readouterr().out
    assert out.startswith("NOT VERIFIED")
    assert out.rstrip().splitlines()[-1].startswith("NOT VERIFIED")
    assert "image-classification/latency/fp32" in out
    assert main(["inspect", bundle, "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["verified"] is False
    assert [statement["says"] for statement in seen["statements"]] == [
        "campaign plan",
        "session intent",
        "session outcome",
        "campaign result",
    ]


def test_inspect_shows_what_is_damaged(world, tmp_path, capsys):
    files = world.bundle()
    path = next(path for path in files if path.endswith("campaign-plan.sigstore.json"))
    files[path] = b"{}"
    (tmp_path / "damaged.tar").write_bytes(world.tar(files))
    assert main(["inspect", str(tmp_path / "damaged.tar"), "--json"]) == 0
    assert "BAD_FIELD" in json.loads(capsys.readouterr().out)["statements"][0]["unreadable"]


def test_inspect_of_garbage_is_1(tmp_path, capsys):
    (tmp_path / "garbage").write_bytes(b"garbage")
    assert main(["inspect", str(tmp_path / "garbage")]) == 1
    assert "BAD_TAR" in capsys.readouterr().err


def test_a_bundle_cannot_steer_the_terminal(tmp_path, capsys):
    """A vendor whose name rewrites the last line with a better verdict."""
    world = World()
    evil = "acme\u202e\u009b31mVERIFIED tier T4\u2028"
    world.campaign(edit={"campaign-plan": lambda plan: plan["submission"].update(vendor=evil)})
    (tmp_path / "evil.tar").write_bytes(world.tar())
    main([str(tmp_path / "evil.tar"), "--root", world.pin])
    main(["inspect", str(tmp_path / "evil.tar")])
    out = capsys.readouterr().out
    assert "acme" in out
    assert not set("\u202e\u009b\u2028\x1b") & set(out)


def test_a_reader_that_leaves_early_is_not_told_that_all_is_well(bundle, root):
    command = f"{sys.executable} -m verifier {bundle} --root {root} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr


def test_it_needs_no_network(bundle, root):
    """In a namespace without any interface, and with nothing but the standard file descriptors."""
    done = subprocess.run(
        [
            "unshare",
            *([] if os.geteuid() == 0 else ["-r"]),
            "-n",
            sys.executable,
            "-m",
            "verifier",
            bundle,
            "--root",
            root,
            "--json",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["verdict"] == "verified"


def test_it_opens_no_socket_starts_no_process_and_writes_nothing(bundle, root, tmp_path):
    """An audit hook sees every attempt, whatever module makes it."""
    script = (
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event.startswith(('socket.', 'subprocess.', 'os.exec', 'os.posix_spawn', 'os.fork', 'os.system')):\n"
        "        raise SystemExit(f'forbidden: {event}')\n"
        "    if event == 'open' and isinstance(arguments[1], str) and set(arguments[1]) & set('wax+'):\n"
        "        raise SystemExit(f'forbidden: open {arguments[0]} {arguments[1]}')\n"
        "from verifier.cli import main\n"
        "import verifier.verify, verifier.screen\n"
        "sys.addaudithook(hook)\n"
        f"raise SystemExit(main([{bundle!r}, '--root', {root!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-B", "-c", script], cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()[-500:]


def test_importing_the_command_loads_no_cryptography():
    script = (
        "import sys, verifier.cli; print([m for m in ('cryptography', 'rich', 'protocol.wire') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


def test_a_whole_verification_needs_nothing_but_cryptography(bundle, root):
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        allowed = {'protocol', 'verifier', 'cryptography', '_cffi_backend', *sys.stdlib_module_names}\n"
        "        if name.split('.')[0] not in allowed:\n"
        "            raise ModuleNotFoundError(f'needs {name}')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from verifier.cli import main\n"
        f"raise SystemExit(main([{bundle!r}, '--root', {root!r}]) or main(['inspect', {bundle!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"VERIFIED  tier T1" in done.stdout


def test_a_terminal_gets_colours_unless_it_asks_for_none(bundle, root, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main([bundle, "--root", root]) == 0
    assert "\x1b[32mpassed\x1b[0m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main([bundle, "--root", root]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_entry_leaves_with_mains_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jouleseal-verify"])
    with pytest.raises(SystemExit) as leaving:
        cli.entry()
    assert leaving.value.code == 2


def test_who_signed_and_which_quorum_are_said(tmp_path, capsys):
    world = World(Trust(witnesses=("a", "b"), threshold=2, organisations={"witness-b": "vendor"}))
    world.campaign()
    (tmp_path / "bundle.tar").write_bytes(world.tar())
    assert main([str(tmp_path / "bundle.tar"), "--root", world.pin]) == 0
    out = capsys.readouterr().out
    assert "signed by   runner runner-1 of operator (4 statements)" in out
    assert "witness acme-lab.example/b of vendor" in out
    assert "2 of 2 witnesses" in out
    assert "tier T3" in out
