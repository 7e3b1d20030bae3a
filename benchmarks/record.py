"""What the record costs: a tree over a million entries, built and streamed, and envelopes beside securesystemslib.

Entries are hashedrekord leaves as ours are, of 406 bytes, each with a digest of its own. *Build* is from the entries in
memory to the tree with every complete subtree and its root. *Stream* is what somebody does who was given the log's
files: every entry bundle is read from the disk, taken apart and hashed, with one hash a level in memory, and the root
compared with the signed one.

Envelopes are signed and verified with one Ed25519 key by both libraries in this one process, over one payload of 4 KB,
in interleaved rounds; ratios are taken within each round. securesystemslib is installed into build/, by version and
digest, and never beside ours.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.record.keys import FileSigner
from protocol.attestation.encoding import b64encode
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, read_envelope, sign
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import dumps, loads_canonical
from protocol.tlog.leaf import Leaf
from protocol.tlog.merkle import Tree, leaf_hash, root_of
from protocol.tlog.tiles import TILE_WIDTH, encode_entries, parse_entries

HERE = Path(__file__).parent
PEER = HERE.parent / "build" / "securesystemslib"
PEER_REQUIREMENTS = HERE / "requirements-securesystemslib.txt"
LEAVES = 1_000_000
TREE_ROUNDS = 3
GOAL_BUILD_S = 3.0
GOAL_STREAM_S = 5.0
ROUNDS = 15
REPEATS = 400
GOAL_RATIO = 1.0
NOISE = 0.02  # two calls of the same function differ by as much on a shared machine
PAYLOAD = b'{"predicate":"' + b"x" * 4000 + b'"}'


def main() -> int:
    """Measure and print; exits 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    found = {"tree": tree(), "envelopes": envelopes()}
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0 if all(row["met"] for rows in found.values() for row in rows) else 1


# A million leaves.


def tree() -> list[dict[str, Any]]:
    """Return the rows of building and of streaming."""
    entries = list(_entries())
    built, streamed = _Times(), _Times()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, start in enumerate(range(0, LEAVES, TILE_WIDTH)):
            (folder / str(number)).write_bytes(encode_entries(entries[start : start + TILE_WIDTH]))
        for _ in range(TREE_ROUNDS):
            gc.collect()
            with built.one():
                root = Tree(map(leaf_hash, entries)).root()
        del entries
        for _ in range(TREE_ROUNDS):
            with streamed.one():
                same = root_of(_streamed(folder)) == root
            if not same:
                raise SystemExit("the streamed root is not the built one")
    return [
        _timed("build the tree", built, GOAL_BUILD_S),
        _timed("stream the log's files and compare the root", streamed, GOAL_STREAM_S),
    ]


def _entries() -> Iterator[bytes]:
    """Yield a million leaves that differ in what they are about."""
    key, first = FileSigner(Ed25519PrivateKey.generate()).public_key, hashlib.sha256(b"").digest()
    leaf = Leaf(pae_sha256=first, signature=bytes(64), key=key).to_bytes()
    before, after = leaf.split(b64encode(first).encode())
    for number in range(LEAVES):
        yield before + b64encode(hashlib.sha256(number.to_bytes(8, "big")).digest()).encode() + after


def _streamed(folder: Path) -> Iterator[bytes]:
    for number, start in enumerate(range(0, LEAVES, TILE_WIDTH)):
        data = (folder / str(number)).read_bytes()
        yield from map(leaf_hash, parse_entries(data, min(TILE_WIDTH, LEAVES - start)))


class _Times:
    """Wall time and this process's own processor time of each round, in seconds."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Time the block as one round."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def _timed(name: str, times: _Times, goal: float) -> dict[str, Any]:
    median = statistics.median(times.wall)
    return {
        "name": name,
        "seconds_median": round(median, 2),
        "cpu_seconds_median": round(statistics.median(times.cpu), 2),
        "rounds": len(times.wall),
        "goal_seconds": goal,
        "met": median < goal,
    }


# Envelopes.


def envelopes() -> list[dict[str, Any]]:
    """Return the rows of signing, of verifying, and of doing so from and to the bytes of a file."""
    pairs = _pairs()
    took: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name, *_ in pairs}
    for number in range(ROUNDS):
        for name, ours, theirs in pairs:
            order = (0, 1) if number % 2 else (1, 0)
            for side in order:
                took[name][side].append(_microseconds((ours, theirs)[side]))
    return [_row(name, ours, theirs) for name, (ours, theirs) in took.items()]


def _pairs() -> list[tuple[str, Callable[[], object], Callable[[], object]]]:
    dsse, signers = _peer()
    key = Ed25519PrivateKey.generate()
    ours, theirs = FileSigner(key), signers.CryptoSigner(key)
    our_key, their_key = ours.public_key, theirs.public_key

    def their_signed() -> Any:  # noqa: ANN401 - the other library's own envelope
        envelope = dsse.Envelope(PAYLOAD, IN_TOTO_PAYLOAD_TYPE, {})
        envelope.sign(theirs)
        return envelope

    def read_ours() -> None:
        fields = Fields(loads_canonical(our_file), "envelope")
        read_envelope(fields, payload_type=IN_TOTO_PAYLOAD_TYPE).verify(our_key)

    signed, other = sign(IN_TOTO_PAYLOAD_TYPE, PAYLOAD, ours), their_signed()
    our_file, their_file = dumps(signed.to_json()), json.dumps(other.to_dict()).encode()
    return [
        ("sign", lambda: sign(IN_TOTO_PAYLOAD_TYPE, PAYLOAD, ours), their_signed),
        ("verify", lambda: signed.verify(our_key), lambda: other.verify([their_key], 1)),
        (
            "read a file strictly and verify",
            read_ours,
            lambda: dsse.Envelope.from_dict(json.loads(their_file)).verify([their_key], 1),
        ),
    ]


def _peer() -> tuple[Any, Any]:
    """Return securesystemslib's modules, installed into build/ where they are not there yet."""
    if not (PEER / "securesystemslib").is_dir():
        print("installing securesystemslib into build/", file=sys.stderr)
        words = ["install", "--quiet", "--no-deps", "--require-hashes", "--target", str(PEER)]
        subprocess.run([sys.executable, "-m", "pip", *words, "-r", str(PEER_REQUIREMENTS)], check=True)
    sys.path.append(str(PEER))
    from securesystemslib import dsse, signer  # type: ignore[import-not-found]  # noqa: PLC0415 - it was just put there

    return dsse, signer


def _microseconds(work: Callable[[], object]) -> float:
    """Return the processor time of one call, which others on this machine lengthen least."""
    begin = time.process_time_ns()
    for _ in range(REPEATS):
        work()
    return (time.process_time_ns() - begin) / REPEATS / 1e3


def _row(name: str, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    goal = None if name.startswith("read") else GOAL_RATIO  # the other does not ask for one spelling of a file
    return {
        "name": name,
        "ours_us": round(statistics.median(ours), 1),
        "theirs_us": round(statistics.median(theirs), 1),
        "ratio": round(ratio, 3),
        "goal_ratio": goal,
        "met": goal is None or ratio <= goal + NOISE,
    }


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print both tables."""
    print(f"{LEAVES:,} entries of 406 bytes, median of {TREE_ROUNDS}")
    for row in found["tree"]:
        seconds = f"{row['seconds_median']:6.2f} s ({row['cpu_seconds_median']:.2f} s of processor)"
        print(f"  {row['name']:<46} {seconds}   goal {row['goal_seconds']:.0f} s")
    print(f"envelopes of {len(PAYLOAD)} bytes, us of processor, medians of {ROUNDS} rounds of {REPEATS}")
    print(f"  {'':<34} {'ours':>8} {'securesystemslib':>18} {'ratio':>7}")
    for row in found["envelopes"]:
        goal = "" if row["goal_ratio"] is None else f"   goal {row['goal_ratio']:.2f}"
        print(f"  {row['name']:<34} {row['ours_us']:8.1f} {row['theirs_us']:18.1f} {row['ratio']:7.3f}{goal}")


if __name__ == "__main__":
    raise SystemExit(main())
