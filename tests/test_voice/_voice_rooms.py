"""What tests of the voice channel share: rooms with callers, and ears for every voice hook."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkit import (
    AIChannel,
    ChannelCategory,
    HookExecution,
    HookResult,
    HookTrigger,
    MockAIProvider,
    RoomKit,
)
from roomkit.channels.voice import VoiceChannel
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.base import AudioChunk, VoiceCapability, VoiceSession
from roomkit.voice.pipeline import AudioPipelineConfig, MockVADProvider, VADEvent, VADEventType
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.mock import MockTTSProvider
from tests.support.kits import messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit.models.event import RoomEvent
    from roomkit.voice.backends.base import VoiceBackend

ROOM = "r"
FRAME = AudioFrame(bytes(640))
START = VADEvent(VADEventType.SPEECH_START)
END = VADEvent(VADEventType.SPEECH_END, audio_bytes=b"\1\0" * 160)

ASYNC = [
    HookTrigger.ON_SPEECH_START,
    HookTrigger.ON_SPEECH_END,
    HookTrigger.AFTER_TTS,
    HookTrigger.ON_BARGE_IN,
    HookTrigger.ON_TTS_CANCELLED,
    HookTrigger.ON_PARTIAL_TRANSCRIPTION,
    HookTrigger.ON_VAD_SILENCE,
    HookTrigger.ON_VAD_AUDIO_LEVEL,
    HookTrigger.ON_SPEAKER_CHANGE,
    HookTrigger.AFTER_BROADCAST,
]
SYNC = [HookTrigger.ON_TRANSCRIPTION, HookTrigger.BEFORE_TTS, HookTrigger.BEFORE_BROADCAST]


async def until(condition: Callable[[], Any]) -> None:
    """Return when a condition holds; the test's own timeout ends the wait."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - any condition will do
            await asyncio.sleep(0.001)


async def heard(kit: RoomKit, count: int = 1, room_id: str = ROOM) -> list[RoomEvent]:
    """Return the messages of a room once there are so many."""
    async with asyncio.timeout(10):
        while True:
            said = await messages(kit, room_id)
            if len(said) >= count:
                return said
            await asyncio.sleep(0.001)


async def settle(turns: int = 30) -> None:
    """Let everything run that can run at once."""
    for _ in range(turns):
        await asyncio.sleep(0)


class HookEars:
    """Hears every hook a voice channel fires.

    Attributes:
        heard: ``(trigger, payload)``, in order.
    """

    def __init__(self, kit: RoomKit) -> None:
        self.heard: list[tuple[str, Any]] = []
        for trigger in ASYNC:
            kit.hook(trigger, HookExecution.ASYNC, name=f"ear {trigger}")(self._watch(trigger))
        for trigger in SYNC:
            kit.hook(trigger, name=f"ear {trigger}")(self._watch(trigger))

    def _watch(self, trigger: HookTrigger) -> Any:
        async def watch(payload: Any, context: Any) -> HookResult[Any]:
            self.heard.append((trigger.value, payload))
            return HookResult.allow()

        return watch

    @property
    def order(self) -> list[str]:
        """The triggers heard so far."""
        return [trigger for trigger, _ in self.heard]

    def of(self, trigger: HookTrigger) -> list[Any]:
        """Return the payloads of one trigger."""
        return [payload for name, payload in self.heard if name == trigger.value]


class Backend(MockVoiceBackend):
    """Takes audio chunk by chunk, so that a test sees what went out, and can hold it up."""

    def __init__(self, capabilities: VoiceCapability = VoiceCapability.INTERRUPTION) -> None:
        super().__init__(capabilities=capabilities)
        self.chunks: list[tuple[str, bytes]] = []

    async def send_audio(
        self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]
    ) -> None:
        """Note each chunk as it comes."""
        if isinstance(audio, bytes):
            self.chunks.append((session.id, audio))
            return
        async for chunk in audio:
            self.chunks.append((session.id, chunk.data))


class SlowTTS(MockTTSProvider):
    """Gives half a second of audio at once, then the rest only when it is let go.

    Attributes:
        go: Set it to let the synthesis end.
        closed: How many syntheses were closed before their end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.closed = 0

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield 500 ms, wait, yield 500 ms."""
        self.calls.append({"text": text, "voice": voice or "slow"})
        ended = False
        try:
            yield AudioChunk(bytes(16000))
            await self.go.wait()
            yield AudioChunk(bytes(16000), is_final=True)
            ended = True
        finally:
            self.closed += not ended


def pipeline(*events: VADEvent | None) -> AudioPipelineConfig:
    """Return a pipeline whose VAD reports these, one a frame."""
    return AudioPipelineConfig(vad=MockVADProvider(list(events)))


async def open_call(
    kit: RoomKit,
    channel: VoiceChannel,
    *,
    room_id: str = ROOM,
    person: str = "pat",
    answers: list[str] | None = None,
) -> VoiceSession:
    """Make a room with the voice channel, perhaps an AI, and a caller."""
    await kit.create_room(room_id)
    if channel.channel_id not in {each.channel_id for each in kit.list_channels()}:
        kit.register_channel(channel)
    await kit.attach_channel(room_id, channel.channel_id)
    if answers is not None:
        kit.register_channel(AIChannel("ai", MockAIProvider(responses=answers)))
        await kit.attach_channel(room_id, "ai", category=ChannelCategory.INTELLIGENCE)
    session: VoiceSession = await kit.connect_voice(room_id, person, channel.channel_id)
    return session


def voice(backend: VoiceBackend, *events: VADEvent | None, **options: Any) -> VoiceChannel:
    """Return a channel that hears "Hi there"."""
    options.setdefault("stt", MockSTTProvider(["Hi there"]))
    options.setdefault("tts", MockTTSProvider())
    if events:
        options["pipeline"] = pipeline(*events)
    return VoiceChannel("voice", backend=backend, **options)


async def speak(backend: MockVoiceBackend, session: VoiceSession, frames: int = 2) -> None:
    """Let frames come in."""
    for _ in range(frames):
        await backend.simulate_audio_received(session, FRAME)
