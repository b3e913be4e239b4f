"""Edits and deletes, and where a chain of answers ends by their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from roomkit import (
    ChannelCategory,
    ChannelOutput,
    ChannelType,
    DeleteContent,
    DeleteType,
    EditContent,
    EventContent,
    RoomKit,
    TextContent,
)
from roomkit.testing import SimpleChannel, reply
from tests.support.kits import ROOM, inbound, messages, open_room, text, texts

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent


def edit(target: str, by: str | None = None) -> EditContent:
    """Return an edit of an event."""
    new = TextContent(body="better")
    return EditContent(target_event_id=target, new_content=new, edit_source=by)


async def said(kit: RoomKit, room_id: str = ROOM, channel_id: str = "a") -> RoomEvent:
    """Let Alice say something."""
    result = await kit.process_inbound(inbound("draft", channel_id), room_id=room_id)
    assert result.event is not None
    return result.event


async def change(kit: RoomKit, content: EventContent, sender: str = "alice") -> Any:
    """Bring an edit or delete in; return why it was refused, or None."""
    kind = "edit" if isinstance(content, EditContent) else "delete"
    message = inbound(content, sender=sender, event_type=kind, idempotency_key="k")
    return (await kit.process_inbound(message, room_id=ROOM)).reason


class TestApplied:
    """The target changes with the commit, and the others are told."""

    async def test_edit(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)
            before = await said(kit)
            assert await change(kit, edit(before.id)) is None
            after = await kit.store.get_event(before.id)
            assert after is not None
            assert (text(after), after.metadata) == ("better", {"edited": True})
            assert (after.index, after.status) == (before.index, before.status)
            assert texts(other.delivered) == ["draft", "Correction: better"]
            assert len(await messages(kit)) == 2

    async def test_delete(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)
            before = await said(kit)
            assert await change(kit, DeleteContent(target_event_id=before.id)) is None
            after = await kit.store.get_event(before.id)
            assert after is not None
            assert (text(after), after.metadata) == ("draft", {"deleted": True})
            assert texts(other.delivered) == ["draft", "[Message deleted]"]

    async def test_as_a_message_it_is_not_applied(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            before = await said(kit)
            await kit.process_inbound(inbound(edit(before.id)), room_id=ROOM)
            after = await kit.store.get_event(before.id)
            assert text(after) == "draft"


class TestRefused:
    """Only one's own, only in this room; nothing is stored and no key used up."""

    @pytest.mark.parametrize("by", [None, "sender"])
    async def test_an_edit_by_another(self, by: str | None) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            before = await said(kit)
            assert await change(kit, edit(before.id, by), "bob") == "not_original_author"
            assert texts(await messages(kit)) == ["draft"]
            assert await change(kit, edit(before.id, by)) is None

    async def test_a_delete_by_another(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            content = DeleteContent(target_event_id=(await said(kit)).id)
            assert await change(kit, content, "bob") == "not_original_author"

    async def test_the_system_and_admins_may(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            before = await said(kit)
            assert await change(kit, edit(before.id, "system"), "bob") is None
            content = DeleteContent(target_event_id=before.id, delete_type=DeleteType.ADMIN)
            message = inbound(content, sender="bob", event_type="delete")
            assert not (await kit.process_inbound(message, room_id=ROOM)).blocked

    async def test_a_target_in_another_room(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await open_room(kit, SimpleChannel("b"), room_id="s")
            elsewhere = await said(kit, "s", "b")
            for target in (elsewhere.id, "ghost"):
                assert await change(kit, edit(target)) == "target_event_not_found"
            assert await messages(kit) == []


class TestLoopCap:
    """One message from outside sets off so many answers and no more."""

    async def test_it(self) -> None:
        def twice(
            event: RoomEvent, binding: ChannelBinding, context: RoomContext
        ) -> ChannelOutput:
            answers = [reply(event, binding, "again").response_events[0] for _ in range(3)]
            return ChannelOutput(responded=True, response_events=answers)

        bots = [
            SimpleChannel(
                name,
                ChannelType.AI,
                category=ChannelCategory.INTELLIGENCE,
                react_script=lambda *call: twice(*call),
            )
            for name in ("x", "y")
        ]
        async with RoomKit(max_chain_depth=4) as kit:
            await open_room(kit, SimpleChannel("a"), *bots)
            await kit.process_inbound(inbound("go"), room_id=ROOM)
            answers = (await messages(kit))[1:]
            delivered = [event for event in answers if event.status == "delivered"]
            assert len(delivered) == 40
            assert "reentry_loop_cap" in {event.blocked_by for event in answers}
