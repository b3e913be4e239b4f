"""Callers in browsers over WebRTC or WebSocket, and on telephones, carried by FastRTC.

``mount_fastrtc_realtime`` adds FastRTC's routes to a FastAPI app. The package is imported there,
not here: the transport by itself needs none of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet
from roomkit._clock import SystemClock
from roomkit._logging import ids, log_failure
from roomkit.exceptions import InvalidInputError
from roomkit.voice._rtc_handler import Mount, check_rates
from roomkit.voice._rtc_peer import Peer, Track, clear_message, pcm16_of
from roomkit.voice.audio.pcm import SampleCarry
from roomkit.voice.realtime._rates import converter
from roomkit.voice.realtime.transport import CallbackRealtimeTransport

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.voice.realtime.base import RealtimeSession

__all__ = ["EmitType", "FastRTCRealtimeTransport", "mount_fastrtc_realtime"]

logger: logging.Logger = logging.getLogger("roomkit.voice.realtime.fastrtc_transport")

EmitType = tuple[int, Any] | None
"""What FastRTC fetches for a client: ``(hertz, samples)`` of a numpy array; None: nothing yet."""

ClientConnectedCallback = Callable[[str], Any]
"""``(webrtc_id)``: a client has come, and waits for a session. Plain or async."""


@dataclass(eq=False)
class _Line:
    """A session, and the client that carries it once it has come."""

    session: RealtimeSession
    client: str
    peer: Peer | None = None
    waiting: deque[bytes] = field(default_factory=deque)
    running: bool = False
    dropped: int = 0
    patience: asyncio.Task[Any] | None = None
    # A piece of the model may end in the middle of a sample.
    carry: SampleCarry = field(default_factory=SampleCarry)
    rate: int = 0
    convert: Callable[[bytes], bytes] | None = None


class FastRTCRealtimeTransport(CallbackRealtimeTransport):
    """Carries live sessions over FastRTC.

    Every client has a name of its own choice, its ``webrtc_id``: ``on_client_connected`` tells
    it, and a session begins with ``start_session(..., connection=webrtc_id)``. What a client
    says before is not heard. Audio waits here and leaves when it is due, at most 0.2 s early,
    so that ``{"type": "clear_audio"}`` has little to take back.

    Args:
        input_sample_rate: Hertz of what callers say; the channel's ``input_sample_rate``.
        output_sample_rate: Hertz of what they hear, a multiple of 50; the channel's
            ``output_sample_rate``.
        queue_frames: Inbound frames that may wait for slow callbacks; then the oldest is
            dropped and counted.
        max_queued_ms: Outbound audio of a session that may wait; then ``send_audio`` waits.
        send_timeout: Seconds one message, or the end of a connection, may take.
        connect_timeout: Seconds a session waits for a client that was accepted before it came.
        clock: Where time comes from.

    Raises:
        InvalidInputError: A rate FastRTC cannot carry, or a bound that makes no sense.
    """

    def __init__(
        self,
        *,
        input_sample_rate: int = 16000,
        output_sample_rate: int = 24000,
        queue_frames: int = 50,
        max_queued_ms: int = 120_000,
        send_timeout: float = 10.0,
        connect_timeout: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        check_rates(input_sample_rate, output_sample_rate)
        if min(queue_frames, max_queued_ms) < 1 or min(send_timeout, connect_timeout) <= 0:
            raise InvalidInputError(
                "queue_frames and max_queued_ms must be at least 1, the timeouts positive"
            )
        self._input_sample_rate = input_sample_rate
        self._output_sample_rate = output_sample_rate
        self._queue_frames = queue_frames
        self._max_queued_ms = max_queued_ms
        self._send_timeout = send_timeout
        self._connect_timeout = connect_timeout
        self._clock = clock or SystemClock()
        self._sessions: dict[str, _Line] = {}
        self._lines: dict[str, _Line] = {}
        self._peers: dict[str, Peer] = {}
        self._announced: dict[str, Peer] = {}
        self._connected_callback: ClientConnectedCallback | None = None
        self._stream: Any = None
        self._closed = False
        self._tasks = TaskSet("fastrtc_rt")

    @property
    def name(self) -> str:
        """``FastRTCRealtimeTransport``."""
        return "FastRTCRealtimeTransport"

    def on_client_connected(self, callback: ClientConnectedCallback) -> None:
        """Call ``callback(webrtc_id)`` when a client has come; the last callback wins.

        It is the place to begin a session. An async one runs beside everything else. When it
        fails, and has begun none, the client is sent away.
        """
        self._connected_callback = callback

    def dropped_frames(self, session: RealtimeSession) -> int:
        """Return how many frames nobody heard because the callbacks were slow."""
        line = self._sessions.get(session.id)
        return 0 if line is None else line.dropped

    # -- sessions ------------------------------------------------------------------------

    async def accept(self, session: RealtimeSession, connection: Any) -> None:
        """Give a client to a session, now or when it comes.

        Args:
            session: Whose.
            connection: The client's ``webrtc_id``. It may come later; when it does not within
                ``connect_timeout``, the session is told that it has left.

        Raises:
            InvalidInputError: It is no such id, the client has left already, one of the two is
                taken, or the transport is closed.
        """
        if not isinstance(connection, str) or not connection:
            raise InvalidInputError(
                "FastRTCRealtimeTransport needs a webrtc_id, as on_client_connected gives it; "
                f"got {type(connection).__name__}"
            )
        if session.id in self._sessions:
            raise InvalidInputError(f"session {session.id!r} has a connection already")
        if connection in self._lines:
            raise InvalidInputError("the client has a session already")
        if self._closed:
            raise InvalidInputError("the transport is closed")
        peer = self._peers.get(connection)
        if peer is None and connection in self._announced:
            raise InvalidInputError("the client has left")
        line = _Line(session, connection, peer)
        self._sessions[session.id] = self._lines[connection] = line
        if peer is None:
            name = f"fastrtc_rt_wait:{session.id}"
            line.patience = self._tasks.start(self._give_up(line), name=name)

    async def _give_up(self, line: _Line) -> None:
        await self._clock.sleep(self._connect_timeout)
        logger.warning("no client came for a session", extra=ids(session_id=line.session.id))
        await self._gone(line)

    def _forget(self, line: _Line) -> bool:
        """Drop a session's line; False when it was dropped before."""
        if self._sessions.get(line.session.id) is not line:
            return False
        del self._sessions[line.session.id], self._lines[line.client]
        line.waiting.clear()
        if line.patience is not None and line.patience is not asyncio.current_task():
            line.patience.cancel()
        return True

    async def _gone(self, line: _Line) -> None:
        """The caller has left by themselves: tell, once."""
        if self._forget(line):
            if line.peer is not None and not line.peer.gone.is_set():
                await line.peer.hang_up()
            await self._left(line.session)

    async def disconnect(self, session: RealtimeSession) -> None:
        """End a session's connection; ``on_client_disconnected`` is not told."""
        line = self._sessions.get(session.id)
        if line is not None and self._forget(line) and line.peer is not None:
            await line.peer.hang_up()

    async def close(self) -> None:
        """End every connection; clients that come later are sent away. Idempotent."""
        self._closed = True
        for line in list(self._sessions.values()):
            await self.disconnect(line.session)
        for peer in list(self._peers.values()):
            await peer.hang_up()
        await self._tasks.cancel(but=(asyncio.current_task(),), timeout=self._send_timeout)

    # -- to the caller -------------------------------------------------------------------

    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Queue PCM; a caller who has left, or not come yet, gets nothing.

        It waits only while ``max_queued_ms`` are queued, and not when they are dropped.
        """
        line = self._sessions.get(session.id)
        if line is None or line.peer is None:
            return
        pcm = line.carry.push(audio)
        if pcm:
            await line.peer.track.put(pcm)

    async def send_message(self, session: RealtimeSession, message: dict[str, Any]) -> None:
        """Send a message as JSON; a caller who has left, or not come yet, gets nothing.

        A browser gets it over its data channel, a WebSocket client as a text frame. A telephone
        shows nothing; of ``{"type": "clear_audio"}`` it gets its own form.
        """
        text = json.dumps(message)
        line = self._sessions.get(session.id)
        if line is None or line.peer is None:
            return
        peer = line.peer
        clearing = message.get("type") == "clear_audio"
        if clearing:
            line.carry.reset()
            peer.clear()
        try:
            async with asyncio.timeout(self._send_timeout):
                if peer.websocket is None:
                    await peer.text(text)
                elif not peer.phone:
                    await peer.websocket.send_json(message)
                elif clearing:
                    await peer.websocket.send_json(clear_message(peer))
        except Exception as exc:  # noqa: BLE001 - the client's fault, or the network's
            extra = ids(session_id=session.id)
            log_failure(logger, exc, "sending to a caller failed", extra=extra)
            if peer.websocket is not None:
                # Beside the sender: what is told now may wait for the sender's end.
                self._tasks.start(self._gone(line), name=f"fastrtc_rt_gone:{session.id}")

    # -- from FastRTC --------------------------------------------------------------------

    def _came(self, peer: Peer) -> None:
        """A client has started."""
        if self._closed or peer.id in self._peers:
            # Who takes a name that is in use may want to be taken for somebody else.
            self._tasks.start(peer.hang_up(), name="fastrtc_rt_refused")
            return
        self._peers[peer.id] = peer
        line = self._lines.get(peer.id)
        if line is not None:
            line.peer = peer
            if line.patience is not None:
                line.patience.cancel()
        if self._connected_callback is not None:
            work = self._announce(peer, self._connected_callback)
            self._tasks.start(work, name="fastrtc_rt_connected")

    async def _announce(self, peer: Peer, callback: ClientConnectedCallback) -> None:
        self._announced[peer.id] = peer
        try:
            result = callback(peer.id)
            if isawaitable(result):
                await result
        except Exception as exc:  # noqa: BLE001 - the application's code
            log_failure(logger, exc, "on_client_connected failed")
            if peer.id not in self._lines:
                await peer.hang_up()
        finally:
            if self._announced.get(peer.id) is peer:
                del self._announced[peer.id]

    async def _went(self, peer: Peer) -> None:
        """A client has gone."""
        if self._peers.get(peer.id) is not peer:
            return
        del self._peers[peer.id]
        line = self._lines.get(peer.id)
        if line is not None and line.peer is peer:
            await self._gone(line)

    async def _receive(self, peer: Peer, frame: tuple[int, Any]) -> None:
        """Queue what a client says; without a session nobody listens."""
        line = self._lines.get(peer.id)
        if line is None or line.peer is not peer:
            return
        rate, audio = frame
        pcm = self._at_our_rate(line, rate, pcm16_of(audio))
        if not pcm:
            return
        if len(line.waiting) >= self._queue_frames:
            line.waiting.popleft()
            if not line.dropped:
                text = "frames are dropped: the callbacks are slower than the sound"
                logger.warning(text, extra=ids(session_id=line.session.id))
            line.dropped += 1
        line.waiting.append(pcm)
        if not line.running:
            line.running = True
            self._tasks.start(self._drain(line), name=f"fastrtc_rt_in:{line.session.id}")

    def _at_our_rate(self, line: _Line, rate: int, pcm: bytes) -> bytes:
        """Return audio at the input rate, which is what FastRTC should have given."""
        if rate != line.rate:
            line.rate = rate
            ours = self._input_sample_rate
            line.convert = None if rate == ours else converter(rate, ours)
        return pcm if line.convert is None else line.convert(pcm)

    async def _drain(self, line: _Line) -> None:
        try:
            while line.waiting:
                await self._heard(line.session, line.waiting.popleft())
        finally:
            line.running = False

    # -- FastRTC -------------------------------------------------------------------------

    def mount(
        self, app: Any, *, path: str = "/rtc-realtime", concurrency_limit: int = 100
    ) -> None:
        """Add FastRTC's routes to an app; see ``mount_fastrtc_realtime``."""
        mount = Mount(
            "FastRTCRealtimeTransport",
            input_sample_rate=self._input_sample_rate,
            output_sample_rate=self._output_sample_rate,
            track=lambda: Track(self._output_sample_rate, self._clock, self._max_queued_ms),
            started=self._came,
            receive=self._receive,
            left=self._went,
            tasks=self._tasks,
            limit=concurrency_limit,
            timeout=self._send_timeout,
        )
        self._stream = mount.stream
        self._stream.mount(app, path=path)


def mount_fastrtc_realtime(
    app: Any,
    transport: FastRTCRealtimeTransport,
    *,
    path: str = "/rtc-realtime",
    concurrency_limit: int = 100,
) -> None:
    """Add FastRTC's routes to a FastAPI app, for one transport.

    Adds ``{path}/webrtc/offer``, ``{path}/websocket/offer``, ``{path}/telephone/handler`` and
    ``{path}/telephone/incoming``. None of them knows who a client is, and its id is its own
    choice: authenticate before they are reached, and again before a session is started.

    Args:
        app: The FastAPI app.
        transport: Whose callers the clients are.
        path: Before the routes.
        concurrency_limit: Clients at a time; the next one is refused.

    Raises:
        MissingDependencyError: FastRTC or numpy is not installed.
    """
    transport.mount(app, path=path, concurrency_limit=concurrency_limit)
