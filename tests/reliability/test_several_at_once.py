"""Several answers of one reaction, and one injected object used for several messages."""

from __future__ import annotations

from roomkit import (
    Channel,
    ChannelBinding,
    ChannelCapabilities,
    ChannelOutput,
    ChannelType,
    DeliveryMode,
    EditContent,
    EventSource,
    EventType,
    HookResult,
    HookTrigger,
    InboundMessage,
    InjectedEvent,
    RoomContext,
    RoomEvent,
    RoomKit,
    RoomStatus,
    RoomTimers,
    TextContent,
)
from roomkit.testing import ManualClock, SimpleChannel, assert_invariants


class Talkative(Channel):
    """Answers each message of somebody else with several events."""

    channel_type = ChannelType.AI

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id)
        self.answers: list[RoomEvent] = []

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        raise AssertionError("nobody writes to it from outside")

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        return ChannelOutput.empty()

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        if event.chain_depth:
            return ChannelOutput.empty()
        return ChannelOutput(responded=True, response_events=self.answers)

    def says(self, *bodies: str) -> None:
        """Answer with these texts from now on."""
        self.answers = [self.event(TextContent(body=body)) for body in bodies]

    def event(
        self, content: TextContent | EditContent, kind: EventType = EventType.MESSAGE
    ) -> RoomEvent:
        source = EventSource(channel_id=self.channel_id, channel_type=ChannelType.AI)
        return RoomEvent(room_id="r", type=kind, source=source, content=content)


class OneOf(SimpleChannel):
    """One of several that take turns."""

    def capabilities(self) -> ChannelCapabilities:
        return ChannelCapabilities(delivery_mode=DeliveryMode.ROUND_ROBIN)


def say(body: str = "hello") -> InboundMessage:
    return InboundMessage(channel_id="a", sender_id="ann", content=TextContent(body=body))


async def room(*channels: Channel) -> RoomKit:
    kit = RoomKit()
    await kit.create_room("r")
    for channel in (SimpleChannel("a"), *channels):
        kit.register_channel(channel)
        await kit.attach_channel("r", channel.channel_id)
    return kit


class TestSeveralAnswers:
    """Each answer of a reaction is an event of its own, to gates and to targets."""

    async def test_gates_see_the_index_each_will_have(self) -> None:
        """The provisional indexes rise with the answers, and are the stored ones."""
        bot = Talkative("bot")
        bot.says("one", "two", "three")
        kit = await room(bot)
        seen: dict[str, int] = {}

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def look(event: RoomEvent, context: RoomContext) -> HookResult:
            seen[event.content.body] = event.index
            return HookResult.allow()

        await kit.process_inbound(say())
        stored = {
            e.content.body: e.index for e in await kit.get_timeline("r") if e.type == "message"
        }
        assert seen == stored
        await kit.close()

    async def test_targets_that_take_turns_share_them(self) -> None:
        """Three answers reach three round-robin targets, one each."""
        bot = Talkative("bot")
        bot.says("one", "two", "three")
        ring = [OneOf("x"), OneOf("y"), OneOf("z")]
        kit = await room(bot, *ring)
        await kit.process_inbound(say())
        answers = [
            [event.content.body for event in channel.delivered if event.chain_depth]
            for channel in ring
        ]
        assert sorted(text for texts in answers for text in texts) == ["one", "three", "two"]
        assert all(len(texts) == 1 for texts in answers)
        await kit.close()

    async def test_two_edits_are_both_made(self) -> None:
        """Edits of two earlier events in one reaction change both."""
        bot = Talkative("bot")
        bot.says("first draft", "second draft")
        kit = await room(bot)
        await kit.process_inbound(say())
        first, second = [e for e in await kit.get_timeline("r") if e.chain_depth == 1]
        bot.answers = [
            bot.event(
                EditContent(target_event_id=target.id, new_content=TextContent(body=body)),
                EventType.EDIT,
            )
            for target, body in ((first, "first"), (second, "second"))
        ]
        await kit.process_inbound(say())
        timeline = {e.id: e for e in await kit.get_timeline("r")}
        assert timeline[first.id].content == TextContent(body="first")
        assert timeline[second.id].content == TextContent(body="second")
        await assert_invariants(kit.store)
        await kit.close()


class TestOneObjectTwice:
    """An injected object that a hook uses again is another event."""

    async def test_each_injection_has_an_id_of_its_own(self) -> None:
        """The same InjectedEvent for two messages is stored and delivered twice, under two ids."""
        other = SimpleChannel("b")
        kit = await room(other)
        notice = RoomEvent(
            room_id="r",
            source=EventSource(channel_id="bot", channel_type=ChannelType.SYSTEM),
            content=TextContent(body="notice"),
        )
        injected = InjectedEvent(event=notice, target_channel_ids=["b"])

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def tell(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.allow([injected])

        await kit.process_inbound(say("one"))
        await kit.process_inbound(say("two"))
        notices = [e for e in await kit.get_timeline("r") if e.content == notice.content]
        assert len({e.id for e in notices}) == len(notices) == 2
        assert [e.content.body for e in other.delivered] == ["one", "notice", "two", "notice"]
        await assert_invariants(kit.store)
        await kit.close()


class TestResume:
    """A message that wakes a paused room keeps what its gates did to the room."""

    async def test_metadata_set_by_a_gate_stays(self) -> None:
        """The gate's own change of the room is not undone by waking it."""
        clock = ManualClock()
        kit = RoomKit(clock=clock, resume_paused_rooms=True)
        kit.register_channel(SimpleChannel("a"))
        await kit.create_room("r", timers=RoomTimers(inactive_after_seconds=10))
        await kit.attach_channel("r", "a")
        await kit.process_inbound(say())
        await clock.advance(60)
        assert [room.status for room in await kit.check_all_timers()] == [RoomStatus.PAUSED]

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def mark(event: RoomEvent, context: RoomContext) -> HookResult:
            await kit.update_room_metadata("r", {"greeted": True})
            return HookResult.allow()

        await kit.process_inbound(say())
        room = await kit.get_room("r")
        assert (room.status, room.metadata) == (RoomStatus.ACTIVE, {"greeted": True})
        await kit.close()
