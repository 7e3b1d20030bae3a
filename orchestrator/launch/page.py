"""The page docs/seal.md, made from the profile, its reasons and the system call families, so that it cannot go stale.

`python -m orchestrator.launch.page [--check]` writes or compares the page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from orchestrator.launch.facts import EngineFacts
from orchestrator.launch.layout import MEMORY_FLOOR_BYTES
from orchestrator.launch.profile import LaunchProfile, build_profile
from orchestrator.launch.reasons import REASONS
from orchestrator.launch.seccomp import FAMILIES
from protocol.submission import Resources, SealedImage
from protocol.units import MIB

_PAGE = Path(__file__).parents[2] / "docs" / "seal.md"
_DIGEST = f"sha256:{'0' * 64}"

_INTRODUCTION = """\
# The seal

Made by `python -m orchestrator.launch.page`; a test compares it with the code.

A vendor's image runs under one launch profile. It is data: built from the image, the submission's resources, the
leased device and the engine's facts; hashed into the campaign's plan (`launchProfileSha256`); sent to the engine;
read back from the engine *and* from the kernel; compared field by field. A sandbox that differs is destroyed before
anything is asked of it (`PROFILE_DIFFERS`). `jouleseal check` runs the same profile with a capped log in place of
none.

## Every field and its reason

The values are those of a small image with one VOLUME in the CPU class on an engine with control groups v1.
"""

_REST = """\
## The socket

The model listens on `JOULESEAL_SOCKET`. The orchestrator does not follow that path: it walks from the root of the
sandbox's first process, one component at a time, with `O_PATH | O_NOFOLLOW`; what it finds must be a socket; it
connects to that very inode through `/proc/self/fd/N`; and the process that listens must be in exactly the sandbox's
control groups.

| code | what was found |
|---|---|
| `SOCKET_MISSING` | nothing there when the start deadline passed |
| `SOCKET_NOT_CONNECTABLE` | a socket on which nothing listens |
| `SOCKET_IS_LINK` | a link, to a socket of the host for instance |
| `SOCKET_IS_NO_SOCKET` | a file, a pipe or a folder |
| `SOCKET_NOT_OURS` | a listener outside the sandbox |

## What the probe tries

`jouleseal doctor` runs `jouleseal/probe:local` under this profile. From inside it tries vsock, netlink, raw and
packet sockets, every other address family, TCP, DNS, the host's loopback and abstract sockets, io_uring, bpf, perf,
ptrace, keyrings, userfaultfd, mounts, namespaces, file handles, the kernel log, real-time scheduling, writes outside
memory, the image's VOLUME, execution in `/tmp`, filling the socket's folder, devices, power meters, capabilities, and
whether the image's HEALTHCHECK, `ENV LD_PRELOAD` and `NVIDIA_VISIBLE_DEVICES` had any effect. A check that cannot be
judged is open.

## You must not assume

- that root on the host cannot read a sandbox's memory and files: it can;
- that a sandbox does not see the host's load: `/proc/stat` and `/proc/meminfo` have no namespace;
- that `/cache` does not execute: compiled kernels are loaded from it, and anonymous memory can always be executed;
- that the management library is absent under CDI: what the device's CDI specification mounts is there; under NVIDIA's
  device request only `compute` is asked for;
- that `LD_LIBRARY_PATH` of the image is set: a vendor whose server needs it sets it in its entry point.
"""


def example_profile() -> LaunchProfile:
    """Return the profile that the page shows."""
    image = SealedImage(
        config_digest=_DIGEST,
        diff_ids=(),
        manifest_digest=None,
        user="65532:65532",
        volumes=("/data",),
        entrypoint=("/server",),
        env_names=("PATH",),
        size_bytes=0,
    )
    return build_profile(image, Resources(memory_bytes=512 * MIB, cpus=1, shm_bytes=0), None, example_facts())


def example_facts() -> EngineFacts:
    """Return the facts of a plain engine with control groups v1."""
    return EngineFacts(
        engine_id="EXAMPLE",
        version="20.10.24",
        api_version="1.41",
        kernel="6.1.0",
        architecture="x86_64",
        operating_system="Debian GNU/Linux 12 (bookworm)",
        cgroup_version="1",
        cgroup_driver="cgroupfs",
        rootless=False,
        user_namespaces=False,
        seccomp=True,
        storage_driver="overlay2",
        containerd_store=False,
        runtimes=("runc",),
        cdi=False,
        gpu_runtime=False,
        swap_limit=True,
        pids_limit=True,
        cpu_ids=(0, 1),
        memory_bytes=64 * MEMORY_FLOOR_BYTES,
        nofile_hard=1_048_576,
    )


def page() -> str:
    """Return the page."""
    profile = example_profile()
    rows = [f"| `{f.name}` | {_shown(getattr(profile, f.name))} | {REASONS[f.name]} |" for f in fields(profile)]
    calls = [f"| {name} | {len(set(names.split()))} | {reason} |" for name, (reason, names) in FAMILIES.items()]
    return "\n".join(
        [
            _INTRODUCTION,
            "| field | value | reason |",
            "|---|---|---|",
            *rows,
            "",
            "## System calls",
            "",
            "What is not listed is refused. `clone` may make no namespace, `clone3` answers ENOSYS, `socket` may make",
            "unix and internet sockets (loopback is all they reach) and netlink's route protocol. The list is",
            "`orchestrator/launch/seccomp.json`.",
            "",
            "| family | calls | reason |",
            "|---|---|---|",
            *calls,
            "",
            _REST,
        ]
    )


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        if value and all(isinstance(item, tuple) for item in value):
            return "<br>".join(f"`{name}={setting}`" for name, setting in value)
        return "<br>".join(_shown(item) for item in value) or "none"
    if hasattr(value, "target"):
        return f"`{value.target}` {','.join(getattr(value, 'options', ()))}"
    if hasattr(value, "name") and hasattr(value, "value"):
        return f"`{value.name}={value.value}`"
    return f"`{value}`"


def main(argv: Sequence[str]) -> int:
    """Write the page, or with `--check` return 1 if the committed one differs."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.launch.page")
    parser.add_argument("--check", action="store_true", help="compare instead of write")
    if parser.parse_args(argv).check:
        return 0 if _PAGE.exists() and _PAGE.read_text() == page() else 1
    _PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
