"""How loud a piece of audio is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from roomkit.voice.audio.pcm import read_samples

if TYPE_CHECKING:
    from array import array

SILENCE_DBFS = -96.0
"""The level of digital silence: below the smallest step of 16 bits."""

_FULL_SCALE = 32768.0


def rms(samples: array[int]) -> float:
    """Return the root mean square of 16-bit samples, 0.0 to 32768.0; 0.0 for none."""
    if not samples:
        return 0.0
    values = samples.tolist()
    return math.sqrt(math.sumprod(values, values) / len(values))


def rms_pcm16(pcm: bytes) -> float:
    """Return the root mean square of 16-bit PCM, 0.0 to 32768.0."""
    return rms(read_samples(pcm))


def peak_pcm16(pcm: bytes) -> int:
    """Return the largest magnitude in 16-bit PCM, 0 to 32768."""
    samples = read_samples(pcm)
    return max(max(samples), -min(samples)) if samples else 0


def dbfs(level: float) -> float:
    """Return an RMS value as decibels of full scale, -96.0 to 0.0."""
    if level <= 0:
        return SILENCE_DBFS
    return max(SILENCE_DBFS, min(0.0, 20.0 * math.log10(level / _FULL_SCALE)))


def level_dbfs(pcm: bytes) -> float:
    """Return the loudness of 16-bit PCM in decibels of full scale, -96.0 to 0.0."""
    return dbfs(rms_pcm16(pcm))
