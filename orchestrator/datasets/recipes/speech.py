"""Speech to text: a novel read aloud, spoken playing cards, prompts of a telephone exchange, and names of loudspeakers.

Rules:
1. A recording is the package's own WAV file, byte for byte.
2. A transcript is the source's own. Only marks that are not spoken are taken away: `<s>` and `</s>` with the file's
   name behind them. What the source describes in brackets instead of writing it down is left out altogether.
3. The names of loudspeakers are said as the files are called: Front_Center.wav says "Front Center".
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes.choosing import About, Share, divide, unlike
from protocol.methodology.tasks import Task
from protocol.samples import AudioEncoding, AudioInput, Point

NAME = "embedded-speech"
SPHINX = "usr/share/pocketsphinx/test/data"
PROMPTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"
ALSA = "usr/share/sounds/alsa"
ABOUT = About(
    name=NAME,
    task=Task.SPEECH_TO_TEXT,
    licence="BSD-2-Clause AND CC-BY-SA-3.0 AND GPL-2.0-only",
    note="418 recordings: 400 prompts of a telephone exchange by one voice at 8 kHz, 5 sentences of a novel, 5 of "
    "playing cards and 8 names of loudspeakers. One source dominates and there are fewer than 1,000 points, short "
    "and clean: not the standard set, never certifiable",
    attribution={
        "librivox": "Sense and Sensibility, LibriVox (public domain), as packaged in Debian's pocketsphinx-testdata "
        "0.8+5prealpha+1-15 (BSD-2-Clause)",
        "cards": "Carnegie Mellon University, as packaged in Debian's pocketsphinx-testdata 0.8+5prealpha+1-15 "
        "(BSD-2-Clause)",
        "asterisk": "Asterisk core sounds, recorded by Allison Smith for Digium (CC-BY-SA-3.0), as packaged in "
        "Debian's asterisk-core-sounds-en-wav 1.6.1-1",
        "alsa": "ALSA utilities (GPL-2.0), as packaged in Debian's alsa-utils 1.2.8-1",
    },
)
SHARES = {
    "librivox": Share(points=5),
    "cards": Share(points=5),
    "alsa": Share(points=8),
    "asterisk": Share(points=400, warm_up=20),
}


def build(members: Members) -> Built:
    """Return all recordings of the small sources and 400 prompts, with the rest of the prompts as the pool."""
    sphinx, asterisk = members["pocketsphinx-testdata"], members["asterisk-core-sounds-en-wav"]
    every = list(_transcribed("librivox", sphinx, f"{SPHINX}/librivox/transcription"))
    every += _transcribed("cards", sphinx, f"{SPHINX}/cards/cards.transcription")
    every += _prompts(gzip.decompress(members["asterisk-core-sounds-en"][PROMPTS]).decode("utf-8"), asterisk)
    for path in members["alsa-utils"]:
        phrase = PurePosixPath(path).stem.replace("_", " ")
        every.append(_point(f"alsa-{PurePosixPath(path).stem}", "alsa", members["alsa-utils"][path], phrase))
    return divide(ABOUT, every, SHARES)


def _point(point_id: str, source: str, content: bytes, transcript: str) -> Point:
    recording = AudioInput(content=content)
    if recording.encoding is not AudioEncoding.WAV:
        raise unlike(NAME, f"{point_id} is no WAV file", "a WAV file")
    return Point(index=0, point_id=point_id, source=source, input=recording, reference=transcript)


def _transcribed(source: str, sphinx: Mapping[str, bytes], transcription: str) -> Iterator[Point]:
    folder = PurePosixPath(transcription).parent
    for line in sphinx[transcription].decode("utf-8").splitlines():
        match = re.fullmatch(r"<s> (.*?) *</s> \((.+)\)", line)
        if match is None:
            raise unlike(NAME, f"{transcription}: {line!r}", "<s> words </s> (file)")
        transcript, file = match.groups()
        yield _point(f"{source}-{file}", source, sphinx[f"{folder}/{file}.wav"], transcript)


def _prompts(listing: str, sounds: Mapping[str, bytes]) -> Iterator[Point]:
    """The listing has lines of `name: words`; a comment begins with a semicolon, what is not spoken with a bracket."""
    for line in listing.splitlines():
        name, separator, words = line.partition(": ")
        path, transcript = f"{SOUNDS}/{name.strip()}.wav", " ".join(words.split())
        if separator and not line.startswith(";") and "[" not in words and transcript and path in sounds:
            yield _point(f"asterisk-{name.strip().replace('/', '-')}", "asterisk", sounds[path], transcript)


RECIPE = Recipe(
    name=NAME,
    task=Task.SPEECH_TO_TEXT,
    packages=("pocketsphinx-testdata", "asterisk-core-sounds-en", "asterisk-core-sounds-en-wav", "alsa-utils"),
    build=build,
)
