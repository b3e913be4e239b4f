"""Classes derived from ours, as a user writes them; see `program.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from roomkit import (
    AIContext,
    AIProvider,
    AIResponse,
    AudioFrame,
    BaseSourceProvider,
    Channel,
    ChannelBinding,
    ChannelCapabilities,
    ChannelMediaType,
    ChannelOutput,
    ChannelType,
    Clock,
    EmitCallback,
    EventSource,
    IdentityResolver,
    IdentityResult,
    InboundMessage,
    ManualClock,
    ProviderResult,
    RoomContext,
    RoomEvent,
    SMSProvider,
    SourceStatus,
    TextContent,
    VADEvent,
    VADProvider,
)
from roomkit.testing import SimpleChannel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class PrinterChannel(Channel):
    """A channel of one's own."""

    channel_type = ChannelType.WEBHOOK

    def __init__(self, channel_id: str, write: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(channel_id)
        self._write = write

    def capabilities(self) -> ChannelCapabilities:
        """Only text, and little of it."""
        return ChannelCapabilities(media_types=[ChannelMediaType.TEXT], max_length=160)

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make an event of what came in."""
        return RoomEvent(
            room_id=context.room.id,
            source=EventSource(
                channel_id=self.channel_id,
                channel_type=self.channel_type,
                participant_id=message.sender_id,
            ),
            content=message.content,
        )

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Print it."""
        if isinstance(event.content, TextContent):
            await self._write(event.content.body)
        return ChannelOutput.empty()


class PaperSMS(SMSProvider):
    """A provider of one's own."""

    @property
    def from_number(self) -> str:
        """The number it sends from."""
        return "+15550100"

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Send it."""
        assert_type(event.id, str)
        return ProviderResult(success=True, provider_message_id=f"{to}-1")


class Parrot(AIProvider):
    """A model of one's own."""

    @property
    def model_name(self) -> str:
        """Its name."""
        return "parrot"

    async def generate(self, context: AIContext) -> AIResponse:
        """Say it again."""
        last = context.messages[-1].content
        return AIResponse(content=last if isinstance(last, str) else "?", usage={"tokens": 1})


class Nobody(IdentityResolver):
    """A resolver of one's own."""

    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        """Know nobody."""
        return IdentityResult.model_validate({"status": "unknown"})


class Feed(BaseSourceProvider):
    """A source of one's own."""

    @property
    def name(self) -> str:
        """Its name."""
        return "feed"

    async def start(self, emit: EmitCallback) -> None:
        """Emit one message."""
        await emit(InboundMessage(channel_id="f", sender_id="a", content=TextContent(body="x")))
        assert_type(self.status, SourceStatus)


class Loudness(VADProvider):
    """A pipeline stage of one's own."""

    @property
    def name(self) -> str:
        """Its name."""
        return "loudness"

    def process(self, frame: AudioFrame) -> VADEvent | None:
        """Hear nothing."""
        assert_type(frame.data, bytes)
        return None


def clocks() -> list[Clock]:
    """Return what fits the protocol."""
    return [ManualClock()]


def helpers() -> list[Channel]:
    """Return channels as one list."""
    return [SimpleChannel("one")]
