"""Writes everything that is derived from the schema: Python code, its types, docs/wire.md and the golden descriptor.

`python -m protocol.wire.generate` writes; with `--check` it only compares and names what differs. The golden descriptor
is the schema as it was last released into the tree: before it is replaced, buf compares the new schema with it, and a
change that would break a deployed vendor's server is refused.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

from protocol.errors import UsageError
from protocol.wire.reference import render_reference

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = Path("protocol/wire")
SCHEMA = Path("jouleseal/v1/sealed_inference.proto")
GOLDEN = Path("tests/golden/sealed_inference.binpb")
REFERENCE = Path("docs/wire.md")
REVISION = MODULE / SCHEMA.with_name("revision.py")
_REVISION = re.compile(r"this file is revision (\d+)\.")
_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
GENERATED = tuple(MODULE / SCHEMA.with_name(SCHEMA.stem + suffix) for suffix in _SUFFIXES)
_PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def _protoc(*arguments: str) -> None:
    """Run the pinned compiler; raises UsageError where the schema does not compile."""
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(
            observed=f"{SCHEMA} does not compile: {done.stderr.strip()}",
            expected="a schema that protoc accepts",
            hint="correct the line that the compiler names",
            code="SCHEMA_INVALID",
        )


def _compile_code(out: Path) -> None:
    """Write the Python modules under `out`, importable from the repository's root."""
    plugins = [f"--plugin={name}={Path(sys.executable).parent / name}" for name in _PLUGINS]
    kinds = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    _protoc(f"-I{REPOSITORY}", *plugins, *kinds, str(REPOSITORY / MODULE / SCHEMA))


def _compile_descriptor(out: Path, *, comments: bool) -> bytes:
    """Return the schema as a serialised FileDescriptorSet."""
    path = out / f"descriptor-{comments}.binpb"
    extra = ["--include_source_info"] if comments else []
    _protoc(f"-I{REPOSITORY / MODULE}", f"--descriptor_set_out={path}", *extra, str(REPOSITORY / MODULE / SCHEMA))
    return path.read_bytes()


def derive() -> dict[Path, bytes]:
    """Return every derived file, by its path from the repository's root."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        _compile_code(out)
        commented = descriptor_pb2.FileDescriptorSet.FromString(_compile_descriptor(out, comments=True))
        files = {path: (out / path).read_bytes() for path in GENERATED}
        files[GOLDEN] = _compile_descriptor(out, comments=False)
        files[REVISION] = revision_module((REPOSITORY / MODULE / SCHEMA).read_text(encoding="utf-8")).encode()
        files[REFERENCE] = render_reference(commented.file[0]).encode()
    return files


def revision_module(schema: str) -> str:
    """Return the module with the schema's revision, which its first comment states; UsageError where it does not."""
    stated = _REVISION.search(" ".join(schema.partition("syntax = ")[0].replace("//", "").split()))
    if stated is None:
        raise UsageError(
            observed=f"the first comment of {SCHEMA} states no revision",
            expected="`this file is revision N.`",
            hint="count every addition to the schema there",
            code="SCHEMA_INVALID",
        )
    return (
        '"""The revision of the schema; made from it by `python -m protocol.wire.generate`."""\n\n'
        f"SCHEMA_REVISION = {stated[1]}\n"
    )


def refuse_breaking_change() -> None:
    """Compare the schema with the golden descriptor; raises UsageError where a deployed server would break."""
    if not (REPOSITORY / GOLDEN).exists():
        return
    buf = Path(sys.executable).parent / "buf"
    command = [str(buf), "breaking", "--against", str(GOLDEN)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(
            observed=f"a breaking change: {(done.stdout + done.stderr).strip()}",
            expected="additions only, within v1",
            hint="add a field or a message instead of changing one",
            code="SCHEMA_BREAKS",
        )


def _committed(path: Path) -> bytes | None:
    file = REPOSITORY / path
    return file.read_bytes() if file.exists() else None


def main(arguments: list[str] | None = None) -> int:
    """Write the derived files, or with `--check` name those that are not what the schema gives."""
    parser = argparse.ArgumentParser(prog="python -m protocol.wire.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where a file differs")
    check = parser.parse_args(arguments).check
    refuse_breaking_change()
    files = derive()
    if not check:
        for path, content in files.items():
            (REPOSITORY / path).parent.mkdir(parents=True, exist_ok=True)
            (REPOSITORY / path).write_bytes(content)
        return 0
    stale = [path for path, content in files.items() if _committed(path) != content]
    for path in stale:
        print(f"{path} is not what {SCHEMA} gives; run: python -m protocol.wire.generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    try:
        code = main()
    except UsageError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    raise SystemExit(code)
