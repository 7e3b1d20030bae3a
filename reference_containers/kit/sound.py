"""Recordings as samples: WAV and FLAC to one channel of 32-bit floats at the rate that a model wants.

WAV with whole numbers of 8, 16, 24 or 32 bits is read by the standard library; every other file, FLAC among them, by
libsndfile, where the image has soundfile.
"""

from __future__ import annotations

import io
import wave
from math import gcd

import numpy as np

try:
    import soundfile
except ImportError:  # an image whose recordings are all WAV
    soundfile = None

_TAPS = 16  # zero crossings of the filter on each side
_EIGHT_BITS, _THREE_BYTES = 1, 3


def _whole_numbers(content: bytes) -> tuple[np.ndarray, int]:
    """Return the frames of a WAV file, (n, channels) between -1 and 1, and their rate; raises wave.Error, EOFError."""
    with wave.open(io.BytesIO(content)) as recording:
        width, channels, rate = recording.getsampwidth(), recording.getnchannels(), recording.getframerate()
        raw = recording.readframes(recording.getnframes())
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if width == _EIGHT_BITS:
        values = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    elif width == _THREE_BYTES:
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = padded.view("<i4")[:, 0].astype(np.float32) / (1 << 31)
    else:
        values = np.frombuffer(raw, f"<i{width}").astype(np.float32) / (1 << (8 * width - 1))
    return values.reshape(-1, channels), rate


def read(content: bytes, rate: int) -> np.ndarray | None:
    """Return a recording as (n,) float32 between -1 and 1 at `rate` samples a second, None where it cannot be read."""
    try:
        frames, own_rate = _whole_numbers(content)
    except (wave.Error, EOFError, ValueError):
        if soundfile is None:
            return None
        try:
            frames, own_rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, ValueError, TypeError):
            return None
    if not len(frames) or own_rate < 1:
        return None
    return resample(frames.mean(axis=1, dtype=np.float32), own_rate, rate)


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return (n,) samples at `rate` as (ceil(n * wanted / rate),) at `wanted`, both a second, by a windowed sinc.

    The filter cuts off at half of the lower rate; its window is Hann's, 16 zero crossings wide on each side.
    Source: Smith, Digital Audio Resampling, https://ccrma.stanford.edu/~jos/resample/.
    """
    if rate == wanted:
        return samples.astype(np.float32)
    up, down = wanted // gcd(rate, wanted), rate // gcd(rate, wanted)
    cutoff = min(1.0, wanted / rate)
    reach = int(np.ceil(_TAPS / cutoff))
    padded = np.pad(samples.astype(np.float64), (reach, reach + 1))
    steps = np.arange(-reach, reach + 1)
    made = np.empty(-(-len(samples) * up // down), np.float32)
    for phase in range(min(up, len(made))):
        places = np.arange(phase, len(made), up) * down  # in units of 1 / up of an input sample
        whole, part = places // up, (phase * down % up) / up
        distance = steps - part
        window = np.where(np.abs(distance) < reach, np.cos(np.pi * distance / (2 * reach)) ** 2, 0)
        taps = cutoff * np.sinc(cutoff * distance) * window
        made[phase::up] = padded[whole[:, None] + reach + steps] @ taps
    return made
