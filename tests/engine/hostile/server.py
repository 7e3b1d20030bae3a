"""A vendor's server that goes wrong in one way, named by the environment's HOSTILE; honest in everything else.

Four modes are no fault but a cheat, and compute where it should not count: after the last answer, once for all passes,
between two runs, on the processors beside an accelerator.

What goes wrong in the middle of a run goes wrong after the warm-up and HOSTILE_AFTER measured queries. It speaks the
wire's messages over bare gRPC, because the wire's own server would not let it misbehave.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protocol.methodology.scenario import WARM_UP_QUERIES
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb

MODE = os.environ.get("HOSTILE", "honest")
AFTER = int(os.environ.get("HOSTILE_AFTER", "5"))
SOCKET = Path(os.environ.get("JOULESEAL_SOCKET", "/run/jouleseal/model.sock"))
LINK_TARGET = os.environ.get("HOSTILE_LINK", "/var/run/docker.sock")
LABELS = {pb.TASK_TEXT_CLASSIFICATION: "positive", pb.TASK_IMAGE_CLASSIFICATION: "0"}
HUGE = 200 * 1024 * 1024
FOR_EVER = 10**6  # seconds
WORKS_ON_S = 1.5  # shorter than the meter's hold of 2 s, so that all of it is seen there
RESTS_S, REHEARSES_S = 2.8, 1.0  # it waits until the hold is over
FIRST_S = 0.04  # what an answer costs that is not kept yet
EACH_S = 0.004
BAKED = 8  # hexadecimal digits that stand for a public point in an image

task = pb.TASK_TEXT_CLASSIFICATION
asked = 0
answered_at = 0.0
kept: set[bytes] = set()
last: list[bytes] = []
baked = frozenset(os.environ.get("HOSTILE_ANSWERS", "").split(","))


def describe(_request: pb.DescribeRequest, _context: grpc.ServicerContext) -> pb.DescribeResponse:
    """Describe a model of two tasks."""
    tasks = [pb.TaskSupport(task=known, precisions=[pb.PRECISION_FP32]) for known in LABELS]
    revision = {"schema_revision": 1, "minimum_client_revision": 1}
    facts = {"model": "hostile", "model_version": "1", "engine": "none", "engine_version": "0"}
    return pb.DescribeResponse(tasks=tasks, max_batch_size=1024, **revision, **facts)


def load(request: pb.LoadRequest, _context: grpc.ServicerContext) -> Iterator[pb.LoadResponse]:
    """Load nothing, at once or never."""
    global task  # noqa: PLW0603 - one process serves one session
    task = request.task
    yield pb.LoadResponse(phase=pb.LOAD_PHASE_READING)
    if MODE == "slow-load":
        time.sleep(FOR_EVER)
    yield pb.LoadResponse(phase=pb.LOAD_PHASE_READY)


def honest(request: pb.InferRequest) -> pb.InferResponse:
    """Answer as the wire says."""
    output = pb.LabelsOutput(labels=[pb.Label(name=LABELS[task], score=1.0)])
    answers = [pb.Answer(index=sample.index, labels=output) for sample in request.samples]
    return pb.InferResponse(query=request.query, answers=answers)


def twisted(response: pb.InferResponse) -> bytes | None:
    """Return an answer that is wrong in the mode's own way, None where the mode does worse than answering."""
    answers = response.answers
    match MODE:
        case "wrong-count":
            answers.append(answers[0])
        case "out-of-order" if len(answers) > 1:
            answers[0].index, answers[1].index = answers[1].index, answers[0].index
        case "out-of-order":
            response.query += 1
        case "nan":
            answers[0].labels.labels[0].score = float("nan")
        case "huge":
            return bytes(HUGE)
        case "garbage":
            return b"\xff" * 64
        case _:
            return None
    return response.SerializeToString()


def compute(seconds: float) -> None:
    """Use one processor for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(200))


def inputs_of(request: pb.InferRequest) -> list[bytes]:
    """Return what each sample asks, whatever its place in the message."""
    found = []
    for sample in request.samples:
        alone = type(sample)()
        alone.CopyFrom(sample)
        alone.ClearField("index")
        found.append(alone.SerializeToString())
    return found


def fresh(request: pb.InferRequest) -> int:
    """Return how many of the samples have to be computed: all, but for what the mode remembers."""
    asked_for = inputs_of(request)
    if MODE == "prepared-answers":
        return sum(hashlib.sha256(one).hexdigest()[:BAKED] not in baked for one in asked_for)
    if MODE == "cached-answers":
        new = [one for one in asked_for if one not in kept]
        kept.update(new)
        return len(new)
    if MODE == "repeated-answers":
        again = asked_for == last
        last[:] = asked_for
        return 0 if again else len(asked_for)
    return len(asked_for)


def work_for(request: pb.InferRequest) -> None:
    """Compute before an answer as much as the mode's own story asks for."""
    if MODE in {"computes", "prepared-answers", "cached-answers", "repeated-answers"}:
        compute(EACH_S * fresh(request))
        return
    if MODE == "keeps-answers":
        new = [sample.SerializeToString() for sample in request.samples]
        compute(FIRST_S * sum(sample not in kept for sample in new))
        kept.update(new)
    elif MODE in {"works-on", "rehearses", "works-elsewhere"}:
        compute(EACH_S)


def work_between() -> None:
    """Compute while nobody asks: right after an answer, or once in every long pause."""
    rehearsed = 0.0
    while True:
        quiet = time.monotonic() - answered_at
        if answered_at and MODE == "works-on" and quiet < WORKS_ON_S:
            compute(0.005)
        elif answered_at and MODE == "rehearses" and quiet > RESTS_S and rehearsed != answered_at:
            rehearsed = answered_at
            compute(REHEARSES_S)
        time.sleep(0.001)


def fork_without_end() -> None:
    """Fork for ever; the children only wait."""
    while True:
        try:
            if os.fork() == 0:
                signal.pause()
        except OSError:
            time.sleep(0.01)


def harm() -> None:
    """Do what is worse than a wrong answer, where the mode asks for it."""
    match MODE:
        case "dies":
            os._exit(7)
        case "hangs":
            time.sleep(FOR_EVER)
        case "memory-bomb":
            hoard = []
            while True:
                hoard.append(os.urandom(1024) * 16 * 1024)
        case "fork-bomb":
            fork_without_end()
        case "vendor-status":
            raise RuntimeError("a secret of the vendor")


def infer(requests: Iterator[pb.InferRequest], _context: grpc.ServicerContext) -> Iterator[bytes]:
    """Answer queries honestly until it is time."""
    global asked, answered_at  # noqa: PLW0603 - one process serves one session
    for request in requests:
        asked += 1
        work_for(request)
        response = honest(request)
        answer = None
        if asked > WARM_UP_QUERIES + AFTER:
            harm()
            answer = twisted(response)
        answered_at = time.monotonic()
        yield response.SerializeToString() if answer is None else answer


def unload(_request: pb.UnloadRequest, _context: grpc.ServicerContext) -> pb.UnloadResponse:
    """Unload nothing."""
    return pb.UnloadResponse()


def flood() -> None:
    """Print for ever, as fast as it goes."""
    line = "x" * 65535 + "\n"
    while True:
        sys.stdout.write(line)


def serve() -> None:
    """Serve until the end."""
    kinds = {
        "Describe": grpc.unary_unary_rpc_method_handler(
            describe, pb.DescribeRequest.FromString, pb.DescribeResponse.SerializeToString
        ),
        "Load": grpc.unary_stream_rpc_method_handler(
            load, pb.LoadRequest.FromString, pb.LoadResponse.SerializeToString
        ),
        "Infer": grpc.stream_stream_rpc_method_handler(infer, pb.InferRequest.FromString, None),
        "Unload": grpc.unary_unary_rpc_method_handler(
            unload, pb.UnloadRequest.FromString, pb.UnloadResponse.SerializeToString
        ),
    }
    name = "jouleseal.v1.SealedInferenceService"
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(8), options=limits)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, kinds)])
    condition = health.HealthServicer()
    states = health_pb2.HealthCheckResponse
    for service in ("", name):
        condition.set(service, states.NOT_SERVING if MODE == "never-healthy" else states.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(condition, server)
    server.add_insecure_port(f"unix:{SOCKET}")
    server.start()
    server.wait_for_termination()


def main() -> None:
    """Go wrong at the start, or serve and go wrong later."""
    if MODE == "never-opens":
        time.sleep(FOR_EVER)
    if MODE == "exits":
        sys.exit(3)
    if MODE == "link":
        SOCKET.symlink_to(LINK_TARGET)
        time.sleep(FOR_EVER)
    if MODE in {"works-on", "rehearses"}:
        threading.Thread(target=work_between, daemon=True).start()
    if MODE == "floods":
        threading.Thread(target=flood, daemon=True).start()
    serve()


if __name__ == "__main__":
    main()
