"""Voice: a frame through its stages, a loudness nobody watches, whole turns, many at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.floors import MessageFloor
from benchmarks.measure import each, race
from benchmarks.model import Figure, WrongResultError, check, scenario
from roomkit import RoomKit, SystemClock
from roomkit.channels.ai import AIChannel
from roomkit.channels.voice import VoiceChannel
from roomkit.models.enums import ChannelCategory, EventType
from roomkit.providers.ai.mock import MockAIProvider
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.base import AudioChunk, VoiceSession
from roomkit.voice.pipeline.config import AudioPipelineConfig
from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType, VADProvider
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.mock import MockTTSProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Self

    from roomkit import Clock
    from roomkit.providers.ai.base import AIContext
    from roomkit.voice.backends.base import AudioReceivedCallback

FRAMES = 50
"""Frames of a turn: a second of audio."""

CALLS = 100
DATA = bytes(640)


class Still(SystemClock):
    """A clock that stands still, so that frames without a pause count as keeping up."""

    def monotonic(self) -> float:
        """Return no time."""
        return 0.0


class Clean(DenoiserProvider):
    """Takes nothing out."""

    name = "clean"

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame."""
        return frame


class Scripted(VADProvider):
    """Reports one thing for every frame, or a turn: a start, its frames, an end.

    Args:
        always: What to report for every frame; None: a turn of ``FRAMES`` frames.
    """

    name = "scripted"

    def __init__(self, always: VADEvent | None = None) -> None:
        self._always = always
        self._place = 0

    def for_session(self) -> Self:
        """Return one for a session."""
        return type(self)(self._always)

    def process(self, frame: AudioFrame) -> VADEvent | None:
        """Return what happened."""
        if self._always is not None:
            return self._always
        self._place += 1
        if self._place == 1:
            return VADEvent(VADEventType.SPEECH_START, confidence=0.9)
        if self._place == FRAMES:
            self._place = 0
            return VADEvent(VADEventType.SPEECH_END, audio_bytes=DATA, duration_ms=800.0)
        return None


class Nothing(VADProvider):
    """Hears nothing."""

    name = "nothing"

    def process(self, frame: AudioFrame) -> VADEvent | None:
        """Return nothing."""
        return None


class Deaf(MockSTTProvider):
    """A mock that does not keep what it was given."""

    async def transcribe(self, audio: object) -> str:
        """Return the same words."""
        return "When do you open?"


class Mute(MockTTSProvider):
    """A mock that does not keep what it was given, and whose speech is over at once."""

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield a chunk a word, which lasts no time: the next turn interrupts nothing."""
        for _ in text.split():
            yield AudioChunk(b"")


class Line(MockVoiceBackend):
    """Counts what is played, and when the last piece of each answer came."""

    def __init__(self) -> None:
        super().__init__()
        self.spoken = 0
        self.wanted = 0
        self.done = asyncio.Event()
        self.times: list[float] = []
        self._heard: list[AudioReceivedCallback] = []

    def on_audio_received(self, callback: AudioReceivedCallback) -> None:
        """Keep the callback."""
        self._heard.append(callback)

    async def send_audio(
        self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]
    ) -> None:
        """Take the audio of an answer."""
        if isinstance(audio, bytes):
            return
        async for _ in audio:
            pass
        self.spoken += 1
        self.times.append(time.perf_counter())
        if self.spoken >= self.wanted:
            self.done.set()

    async def send_transcription(
        self, session: VoiceSession, text: str, role: str = "user"
    ) -> None:
        """Show nothing."""

    def hear(self, session: VoiceSession, frames: list[AudioFrame]) -> None:
        """Let frames come in, as a backend that reads a socket hands them over."""
        for heard in self._heard:
            for frame in frames:
                heard(session, frame)


class _Forgetful(list["AIContext"]):
    """A list that keeps nothing."""

    def append(self, item: AIContext) -> None:
        """Do nothing."""


def _frames(count: int) -> list[AudioFrame]:
    return [AudioFrame(DATA) for _ in range(count)]


async def _phones(
    rooms: int, vad: VADProvider, clock: Clock | None = None
) -> tuple[RoomKit, Line, list[VoiceSession]]:
    """Return a kit with rooms in which an AI answers one caller each."""
    backend = Line()
    kit = RoomKit(voice=backend)
    channel = VoiceChannel(
        "phone",
        stt=Deaf(),
        tts=Mute(),
        backend=backend,
        pipeline=AudioPipelineConfig(denoiser=Clean(), vad=vad),
        clock=clock,
    )
    provider = MockAIProvider(["We open at nine every day."])
    provider.calls = _Forgetful()
    kit.register_channel(channel)
    kit.register_channel(AIChannel("ai", provider))
    sessions = []
    for number in range(rooms):
        room = f"room-{number}"
        await kit.create_room(room)
        await kit.attach_channel(room, "phone")
        await kit.attach_channel(room, "ai", category=ChannelCategory.INTELLIGENCE)
        sessions.append(await kit.connect_voice(room, f"caller-{number}", "phone"))
    return kit, backend, sessions


def _phone(kit: RoomKit) -> VoiceChannel:
    channel = kit.get_channel("phone")
    if not isinstance(channel, VoiceChannel):
        raise WrongResultError("no telephone")
    return channel


async def _settled(backend: Line, count: int) -> None:
    """Wait until so many answers have been spoken in all; whoever waits too long is killed."""
    backend.wanted = count
    if backend.spoken < count:
        backend.done.clear()
        await backend.done.wait()


async def _verify(kit: RoomKit, rooms: int, turns: int) -> None:
    """Check that every question and its answer is in its room, and no sound was lost."""
    await kit.drain(10.0)
    check(_phone(kit).dropped_frames == 0, "frames were dropped")
    check(not _phone(kit).faults, "something went wrong")
    for number in range(rooms):
        room = await kit.get_room(f"room-{number}")
        events = await kit.get_timeline(f"room-{number}", limit=10_000)
        said = sum(event.type == EventType.MESSAGE for event in events)
        check(said == 2 * turns, f"{turns} turns, {said} messages, {room.event_count} events")
    await kit.close()


@scenario("voice_frame", "voice frame (denoiser + VAD)", target=1.2)
async def voice_frame() -> Figure:
    """A frame in which nothing is found, from the backend's callback to the last stage."""
    kit, backend, (session,) = await _phones(1, Nothing(), Still())
    phone = _phone(kit)
    frames: list[AudioFrame] = []

    async def through() -> None:
        frames[:] = [AudioFrame(DATA) for _ in range(1000)]
        backend.hear(session, frames)

    async def bare() -> None:
        clean, nothing = Clean(), Nothing()
        for frame in [AudioFrame(DATA) for _ in range(1000)]:
            try:
                out = clean.process(frame)
                out.metadata["denoiser"] = clean.name
                nothing.process(out)
            except ValueError:
                check(False, "the stages failed")

    spent, floor = await race(30, through, bare)
    check(phone.dropped_frames == 0, "frames were dropped")
    check(frames[-1].metadata == {"denoiser": "clean"}, "the stages did not run")
    await kit.close()
    return Figure(spent / 1000, floor / 1000)


@scenario("voice_level", "audio-level event nobody watches", target=3.0)
async def voice_level() -> Figure:
    """A frame with a loudness, from the backend to where a hook would be told."""
    level = VADEvent(VADEventType.AUDIO_LEVEL, level_db=-20.0, confidence=0.9)
    kit, backend, (session,) = await _phones(1, Scripted(level), Still())
    phone = _phone(kit)
    frames = _frames(1000)

    async def through() -> None:
        backend.hear(session, frames)

    (spent,) = await race(30, through)
    check(phone.dropped_frames == 0, "frames were dropped")
    await kit.close()
    check("vad" in frames[-1].metadata, "the stages did not run")
    return Figure(spent / 1000)


@scenario("voice_turn", "voice turn (50 frames, STT, AI, TTS mocks)", target=220.0)
async def voice_turn() -> Figure:
    """From the first frame of a question to the last piece of the answer's audio."""
    kit, backend, (session,) = await _phones(1, Scripted())
    frames = _frames(FRAMES)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1
        backend.hear(session, frames)
        await _settled(backend, turns)

    spent, floor = await race(200, turn, each(MessageFloor(), MessageFloor()))
    await _verify(kit, 1, turns)
    return Figure(spent, floor)


@scenario(
    "voice_calls",
    "100 calls ending speech at once, p50 to the answer",
    unit="ms",
    target=12.0,
)
async def voice_calls() -> Figure:
    """The wall-clock time from the common last frame to each call's first answer."""
    kit, backend, sessions = await _phones(CALLS, Scripted())
    frames = _frames(FRAMES)
    rounds, medians = 8, []
    for number in range(1, rounds + 1):
        for session in sessions:
            backend.hear(session, frames[:-1])
        backend.times.clear()
        began = time.perf_counter()
        for session in sessions:
            backend.hear(session, frames[-1:])
        await _settled(backend, number * CALLS)
        medians.append(statistics.median(backend.times) - began)
        await kit.drain(5.0)
    await _verify(kit, CALLS, rounds)
    return Figure(min(medians) * 1000)
