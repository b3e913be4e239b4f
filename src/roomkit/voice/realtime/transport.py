"""The caller's side of a live session."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from roomkit.voice.realtime.base import RealtimeSession
from roomkit.voice.realtime.provider import call_all

TransportAudioCallback = Callable[[RealtimeSession, bytes], Any]
"""``(session, audio)``: PCM of the caller."""

TransportDisconnectCallback = Callable[[RealtimeSession], Any]
"""``(session)``: the caller has left by themselves."""


class RealtimeAudioTransport(ABC):
    """Carries PCM and small messages between callers and us.

    Audio is signed 16-bit little-endian mono. Callbacks of one session are called in order. A
    session the transport does not know makes every method do nothing. A disconnect of ours is
    never told to ``on_client_disconnected``.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call it in logs."""

    @abstractmethod
    async def accept(self, session: RealtimeSession, connection: Any) -> None:
        """Begin to listen to a connection on behalf of a session.

        Args:
            session: Whose.
            connection: What the transport understands: a WebSocket, an id of WebRTC.
        """

    @abstractmethod
    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Send PCM to the caller."""

    @abstractmethod
    async def send_message(self, session: RealtimeSession, message: dict[str, Any]) -> None:
        """Send a message to the caller; ``{"type": "clear_audio"}`` drops what is unplayed."""

    @abstractmethod
    async def disconnect(self, session: RealtimeSession) -> None:
        """End a session's connection. Again does nothing."""

    def on_audio_received(self, callback: TransportAudioCallback) -> None:
        """Call ``callback`` with what the caller says."""

    def on_client_disconnected(self, callback: TransportDisconnectCallback) -> None:
        """Call ``callback`` when a caller leaves."""

    async def close(self) -> None:
        """End every connection; the default holds none. Idempotent."""


class CallbackRealtimeTransport(RealtimeAudioTransport):
    """A transport that keeps its callbacks: what implementations inherit."""

    def __init__(self) -> None:
        self._audio_callbacks: list[TransportAudioCallback] = []
        self._disconnect_callbacks: list[TransportDisconnectCallback] = []

    def on_audio_received(self, callback: TransportAudioCallback) -> None:
        """Call ``callback`` with what the caller says."""
        self._audio_callbacks.append(callback)

    def on_client_disconnected(self, callback: TransportDisconnectCallback) -> None:
        """Call ``callback`` when a caller leaves."""
        self._disconnect_callbacks.append(callback)

    async def _heard(self, session: RealtimeSession, audio: bytes) -> None:
        await call_all(self._audio_callbacks, session, audio, what="on_audio_received")

    async def _left(self, session: RealtimeSession) -> None:
        await call_all(self._disconnect_callbacks, session, what="on_client_disconnected")
