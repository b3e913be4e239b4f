"""Nothing enters a timeline that some store could not hold."""

from __future__ import annotations

from roomkit import EventSource, InboundMessage, RoomContext, RoomEvent, RoomKit, TextContent
from roomkit.testing import SimpleChannel

DIRTY = "a\x00b\ud800"


class Careless(SimpleChannel):
    """A channel whose events carry whatever it found."""

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return RoomEvent(
            room_id=context.room.id,
            source=EventSource(
                channel_id=self.channel_id,
                channel_type=self.channel_type,
                participant_id=DIRTY,
                external_id=DIRTY,
                raw_payload={"from": DIRTY},
            ),
            content=TextContent(body=DIRTY),
            idempotency_key=DIRTY,
            correlation_id=DIRTY,
            metadata={"note": DIRTY, "score": float("nan")},
        )


async def kit_with(channel: SimpleChannel) -> RoomKit:
    kit = RoomKit()
    kit.register_channel(channel)
    await kit.create_room("r")
    await kit.attach_channel("r", channel.channel_id)
    return kit


def storable(event: RoomEvent) -> bool:
    """Return whether an event survives the trip through JSON in UTF-8, without NUL."""
    return "\\u0000" not in event.model_dump_json().encode("utf-8").decode()


class TestDoor:
    """NUL characters and lone surrogates are taken out of every text of an event."""

    async def test_of_an_event_a_channel_made(self) -> None:
        """Body, ids, key, payload and metadata are all cleaned."""
        kit = await kit_with(Careless("a"))
        message = InboundMessage(channel_id="a", sender_id="x", content=TextContent(body="x"))
        event = (await kit.process_inbound(message, room_id="r")).event
        assert event is not None
        assert storable(event)
        assert event.source.participant_id == event.idempotency_key == event.correlation_id
        assert event.metadata["score"] is None
        await kit.close()

    async def test_of_what_is_sent(self) -> None:
        """The speaker and the key given to send_event are cleaned, and the key still works."""
        kit = await kit_with(SimpleChannel("a"))
        first = await kit.send_event(
            "r", "a", TextContent(body=DIRTY), participant_id=DIRTY, idempotency_key=DIRTY
        )
        again = await kit.send_event("r", "a", TextContent(body="x"), idempotency_key=DIRTY)
        assert storable(first)
        assert again.id == first.id
        await kit.close()
