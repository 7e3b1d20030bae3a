"""Vendors that go wrong, each met by the whole corridor: a named error, an aborted session in the log, a failed
campaign whose bundle verifies, and nothing left of the sandbox.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import orchestrator.session
from orchestrator.drive.endpoint import grpc, health_pb2
from protocol.attestation.predicates import CampaignPlan
from protocol.errors import (
    ContainerFailed,
    DeadlineExceeded,
    InvalidSubmission,
    ProtocolViolation,
    SealBroken,
    SubmissionError,
)
from protocol.units import NS_PER_S
from tests.engine import rig as rigs
from tests.engine.rig import QUICK, Rig, Told, docker

pytestmark = pytest.mark.engine
rig = rigs.rig

# How each vendor goes wrong: its image, the error's class and code, and what is not as usual about its session.
FAULTS = (
    ("never-opens", DeadlineExceeded, "SOCKET_MISSING", {"deadlines": replace(QUICK, start_s=2)}),
    ("never-healthy", DeadlineExceeded, "HEALTH_TIMEOUT", {"deadlines": replace(QUICK, health_s=2)}),
    ("slow-load", DeadlineExceeded, "LOAD_TIMEOUT", {"deadlines": replace(QUICK, load_s=2)}),
    ("exits", ContainerFailed, "EXITED", {}),
    ("wrong-count", ProtocolViolation, "WRONG_OUTPUT_COUNT", {}),
    ("out-of-order", ProtocolViolation, "OUT_OF_ORDER", {}),
    ("nan", ProtocolViolation, "NOT_A_NUMBER", {}),
    ("huge", ProtocolViolation, "RESPONSE_TOO_LARGE", {}),
    ("garbage", ProtocolViolation, "GARBAGE_BYTES", {}),
    ("vendor-status", ProtocolViolation, "VENDOR_STATUS", {}),
    ("dies", ContainerFailed, "EXITED", {}),
    ("hangs", DeadlineExceeded, "SAMPLE_DEADLINE", {}),
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are due after two seconds, not after the task's ten."""
    patient = orchestrator.session.REGISTRY
    hasty = {task: replace(spec, sample_deadline_ns=2 * NS_PER_S) for task, spec in patient.items()}
    monkeypatch.setattr(orchestrator.session, "REGISTRY", hasty)


def assert_failed_by_the_vendor(rig: Rig, told: Told, kind: type[SubmissionError], *codes: str) -> None:
    """One aborted session and a failed campaign in the log, a bundle that verifies, and nothing left."""
    assert isinstance(told.error, kind), told.error
    assert told.error.code in codes
    assert told.error.exit_code == 3
    assert told.aborts == [(told.error.code, "vendor")]
    assert told.results == [("failed", told.error.code)]
    assert rig.leftovers() == []
    assert rig.verdict() == 0


def assert_completed(rig: Rig, told: Told) -> None:
    """The campaign was completed, whatever disturbed its earlier sessions; it verifies, and nothing is left."""
    assert told.error is None
    assert told.aborts[-1] is None
    assert told.results == [("completed", None)]
    assert rig.leftovers() == []
    assert rig.verdict() == 0


@pytest.mark.parametrize("fault", FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_vendor_that_goes_wrong_fails_its_campaign_by_name(rig, hostile, impatient, fault):
    name, kind, code, unusual = fault
    told = rig.run(rig.submission(hostile[name]), **unusual)
    assert_failed_by_the_vendor(rig, told, kind, code)


def test_answers_out_of_order_within_a_query_are_told_apart_too(rig, hostile):
    told = rig.run(rig.submission(hostile["out-of-order"], scenarios=["throughput"]), points=8 * 32)
    assert_failed_by_the_vendor(rig, told, ProtocolViolation, "OUT_OF_ORDER")


def test_a_vendor_that_fills_its_memory_is_killed_alone(rig, hostile):
    told = rig.run(rig.submission(hostile["memory-bomb"], memory_mib=128))
    assert_failed_by_the_vendor(rig, told, ContainerFailed, "OOM_KILLED")


def test_a_vendor_that_forks_without_end_stops_at_its_limit(rig, hostile, impatient):
    seen: list[int] = []
    told = rig.run(rig.submission(hostile["fork-bomb"]), hooks={"run ended": lambda: seen.append(0)})
    assert seen == []
    assert_failed_by_the_vendor(rig, told, SubmissionError, "SAMPLE_DEADLINE", "OOM_KILLED")


@pytest.mark.parametrize(
    ("name", "code"), [("named-user", "IMAGE_USER"), ("root-user", "IMAGE_USER"), ("absent", "IMAGE_NOT_FOUND")]
)
def test_an_image_that_cannot_be_admitted_leaves_no_trace_in_the_log(rig, hostile, name, code):
    good = rig.submission(hostile["honest"], name="good")
    bad = rig.submission(hostile.get(name, "jouleseal/hostile-absent:local"), name="bad")
    told = rig.run(good, bad)
    assert isinstance(told.error, InvalidSubmission)
    assert told.error.code == code
    assert told.history == ()
    assert not rig.bundle.exists()
    assert rig.leftovers() == []


@pytest.mark.parametrize("name", ["volume", "healthcheck", "stop-signal", "ld-preload"])
def test_what_an_image_brings_with_it_is_switched_off(rig, hostile, name):
    seen: dict[str, object] = {}

    def look() -> None:
        [container] = docker("ps", "--quiet", "--filter", f"label=dev.jouleseal.rig={rig.rig_id}").split()
        seen.update(json.loads(docker("inspect", container))[0])
        root = Path("/proc", str(seen["State"]["Pid"]))
        seen["environment"] = (root / "environ").read_bytes().split(b"\0")
        seen["checked"] = (root / "root/tmp/checked").exists()

    told = rig.run(rig.submission(hostile[name]), hooks={"unloading": look})
    assert_completed(rig, told)
    assert [mount["Type"] for mount in seen["Mounts"]] == ["volume"]
    assert ("/var/hoard" in seen["HostConfig"]["Tmpfs"]) == (name == "volume")
    assert seen["Config"]["Healthcheck"]["Test"] == ["NONE"]
    assert "Health" not in seen["State"]
    assert not seen["checked"]
    assert seen["Config"]["StopSignal"] == "SIGTERM"
    assert not [entry for entry in seen["environment"] if entry.startswith(b"LD_") and not entry.endswith(b"=")]


def test_a_flood_of_output_goes_nowhere(rig, hostile):
    seen: dict[str, object] = {}

    def look() -> None:
        [container] = docker("ps", "--quiet", "--filter", f"label=dev.jouleseal.rig={rig.rig_id}").split()
        seen.update(json.loads(docker("inspect", container))[0])
        folder = Path(docker("info", "--format", "{{.DockerRootDir}}"), "containers", seen["Id"])
        seen["logs"] = [path.name for path in folder.rglob("*log*")]
        seen["told"] = subprocess.run(["docker", "logs", container], capture_output=True, check=False).stdout

    told = rig.run(rig.submission(hostile["floods"]), hooks={"unloading": look})
    assert_completed(rig, told)
    assert seen["HostConfig"]["LogConfig"]["Type"] == "none"
    assert (seen["LogPath"], seen["logs"], seen["told"]) == ("", [], b"")


class HostService:
    """A model server of the host's own: healthy, and counting who asks it."""

    def __init__(self, path: Path) -> None:
        self.asked: list[str] = []
        self._workers = ThreadPoolExecutor(2)
        self._server = grpc.server(self._workers)
        self._server.add_generic_rpc_handlers([self])
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def service(self, details):
        self.asked.append(details.method)
        serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        return grpc.unary_unary_rpc_method_handler(lambda *_: serving.SerializeToString())

    def stop(self) -> None:
        self._server.stop(None).wait()
        self._workers.shutdown()


@pytest.fixture
def host_service(tmp_path: Path) -> Iterator[tuple[HostService, Path]]:
    path = tmp_path / "host.sock"
    service = HostService(path)
    yield service, path
    service.stop()  # stopping twice is stopping once


def test_a_socket_that_links_to_a_host_s_service_is_never_followed(rig, hostile, host_service):
    service, path = host_service
    with grpc.insecure_channel(f"unix:{path}") as channel:
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
    assert service.asked == ["/grpc.health.v1.Health/Check"]  # it does answer whoever reaches it
    image = f"jouleseal/hostile-link-{rig.rig_id}:local"
    docker("build", "--quiet", "--tag", image, "-", text=f"FROM {hostile['link']}\nENV HOSTILE_LINK={path}\n")
    try:
        told = rig.run(rig.submission(image))
    finally:
        docker("image", "rm", image)
    service.stop()
    assert_failed_by_the_vendor(rig, told, SealBroken, "SOCKET_IS_LINK")
    assert len(service.asked) == 1


def test_during_a_run_the_engine_shows_the_profile(rig, hostile):
    seen: dict[str, object] = {}

    def look() -> None:
        [container] = docker("ps", "--quiet", "--filter", f"label=dev.jouleseal.rig={rig.rig_id}").split()
        seen.update(json.loads(docker("inspect", container))[0])

    told = rig.run(rig.submission(hostile["honest"], memory_mib=256), hooks={"window": look})
    assert_completed(rig, told)
    host, config = seen["HostConfig"], seen["Config"]
    assert seen["State"]["Running"]
    assert host["NetworkMode"] == "none"
    assert list(seen["NetworkSettings"]["Networks"]) == ["none"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges" in host["SecurityOpt"]
    [seccomp] = [option for option in host["SecurityOpt"] if option.startswith("seccomp=")]
    assert json.loads(seccomp.removeprefix("seccomp="))["defaultAction"] == "SCMP_ACT_ERRNO"
    assert host["LogConfig"]["Type"] == "none"
    assert (host["Memory"], host["MemorySwap"]) == (256 << 20, 256 << 20)
    assert host["PidsLimit"] > 0
    assert host["IpcMode"] == "private"
    assert not host["Binds"]
    assert not host["Devices"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert config["User"] == "65532:65532"
    assert config["Image"] == told.all(CampaignPlan)[0].image.config_digest
