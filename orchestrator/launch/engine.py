"""The door to the container engine: the only module that imports its driver, whose exceptions never leave it.

Rules:
 1. What the profile says is sent as the engine's own JSON, read back from the engine and the kernel, and compared; a
    sandbox that differs is destroyed before anybody sees it.
 2. An image is run by the digest of its configuration, which we computed from the engine's own archive of it.
 3. Everything that is made carries the rig's and the session's name, so that a later process can remove it.
 4. Every call has a deadline.
 5. An engine hears of a container's end some 0.1 s after the kernel. A container that crashes at once is the vendor's
    to mend and not the rig's, so the engine is given the time to hear of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from orchestrator.launch import cgroups
from orchestrator.launch.enginefacts import knock, read_facts
from orchestrator.launch.facts import EngineFacts
from orchestrator.launch.failure import call_failure, start_failure, unreachable
from orchestrator.launch.identity import read_identity
from orchestrator.launch.layout import (
    LABEL_RIG,
    LABEL_SESSION,
    container_name,
    valid_session,
    volume_name,
)
from orchestrator.launch.process import Process
from orchestrator.launch.profile import LaunchProfile
from orchestrator.launch.sandbox import Sandbox, exit_meaning, session_groups
from orchestrator.launch.sealed import sealed_image
from protocol.errors import ContainerFailed, EngineUnavailable, InvalidSubmission
from protocol.submission import SealedImage

CALL_TIMEOUT_S = 60  # creating and starting take well under a second; a busy machine's storage driver takes longer
SAVE_TIMEOUT_S = 600  # the engine prepares a whole archive before its first byte
SOCKET_ENV = "DOCKER_HOST"

_HEARS_S = 2.0
_POLL_S = 0.02

_OWN = "blkio"  # of the v1 controllers the only one whose usual counters leave out the groups below
_NOT_MODIFIED = 304
_CONFLICT = 409
_NOT_FOUND = 404


@contextmanager
def _asking(doing: str) -> Iterator[None]:
    """Map whatever the driver raises, in a call or while its stream is read, to our errors."""
    try:
        yield
    except APIError as error:
        status = error.response.status_code if error.response is not None else None
        raise call_failure(status, str(error.explanation or error), doing) from error
    except (requests.exceptions.Timeout, TimeoutError) as error:
        raise unreachable(str(error), doing, timed_out=True) from error
    except (DockerException, requests.exceptions.RequestException, OSError) as error:
        raise unreachable(str(error), doing, timed_out=False) from error


class DockerEngine:
    """A connection to one engine. Safe to close twice; sandboxes outlive a closed connection until they are reaped."""

    def __init__(self, client: docker.APIClient, rig_id: str, facts: EngineFacts) -> None:
        self._client: Any = client  # its type stubs leave calls out that are made here
        self._rig_id = rig_id
        self._facts = facts

    @classmethod
    def connect(cls, rig_id: str | None = None) -> Self:
        """Connect to the engine that DOCKER_HOST names, or to the local one; raises EngineUnavailable.

        `rig_id` marks what this orchestrator makes, so that `reap` touches nothing of another's; the engine's own id is
        used where none is given.
        """
        with _asking("connecting to the container engine"):
            knock(os.environ.get(SOCKET_ENV))
            client = docker.APIClient(base_url=os.environ.get(SOCKET_ENV), version="auto", timeout=CALL_TIMEOUT_S)
            facts = read_facts(client.info(), client.version(), client.base_url, os.environ.get(SOCKET_ENV))
        return cls(client, rig_id or facts.engine_id, facts)

    def facts(self) -> EngineFacts:
        """Return what the engine and its machine were when the connection was made."""
        return self._facts

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def resolve(self, reference: str) -> SealedImage:
        """Return the image that a reference names here, with its identity computed from the engine's archive of it.

        Never pulls. Raises InvalidSubmission IMAGE_NOT_FOUND if it is not here, IMAGE_ARCHIVE or IMAGE_CONFIG if it is
        malformed, and EngineUnavailable IMAGE_IDENTITY if the engine's id is not the digest that we computed.
        """
        image_id = self._image_id(reference)
        with _asking(f"reading the image {reference[:120]}"):
            identity = read_identity(self._saved(image_id))
        if not self._facts.containerd_store and image_id != identity.config_digest:
            raise EngineUnavailable(
                code="IMAGE_IDENTITY",
                observed=f"the engine calls the image {image_id}, its archive says {identity.config_digest}",
                expected="an engine whose image ids are the digests of the configurations",
                hint="use a graph driver store; run `jouleseal doctor`",
            )
        return sealed_image(identity)

    def image_settings(self, image: SealedImage) -> Mapping[str, Any]:
        """Return what an image's configuration says, as the engine tells it."""
        with _asking("reading the image's configuration"):
            found: Mapping[str, Any] = self._client.inspect_image(image.config_digest)
        return found.get("Config") or {}

    def _image_id(self, reference: str) -> str:
        try:
            with _asking(f"looking for the image {reference[:120]}"):
                return str(self._client.inspect_image(reference)["Id"])
        except EngineUnavailable as error:
            if isinstance(error.__cause__, ImageNotFound | NotFound):
                raise InvalidSubmission(
                    code="IMAGE_NOT_FOUND",
                    observed=f"no image {reference[:120]!r} on this machine",
                    expected="an image that was loaded at intake; nothing is pulled",
                    hint="build or load the image, and name it as `docker images` shows it",
                ) from error
            raise

    def _saved(self, image_id: str) -> Iterator[bytes]:
        url = f"{self._client.base_url}/v{self._client.api_version}/images/{image_id}/get"
        with self._client.get(url, stream=True, timeout=SAVE_TIMEOUT_S) as response:
            response.raise_for_status()
            yield from response.iter_content(1 << 20)

    def launch(
        self, image: SealedImage, profile: LaunchProfile, session_id: str, labels: Mapping[str, str] | None = None
    ) -> Sandbox:
        """Start the image under the profile and return the sandbox once it is proved to be what was asked for.

        Raises InvalidSubmission (IMAGE_NOT_FOUND, IMAGE_ENTRYPOINT, IMAGE_LAYOUT), ContainerFailed (EXITED, OOM_KILLED)
        if it ended at once, EngineUnavailable, AcceleratorUnavailable, and SealBroken PROFILE_DIFFERS. Whatever it
        raises, nothing of the session is left behind.
        """
        request = profile.to_engine(valid_session(session_id), {**(labels or {}), LABEL_RIG: self._rig_id})
        volume = volume_name(session_id)
        container_id: str | None = None
        self._image_id(image.config_digest)
        self._refuse_second(session_id)
        try:
            self._make_volume(volume, profile, session_id)
            container_id = self._create(request, session_id)
            self._start(container_id)
            sandbox = self._hold(container_id, session_id, profile, request)
        except BaseException:
            self._discard(container_id, volume, session_id)
            raise
        try:
            sandbox.verify()
        except BaseException:
            sandbox.destroy()
            raise
        return sandbox

    def _refuse_second(self, session_id: str) -> None:
        """Raise EngineUnavailable SESSION_EXISTS if this session's container or volume is there already."""
        with _asking("looking for an earlier sandbox of this session"):
            names = [
                c["Names"] for c in self._client.containers(all=True, filters={"name": container_name(session_id)})
            ]
            volumes = self._client.volumes(filters={"name": volume_name(session_id)}).get("Volumes") or []
        taken = [f"/{container_name(session_id)}" in each for each in names]
        taken += [volume["Name"] == volume_name(session_id) for volume in volumes]
        if any(taken):
            raise EngineUnavailable(
                code="SESSION_EXISTS",
                observed=f"the sandbox or the volume of session {session_id} is there already",
                expected="one sandbox a session",
                hint="if no other orchestrator is at work, `jouleseal run` removes what was left behind when it starts",
            )

    def _make_volume(self, name: str, profile: LaunchProfile, session_id: str) -> None:
        options = {"type": "tmpfs", "device": "tmpfs", "o": ",".join(profile.socket_folder.options)}
        labels = {LABEL_RIG: self._rig_id, LABEL_SESSION: session_id}
        with _asking("making the socket's volume"):
            self._client.create_volume(name, driver="local", driver_opts=options, labels=labels)

    def _create(self, request: dict[str, Any], session_id: str) -> str:
        try:
            with _asking("creating the sandbox"):
                created = self._client.create_container_from_config(request, container_name(session_id))
        except EngineUnavailable as error:
            cause = error.__cause__
            refused = isinstance(cause, APIError) and cause.status_code not in {_CONFLICT, _NOT_FOUND}
            raise (start_failure(error.observed) if refused else error) from cause
        return str(created["Id"])

    def _start(self, container_id: str) -> None:
        try:
            with _asking("starting the sandbox"):
                self._client.start(container_id)
        except EngineUnavailable as error:
            if isinstance(error.__cause__, APIError):
                raise start_failure(str(error.__cause__.explanation or error.__cause__)) from error
            raise

    def _hold(self, container_id: str, session_id: str, profile: LaunchProfile, request: Mapping[str, Any]) -> Sandbox:
        state = self.inspect(container_id)["State"]
        process = Process.hold(int(state["Pid"])) if state.get("Pid") else None
        if process is None:
            raise self._ended_at_once(container_id)
        try:
            membership = cgroups.Membership.parse(process.path("cgroup").read_text())
        except OSError as error:
            process.release()
            raise self._ended_at_once(container_id) from error
        if not membership.is_of(container_id) or not process.alive():
            process.release()
            raise self._ended_at_once(container_id)
        leaves = cgroups.directories(membership, Path("/proc/self/mountinfo").read_text())
        return Sandbox(
            container_id=container_id,
            session_id=session_id,
            volume=volume_name(session_id),
            profile=profile,
            request=request,
            process=process,
            membership=membership,
            cgroup_dirs={name: leaf if name == _OWN else leaf.parent for name, leaf in leaves.items()},
            leaf_dirs=leaves,
            calls=self,
        )

    def _ended_at_once(self, container_id: str) -> ContainerFailed:
        state = self.inspect(container_id)["State"]
        return ContainerFailed(
            code="OOM_KILLED" if state.get("OOMKilled") else "EXITED",
            observed=f"the container ended at once with {exit_meaning(int(state.get('ExitCode', -1)))}",
            expected="a server that runs until it is stopped",
            hint="run `jouleseal check` on the image: it shows the output under the same profile",
        )

    def _discard(self, container_id: str | None, volume: str, session_id: str) -> None:
        """Remove what a failed launch left; the failure itself is what the caller must see, so errors here are not."""
        with suppress(EngineUnavailable):
            self.remove(container_id or container_name(session_id), volume)
        cgroups.remove(session_groups(session_id))

    def reap(self, session_ids: Iterable[str] | None = None) -> list[str]:
        """Remove the sandboxes, volumes and control groups of these sessions, or of every session of this rig.

        Returns the names of the sessions of which something was found. The caller makes sure that none of them is in
        use: this is for what a killed process left behind.
        """
        wanted = None if session_ids is None else {valid_session(s) for s in session_ids}
        found: set[str] = set()
        for session in sorted(self._left_behind()):
            if wanted is None or session in wanted:
                self.remove(container_name(session), volume_name(session))
                cgroups.remove(session_groups(session))
                found.add(session)
        return sorted(found)

    def _left_behind(self) -> set[str]:
        filters = {"label": [f"{LABEL_RIG}={self._rig_id}", LABEL_SESSION]}
        with _asking("looking for sandboxes that were left behind"):
            containers: Sequence[Mapping[str, Any]] = self._client.containers(all=True, filters=filters)
            volumes: Sequence[Mapping[str, Any]] = self._client.volumes(filters=filters).get("Volumes") or []
        named = [(str(c["Names"][0]).lstrip("/"), c["Labels"][LABEL_SESSION], container_name) for c in containers]
        named += [(str(v["Name"]), v["Labels"][LABEL_SESSION], volume_name) for v in volumes]
        return {session for name, session, rule in named if name == rule(session)}

    def inspect(self, container_id: str) -> dict[str, Any]:
        """Return the engine's description of the container, as the kernel has it; see rule 5."""
        give_up = time.monotonic() + _HEARS_S
        while True:
            with _asking("inspecting the sandbox"):
                found = dict(self._client.inspect_container(container_id))
            if not _outdated(found.get("State") or {}) or time.monotonic() >= give_up:
                return found
            time.sleep(_POLL_S)

    def stop(self, container_id: str, grace_s: int) -> None:
        """Send the stop signal, wait, then kill; no error if it has ended already."""
        with _asking("stopping the sandbox"), _tolerating(_NOT_MODIFIED, _NOT_FOUND):
            self._client.stop(container_id, timeout=grace_s)

    def kill(self, container_id: str) -> None:
        """Kill it; no error if it has ended already."""
        with _asking("killing the sandbox"), _tolerating(_CONFLICT, _NOT_FOUND):
            self._client.kill(container_id)

    def remove(self, container_id: str, volume: str) -> None:
        """Remove the container and its volumes; no error if they are gone already."""
        with _asking("removing the sandbox"):
            with _tolerating(_NOT_FOUND):
                self._client.remove_container(container_id, v=True, force=True)
            with _tolerating(_NOT_FOUND):
                self._client.remove_volume(volume, force=True)

    def logs(self, container_id: str) -> bytes:
        """Return the output that the engine kept."""
        with _asking("reading the sandbox's output"):
            return bytes(self._client.logs(container_id))


@contextmanager
def _tolerating(*statuses: int) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        if error.status_code not in statuses:
            raise


def _outdated(state: Mapping[str, Any]) -> bool:
    """Whether the engine says that a process runs which has ended."""
    if not state.get("Running") or not state.get("Pid"):
        return False
    process = Process.hold(int(state["Pid"]))
    if process is None:
        return True
    alive = process.alive()
    process.release()
    return not alive
