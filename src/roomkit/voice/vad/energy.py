"""Speech by loudness: no dependency, a few microseconds a frame, blind to what the sound is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio.levels import dbfs, rms
from roomkit.voice.audio.pcm import read_samples
from roomkit.voice.vad._utterance import UtteranceRules, UtteranceVAD, Verdict

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame

_BIN_MS = 500.0
_BINS = 6
_ABOVE = 2.0
_STAY = 1.5


class NoiseFloor:
    """The loudness a room never falls below: the least of the last three seconds.

    Speech pauses every second or so, steady noise does not; so the minimum follows the noise
    and not the voice. Until three seconds were heard nothing is known and the floor is 0.
    """

    def __init__(self) -> None:
        self.level: float = 0.0
        self._bins: list[float] = []
        self._least = float("inf")
        self._heard_ms = 0.0

    def hear(self, loudness: float, size_ms: float) -> None:
        """Take in the loudness of a frame that lasts ``size_ms``."""
        self._least = min(self._least, loudness)
        self._heard_ms += size_ms
        if self._heard_ms < _BIN_MS:
            return
        self._bins = [*self._bins[1 - _BINS :], self._least]
        self._least, self._heard_ms = float("inf"), 0.0
        self.level = min(self._bins) if len(self._bins) == _BINS else 0.0


class EnergyVADProvider(UtteranceVAD):
    """Takes for speech what is loud, and louder than the steady noise of the place.

    Args:
        energy_threshold: The least loudness of speech: root mean square of 16-bit samples,
            above 0 to 32768.
        silence_threshold_ms: Silence that ends an utterance.
        min_speech_duration_ms: What is shorter, without the silence after it, is a noise
            and ends without audio.
        speech_pad_ms: Audio kept from before and after the speech.
        adaptive: Also ask for 6 dB above the noise of the last three seconds.
        rules: Further rules: ``max_utterance_ms`` (30,000), ``level_interval_ms``,
            ``silence_interval_ms`` (None: no such events), ``report_dropped`` (True).

    Raises:
        InvalidInputError: A value cannot be used.
        TypeError: An unknown rule.
    """

    def __init__(
        self,
        *,
        energy_threshold: float = 300.0,
        silence_threshold_ms: float = 500,
        min_speech_duration_ms: float = 200,
        speech_pad_ms: float = 300,
        adaptive: bool = True,
        **rules: Any,
    ) -> None:
        if not 0 < energy_threshold <= 32768:
            raise InvalidInputError(
                f"energy_threshold={energy_threshold!r} must be above 0 and at most 32768"
            )
        super().__init__(
            UtteranceRules(
                silence_threshold_ms=silence_threshold_ms,
                min_speech_duration_ms=min_speech_duration_ms,
                speech_pad_ms=speech_pad_ms,
                **rules,
            )
        )
        self._threshold = energy_threshold
        self._floor = NoiseFloor() if adaptive else None

    @property
    def name(self) -> str:
        """``energy``."""
        return "energy"

    def settings(self) -> dict[str, Any]:
        """Return the constructor's own arguments, without the rules."""
        return {"energy_threshold": self._threshold, "adaptive": self._floor is not None}

    def judge(self, frame: AudioFrame) -> Verdict:
        """Compare the frame's loudness with the threshold and with the noise."""
        loudness = rms(read_samples(frame.data, frame.sample_width))
        limit = self._threshold
        if self._floor is not None:
            limit = max(limit, self._floor.level * (_STAY if self.speaking else _ABOVE))
            self._floor.hear(loudness, frame.duration_ms)
        loud = loudness >= limit
        return Verdict(loud, 1.0 if loud else 0.0, dbfs(loudness))

    def reset(self) -> None:
        """Forget what was heard, the noise too."""
        super().reset()
        if self._floor is not None:
            self._floor = NoiseFloor()
