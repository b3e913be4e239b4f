"""Who has read how far: kept per channel in the store, and told to whoever listens.

    python examples/read_receipts.py

Prints the number of unread messages as it falls, and a receipt.
"""

from __future__ import annotations

import asyncio

from roomkit import EphemeralEvent, InboundMessage, RoomKit, TextContent, WebSocketChannel


async def main() -> None:
    """Three messages, of which two are read, then all."""
    receipts: asyncio.Queue[EphemeralEvent] = asyncio.Queue()

    async def note(event: EphemeralEvent) -> None:
        receipts.put_nowait(event)

    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("ana"))
        kit.register_channel(WebSocketChannel("bob"))
        room = await kit.create_room()
        await kit.attach_channel(room.id, "ana")
        await kit.attach_channel(room.id, "bob")
        await kit.mark_all_read(room.id, "bob")
        await kit.subscribe_room(room.id, note)

        event_ids = []
        for text in ("one", "two", "three"):
            message = InboundMessage(
                channel_id="ana", sender_id="ana", content=TextContent(body=text)
            )
            result = await kit.process_inbound(message, room_id=room.id)
            assert result.event is not None
            event_ids.append(result.event.id)

        unread = [await kit.store.get_unread_count(room.id, "bob")]
        await kit.mark_read(room.id, "bob", event_ids[1])
        await kit.publish_read_receipt(room.id, "bob", event_ids[1])
        unread.append(await kit.store.get_unread_count(room.id, "bob"))
        await kit.mark_all_read(room.id, "bob")
        unread.append(await kit.store.get_unread_count(room.id, "bob"))
        receipt = await asyncio.wait_for(receipts.get(), 5)

    print("unread:", unread)
    print("receipt:", receipt.user_id, "read message", event_ids.index(receipt.data["event_id"]))
    assert unread == [3, 1, 0]
    assert receipt.data["event_id"] == event_ids[1]


if __name__ == "__main__":
    asyncio.run(main())
