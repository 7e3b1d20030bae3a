"""The schema that was released stays what it is, and every number of the house has its place in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from protocol.errors import UsageError
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import REGISTRY, Input, Output, Task
from protocol.samples import AudioEncoding, ChatRole, ErrorReason, ImageEncoding
from protocol.wire import generate
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.jouleseal.v1.revision import SCHEMA_REVISION
from protocol.wire.model import Description, LoadPhase
from protocol.wire.scan import Finding, scan
from protocol.wire.translate import message_bounds

ROOT = Path(__file__).parents[3]


def test_the_code_that_is_imported_is_the_golden_schema():
    golden = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "tests/golden/sealed_inference.binpb").read_bytes())
    compiled = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(compiled)
    compiled.name = golden.file[0].name
    for message in compiled.message_type:
        for field in message.field:
            field.ClearField("json_name")
    for message in golden.file[0].message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert compiled == golden.file[0]


def test_everything_derived_from_the_schema_is_committed():
    done = subprocess.run(
        [sys.executable, "-m", "protocol.wire.generate", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("uint64 query = 1;", "uint64 query = 9;", True),  # a tag moved
        ("  optional uint32 percent = 2;", "", True),  # a field gone
        ("  optional uint32 percent = 2;", "  optional uint32 percent = 2;\n  // New.\n  bool more = 3;", False),
    ],
)
def test_only_additions_pass_the_golden_descriptor(before, after, refused, tmp_path, monkeypatch):
    for path in ("buf.yaml", str(generate.GOLDEN), str(generate.MODULE / generate.SCHEMA)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    schema = tmp_path / generate.MODULE / generate.SCHEMA
    assert before in schema.read_text()
    schema.write_text(schema.read_text().replace(before, after, 1))
    monkeypatch.setattr(generate, "REPOSITORY", tmp_path)
    if not refused:
        generate.refuse_breaking_change()
        return
    with pytest.raises(UsageError) as caught:
        generate.refuse_breaking_change()
    assert caught.value.code == "SCHEMA_BREAKS"


def test_the_schema_states_its_revision_and_the_servers_say_it():
    schema = (ROOT / generate.MODULE / generate.SCHEMA).read_text()
    assert f"this file is revision {SCHEMA_REVISION}." in " ".join(schema.replace("//", "").split())
    assert Description(
        model="", model_version="", engine="", engine_version="", tasks=(), max_batch=1
    ).schema_revision == (SCHEMA_REVISION)
    with pytest.raises(UsageError) as caught:
        generate.revision_module('// Nothing of the kind.\nsyntax = "proto3"; // this file is revision 7.')
    assert caught.value.code == "SCHEMA_INVALID"


def test_every_enumerator_has_its_value_on_the_wire():
    pairs = {
        "TASK": (Task, pb.Task),
        "PRECISION": (Precision, pb.Precision),
        "LOAD_PHASE": (LoadPhase, pb.LoadPhase),
        "CHAT_ROLE": (ChatRole, pb.ChatRole),
        "IMAGE_ENCODING": (ImageEncoding, pb.ImageEncoding),
        "AUDIO_ENCODING": (AudioEncoding, pb.AudioEncoding),
        "REASON": (ErrorReason, pb.SampleError.Reason),
    }
    for prefix, (ours, theirs) in pairs.items():
        names = {f"{prefix}_{one.name}" for one in ours} | {f"{prefix}_UNSPECIFIED"}
        assert names == set(theirs.keys())


def test_the_kinds_of_the_registry_are_fields_of_the_wire():
    inputs = {field.name for field in pb.Sample.DESCRIPTOR.oneofs_by_name["input"].fields}
    outputs = {field.name for field in pb.Answer.DESCRIPTOR.oneofs_by_name["output"].fields}
    assert inputs == {kind.value for kind in Input}
    assert outputs == {kind.value for kind in Output} | {"error"}


def test_bounds_grow_with_the_batch_and_fit_into_what_grpc_takes():
    for spec in REGISTRY.values():
        small, large = message_bounds(spec, 1), message_bounds(spec, 32)
        assert small < large
        assert max(large) < 2**31
        assert large[0] - small[0] == 31 * spec.request_bytes


def nested(data: bytes, *numbers: int) -> bytes:
    for number in numbers:
        data = bytes([number << 3 | 2, len(data)]) + data
    return data


def test_a_scan_finds_what_a_parser_only_says_no_to():
    sound = pb.InferResponse(query=300)
    sound.answers.add(index=1).labels.labels.add(name="ö", score=1.5)
    whole = sound.SerializeToString()
    cases = {
        whole: Finding.SOUND,
        b"": Finding.SOUND,
        whole + b"\xa2\x06\x03abc": Finding.SOUND,  # an unknown field
        whole + b"\xa5\x06abcd": Finding.SOUND,  # an unknown fixed field
        whole[:-1]: Finding.BROKEN,
        b"\xff" * 20: Finding.BROKEN,
        b"\x02\x00": Finding.BROKEN,  # field number 0
        b"\x0f": Finding.BROKEN,  # wire type 7
        nested(b"\xc3\x28", 1, 1, 4, 2): Finding.BAD_TEXT,
        b"\x12\x00" * 9: Finding.TOO_MANY,
        b"\xa3\x06\xa4\x06" * 9: Finding.TOO_MANY,  # unknown groups
    }
    for data, finding in cases.items():
        assert scan(data, pb.InferResponse(), 8) is finding, data


def test_a_scan_and_the_parser_agree_on_every_truncation():
    message = pb.InferResponse(query=2**40)
    message.answers.add(index=3, usage=pb.Usage(output_tokens=7)).text.text = "wörd"
    data = message.SerializeToString()
    for end in range(len(data)):
        try:
            pb.InferResponse.FromString(data[:end])
            parses = True
        except DecodeError:
            parses = False
        assert (scan(data[:end], pb.InferResponse(), 99) is Finding.SOUND) == parses, end
