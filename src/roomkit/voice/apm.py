"""Echo, noise and loudness: what cancels, what levels, and WebRTC's own way of doing it.

The ABCs need nothing. The ``WebRTC...`` classes need the extra ``apm``, which brings WebRTC's
audio processing module: about a tenth of a millisecond of work for 20 ms, the canceller one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from roomkit._lazy import require
from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio.levels import peak_pcm16
from roomkit.voice.audio.pcm import read_samples, require_format
from roomkit.voice.audio.resample import SincResamplerProvider
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
from roomkit.voice.vad._utterance import UtteranceRules, UtteranceVAD, Verdict
from roomkit.voice.vad._windows import Windows

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_REFERENCE_S = 120
# WebRTC's own; given another it ends the process.
_RATES = (16000, 32000, 48000)
_QUIET = 8


class AECProvider(ABC):
    """Takes out of what the microphone hears what the loudspeaker plays.

    Everything is synchronous, is called on the event loop and returns within the time of a
    frame. A canceller remembers both directions, so it overrides ``for_session``.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @abstractmethod
    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the next inbound frame without its echo: the same object or another."""

    @abstractmethod
    def feed_reference(self, frame: AudioFrame) -> None:
        """Take in what will be played; pieces are played one after the other as they come."""

    def clear_reference(self) -> None:
        """Forget what was to be played but was cancelled."""

    def for_session(self) -> Self:
        """Return a canceller for one session, as if new; the default is this one, shared."""
        return self

    def reset(self) -> None:
        """Forget what was heard; the default remembers nothing."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""


@dataclass
class AGCConfig:
    """How loud speech is to be.

    Attributes:
        target_level_dbfs: The loudest it should get, in decibels of full scale.
        max_gain_db: The most it is raised.
        attack_ms: How fast it is lowered when it gets too loud.
        release_ms: How fast it is raised again.
    """

    target_level_dbfs: float = -3.0
    max_gain_db: float = 30.0
    attack_ms: float = 10.0
    release_ms: float = 100.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInputError: One is out of range; the text names it.
        """
        if not -60.0 <= self.target_level_dbfs <= 0.0:
            raise InvalidInputError(f"target_level_dbfs={self.target_level_dbfs!r}: -60 to 0")
        if not 0.0 <= self.max_gain_db <= 60.0:
            raise InvalidInputError(f"max_gain_db={self.max_gain_db!r} must be 0 to 60")
        if not (0.0 < self.attack_ms <= 10_000.0 and 0.0 < self.release_ms <= 60_000.0):
            raise InvalidInputError("attack_ms and release_ms must be above 0")


class AGCProvider(ABC):
    """Makes quiet speech louder and loud speech quieter.

    Everything is synchronous, is called on the event loop and returns within the time of a
    frame. One that remembers anything between frames overrides ``for_session``.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @abstractmethod
    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the next frame, levelled: the same object or another of its format."""

    def for_session(self) -> Self:
        """Return one for one session, as if new; the default is this one, shared."""
        return self

    def reset(self) -> None:
        """Forget what was heard; the default remembers nothing."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""


class _Blocks:
    """Runs a processor that wants whole blocks of 10 ms over frames of any size and rate.

    Every frame comes back with its own number of samples and in its own format. Where frames
    are no multiple of 10 ms, or the rate is not WebRTC's, the sound comes out some
    milliseconds later.
    """

    def __init__(self, make: Callable[[int, int], Any]) -> None:
        self._make = make
        self._there = SincResamplerProvider()
        self._back = SincResamplerProvider()
        self.reset()

    def reset(self) -> None:
        """Begin anew with the next frame."""
        self.processor: Any = None
        self.rate, self.channels = 0, 0
        self._form = (0, 0, 0)
        self._input = b""
        self._output = b""
        self._there.reset()
        self._back.reset()

    def run(self, frame: AudioFrame, work: Callable[[Any, bytes], bytes]) -> AudioFrame:
        """Return the frame after ``work(processor, blocks)``, which keeps the length.

        Raises:
            InvalidInputError: The frame's numbers describe no audio, or more than two channels.
        """
        form = (frame.sample_rate, frame.channels, frame.sample_width)
        if form != self._form:
            self._turn_to(form)
        heard = self._there.resample(frame, self.rate, self.channels, 2)
        data = self._input + heard.data
        block = 2 * self.channels * (self.rate // 100)
        whole = len(data) - len(data) % block
        self._input = data[whole:]
        if whole:
            done = AudioFrame(work(self.processor, data[:whole]), self.rate, self.channels, 2)
            self._output += self._back.resample(done, *form).data
        size = len(frame.data)
        if len(self._output) < size:
            silence = b"\x80" if form[2] == 1 else b"\0"
            self._output = silence * (size - len(self._output)) + self._output
        out, self._output = self._output[:size], self._output[size:]
        return AudioFrame(out, *form, frame.timestamp_ms, dict(frame.metadata))

    def _turn_to(self, form: tuple[int, int, int]) -> None:
        require_format(*form)
        if form[1] > 2:
            raise InvalidInputError(f"WebRTC processes mono or stereo, not {form[1]} channels")
        self.reset()
        self.rate = next((rate for rate in _RATES if rate >= form[0]), _RATES[-1])
        self.channels = form[1]
        self.processor = self._make(self.rate, self.channels)
        self._form = form


class _WebRTC:
    """The two packages all of these need."""

    def __init__(self, user: str) -> None:
        self.apm = require("pywebrtc_audio", user=user, extra="apm", dist="pywebrtc-audio")
        self._numpy = require("numpy", user=user, extra="apm")

    def array(self, data: bytes) -> Any:
        """Return 16-bit PCM as the array the package wants."""
        return self._numpy.array(read_samples(data), dtype=self._numpy.int16)

    def pcm(self, values: Any) -> bytes:
        """Return the package's array as 16-bit PCM."""
        return bytes(values.astype("<i2").tobytes())


class WebRTCEchoCanceller(AECProvider):
    """WebRTC's canceller (AEC3).

    What is to be played may come faster than it is played: it is matched with inbound audio
    piece by piece, from the moment it comes. At most two minutes wait.

    Args:
        stream_delay_ms: How much later an echo comes back, when known; it is found by itself
            too.

    Raises:
        MissingDependencyError: pywebrtc-audio is not installed.
        InvalidInputError: The delay is not 0 to 1000.
    """

    def __init__(self, *, stream_delay_ms: int = 0) -> None:
        if not 0 <= stream_delay_ms <= 1000:
            raise InvalidInputError(f"stream_delay_ms={stream_delay_ms!r} must be 0 to 1000")
        self._webrtc = _WebRTC("WebRTCEchoCanceller")
        self._delay = stream_delay_ms
        self._blocks = _Blocks(self._make)
        self._resampler = SincResamplerProvider()
        self._reference = bytearray()
        self._waiting: list[AudioFrame] = []

    @property
    def name(self) -> str:
        """``webrtc_aec``."""
        return "webrtc_aec"

    @property
    def reference_ms(self) -> float:
        """How much of what is to be played waits to be heard, in milliseconds."""
        rate, channels = self._blocks.rate, self._blocks.channels
        known = 1000 * len(self._reference) / (2 * rate * channels) if rate else 0.0
        return known + sum(frame.duration_ms for frame in self._waiting)

    def feed_reference(self, frame: AudioFrame) -> None:
        """Take in what will be played, in any format."""
        if not frame.data or self.reference_ms >= 1000 * _MAX_REFERENCE_S:
            return
        if self._blocks.rate:
            self._take_in(frame)
        else:
            # The format it will be heard in shows with the first inbound frame.
            self._waiting.append(frame)

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame without what was played at its time."""
        return self._blocks.run(frame, self._cancel) if frame.data else frame

    def clear_reference(self) -> None:
        """Forget what was to be played but was cancelled."""
        self._reference.clear()
        self._waiting.clear()

    def for_session(self) -> Self:
        """Return a fresh canceller with the same settings."""
        return type(self)(stream_delay_ms=self._delay)

    def reset(self) -> None:
        """Forget both directions."""
        self._blocks.reset()
        self._resampler.reset()
        self.clear_reference()

    def close(self) -> None:
        """Release the memory."""
        self.reset()

    def _make(self, rate: int, channels: int) -> Any:
        # What waits was brought to the old format.
        self._reference.clear()
        self._resampler.reset()
        return self._webrtc.apm.EchoCanceller(rate, channels, self._delay)

    def _take_in(self, frame: AudioFrame) -> None:
        rate, channels = self._blocks.rate, self._blocks.channels
        self._reference += self._resampler.resample(frame, rate, channels, 2).data

    def _cancel(self, processor: Any, near: bytes) -> bytes:
        waiting, self._waiting = self._waiting, []
        for frame in waiting:
            self._take_in(frame)
        far = bytes(self._reference[: len(near)]).ljust(len(near), b"\0")
        del self._reference[: len(near)]
        webrtc = self._webrtc
        return webrtc.pcm(processor.process(webrtc.array(near), webrtc.array(far)))


class WebRTCNoiseSuppressor(DenoiserProvider):
    """WebRTC's noise suppressor.

    Args:
        level: How much: 0 is 6 dB, 1 is 12, 2 is 18, 3 is 21.

    Raises:
        MissingDependencyError: pywebrtc-audio is not installed.
        InvalidInputError: The level is not 0 to 3.
    """

    def __init__(self, *, level: int = 2) -> None:
        if level not in (0, 1, 2, 3):
            raise InvalidInputError(f"level={level!r} must be 0, 1, 2 or 3")
        self._webrtc = _WebRTC("WebRTCNoiseSuppressor")
        self._level = level
        self._blocks = _Blocks(
            lambda rate, channels: self._webrtc.apm.NoiseSuppressor(rate, channels, level)
        )

    @property
    def name(self) -> str:
        """``webrtc_ns``."""
        return "webrtc_ns"

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame with less noise."""
        return self._blocks.run(frame, self._suppress) if frame.data else frame

    def for_session(self) -> Self:
        """Return a fresh suppressor of the same level."""
        return type(self)(level=self._level)

    def reset(self) -> None:
        """Forget the noise."""
        self._blocks.reset()

    def close(self) -> None:
        """Release the memory."""
        self._blocks.reset()

    def _suppress(self, processor: Any, data: bytes) -> bytes:
        return self._webrtc.pcm(processor.process(self._webrtc.array(data)))


class WebRTCGainController(AGCProvider):
    """WebRTC's gain control (AGC2): slow, follows speech and not noise, never clips.

    Args:
        config: The level and the most it is raised. How fast it reacts is AGC2's own affair
            (6 dB a second, its limiter at once): ``attack_ms`` and ``release_ms`` are for
            ``LevelAGCProvider``.

    Raises:
        MissingDependencyError: pywebrtc-audio is not installed.
    """

    def __init__(self, config: AGCConfig | None = None) -> None:
        self._webrtc = _WebRTC("WebRTCGainController")
        self._config = config or AGCConfig()
        self._blocks = _Blocks(self._make)

    @property
    def name(self) -> str:
        """``webrtc_agc``."""
        return "webrtc_agc"

    @property
    def gain_db(self) -> float:
        """By how much the last frame was raised."""
        processor = self._blocks.processor
        return 0.0 if processor is None else float(processor.gain_db)

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame, levelled."""
        return self._blocks.run(frame, self._level) if frame.data else frame

    def for_session(self) -> Self:
        """Return a fresh one with the same settings."""
        return type(self)(self._config)

    def reset(self) -> None:
        """Forget how loud it was."""
        self._blocks.reset()

    def close(self) -> None:
        """Release the memory."""
        self._blocks.reset()

    def _make(self, rate: int, channels: int) -> Any:
        return self._webrtc.apm.GainController(
            rate,
            channels,
            max_gain_db=self._config.max_gain_db,
            headroom_db=max(1.0, -self._config.target_level_dbfs),
        )

    def _level(self, processor: Any, data: bytes) -> bytes:
        return self._webrtc.pcm(processor.process(self._webrtc.array(data)))


class WebRTCSpeechDetector(UtteranceVAD):
    """A detector from WebRTC's noise analysis: cheap, needs about a second to settle.

    Args:
        threshold: The probability from which on a window is speech, 0.01 to 0.99.
        silence_threshold_ms: Silence that ends an utterance.
        min_speech_duration_ms: What is shorter, without the silence after it,
            ends without audio.
        speech_pad_ms: Audio kept from before and after the speech.
        rules: Further rules, as in ``EnergyVADProvider``; ``report_dropped`` is True.

    Raises:
        MissingDependencyError: pywebrtc-audio is not installed.
        InvalidInputError: A value cannot be used.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.6,
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
                **{"report_dropped": True, **rules},
            )
        )
        self._webrtc = _WebRTC("WebRTCSpeechDetector")
        self._threshold = threshold
        self._detector: Any = self._webrtc.apm.VoiceDetector(16000, 1)
        self._windows = Windows(16000, 160)
        self._probability = 0.0

    @property
    def name(self) -> str:
        """``webrtc_apm``."""
        return "webrtc_apm"

    def settings(self) -> dict[str, Any]:
        """Return the constructor's own arguments, without the rules."""
        return {"threshold": self._threshold}

    def judge(self, frame: AudioFrame) -> Verdict:
        """Return the mean probability of the windows that end in this frame."""
        if self._detector is None:
            return Verdict(False, 0.0)
        heard = [self._hear(window) for window in self._windows.push(frame)]
        if heard:
            self._probability = sum(heard) / len(heard)
        limit = self._threshold * (0.6 if self.speaking else 1.0)
        return Verdict(self._probability >= limit, self._probability)

    def _hear(self, window: bytes) -> float:
        # Digital silence is no noise to learn from: the estimate would take minutes to recover.
        if peak_pcm16(window) < _QUIET:
            return 0.0
        return float(self._detector.process(self._webrtc.array(window)))

    def reset(self) -> None:
        """Forget what was heard, inside the detector too."""
        super().reset()
        self._windows.reset()
        self._probability = 0.0
        if self._detector is not None:
            self._detector.reset()

    def close(self) -> None:
        """Give the detector up; a closed one hears silence."""
        self._detector = None
        self._probability = 0.0
