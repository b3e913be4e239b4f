"""What one voice session is told: one speech after the other, each of which can be stopped."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Any

from roomkit._aio import DeadlineExceeded, TaskSet, bounded, cancel_and_wait, shielded
from roomkit.channels._voice_audio_out import metered
from roomkit.channels._voice_faults import Fault
from roomkit.channels._voice_hooks import contained
from roomkit.channels._voice_speech import Meter, unheard
from roomkit.models.enums import HookTrigger
from roomkit.voice.backends.base import VoiceBackend
from roomkit.voice.base import VoiceCapability
from roomkit.voice.events import TTSCancelledEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Literal

    from roomkit._clock import Clock
    from roomkit.channels._voice_faults import Faults
    from roomkit.channels._voice_hooks import RoomHooks
    from roomkit.channels._voice_speech import Speech
    from roomkit.channels.host import ChannelHost
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.pipeline.engine import AudioPipeline

    CancelReason = Literal["barge_in", "explicit", "disconnect", "error"]

MOST_SPEECHES = 32
"""Speeches that wait for one session; a further one is refused."""
BACKEND_SECONDS = 5.0
"""Seconds a backend may take to show a text or to fall silent."""
STOP_SECONDS = 2.0
"""Seconds a synthesiser gets to notice that it is not listened to any more."""
_LINGER_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_LEAST_SECONDS = 1e-6


@unique
class PlaybackPhase(StrEnum):
    """Where the playback of a session is."""

    IDLE = "idle"
    SPEAKING = "speaking"
    CANCELLING = "cancelling"


@dataclass
class TTSPlaybackState:
    """A playback under way.

    Attributes:
        session_id: Whose.
        text: What is being said.
        started_at: Since when, timezone-aware.
        total_duration_ms: How long it is, once all of its audio is known; milliseconds.
        task: Makes the sound; cancelling it stops the synthesis. None for one made by hand.
        barge_in_handled: Whether an interruption was acted on already.
        meter: Counts its audio; None for one made by hand, whose position is the wall clock's.
    """

    session_id: str
    text: str = field(repr=False)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    total_duration_ms: int | None = None
    task: asyncio.Task[Any] | None = field(default=None, repr=False, compare=False)
    barge_in_handled: bool = field(default=False, repr=False, compare=False)
    meter: Meter | None = field(default=None, repr=False, compare=False)

    @property
    def position_ms(self) -> int:
        """How much has been played, in milliseconds; never more than was handed over."""
        if self.meter is not None:
            return self.meter.position_ms
        elapsed = datetime.now(UTC) - self.started_at
        return max(0, int(elapsed.total_seconds() * 1000))


@dataclass
class VoiceParts:
    """What the parts of one voice channel share.

    Attributes:
        channel_id: The channel.
        backend: Carries the audio.
        pipeline: What the audio passes.
        clock: Where time comes from.
        host: The framework; None before the channel is registered.
        playing: Session id to the playback under way.
        faults: How often what went wrong, by its name.
    """

    channel_id: str
    backend: VoiceBackend | None
    pipeline: AudioPipeline | None
    clock: Clock
    host: ChannelHost | None = None
    playing: dict[str, TTSPlaybackState] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)

    async def hush(self, session: VoiceSession) -> None:
        """Have the backend drop what it has not played, where it can.

        What was not heard is then no echo to expect, and in no recording.
        """
        backend = self.backend
        if backend is None or VoiceCapability.INTERRUPTION not in backend.capabilities:
            return
        silent = bounded(_silenced(backend, session), BACKEND_SECONDS)
        if await contained(silent, "stopping the sound", session) and self.pipeline is not None:
            self.pipeline.cancel_outbound(session)

    async def show(self, session: VoiceSession, text: str, role: str) -> None:
        """Show what was said, where the client can show text."""
        if self.backend is not None and text and _shows(type(self.backend)):
            shown = bounded(
                _call(self.backend.send_transcription(session, text, role)), BACKEND_SECONDS
            )
            await contained(shown, "showing a transcription", session)


async def _call(work: Awaitable[Any]) -> Any:
    return await work


async def _silenced(backend: VoiceBackend, session: VoiceSession) -> bool:
    """Return True once the backend is silent, whatever it had been doing."""
    await backend.cancel_audio(session)
    return True


def _shows(backend: type[VoiceBackend]) -> bool:
    """Return whether a backend has anything to show texts with."""
    base = VoiceBackend.send_transcription
    return getattr(backend, "send_transcription", base) is not base


class Speaker:
    """Says things to one session, in order.

    Args:
        parts: What the channel shares.
        session: The session.
        hooks: Of its room.
        faults: Counts what goes wrong.
    """

    def __init__(
        self, parts: VoiceParts, session: VoiceSession, hooks: RoomHooks, faults: Faults
    ) -> None:
        self.session = session
        self.phase = PlaybackPhase.IDLE
        self._parts = parts
        self._hooks = hooks
        self._faults = faults
        self._waiting: deque[Speech] = deque()
        self._current: Speech | None = None
        self._tasks = TaskSet(f"voice_speech:{session.id}")
        self._running = False
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether anything is being said or waits to be."""
        return self._running or self._parts.playing.get(self.session.id) is not None

    def put(self, speech: Speech) -> None:
        """Say something after what was put here before; refused when too much waits."""
        if self._closed or len(self._waiting) >= MOST_SPEECHES:
            if not self._closed:
                self._faults.note(
                    Fault.SPEECH_DROPPED,
                    f"{MOST_SPEECHES} speeches wait already: one is not said",
                )
            speech.finish(False)
            return
        self._waiting.append(speech)
        if not self._running:
            self._running = True
            self._tasks.start(self._run(), name=f"voice_speech:{self.session.id}")

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._one(self._waiting.popleft())
        finally:
            self._running = False
            self._drop_waiting()

    async def _one(self, speech: Speech) -> None:
        """Say one thing, and return when it was heard or stopped."""
        parts, session = self._parts, self.session
        meter = Meter(parts.clock, _played(parts.backend, session))
        state = TTSPlaybackState(
            session.id, speech.text, started_at=parts.clock.now(), meter=meter
        )
        meter.on_text = lambda text: setattr(state, "text", text)
        parts.playing[session.id] = state
        self._current, self.phase = speech, PlaybackPhase.SPEAKING
        task = self._tasks.start(
            self._play(speech, state, meter), name=f"voice_playback:{session.id}"
        )
        state.task = task
        try:
            if not task.done():
                await asyncio.wait((task,))
        finally:
            speech.finish(False)
            # Playback and meter lead to each other: let go, or both stay until a collection.
            meter.on_text = unheard
            if parts.playing.get(session.id) is state:
                del parts.playing[session.id]
            if self._current is speech:
                self._current = None
                self.phase = PlaybackPhase.IDLE

    async def _play(self, speech: Speech, state: TTSPlaybackState, meter: Meter) -> None:
        """Hand a speech over to the backend, and stay until it was heard."""
        parts, session = self._parts, self.session
        backend = parts.backend
        if backend is None:
            return
        made = speech.audio(meter, self._show)
        audio = metered(made, meter, parts.pipeline, session, self._faults)
        try:
            try:
                await backend.send_audio(session, audio)
            finally:
                await audio.aclose()
        except Exception as exc:  # noqa: BLE001 - a border: a vendor or the client failed
            await self._failed(exc, speech, state)
            return
        state.total_duration_ms = round(meter.sent_ms)
        speech.finish(True)
        await self._play_out(meter)

    async def _show(self, text: str) -> None:
        await self._parts.show(self.session, text, "assistant")

    async def _play_out(self, meter: Meter) -> None:
        """Wait until what was handed over has been heard."""
        clock, backend = self._parts.clock, self._parts.backend
        # Less than that is a rounding error, which no clock would ever sleep away.
        while (left := meter.left_seconds()) > _LEAST_SECONDS:
            await clock.sleep(left)
        lingering = 0.0
        while meter.measured and backend is not None and lingering < _LINGER_SECONDS:
            if not backend.is_playing(self.session):
                return
            await clock.sleep(_LOOK_SECONDS)
            lingering += _LOOK_SECONDS

    async def _failed(self, error: Exception, speech: Speech, state: TTSPlaybackState) -> None:
        session = self.session
        late = isinstance(error, DeadlineExceeded)
        fault = Fault.TTS_TIMEOUT if late else Fault.TTS_FAILED
        self._faults.note(fault, "speaking failed: the rest of a text is not said", error)
        if self._parts.playing.get(session.id) is state:
            del self._parts.playing[session.id]
            await self._told(state, speech, "error", state.position_ms)

    # -- stopping -----------------------------------------------------------------------------

    async def stop(
        self,
        reason: CancelReason,
        *,
        flush: bool = True,
        keep: bool = True,
        before: Callable[[TTSPlaybackState, int], Awaitable[None]] | None = None,
    ) -> bool:
        """Stop what is being said, and forget what waits to be.

        Args:
            reason: For ON_TTS_CANCELLED.
            flush: Also drop what the backend has and did not play.
            keep: Note at the event in the timeline how much was heard.
            before: Called between the silence and ON_TTS_CANCELLED, with the position.

        Returns:
            Whether anything was being said.
        """
        state = self._parts.playing.pop(self.session.id, None)
        if state is None:
            return False
        work = self._stop(state, self._current, reason, flush, keep, before)
        await shielded(self._tasks.start(work, name=f"voice_stop:{self.session.id}"))
        return True

    async def _stop(
        self,
        state: TTSPlaybackState,
        speech: Speech | None,
        reason: CancelReason,
        flush: bool,
        keep: bool,
        before: Callable[[TTSPlaybackState, int], Awaitable[None]] | None,
    ) -> None:
        position = state.position_ms
        self.phase = PlaybackPhase.CANCELLING
        dropped = self._drop_waiting()
        task = state.task
        try:
            if task is not None:
                task.cancel()
            if flush:
                await self._parts.hush(self.session)
            if task is not None:
                await cancel_and_wait((task,), STOP_SECONDS)
        finally:
            self.phase = PlaybackPhase.SPEAKING if self._current else PlaybackPhase.IDLE
        if before is not None:
            await contained(before(state, position), "telling of a barge-in", self.session)
        await self._told(state, speech if keep else None, reason, position)
        for waiting in dropped if keep else ():
            await self._note(waiting, 0, "")

    async def _told(
        self, state: TTSPlaybackState, speech: Speech | None, reason: CancelReason, position: int
    ) -> None:
        """Tell the hooks and the timeline how far a playback came."""
        event = TTSCancelledEvent(self.session, reason, state.text, position)
        await self._hooks.tell(HookTrigger.ON_TTS_CANCELLED, event)
        if speech is not None and state.meter is not None:
            await self._note(speech, position, state.meter.heard(position))

    async def _note(self, speech: Speech, position: int, heard: str) -> None:
        if speech.origin is not None:
            await speech.origin.interrupted(self._parts.host, position, heard)

    async def retract(self, speech: Speech) -> None:
        """Take one speech back, whether it is being said or waits to be."""
        if self._current is speech:
            await self.stop("explicit", keep=False)
        elif speech in self._waiting:
            self._waiting.remove(speech)
        speech.finish(False)

    def _drop_waiting(self) -> list[Speech]:
        dropped, self._waiting = list(self._waiting), deque()
        for speech in dropped:
            speech.finish(False)
        return dropped

    async def close(self, reason: CancelReason = "disconnect") -> None:
        """Stop and say nothing more; returns when nothing of it is left. Idempotent."""
        self._closed = True
        await self.stop(reason)
        await self._tasks.cancel(but=(asyncio.current_task(),), timeout=STOP_SECONDS)


def _played(backend: VoiceBackend | None, session: VoiceSession) -> Callable[[], Any] | None:
    """Return how to learn what the client has heard; None where the backend cannot tell."""
    measure = getattr(backend, "played_ms", None)
    return None if measure is None else lambda: measure(session)
