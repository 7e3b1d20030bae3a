"""The private shard: points of a dataset's pool that only the operator can name, so that nobody can have prepared them.

Rules:
1. The key is 32 secret bytes in `keys/shard.key` of the domain, made once, its owner's alone (mode 0600).
2. Shard n of a dataset is drawn by `sha256-draw/1` under the seed HMAC-SHA-256(key, "shard" || name || n) from the
   pool, without the points of shards 1 to n-1: a point that was opened once never comes back. `name` is preceded by its
   length in 8 bytes, n are 8 bytes, big-endian.
3. Its salt is HMAC-SHA-256(key, "salt" || name || n). With the plan goes only SHA-256(salt || digest).
4. An auditor may have a shard opened: its points and its salt, from which the logged digest follows. An opened shard is
   retired, and the next number is in force. `shards.json` of the domain keeps the numbers in force.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder, sync_folder, write_atomic
from protocol.attestation.jcs import dumps, loads_canonical
from protocol.errors import DatasetUnavailable, RecordUnsound, UsageError, VerificationError
from protocol.methodology.dataset import Dataset, dataset_digest, draw, salted_digest
from protocol.samples import Point

KEY_FILE = "shard.key"
KEY_BYTES = 32
KEY_MODE = 0o600
NUMBERS_FILE = "shards.json"
NUMBERS_FORMAT = "jouleseal-shards/1"
SHARD_POINTS = 100  # method.md: enough for a mean to be told from the public points' mean
MAX_NUMBER = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Shard `number` of a dataset: its points, numbered from 0, and what is logged of them.

    `salted_sha256` is public, hexadecimal; `salt` (32 bytes) and the points are secret until an auditor has it opened.
    """

    number: int
    points: tuple[Point, ...] = field(repr=False)
    salt: bytes = field(repr=False)
    salted_sha256: str


def draw_shard(dataset: Dataset, key: bytes, number: int = 1, count: int = SHARD_POINTS) -> Shard:
    """Return shard `number` (from 1) of a dataset, `count` points of its pool.

    Raises DatasetUnavailable SHARD_IMPOSSIBLE where the pool holds too few points for that many shards.
    """
    pool = _eligible(dataset)
    if number < 1 or count < 1 or number * count > len(pool):
        raise DatasetUnavailable(
            code="SHARD_IMPOSSIBLE",
            observed=f"{dataset.name}: a pool of {len(pool)} points",
            expected=f"{number * count} for shard {number} of {count} points each",
            hint="its plan says `shard: no`, and it cannot be certified; measure with a dataset that has a pool",
        )
    left = set(pool)
    ids: list[str] = []
    for each in range(1, number + 1):
        ids = draw(_mac(key, b"shard", dataset.name, each).hex(), left, count)
        left.difference_update(ids)
    points = tuple(replace(pool[point_id], index=index) for index, point_id in enumerate(ids))
    salt = _mac(key, b"salt", dataset.name, number)
    return Shard(number=number, points=points, salt=salt, salted_sha256=salted_digest(salt, dataset_digest(points)))


def has_shard(dataset: Dataset, number: int = 1, count: int = SHARD_POINTS) -> bool:
    """Say whether the pool is large enough for shard `number`."""
    return number * count <= len(_eligible(dataset))


def shards_in_force(home: Path, datasets: Mapping[str, Dataset]) -> dict[str, Shard]:
    """Return the private shard in force of every dataset whose pool has room for one, by the dataset's name.

    Raises what `shard_key` and `number_in_force` raise.
    """
    numbers = {name: number_in_force(home, name) for name in datasets}
    roomy = {name: dataset for name, dataset in datasets.items() if has_shard(dataset, numbers[name])}
    if not roomy:
        return {}
    key = shard_key(home)
    return {name: draw_shard(dataset, key, numbers[name]) for name, dataset in roomy.items()}


def shard_key(home: Path) -> bytes:
    """Return the domain's key of private shards, made here where there is none yet.

    Raises RecordUnsound: KEY_EXPOSED where others may read or own it, KEY_UNREADABLE where it is no such key.
    """
    path = home / "keys" / KEY_FILE
    if not path.exists() and not path.is_symlink():
        make_folder(path.parent, mode=0o700)
        _make_key(path)
    with disk_errors(path.name):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            state, key = os.fstat(stream.fileno()), stream.read(KEY_BYTES + 1)
    if not stat.S_ISREG(state.st_mode) or stat.S_IMODE(state.st_mode) != KEY_MODE or state.st_uid != os.geteuid():
        raise RecordUnsound(
            code="KEY_EXPOSED",
            observed=f"{path.name}: mode {stat.S_IMODE(state.st_mode):04o}, owner {state.st_uid}",
            expected="a file of mode 0600 that belongs to whoever runs this",
            hint=f"if nobody else can have read it: chmod 600 and chown it to user {os.geteuid()}; else delete it, "
            "and the shards that were drawn with it are spent",
        )
    if len(key) != KEY_BYTES:
        raise RecordUnsound(
            code="KEY_UNREADABLE",
            observed=f"{path.name}: {len(key)} bytes or more",
            expected=f"{KEY_BYTES} bytes",
            hint="restore it from its backup; without it no shard that was logged can be opened",
        )
    return key


def number_in_force(home: Path, name: str) -> int:
    """Return the number of a dataset's shard that is in force, 1 where none was retired."""
    return _numbers(home).get(name, 1)


def retire(home: Path, name: str, number: int) -> int:
    """Retire shard `number` of a dataset, which has been opened, and return the number that follows it.

    Raises UsageError SHARD_RETIRED where another number is in force.
    """
    numbers = _numbers(home)
    if numbers.get(name, 1) != number:
        raise UsageError(
            code="SHARD_RETIRED",
            observed=f"{name}: shard {number} is not in force",
            expected=f"shard {numbers.get(name, 1)}",
            hint="show the shard in force: jouleseal dataset show --private-shard",
        )
    numbers[name] = number + 1
    write_atomic(home / NUMBERS_FILE, dumps({"format": NUMBERS_FORMAT, "inForce": numbers}))
    return number + 1


def _eligible(dataset: Dataset) -> dict[str, Point]:
    """Return the pool without any point whose id or content is in the set or among the warm-up points."""
    taken = (*dataset.points, *dataset.warm_up)
    ids, inputs = {point.point_id for point in taken}, {point.input for point in taken}
    return {p.point_id: p for p in dataset.pool if p.point_id not in ids and p.input not in inputs}


def _mac(key: bytes, purpose: bytes, name: str, number: int) -> bytes:
    said = name.encode()
    message = purpose + b"\x00" + len(said).to_bytes(8, "big") + said + number.to_bytes(8, "big")
    return hmac.digest(key, message, hashlib.sha256)


def _make_key(path: Path) -> None:
    """Write a new key whole and only where there is no file; one that another command made meanwhile stays."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with disk_errors(path.name):
        try:
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE), "wb"
            ) as stream:
                stream.write(secrets.token_bytes(KEY_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            with suppress(FileExistsError):
                os.link(part, path)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(path.parent)


def _numbers(home: Path) -> dict[str, int]:
    path = home / NUMBERS_FILE
    if not path.exists():
        return {}
    try:
        kept = loads_canonical(path.read_bytes())
        numbers = kept["inForce"] if isinstance(kept, Mapping) and kept.get("format") == NUMBERS_FORMAT else None
    except (OSError, KeyError, VerificationError):
        numbers = None
    if not isinstance(numbers, dict) or not all(
        isinstance(number, int) and 1 <= number <= MAX_NUMBER for number in numbers.values()
    ):
        raise RecordUnsound(
            code="SHARDS_UNREADABLE",
            observed=f"{NUMBERS_FILE} cannot be read",
            expected="the numbers of the shards in force, as this program wrote them",
            hint="restore the file from a backup: without it an opened shard would be used again",
        )
    return dict(numbers)
