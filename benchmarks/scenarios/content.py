"""Content that has to be put in other words for its receivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.floors import MessageFloor
from benchmarks.measure import race
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import Room, message
from roomkit.channels import SMSChannel
from roomkit.models.content import (
    CompositeContent,
    LocationContent,
    RichContent,
    TextContent,
)
from roomkit.models.delivery import ProviderResult

if TYPE_CHECKING:
    from roomkit.models.event import EventContent, RoomEvent

RECEIVERS = 5
_SENT = ProviderResult(success=True)


class _Phones:
    """A provider that counts and keeps the last body."""

    def __init__(self) -> None:
        self.count = 0
        self.bodies: set[Any] = set()

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        self.count += 1
        self.bodies.add(getattr(event.content, "body", None))
        return _SENT

    async def close(self) -> None:
        """Nothing to close."""


async def _to_phones(content: EventContent, said: str) -> Figure:
    phones = _Phones()
    channels = tuple(SMSChannel(f"sms-{n}", provider=phones) for n in range(RECEIVERS))
    room = await Room.make(targets=channels)
    for channel in channels:
        await room.kit.update_binding_metadata(
            "room", channel.channel_id, {"phone_number": "+15550100", "from_": "+15550199"}
        )

    await room.begin()

    async def say() -> None:
        await room.kit.process_inbound(message(content=content))
        room.said += 1

    spent, floor = await race(800, say, MessageFloor(RECEIVERS, content))
    await room.verify()
    check(phones.count == room.said * RECEIVERS, f"{phones.count} sent")
    check(phones.bodies == {said}, f"sent {phones.bodies}")
    return Figure(spent, floor)


@scenario("transcode_text", "to 5 SMS: text", target=70.0)
async def transcode_text() -> Figure:
    """Content every receiver can carry."""
    return await _to_phones(TextContent(body="hello"), "hello")


@scenario("transcode_rich", "  rich", target=85.0)
async def transcode_rich() -> Figure:
    """Formatted text for receivers without formatting."""
    return await _to_phones(RichContent(body="**hello**", plain_text="hello"), "hello")


@scenario("transcode_composite", "  composite", target=120.0)
async def transcode_composite() -> Figure:
    """Several parts that become one text."""
    content = CompositeContent(
        parts=[
            TextContent(body="hello"),
            RichContent(body="**there**", plain_text="there"),
            LocationContent(latitude=1.0, longitude=2.0, label="here"),
        ]
    )
    return await _to_phones(content, "hello\nthere\n[Location: here (1.0, 2.0)]")
