"""Brings the tools of `make test-oracles` into build/oracles, and says which of them are there.

Python packages and Node come as wheels into a virtual environment of their own, Node packages into a folder, both
locked by hash; Go and its `x/mod` come from Debian. A tool that cannot be brought is left absent: the tests that need
it are then skipped by name, and fail where CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "oracles"
PYTHON = FOLDER / "venv" / "bin" / "python"
NODE = PYTHON.with_name("node")
NODE_MODULES = FOLDER / "node_modules"
GO_MOD = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/note")
LOCKED = REPOSITORY / "requirements" / "oracles.txt"
NODE_LOCK = ("package.json", "package-lock.json")
PYTHON_MODULES = "import jsonschema, rfc8785, securesystemslib, tuf"
DEBIAN_PACKAGES = {"openssl": ("openssl",), "go": ("golang-go", "golang-golang-x-mod-dev")}


def required() -> bool:
    """Tell whether an absent oracle is a failure: in CI, where everything is to be asked."""
    return os.environ.get("CI", "") not in {"", "0", "false"}


def present() -> dict[str, bool]:
    """Return which oracles are there."""
    return {
        "openssl": shutil.which("openssl") is not None,
        "python": PYTHON.exists() and _quiet([str(PYTHON), "-c", PYTHON_MODULES]),
        "node": NODE.exists() and (NODE_MODULES / "@sigstore" / "verify").is_dir(),
        "go": shutil.which("go") is not None and GO_MOD.is_dir(),
    }


def bring() -> None:
    """Install what is absent."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    there = present()
    if not there["python"] or not NODE.exists():
        _loud([sys.executable, "-m", "venv", str(FOLDER / "venv")])
        _loud([str(PYTHON), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCKED)])
    if not there["node"] and NODE.exists():
        for name in NODE_LOCK:
            shutil.copyfile(Path(__file__).parent / name, FOLDER / name)
        npm = [str(NODE.with_name("npm")), "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        _loud(npm, {"PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"})
    absent = [package for tool, packages in DEBIAN_PACKAGES.items() if not there[tool] for package in packages]
    if absent and shutil.which("apt-get"):
        as_root = [] if os.geteuid() == 0 else ["sudo"]
        apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        _loud([*apt, "update", "-qq"])
        _loud([*apt, "install", "-qq", "--yes", "--no-install-recommends", *absent])


def _loud(command: list[str], env: dict[str, str] | None = None) -> None:
    """Run a step; where it fails, what it printed is shown, and the oracle stays absent."""
    done = subprocess.run(
        command, cwd=FOLDER, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"oracles: {' '.join(command)} failed:\n{done.stdout}{done.stderr}", file=sys.stderr)


def _quiet(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    bring()
    found = present()
    for name, there in found.items():
        print(f"{name:<10}{'there' if there else 'ABSENT'}")
    sys.exit(1 if required() and not all(found.values()) else 0)
