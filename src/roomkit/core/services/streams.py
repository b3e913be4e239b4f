"""Answers shown while they are still being made: pieces go to the channels that show them.

A stream is opened by an AI's channel and ended by the engine, once the whole is stored or
refused. Pieces are never stored, never wait for a slow receiver, and never raise.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from roomkit._aio import bounded
from roomkit._ids import new_id
from roomkit._logging import ids
from roomkit.channels.host import DeltaStream
from roomkit.core.event_router import plan_targets
from roomkit.models.enums import ChannelDirection, HookTrigger
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.streaming import StreamDelta, StreamEnd

if TYPE_CHECKING:
    from roomkit.channels.base import Channel
    from roomkit.core.hooks import HookEngine
    from roomkit.core.services.registry import ChannelRegistry
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext

logger: logging.Logger = logging.getLogger("roomkit.pipeline")

PIECE_TIMEOUT = 1.0
"""Seconds a channel may take to accept a piece; a slower one misses it."""

MAX_OPEN = 10_000
"""So many streams may be open in a kit; further answers are shown only whole."""


class _Stream(DeltaStream):
    """One answer on its way."""

    def __init__(
        self,
        owner: DeltaStreams,
        room_id: str,
        channel_id: str,
        targets: list[tuple[Channel, ChannelBinding]],
    ) -> None:
        self.stream_id = new_id()
        self._owner = owner
        self._room_id = room_id
        self._channel_id = channel_id
        self._targets = targets
        self._seq = 0

    async def send(self, text: str) -> None:
        """Show the next piece."""
        if not text or self.stream_id not in self._owner:
            return
        piece = StreamDelta(self._room_id, self._channel_id, self.stream_id, self._seq, text)
        self._seq += 1
        await self._show(piece)

    async def fail(self) -> None:
        """End the stream without an event."""
        await self._owner.end(self.stream_id, None, retracted=False)

    async def finish(self, event_id: str | None, retracted: bool) -> None:
        """End the stream with the stored event, or taking back what was shown."""
        await self._show(
            StreamEnd(self._room_id, self._channel_id, self.stream_id, event_id, retracted)
        )

    async def _show(self, piece: StreamDelta | StreamEnd) -> None:
        for channel, binding in self._targets:
            try:
                await bounded(channel.deliver_delta(piece, binding), PIECE_TIMEOUT)
            except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
                logger.warning(
                    "a piece of an answer was not shown: %s",
                    type(exc).__name__,
                    extra=ids(room_id=self._room_id, channel_id=channel.channel_id),
                )


class DeltaStreams:
    """The open streams of a kit."""

    def __init__(self, hooks: HookEngine, registry: ChannelRegistry) -> None:
        self._hooks = hooks
        self._registry = registry
        self._open: dict[str, _Stream] = {}

    def __contains__(self, stream_id: str) -> bool:
        return stream_id in self._open

    def open(
        self,
        cause: RoomEvent,
        binding: ChannelBinding,
        context: RoomContext,
        *,
        before_gates: bool = False,
    ) -> DeltaStream | None:
        """Open a stream for an answer; see ``ChannelHost.open_stream``."""
        source = EventSource(
            channel_id=binding.channel_id,
            channel_type=binding.channel_type,
            direction=ChannelDirection.OUTBOUND,
        )
        if len(self._open) >= MAX_OPEN or (
            not before_gates
            and self._hooks.gated(cause.room_id, HookTrigger.BEFORE_BROADCAST, source)
        ):
            return None
        answer = cause.answer_from(source, binding.visibility)
        targets = []
        for target in plan_targets(answer, binding, context.bindings):
            channel = self._registry.channels.get(target.channel_id)
            if channel is not None and channel.shows_deltas:
                targets.append((channel, target))
        if not targets:
            return None
        stream = _Stream(self, cause.room_id, binding.channel_id, targets)
        self._open[stream.stream_id] = stream
        return stream

    async def end(self, stream_id: str, event_id: str | None, *, retracted: bool) -> None:
        """End a stream; a no-op when it has ended."""
        stream = self._open.pop(stream_id, None)
        if stream is not None:
            await stream.finish(event_id, retracted)
