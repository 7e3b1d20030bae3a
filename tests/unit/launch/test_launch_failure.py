"""Whose error is it? Messages as engines wrote them, each with the one who must act."""

from __future__ import annotations

import pytest

from orchestrator.launch.failure import call_failure, shown, start_failure, unreachable
from protocol.errors import AcceleratorUnavailable, EngineUnavailable, InvalidSubmission

OCI = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "


@pytest.mark.parametrize(
    ("message", "kind", "code"),
    [
        (OCI + 'exec: "/nope": stat /nope: no such file or directory: unknown', InvalidSubmission, "IMAGE_ENTRYPOINT"),
        (OCI + 'exec: "x": executable file not found in $PATH: unknown', InvalidSubmission, "IMAGE_ENTRYPOINT"),
        (OCI + 'exec: "/app": permission denied: unknown', InvalidSubmission, "IMAGE_ENTRYPOINT"),
        ("No command specified", InvalidSubmission, "IMAGE_ENTRYPOINT"),
        (
            OCI + 'error during container init: error mounting "tmpfs" to rootfs at "/cache": not a directory: unknown',
            InvalidSubmission,
            "IMAGE_LAYOUT",
        ),
        (
            'could not select device driver "nvidia" with capabilities: [[gpu]]',
            AcceleratorUnavailable,
            "DEVICE_REFUSED",
        ),
        (OCI + "nvidia-container-cli: device error: GPU-1: unknown device", AcceleratorUnavailable, "DEVICE_REFUSED"),
        ("unresolvable CDI devices nvidia.com/gpu=GPU-1", AcceleratorUnavailable, "DEVICE_REFUSED"),
        (OCI + "error setting rlimit type 7: operation not permitted: unknown", EngineUnavailable, "ENGINE_REFUSED"),
        ("no space left on device", EngineUnavailable, "ENGINE_REFUSED"),
        ("failed to create shim task: context deadline exceeded", EngineUnavailable, "ENGINE_REFUSED"),
        ("", EngineUnavailable, "ENGINE_REFUSED"),
    ],
)
def test_a_refused_start_is_blamed_on_the_right_one(message: str, kind: type, code: str):
    error = start_failure(message)
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "ENGINE_NOT_FOUND"), (409, "ENGINE_CONFLICT"), (500, "ENGINE_REFUSED"), (None, "ENGINE_REFUSED")],
)
def test_a_refused_call_is_always_the_rigs(status: int | None, code: str):
    error = call_failure(status, "x", "doing")
    assert isinstance(error, EngineUnavailable)
    assert error.code == code


def test_an_engine_that_is_down_is_told_from_one_that_is_slow():
    assert unreachable("x", "y", timed_out=False).code == "ENGINE_DOWN"
    assert unreachable("x", "y", timed_out=True).code == "ENGINE_TIMEOUT"


def test_a_message_is_one_short_line_without_paths_of_the_host():
    line = shown("a\n b /var/lib/docker/overlay2/secret/merged: c " + "x" * 1000)
    assert "secret" not in line
    assert "\n" not in line
    assert len(line) <= 240
