"""A model that computes nothing: it answers every sample with one label, so that only the conversation takes time.

Beside the wire it keeps a raw socket, raw.sock in the same folder, for the floor under any conversation: a client sends
two big-endian 32-bit sizes, of its requests and of its replies; from then on every request of that size is answered by
as many zero bytes as were asked for.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, LabelsAnswer, SampleInput
from protocol.wire import DEFAULT_SOCKET, Description, LoadOrder, TaskSupport, serve

ANSWER = LabelsAnswer(labels=(("positive", 1.0),))
LARGEST_BATCH = 1024
SIZES = struct.Struct(">II")


class Null:
    """The model, as the wire asks for it."""

    def describe(self) -> Description:
        """State what the image holds."""
        kinds = (Task.TEXT_CLASSIFICATION, Task.IMAGE_CLASSIFICATION)
        return Description(
            model="null",
            model_version="1.0",
            engine="none",
            engine_version="0",
            tasks=tuple(TaskSupport(task=task, precisions=(Precision.FP32,)) for task in kinds),
            max_batch=LARGEST_BATCH,
        )

    def load(self, order: LoadOrder) -> None:
        """There is nothing to load."""

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer at once."""
        return [ANSWER] * len(inputs)


def exactly(connection: socket.socket, size: int) -> bytes:
    """Return `size` bytes; fewer when the client has gone."""
    received = bytearray()
    while len(received) < size and (piece := connection.recv(size - len(received))):
        received += piece
    return bytes(received)


def ping_pong(path: Path) -> None:
    """Answer raw clients, one after the other, for ever."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                head = exactly(connection, SIZES.size)
                request, reply = SIZES.unpack(head) if len(head) == SIZES.size else (0, 0)
                while request and len(exactly(connection, request)) == request:
                    connection.sendall(bytes(reply))


if __name__ == "__main__":
    raw = Path(os.environ.get("JOULESEAL_SOCKET", DEFAULT_SOCKET)).with_name("raw.sock")
    threading.Thread(target=ping_pong, args=(raw,), daemon=True).start()
    serve(Null())
