"""RoomKit's face to voice: live sessions, transcription and synthesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.core._helpers import HelpersMixin

if TYPE_CHECKING:
    from roomkit.core.services.voice_sessions import VoiceSessions
    from roomkit.models.content import AudioContent
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.realtime.base import RealtimeSession


class VoiceOpsMixin(HelpersMixin):
    """Live audio sessions and the kit's speech providers."""

    _voice_sessions: VoiceSessions

    async def connect_voice(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        metadata: dict[str, Any] | None = None,
    ) -> VoiceSession:
        """Open a voice session and bind it to a room's voice channel.

        Raises:
            VoiceBackendNotConfiguredError: RoomKit has no voice backend.
            RoomNotFoundError: No such room.
            ChannelNotRegisteredError: No such voice channel.
            ChannelNotFoundError: It is not attached to the room.
        """
        await self._ready()
        session: VoiceSession = await self._voice_sessions.connect(
            room_id, participant_id, channel_id, metadata
        )
        return session

    async def disconnect_voice(self, session: VoiceSession) -> None:
        """End a voice session.

        Raises:
            VoiceBackendNotConfiguredError: RoomKit has no voice backend.
        """
        await self._ready()
        await self._voice_sessions.disconnect(session)

    async def connect_realtime_voice(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        connection: Any,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> RealtimeSession:
        """Open a speech-to-speech session.

        Raises:
            RoomNotFoundError: No such room.
            ChannelNotRegisteredError: No such realtime voice channel.
            ChannelNotFoundError: It is not attached to the room.
        """
        await self._ready()
        session: RealtimeSession = await self._voice_sessions.connect_live(
            room_id, participant_id, channel_id, connection, metadata
        )
        return session

    async def disconnect_realtime_voice(self, session: RealtimeSession) -> None:
        """End a speech-to-speech session; harmless when its channel is gone."""
        await self._ready()
        await self._voice_sessions.disconnect_live(session)

    async def transcribe(self, audio: AudioContent) -> str:
        """Return what is said in a recording.

        Raises:
            VoiceNotConfiguredError: RoomKit has no ``stt``.
        """
        await self._ready()
        return await self._voice_sessions.transcribe(audio)

    async def synthesize(self, text: str, voice: str | None = None) -> AudioContent:
        """Return a text as a recording.

        Raises:
            VoiceNotConfiguredError: RoomKit has no ``tts``.
        """
        await self._ready()
        return await self._voice_sessions.synthesize(text, voice)
