"""From an image's identity and configuration to a SealedImage: what the vendor wrote, parsed strictly at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.launch.identity import ImageIdentity
from protocol.errors import InvalidSubmission
from protocol.submission import SealedImage


def sealed_image(identity: ImageIdentity) -> SealedImage:
    """Return the image as everybody else knows it; raises InvalidSubmission IMAGE_CONFIG for a malformed one."""
    section = _mapping(identity.config, "config")
    if identity.config.get("os", "linux") != "linux":
        raise _malformed("os")
    return SealedImage(
        config_digest=identity.config_digest,
        diff_ids=identity.diff_ids,
        manifest_digest=identity.manifest_digest,
        user=_text(section, "User"),
        volumes=tuple(sorted(_mapping(section, "Volumes"))),
        entrypoint=(*_texts(section, "Entrypoint"), *_texts(section, "Cmd")),
        env_names=tuple(entry.partition("=")[0] for entry in _texts(section, "Env")),
        size_bytes=identity.layer_bytes,
    )


def _present(section: Mapping[str, Any], name: str, absent: object) -> object:
    value = section.get(name)
    return absent if value is None else value


def _text(section: Mapping[str, Any], name: str) -> str:
    value = _present(section, name, "")
    if not isinstance(value, str):
        raise _malformed(name)
    return value


def _texts(section: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = _present(section, name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _malformed(name)
    return tuple(value)


def _mapping(section: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = _present(section, name, {})
    if not isinstance(value, dict):
        raise _malformed(name)
    return value


def _malformed(name: str) -> InvalidSubmission:
    return InvalidSubmission(
        code="IMAGE_CONFIG",
        observed=f"the image's configuration has an unusable `{name}`",
        expected="a Linux image with a well-formed configuration",
        hint="build the image again with an ordinary builder",
    )
