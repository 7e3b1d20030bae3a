"""An image's identity from its archive: the same in every layout, and nothing that an archive can do to the reader."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.launch.identity import ImageIdentity, read_identity
from orchestrator.launch.sealed import sealed_image
from protocol.errors import InvalidSubmission

LAYERS = [b"first layer" * 100, b"second layer" * 100]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config(layers: list[bytes] = LAYERS, **section: object) -> bytes:
    body = {"User": "65532:65532", "Env": ["PATH=/bin", "LD_PRELOAD=/x=y"], "Volumes": {"/data": {}}, **section}
    diff_ids = [f"sha256:{sha(layer)}" for layer in layers]
    return json.dumps({"os": "linux", "config": body, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()


def tar(members: list[tuple[str, bytes | str]]) -> bytes:
    """A tar of files (bytes) and symbolic links (text)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
    return buffer.getvalue()


def docker_archive(layers: list[bytes] = LAYERS, cfg: bytes | None = None) -> list[tuple[str, bytes | str]]:
    cfg = cfg or config(layers)
    names = [f"{index}/layer.tar" for index in range(len(layers))]
    manifest = json.dumps([{"Config": f"{sha(cfg)}.json", "RepoTags": ["x:y"], "Layers": names}]).encode()
    return [*zip(names, layers, strict=True), (f"{sha(cfg)}.json", cfg), ("manifest.json", manifest)]


def oci_layout(layers: list[bytes] = LAYERS, *, packed: bool = False) -> list[tuple[str, bytes | str]]:
    cfg = config(layers)
    blobs = [gzip.compress(layer, mtime=0) if packed else layer for layer in layers]
    manifest = json.dumps(
        {"config": {"digest": f"sha256:{sha(cfg)}"}, "layers": [{"digest": f"sha256:{sha(b)}"} for b in blobs]}
    ).encode()
    index = json.dumps({"manifests": [{"digest": f"sha256:{sha(manifest)}"}]}).encode()
    named = [(f"blobs/sha256/{sha(blob)}", blob) for blob in [*blobs, cfg, manifest]]
    return [("oci-layout", b"{}"), *named, ("index.json", index)]


def read(data: bytes, size: int = 1000) -> ImageIdentity:
    return read_identity(data[i : i + size] for i in range(0, len(data), size))


@pytest.mark.parametrize(
    "members", [docker_archive(), oci_layout(), oci_layout(packed=True)], ids=["docker", "oci", "gzip"]
)
def test_one_image_has_one_identity_in_every_layout(members: list):
    found = read(tar(members))
    assert found.config_digest == f"sha256:{sha(config())}"
    assert found.diff_ids == tuple(f"sha256:{sha(layer)}" for layer in LAYERS)
    assert found.layer_bytes == sum(map(len, LAYERS))


def test_a_registrys_manifest_is_known_only_where_the_archive_holds_it():
    assert read(tar(docker_archive())).manifest_digest is None
    assert read(tar(oci_layout())).manifest_digest is not None


def test_a_repeated_layer_may_be_a_link_as_the_engine_writes_it():
    layers = [LAYERS[0], LAYERS[0]]
    members = docker_archive(layers)
    members[1] = ("1/layer.tar", "../0/layer.tar")
    assert read(tar(members)).diff_ids == (f"sha256:{sha(LAYERS[0])}",) * 2


def test_the_image_is_parsed_at_the_edge():
    image = sealed_image(read(tar(docker_archive(cfg=config(Entrypoint=["/a"], Cmd=["b"])))))
    assert (image.user, image.volumes, image.entrypoint) == ("65532:65532", ("/data",), ("/a", "b"))
    assert image.env_names == ("PATH", "LD_PRELOAD")


@pytest.mark.parametrize(
    "section", [{"User": 0}, {"Env": "A=1"}, {"Env": [1]}, {"Volumes": ["/a"]}, {"Entrypoint": "sh"}, {"Cmd": {"a": 1}}]
)
def test_a_malformed_configuration_is_the_vendors(section: dict):
    with pytest.raises(InvalidSubmission) as caught:
        sealed_image(read(tar(docker_archive(cfg=config(**section)))))
    assert caught.value.code == "IMAGE_CONFIG"


def hostile() -> Iterator[tuple[str, bytes]]:
    good = docker_archive()
    yield "empty", b""
    yield "not a tar", b"x" * 4096
    yield "cut short", tar(good)[:3000]
    yield "no manifest", tar(good[:-1])
    yield "two images", tar([*good[:-1], ("manifest.json", json.dumps([{}, {}]).encode())])
    yield "no images", tar([*good[:-1], ("manifest.json", b"[]")])
    yield "deep json", tar([*good[:-1], ("manifest.json", b"[" * 100_000)])
    yield "layer changed", tar([(good[0][0], b"evil"), *good[1:]])
    yield "layer missing", tar(good[1:])
    yield "layers swapped", tar([(good[0][0], LAYERS[1]), (good[1][0], LAYERS[0]), *good[2:]])
    yield (
        "config under another name",
        tar(
            [
                *good[:2],
                ("ab.json", config()),
                (
                    "manifest.json",
                    json.dumps([{"Config": "ab.json", "Layers": ["0/layer.tar", "1/layer.tar"]}]).encode(),
                ),
            ]
        ),
    )
    yield "traversal", tar([*good, ("../../etc/passwd", b"x")])
    yield "absolute", tar([*good, ("/etc/passwd", b"x")])
    yield "repeated member", tar([*good, good[0]])
    yield "link in a circle", tar([("0/layer.tar", "../0/layer.tar"), *good[1:]])
    yield (
        "config is a list",
        tar([("c", b"[]"), ("manifest.json", json.dumps([{"Config": "c", "Layers": []}]).encode())]),
    )
    yield "zstd", tar([(good[0][0], b"\x28\xb5\x2f\xfd" + b"x"), *good[1:]])
    yield "broken gzip", tar([(good[0][0], b"\x1f\x8b" + b"x" * 50), *good[1:]])
    yield "too many members", tar([(f"m{i}", b"") for i in range(5000)])
    oci = oci_layout()
    yield (
        "oci manifest changed",
        tar([(n, c if not n.endswith(sha(c)) or b'"layers"' not in c else c + b" ") for n, c in oci]),
    )
    yield "oci digest is no digest", tar([("index.json", b'{"manifests": [{"digest": "md5:1"}]}')])
    yield "oci digest leaves", tar([("index.json", b'{"manifests": [{"digest": "sha256:../../../../x"}]}')])


@pytest.mark.parametrize(("case", "data"), list(hostile()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_hostile_archive_is_refused(case: str, data: bytes):
    with pytest.raises(InvalidSubmission) as caught:
        read(data)
    assert caught.value.code == "IMAGE_ARCHIVE"


def test_a_device_in_the_archive_is_refused():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("sda")
        info.type = tarfile.BLKTYPE
        archive.addfile(info)
    with pytest.raises(InvalidSubmission, match="device or a pipe"):
        read(buffer.getvalue())


def test_a_layer_that_expands_a_thousandfold_is_hashed_in_little_memory():
    bomb = gzip.compress(b"\0" * (64 << 20), mtime=0)
    cfg = json.dumps(
        {"rootfs": {"diff_ids": ["sha256:" + hashlib.sha256(b"\0" * (64 << 20)).hexdigest()]}, "config": {}}
    ).encode()
    manifest = json.dumps([{"Config": f"{sha(cfg)}.json", "Layers": ["l"]}]).encode()
    data = tar([("l", bomb), (f"{sha(cfg)}.json", cfg), ("manifest.json", manifest)])
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    found = read(data, 1 << 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.layer_bytes == 64 << 20
    assert peak - before < 16 << 20


@given(st.binary(max_size=2000), st.integers(0, 6000))
def test_no_bytes_whatever_raise_anything_else(noise: bytes, where: int):
    data = tar(docker_archive())
    where = min(where, len(data))
    mixed = data[:where] + noise + data[where + len(noise) :]
    try:
        digest = read(mixed, 512).config_digest
    except InvalidSubmission as error:
        digest = error.code
    assert digest in {"IMAGE_ARCHIVE", f"sha256:{sha(config())}"}
