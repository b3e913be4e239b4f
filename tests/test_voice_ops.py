"""The kit's face to voice: which parts are asked, in which order, with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from roomkit import (
    AudioContent,
    ChannelBinding,
    ChannelNotFoundError,
    ChannelNotRegisteredError,
    ChannelType,
    RoomKit,
    RoomNotFoundError,
    VoiceBackendNotConfiguredError,
    VoiceNotConfiguredError,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, Ears, open_room

AUDIO = AudioContent(url="https://example.org/a.ogg")


@dataclass
class Session:
    """What a backend gives."""

    id: str
    room_id: str
    participant_id: str
    channel_id: str


class Backend:
    """Connects and remembers."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> Session:
        self.log.append(("connect", metadata))
        return Session("s-1", room_id, participant_id, channel_id)

    async def disconnect(self, session: Session) -> None:
        self.log.append(("disconnect", session.id))

    async def close(self) -> None:
        self.log.append(("close",))


class VoiceLike(SimpleChannel):
    """A channel that sessions can be bound to."""

    def __init__(self, log: list[Any]) -> None:
        super().__init__("voice", ChannelType.VOICE)
        self.log = log

    def bind_session(self, session: Session, room_id: str, binding: ChannelBinding) -> None:
        self.log.append(("bind", session.id, room_id, binding.channel_id))

    def unbind_session(self, session: Session) -> None:
        self.log.append(("unbind", session.id))


class LiveLike(SimpleChannel):
    """A channel that makes live sessions of its own."""

    def __init__(self, log: list[Any]) -> None:
        super().__init__("live", ChannelType.REALTIME_VOICE)
        self.log = log

    async def start_session(
        self,
        room_id: str,
        participant_id: str,
        connection: Any,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> Session:
        self.log.append(("start", room_id, participant_id, connection, metadata))
        return Session("l-1", room_id, participant_id, self.channel_id)

    async def end_session(self, session: Session) -> None:
        self.log.append(("end", session.id))


class Speech:
    """Hears and speaks."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def transcribe(self, audio: AudioContent) -> str:
        self.asked.append(audio)
        return "what was said"

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        self.asked.append((text, voice))
        return AUDIO


class TestSessions:
    """Connected to the backend, then bound to the room's voice channel, then told."""

    async def test_connect_and_disconnect(self) -> None:
        log: list[Any] = []
        async with RoomKit(voice=Backend(log)) as kit:
            await open_room(kit, VoiceLike(log))
            ears = Ears(kit)
            session = await kit.connect_voice(ROOM, "pat", "voice", metadata={"rate": 8000})
            await kit.disconnect_voice(session)
            assert log == [
                ("connect", {"rate": 8000}),
                ("bind", "s-1", ROOM, "voice"),
                ("unbind", "s-1"),
                ("disconnect", "s-1"),
            ]
            data = {"session_id": "s-1", "participant_id": "pat"}
            assert [(e.type, e.room_id, e.channel_id, e.data) for e in ears.heard] == [
                ("voice_connected", ROOM, "voice", data),
                ("voice_disconnected", ROOM, "voice", data),
            ]

    async def test_an_end_is_told_once(self) -> None:
        """A backend that reports the end, and a program that ends it too, are one end."""
        async with RoomKit(voice=Backend([])) as kit:
            await open_room(kit, VoiceLike([]))
            ears = Ears(kit)
            session = await kit.connect_voice(ROOM, "pat", "voice")
            await kit.disconnect_voice(session)
            await kit.disconnect_voice(session)
            assert [e.type for e in ears.heard] == ["voice_connected", "voice_disconnected"]

    async def test_the_channels_own_backend(self) -> None:
        """It serves where the kit has none."""
        log: list[Any] = []
        async with RoomKit() as kit:
            channel = VoiceLike(log)
            vars(channel)["backend"] = Backend(log)
            await open_room(kit, channel)
            session = await kit.connect_voice(ROOM, "pat", "voice")
            await kit.disconnect_voice(session)
            assert [step[0] for step in log] == ["connect", "bind", "unbind", "disconnect"]

    async def test_metadata_by_position(self) -> None:
        log: list[Any] = []
        async with RoomKit(voice=Backend(log)) as kit:
            await open_room(kit, VoiceLike(log))
            await kit.connect_voice(ROOM, "pat", "voice", {"k": 1})
            assert log[0] == ("connect", {"k": 1})

    async def test_what_is_missing_is_named_in_order(self) -> None:
        log: list[Any] = []
        async with RoomKit() as kit:
            with pytest.raises(VoiceBackendNotConfiguredError):
                await kit.connect_voice("nowhere", "pat", "voice")
            with pytest.raises(VoiceBackendNotConfiguredError):
                await kit.disconnect_voice(Session("s", ROOM, "pat", "voice"))
        async with RoomKit(voice=Backend(log)) as kit:
            with pytest.raises(RoomNotFoundError):
                await kit.connect_voice("nowhere", "pat", "voice")
            await open_room(kit, SimpleChannel("text"))
            for channel_id in ("voice", "text"):
                with pytest.raises(ChannelNotRegisteredError):
                    await kit.connect_voice(ROOM, "pat", channel_id)
            kit.register_channel(VoiceLike(log))
            with pytest.raises(ChannelNotFoundError):
                await kit.connect_voice(ROOM, "pat", "voice")
            assert log == []

    async def test_the_kit_closes_the_backend(self) -> None:
        log: list[Any] = []
        async with RoomKit(voice=Backend(log)) as kit:
            assert kit.voice is not None
        assert log == [("close",)]


class TestLiveSessions:
    """A live channel makes and ends its own sessions."""

    async def test_start_and_end(self) -> None:
        log: list[Any] = []
        async with RoomKit() as kit:
            await open_room(kit, LiveLike(log))
            session = await kit.connect_realtime_voice(
                ROOM, "pat", "live", "socket", metadata={"k": 1}
            )
            await kit.disconnect_realtime_voice(session)
            assert log == [("start", ROOM, "pat", "socket", {"k": 1}), ("end", "l-1")]

    async def test_what_is_missing(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(RoomNotFoundError):
                await kit.connect_realtime_voice("nowhere", "pat", "live", None)
            await open_room(kit, SimpleChannel("text"))
            with pytest.raises(ChannelNotRegisteredError):
                await kit.connect_realtime_voice(ROOM, "pat", "text", None)
            kit.register_channel(LiveLike([]))
            with pytest.raises(ChannelNotFoundError):
                await kit.connect_realtime_voice(ROOM, "pat", "live", None)

    async def test_ending_one_whose_channel_is_gone_is_harmless(self) -> None:
        async with RoomKit() as kit:
            await kit.disconnect_realtime_voice(Session("s", ROOM, "pat", "ghost"))
            assert kit.list_channels() == []


class TestSpeech:
    """Recordings become text and text becomes recordings, by the configured providers."""

    async def test_delegated(self) -> None:
        speech = Speech()
        async with RoomKit(stt=speech, tts=speech) as kit:
            assert kit.stt is speech
            assert kit.tts is speech
            assert await kit.transcribe(AUDIO) == "what was said"
            assert await kit.synthesize("hi", voice="v") is AUDIO
            assert await kit.synthesize("ho", "w") is AUDIO
            assert speech.asked == [AUDIO, ("hi", "v"), ("ho", "w")]

    async def test_not_configured(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(VoiceNotConfiguredError, match="stt"):
                await kit.transcribe(AUDIO)
            with pytest.raises(VoiceNotConfiguredError, match="tts"):
                await kit.synthesize("hi")
