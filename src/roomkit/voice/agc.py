"""Levelling loudness without any dependency, and doubles of the stages of ``apm`` for tests."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Self

from roomkit.voice.apm import AECProvider, AGCConfig, AGCProvider
from roomkit.voice.audio.pcm import read_samples, write_samples
from roomkit.voice.audio_frame import AudioFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP_MS = 10.0
_GATE = 32768.0 * 10 ** (-50 / 20)


class LevelAGCProvider(AGCProvider):
    """Brings the peaks of speech to a level, in steps of 10 ms. Pure Python.

    What stays below -50 dBFS is taken for a pause and does not change the gain.

    Args:
        config: The level, the most it is raised and how fast it reacts.
    """

    def __init__(self, config: AGCConfig | None = None) -> None:
        self._config = config or AGCConfig()
        self._target = 32768.0 * 10 ** (self._config.target_level_dbfs / 20)
        self._most = 10 ** (self._config.max_gain_db / 20)
        self._down = 1 - math.exp(-_STEP_MS / self._config.attack_ms)
        self._up = 1 - math.exp(-_STEP_MS / self._config.release_ms)
        self._gain = 1.0

    @property
    def name(self) -> str:
        """``level``."""
        return "level"

    @property
    def gain_db(self) -> float:
        """By how much sound is raised at the moment."""
        return 20 * math.log10(self._gain)

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame, levelled."""
        samples = read_samples(frame.data, frame.sample_width)
        if not samples:
            return frame
        step = max(1, round(frame.sample_rate * _STEP_MS / 1000)) * frame.channels
        out = array("h")
        for start in range(0, len(samples), step):
            out.extend(self._levelled(samples[start : start + step]))
        return AudioFrame(
            write_samples(out, frame.sample_width),
            frame.sample_rate,
            frame.channels,
            frame.sample_width,
            frame.timestamp_ms,
            dict(frame.metadata),
        )

    def for_session(self) -> Self:
        """Return a fresh one with the same settings."""
        return type(self)(self._config)

    def reset(self) -> None:
        """Forget how loud it was."""
        self._gain = 1.0

    def _levelled(self, samples: array[int]) -> Iterator[int]:
        """Yield samples under a gain that moves in a straight line, so that nothing clicks."""
        before = self._gain
        peak = max(max(samples), -min(samples))
        if peak >= _GATE:
            wanted = min(self._most, self._target / peak)
            self._gain += (wanted - before) * (self._down if wanted < before else self._up)
        slope = (self._gain - before) / len(samples)
        for place, value in enumerate(samples):
            raised = round(value * (before + slope * place))
            yield max(-32768, min(32767, raised))


class MockAGCProvider(AGCProvider):
    """Gives frames back as they are.

    Attributes:
        frames: What it was given.
        reset_count: How often it was reset.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.frames: list[AudioFrame] = []
        self.reset_count: int = 0
        self.closed: bool = False

    @property
    def name(self) -> str:
        """The class's name."""
        return "MockAGCProvider"

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the same frame."""
        self.frames.append(frame)
        return frame

    def reset(self) -> None:
        """Count it."""
        self.reset_count += 1

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class MockAECProvider(AECProvider):
    """Gives frames back as they are.

    Attributes:
        frames: Inbound frames it was given.
        references: Frames it was told will be played.
        reset_count: How often it was reset.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.frames: list[AudioFrame] = []
        self.references: list[AudioFrame] = []
        self.reset_count: int = 0
        self.closed: bool = False

    @property
    def name(self) -> str:
        """The class's name."""
        return "MockAECProvider"

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the same frame."""
        self.frames.append(frame)
        return frame

    def feed_reference(self, frame: AudioFrame) -> None:
        """Keep it."""
        self.references.append(frame)

    def reset(self) -> None:
        """Count it."""
        self.reset_count += 1

    def close(self) -> None:
        """Remember it."""
        self.closed = True
