"""A spoken conversation without a network: a question, its answer, and an interruption."""

from __future__ import annotations

import asyncio
import math
import struct
from typing import TYPE_CHECKING, Any

from roomkit import (
    AIChannel,
    ChannelCategory,
    HookExecution,
    HookTrigger,
    MockAIProvider,
    RoomContext,
    RoomKit,
    TextContent,
)
from roomkit.channels.voice import VoiceChannel
from roomkit.models.content import AudioContent
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.base import AudioChunk, VoiceCapability
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.base import TTSProvider
from roomkit.voice.vad import EnergyVADProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import VoiceSession

RATE = 16000
FRAME = RATE // 50  # samples in 20 ms
LOUD = struct.pack(
    f"<{FRAME}h", *(int(9000 * math.sin(2 * math.pi * 440 * n / RATE)) for n in range(FRAME))
)
QUIET = bytes(2 * FRAME)


class Beeper(TTSProvider):
    """Stands in for a synthesiser: a fifth of a second of sound for each word."""

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Not used by a streaming channel."""
        return AudioContent(url="data:audio/pcm;rate=16000,", mime_type="audio/pcm")

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield the sound word by word."""
        for _ in text.split():
            yield AudioChunk(LOUD * 10, RATE)


async def speak(backend: MockVoiceBackend, session: VoiceSession, loud: int, quiet: int) -> None:
    """Let frames come in: somebody speaks, then is silent."""
    for data in [LOUD] * loud + [QUIET] * quiet:
        await backend.simulate_audio_received(session, AudioFrame(data, RATE))


async def main() -> None:
    """Ask, hear the answer, and speak over it."""
    backend = MockVoiceBackend(capabilities=VoiceCapability.INTERRUPTION)
    channel = VoiceChannel(
        "telephone",
        stt=MockSTTProvider(["When do you open?", "Thanks, that is enough."]),
        tts=Beeper(),
        backend=backend,
        pipeline=AudioPipelineConfig(vad=EnergyVADProvider()),
        barge_in_threshold_ms=100,
    )
    answer = "We open at nine every day, and on Sundays we open a little later, at ten."
    spoken, stopped = asyncio.Event(), asyncio.Event()

    async with RoomKit(voice=backend) as kit:

        @kit.hook(HookTrigger.AFTER_TTS, HookExecution.ASYNC)
        async def after(text: str, context: RoomContext) -> None:
            spoken.set()

        @kit.hook(HookTrigger.ON_TTS_CANCELLED, HookExecution.ASYNC)
        async def cancelled(event: Any, context: RoomContext) -> None:
            if event.reason == "barge_in":
                print("the caller spoke over the answer")
            stopped.set()

        kit.register_channel(channel)
        kit.register_channel(AIChannel("ai", MockAIProvider(responses=[answer, "Goodbye."])))
        await kit.create_room("call")
        await kit.attach_channel("call", "telephone")
        await kit.attach_channel("call", "ai", category=ChannelCategory.INTELLIGENCE)
        session = await kit.connect_voice("call", "caller", "telephone")

        await speak(backend, session, loud=30, quiet=40)
        await spoken.wait()
        spoken.clear()
        await asyncio.sleep(0.5)  # the answer is being heard
        await speak(backend, session, loud=30, quiet=40)
        await stopped.wait()
        await spoken.wait()

        heard = ""
        for event in await kit.get_timeline("call"):
            if isinstance(event.content, TextContent):
                print(f"{event.source.channel_id}: {event.content.body}")
                heard = event.metadata.get("heard_text", heard)
        print("heard of the first answer:", heard)
        await kit.disconnect_voice(session)
    assert heard
    assert answer.startswith(heard)
    assert heard != answer


if __name__ == "__main__":
    asyncio.run(main())
