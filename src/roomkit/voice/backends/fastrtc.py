"""Calls from browsers over WebRTC or WebSocket, carried by FastRTC.

``mount_fastrtc_voice`` adds FastRTC's routes to a FastAPI app. The package is imported there,
not here: the backend by itself needs none of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from roomkit._aio import TaskSet
from roomkit._clock import SystemClock
from roomkit._logging import ids, log_failure
from roomkit.exceptions import ConflictError, InvalidInputError
from roomkit.voice._rtc_handler import Mount, check_rates
from roomkit.voice._rtc_peer import (
    Meter,
    Peer,
    Track,
    clear_message,
    close_line,
    media_message,
    pcm16_of,
    text_message,
)
from roomkit.voice.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends._inlet import QUEUE_FRAMES, Inlet, tell
from roomkit.voice.backends._shape import shaped
from roomkit.voice.backends.base import AudioReceivedCallback, VoiceBackend
from roomkit.voice.base import VoiceCapability, VoiceSession, VoiceSessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit._clock import Clock
    from roomkit.voice.base import AudioChunk

__all__ = ["FastRTCVoiceBackend", "mount_fastrtc_voice"]

logger: logging.Logger = logging.getLogger("roomkit.voice.fastrtc")

_pcm16_to_mulaw = pcm16_to_mulaw
_mulaw_to_pcm16 = mulaw_to_pcm16

SessionFactory = Callable[[str], Awaitable[VoiceSession | None]]
"""Makes the session of a client FastRTC calls by this id; None: it gets none."""

SessionEndedCallback = Callable[[VoiceSession], Any]
"""``(session)``: the client has gone. Plain or async."""


@dataclass
class _Carried:
    """A session and what carries it."""

    session: VoiceSession
    inlet: Inlet
    meter: Meter
    peer: Peer | None = None
    generation: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class FastRTCVoiceBackend(VoiceBackend):
    """Voice sessions over FastRTC.

    A WebSocket client gets its audio as mu-law in JSON the moment it is queued; a WebRTC client
    or a telephone call gets it from FastRTC, at most 0.2 s ahead of time. What was played is
    estimated by the clock, as these clients report nothing.

    Args:
        input_sample_rate: Hertz of what comes in.
        output_sample_rate: Hertz of what goes out, a multiple of 50.
        interruptible: Declare INTERRUPTION: the page drops its playback on ``{"event":
            "clear"}``, or is a WebRTC client. ``cancel_audio`` works either way.
        max_sessions: Sessions at a time.
        queue_frames: Inbound frames that may wait; then the oldest is dropped and counted.
        max_queued_ms: Outbound audio that may wait for a WebRTC client or a telephone call.
        send_timeout: Seconds one send and one session_factory may take.
        clock: Where time comes from.

    Raises:
        InvalidInputError: A rate FastRTC cannot carry, or a bound that makes no sense.
    """

    def __init__(
        self,
        *,
        input_sample_rate: int = 48000,
        output_sample_rate: int = 24000,
        interruptible: bool = False,
        max_sessions: int = 1000,
        queue_frames: int = QUEUE_FRAMES,
        max_queued_ms: int = 120_000,
        send_timeout: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        check_rates(input_sample_rate, output_sample_rate)
        if min(max_sessions, queue_frames, max_queued_ms) < 1 or send_timeout <= 0:
            raise InvalidInputError(
                "max_sessions, queue_frames and max_queued_ms must be at least 1, send_timeout "
                "positive"
            )
        self._input_sample_rate = input_sample_rate
        self._output_sample_rate = output_sample_rate
        self._interruptible = interruptible
        self._max_sessions = max_sessions
        self._queue_frames = queue_frames
        self._max_queued_ms = max_queued_ms
        self._send_timeout = send_timeout
        self._clock = clock or SystemClock()
        self._sessions: dict[str, VoiceSession] = {}
        self._websockets: dict[str, Any] = {}
        self._carried: dict[str, _Carried] = {}
        self._seats: dict[Peer, _Carried] = {}
        self._audio_received_callback: AudioReceivedCallback | None = None
        self._ended_callbacks: list[SessionEndedCallback] = []
        self._session_factory: SessionFactory | None = None
        self._stream: Any = None
        self._tasks = TaskSet("voice_fastrtc")

    @property
    def name(self) -> str:
        """``FastRTC``."""
        return "FastRTC"

    @property
    def capabilities(self) -> VoiceCapability:
        """INTERRUPTION when ``interruptible``, else nothing."""
        return VoiceCapability.INTERRUPTION if self._interruptible else VoiceCapability.NONE

    def on_audio_received(self, callback: AudioReceivedCallback) -> None:
        """Call ``callback(session, frame)`` with every frame; the last callback wins."""
        self._audio_received_callback = callback

    def on_session_ended(self, callback: SessionEndedCallback) -> None:
        """Call ``callback(session)`` when a client has gone, not when we ended the session.

        Give it ``kit.disconnect_voice``.
        """
        self._ended_callbacks.append(callback)

    # -- sessions

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> VoiceSession:
        """Return a new session; ``session_factory`` gives it to a client.

        Without a factory a client is given the session whose metadata names it as
        ``websocket_id``.

        Raises:
            ConflictError: There are ``max_sessions`` already.
        """
        if len(self._sessions) >= self._max_sessions:
            raise ConflictError(
                f"the FastRTC backend has its {self._max_sessions} sessions; end one first, or "
                "give it a larger max_sessions"
            )
        session = VoiceSession(
            id=str(uuid4()),
            room_id=room_id,
            participant_id=participant_id,
            channel_id=channel_id,
            state=VoiceSessionState.ACTIVE,
            metadata={
                "input_sample_rate": self._input_sample_rate,
                "output_sample_rate": self._output_sample_rate,
                **(metadata or {}),
            },
        )
        self._sessions[session.id] = session
        inlet = Inlet(session, self._callbacks, self._tasks, self._queue_frames)
        self._carried[session.id] = _Carried(session, inlet, Meter(self._clock))
        return session

    def _callbacks(self) -> list[AudioReceivedCallback]:
        callback = self._audio_received_callback
        return [] if callback is None else [callback]

    async def disconnect(self, session: VoiceSession) -> None:
        """End a session and close its client; again does nothing."""
        websocket = self._websockets.get(session.id)
        carried = self._forget(session)
        if carried is None:
            return
        if websocket is not None:
            await close_line(websocket, self._send_timeout)
        elif carried.peer is not None:
            await carried.peer.hang_up()

    def _forget(self, session: VoiceSession) -> _Carried | None:
        session.state = VoiceSessionState.ENDED
        self._sessions.pop(session.id, None)
        self._websockets.pop(session.id, None)
        carried = self._carried.pop(session.id, None)
        if carried is not None:
            carried.session.state = VoiceSessionState.ENDED
            carried.generation += 1
            carried.inlet.close()
            if carried.peer is not None:
                self._seats.pop(carried.peer, None)
                carried.peer.refused = True
                carried.peer.track.close()
        return carried

    def get_session(self, session_id: str) -> VoiceSession | None:
        """Return a session that has not ended."""
        return self._sessions.get(session_id)

    def list_sessions(self, room_id: str) -> list[VoiceSession]:
        """Return the sessions of a room that have not ended."""
        return [each for each in self._sessions.values() if each.room_id == room_id]

    def dropped_frames(self, session: VoiceSession) -> int:
        """Return how many frames nobody heard because the callbacks were slow."""
        carried = self._carried.get(session.id)
        return 0 if carried is None else carried.inlet.dropped

    async def close(self) -> None:
        """End all sessions; again does nothing."""
        for session in list(self._sessions.values()):
            await self.disconnect(session)
        await self._tasks.cancel(but={asyncio.current_task()}, timeout=self._send_timeout)

    # -- playback

    async def send_audio(
        self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]
    ) -> None:
        """Send or queue audio; one message a chunk for a WebSocket client.

        Chunks of another rate are resampled. A session without a client gets one warning and
        no sound. It returns early when playback is cancelled, the session ends or the client
        has gone.
        """
        carried = self._carried.get(session.id)
        if carried is None:
            return
        generation = carried.generation
        async with carried.turn:
            pieces = shaped(audio, self._output_sample_rate, session.id, joined=True)
            try:
                async for pcm in pieces:
                    if generation != carried.generation or not await self._play(carried, pcm):
                        return
            finally:
                await pieces.aclose()

    async def _play(self, carried: _Carried, pcm: bytes) -> bool:
        peer = carried.peer
        if peer is not None and not peer.direct:
            await peer.track.put(pcm)
            return True
        if not await self._send(carried.session, media_message(pcm)):
            return False
        carried.meter.add(len(pcm) / 2 / self._output_sample_rate)
        return True

    async def _send(self, session: VoiceSession, message: dict[str, Any]) -> bool:
        """Send to a session's socket; whether that worked."""
        extra = ids(session_id=session.id)
        websocket = self._resolve_websocket(session)
        if websocket is None:
            logger.warning("the session has no client to send to", extra=extra)
            return False
        try:
            async with asyncio.timeout(self._send_timeout):
                await websocket.send_json(message)
        except Exception as exc:  # noqa: BLE001 - the client's fault, or the network's
            log_failure(logger, exc, "sending to a client failed", extra=extra)
            await self._gone(session)
            return False
        return True

    async def cancel_audio(self, session: VoiceSession) -> bool:
        """Drop what was not heard, here, in FastRTC and at the client; whether there was any."""
        carried = self._carried.get(session.id)
        if carried is None:
            return False
        was_playing = self.is_playing(session)
        carried.generation += 1
        carried.meter.cancel()
        peer = carried.peer
        if peer is not None:
            peer.clear()
        if was_playing and self._resolve_websocket(session) is not None:
            message = {"event": "clear"} if peer is None else clear_message(peer)
            await self._send(session, message)
        return was_playing

    def is_playing(self, session: VoiceSession) -> bool:
        """Return whether there is audio that was not heard yet, by the clock."""
        carried = self._carried.get(session.id)
        if carried is None:
            return False
        queued = carried.peer is not None and carried.peer.track.playing
        return queued or carried.meter.ahead > 0

    def played_ms(self, session: VoiceSession) -> int | None:
        """Return how much of the present or last playback was heard, by the clock."""
        carried = self._carried.get(session.id)
        if carried is None:
            return None
        peer = carried.peer
        meter = carried.meter if peer is None or peer.direct else peer.track.meter
        return meter.played_ms

    async def send_transcription(
        self, session: VoiceSession, text: str, role: str = "user"
    ) -> None:
        """Send what was said to the client's page."""
        carried = self._carried.get(session.id)
        if carried is None:
            return
        peer = carried.peer
        if peer is None or peer.direct:
            await self._send(session, text_message(text, role))
        elif not peer.phone:
            try:
                await peer.text(json.dumps(text_message(text, role)))
            except Exception as exc:  # noqa: BLE001 - a broken data channel is not a broken call
                log_failure(logger, exc, "showing a text failed")

    # -- clients

    def _register_websocket(self, websocket_id: str, session_id: str, websocket: Any) -> None:
        """Note which socket carries a session."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.metadata["websocket_id"] = websocket_id
        if websocket is not None:
            self._websockets[session_id] = websocket

    def _find_session_by_websocket_id(self, websocket_id: str) -> VoiceSession | None:
        for session in self._sessions.values():
            if session.metadata.get("websocket_id") == websocket_id:
                return session
        return None

    def _resolve_websocket(self, session: VoiceSession) -> Any:
        """Return a session's socket, looked up in FastRTC when it was never registered."""
        found = self._websockets.get(session.id)
        websocket_id = session.metadata.get("websocket_id")
        if found is None and websocket_id and self._stream is not None:
            connections = self._stream.connections.get(websocket_id) or [None]
            found = getattr(connections[0], "websocket", None)
            if found is not None and session.id in self._sessions:
                self._websockets[session.id] = found
        return found

    async def _handle_audio_frame(self, websocket_id: str, audio: Any, sample_rate: int) -> None:
        """Queue a frame for the callback; of an unknown client it is dropped.

        Args:
            websocket_id: FastRTC's name for the client.
            audio: A numpy array: 16-bit, or floats from -1 to 1.
            sample_rate: Hertz.
        """
        session = self._find_session_by_websocket_id(websocket_id)
        if session is not None and self._audio_received_callback is not None:
            self._hear(self._carried[session.id], audio, sample_rate)

    def _hear(self, carried: _Carried, audio: Any, sample_rate: int) -> None:
        data = pcm16_of(audio)
        if data:
            carried.inlet.put(AudioFrame(data, sample_rate, 1, 2))

    async def _receive(self, peer: Peer, frame: tuple[int, Any]) -> None:
        """Take a frame of a client, which gets its session with its first one."""
        sample_rate, audio = frame
        carried = self._seats.get(peer) or await self._seat(peer)
        if carried is not None and self._audio_received_callback is not None:
            self._hear(carried, audio, sample_rate)

    async def _seat(self, peer: Peer) -> _Carried | None:
        session = self._find_session_by_websocket_id(peer.id) or await self._make_session(peer)
        if session is None:
            peer.refused = True
            return None
        if peer.gone.is_set():
            # It left while its session was made.
            await self._gone(session)
            return None
        carried = self._carried.get(session.id)
        if carried is None or carried.peer is not None:
            return None  # over already, or another client's
        carried.peer = peer
        self._seats[peer] = carried
        self._register_websocket(peer.id, session.id, peer.websocket)
        return carried

    async def _make_session(self, peer: Peer) -> VoiceSession | None:
        if self._session_factory is None:
            logger.warning("a client has no session, and there is no session_factory")
            return None
        try:
            async with asyncio.timeout(self._send_timeout):
                session = await self._session_factory(peer.id)
        except Exception as exc:  # noqa: BLE001 - the application's code
            log_failure(logger, exc, "no session for a client: session_factory failed")
            return None
        if session is not None and session.id not in self._carried:
            logger.error("session_factory returned a session of another backend")
            return None
        return session

    async def _left(self, peer: Peer) -> None:
        """A client has gone."""
        carried = self._seats.get(peer)
        if carried is not None:
            await self._gone(carried.session)

    async def _gone(self, session: VoiceSession) -> None:
        carried = self._forget(session)
        if carried is None:
            return
        if carried.peer is not None and not carried.peer.gone.is_set():
            self._tasks.start(carried.peer.hang_up(), name="voice_hang_up")
        await tell(self._ended_callbacks, session, quiet=False)

    # -- FastRTC

    def mount(
        self,
        app: Any,
        *,
        path: str = "/fastrtc",
        session_factory: SessionFactory | None = None,
        concurrency_limit: int = 100,
    ) -> None:
        """Add FastRTC's routes to an app; see ``mount_fastrtc_voice``."""
        mount = Mount(
            "FastRTCVoiceBackend",
            input_sample_rate=self._input_sample_rate,
            output_sample_rate=self._output_sample_rate,
            track=lambda: Track(self._output_sample_rate, self._clock, self._max_queued_ms),
            started=lambda peer: None,
            receive=self._receive,
            left=self._left,
            tasks=self._tasks,
            limit=concurrency_limit,
            timeout=self._send_timeout,
        )
        self._session_factory = session_factory
        self._stream = mount.stream
        self._stream.mount(app, path=path)


def mount_fastrtc_voice(
    app: Any,
    backend: FastRTCVoiceBackend,
    *,
    path: str = "/fastrtc",
    session_factory: SessionFactory | None = None,
    concurrency_limit: int = 100,
) -> None:
    """Add FastRTC's routes to a FastAPI app, for one backend.

    Adds ``{path}/webrtc/offer``, ``{path}/websocket/offer``, ``{path}/telephone/handler`` and
    ``{path}/telephone/incoming``. None of them knows who a client is: authenticate before they
    are reached, and again in ``session_factory``.

    Args:
        app: The FastAPI app.
        backend: Whose sessions the clients get.
        path: Before the routes.
        session_factory: Called with FastRTC's id of a client at its first audio, usually to
            call ``kit.connect_voice``. A client it returns None for is not heard.
        concurrency_limit: Clients at a time; FastRTC refuses the next.

    Raises:
        MissingDependencyError: FastRTC or numpy is not installed.
    """
    backend.mount(
        app, path=path, session_factory=session_factory, concurrency_limit=concurrency_limit
    )
