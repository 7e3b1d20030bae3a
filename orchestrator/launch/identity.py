"""An image's identity, computed by us from the archive that the engine streams: config digest and layer diff_ids.

Rules:
 1. One pass, nothing extracted, nothing executed, every budget checked before it is spent.
 2. Both layouts are read: docker-archive (`manifest.json` names a config and layer tars) and OCI (`index.json`).
 3. The archive holds exactly one image. Its config's SHA-256 is the identity; the SHA-256 of each layer's plain tar
    must be what the config lists in `rootfs.diff_ids`, in order.
 4. The engine's `.Id`, tags and repository digests are not identities: they move, are absent after a load, or mean
    something else in another store.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, cast

from protocol.errors import InvalidSubmission

MAX_MEMBERS = 4_096  # the engine's own limit is 127 layers; each brings at most a handful of members
MAX_JSON_BYTES = 8 << 20
MAX_ARCHIVE_BYTES = 1 << 40
MAX_LAYERS = 256
_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_WBITS = 31  # zlib's code for a gzip wrapper


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIdentity:
    """What an image is, and what its configuration asks for; the configuration is the vendor's word."""

    config_digest: str
    diff_ids: tuple[str, ...]
    manifest_digest: str | None
    config: Mapping[str, Any]
    layer_bytes: int


@dataclass(slots=True)
class _Member:
    """One file of the archive: digests of its bytes and of its decompressed bytes, and its content if it is small."""

    sha256: str
    plain_sha256: str
    plain_bytes: int
    content: bytes | None


@dataclass(slots=True)
class _Archive:
    members: dict[str, _Member] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> _Member:
        for _ in range(len(self.links) + 1):
            if name not in self.links:
                break
            name = self.links[name]
        if name not in self.members:
            raise _damaged(f"the archive names {name[:120]!r} but does not hold it")
        return self.members[name]

    def json(self, name: str) -> Any:  # noqa: ANN401 - the shape is checked by each reader
        content = self.get(name).content
        try:
            return json.loads(content or b"")
        except (ValueError, RecursionError) as error:
            raise _damaged(f"{name[:120]!r} is not JSON") from error


class _Stream(io.RawIOBase):
    """A readable file over an iterator of chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def read_identity(chunks: Iterable[bytes]) -> ImageIdentity:
    """Return the identity of the one image in an archive; raises InvalidSubmission IMAGE_ARCHIVE if there is none such.

    `chunks` are the archive's bytes in order; errors of their source pass through unchanged.
    """
    archive = _scan(chunks)
    if "manifest.json" in archive.members:
        return _docker_archive(archive)
    if "index.json" in archive.members:
        return _oci_layout(archive)
    raise _damaged("the archive has neither manifest.json nor index.json")


def _scan(chunks: Iterable[bytes]) -> _Archive:
    archive, total = _Archive(), 0
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", io.BufferedReader(_Stream(chunks), _CHUNK)), mode="r|") as tar:
            for count, member in enumerate(tar):
                total += member.size
                if count >= MAX_MEMBERS or total > MAX_ARCHIVE_BYTES:
                    raise _damaged(f"the archive has over {MAX_MEMBERS} members or {MAX_ARCHIVE_BYTES} bytes")
                _take(archive, tar, member)
    except tarfile.TarError as error:
        raise _damaged(f"not a tar archive: {error}") from error
    return archive


def _take(archive: _Archive, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    name = posixpath.normpath(member.name)
    if name.startswith(("/", "..")) or name in archive.members or name in archive.links:
        raise _damaged(f"the archive's member {member.name[:120]!r} is repeated or leaves the archive")
    if member.isdir():
        return
    if member.issym():
        archive.links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    elif member.islnk():
        archive.links[name] = posixpath.normpath(member.linkname)
    elif member.isreg():
        content = tar.extractfile(member)
        if content is None:
            raise _damaged(f"the archive's member {name[:120]!r} cannot be read")
        archive.members[name] = _digest(content, member.size)
    else:
        raise _damaged(f"the archive's member {name[:120]!r} is a device or a pipe")


def _digest(file: IO[bytes], size: int) -> _Member:
    raw, plain, plain_bytes = hashlib.sha256(), hashlib.sha256(), 0
    kept = bytearray()
    unzip: Any = None
    for index, chunk in enumerate(iter(lambda: file.read(_CHUNK), b"")):
        if index == 0:
            if chunk.startswith(_ZSTD_MAGIC):
                raise _damaged("a layer is compressed with zstd; compress with gzip or not at all")
            unzip = zlib.decompressobj(_GZIP_WBITS) if chunk.startswith(_GZIP_MAGIC) else None
        raw.update(chunk)
        if size <= MAX_JSON_BYTES:
            kept += chunk
        for piece in _inflate(unzip, chunk) if unzip is not None else (chunk,):
            plain.update(piece)
            plain_bytes += len(piece)
        if plain_bytes > MAX_ARCHIVE_BYTES:
            raise _damaged("a layer expands beyond the budget")
    content = bytes(kept) if size <= MAX_JSON_BYTES else None
    return _Member(raw.hexdigest(), plain.hexdigest() if unzip is not None else raw.hexdigest(), plain_bytes, content)


def _inflate(unzip: Any, chunk: bytes) -> Iterator[bytes]:  # noqa: ANN401 - zlib's type has no public name
    try:
        while chunk:
            yield unzip.decompress(chunk, _CHUNK)
            chunk = unzip.unconsumed_tail
    except zlib.error as error:
        raise _damaged("a layer is not what its compression says") from error


def _docker_archive(archive: _Archive) -> ImageIdentity:
    manifest = archive.json("manifest.json")
    if not isinstance(manifest, list) or len(manifest) != 1 or not isinstance(manifest[0], dict):
        raise _damaged("the archive does not hold exactly one image")
    config_name, layers = manifest[0].get("Config"), _entries(manifest[0], "Layers")
    if not isinstance(config_name, str) or not all(isinstance(layer, str) for layer in layers):
        raise _damaged("manifest.json does not name a configuration and its layers")
    return _identity(archive, config_name, layers, None)


def _oci_layout(archive: _Archive) -> ImageIdentity:
    manifests = _entries(archive.json("index.json"), "manifests")
    if len(manifests) != 1:
        raise _damaged("the archive does not hold exactly one image")
    digest = _hex(manifests[0])
    manifest = archive.json(f"blobs/sha256/{digest}")
    if archive.get(f"blobs/sha256/{digest}").sha256 != digest:
        raise _damaged("the manifest is not what the index says")
    config = _hex(manifest.get("config") if isinstance(manifest, dict) else None)
    layers = [f"blobs/sha256/{_hex(layer)}" for layer in _entries(manifest, "layers")]
    return _identity(archive, f"blobs/sha256/{config}", layers, f"sha256:{digest}")


def _identity(archive: _Archive, config_name: str, layers: Sequence[str], manifest_digest: str | None) -> ImageIdentity:
    config = archive.json(posixpath.normpath(config_name))
    member = archive.get(posixpath.normpath(config_name))
    found = [archive.get(posixpath.normpath(layer)) for layer in layers]
    diff_ids = tuple(f"sha256:{layer.plain_sha256}" for layer in found)
    rootfs = config.get("rootfs") if isinstance(config, dict) else None
    claimed = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if claimed != list(diff_ids):
        raise _damaged("the layers are not those that the configuration lists")
    if member.sha256 not in config_name:
        raise _damaged("the configuration is not what its name says")
    return ImageIdentity(
        config_digest=f"sha256:{member.sha256}",
        diff_ids=diff_ids,
        manifest_digest=manifest_digest,
        config=config,
        layer_bytes=sum(layer.plain_bytes for layer in found),
    )


def _entries(value: Any, name: str) -> list[Any]:  # noqa: ANN401 - untrusted JSON
    entries = value.get(name) if isinstance(value, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_LAYERS:
        raise _damaged(f"the archive's {name} are not a list")
    return entries


def _hex(descriptor: Any) -> str:  # noqa: ANN401 - untrusted JSON
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    algorithm, _, value = digest.partition(":") if isinstance(digest, str) else ("", "", "")
    if (
        algorithm != "sha256"
        or len(value) != hashlib.sha256().digest_size * 2
        or not set(value) <= set("0123456789abcdef")
    ):
        raise _damaged("a descriptor has no SHA-256 digest")
    return value


def _damaged(observed: str) -> InvalidSubmission:
    return InvalidSubmission(
        code="IMAGE_ARCHIVE",
        observed=observed,
        expected="an archive of exactly one image, as `docker save` or an OCI builder writes it",
        hint="write the archive again from one image",
    )
