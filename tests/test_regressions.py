"""Defects that systems of this kind have had; each test is named after the one it rules out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit import (
    AIChannel,
    ChannelCapabilities,
    ChannelCategory,
    ChannelDirection,
    ChannelOutput,
    ChannelType,
    DeleteContent,
    EditContent,
    EventSource,
    EventStatus,
    EventType,
    HookResult,
    HookTrigger,
    IdentificationStatus,
    Identity,
    IdentityHookResult,
    InjectedEvent,
    ManualClock,
    MockAIProvider,
    MockIdentityResolver,
    MockSMSProvider,
    Observation,
    ProviderResult,
    RateLimit,
    RoomEvent,
    RoomKit,
    SMSChannel,
    Task,
    TextContent,
    TokenBucketRateLimiter,
)
from roomkit.testing import SimpleChannel, make_event
from roomkit.testing.channel import reply
from tests.support.kits import ROOM, Ears, inbound, messages, observe, open_room, text, texts

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.identity import IdentityResult


class TestHistory:
    """Whoever reacts to a message knows the newest past, in order, each event once."""

    async def test_recent_events_were_the_oldest_fifty(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            seen = observe(kit, HookTrigger.AFTER_BROADCAST)
            for number in range(60):
                await kit.process_inbound(inbound(f"m{number}"), room_id=ROOM)
            recent = seen[-1].context.recent_events
            assert texts(recent) == [f"m{number}" for number in range(10, 60)]
            assert recent[-1].id == seen[-1].event.id

    async def test_gates_saw_the_oldest_fifty(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            seen: list[list[str]] = []

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                seen.append(texts(context.recent_events))
                return HookResult.allow()

            for number in range(55):
                await kit.process_inbound(inbound(f"m{number}"), room_id=ROOM)
            assert seen[-1] == [f"m{number}" for number in range(4, 54)]

    async def test_the_current_message_stood_twice_in_the_prompt(self) -> None:
        provider = MockAIProvider(["fine"])
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), AIChannel("ai", provider))
            await kit.process_inbound(inbound("how are you?"), room_id=ROOM)
            await kit.process_inbound(inbound("and now?"), room_id=ROOM)
            said = [message.content for message in provider.calls[-1].messages]
            assert said == ["how are you?", "fine", "and now?"]

    async def test_no_context_events_meant_all_of_them(self) -> None:
        provider = MockAIProvider(["fine"])
        async with RoomKit() as kit:
            ai = AIChannel("ai", provider, max_context_events=0)
            await open_room(kit, SimpleChannel("a"), ai)
            await kit.process_inbound(inbound("first"), room_id=ROOM)
            await kit.process_inbound(inbound("second"), room_id=ROOM)
            assert [message.content for message in provider.calls[-1].messages] == ["second"]


def _bot(*texts_: str) -> SimpleChannel:
    return SimpleChannel(
        "bot", ChannelType.AI, category=ChannelCategory.INTELLIGENCE, react_script=texts_
    )


class TestNumbering:
    """Every stored event is numbered, and the room's counters say the same as its timeline."""

    async def test_responses_had_index_zero_and_stayed_pending(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), _bot("one", "two"))
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            await kit.process_inbound(inbound("ho"), room_id=ROOM)
            said = await messages(kit)
            assert [(text(e), e.index) for e in said] == [
                ("hi", 2),
                ("one", 3),
                ("ho", 4),
                ("two", 5),
            ]
            assert {e.status for e in said} == {EventStatus.DELIVERED}

    async def test_injected_events_had_index_zero_and_stayed_pending(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.allow([InjectedEvent(event=make_event(ROOM, "by the way"))])

            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            said = await messages(kit)
            assert [(text(e), e.index) for e in said] == [("hi", 2), ("by the way", 3)]
            assert {e.status for e in said} == {EventStatus.DELIVERED}

    async def test_counters_disagreed_with_the_timeline(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), _bot("answer"))

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                if text(event) == "bad":
                    return HookResult.block("rude")
                return HookResult.allow([InjectedEvent(event=make_event(ROOM, "note"))])

            await kit.process_inbound(inbound("good"), room_id=ROOM)
            await kit.process_inbound(inbound("bad"), room_id=ROOM)
            await kit.send_event(ROOM, "a", TextContent(body="spoken"))
            await kit.mute(ROOM, "bot")
            timeline = await kit.get_timeline(ROOM, limit=100)
            room = await kit.get_room(ROOM)
            assert [event.index for event in timeline] == list(range(len(timeline)))
            assert room.event_count == len(timeline)
            assert room.latest_index == timeline[-1].index

    async def test_a_room_written_back_reset_the_counters(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            stale = await kit.get_room(ROOM)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            await kit.store.update_room(stale)
            assert (await kit.get_room(ROOM)).event_count == 2


class TestDelivery:
    """A delivery is reported as what it was."""

    async def test_a_failed_send_was_reported_delivered(self) -> None:
        provider = MockSMSProvider(results=[ProviderResult(success=False, error="rate_limit")])
        async with RoomKit() as kit:
            ears = Ears(kit)
            await open_room(kit, SimpleChannel("a"))
            kit.register_channel(SMSChannel("sms", provider=provider))
            await kit.attach_channel(ROOM, "sms", metadata={"phone_number": "+15550001111"})
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert result.event is not None
            assert result.event.delivery_results["sms"]["status"] == "failed"
            assert result.event.delivery_results["sms"]["error"] == "rate_limit"
            [failed] = ears.of("delivery_failed")
            assert (failed.channel_id, failed.data) == ("sms", {"error": "rate_limit"})
            assert not ears.of("delivery_succeeded")

    @pytest.mark.parametrize(
        ("limit", "seconds"),
        [
            (RateLimit(max_per_minute=30), 2),
            (RateLimit(max_per_hour=60), 60),
            (RateLimit(max_per_second=0.1), 10),
        ],
    )
    async def test_rates_below_one_a_second_hung_for_ever(
        self, limit: RateLimit, seconds: int
    ) -> None:
        clock = ManualClock()
        limiter = TokenBucketRateLimiter(clock=clock)
        assert limiter.acquire("sms", limit)
        assert not limiter.acquire("sms", limit)
        await clock.advance(seconds - 1)
        assert not limiter.acquire("sms", limit)
        await clock.advance(1)
        assert limiter.acquire("sms", limit)

    async def test_a_slow_rate_held_the_message_for_ever(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            slow = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"))
            kit.register_channel(slow)
            await kit.attach_channel(ROOM, "b", rate_limit=RateLimit(max_per_minute=30))
            await kit.process_inbound(inbound("one"), room_id=ROOM)
            second = asyncio.create_task(kit.process_inbound(inbound("two"), room_id=ROOM))
            await clock.advance(1.9)
            assert texts(slow.delivered) == ["one"]
            await clock.advance(0.1)
            assert texts(slow.delivered) == ["one", "two"]
            assert not (await second).blocked

    @pytest.mark.parametrize("limit", [1, 2, 3])
    async def test_truncation_to_almost_nothing_gave_longer_text(self, limit: int) -> None:
        async with RoomKit() as kit:
            tiny = SimpleChannel("b", capabilities=ChannelCapabilities(max_length=limit))
            await open_room(kit, SimpleChannel("a"), tiny)
            await kit.process_inbound(inbound("abcdefgh"), room_id=ROOM)
            assert texts(tiny.delivered) == ["abc"[:limit]]

    async def test_registering_a_channel_reset_breakers(self) -> None:
        async with RoomKit(clock=ManualClock()) as kit:
            broken = SimpleChannel("b", deliver_script=lambda *_: _raise(OSError("down")))
            await open_room(kit, SimpleChannel("a"), broken)
            for _ in range(5):
                await kit.process_inbound(inbound(), room_id=ROOM)
            kit.register_channel(SimpleChannel("c"))
            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            assert result.event.delivery_results["b"]["error"] == "circuit_breaker_open"
            assert len(broken.delivered) == 5

    async def test_registering_a_channel_reset_rate_buckets(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            paced = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"))
            kit.register_channel(paced)
            await kit.attach_channel(ROOM, "b", rate_limit=RateLimit(max_per_second=1))
            await kit.process_inbound(inbound("one"), room_id=ROOM)
            kit.register_channel(SimpleChannel("c"))
            second = asyncio.create_task(kit.process_inbound(inbound("two"), room_id=ROOM))
            await clock.advance(0.9)
            assert texts(paced.delivered) == ["one"]
            await clock.advance(0.1)
            await second
            assert texts(paced.delivered) == ["one", "two"]

    async def test_send_event_with_visibility_none_was_broadcast(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)
            event = await kit.send_event(ROOM, "a", TextContent(body="psst"), visibility="none")
            assert (event.visibility, event.status) == ("none", EventStatus.DELIVERED)
            assert other.delivered == []
            assert texts(await messages(kit)) == ["psst"]


def _raise(error: Exception) -> ChannelOutput:
    raise error


class TestUnknownSenders:
    """An identity hook decides about an unknown sender just as about an ambiguous one."""

    async def test_an_unknown_sender_hooks_challenge_was_ignored(self) -> None:
        async with RoomKit(identity_resolver=MockIdentityResolver()) as kit:
            asker = SimpleChannel("a")
            await open_room(kit, asker)
            question = make_event(ROOM, "who are you?", channel_id="system")

            @kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)
            async def hook(
                event: RoomEvent, context: RoomContext, found: IdentityResult
            ) -> IdentityHookResult:
                return IdentityHookResult.challenge(
                    InjectedEvent(event=question, target_channel_ids=["a"])
                )

            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert (result.blocked, result.reason) == (True, "identity_challenge_sent")
            assert texts(asker.delivered) == ["who are you?"]
            assert texts(await messages(kit)) == ["who are you?"]

    async def test_an_unknown_sender_hooks_pending_and_its_data_were_ignored(self) -> None:
        async with RoomKit(identity_resolver=MockIdentityResolver()) as kit:
            await open_room(kit, SimpleChannel("a"))

            @kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)
            async def hook(
                event: RoomEvent, context: RoomContext, found: IdentityResult
            ) -> IdentityHookResult:
                return IdentityHookResult.pending("Somebody new", [Identity(id="i-7")])

            assert not (await kit.process_inbound(inbound("hi"), room_id=ROOM)).blocked
            [participant] = await kit.store.list_participants(ROOM)
            assert participant.id == "alice"
            assert participant.identification == IdentificationStatus.PENDING
            assert participant.display_name == "Somebody new"
            assert participant.candidates == ["i-7"]


class TestEffects:
    """What an answer leaves behind is kept, however deep in the chain it was made."""

    async def test_effects_of_responses_were_lost(self) -> None:
        def second(event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> object:
            if event.source.channel_id != "bot":
                return None
            return ChannelOutput(
                tasks=[Task(id="t", room_id=ROOM, title="call back")],
                observations=[Observation(id="o", room_id=ROOM, channel_id="c", content="sad")],
            )

        async with RoomKit() as kit:
            created = observe(kit, HookTrigger.ON_TASK_CREATED)
            watcher = SimpleChannel("c", react_script=second)
            await open_room(kit, SimpleChannel("a"), _bot("answer"), watcher)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert [task.title for task in await kit.list_tasks(ROOM)] == ["call back"]
            assert [o.content for o in await kit.list_observations(ROOM)] == ["sad"]
            assert [told.event.metadata["task_id"] for told in created] == ["t"]

    async def test_effects_and_responses_of_send_event_were_lost(self) -> None:
        def answer(
            event: RoomEvent, binding: ChannelBinding, context: RoomContext
        ) -> ChannelOutput:
            said = reply(event, binding, "noted").response_events
            task = Task(id="t", room_id=ROOM, title="file it")
            return ChannelOutput(responded=True, response_events=said, tasks=[task])

        async with RoomKit() as kit:
            ears = Ears(kit)
            other = SimpleChannel("b", react_script=[answer])
            await open_room(kit, SimpleChannel("a"), other)
            event = await kit.send_event(ROOM, "a", TextContent(body="for the file"))
            assert texts(await messages(kit)) == ["for the file", "noted"]
            assert [task.id for task in await kit.list_tasks(ROOM)] == ["t"]
            assert [told.event_id for told in ears.of("event_processed")] == [event.id]


class TestClosing:
    """Closing goes on to the end, and tells the first error then."""

    async def test_close_stopped_at_the_first_failure(self) -> None:
        class Stubborn(SimpleChannel):
            async def close(self) -> None:
                raise OSError("will not close")

        kit = RoomKit()
        last = SimpleChannel("z")
        await open_room(kit, Stubborn("a"), last)
        with pytest.raises(OSError, match="will not close"):
            await kit.close()
        assert last.closed


class TestEdits:
    """An edit is applied with its own commit, so a gate can stop it."""

    @pytest.mark.parametrize("kind", [EventType.EDIT, EventType.DELETE])
    async def test_a_blocked_edit_had_changed_its_target_already(self, kind: EventType) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            first = await kit.process_inbound(inbound("draft"), room_id=ROOM)
            assert first.event is not None

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("frozen")

            content = (
                EditContent(target_event_id=first.event.id, new_content=TextContent(body="new"))
                if kind == EventType.EDIT
                else DeleteContent(target_event_id=first.event.id)
            )
            message = inbound(content, event_type=kind)
            assert (await kit.process_inbound(message, room_id=ROOM)).reason == "frozen"
            kept = await kit.store.get_event(first.event.id)
            assert kept is not None
            assert (text(kept), kept.metadata) == ("draft", {})


class TestRouting:
    """Two people who write to one number get a room each."""

    async def test_a_second_customer_landed_in_the_first_ones_room(self) -> None:
        async with RoomKit() as kit:
            kit.register_channel(SMSChannel("sms", provider=MockSMSProvider()))
            rooms = []
            for sender in ("+15550000001", "+15550000002", "+15550000001"):
                result = await kit.process_inbound(inbound("hi", "sms", sender))
                assert result.event is not None
                rooms.append(result.event.room_id)
            assert rooms[0] == rooms[2] != rooms[1]

    async def test_an_auto_created_room_did_not_know_whom_to_answer(self) -> None:
        provider = MockSMSProvider()
        async with RoomKit() as kit:
            kit.register_channel(SMSChannel("sms", provider=provider))
            kit.register_channel(SimpleChannel("desk"))
            result = await kit.process_inbound(inbound("hi", "sms", "+15550000001"))
            assert result.event is not None
            await kit.attach_channel(result.event.room_id, "desk")
            await kit.send_event(result.event.room_id, "desk", TextContent(body="hello"))
            assert [call["to"] for call in provider.sent] == ["+15550000001"]


class TestSources:
    """An answer says that it is one."""

    async def test_a_hook_for_inbound_events_saw_the_ais_own_words(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), AIChannel("ai", MockAIProvider(["fine"])))
            seen = observe(kit, HookTrigger.AFTER_BROADCAST)
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            answer = seen[0].event
            assert result.event is not None
            assert answer.source == EventSource(
                channel_id="ai", channel_type=ChannelType.AI, direction=ChannelDirection.OUTBOUND
            )
            assert (answer.parent_event_id, answer.chain_depth) == (result.event.id, 1)
