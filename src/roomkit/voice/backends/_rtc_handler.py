"""What FastRTC calls for each client: the handler, made once FastRTC could be imported."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit.voice.backends._rtc_peer import Peer, Track

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._aio import TaskSet


@dataclass(frozen=True)
class HandlerParts:
    """What a handler is made of, the same for every client of a backend.

    Attributes:
        fastrtc: The package.
        numpy: The package.
        input_sample_rate: Hertz of what comes in.
        output_sample_rate: Hertz of what goes out.
        track: Makes the track of a client.
        receive: Takes a client's frame.
        left: Is told that a client has gone.
        tasks: Who owns what a handler starts.
    """

    fastrtc: Any
    numpy: Any
    input_sample_rate: int
    output_sample_rate: int
    track: Callable[[], Track]
    receive: Callable[[Peer, tuple[int, Any]], Awaitable[None]]
    left: Callable[[Peer], Any]
    tasks: TaskSet


class _VoiceHandler:
    """Our half of a handler; the other half is FastRTC's ``AsyncStreamHandler``."""

    # What the other half has.
    phone_mode: Any
    clear_queue: Any
    send_message: Any

    def __init__(self, parts: HandlerParts) -> None:
        super().__init__(  # type: ignore[call-arg]
            "mono",
            output_sample_rate=parts.output_sample_rate,
            input_sample_rate=parts.input_sample_rate,
        )
        self.parts = parts
        self.peer = Peer(parts.track(), self.send_message, self._empty)
        self._said_good_bye = False

    def _empty(self) -> None:
        """Drop what FastRTC has queued; before a client has come there is no queue."""
        if self.clear_queue is not None:
            self.clear_queue()

    def copy(self) -> _VoiceHandler:
        """Return a fresh one for a client."""
        return type(self)(self.parts)

    async def start_up(self) -> None:
        """Learn who the client is."""
        context = self.parts.fastrtc.get_current_context()
        self.peer.phone = bool(self.phone_mode)
        self.peer.websocket = context.websocket
        self.peer.id = context.webrtc_id

    async def receive(self, frame: tuple[int, Any]) -> None:
        """Take a frame."""
        if not self.peer.id:
            await self.start_up()
        await self.parts.receive(self.peer, frame)

    async def emit(self) -> Any:
        """Return what is to be heard next, when it is due.

        It waits when there is nothing: FastRTC calls it again at once, and an answer at once
        would leave the event loop no time for anything else.
        """
        if self._said_good_bye:
            await asyncio.Event().wait()
        try:
            pcm = await self.peer.track.next()
        except asyncio.CancelledError:
            # FastRTC tells a WebSocket handler in no other way that its client has gone; of a
            # WebRTC client it calls ``shutdown``.
            if self.peer.websocket is not None:
                self.parts.tasks.start(self.parts.left(self.peer), name="voice_left")
            raise
        if pcm:
            samples = self.parts.numpy.frombuffer(pcm, dtype="<i2").reshape(1, -1)
            return self.parts.output_sample_rate, samples
        if not self.peer.track.closed:
            return None
        self._said_good_bye = True
        return self.parts.fastrtc.CloseStream()

    async def shutdown(self) -> None:
        """Note that a WebRTC client has gone."""
        await self.parts.left(self.peer)


def make_handler(parts: HandlerParts) -> Any:
    """Return the handler that FastRTC copies for each client."""
    bases = (_VoiceHandler, parts.fastrtc.AsyncStreamHandler)
    return type("VoiceHandler", bases, {})(parts)
