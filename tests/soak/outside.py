"""What the orchestrator reads of strangers: vendors' documents, images and answers, and other tools' files.

A document in YAML and an archive are read through libraries of others, whose errors must not leave our doors either.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from hashlib import sha256

from orchestrator.drive.codec import decode_answer, decode_responses, decode_token_stream, encode_answer
from orchestrator.equivalence.comparing import open_challenge
from orchestrator.equivalence.recorded import parse_recorded, write_recorded
from orchestrator.launch.identity import read_identity
from orchestrator.launch.probe import SCHEMA, parse
from orchestrator.launch.vetting import parse_user
from orchestrator.rating.exchange import read_report, read_scores
from orchestrator.record.witness_home import read_log
from orchestrator.submission import parse_submission
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, sign
from protocol.attestation.equivalence import EndpointClaim
from protocol.attestation.jcs import dumps
from protocol.methodology.tasks import REGISTRY, Task
from protocol.wire import translate
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from tests.golden import vectors
from tests.soak.target import Target, each, respelled
from tests.unit.drive.story import ANSWERS, points_of
from tests.worlds.world import Key, Trust, World

DATASETS = {Task.IMAGE_CLASSIFICATION: "embedded-digits", Task.TEXT_CLASSIFICATION: "embedded-reviews"}
SUBMISSION = b"""schema: 1
vendor: Digit Works
model: {name: Digits MLP, version: "1.0", licence: proprietary, framework: onnxruntime}
image: jouleseal/digits:local
resources: {memory_mib: 512, cpus: 2}
tasks:
  - {task: image-classification, precisions: [fp32, int8]}
"""
REPORT = {
    "prefill": {"energy": {"unit": "kWh"}, "measures": [{"unit": "kWh", "gpu": 0.001}]},
    "decode": {"energy": {"unit": "kWh"}, "measures": [{"unit": "kWh", "gpu": 0.002}]},
}
SCORES = b"model,total_gpu_energy,energy_score\nopenai/whisper-base,0.016545973,5\n"
PROBED = {"schema": SCHEMA, "holes": [{"id": "network", "open": False, "detail": "refused"}]}


def responses() -> list[bytes]:
    """Return one honest response of every task."""
    return [response(task) for task in ANSWERS]


def response(task: Task) -> bytes:
    message = pb.InferResponse()
    translate.write_answer(message.answers.add(), 0, ANSWERS[task])
    return message.SerializeToString()


def read_responses(data: bytes) -> None:
    """Read the bytes as a response of every task."""
    each(
        lambda task=task: decode_responses([data], points_of(task, 1), REGISTRY[task], 1)  # type: ignore[misc]
        for task in REGISTRY
    )


def read_answers(data: bytes) -> None:
    each(lambda task=task: decode_answer(data, points_of(task, 1)[0], REGISTRY[task]) for task in REGISTRY)  # type: ignore[misc]


def streams() -> list[bytes]:
    """Return a piece and a whole answer, after the length of the piece."""
    piece, whole = pb.InferTokensResponse(), pb.InferTokensResponse()
    piece.delta.text, piece.delta.tokens = "x", 1
    translate.write_answer(whole.answer, 0, ANSWERS[Task.TEXT_GENERATION])
    first = piece.SerializeToString()
    return [bytes([len(first)]) + first + whole.SerializeToString()]


def read_stream(data: bytes) -> object:
    cut = 1 + (data[0] if data else 0)
    task = Task.TEXT_GENERATION
    return decode_token_stream([data[1:cut], data[cut:]], points_of(task, 1)[0], REGISTRY[task])


def archives() -> list[bytes]:
    """Return an image as `docker save` writes it, and one in the OCI layout."""
    layer = b"a layer"
    config = json.dumps(
        {
            "os": "linux",
            "config": {"User": "65532:65532", "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
        }
    ).encode()
    named = {f"{sha256(config).hexdigest()}.json": config, "0/layer.tar": layer}
    manifest = [{"Config": next(iter(named)), "RepoTags": ["x:y"], "Layers": ["0/layer.tar"]}]
    docker = {**named, "manifest.json": json.dumps(manifest).encode()}
    described = {"config": {"digest": digest(config)}, "layers": [{"digest": digest(layer)}]}
    whole = json.dumps(described).encode()
    blobs = {f"blobs/sha256/{sha256(data).hexdigest()}": data for data in (config, layer, whole)}
    index = {"manifests": [{"digest": digest(whole)}]}
    return [tar(docker), tar({**blobs, "index.json": json.dumps(index).encode()})]


def digest(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue().rstrip(b"\0") + bytes(1024)


def recorded() -> list[bytes]:
    says = EndpointClaim(
        kind="recorded", model="m", model_version="1", engine="e", engine_version="1", recorded_sha256="ab" * 32
    )
    answers = [((task.value, "fp32", "cd" * 32), encode_answer(ANSWERS[task])) for task in list(ANSWERS)[:2]]
    return [write_recorded(says, "ef" * 32, answers)]


def challenges() -> list[bytes]:
    """Return a challenge as it was logged."""
    world = World()
    payload = dumps(vectors.statements()["equivalence-challenge"])
    envelope = sign(IN_TOTO_PAYLOAD_TYPE, payload, Key("an auditor"))
    world.say_envelope("equivalence-challenge", envelope, {}, key=Key("an auditor").public_key)
    return list(world.statements.values())


def logs() -> Sequence[bytes]:
    return [Trust().policy(), Trust().log.to_vkey().encode()]


OUTSIDE: tuple[Target, ...] = (
    Target(name="submission-yaml", read=lambda data: parse_submission(data, DATASETS), seeds=lambda: [SUBMISSION]),
    Target(name="image-archive", read=lambda data: read_identity([data]), seeds=archives),
    Target(
        name="image-user",
        read=lambda data: parse_user(data.decode("latin-1")),
        seeds=lambda: [b"65532:65532", b"root", b"1000"],
    ),
    Target(name="probe-report", read=parse, seeds=lambda: [json.dumps(PROBED).encode()]),
    Target(name="wire-responses", read=read_responses, seeds=responses),
    Target(name="wire-answer", read=read_answers, seeds=lambda: [encode_answer(one) for one in ANSWERS.values()]),
    Target(name="wire-stream", read=read_stream, seeds=streams),
    Target(name="recorded-answers", read=parse_recorded, seeds=recorded),
    Target(name="logged-challenge", read=respelled(open_challenge), seeds=challenges),
    Target(name="witnessed-log", read=lambda data: read_log(data.decode("latin-1")), seeds=logs),
    Target(name="score-table", read=read_scores, seeds=lambda: [SCORES]),
    Target(name="score-report", read=read_report, seeds=lambda: [json.dumps(REPORT).encode()]),
)
