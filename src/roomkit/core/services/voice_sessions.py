"""Live audio sessions of a kit: connected to a room's voice channel, and disconnected.

The backend, the speech providers and the voice channels come from the voice layer; here only
what they promise is known.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

from roomkit.exceptions import (
    ChannelNotRegisteredError,
    VoiceBackendNotConfiguredError,
    VoiceNotConfiguredError,
)
from roomkit.models.framework_event import FrameworkEventType as Told

if TYPE_CHECKING:
    from roomkit.core.services.bindings import Bindings
    from roomkit.core.services.framework_bus import FrameworkBus
    from roomkit.core.services.registry import ChannelRegistry
    from roomkit.core.services.rooms import Rooms
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import AudioContent

ENDED_KNOWN = 10_000
"""So many ended sessions are remembered, so that their end is told once."""


class SpeechToText(Protocol):
    """What ``RoomKit(stt=...)`` must be able to do."""

    async def transcribe(self, audio: Any) -> str:
        """Return what is said in a recording."""
        ...


class TextToSpeech(Protocol):
    """What ``RoomKit(tts=...)`` must be able to do."""

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Return a text as a recording."""
        ...


class AudioBackend(Protocol):
    """What ``RoomKit(voice=...)`` must be able to do."""

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> Any:
        """Return a new session."""
        ...

    async def disconnect(self, session: Any) -> None:
        """End a session."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class SessionChannel(Protocol):
    """A channel that sessions can be bound to."""

    def bind_session(self, session: Any, room_id: str, binding: ChannelBinding) -> None:
        """Let a session speak in a room."""
        ...

    def unbind_session(self, session: Any) -> None:
        """Take a session out of its room."""
        ...


class LiveChannel(Protocol):
    """A channel that makes its own live sessions."""

    async def start_session(
        self,
        room_id: str,
        participant_id: str,
        connection: Any,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> Any:
        """Return a new live session."""
        ...

    async def end_session(self, session: Any) -> None:
        """End a live session."""
        ...


class VoiceSessions:
    """Connects live audio with rooms."""

    def __init__(
        self,
        stt: SpeechToText | None,
        tts: TextToSpeech | None,
        backend: AudioBackend | None,
        registry: ChannelRegistry,
        rooms: Rooms,
        bindings: Bindings,
        bus: FrameworkBus,
    ) -> None:
        self.stt = stt
        self.tts = tts
        self.backend = backend
        self._registry = registry
        self._rooms = rooms
        self._bindings = bindings
        self._bus = bus
        self._ended: OrderedDict[str, None] = OrderedDict()

    def _require_backend(self, channel_id: str) -> AudioBackend:
        """Return the kit's backend, else the channel's own."""
        channel = self._registry.channels.get(channel_id)
        backend: AudioBackend | None = self.backend or getattr(channel, "backend", None)
        if backend is None:
            raise VoiceBackendNotConfiguredError(
                "no voice backend is configured; pass one with RoomKit(voice=...)"
            )
        return backend

    def _session_channel(self, channel_id: str) -> SessionChannel | None:
        channel: Any = self._registry.channels.get(channel_id)
        return channel if hasattr(channel, "bind_session") else None

    def _live_channel(self, channel_id: str) -> LiveChannel | None:
        channel: Any = self._registry.channels.get(channel_id)
        return channel if hasattr(channel, "start_session") else None

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        metadata: dict[str, Any] | None,
    ) -> Any:
        """Open a session and bind it to the room's voice channel."""
        backend = self._require_backend(channel_id)
        await self._rooms.require(room_id)
        channel = self._session_channel(channel_id)
        if channel is None:
            raise ChannelNotRegisteredError(f"no voice channel {channel_id!r} is registered")
        binding = await self._bindings.require(room_id, channel_id)
        session = await backend.connect(room_id, participant_id, channel_id, metadata=metadata)
        channel.bind_session(session, room_id, binding)
        await self._tell(Told.VOICE_CONNECTED, session)
        return session

    async def disconnect(self, session: Any) -> None:
        """End a session; again tells nobody."""
        backend = self._require_backend(session.channel_id)
        channel = self._session_channel(session.channel_id)
        if channel is not None:
            channel.unbind_session(session)
        await backend.disconnect(session)
        if session.id in self._ended:
            return
        self._ended[session.id] = None
        while len(self._ended) > ENDED_KNOWN:
            self._ended.popitem(last=False)
        await self._tell(Told.VOICE_DISCONNECTED, session)

    async def connect_live(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        connection: Any,
        metadata: dict[str, Any] | None,
    ) -> Any:
        """Open a speech-to-speech session."""
        await self._rooms.require(room_id)
        channel = self._live_channel(channel_id)
        if channel is None:
            raise ChannelNotRegisteredError(
                f"no realtime voice channel {channel_id!r} is registered"
            )
        await self._bindings.require(room_id, channel_id)
        return await channel.start_session(room_id, participant_id, connection, metadata=metadata)

    async def disconnect_live(self, session: Any) -> None:
        """End a speech-to-speech session; nothing happens when its channel is gone."""
        channel = self._live_channel(session.channel_id)
        if channel is not None:
            await channel.end_session(session)

    async def transcribe(self, audio: AudioContent) -> str:
        """Return what is said in a recording."""
        if self.stt is None:
            raise VoiceNotConfiguredError("No STT provider is configured: RoomKit(stt=...)")
        return await self.stt.transcribe(audio)

    async def synthesize(self, text: str, voice: str | None) -> AudioContent:
        """Return a text as a recording."""
        if self.tts is None:
            raise VoiceNotConfiguredError("No TTS provider is configured: RoomKit(tts=...)")
        return await self.tts.synthesize(text, voice=voice)

    async def _tell(self, event_type: Told, session: Any) -> None:
        await self._bus.emit(
            event_type,
            room_id=session.room_id,
            channel_id=session.channel_id,
            data={"session_id": session.id, "participant_id": session.participant_id},
        )
