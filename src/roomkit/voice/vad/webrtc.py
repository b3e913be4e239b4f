"""Speech by the classic statistics of WebRTC: the wheel ``webrtcvad-wheels``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.exceptions import InvalidInputError
from roomkit.voice.vad._utterance import UtteranceRules, UtteranceVAD, Verdict
from roomkit.voice.vad._windows import Windows

if TYPE_CHECKING:
    from types import ModuleType

    from roomkit.voice.audio_frame import AudioFrame

_RATE = 16000
_SAMPLES = 160
_WINDOWS = 6
_START = 0.6
_STAY = 0.3


class WebRTCVADProvider(UtteranceVAD):
    """Very cheap and permissive; loud noise can mislead it.

    It judges windows of 10 ms at 16 kHz; other rates are converted. A frame is speech when
    most of the last 60 ms were: single windows err too often.

    Args:
        aggressiveness: 0 to 3; the higher, the less is taken for speech.
        silence_threshold_ms: Silence that ends an utterance.
        min_speech_duration_ms: What is shorter, without the silence after it, is a noise
            and ends without audio.
        speech_pad_ms: Audio kept from before and after the speech.
        rules: Further rules: ``max_utterance_ms`` (30,000), ``level_interval_ms``,
            ``silence_interval_ms`` (None: no such events), ``report_dropped`` (True).

    Raises:
        MissingDependencyError: webrtcvad-wheels is not installed.
        InvalidInputError: A value cannot be used.
    """

    def __init__(
        self,
        *,
        aggressiveness: int = 2,
        silence_threshold_ms: float = 500,
        min_speech_duration_ms: float = 250,
        speech_pad_ms: float = 300,
        **rules: Any,
    ) -> None:
        if aggressiveness not in (0, 1, 2, 3):
            raise InvalidInputError(f"aggressiveness={aggressiveness!r} must be 0, 1, 2 or 3")
        super().__init__(
            UtteranceRules(
                silence_threshold_ms=silence_threshold_ms,
                min_speech_duration_ms=min_speech_duration_ms,
                speech_pad_ms=speech_pad_ms,
                **rules,
            )
        )
        self._package: ModuleType = require(
            "webrtcvad", user="WebRTCVADProvider", extra="webrtcvad", dist="webrtcvad-wheels"
        )
        self._aggressiveness = aggressiveness
        self._windows = Windows(_RATE, _SAMPLES)
        self._recent: deque[bool] = deque(maxlen=_WINDOWS)
        self._detector: Any = self._package.Vad(aggressiveness)

    @property
    def name(self) -> str:
        """``webrtc``."""
        return "webrtc"

    def settings(self) -> dict[str, Any]:
        """Return the constructor's own arguments, without the rules."""
        return {"aggressiveness": self._aggressiveness}

    def judge(self, frame: AudioFrame) -> Verdict:
        """Return how much of the last 60 ms was speech."""
        if self._detector is None:
            return Verdict(False, 0.0)
        for window in self._windows.push(frame):
            self._recent.append(bool(self._detector.is_speech(window, _RATE)))
        share = sum(self._recent) / _WINDOWS
        return Verdict(share >= (_STAY if self.speaking else _START), share)

    def reset(self) -> None:
        """Forget what was heard, inside the detector too."""
        super().reset()
        self._windows.reset()
        self._recent.clear()
        if self._detector is not None:
            # It has no reset of its own.
            self._detector = self._package.Vad(self._aggressiveness)

    def close(self) -> None:
        """Give the detector up; a closed one hears silence."""
        self._detector = None
        self._recent.clear()
