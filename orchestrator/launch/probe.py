"""Asking the probe container, from outside, which ways out of its sandbox it found open.

The host lays two baits that a sandbox must not reach: a server on its loopback, and an abstract unix socket.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.launch.sandbox import Sandbox
from protocol.errors import EngineUnavailable

PROBE_IMAGE = "jouleseal/probe:local"
SCHEMA = "jouleseal-probe/1"
START_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 60.0

_MAX_REPORT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """One way out: its name, whether it is open, and what the probe saw."""

    name: str
    open: bool
    detail: str


def ask(sandbox: Sandbox) -> tuple[Hole, ...]:
    """Return what the probe in this sandbox found; raises EngineUnavailable PROBE_FAILED if it does not answer.

    Whatever `open_socket` raises passes through.
    """
    descriptor = sandbox.open_socket(START_TIMEOUT_S)
    try:
        with baits() as laid, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(ANSWER_TIMEOUT_S)
            probe.connect(f"/proc/self/fd/{descriptor}")
            probe.sendall(json.dumps(laid).encode() + b"\n")
            with probe.makefile("rb") as answer:
                return parse(answer.read(_MAX_REPORT_BYTES))
    except OSError as error:
        raise _failed(f"the probe did not answer: {error}") from error
    finally:
        os.close(descriptor)


@contextmanager
def baits() -> Iterator[dict[str, Any]]:
    """Lay the baits on this host for as long as the context lasts; yields what the probe is told of them."""
    name = f"jouleseal-bait-{secrets.token_hex(8)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as loopback,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
    ):
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {"tcp_port": loopback.getsockname()[1], "abstract": name}


def parse(data: bytes) -> tuple[Hole, ...]:
    """Read a probe's report strictly; raises EngineUnavailable PROBE_FAILED on anything else."""
    try:
        document = json.loads(data)
        holes = tuple(
            Hole(name=str(entry["id"]), open=entry["open"] is not False, detail=str(entry["detail"])[:400])
            for entry in document["holes"]
        )
        schema = document["schema"]
    except (ValueError, TypeError, KeyError) as error:
        raise _failed("the probe's report cannot be read") from error
    if schema != SCHEMA or not holes:
        raise _failed(f"a report of schema {str(schema)[:40]!r} with {len(holes)} checks")
    return holes


def _failed(observed: str) -> EngineUnavailable:
    return EngineUnavailable(
        code="PROBE_FAILED",
        observed=observed,
        expected="the report of a probe that ran inside a sandbox",
        hint="build the probe's image again with `make images`, then run `jouleseal doctor`",
    )
