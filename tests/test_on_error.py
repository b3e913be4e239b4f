"""ON_ERROR names what failed, and by what class of error."""

from __future__ import annotations

from roomkit import (
    HookExecution,
    HookResult,
    HookTrigger,
    InboundMessage,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
)
from roomkit.testing import SimpleChannel


def said(body: str = "hello") -> InboundMessage:
    return InboundMessage(channel_id="a", sender_id="ann", content=TextContent(body=body))


async def kit_with_room() -> tuple[RoomKit, list[dict[str, object]]]:
    """Return a kit with one room, and what its ON_ERROR observer is told."""
    kit = RoomKit()
    told: list[dict[str, object]] = []
    kit.register_channel(SimpleChannel("a"))
    await kit.create_room("r")
    await kit.attach_channel("r", "a")

    @kit.hook(HookTrigger.ON_ERROR, execution=HookExecution.ASYNC)
    async def on_error(event: RoomEvent, context: RoomContext) -> None:
        told.append(event.content.data)

    return kit, told


class TestErrorType:
    """A failing hook is reported with its name, its text and the class of what it raised."""

    async def test_of_an_observer(self) -> None:
        """An AFTER_BROADCAST observer that divides by zero says so."""
        kit, told = await kit_with_room()

        @kit.hook(HookTrigger.AFTER_BROADCAST, execution=HookExecution.ASYNC)
        async def divides(event: RoomEvent, context: RoomContext) -> None:
            raise ZeroDivisionError("by zero")

        await kit.process_inbound(said())
        await kit.drain()
        assert [(d["where"], d["error"], d["error_type"]) for d in told] == [
            ("hook divides", "by zero", "ZeroDivisionError")
        ]
        await kit.close()

    async def test_of_a_gate(self) -> None:
        """A gate that fails lets the event pass, and is reported after it."""
        kit, told = await kit_with_room()

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def looks_up(event: RoomEvent, context: RoomContext) -> HookResult:
            raise LookupError("nothing there")

        result = await kit.process_inbound(said())
        await kit.drain()
        assert not result.blocked
        assert [(d["where"], d["error_type"]) for d in told] == [("hook looks_up", "LookupError")]
        await kit.close()
