"""Build the hostile vendors' images: `build()` returns the image of every kind of harm, by its name.

Every image but the first is one instruction on top of it. An image is built again only when its instruction or the
image under it changes. Needs jouleseal/vendor-base:local and no network.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from pathlib import Path

from orchestrator.datasets import store
from orchestrator.drive import codec
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb

HERE = Path(__file__).resolve().parent
CORE = "jouleseal/hostile:local"
KEY_LABEL = "jouleseal.content-key"

# What goes wrong inside the container; server.py knows each by its name.
MODES = (
    "honest",
    "never-opens",
    "never-healthy",
    "exits",
    "slow-load",
    "wrong-count",
    "out-of-order",
    "nan",
    "huge",
    "garbage",
    "dies",
    "hangs",
    "memory-bomb",
    "floods",
    "link",
    "fork-bomb",
    "vendor-status",
    "works-on",
    "keeps-answers",
    "rehearses",
    "works-elsewhere",
    "computes",
    "cached-answers",
    "repeated-answers",
)
# The public points whose answers are baked into an image, of every set that these vendors are tried on.
BAKED_SETS = ("embedded-reviews", "embedded-digits")
# What is wrong with the image itself.
SHAPES = {
    "named-user": "USER sealed",
    "root-user": "USER 0:0",
    "volume": "VOLUME /var/hoard",
    "healthcheck": "HEALTHCHECK --interval=1s CMD touch /tmp/checked",
    "ld-preload": "ENV LD_PRELOAD=/opt/hostile/evil.so",
    "stop-signal": "STOPSIGNAL SIGCONT",
}


def baked_answers() -> str:
    """Return the instruction that bakes the public points into an image, each by a few digits of its digest."""
    found = []
    for name in BAKED_SETS:
        for request in codec.encode_requests(store.load(name).points, 1):
            sample = pb.InferRequest.FromString(request).samples[0]
            sample.ClearField("index")
            found.append(hashlib.sha256(sample.SerializeToString()).hexdigest()[:8])
    return f"ENV HOSTILE=prepared-answers\nENV HOSTILE_ANSWERS={','.join(found)}"


def _docker(*words: str, text: str | None = None) -> str:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(["docker", *words], input=text, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def _key_of(image: str) -> str | None:
    try:
        return _docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{KEY_LABEL}"}}}}', image)
    except RuntimeError:
        return None


def _id_of(image: str) -> str | None:
    try:
        return _docker("image", "inspect", "--format", "{{.Id}}", image)
    except RuntimeError:
        return None


def _build(image: str, key: str, *words: str, text: str | None = None) -> None:
    if _key_of(image) == key:
        return
    superseded = _id_of(image)
    _docker("build", "--quiet", "--network", "none", "--label", f"{KEY_LABEL}={key}", "--tag", image, *words, text=text)
    if superseded and superseded != _id_of(image):
        with contextlib.suppress(RuntimeError):  # the engine refuses where it is in use
            _docker("image", "rm", superseded)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def build(*names: str) -> dict[str, str]:
    """Build the named kinds, all of them without a name; returns their images by name."""
    instructions = {mode: f"ENV HOSTILE={mode}" for mode in MODES} | SHAPES
    instructions["prepared-answers"] = baked_answers()
    base = _docker("image", "inspect", "--format", "{{.Id}}", "jouleseal/vendor-base:local")
    sources = [(HERE / name).read_text(encoding="utf-8") for name in ("Dockerfile", "server.py")]
    core_key = _digest(base, *sources)
    _build(CORE, core_key, str(HERE))
    images = {}
    for name in names or tuple(instructions):
        images[name] = f"jouleseal/hostile-{name}:local"
        text = f"FROM {CORE}\n{instructions[name]}\n"
        _build(images[name], _digest(core_key, text), "-", text=text)
    return images


if __name__ == "__main__":
    build()
