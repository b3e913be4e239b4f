"""SimpleChannel records everything and says only what its script says."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelCategory, ChannelType
from roomkit.models.room import Room
from roomkit.testing import ManualClock, SimpleChannel, make_binding, make_event

CONTEXT = RoomContext(room=Room(id="room-1"))


class TestRecording:
    """Calls are remembered, with what came along."""

    async def test_defaults(self) -> None:
        """A text transport called simple that never reacts."""
        channel = SimpleChannel()
        assert channel.channel_id == "simple"
        assert channel.channel_type == ChannelType.WEBSOCKET
        assert channel.category == ChannelCategory.TRANSPORT
        assert channel.reacts is False
        assert channel.capabilities() == ChannelCapabilities()

    async def test_inbound_keeps_the_message(self) -> None:
        """The event carries everything a transport's event carries."""
        channel = SimpleChannel("c", ChannelType.SMS)
        message = InboundMessage(
            channel_id="c",
            sender_id="ann",
            content=TextContent(body="x"),
            external_id="e",
            thread_id="t",
            idempotency_key="k",
            metadata={"m": 1},
        )
        event = await channel.handle_inbound(message, CONTEXT)
        assert channel.inbound == [message]
        assert event.source.channel_type == ChannelType.SMS
        assert (event.idempotency_key, event.metadata) == ("k", {"m": 1})
        assert (event.channel_data.external_id, event.channel_data.thread_id) == ("e", "t")

    async def test_deliveries_are_recorded_before_they_fail(self) -> None:
        """With binding and context, in the order of the calls."""
        channel = SimpleChannel(deliver_script=[ConnectionError("down"), None])
        binding, event = make_binding(), make_event()
        with pytest.raises(ConnectionError, match="down"):
            await channel.deliver(event, binding, CONTEXT)
        assert await channel.deliver(event, binding, CONTEXT) == ChannelOutput.empty()
        assert channel.delivered == [event, event]
        assert channel.deliveries[0] == (event, binding, CONTEXT)

    async def test_close_is_recorded(self) -> None:
        """And may be repeated."""
        channel = SimpleChannel()
        assert channel.closed is False
        await channel.close()
        await channel.close()
        assert channel.closed is True


class TestScripts:
    """Answers come in the order of the calls, whatever they are."""

    async def test_steps_of_every_kind(self) -> None:
        """Text, output, function, coroutine function, error, class of error, nothing."""
        output = ChannelOutput(responded=True, metadata_updates={"a": 1})

        async def later(event: object, binding: object, context: object) -> str:
            await asyncio.sleep(0)
            return "later"

        steps = ["now", output, lambda *_: "made", later, ValueError("bad"), LookupError, None]
        channel = SimpleChannel(react_script=steps)
        assert channel.reacts is True
        event, binding = make_event(), make_binding("simple")
        said = []
        for _ in steps:
            try:
                said.append(await channel.on_event(event, binding, CONTEXT))
            except (ValueError, LookupError) as error:
                said.append(type(error))
        bodies = [one.response_events[0].content.body for one in (said[0], said[2], said[3])]
        assert bodies == ["now", "made", "later"]
        assert said[1] is output
        assert said[4:6] == [ValueError, LookupError]
        assert said[6] is ChannelOutput.empty()
        assert said[0].response_events[0].source.channel_id == "simple"
        assert len(channel.received) == len(channel.reactions) == 7

    async def test_a_function_answers_every_call(self) -> None:
        """With what it is given."""
        channel = SimpleChannel(react_script=lambda event, *_: event.content.body.upper())
        for body in ("a", "b", "c"):
            output = await channel.on_event(make_event(body=body), make_binding(), CONTEXT)
            assert SimpleChannel.extract_text(output.response_events[0]) == body.upper()

    async def test_an_intelligence_reacts_without_a_script(self) -> None:
        """It is asked, and says nothing."""
        channel = SimpleChannel(category=ChannelCategory.INTELLIGENCE)
        assert channel.reacts is True
        output = await channel.on_event(make_event(), make_binding(), CONTEXT)
        assert output.responded is False

    async def test_answers_take_the_time_of_the_clock(self, clock: ManualClock) -> None:
        """Recorded at once, answered when the clock says so; overlapping calls keep theirs."""
        channel = SimpleChannel(react_script=["one", "two"], delay=5.0, clock=clock)
        event, binding = make_event(), make_binding()
        async with asyncio.TaskGroup() as tasks:
            calls = [
                tasks.create_task(channel.on_event(event, binding, CONTEXT)) for _ in range(2)
            ]
            await clock.advance(4.9)
            assert [call.done() for call in calls] == [False, False]
            assert len(channel.received) == 2
            await clock.advance(0.2)
        texts = [channel.extract_text(call.result().response_events[0]) for call in calls]
        assert texts == ["one", "two"]
