"""Calls without a network: a recording speaks, and what it is told is recorded.

For demos, tests and trying out a pipeline. Time is that of a clock: with a ManualClock a minute
of conversation takes no time, with the system's it runs as a call does.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet
from roomkit._clock import SystemClock
from roomkit._ids import new_id
from roomkit.exceptions import ConflictError, InvalidInputError
from roomkit.voice.audio.pcm import MAX_RATE, MIN_RATE, mono_pcm16
from roomkit.voice.audio.wav import WavAudio, load_wav, wav_bytes
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends._inlet import QUEUE_FRAMES, Inlet, tell
from roomkit.voice.backends._saying import Sayings
from roomkit.voice.backends._shape import shaped
from roomkit.voice.backends.base import AudioReceivedCallback, VoiceBackend
from roomkit.voice.base import VoiceCapability, VoiceSession, VoiceSessionState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from roomkit._clock import Clock
    from roomkit.voice.base import AudioChunk, BargeInCallback

logger: logging.Logger = logging.getLogger("roomkit.voice.backends")

__all__ = ["LoopbackVoiceBackend", "Playback"]


@dataclass
class Playback:
    """A stretch of sound the session heard without a gap.

    Attributes:
        position_ms: When it began, in milliseconds since the session did.
        data: PCM at the output rate, as far as it was queued; cut where it was interrupted.
        interrupted: Whether ``cancel_audio`` cut it.
    """

    position_ms: float
    data: bytearray = field(repr=False, default_factory=bytearray)
    interrupted: bool = False


class _Ear:
    """What one session hears, on the time line of a clock."""

    def __init__(self, rate: int, limit_ms: int, clock: Clock) -> None:
        self._per_ms = rate * 2 / 1000
        self._limit = int(limit_ms * self._per_ms)
        self._clock = clock
        self._start = clock.monotonic()
        self._size = 0
        self._full = False
        self.turn = asyncio.Lock()
        self.generation = 0
        self.sayings = Sayings()
        self.playbacks: list[Playback] = []

    @property
    def now_ms(self) -> float:
        return (self._clock.monotonic() - self._start) * 1000

    def _end(self, playback: Playback) -> float:
        return playback.position_ms + len(playback.data) / self._per_ms

    @property
    def playing(self) -> bool:
        return bool(self.playbacks) and self._end(self.playbacks[-1]) > self.now_ms

    @property
    def played_ms(self) -> int:
        """How much of the present or last playback was heard."""
        if not self.playbacks:
            return 0
        last = self.playbacks[-1]
        return int(min(self.now_ms - last.position_ms, len(last.data) / self._per_ms))

    def put(self, pcm: bytes) -> bool:
        """Play behind what plays; False when no more is recorded."""
        room = (self._limit - self._size) & ~1
        if len(pcm) >= room and not self._full:
            self._full = True
            logger.warning("the recording of a session is full: what follows is dropped")
        pcm = pcm[:room]
        if pcm:
            if not self.playing:
                self.playbacks.append(Playback(self.now_ms))
            self.playbacks[-1].data += pcm
            self._size += len(pcm)
        return self._size < self._limit

    def cancel(self) -> bool:
        """Cut what was not heard."""
        self.generation += 1
        self.sayings.stop()
        if not self.playing:
            return False
        last = self.playbacks[-1]
        heard = int((self.now_ms - last.position_ms) * self._per_ms) & ~1
        self._size -= len(last.data) - heard
        del last.data[heard:]
        last.interrupted = True
        return True

    def recording(self) -> bytes:
        """Return everything at its place, with silence between."""
        out = bytearray()
        for each in self.playbacks:
            begin = int(each.position_ms * self._per_ms) & ~1
            out += bytes(max(0, begin - len(out)))
            out += each.data
        return bytes(out)


class LoopbackVoiceBackend(VoiceBackend):
    """Voice sessions whose people are recordings.

    ``speak`` plays a WAV file into a session as a microphone would: 20 ms frames, each when it
    is due. What is sent to the session is recorded at the place where it would be heard:
    ``playbacks`` and ``recording`` give it back. ``cancel_audio`` cuts it at this moment.

    Args:
        output_sample_rate: Hertz of what is recorded.
        frame_ms: Milliseconds a frame.
        max_recorded_ms: How much of the output is kept a session; more is dropped.
        max_sessions: Sessions at a time.
        queue_frames: Inbound frames that may wait; then the oldest is dropped and counted.
        clock: Where time comes from.

    Raises:
        InvalidInputError: A bound or rate that makes no sense.
    """

    def __init__(
        self,
        *,
        output_sample_rate: int = 16000,
        frame_ms: int = 20,
        max_recorded_ms: int = 600_000,
        max_sessions: int = 100,
        queue_frames: int = QUEUE_FRAMES,
        clock: Clock | None = None,
    ) -> None:
        if not MIN_RATE <= output_sample_rate <= MAX_RATE:
            raise InvalidInputError(
                f"output_sample_rate must be from {MIN_RATE} to {MAX_RATE}, "
                f"not {output_sample_rate}"
            )
        if min(frame_ms, max_recorded_ms, max_sessions, queue_frames) < 1:
            raise InvalidInputError(
                "frame_ms, max_recorded_ms, max_sessions and queue_frames must be at least 1"
            )
        self._rate = output_sample_rate
        self._frame_ms = frame_ms
        self._max_recorded_ms = max_recorded_ms
        self._max_sessions = max_sessions
        self._queue_frames = queue_frames
        self._clock = clock or SystemClock()
        self._sessions: dict[str, VoiceSession] = {}
        self._ears: dict[str, _Ear] = {}
        self._inlets: dict[str, Inlet] = {}
        self._texts: dict[str, list[tuple[str, str]]] = {}
        self._tasks = TaskSet("voice_loopback")
        self._audio_callbacks: list[AudioReceivedCallback] = []
        self._barge_in_callbacks: list[BargeInCallback] = []

    @property
    def name(self) -> str:
        """``Loopback``."""
        return "Loopback"

    @property
    def capabilities(self) -> VoiceCapability:
        """Playback can be stopped."""
        return VoiceCapability.INTERRUPTION

    def on_audio_received(self, callback: AudioReceivedCallback) -> None:
        """Call ``callback(session, frame)`` with every frame; see ``VoiceBackend``."""
        self._audio_callbacks.append(callback)

    def on_barge_in(self, callback: BargeInCallback) -> None:
        """Call ``callback(session)`` when ``barge_in`` is called."""
        self._barge_in_callbacks.append(callback)

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> VoiceSession:
        """Return a new session; its recording begins now.

        Raises:
            ConflictError: There are ``max_sessions`` already.
        """
        if len(self._sessions) >= self._max_sessions:
            raise ConflictError(
                f"the loopback backend has its {self._max_sessions} sessions; end one first"
            )
        session = VoiceSession(
            id=new_id(),
            room_id=room_id,
            participant_id=participant_id,
            channel_id=channel_id,
            state=VoiceSessionState.ACTIVE,
            metadata={"output_sample_rate": self._rate, **(metadata or {})},
        )
        self._sessions[session.id] = session
        self._ears[session.id] = _Ear(self._rate, self._max_recorded_ms, self._clock)
        self._inlets[session.id] = Inlet(
            session, lambda: self._audio_callbacks, self._tasks, self._queue_frames
        )
        self._texts[session.id] = []
        return session

    async def disconnect(self, session: VoiceSession) -> None:
        """End a session, whose recording can be read until then; again does nothing."""
        session.state = VoiceSessionState.ENDED
        known = self._sessions.pop(session.id, None)
        if known is None:
            return
        known.state = VoiceSessionState.ENDED
        self._ears.pop(session.id).cancel()
        self._inlets.pop(session.id).close()
        self._texts.pop(session.id)

    def get_session(self, session_id: str) -> VoiceSession | None:
        """Return a session that has not ended."""
        return self._sessions.get(session_id)

    def list_sessions(self, room_id: str) -> list[VoiceSession]:
        """Return the sessions of a room that have not ended."""
        return [each for each in self._sessions.values() if each.room_id == room_id]

    async def close(self) -> None:
        """End all sessions; again does nothing."""
        for session in list(self._sessions.values()):
            await self.disconnect(session)
        await self._tasks.cancel(but={asyncio.current_task()})

    # -- speaking

    async def speak(
        self, session: VoiceSession, sound: WavAudio | str | Path, *, silence_ms: int = 0
    ) -> None:
        """Play a recording into a session; returns when its last frame is due.

        The last frame is filled up with silence. It stops early when the session ends.

        Args:
            session: Who speaks.
            sound: A decoded recording, or the path of a WAV file. Its rate becomes the rate of
                the frames; several channels are mixed to one.
            silence_ms: Silence after it, so that a VAD hears the end of speech.

        Raises:
            InvalidInputError: The file is no WAV file that is understood, or its rate is not
                one of speech.
            OSError: It cannot be read.
        """
        audio = sound if isinstance(sound, WavAudio) else await load_wav(sound)
        if not MIN_RATE <= audio.sample_rate <= MAX_RATE:
            raise InvalidInputError(
                f"a recording of {audio.sample_rate} Hz cannot speak; convert it to a rate from "
                f"{MIN_RATE} to {MAX_RATE}"
            )
        rate = audio.sample_rate
        pcm = mono_pcm16(audio.data, audio.channels) + bytes(2 * (rate * silence_ms // 1000))
        size = 2 * (rate * self._frame_ms // 1000)
        inlet, ear = self._inlets.get(session.id), self._ears.get(session.id)
        if inlet is None or ear is None:
            return
        session.metadata["input_sample_rate"] = rate
        begin, first_ms = self._clock.monotonic(), ear.now_ms
        for number, at in enumerate(range(0, len(pcm), size)):
            # A microphone hands over a frame when it is full.
            due = begin + (number + 1) * self._frame_ms / 1000
            await self._clock.sleep(due - self._clock.monotonic())
            if session.state is VoiceSessionState.ENDED:
                return
            data = pcm[at : at + size].ljust(size, b"\0")
            inlet.put(
                AudioFrame(data, rate, 1, 2, timestamp_ms=first_ms + number * self._frame_ms)
            )

    async def barge_in(self, session: VoiceSession) -> None:
        """Report that the session's person speaks over the playback."""
        await tell(self._barge_in_callbacks, session, quiet=False)

    def dropped_frames(self, session: VoiceSession) -> int:
        """Return how many frames nobody heard because the callbacks were slow."""
        inlet = self._inlets.get(session.id)
        return 0 if inlet is None else inlet.dropped

    # -- hearing

    async def send_audio(
        self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]
    ) -> None:
        """Play audio behind what plays; returns when all of it is queued.

        Chunks of another rate are resampled. It returns early when playback is cancelled, the
        session ends or the recording is full.
        """
        ear = self._ears.get(session.id)
        if ear is None:
            return
        await ear.sayings.run(self._hand_over(ear, shaped(audio, self._rate, session.id)))

    async def _hand_over(self, ear: _Ear, pieces: AsyncGenerator[bytes]) -> None:
        generation = ear.generation
        try:
            async with ear.turn:
                async for piece in pieces:
                    if generation != ear.generation or not ear.put(piece):
                        return
        finally:
            await pieces.aclose()

    async def cancel_audio(self, session: VoiceSession) -> bool:
        """Cut what was not heard yet; whether anything was playing."""
        ear = self._ears.get(session.id)
        return ear is not None and ear.cancel()

    def is_playing(self, session: VoiceSession) -> bool:
        """Return whether something would be heard at this moment."""
        ear = self._ears.get(session.id)
        return ear is not None and ear.playing

    def played_ms(self, session: VoiceSession) -> int | None:
        """Return how much of the present or last playback was heard; None: no such session."""
        ear = self._ears.get(session.id)
        return None if ear is None else ear.played_ms

    async def send_transcription(
        self, session: VoiceSession, text: str, role: str = "user"
    ) -> None:
        """Keep what was said; the newest 1000 texts a session."""
        texts = self._texts.get(session.id)
        if texts is not None:
            texts.append((role, text))
            del texts[:-1000]

    def transcriptions(self, session: VoiceSession) -> list[tuple[str, str]]:
        """Return what was shown: ``(role, text)``, in order."""
        return list(self._texts.get(session.id, ()))

    def playbacks(self, session: VoiceSession) -> list[Playback]:
        """Return what the session heard, stretch by stretch."""
        ear = self._ears.get(session.id)
        return [] if ear is None else list(ear.playbacks)

    def recording(self, session: VoiceSession) -> WavAudio:
        """Return what the session heard since it began, with the silence between."""
        ear = self._ears.get(session.id)
        return WavAudio(b"" if ear is None else ear.recording(), self._rate, 1)

    async def save(self, session: VoiceSession, path: str | Path) -> None:
        """Write the recording as a WAV file, in a thread.

        Raises:
            OSError: It cannot be written.
        """
        audio = self.recording(session)
        data = wav_bytes(audio.data, audio.sample_rate)
        await asyncio.to_thread(Path(path).write_bytes, data)
