"""Whose error is it? The engine's words for a refused start, sorted into the vendor's faults and the rig's.

Rules:
 1. A status of the engine that only the image can cause is the vendor's.
 2. Of the runtime's messages, those that speak of the image's own files or command are the vendor's.
 3. Everything else is the rig's: blaming a vendor for a broken machine would end its campaign.
 4. Messages are cut and stripped of the host's paths before they are shown.
"""

from __future__ import annotations

import re

from protocol.errors import AcceleratorUnavailable, EngineUnavailable, InvalidSubmission, JoulesealError

_SHOWN = 240
_HOST_PATH = re.compile(r"(?:/var/lib|/var/run|/run|/proc|/sys|/root|/home|/etc)/[^\s\"':,]+")
_STATUS_NOT_FOUND = 404
_STATUS_CONFLICT = 409

_IMAGE_SAYS = (
    (re.compile(r"no command specified", re.IGNORECASE), "the image has neither an entry point nor a command"),
    (re.compile(r'exec: ".*": (?:stat|executable file not found|permission denied)'), "the entry point cannot be run"),
    (re.compile(r"(?:exec format error|no such file or directory: unknown$)"), "the entry point cannot be run"),
    (re.compile(r"unable to find (?:user|group)"), "the image's user is not there"),
    (re.compile(r"not a directory|file exists"), "a path that the sandbox mounts is no folder in the image"),
)
_DEVICE_SAYS = re.compile(r"could not select device driver|nvidia-container-cli|CDI device|unresolvable", re.IGNORECASE)


def shown(message: str) -> str:
    """Return the engine's message cut to one short line without paths of the host."""
    return _HOST_PATH.sub("<path>", " ".join(message.split()))[:_SHOWN]


def start_failure(message: str) -> JoulesealError:
    """Return the error for a container that the engine could not create or start."""
    if _DEVICE_SAYS.search(message):
        return AcceleratorUnavailable(
            code="DEVICE_REFUSED",
            observed=f"the engine could not hand over the device: {shown(message)}",
            expected="the leased accelerator inside the sandbox",
            hint="run `jouleseal doctor`; check the NVIDIA container toolkit and the device's UUID",
        )
    for pattern, meaning in _IMAGE_SAYS:
        if pattern.search(message):
            return InvalidSubmission(
                code="IMAGE_ENTRYPOINT" if "point" in meaning else "IMAGE_LAYOUT",
                observed=f"{meaning}: {shown(message)}",
                expected="an image that starts by itself, with plain folders at /tmp, /cache and /run/jouleseal",
                hint="run `jouleseal check` on the image; it starts it under the same profile and shows its output",
            )
    return EngineUnavailable(
        code="ENGINE_REFUSED",
        observed=f"the engine did not start the sandbox: {shown(message)}",
        expected="a started sandbox",
        hint="run `jouleseal doctor`; the engine's own log says more",
    )


def call_failure(status: int | None, message: str, doing: str) -> JoulesealError:
    """Return the error for a call that the engine answered with a status other than success."""
    if status == _STATUS_NOT_FOUND:
        code, hint = "ENGINE_NOT_FOUND", "something removed what was there: is a second orchestrator at work?"
    elif status == _STATUS_CONFLICT:
        code, hint = "ENGINE_CONFLICT", "remove what an earlier run left behind; `jouleseal run` does so when it starts"
    else:
        code, hint = "ENGINE_REFUSED", "run `jouleseal doctor`; the engine's own log says more"
    return EngineUnavailable(
        code=code, observed=f"{doing}: {shown(message)}", expected="the engine to do as it is asked", hint=hint
    )


def unreachable(message: str, doing: str, *, timed_out: bool) -> EngineUnavailable:
    """Return the error for an engine that does not answer at all, or not in time."""
    return EngineUnavailable(
        code="ENGINE_TIMEOUT" if timed_out else "ENGINE_DOWN",
        observed=f"{doing}: {shown(message)}",
        expected="a container engine that answers",
        hint="start the engine, and see that this user may use its socket; then run `jouleseal doctor`",
    )
