"""An environment for each peer, with the versions of its requirements file, made once and kept under build/.

Made anew where the requirements or this interpreter are other ones. Nothing of a peer is ever installed beside ours.
"""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CACHE: Final = HERE.parents[1] / "build" / "peers"
PEERS: Final = ("zeus", "codecarbon", "carbontracker", "nvitop")


def python_of(peer: str) -> Path:
    """Return the interpreter of a peer's environment, which is made where it does not exist yet."""
    wanted = HERE / f"requirements-{peer}.txt"
    folder = CACHE / peer
    python, mark = folder / "bin" / "python", folder / "installed"
    digest = sha256(sys.version.encode() + wanted.read_bytes()).hexdigest()
    if mark.is_file() and mark.read_text(encoding="ascii") == digest:
        return python
    print(f"making the environment of {peer}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(wanted)]
    subprocess.run(install, check=True)
    mark.write_text(digest, encoding="ascii")
    return python


def pinned(peer: str) -> str:
    """Return the version of a peer that its requirements name."""
    lines = (HERE / f"requirements-{peer}.txt").read_text(encoding="ascii").splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{peer}=="))
