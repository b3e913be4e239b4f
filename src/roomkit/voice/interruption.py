"""When somebody who speaks over a playback stops it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING

from roomkit._aio import TaskSet
from roomkit._clock import SystemClock
from roomkit._logging import log_failure
from roomkit.exceptions import InvalidInputError
from roomkit.voice.backchannel import BackchannelContext, WordListBackchannelDetector

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit._clock import Clock
    from roomkit.voice.backchannel import BackchannelDetector

logger: logging.Logger = logging.getLogger("roomkit.voice")

_SOONEST_MS = 20
"""Milliseconds between two looks at a playback whose position does not move."""


@unique
class InterruptionStrategy(StrEnum):
    """What it takes to interrupt."""

    IMMEDIATE = "immediate"
    """Any speech, from its first moment."""
    CONFIRMED = "confirmed"
    """Speech that has lasted for a while."""
    SEMANTIC = "semantic"
    """Words that are more than a sign of listening, as soon as they are known; speech whose
    words are not known is judged as by CONFIRMED."""
    DISABLED = "disabled"
    """Nothing does."""


@dataclass
class InterruptionConfig:
    """How playbacks are interrupted.

    Attributes:
        strategy: What it takes.
        min_speech_ms: With CONFIRMED, how long somebody has to speak, in milliseconds. Where
            the VAD measures speech, the silence after it does not count; else it is the time
            since speech began.
        allow_during_first_ms: How much of a playback is heard in any case, in milliseconds.
        flush_partial_tts: Whether what was made and not yet played is thrown away.
        keep_partial_transcript: Whether the reply in the timeline says how much was heard.
        backchannel_detector: Tells signs of listening, which never interrupt unless the
            strategy is IMMEDIATE. None means a word list with SEMANTIC, else nothing.

    Raises:
        InvalidInputError: A strategy there is not, or a negative time.
    """

    strategy: InterruptionStrategy = InterruptionStrategy.CONFIRMED
    min_speech_ms: int = 300
    allow_during_first_ms: int = 0
    flush_partial_tts: bool = True
    keep_partial_transcript: bool = True
    backchannel_detector: BackchannelDetector | None = None

    def __post_init__(self) -> None:
        try:
            self.strategy = InterruptionStrategy(self.strategy)
        except ValueError:
            known = ", ".join(InterruptionStrategy)
            raise InvalidInputError(f"strategy={self.strategy!r} is none of {known}") from None
        for name in ("min_speech_ms", "allow_during_first_ms"):
            if not getattr(self, name) >= 0:
                raise InvalidInputError(f"{name} must be 0 or more milliseconds")

    @classmethod
    def from_barge_in(cls, enabled: bool, threshold_ms: int) -> InterruptionConfig:
        """Return what ``enable_barge_in`` and ``barge_in_threshold_ms`` of a channel mean."""
        if not enabled:
            return cls(strategy=InterruptionStrategy.DISABLED)
        return cls(strategy=InterruptionStrategy.IMMEDIATE, allow_during_first_ms=threshold_ms)


@dataclass
class InterruptionDecision:
    """What was decided.

    Attributes:
        should_interrupt: Whether the playback stops.
        is_backchannel: Whether it was only a sign of listening.
        reason: ``immediate``, ``confirmed`` or ``semantic``; ``disabled``,
            ``protected_start``, ``too_short`` or ``backchannel``.
    """

    should_interrupt: bool
    is_backchannel: bool = False
    reason: str = ""


class InterruptionHandler:
    """Decides by a config. It remembers nothing, so one serves all sessions.

    Args:
        config: How.
        backchannel_detector: Goes before the config's.
    """

    def __init__(
        self,
        config: InterruptionConfig,
        *,
        backchannel_detector: BackchannelDetector | None = None,
    ) -> None:
        self._config = config
        detector = backchannel_detector or config.backchannel_detector
        if detector is None and config.strategy == InterruptionStrategy.SEMANTIC:
            detector = WordListBackchannelDetector()
        self._detector = detector

    @property
    def config(self) -> InterruptionConfig:
        """What it was made with."""
        return self._config

    def evaluate(
        self,
        *,
        playback_position_ms: int,
        speech_duration_ms: int = 0,
        speech_text: str = "",
    ) -> InterruptionDecision:
        """Return what is decided at this moment; later in the same speech it may be another.

        Args:
            playback_position_ms: How much has been played.
            speech_duration_ms: How long somebody has been speaking.
            speech_text: What they said so far, if that is known.
        """
        config = self._config
        if config.strategy == InterruptionStrategy.DISABLED:
            return InterruptionDecision(should_interrupt=False, reason="disabled")
        if playback_position_ms < config.allow_during_first_ms:
            return InterruptionDecision(should_interrupt=False, reason="protected_start")
        if config.strategy == InterruptionStrategy.IMMEDIATE:
            return InterruptionDecision(should_interrupt=True, reason="immediate")
        if speech_text.strip() and self._detector is not None:
            if self._is_backchannel(self._detector, speech_text, speech_duration_ms):
                return InterruptionDecision(
                    should_interrupt=False, is_backchannel=True, reason="backchannel"
                )
            if config.strategy == InterruptionStrategy.SEMANTIC:
                return InterruptionDecision(should_interrupt=True, reason="semantic")
        if speech_duration_ms < config.min_speech_ms:
            return InterruptionDecision(should_interrupt=False, reason="too_short")
        return InterruptionDecision(should_interrupt=True, reason="confirmed")

    def next_look_ms(
        self, *, playback_position_ms: int, speech_duration_ms: int = 0
    ) -> int | None:
        """Return when time alone may change a "no", in milliseconds; None if it never does."""
        config = self._config
        if config.strategy == InterruptionStrategy.DISABLED:
            return None
        wait = config.allow_during_first_ms - playback_position_ms
        if config.strategy != InterruptionStrategy.IMMEDIATE:
            wait = max(wait, config.min_speech_ms - speech_duration_ms)
        return max(wait, _SOONEST_MS) if wait > 0 else None

    def watch(
        self, position: Callable[[], int], *, clock: Clock | None = None
    ) -> InterruptionWatch:
        """Return a watch over speech that begins now.

        Args:
            position: Gives how much has been played, in milliseconds.
            clock: Where time comes from.
        """
        return InterruptionWatch(self, position, clock or SystemClock())

    @staticmethod
    def _is_backchannel(detector: BackchannelDetector, text: str, duration_ms: int) -> bool:
        context = BackchannelContext(transcript=text, speech_duration_ms=duration_ms)
        try:
            return detector.classify(context).is_backchannel
        except Exception as exc:  # noqa: BLE001 - a detector is foreign code
            log_failure(logger, exc, "the backchannel detector %s failed", detector.name)
            return False


class InterruptionWatch:
    """One person speaking over one playback: the decision is taken anew while they speak.

    Made by ``InterruptionHandler.watch`` when speech begins; told what is ``heard``, how much
    was ``spoken`` and when it has ``ended``. One task awaits ``decided``. Until something is
    told of ``spoken`` the time that passes is taken for speech.
    """

    def __init__(
        self, handler: InterruptionHandler, position: Callable[[], int], clock: Clock
    ) -> None:
        self._handler = handler
        self._position = position
        self._clock = clock
        self._began = clock.monotonic()
        self._spoken: int | None = None
        self._over = False
        self._text = ""
        self._changed = asyncio.Event()

    @property
    def speech_duration_ms(self) -> int:
        """How long they have been speaking, or spoke."""
        if self._spoken is not None:
            return self._spoken
        return round((self._clock.monotonic() - self._began) * 1000)

    def heard(self, text: str) -> None:
        """Tell what they have said so far, all of it."""
        self._text = text
        self._changed.set()

    def spoken(self, milliseconds: float) -> None:
        """Tell how long they have been speaking, without the silence since."""
        if self._over:
            return
        self._spoken = round(milliseconds)
        if self._spoken >= self._handler.config.min_speech_ms:
            self._changed.set()

    def ended(self, milliseconds: float | None = None) -> None:
        """Tell that they have stopped speaking. Only the first word counts.

        Args:
            milliseconds: How long they spoke; None: what was told before, or else the time.
        """
        if self._over:
            return
        self._spoken = self.speech_duration_ms if milliseconds is None else round(milliseconds)
        self._over = True
        self._changed.set()

    async def decided(self) -> InterruptionDecision:
        """Return as soon as the playback has to stop, or when the speech has ended without."""
        while True:
            self._changed.clear()
            position, lasted = self._position(), self.speech_duration_ms
            decision = self._handler.evaluate(
                playback_position_ms=position,
                speech_duration_ms=lasted,
                speech_text=self._text,
            )
            if decision.should_interrupt or self._over:
                return decision
            if self._spoken is not None:
                # Time alone makes it no longer.
                lasted = max(lasted, self._handler.config.min_speech_ms)
            await self._change(
                self._handler.next_look_ms(
                    playback_position_ms=position, speech_duration_ms=lasted
                )
            )

    async def _change(self, within_ms: int | None) -> None:
        """Wait for news, or until it is time to look again."""
        if within_ms is None:
            await self._changed.wait()
            return
        tasks = TaskSet("interruption_watch")
        waiting = [
            tasks.start(self._changed.wait()),
            tasks.start(self._clock.sleep(within_ms / 1000)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await tasks.cancel()
