"""Object detection: scenes composed of photographs that were cut out, so that every box is exact.

Rules:
1. A scene is a picture of 320 by 320 pixels with one, two or four cut-outs, each in a cell of its own, on a ground that
   fades from one light colour into another. What stands where is drawn from SHA-256 of the set's name and its number.
2. Everything is integer arithmetic: a cut-out is made smaller by averaging whole blocks of its pixels, weighted with
   their opacity, never larger; it is laid over the ground in 255 steps. A box encloses the pixels that are at least
   half opaque: [x_min, y_min, x_max, y_max], the upper ends excluded.
3. The picture is a PNG file with stored (uncompressed) blocks, written here: its bytes depend on no library's version.
4. Labels are the names of COCO's 80 classes.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes.choosing import About, Share, divide
from protocol.methodology.tasks import Task
from protocol.samples import ImageInput, Point

if TYPE_CHECKING:
    import numpy as np

NAME = "embedded-scenes"
STAMPS = "usr/share/tuxpaint/stamps"
SIDE = 320  # pixels
MARGIN = 6
OPAQUE = 128  # of 255
CLASSES = {
    path: label.replace("-", " ")
    for path, label in (
        line.split()
        for line in """
    animals/birds/blackbird bird
    animals/birds/crow bird
    animals/birds/duck bird
    animals/birds/gander bird
    animals/birds/hen bird
    animals/birds/ostrich bird
    animals/birds/pelican bird
    animals/birds/pigeon bird
    animals/birds/rooster bird
    animals/birds/seagull bird
    animals/mammals/bears/bear bear
    animals/mammals/bears/european-bear bear
    animals/mammals/bears/toys/edward_bear teddy-bear
    animals/mammals/bovines/bull cow
    animals/mammals/bovines/cow cow
    animals/mammals/bovines/cow_white cow
    animals/mammals/bovines/sheep sheep
    animals/mammals/bovines/sheep_lamb sheep
    animals/mammals/dogs/dog dog
    animals/mammals/elephant elephant
    animals/mammals/equines/horse horse
    animals/mammals/equines/zebra zebra
    animals/mammals/giraffe giraffe
    food/fruit/apple_fuji apple
    food/fruit/apple_green apple
    food/fruit/apple_red apple
    food/fruit/banana banana
    food/fruit/orange orange
    food/vegetables/broccoli broccoli
    food/vegetables/carrot carrot
    household/dishes/mug cup
    household/toilet toilet
    people/fireman200b person
    people/fireman240a person
    sports/basketball sports-ball
    sports/soccer sports-ball
    sports/tennis_ball sports-ball
    sports/tennis_racket tennis-racket
    town/roadsigns/stop stop-sign
    town/roadsigns/stoplight_01_red traffic-light
    vehicles/auto/beetle car
    vehicles/auto/sedan car
    vehicles/auto/sportscar2 car
    vehicles/auto/truck truck
    vehicles/emergency/firetruck truck
    vehicles/flight/planes/747 airplane
    vehicles/garbagetruck truck
    vehicles/masstransit/green_korean_bus bus
    """.strip().split("\n")
    )
}
"""The COCO class of every cut-out, by its path."""
SHARES = {"tuxpaint-scenes": Share(points=300, warm_up=32, pool=120)}
ABOUT = About(
    name=NAME,
    task=Task.OBJECT_DETECTION,
    licence="GPL-2.0-or-later",
    note="300 scenes composed by this project of 48 cut-out photographs on plain grounds, with exact boxes and COCO's "
    "class names: not photographs of scenes, no overlaps, fewer than 1,000 points, one source, never certifiable",
    attribution={
        "tuxpaint-scenes": "composed of Tux Paint stamps, Bill Kendrick and contributors (GPL-2.0-or-later), as "
        "packaged in Debian's tuxpaint-stamps-default 2022.06.04-1"
    },
)


def build(members: Members) -> Built:
    """Return 300 scenes, 32 to warm up with and 120 for the pool."""
    stamps = members["tuxpaint-stamps-default"]
    cutouts = {path: _cut_out(stamps[f"{STAMPS}/{path}.png"]) for path in CLASSES}
    share = SHARES["tuxpaint-scenes"]
    count = share.points + share.warm_up + (share.pool or 0)
    return divide(ABOUT, [_scene(number, cutouts) for number in range(count)], SHARES)


def _cut_out(content: bytes) -> np.ndarray:
    """Return the pixels of a picture, (height, width, 4) in bytes: red, green, blue and opacity."""
    # Pillow and NumPy are loaded where a set is built, not where its name is read: the command's help stays light.
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    with Image.open(io.BytesIO(content)) as picture:
        return _cropped(np.asarray(picture.convert("RGBA")))


def _cropped(pixels: np.ndarray) -> np.ndarray:
    import numpy as np  # noqa: PLC0415 - see _cut_out

    opaque = pixels[:, :, 3] >= OPAQUE
    rows, columns = np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


class _Draws:
    """Whole numbers drawn from a seed, one after the other."""

    def __init__(self, seed: str) -> None:
        self._seed, self._at = seed, 0

    def below(self, limit: int) -> int:
        digest = hashlib.sha256(f"{self._seed}/{self._at}".encode()).digest()
        self._at += 1
        return int.from_bytes(digest[:8], "big") % limit


def _scene(number: int, cutouts: Mapping[str, np.ndarray]) -> Point:
    draws = _Draws(f"{NAME}/{number}")
    canvas = _ground(draws)
    found = []
    for left, top, width, height in _cells(draws):
        path = list(CLASSES)[draws.below(len(CLASSES))]
        reach = 60 + draws.below(41)  # per cent of the cell
        room = [(side - 2 * MARGIN) * reach // 100 for side in (width, height)]
        small = _cropped(_smaller(cutouts[path], room[0], room[1]))
        x = left + MARGIN + draws.below(width - 2 * MARGIN - small.shape[1] + 1)
        y = top + MARGIN + draws.below(height - 2 * MARGIN - small.shape[0] + 1)
        box = [x, y, x + small.shape[1], y + small.shape[0]]
        under = canvas[y : box[3], x : box[2]]
        opacity = small[:, :, 3:].astype("int64")
        under[:] = (small[:, :, :3] * opacity + under * (255 - opacity) + 127) // 255
        found.append({"label": CLASSES[path], "box": box})
    picture = ImageInput(content=_png(canvas.astype("uint8")))
    reference = json.dumps(found)
    return Point(index=0, point_id=f"scene-{number:03d}", source="tuxpaint-scenes", input=picture, reference=reference)


def _ground(draws: _Draws) -> np.ndarray:
    import numpy as np  # noqa: PLC0415 - see _cut_out

    above, below = ([150 + draws.below(96) for _ in range(3)] for _ in range(2))
    ramp = np.arange(SIDE, dtype=np.int64)[:, None, None]
    fade = (np.array(above) * (SIDE - 1 - ramp) + np.array(below) * ramp) // (SIDE - 1)
    return np.broadcast_to(fade, (SIDE, SIDE, 3)).copy()


def _cells(draws: _Draws) -> list[tuple[int, int, int, int]]:
    """Return one, two or four cells as (left, top, width, height)."""
    half = SIDE // 2
    kinds = [
        [(0, 0, SIDE, SIDE)],
        [(0, 0, half, SIDE), (half, 0, half, SIDE)],
        [(0, 0, SIDE, half), (0, half, SIDE, half)],
        [(x, y, half, half) for y in (0, half) for x in (0, half)],
    ]
    return kinds[draws.below(len(kinds))]


def _smaller(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a picture that fits, by rule 2; as it is where it fits already."""
    import numpy as np  # noqa: PLC0415 - see _cut_out

    tall, wide = pixels.shape[:2]
    if wide <= width and tall <= height:
        return pixels
    if wide * height >= tall * width:
        height = max(1, tall * width // wide)
    else:
        width = max(1, wide * height // tall)
    rows, columns = np.arange(height) * tall // height, np.arange(width) * wide // width
    opacity = pixels[:, :, 3:].astype(np.int64)
    weighted = np.concatenate([pixels[:, :, :3] * opacity, opacity], axis=2)
    sums = np.add.reduceat(np.add.reduceat(weighted, rows, axis=0), columns, axis=1)
    areas = np.diff(np.append(rows, tall))[:, None] * np.diff(np.append(columns, wide))[None, :]
    colour = sums[:, :, :3] // np.maximum(sums[:, :, 3:], 1)
    return np.concatenate([colour, (sums[:, :, 3] // areas)[:, :, None]], axis=2)


def _png(pixels: np.ndarray) -> bytes:
    """Return an 8-bit RGB PNG file of pixels (height, width, 3), its data in stored blocks of at most 65,535 bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    raw = b"".join(b"\x00" + row.tobytes() for row in pixels)
    blocks = [raw[at : at + 65_535] for at in range(0, len(raw), 65_535)]
    stored = b"".join(
        bytes([block is blocks[-1]]) + struct.pack("<HH", len(block), len(block) ^ 0xFFFF) + block for block in blocks
    )
    data = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


RECIPE = Recipe(name=NAME, task=Task.OBJECT_DETECTION, packages=("tuxpaint-stamps-default",), build=build)
