"""A client on a real socket, through a backend, in a room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit import RoomKit, TextContent
from roomkit.channels.voice import VoiceChannel
from roomkit.testing import SimpleChannel
from roomkit.voice.backends.websocket import VoiceCaller, VoiceHandshake, WebSocketVoiceBackend
from roomkit.voice.pipeline.config import AudioPipelineConfig
from roomkit.voice.pipeline.mock import MockVADProvider
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.base import TTSProvider
from tests.test_voice._backend_clients import client_of, line_to, until
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit import AudioContent
    from roomkit.voice.base import AudioChunk, VoiceSession


class Hum(TTSProvider):
    """Hums instead of speaking."""

    @property
    def name(self) -> str:
        """Its name."""
        return "hum"

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Not used."""
        raise AssertionError(text)

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Hum for a tenth of a second."""
        from roomkit.voice.base import AudioChunk

        yield AudioChunk(tone(330, 100))


async def test_a_call_in_a_room() -> None:
    """Speech becomes a message, a message becomes speech, and hanging up is told once."""
    end = VADEvent(type=VADEventType.SPEECH_END, audio_bytes=tone(220, 100))
    vad = MockVADProvider([VADEvent(type=VADEventType.SPEECH_START), end])

    async def session_for(caller: VoiceCaller) -> VoiceSession:
        found: VoiceSession = await kit.connect_voice(
            caller.room_id, caller.participant_id, "voice", metadata=dict(caller.metadata)
        )
        return found

    def who(shake: VoiceHandshake) -> VoiceCaller:
        return VoiceCaller("ana", shake.room or "")

    backend = WebSocketVoiceBackend(authenticate=who, session_factory=session_for)
    kit = RoomKit(voice=backend)
    channel = VoiceChannel(
        "voice",
        stt=MockSTTProvider(["When do you open?"]),
        tts=Hum(),
        backend=backend,
        pipeline=AudioPipelineConfig(vad=vad),
    )
    backend.on_session_ended(kit.disconnect_voice)
    told: list[str] = []

    @kit.on("voice_connected")
    @kit.on("voice_disconnected")
    async def note(event: Any) -> None:
        told.append(event.type)

    kit.register_channel(channel)
    kit.register_channel(SimpleChannel("desk"))
    await kit.create_room("lobby")
    await kit.attach_channel("lobby", "voice")
    await kit.attach_channel("lobby", "desk")
    async with line_to(backend) as url, client_of(url) as client:
        await client.start(room="lobby")
        for _ in range(2):
            await client.send(bytes(640))
        await until(lambda: "transcription" in client.kinds())
        assert client.said[-1]["text"] == "When do you open?"
        await kit.send_event("lobby", "desk", TextContent(body="At nine."))
        await until(lambda: len(b"".join(client.audio)) == len(tone(330, 100)))
        events = await kit.get_timeline("lobby")
        assert [getattr(event.content, "body", "") for event in events][-2:] == [
            "When do you open?",
            "At nine.",
        ]
        client.drop()
        await until(lambda: len(told) == 2)
    await kit.close()
    assert [str(each) for each in told] == ["voice_connected", "voice_disconnected"]
