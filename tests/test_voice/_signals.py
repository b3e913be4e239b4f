"""Sounds made by arithmetic: tones, noise, something like speech."""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import TYPE_CHECKING

from roomkit.voice.audio import read_samples, write_samples
from roomkit.voice.audio_frame import AudioFrame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def tone(
    hertz: float | Sequence[float], ms: float, *, rate: int = 16000, amplitude: float = 8000
) -> bytes:
    """Return one or several sines added up."""
    parts = [hertz] if isinstance(hertz, (int, float)) else list(hertz)
    return write_samples(
        [
            round(sum(amplitude * math.sin(math.tau * f * i / rate) for f in parts))
            for i in range(round(rate * ms / 1000))
        ]
    )


def silence(ms: float, *, rate: int = 16000) -> bytes:
    """Return digital silence."""
    return bytes(2 * round(rate * ms / 1000))


@lru_cache(maxsize=64)
def noise(ms: float, *, rate: int = 16000, rms: float = 500, seed: int = 1) -> bytes:
    """Return white noise of a loudness."""
    dice = random.Random(seed)
    values = (dice.gauss(0, rms) for _ in range(round(rate * ms / 1000)))
    return write_samples([max(-32768, min(32767, round(value))) for value in values])


@lru_cache(maxsize=64)
def speech(ms: float, *, rate: int = 16000, amplitude: float = 9000, seed: int = 1) -> bytes:
    """Return something detectors take for speech: gliding harmonics under moving formants.

    Syllables of about 200 ms, a pitch between 100 and 150 Hz, three formants that jump from
    vowel to vowel, a little breath.
    """
    dice = random.Random(seed)
    vowels = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))
    out, phase = [], 0.0
    vowel, next_vowel = vowels[0], vowels[1]
    gains: list[tuple[int, float]] = []
    for i in range(round(rate * ms / 1000)):
        place = i / rate / 0.2
        part = place % 1
        pitch = 120 + 25 * math.sin(math.tau * 0.7 * i / rate) + 5 * math.sin(31 * i / rate)
        if i and int(place) != int((i - 1) / rate / 0.2):
            vowel, next_vowel = next_vowel, dice.choice(vowels)
        if i % (rate // 200) == 0:
            formants = [a + (b - a) * part for a, b in zip(vowel, next_vowel, strict=True)]
            gains = _harmonics(formants, pitch)
        phase += math.tau * pitch / rate
        value = sum(gain * math.sin(harmonic * phase) for harmonic, gain in gains)
        shape = 0.25 + 0.75 * math.sin(math.pi * part) ** 2
        value = amplitude * 0.5 * shape * value + dice.gauss(0, amplitude * 0.01)
        out.append(max(-32768, min(32767, round(value))))
    return write_samples(out)


def _harmonics(formants: Sequence[float], pitch: float) -> list[tuple[int, float]]:
    """Return the harmonics that are heard, and how loud."""
    parts = []
    for harmonic in range(1, 28):
        gain = sum(
            weight * math.exp(-(((harmonic * pitch - hertz) / 120) ** 2))
            for hertz, weight in zip(formants, (1.0, 0.5, 0.25), strict=True)
        )
        if harmonic < 8 or gain > 0.01:
            parts.append((harmonic, gain + 0.02))
    return parts


def mixed(one: bytes, other: bytes) -> bytes:
    """Return two sounds on top of each other."""
    pairs = zip(read_samples(one), read_samples(other), strict=False)
    return write_samples([max(-32768, min(32767, a + b)) for a, b in pairs])


def frames(
    pcm: bytes, *, rate: int = 16000, ms: float = 20, channels: int = 1, width: int = 2
) -> Iterator[AudioFrame]:
    """Yield a sound frame by frame."""
    block = channels * width
    step = round(rate * ms / 1000) * block
    for start in range(0, len(pcm), step):
        yield AudioFrame(
            pcm[start : start + step], rate, channels, width, 1000 * start / (rate * block)
        )


def power(pcm: bytes, hertz: float, rate: int) -> float:
    """Return how strong one tone is in a sound: its amplitude."""
    samples = read_samples(pcm)
    count = len(samples)
    real = sum(v * math.cos(math.tau * hertz * i / rate) for i, v in enumerate(samples))
    imaginary = sum(v * math.sin(math.tau * hertz * i / rate) for i, v in enumerate(samples))
    return 2 * math.hypot(real, imaginary) / count
