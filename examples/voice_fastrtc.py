"""A voice room behind FastRTC: a browser or a WebSocket client asks, hears, and interrupts.

A caller hums a question, which a stand-in for a recogniser takes for words; the assistant's answer
is beeped. When the caller hums over it, it stops, here and at the caller's end. At last the caller
hangs up, and the room knows.

    python examples/voice_fastrtc.py                 one call, played by a program
    python examples/voice_fastrtc.py --serve 8000    a page with a microphone, for browsers

FastRTC wants an environment of its own: pip install 'roomkit[fastrtc]' uvicorn websockets
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from _fastrtc.caller import calling, hum
from _fastrtc.program import make_app, run

from roomkit import AIChannel, ChannelCategory, MockAIProvider, RoomKit
from roomkit.channels.voice import VoiceChannel
from roomkit.models.content import AudioContent
from roomkit.voice.backends.fastrtc import FastRTCVoiceBackend, mount_fastrtc_voice
from roomkit.voice.base import AudioChunk
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.base import TTSProvider
from roomkit.voice.vad import EnergyVADProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from roomkit.models.framework_event import FrameworkEvent
    from roomkit.voice.base import VoiceSession

ROOM = "lobby"
RATE = 16000
ANSWER = "We open at nine every day, and on Sundays we open a little later, at ten."


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
            yield AudioChunk(hum(0.2, RATE), RATE)


gone = asyncio.Event()
"""Set when the room has lost its caller."""


async def build() -> tuple[Any, Callable[[], Awaitable[None]]]:
    """Return the app, and what ends the kit behind it."""
    backend = FastRTCVoiceBackend(
        input_sample_rate=RATE, output_sample_rate=RATE, interruptible=True
    )
    kit = RoomKit(voice=backend)
    channel = VoiceChannel(
        "phone",
        stt=MockSTTProvider(["When do you open?", "Thank you, that is enough."]),
        tts=Beeper(),
        backend=backend,
        pipeline=AudioPipelineConfig(vad=EnergyVADProvider()),
        barge_in_threshold_ms=100,
    )
    kit.register_channel(channel)
    kit.register_channel(AIChannel("ai", MockAIProvider(responses=[ANSWER, "Goodbye."])))
    await kit.create_room(ROOM)
    await kit.attach_channel(ROOM, "phone")
    await kit.attach_channel(ROOM, "ai", category=ChannelCategory.INTELLIGENCE)

    @kit.on("voice_disconnected")
    async def ended(event: FrameworkEvent) -> None:
        gone.set()

    async def session_for(client: str) -> VoiceSession:
        # The id is the client's own choice: a real program finds out here who it is.
        return await kit.connect_voice(ROOM, f"caller-{client[:8]}", "phone")

    backend.on_session_ended(kit.disconnect_voice)
    app = make_app("/fastrtc")
    mount_fastrtc_voice(app, backend, session_factory=session_for)
    return app, kit.close


async def play(url: str) -> None:
    """Ask, hear the answer, speak over it, hang up."""
    async with calling(f"{url}/fastrtc", "ana", RATE) as caller:
        await caller.speak()
        await caller.until(lambda: len(caller.heard) > 2 * RATE)
        print("the caller said:", caller.texts("user")[0])
        print("and hears:", caller.texts("assistant")[0])
        await caller.speak()
        await caller.until(lambda: {"event": "clear"} in caller.told)
        print("the caller spoke over the answer: its playback is dropped")
        await caller.until(lambda: "Goodbye." in caller.texts("assistant"))
    await asyncio.wait_for(gone.wait(), 20)
    print("hung up, and the room knows")


if __name__ == "__main__":
    run("A voice room behind FastRTC.", build, play)
