"""Audio for the voice suites: silence, noise and something a detector takes for a voice."""

from __future__ import annotations

import math
import random
from array import array
from typing import TYPE_CHECKING

from roomkit.voice.audio_frame import AudioFrame

if TYPE_CHECKING:
    from collections.abc import Iterator


def silence(ms: int, rate: int = 16000) -> bytes:
    """Return silence, 16-bit mono."""
    return bytes(2 * (rate * ms // 1000))


def voice(ms: int, rate: int = 16000, *, pitch: float = 130.0) -> bytes:
    """Return something like a voice: harmonics with formants, four syllables a second."""
    formants = ((500.0, 1.0), (1500.0, 0.5), (2500.0, 0.25))
    weights = []
    for number in range(1, 25):
        hertz = number * pitch
        if hertz < rate / 2:
            weight = sum(a * math.exp(-(((hertz - f) / 200.0) ** 2)) for f, a in formants)
            weights.append((2 * math.pi * hertz / rate, weight + 0.02))
    total = sum(weight for _, weight in weights)
    samples = array("h")
    for n in range(rate * ms // 1000):
        syllable = 0.35 + 0.65 * abs(math.sin(2 * math.pi * 2.0 * n / rate))
        wave = sum(weight * math.sin(step * n) for step, weight in weights) / total
        samples.append(int(20000 * syllable * wave))
    return samples.tobytes()


def noise(ms: int, rate: int = 16000, *, level: int = 60, seed: int = 1) -> bytes:
    """Return quiet white noise, the same for the same seed."""
    # A signal, no secret.
    dice = random.Random(seed)  # nosec B311
    count = rate * ms // 1000
    return array("h", (dice.randint(-level, level) for _ in range(count))).tobytes()


def frames(audio: bytes, rate: int = 16000, frame_ms: int = 20) -> Iterator[AudioFrame]:
    """Yield audio as frames of one length; the last may be shorter."""
    size = 2 * (rate * frame_ms // 1000)
    for number, start in enumerate(range(0, len(audio), size)):
        yield AudioFrame(
            data=audio[start : start + size],
            sample_rate=rate,
            timestamp_ms=float(number * frame_ms),
        )
