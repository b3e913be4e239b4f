"""One client's connection: frames are read one after the other, and answered in that order."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit._aio import TaskSet
from roomkit.asgi._ws_frames import PROTOCOL, FrameError, encode, parse, too_long
from roomkit.asgi._ws_limits import Close, Pace, within
from roomkit.asgi._ws_outbox import Outbox
from roomkit.asgi._ws_requests import Requests

if TYPE_CHECKING:
    from roomkit.asgi._types import Message, Receive, Send
    from roomkit.asgi._ws_frames import Frame
    from roomkit.asgi._ws_requests import Services
    from roomkit.asgi.principal import Principal

logger = logging.getLogger("roomkit.asgi.ws")

GOODBYE = 2.0
"""Seconds the last frames and the close frame may take together."""


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended.

    Attributes:
        code: The close code the server sends; None when the client is gone.
        reason: For the client.
    """

    code: Close | None
    reason: str = ""


class Session:
    """A client that is let in.

    Args:
        services: What all clients share.
        channel_id: The WebSocket channel.
        principal: Who it is.
        receive: Gives the client's frames.
        send: Takes ours.
    """

    def __init__(
        self,
        services: Services,
        channel_id: str,
        principal: Principal,
        receive: Receive,
        send: Send,
    ) -> None:
        bounds, clock = services.bounds, services.clock
        self._bounds = bounds
        self._clock = clock
        self._principal = principal
        self._receive = receive
        self._send = send
        self._pace = Pace(bounds.frames_per_second, bounds.burst, clock)
        self._outbox = Outbox(send, bounds, clock, self._broken)
        self._requests = Requests(services, channel_id, self)
        self._bad_frames = 0
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    @property
    def principal(self) -> Principal:
        """Who it is."""
        return self._principal

    @property
    def dropped(self) -> int:
        """How many pieces and ephemeral events were left out because the client was slow."""
        return self._outbox.dropped

    def push(self, frame: Frame) -> bool:
        """Queue a frame it must get; one too many ends the connection."""
        return self._outbox.push(frame)

    def push_spare(self, frame: Frame) -> bool:
        """Queue a frame it can do without."""
        return self._outbox.push_spare(frame)

    async def offer(self, frame: Frame) -> None:
        """Queue a frame it must get, once there is plenty of room."""
        await self._outbox.offer(frame)

    def expelled(self, room_id: str) -> None:
        """End the connection: the client may not be in a room."""
        self.push(
            encode(
                "error", code="forbidden", detail="this room is not open to you", room_id=room_id
            )
        )
        self.end(Close.FORBIDDEN, "this room is not open to you")

    def end(self, code: Close | None, reason: str = "") -> None:
        """End the connection; whoever says so first decides how."""
        if not self._ended.done():
            self._ended.set_result(End(code, reason))

    async def run(self) -> End:
        """Serve the client until one side ends; return how it did."""
        tasks = TaskSet("roomkit-ws-client")
        writer = tasks.start(self._outbox.run(), name="roomkit-ws-writer")
        self.push(
            encode(
                "ready",
                protocol=PROTOCOL,
                participant_id=self._principal.participant_id,
                max_frame=self._bounds.max_frame,
            )
        )
        reader = tasks.start(self._read(), name="roomkit-ws-reader")
        try:
            await asyncio.wait((reader, self._ended), return_when=asyncio.FIRST_COMPLETED)
            # A reader that ended without a word failed; it is logged.
            self.end(Close.FAILED, "internal error")
            reader.cancel()
            self._requests.leave_all()
            end = self._ended.result()
            await self._say_goodbye(end, writer)
            return end
        finally:
            self._requests.leave_all()
            await tasks.cancel(timeout=GOODBYE)

    async def _say_goodbye(self, end: End, writer: asyncio.Task[None]) -> None:
        """Send what is queued and the close frame, as far as the client takes them."""
        if end.code is None:
            return
        if end.code is Close.TOO_SLOW:
            # It may hang in a send that never ends.
            writer.cancel()
        with suppress(TimeoutError):
            await within(self._clock, GOODBYE, self._close(end.code, end.reason))

    async def _close(self, code: Close, reason: str) -> None:
        if code is not Close.TOO_SLOW:
            await self._outbox.flushed()
        try:
            await self._send({"type": "websocket.close", "code": int(code), "reason": reason})
        except Exception as exc:  # noqa: BLE001 - each server has its own error for a lost client
            logger.debug("a client could not be told the end: %s", type(exc).__name__)

    def _broken(self, code: Close | None) -> None:
        self.end(code, "too slow" if code is Close.TOO_SLOW else "")

    # -- reading ---------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                self.end(None)
                return
            # Not refused: the client is read later, and so slows down by itself.
            wait = self._pace.take()
            if wait > 0:
                await self._clock.sleep(wait)
            await self._take(message)

    async def _take(self, message: Message) -> None:
        text = message.get("text")
        if text is not None and too_long(text, self._bounds.max_frame):
            self.end(Close.TOO_BIG, f"a frame has at most {self._bounds.max_frame} bytes")
            return
        try:
            if text is None:
                raise FrameError("malformed", "frames are text")
            request = parse(text)
        except FrameError as exc:
            self._complain(exc)
        else:
            await self._requests.handle(request)

    def _complain(self, error: FrameError) -> None:
        about = {} if error.ref is None else {"ref": error.ref}
        self.push(encode("error", code=error.code, detail=error.detail, **about))
        self._bad_frames += 1
        if self._bad_frames >= self._bounds.max_bad_frames:
            self.end(Close.POLICY, "too many malformed frames")
