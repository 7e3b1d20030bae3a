"""Brings the tools of `make test-oracles` into build/oracles, and says which of them are there.

Python packages go into a virtual environment of their own, Node packages into a folder, Go's `x/mod` comes from Debian.
A tool that cannot be brought is left absent: the tests then fail and name it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "oracles"
PYTHON = FOLDER / "venv" / "bin" / "python"
NODE_MODULES = FOLDER / "node_modules"
GO_MOD = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/note")
PACKAGES = ("securesystemslib==1.6.0", "cryptography>=45", "rfc8785==0.1.4", "tuf==7.0.1")
NODE_PACKAGES = ("@sigstore/verify@4.1.3", "@sigstore/bundle@5")
DEBIAN_PACKAGES = ("golang-go", "golang-golang-x-mod-dev")


def present() -> dict[str, bool]:
    """Return which oracles are there."""
    return {
        "openssl": shutil.which("openssl") is not None,
        "python": PYTHON.exists() and _quiet([str(PYTHON), "-c", "import securesystemslib, rfc8785, tuf"]),
        "node": shutil.which("node") is not None and (NODE_MODULES / "@sigstore" / "verify").is_dir(),
        "go": shutil.which("go") is not None and GO_MOD.is_dir(),
    }


def bring() -> None:
    """Install what is absent."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    there = present()
    if not there["python"]:
        _quiet([sys.executable, "-m", "venv", str(FOLDER / "venv")])
        _quiet([str(PYTHON), "-m", "pip", "install", "--quiet", *PACKAGES])
    if not there["node"] and shutil.which("npm"):
        _quiet(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(FOLDER), *NODE_PACKAGES])
    if not there["go"]:
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        _quiet([*sudo, "apt-get", "install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES])


def _quiet(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    bring()
    for name, there in present().items():
        print(f"{name:<10}{'there' if there else 'ABSENT'}")
    sys.exit(0 if all(present().values()) else 1)
