"""Calls over a WebSocket: a browser, a program, anything that can send PCM or mu-law.

The application accepts sockets with the server it has and hands each to ``serve``. Nothing is
imported for it: a connection of websockets, a Starlette WebSocket and plain ASGI all fit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._aio import TaskSet, cancel_and_wait, close_all
from roomkit._clock import SystemClock
from roomkit._ids import new_id
from roomkit._logging import ids
from roomkit.exceptions import ConflictError, InvalidInputError
from roomkit.voice.backends import _socket as codes
from roomkit.voice.backends._door import Authenticate, Door, Making, SessionFactory, making
from roomkit.voice.backends._inlet import QUEUE_FRAMES, Inlet, tell
from roomkit.voice.backends._link import Link, VoiceLinkStats
from roomkit.voice.backends._saying import Sayings
from roomkit.voice.backends._shape import shaped
from roomkit.voice.backends._socket import (
    ConnectionLost,
    Line,
    Socket,
    VoiceCaller,
    VoiceHandshake,
    adapt,
)
from roomkit.voice.backends._wire import (
    Cleared,
    Heard,
    Key,
    PlainWire,
    Signal,
    Sound,
    Stopped,
    Wire,
    WireError,
)
from roomkit.voice.backends.base import AudioReceivedCallback, VoiceBackend
from roomkit.voice.base import VoiceCapability, VoiceSession, VoiceSessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit._clock import Clock
    from roomkit.voice.base import AudioChunk, BargeInCallback

__all__ = [
    "Authenticate",
    "SessionFactory",
    "VoiceCaller",
    "VoiceHandshake",
    "VoiceLinkStats",
    "WebSocketVoiceBackend",
]

logger: logging.Logger = logging.getLogger("roomkit.voice.backends")

SessionEndedCallback = Callable[[VoiceSession], Any]
"""``(session)``: the client has gone. Plain or async."""

DTMFCallback = Callable[[VoiceSession, str], Any]
"""``(session, digit)``: a telephone key was pressed. Plain or async."""


class WebSocketVoiceBackend(VoiceBackend):
    """Voice sessions over WebSockets.

    A client opens with ``{"type": "start", "codec": "pcm_s16le", "sample_rate": 16000}`` and
    then sends binary frames of audio; docs/voice-backends.md has the whole protocol. Its frames
    are handed to the callbacks in order. Audio for it goes out in pieces of 20 ms, at most
    ``lead_ms`` ahead of the marks it sends back, so ``played_ms`` is what was really heard.

    Args:
        authenticate: Says who a client is and where it speaks. Called once a client, after
            its ``start``. When it raises, the client does not get in.
        session_factory: Makes the session, usually by ``kit.connect_voice``; default: this
            backend's own ``connect`` for ``channel_id``.
        channel_id: The voice channel of sessions made by default.
        max_sessions: Sessions and clients at a time; the next client is closed with 1013.
        max_frame_bytes: The largest message; a larger one ends the client with 1009.
        queue_frames: Inbound frames that may wait; then the oldest is dropped and counted.
        max_queued_ms: Outbound audio that may wait; ``send_audio`` waits when there is more.
        lead_ms: How far audio may run ahead of what the client has played, at least 200.
        start_timeout: Seconds until a client must have started and been let in.
        send_timeout: Seconds one send may take; then the client is given up.
        idle_timeout: Seconds after the client's last frame or message when its call ends; None:
            only the server's pings find out who has vanished.
        clock: Where time comes from.

    Raises:
        InvalidInputError: A bound that makes no sense.
    """

    _wire: ClassVar[type[Wire]] = PlainWire

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        session_factory: SessionFactory | None = None,
        channel_id: str = "voice",
        max_sessions: int = 1000,
        max_frame_bytes: int = 32 * 1024,
        queue_frames: int = QUEUE_FRAMES,
        max_queued_ms: int = 120_000,
        lead_ms: int = 1000,
        start_timeout: float = 10.0,
        send_timeout: float = 10.0,
        idle_timeout: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        if min(max_sessions, max_frame_bytes, queue_frames, max_queued_ms) < 1:
            raise InvalidInputError(
                "max_sessions, max_frame_bytes, queue_frames and max_queued_ms must be at least 1"
            )
        times = (start_timeout, send_timeout, 1.0 if idle_timeout is None else idle_timeout)
        if lead_ms < 200 or min(times) <= 0:
            raise InvalidInputError("lead_ms is at least 200; the timeouts are more than 0")
        self._door = Door(
            authenticate,
            session_factory or self._own_session,
            timeout=start_timeout,
            max_frame_bytes=max_frame_bytes,
        )
        self._channel_id = channel_id
        self._max_sessions = max_sessions
        self._max_frame_bytes = max_frame_bytes
        self._queue_frames = queue_frames
        self._send_timeout = send_timeout
        self._idle_timeout = idle_timeout
        self._playout = {"lead_ms": lead_ms, "max_queued_ms": max_queued_ms}
        self._clock = clock or SystemClock()
        self._sessions: dict[str, VoiceSession] = {}
        self._links: dict[str, Link] = {}
        self._sayings: dict[str, Sayings] = {}
        self._serving: set[Socket] = set()
        self._tasks = TaskSet("voice_backend")
        self._closed = False
        self._audio_callbacks: list[AudioReceivedCallback] = []
        self._barge_in_callbacks: list[BargeInCallback] = []
        self._ended_callbacks: list[SessionEndedCallback] = []
        self._key_callbacks: list[DTMFCallback] = []

    @property
    def name(self) -> str:
        """``WebSocket``."""
        return "WebSocket"

    @property
    def capabilities(self) -> VoiceCapability:
        """Playback can be stopped, and a client may say that its user interrupts."""
        return VoiceCapability.INTERRUPTION | VoiceCapability.BARGE_IN

    def on_audio_received(self, callback: AudioReceivedCallback) -> None:
        """Call ``callback(session, frame)`` with every frame; see ``VoiceBackend``."""
        self._audio_callbacks.append(callback)

    def on_barge_in(self, callback: BargeInCallback) -> None:
        """Call ``callback(session)`` when a client cleared its playback by itself."""
        self._barge_in_callbacks.append(callback)

    def on_session_ended(self, callback: SessionEndedCallback) -> None:
        """Call ``callback(session)`` when a client has gone.

        Not called for a session ended from our side, by ``disconnect`` or ``close``. Give it
        ``kit.disconnect_voice``.
        """
        self._ended_callbacks.append(callback)

    def on_dtmf(self, callback: DTMFCallback) -> None:
        """Call ``callback(session, digit)`` for telephone keys, where the client reports them."""
        self._key_callbacks.append(callback)

    # -- sessions

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        channel_id: str,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> VoiceSession:
        """Return a new session; its client is the one ``serve`` is making it for.

        Raises:
            ConflictError: There are ``max_sessions`` already, or the backend is closed.
        """
        if self._closed or len(self._sessions) >= self._max_sessions:
            raise ConflictError(
                "the voice backend is closed"
                if self._closed
                else f"the voice backend has its {self._max_sessions} sessions; end one first, "
                "or give it a larger max_sessions"
            )
        session = VoiceSession(
            id=new_id(),
            room_id=room_id,
            participant_id=participant_id,
            channel_id=channel_id,
            state=VoiceSessionState.ACTIVE,
            metadata=dict(metadata or {}),
        )
        self._sessions[session.id] = session
        maker = making.get()
        if maker is not None and not maker.over:
            maker.sessions[session.id] = session
        return session

    async def disconnect(self, session: VoiceSession) -> None:
        """End a session and close its socket; again does nothing."""
        link = self._forget(session)
        if link is not None:
            await self._hang_up(link, 1000)

    def get_session(self, session_id: str) -> VoiceSession | None:
        """Return a session that has not ended."""
        return self._sessions.get(session_id)

    def list_sessions(self, room_id: str) -> list[VoiceSession]:
        """Return the sessions of a room that have not ended."""
        return [each for each in self._sessions.values() if each.room_id == room_id]

    def stats(self, session: VoiceSession) -> VoiceLinkStats | None:
        """Return how a session's client is doing; None when it has none."""
        link = self._links.get(session.id)
        return None if link is None else link.stats()

    async def close(self) -> None:
        """End all sessions, close all sockets and take no more; again does nothing."""
        self._closed = True
        sessions = list(self._sessions.values())
        links = [link for session in sessions if (link := self._forget(session)) is not None]
        sockets = self._serving - {link.socket for link in links}
        try:
            await close_all(
                [
                    *(partial(self._hang_up, link, codes.GOING_AWAY) for link in links),
                    *(partial(self._shut, socket, codes.GOING_AWAY) for socket in sockets),
                ]
            )
        finally:
            await self._tasks.cancel(but={asyncio.current_task()}, timeout=self._send_timeout)

    def _forget(self, session: VoiceSession) -> Link | None:
        """Mark a session as ended; return its link, for somebody to hang up."""
        session.state = VoiceSessionState.ENDED
        known = self._sessions.pop(session.id, None)
        if known is not None:
            known.state = VoiceSessionState.ENDED
        link = self._links.pop(session.id, None)
        if link is not None:
            link.playout.close()
            self._sayings.pop(session.id).stop()
            link.inlet.close()
        return link

    async def _hang_up(self, link: Link, code: int) -> None:
        try:
            await link.line.send(link.wire.bye())
        except ConnectionLost:
            logger.debug("a voice client had gone already", extra=ids(session_id=link.session.id))
        finally:
            await self._shut(link.socket, code)
            mine = asyncio.current_task()
            await cancel_and_wait(task for task in link.tasks if task is not mine)

    async def _shut(self, socket: Socket, code: int) -> None:
        """Close a socket, whose client may not answer."""
        try:
            async with asyncio.timeout(self._send_timeout):
                await socket.close(code)
        except TimeoutError:
            logger.debug("a voice client did not say good-bye")

    # -- playback

    async def send_audio(
        self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]
    ) -> None:
        """Queue audio for playback; returns when all of it is queued.

        Chunks of another rate are resampled. It waits only while ``max_queued_ms`` is queued
        already, and returns early when playback is cancelled or the session ends.
        """
        link = self._links.get(session.id)
        if link is not None:
            pieces = shaped(audio, link.wire.output_rate, session.id)
            await self._sayings[session.id].run(link.playout.say(pieces))

    async def cancel_audio(self, session: VoiceSession) -> bool:
        """Drop what was not played, here and at the client; whether anything was playing."""
        link = self._links.get(session.id)
        if link is None:
            return False
        was_playing = link.playout.playing
        self._sayings[session.id].stop()
        try:
            await link.playout.cancel()
        except ConnectionLost:
            logger.debug("a voice client has gone", extra=ids(session_id=session.id))
        return was_playing

    def is_playing(self, session: VoiceSession) -> bool:
        """Return whether there is audio the client has not played yet."""
        link = self._links.get(session.id)
        return link is not None and link.playout.playing

    def played_ms(self, session: VoiceSession) -> int | None:
        """Return how much of the present or last playback was heard, in milliseconds.

        As the client's marks tell it, so to a tenth of a second. None: the session has no
        client.
        """
        link = self._links.get(session.id)
        return None if link is None else link.playout.played_ms

    async def send_transcription(
        self, session: VoiceSession, text: str, role: str = "user"
    ) -> None:
        """Send what was said to the client, if it can show text."""
        link = self._links.get(session.id)
        if link is None:
            return
        try:
            await link.line.send(link.wire.text(text, role))
        except ConnectionLost:
            logger.debug("a voice client has gone", extra=ids(session_id=session.id))

    # -- a client

    async def serve(self, connection: Any) -> None:
        """Carry one client's call; returns when it is over.

        Args:
            connection: A connection of websockets, a Starlette or FastAPI WebSocket, or the
                ASGI tuple ``(scope, receive, send)``.

        Raises:
            InvalidInputError: ``connection`` is none of these.
        """
        socket = adapt(connection)
        if self._closed or len(self._serving) >= self._max_sessions:
            await self._shut(socket, codes.GOING_AWAY if self._closed else codes.BUSY)
            return
        self._serving.add(socket)
        link: Link | None = None
        try:
            link = await self._admit(socket)
            if link is not None:
                await self._carry(link)
        except ConnectionLost:
            logger.debug("a voice client went before it had a session")
        finally:
            self._serving.discard(socket)
            if link is not None:
                await self._left(link)

    def _allowed(self, socket: Socket) -> bool:
        """Whether an upgrade request may be accepted at all."""
        return True

    async def _admit(self, socket: Socket) -> Link | None:
        """Let a client in, or close it."""
        if not self._allowed(socket):
            await self._shut(socket, codes.UNAUTHORIZED)
            return None
        wire = self._wire()
        line = Line(socket, self._send_timeout)
        maker = Making()
        token = making.set(maker)
        try:
            session = await self._door.admit(socket, line, wire)
            if isinstance(session, VoiceSession) and self._takes(session):
                maker.sessions.pop(session.id, None)
                return self._attach(session, socket, line, wire)
        finally:
            making.reset(token)
            maker.over = True
            # What was made for a client that does not get it, whatever went wrong.
            for orphan in maker.sessions.values():
                await self._end_orphan(orphan)
        await self._shut(socket, session if isinstance(session, int) else codes.FAILED)
        return None

    def _takes(self, session: VoiceSession) -> bool:
        """Whether what a factory returned is a session of ours without a client."""
        if session.id in self._sessions and session.id not in self._links:
            return True
        logger.error("session_factory returned a session of another backend or client")
        return False

    async def _end_orphan(self, session: VoiceSession) -> None:
        if session.id in self._sessions:
            self._forget(session)
            await tell(self._ended_callbacks, session, quiet=False)

    async def _own_session(self, caller: VoiceCaller) -> VoiceSession:
        return await self.connect(
            caller.room_id,
            caller.participant_id,
            self._channel_id,
            metadata=dict(caller.metadata),
        )

    def _attach(self, session: VoiceSession, socket: Socket, line: Line, wire: Wire) -> Link:
        inlet = Inlet(session, lambda: self._audio_callbacks, self._tasks, self._queue_frames)
        link = Link(session, socket, line, wire, inlet, clock=self._clock, **self._playout)
        self._links[session.id], self._sayings[session.id] = link, Sayings()
        return link

    async def _carry(self, link: Link) -> None:
        """Read and write until one of the two has ended."""
        name = link.session.id
        link.tasks.append(self._tasks.start(self._read(link), name=f"voice_read:{name}"))
        link.tasks.append(self._tasks.start(self._write(link), name=f"voice_write:{name}"))
        if self._idle_timeout is not None:
            link.tasks.append(self._tasks.start(link.silence(self._idle_timeout)))
        try:
            await asyncio.wait(link.tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(link.tasks)

    async def _write(self, link: Link) -> None:
        try:
            await link.line.send(link.wire.ready(link.session.id))
            await link.playout.run()
        except ConnectionLost as exc:
            logger.debug("a voice client takes nothing: %s", exc)

    async def _read(self, link: Link) -> None:
        try:
            while (message := await link.socket.receive()) is not None:
                link.sign()
                if len(message) > self._max_frame_bytes:
                    link.refuse("too_big")
                    await self._shut(link.socket, codes.TOO_BIG)
                    return
                try:
                    signal = link.wire.read(message)
                except WireError as exc:
                    link.refuse(exc.code)
                    continue
                if isinstance(signal, Stopped):
                    return
                await self._take(link, signal)
        except ConnectionLost as exc:
            logger.debug("a voice client has gone: %s", exc)

    async def _take(self, link: Link, signal: Signal | None) -> None:
        session = link.session
        match signal:
            case Sound():
                link.hear(signal)
            case Heard(mark):
                link.playout.heard(mark)
            case Cleared():
                # Told before the queue is emptied: who asks must still see the playback. One
                # that cancels it by itself may have queued something new by then.
                generation = link.playout.generation
                await tell(self._barge_in_callbacks, session, quiet=False)
                if generation == link.playout.generation:
                    self._sayings[session.id].stop()
                    link.playout.drop()
            case Key(digit):
                await tell(self._key_callbacks, session, digit, quiet=False)

    async def _left(self, link: Link) -> None:
        """Clean up after a client, and tell of it unless we ended the session ourselves."""
        session = link.session
        ended_by_us = session.id not in self._sessions
        if link.inlet.dropped or link.malformed:
            logger.info(
                "a voice client has gone; %s frames were dropped, %s messages were malformed",
                link.inlet.dropped,
                link.malformed,
                extra=ids(session_id=session.id),
            )
        if ended_by_us:
            return  # who ended it says good-bye, with the code that is right
        self._forget(session)
        try:
            await self._shut(link.socket, codes.SILENT if link.fell_silent else 1000)
        finally:
            await tell(self._ended_callbacks, session, quiet=False)
