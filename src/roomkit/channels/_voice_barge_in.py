"""Somebody speaks over a playback: whether it stops, and that it stops once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit._aio import TaskSet
from roomkit.models.enums import HookTrigger
from roomkit.voice.events import BargeInEvent
from roomkit.voice.interruption import InterruptionStrategy

if TYPE_CHECKING:
    from roomkit.channels._voice_hooks import RoomHooks
    from roomkit.channels._voice_session import Speaker, TTSPlaybackState, VoiceParts
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.interruption import InterruptionHandler, InterruptionWatch


@dataclass(frozen=True, slots=True)
class Over:
    """Speech that went over a playback.

    Attributes:
        watch: Knows how long it lasted.
        playback: What it went over.
    """

    watch: InterruptionWatch
    playback: TTSPlaybackState


class BargeIn:
    """Watches one session for speech over what is said to it.

    Args:
        parts: What the channel shares.
        handler: Decides.
        session: The session.
        hooks: Of its room.
        speaker: What is said to it.
    """

    def __init__(
        self,
        parts: VoiceParts,
        handler: InterruptionHandler,
        session: VoiceSession,
        hooks: RoomHooks,
        speaker: Speaker,
    ) -> None:
        self._parts = parts
        self._handler = handler
        self._session = session
        self._hooks = hooks
        self._speaker = speaker
        self._over: Over | None = None
        self._tasks = TaskSet(f"barge_in:{session.id}")

    def speech_started(self) -> None:
        """Note the begin of speech: a playback may have to stop at once."""
        self.speech_ended()
        playback = self._parts.playing.get(self._session.id)
        if playback is None:
            return
        watch = self._handler.watch(lambda: playback.position_ms, clock=self._parts.clock)
        self._over = Over(watch, playback)
        self._measure()
        self._tasks.start(self._decide(watch, playback))

    def frame(self) -> None:
        """Note that audio goes on, if that is of interest."""
        if self._over is not None:
            self._measure()

    def _measure(self) -> None:
        pipeline = self._parts.pipeline
        spoken = None if pipeline is None else pipeline.speech_ms(self._session)
        if spoken is not None and self._over is not None:
            self._over.watch.spoken(spoken)

    def heard(self, text: str) -> None:
        """Note the words so far."""
        if self._over is not None:
            self._over.watch.heard(text)

    def speech_ended(self, spoken_ms: float | None = None) -> Over | None:
        """Note the end of speech; return what it went over.

        Args:
            spoken_ms: How long it was, without the silence that ended it; None: not known.
        """
        over, self._over = self._over, None
        if over is not None:
            over.watch.ended(spoken_ms)
        return over

    def reported(self) -> None:
        """Note that the backend says somebody speaks over the playback."""
        playback = self._parts.playing.get(self._session.id)
        if playback is None:
            return
        if self._handler.config.strategy is not InterruptionStrategy.DISABLED:
            self._tasks.start(self._stop(playback))

    async def judge_words(self, over: Over | None, text: str) -> None:
        """Take the words themselves for a reason, where only they say whether it is one."""
        if over is None or self._handler.config.strategy is not InterruptionStrategy.SEMANTIC:
            return
        decision = self._handler.evaluate(
            playback_position_ms=over.playback.position_ms,
            speech_duration_ms=over.watch.speech_duration_ms,
            speech_text=text,
        )
        if decision.should_interrupt:
            await self._stop(over.playback)

    async def _decide(self, watch: InterruptionWatch, playback: TTSPlaybackState) -> None:
        decision = await watch.decided()
        if decision.should_interrupt:
            await self._stop(playback)

    async def _stop(self, playback: TTSPlaybackState) -> None:
        """Stop a playback, once, before any hook is told."""
        session = self._session
        if playback.barge_in_handled or self._parts.playing.get(session.id) is not playback:
            return
        playback.barge_in_handled = True

        async def tell(state: TTSPlaybackState, position: int) -> None:
            event = BargeInEvent(session, state.text, position)
            await self._hooks.tell(HookTrigger.ON_BARGE_IN, event)

        config = self._handler.config
        await self._speaker.stop(
            "barge_in",
            flush=config.flush_partial_tts,
            keep=config.keep_partial_transcript,
            before=tell,
        )

    async def close(self) -> None:
        """Stop watching; returns when nothing is left."""
        self.speech_ended()
        await self._tasks.cancel(but=(asyncio.current_task(),), timeout=2.0)
