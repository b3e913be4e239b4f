"""FastRTC's side: its routes in an app, and the handler it calls for each client.

FastRTC and numpy are imported when something is mounted, not before.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.exceptions import InvalidInputError
from roomkit.voice._rtc_peer import SOCKET_FRAME_MS, Peer, Track, close_line
from roomkit.voice.audio.pcm import MAX_RATE, MIN_RATE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._aio import TaskSet

logger = logging.getLogger("roomkit.voice.fastrtc")

MAX_ID = 256
"""Characters of the longest name a client may give itself."""
MAX_FRAME_SECONDS = 2
"""The longest frame of a client; FastRTC itself takes any, and 50 of them may wait."""
MAX_UNSENT_TEXT = 1024 * 1024
"""Bytes of text that may wait in a data channel."""


def check_rates(input_sample_rate: int, output_sample_rate: int) -> None:
    """Check that FastRTC can carry two sample rates.

    Raises:
        InvalidInputError: It cannot.
    """
    rates = (input_sample_rate, output_sample_rate)
    if not all(MIN_RATE <= rate <= MAX_RATE for rate in rates) or output_sample_rate % 50:
        raise InvalidInputError(
            f"the rates must be from {MIN_RATE} to {MAX_RATE}, output_sample_rate a multiple "
            f"of 50, not {input_sample_rate} and {output_sample_rate}"
        )


class Mount:
    """One set of FastRTC's routes, and the clients that came by them.

    Args:
        user: The class that needs FastRTC.
        input_sample_rate: Hertz of what comes in.
        output_sample_rate: Hertz of what goes out.
        track: Makes the track of a client.
        started: Is told who a client is, before anything it says.
        receive: Takes a client's frame.
        left: Is told that a client has gone; perhaps more than once.
        tasks: Who owns what a handler starts.
        limit: Clients at a time.
        timeout: Seconds the end of a connection may take.

    Attributes:
        fastrtc: The package.
        numpy: The package.
        rates: Hertz of what comes in and of what goes out.
        track: See above.
        receive: See above.
        tasks: See above.
        stream: FastRTC's own object for the routes.

    Raises:
        MissingDependencyError: FastRTC or numpy is not installed.
    """

    def __init__(
        self,
        user: str,
        *,
        input_sample_rate: int,
        output_sample_rate: int,
        track: Callable[[], Track],
        started: Callable[[Peer], None],
        receive: Callable[[Peer, tuple[int, Any]], Awaitable[None]],
        left: Callable[[Peer], Awaitable[None]],
        tasks: TaskSet,
        limit: int,
        timeout: float,
    ) -> None:
        self.fastrtc: Any = require("fastrtc", user=user, extra="fastrtc")
        self.numpy: Any = require("numpy", user=user, extra="fastrtc")
        self.rates = (input_sample_rate, output_sample_rate)
        self.track = track
        self.receive = receive
        self.tasks = tasks
        self._started = started
        self._left = left
        self._limit = limit
        self._timeout = timeout
        self._clients: set[Peer] = set()
        bases = (_Handler, self.fastrtc.AsyncStreamHandler)
        self.stream: Any = self.fastrtc.Stream(
            handler=type("VoiceHandler", bases, {})(self),
            modality="audio",
            mode="send-receive",
            concurrency_limit=limit,
        )

    def came(self, peer: Peer) -> None:
        """Note that a client has started; one too many is sent away."""
        # FastRTC counts no telephone calls, and starts whom it is about to refuse.
        if len(self._clients) >= self._limit:
            logger.warning("a client was sent away: there are %d already", self._limit)
            self.tasks.start(self.hang_up(peer), name="voice_refused")
            return
        self._clients.add(peer)
        self._started(peer)

    async def went(self, peer: Peer) -> None:
        """Note that a client has gone."""
        self._clients.discard(peer)
        peer.refused = True
        peer.track.close()
        peer.gone.set()
        self._tidy(peer)
        await self._left(peer)

    def _tidy(self, peer: Peer) -> None:
        """Free a WebSocket client's place, which FastRTC keeps when both sides end the call."""
        for each in self.stream.connections.get(peer.id) or ():
            if peer.websocket is not None and each.websocket is peer.websocket:
                self.stream.clean_up(peer.id)
                return

    def forgot(self, peer: Peer) -> bool:
        """Whether FastRTC has dropped a WebRTC client.

        Of a lost network two of its callbacks learn at once, and only one tells the handler: it
        depends on which is first.
        """
        return bool(peer.id) and peer.websocket is None and peer.id not in self.stream.pcs

    async def hang_up(self, peer: Peer) -> None:
        """End a client's connection, as far as it still exists.

        A WebRTC client is also sent FastRTC's ``end_stream``, by ``emit``.
        """
        peer.refused = True
        peer.track.close()
        line = peer.websocket if peer.websocket is not None else self.stream.pcs.get(peer.id)
        if line is not None:
            await close_line(line, self._timeout)


class _Handler:
    """Our half of a handler; the other half is FastRTC's ``AsyncStreamHandler``."""

    # What the other half has.
    channel: Any
    phone_mode: Any
    clear_queue: Any
    send_message: Any

    def __init__(self, mount: Mount) -> None:
        heard, spoken = mount.rates
        super().__init__(  # type: ignore[call-arg]
            "mono", output_sample_rate=spoken, input_sample_rate=heard
        )
        self._mount = mount
        self.peer = Peer(mount.track(), self._text, self._empty, self._hang_up)
        self._said_good_bye = False
        self._complained = False

    async def _text(self, text: str) -> None:
        """Send over the data channel.

        Raises:
            BufferError: The client does not take what was sent before.
        """
        if self.channel is None:
            return
        if getattr(self.channel, "bufferedAmount", 0) > MAX_UNSENT_TEXT:
            raise BufferError("the data channel is full")
        await self.send_message(text)

    def _empty(self) -> None:
        """Drop what FastRTC has queued; before a client has come there is no queue."""
        if self.clear_queue is not None:
            self.clear_queue()

    async def _hang_up(self) -> None:
        await self._mount.hang_up(self.peer)

    def copy(self) -> _Handler:
        """Return a fresh one for a client."""
        return type(self)(self._mount)

    async def start_up(self) -> None:
        """Learn who the client is, once: a second start with another name changes nothing."""
        peer = self.peer
        if peer.id or peer.refused:
            return
        try:
            context = self._mount.fastrtc.get_current_context()
        except RuntimeError:
            return  # it speaks before its start, and nobody knows who it is
        name = context.webrtc_id
        if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
            peer.refused = True
            return
        peer.phone = bool(self.phone_mode)
        peer.websocket = context.websocket
        peer.id = name
        if peer.direct:
            peer.track.frame_ms = SOCKET_FRAME_MS
        self._mount.came(peer)

    async def receive(self, frame: tuple[int, Any]) -> None:
        """Take a frame; one that is too long is dropped, the first of a client logged."""
        await self.start_up()
        if self.peer.refused or not self.peer.id:
            return
        rate, audio = frame
        if audio.size <= MAX_FRAME_SECONDS * rate:
            await self._mount.receive(self.peer, frame)
        elif not self._complained:
            self._complained = True
            logger.warning("frames of more than %d s are dropped", MAX_FRAME_SECONDS)

    async def emit(self) -> Any:
        """Return what is to be heard next, when it is due.

        It waits when there is nothing: FastRTC calls it again at once, and an answer at once
        would leave the event loop no time for anything else.
        """
        mount, peer = self._mount, self.peer
        try:
            if mount.forgot(peer):
                await mount.went(peer)
            pcm = b"" if self._said_good_bye else await peer.track.next()
            if peer.track.closed and (self._said_good_bye or peer.websocket is not None):
                # FastRTC would close a socket a second time, and fail.
                await peer.gone.wait()
                # Nobody is left to emit to; it ends the task that FastRTC would keep.
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            # FastRTC tells a WebSocket handler in no other way that its client has gone; of a
            # WebRTC client it calls ``shutdown``.
            if peer.websocket is not None and not peer.gone.is_set():
                mount.tasks.start(mount.went(peer), name="voice_left")
            raise
        if pcm:
            samples = mount.numpy.frombuffer(pcm, dtype="<i2").reshape(1, -1)
            return mount.rates[1], samples
        if not peer.track.closed:
            return None
        self._said_good_bye = True
        return mount.fastrtc.CloseStream()

    async def shutdown(self) -> None:
        """Note that a WebRTC client has gone."""
        await self._mount.went(self.peer)
