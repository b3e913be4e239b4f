"""Hooks through the kit: what a gate may change, what it leaves, where it runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from roomkit import (
    AIChannel,
    ChannelDirection,
    ChannelType,
    DeleteContent,
    EventType,
    HookExecution,
    HookResult,
    HookTrigger,
    InjectedEvent,
    MockAIProvider,
    Observation,
    RoomContext,
    RoomEvent,
    RoomKit,
    Task,
    TextContent,
)
from roomkit.testing import SimpleChannel, make_event
from tests.support.kits import ROOM, inbound, messages, observe, open_room, text, texts

if TYPE_CHECKING:
    from typing import Any

BEFORE = HookTrigger.BEFORE_BROADCAST


class TestGates:
    """A gate decides about an event before it is stored."""

    async def test_a_blocked_event_is_stored_and_reaches_nobody(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)
            after = observe(kit, HookTrigger.AFTER_BROADCAST)

            @kit.hook(BEFORE, name="censor")
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("rude")

            result = await kit.process_inbound(inbound("!"), room_id=ROOM)
            assert (result.blocked, result.reason) == (True, "rude")
            [stored] = await messages(kit)
            assert stored == result.event
            assert (stored.status, stored.blocked_by, stored.index) == ("blocked", "censor", 2)
            assert (other.delivered, other.received, after) == ([], [], [])

    async def test_the_functions_name_is_the_hooks(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))

            @kit.hook(BEFORE)
            async def bouncer(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("no")

            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            assert result.event.blocked_by == "bouncer"

    async def test_a_blocked_event_is_stored_as_it_came(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))

            @kit.hook(BEFORE, priority=1)
            async def change(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.modify(event.saying(TextContent(body="changed")))

            @kit.hook(BEFORE, priority=2)
            async def block(event: RoomEvent, context: RoomContext) -> HookResult:
                assert text(event) == "changed"
                return HookResult.block("no")

            await kit.process_inbound(inbound("as it came"), room_id=ROOM)
            assert texts(await messages(kit)) == ["as it came"]

    async def test_a_modified_event_is_what_everybody_gets(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                modified = event.saying(TextContent(body="hello")).with_metadata(seen=True)
                return HookResult.modify(modified)

            result = await kit.process_inbound(inbound("helo"), room_id=ROOM)
            assert text(result.event) == "hello"
            assert texts(other.delivered) == texts(await messages(kit)) == ["hello"]
            assert other.delivered[0].metadata == {"seen": True}

    async def test_what_no_gate_may_change(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            shown: list[RoomEvent] = []

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                shown.append(event)
                return HookResult.modify(
                    make_event("elsewhere", "forged", channel_id="b", index=77, chain_depth=3)
                )

            result = await kit.process_inbound(inbound(idempotency_key="k"), room_id=ROOM)
            event = result.event
            assert event is not None
            original = shown[0]
            for name in ("id", "room_id", "source", "index", "chain_depth", "created_at", "type"):
                assert getattr(event, name) == getattr(original, name)
            assert (event.idempotency_key, text(event)) == ("k", "forged")

    async def test_a_gate_cannot_turn_a_delete_on_another_event(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            mine = (await kit.process_inbound(inbound("mine"), room_id=ROOM)).event
            other = (await kit.process_inbound(inbound("other"), room_id=ROOM)).event
            assert mine is not None
            assert other is not None

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.modify(event.saying(DeleteContent(target_event_id=other.id)))

            content = DeleteContent(target_event_id=mine.id)
            await kit.process_inbound(inbound(content, event_type="delete"), room_id=ROOM)
            said = await messages(kit)
            assert [e.metadata.get("deleted") for e in said[:2]] == [True, None]

    async def test_the_index_shown_is_the_one_it_gets(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            shown: list[int] = []

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                shown.append(event.index)
                return HookResult.allow()

            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert result.event is not None
            assert shown == [result.event.index] == [1]

    async def test_gates_do_not_run_on_system_or_injected_events(self) -> None:
        async with RoomKit() as kit:
            seen: list[EventType] = []

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                seen.append(event.type)
                return HookResult.allow([InjectedEvent(event=make_event(ROOM, "aside"))])

            await open_room(kit, SimpleChannel("a"))
            await kit.mute(ROOM, "a")
            await kit.process_inbound(inbound(), room_id=ROOM)
            assert seen == [EventType.MESSAGE]


class TestAnswers:
    """An answer passes the gates too; a refused one is kept and reaches nobody."""

    async def test_a_blocked_answer(self) -> None:
        async with RoomKit() as kit:
            asker = SimpleChannel("a")
            await open_room(kit, asker, AIChannel("ai", MockAIProvider(["nonsense"])))

            @kit.hook(BEFORE, channel_types={ChannelType.AI}, name="facts")
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("wrong")

            await kit.process_inbound(inbound("why?"), room_id=ROOM)
            said = await messages(kit)
            assert [(text(e), e.status) for e in said] == [
                ("why?", "delivered"),
                ("nonsense", "blocked"),
            ]
            assert said[1].blocked_by == "facts"
            assert asker.delivered == []

    async def test_a_hook_for_inbound_sees_only_what_came_from_outside(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), AIChannel("ai", MockAIProvider(["fine"])))
            seen: dict[str, list[str]] = {"in": [], "out": []}

            @kit.hook(BEFORE, directions={ChannelDirection.INBOUND})
            async def incoming(event: RoomEvent, context: RoomContext) -> HookResult:
                seen["in"].append(text(event))
                return HookResult.allow()

            @kit.hook(BEFORE, directions={ChannelDirection.OUTBOUND})
            async def outgoing(event: RoomEvent, context: RoomContext) -> HookResult:
                seen["out"].append(text(event))
                return HookResult.allow()

            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert seen == {"in": ["hi"], "out": ["fine"]}


class TestEffects:
    """What a gate wants done besides, whether the event passes or not."""

    @pytest.mark.parametrize("action", ["allow", "block"])
    async def test_tasks_observations_and_injected_events(self, action: Any) -> None:
        async with RoomKit() as kit:
            asker, desk = SimpleChannel("a"), SimpleChannel("desk")
            await open_room(kit, asker, desk)

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult(
                    action=action,
                    reason="later",
                    tasks=[Task(id="t", room_id=ROOM, title="look")],
                    observations=[Observation(id="o", room_id=ROOM, channel_id="a", content="!")],
                    injected_events=[
                        InjectedEvent(
                            event=make_event(ROOM, "one moment"),
                            target_channel_ids=["a", "ghost"],
                        )
                    ],
                )

            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert [t.id for t in await kit.list_tasks(ROOM)] == ["t"]
            assert [o.id for o in await kit.list_observations(ROOM)] == ["o"]
            assert texts(asker.delivered) == ["one moment"]
            assert texts(desk.delivered) == (["hi"] if action == "allow" else [])
            assert [(text(e), e.index) for e in await messages(kit)] == [
                ("hi", 2),
                ("one moment", 3),
            ]

    @pytest.mark.parametrize("targets", [None, []])
    async def test_an_injected_event_without_targets_is_only_stored(
        self, targets: list[str] | None
    ) -> None:
        async with RoomKit() as kit:
            asker = SimpleChannel("a")
            await open_room(kit, asker)

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                note = InjectedEvent(event=make_event(ROOM, "note"), target_channel_ids=targets)
                return HookResult.allow([note])

            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert texts(await messages(kit)) == ["hi", "note"]
            assert asker.delivered == []

    async def test_an_injected_event_may_go_to_another_room(self) -> None:
        async with RoomKit() as kit:
            desk = SimpleChannel("desk")
            await open_room(kit, SimpleChannel("a"))
            await open_room(kit, desk, room_id="back-office")

            @kit.hook(BEFORE)
            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                alarm = make_event("back-office", "look at r")
                return HookResult.allow([InjectedEvent(event=alarm, target_channel_ids=["desk"])])

            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            await kit.drain()
            assert texts(await messages(kit)) == ["hi"]
            assert texts(await messages(kit, "back-office")) == ["look at r"]
            assert texts(desk.delivered) == ["look at r"]


class TestObservers:
    """Observers run after everything is delivered, and cannot spoil it."""

    async def test_answers_are_told_before_their_cause(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), AIChannel("ai", MockAIProvider(["fine"])))
            after = observe(kit, HookTrigger.AFTER_BROADCAST)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert [text(told.event) for told in after] == ["fine", "hi"]
            assert all(told.context.recent_events[-1].id == told.event.id for told in after)

    async def test_a_failing_observer_spoils_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)

            @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
            async def broken(event: RoomEvent, context: RoomContext) -> None:
                raise LookupError("lost")

            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert not result.blocked
            assert texts(other.delivered) == ["hi"]
            assert any(
                r.name == "roomkit.hooks" and "broken" in r.getMessage()
                for r in caplog.records
                if r.levelno == logging.ERROR
            )

    async def test_filters_by_channel_never_see_lifecycle_events(self) -> None:
        async with RoomKit() as kit:
            seen: list[RoomEvent] = []

            @kit.hook(HookTrigger.ON_CHANNEL_ATTACHED, HookExecution.ASYNC, channel_ids={"a"})
            async def hook(event: RoomEvent, context: RoomContext) -> None:
                seen.append(event)

            await open_room(kit, SimpleChannel("a"))
            assert seen == []


class TestRoomHooks:
    """Hooks of one room, by the kit."""

    async def test_added_and_removed(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await open_room(kit, SimpleChannel("b"), room_id="s")

            async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
                return HookResult.block("not here")

            kit.add_room_hook(ROOM, BEFORE, HookExecution.SYNC, gate, name="g")
            assert (await kit.process_inbound(inbound(), room_id=ROOM)).blocked
            other = await kit.process_inbound(inbound(channel_id="b"), room_id="s")
            assert not other.blocked
            assert kit.remove_room_hook(ROOM, "g")
            assert not kit.remove_room_hook(ROOM, "g")
            assert not (await kit.process_inbound(inbound(), room_id=ROOM)).blocked

    async def test_fail_closed(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))

            @kit.hook(BEFORE, fail_closed=True)
            async def vault(event: RoomEvent, context: RoomContext) -> HookResult:
                raise LookupError("no key")

            result = await kit.process_inbound(inbound(), room_id=ROOM)
            assert (result.blocked, result.reason) == (True, "hook_failed")
            assert result.event is not None
            assert result.event.blocked_by == "vault"
