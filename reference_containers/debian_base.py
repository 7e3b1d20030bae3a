"""The base image for hosts that reach no registry: the host's own Debian or Ubuntu packages, as a known archive.

The root file system is the essential set, python3 and libstdc++6 (gRPC needs it), made by mmdebstrap under a fixed
SOURCE_DATE_EPOCH, so the same package versions give the same bytes. The image around it carries a fixed date, so its
digest is known from those bytes alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import IO, Any

EPOCH = 1_735_689_600  # 2025-01-01T00:00:00Z, the date that everything inside the base carries
CREATED = "2025-01-01T00:00:00Z"
PACKAGES = ("python3-minimal", "python3", "libstdc++6")
UNUSED = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/doc/*")
ACCOUNT = "sealed:x:65532:65532:sealed model:/nonexistent:/usr/sbin/nologin"
GROUP = "sealed:x:65532:"
CHUNK = 1 << 20


class BaseUnavailable(Exception):
    """No base can be made on this host; the message says what is missing."""


def os_release() -> dict[str, str]:
    """Return the fields of /etc/os-release."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip('"') for key, value in pairs}


def recipe() -> str:
    """Return a text that changes when the base that this host would make changes in kind (not with every update)."""
    release = os_release()
    suite = release.get("VERSION_CODENAME", "?")
    return f"{release.get('ID', '?')} {suite} {platform.machine()} {PACKAGES} {UNUSED} {ACCOUNT} {EPOCH}"


def sources() -> str:
    """Return apt source lines for the distribution's own archives as this host is configured to reach them.

    Third parties' archives are left out. Raises BaseUnavailable when apt or its package lists are absent.
    """
    fields = "$(CREATED_BY)|$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    try:
        command = ["apt-get", "indextargets", "--format", fields]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        message = "no registry in reach and no apt on this host: pull python:3.12-slim once where there is a network"
        raise BaseUnavailable(message) from error
    vendor = os_release()["ID"]
    keyring = Path(f"/usr/share/keyrings/{vendor}-archive-keyring.gpg")
    signed = f" [signed-by={keyring}]" if keyring.exists() else ""
    rows = {tuple(line.split("|")) for line in listed.splitlines() if line.startswith("Packages|")}
    own = sorted(row for row in rows if row[1].lower() == vendor and row[3] in {"main", "universe"})
    if not own:
        raise BaseUnavailable("apt knows no packages of this distribution: run `apt-get update` first")
    return "".join(f"deb{signed} {uri} {suite} {component}\n" for _, _, suite, component, uri in own)


def root_file_system(target: Path, log: Path) -> None:
    """Write the root file system as a tar to `target`, whole or not at all, and mmdebstrap's words to `log`."""
    partial = target.with_suffix(".partial")
    command = ["mmdebstrap", "--variant=essential", f"--include={','.join(PACKAGES)}", "--format=tar"]
    command += [f"--dpkgopt=path-exclude={path}" for path in UNUSED]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    command += [f'--customize-hook=echo "{ACCOUNT}" >> "$1/etc/passwd"']
    command += [f'--customize-hook=echo "{GROUP}" >> "$1/etc/group"']
    command += [os_release()["VERSION_CODENAME"], str(partial), "-"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    try:
        with log.open("w", encoding="utf-8") as words:
            made = subprocess.run(command, input=sources(), text=True, stderr=words, env=environment, check=False)
    except FileNotFoundError as error:
        raise BaseUnavailable(
            "mmdebstrap is not installed: run .ci/prepare, or `apt-get install mmdebstrap`"
        ) from error
    if made.returncode:
        partial.unlink(missing_ok=True)
        tail = " / ".join(log.read_text(encoding="utf-8").splitlines()[-3:])
        raise BaseUnavailable(f"mmdebstrap failed, see {log}: {tail}")
    partial.replace(target)


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _config(layer: str, labels: dict[str, str]) -> bytes:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config: dict[str, Any] = {
        "architecture": machine,
        "os": "linux",
        "created": CREATED,
        "config": {"User": "65532:65532", "Env": [f"PATH={path}", "PYTHONUNBUFFERED=1"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        "history": [{"created": CREATED, "created_by": "mmdebstrap"}],
    }
    return json.dumps(config, sort_keys=True).encode()


def write_archive(stream: IO[bytes], root: Path, name: str, labels: dict[str, str]) -> None:
    """Write a docker-archive of one image with one layer to `stream`: the same input gives the same image id."""
    layer = file_sha256(root)
    config = _config(layer, labels)
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{layer}/layer.tar"]}]
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for member, content in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(member)
            entry.size, entry.mtime = len(content), EPOCH
            archive.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo(f"{layer}/layer.tar")
        entry.size, entry.mtime = root.stat().st_size, EPOCH
        with root.open("rb") as content_stream:
            archive.addfile(entry, content_stream)
