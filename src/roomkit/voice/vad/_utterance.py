"""From "this frame is speech" to utterances: what all detectors here have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio.levels import dbfs, rms
from roomkit.voice.audio.pcm import read_samples
from roomkit.voice.audio.resample import SincResamplerProvider
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType, VADProvider

if TYPE_CHECKING:
    from roomkit.voice.pipeline.vad_provider import VADConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceRules:
    """How utterances are cut; every time in milliseconds of audio.

    Attributes:
        silence_threshold_ms: Silence that ends an utterance.
        min_speech_duration_ms: What is shorter, without the silence after it, is a noise:
            its SPEECH_END has no audio.
        speech_pad_ms: Audio kept from before the first and from after the last loud frame.
        max_utterance_ms: An utterance that goes on longer is cut here; the next begins.
        level_interval_ms: How often AUDIO_LEVEL is reported: 0 for every frame, None for
            never.
        silence_interval_ms: How often SILENCE is reported while nobody speaks; None for never.
        report_dropped: False leaves that SPEECH_END out, so that a start may have no end.
    """

    silence_threshold_ms: float = 500
    min_speech_duration_ms: float = 200
    speech_pad_ms: float = 300
    max_utterance_ms: float = 30_000
    level_interval_ms: float | None = None
    silence_interval_ms: float | None = None
    report_dropped: bool = True

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInputError: One is negative or no number, or would end every utterance at
                once.
        """
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None and item.name.endswith("_interval_ms"):
                continue
            if not isinstance(value, (int, float)) or not 0 <= value < 86_400_000:
                raise InvalidInputError(f"{item.name}={value!r} must be 0 or more milliseconds")
        if not self.silence_threshold_ms or self.max_utterance_ms < 1000:
            raise InvalidInputError(
                "silence_threshold_ms must be above 0 and max_utterance_ms at least 1000"
            )

    def told(self, config: VADConfig) -> UtteranceRules:
        """Return these rules with what a pipeline's configuration says.

        ``config.extra`` may hold any attribute of this class.
        """
        known = {item.name for item in fields(self)}
        extra: dict[str, Any] = {k: v for k, v in config.extra.items() if k in known}
        return replace(
            self,
            **{
                "silence_threshold_ms": config.silence_threshold_ms,
                "speech_pad_ms": config.speech_pad_ms,
                "min_speech_duration_ms": config.min_speech_duration_ms,
                **extra,
            },
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a detector thinks of a frame.

    Attributes:
        is_speech: Whether somebody speaks.
        confidence: How likely it is speech, 0 to 1.
        level_db: Its loudness in dBFS, when already known.
    """

    is_speech: bool
    confidence: float
    level_db: float | None = None


class UtteranceTracker:
    """Turns verdicts about frames into at most one event a frame.

    It holds at most ``max_utterance_ms`` and one ``speech_pad_ms`` of audio.
    """

    def __init__(self, rules: UtteranceRules) -> None:
        self.rules = rules
        self.reset()

    @property
    def speech_ms(self) -> float | None:
        """How long has been spoken up to the last frame of speech; None while nobody does."""
        return self._speech_ms if self.speaking else None

    def reset(self) -> None:
        """Forget everything heard."""
        self.speaking = False
        self._recent: deque[tuple[bytes, float]] = deque()
        self._recent_ms = 0.0
        self._chunks: list[tuple[bytes, float]] = []
        self._total_ms = 0.0
        self._speech_ms = 0.0
        self._silence_ms = 0.0
        self._since_level = 0.0
        self._silence_due = 0.0
        self._format = (0, 0, 0)

    def push(self, frame: AudioFrame, verdict: Verdict) -> VADEvent | None:
        """Return what happened with the next frame; start and end come before the others."""
        size = frame.duration_ms
        if size <= 0:
            return None
        self._keep_format(frame)
        self._since_level += size
        step = self._while_speaking if self.speaking else self._while_silent
        return step(frame.data, size, verdict) or self._level(frame, verdict)

    def _while_silent(self, data: bytes, size: float, verdict: Verdict) -> VADEvent | None:
        if verdict.is_speech:
            self._chunks = [*self._recent, (data, size)]
            self._total_ms = self._recent_ms + size
            self._speech_ms, self._silence_ms = size, 0.0
            self._clear_recent()
            self.speaking = True
            return VADEvent(VADEventType.SPEECH_START, confidence=verdict.confidence)
        self._remember(data, size)
        self._silence_ms += size
        return self._silence()

    def _while_speaking(self, data: bytes, size: float, verdict: Verdict) -> VADEvent | None:
        self._chunks.append((data, size))
        self._total_ms += size
        if verdict.is_speech:
            # A pause inside an utterance belongs to it.
            self._speech_ms += self._silence_ms + size
            self._silence_ms = 0.0
        else:
            self._silence_ms += size
        over = self._silence_ms >= self.rules.silence_threshold_ms
        if over or self._total_ms >= self.rules.max_utterance_ms:
            return self._end(verdict)
        return None

    def _end(self, verdict: Verdict) -> VADEvent | None:
        chunks, tail = self._chunks, self._silence_ms
        beyond: list[tuple[bytes, float]] = []
        while chunks and tail - chunks[-1][1] >= self.rules.speech_pad_ms:
            tail -= chunks[-1][1]
            beyond.append(chunks.pop())
        self.speaking = False
        self._chunks = []
        self._silence_due = self._silence_ms + (self.rules.silence_interval_ms or 0.0)
        # What was cut off may be the breath before the next word.
        for data, size in reversed(beyond):
            self._remember(data, size)
        spoken, self._speech_ms = self._speech_ms, 0.0
        if spoken < self.rules.min_speech_duration_ms:
            if self.rules.report_dropped:
                return VADEvent(VADEventType.SPEECH_END, duration_ms=spoken)
            return None
        return VADEvent(
            VADEventType.SPEECH_END,
            audio_bytes=b"".join(data for data, _ in chunks),
            confidence=verdict.confidence,
            duration_ms=spoken,
        )

    def _silence(self) -> VADEvent | None:
        every = self.rules.silence_interval_ms
        if every is None or self._silence_ms < max(self._silence_due, every):
            return None
        self._silence_due = self._silence_ms + every
        return VADEvent(VADEventType.SILENCE, duration_ms=self._silence_ms)

    def _level(self, frame: AudioFrame, verdict: Verdict) -> VADEvent | None:
        every = self.rules.level_interval_ms
        if every is None or self._since_level < every:
            return None
        self._since_level = 0.0
        level = verdict.level_db
        if level is None:
            level = dbfs(rms(read_samples(frame.data, frame.sample_width)))
        return VADEvent(VADEventType.AUDIO_LEVEL, confidence=verdict.confidence, level_db=level)

    def _remember(self, data: bytes, size: float) -> None:
        pad = self.rules.speech_pad_ms
        self._recent.append((data, size))
        self._recent_ms += size
        while self._recent and self._recent_ms - self._recent[0][1] >= pad:
            self._recent_ms -= self._recent.popleft()[1]

    def _clear_recent(self) -> None:
        self._recent.clear()
        self._recent_ms = 0.0

    def _keep_format(self, frame: AudioFrame) -> None:
        """Bring what is kept to the format of this frame: an utterance has only one."""
        now = (frame.sample_rate, frame.channels, frame.sample_width)
        if now == self._format:
            return
        before, self._format = self._format, now
        if self._chunks:
            self._chunks = [_converted(self._chunks, before, now)]
        if self._recent:
            self._recent = deque([_converted(list(self._recent), before, now)])


def _converted(
    chunks: list[tuple[bytes, float]], before: tuple[int, int, int], now: tuple[int, int, int]
) -> tuple[bytes, float]:
    joined = AudioFrame(b"".join(data for data, _ in chunks), *before)
    return SincResamplerProvider().resample(joined, *now).data, sum(size for _, size in chunks)


class UtteranceVAD(VADProvider):
    """A detector that judges frames and leaves the utterances to ``UtteranceTracker``."""

    def __init__(self, rules: UtteranceRules) -> None:
        self._tracker = UtteranceTracker(rules)

    @property
    def rules(self) -> UtteranceRules:
        """How utterances are cut."""
        return self._tracker.rules

    @property
    def speaking(self) -> bool:
        """Whether an utterance is going on."""
        return self._tracker.speaking

    @property
    def speech_ms(self) -> float | None:
        """How long has been spoken, without the silence since; None while nobody speaks."""
        return self._tracker.speech_ms

    @abstractmethod
    def judge(self, frame: AudioFrame) -> Verdict:
        """Return what this detector thinks of the next frame."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the constructor's own arguments, without the rules."""

    def process(self, frame: AudioFrame) -> VADEvent | None:
        """Return what happened in the next frame: at most one event.

        SPEECH_START comes with the first frame of speech; SPEECH_END brings the audio from
        ``speech_pad_ms`` before it to ``speech_pad_ms`` after the last, as PCM of the frames'
        format, and as its duration the speech without both. Speech that was too short ends
        without audio. After a cut at ``max_utterance_ms`` the next frame of speech starts anew.
        """
        if not frame.data:
            return None
        return self._tracker.push(frame, self.judge(frame))

    def configure(self, config: VADConfig) -> None:
        """Take over a pipeline's settings; ``extra`` may name any rule.

        Raises:
            InvalidInputError: A value cannot be used; nothing is then changed.
        """
        self._tracker.rules = self._tracker.rules.told(config)

    def for_session(self) -> Self:
        """Return a fresh detector with the same settings."""
        rules = {item.name: getattr(self.rules, item.name) for item in fields(self.rules)}
        return type(self)(**self.settings(), **rules)

    def reset(self) -> None:
        """Forget what was heard; an open utterance is dropped without an event."""
        self._tracker.reset()
