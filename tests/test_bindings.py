"""Channels in rooms: attached, changed and detached, each with its event and hook."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit import (
    Access,
    AIChannel,
    ChannelBinding,
    ChannelCapabilities,
    ChannelCategory,
    ChannelDirection,
    ChannelNotFoundError,
    ChannelNotRegisteredError,
    ChannelOutput,
    ChannelType,
    EventType,
    HookTrigger,
    InvalidMetadataError,
    ManualClock,
    MockAIProvider,
    Observation,
    RateLimit,
    RetryPolicy,
    RoomContext,
    RoomEvent,
    RoomKit,
    RoomNotFoundError,
    Task,
)
from roomkit.testing import SimpleChannel, reply
from tests.support.kits import ROOM, Ears, inbound, messages, observe, open_room, system, texts


async def last(kit: RoomKit) -> tuple[str, str | None, dict[str, Any]]:
    """Return type, code and data of the room's last event, a system event of ours."""
    event = (await kit.get_timeline(ROOM))[-1]
    assert event.source.channel_id == "system"
    assert event.source.channel_type == ChannelType.SYSTEM
    assert (event.status, event.visibility) == ("delivered", "internal")
    assert event.index == (await kit.get_room(ROOM)).latest_index
    return event.type, *system(event)


class TestAttach:
    """A binding is what the channel says of itself, and what the caller adds."""

    async def test_from_the_channel(self) -> None:
        clock = ManualClock()
        capabilities = ChannelCapabilities(max_length=7)
        async with RoomKit(clock=clock) as kit:
            channel = SimpleChannel("a", ChannelType.SMS, capabilities=capabilities)
            await open_room(kit, channel)
            binding = await kit.get_binding(ROOM, "a")
            assert binding == ChannelBinding(
                channel_id="a",
                room_id=ROOM,
                channel_type=ChannelType.SMS,
                capabilities=capabilities,
                attached_at=clock.now(),
            )

    async def test_an_ai_is_an_intelligence(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, AIChannel("ai", MockAIProvider()))
            assert (await kit.get_binding(ROOM, "ai")).category == ChannelCategory.INTELLIGENCE
            given = await kit.attach_channel(ROOM, "ai", category=ChannelCategory.TRANSPORT)
            assert given.category == ChannelCategory.TRANSPORT

    async def test_from_the_caller(self) -> None:
        async with RoomKit() as kit:
            await kit.create_room(ROOM)
            kit.register_channel(SimpleChannel("a"))
            options: dict[str, Any] = {
                "metadata": {"phone_number": "+1555"},
                "direction": ChannelDirection.INBOUND,
                "muted": True,
                "participant_id": "p",
                "rate_limit": RateLimit(max_per_second=2),
                "retry_policy": RetryPolicy(max_retries=1),
            }
            binding = await kit.attach_channel(
                ROOM,
                "a",
                ChannelType.MMS,
                ChannelCategory.INTELLIGENCE,
                Access.READ_ONLY,
                "transport",
                **options,
            )
            assert binding.channel_type == ChannelType.MMS
            assert binding.category == ChannelCategory.INTELLIGENCE
            assert (binding.access, binding.visibility) == (Access.READ_ONLY, "transport")
            assert {name: getattr(binding, name) for name in options} == options
            assert await kit.get_binding(ROOM, "a") == binding

    async def test_event_hook_and_framework_event(self) -> None:
        async with RoomKit() as kit:
            told = observe(kit, HookTrigger.ON_CHANNEL_ATTACHED)
            await open_room(kit, SimpleChannel("a"), access=Access.READ_ONLY, visibility="none")
            data = {"channel_id": "a", "access": "read_only", "visibility": "none"}
            assert await last(kit) == ("channel_attached", "channel_attached", data)
            assert type((await last(kit))[2]["access"]) is str
            [(event, context)] = told
            assert system(event) == ("channel_attached", data)
            assert [b.channel_id for b in context.bindings] == ["a"]

    async def test_again_replaces_and_tells_again(self) -> None:
        async with RoomKit() as kit:
            told = observe(kit, HookTrigger.ON_CHANNEL_ATTACHED)
            await open_room(kit, SimpleChannel("a"), metadata={"k": 1})
            await kit.mute(ROOM, "a")
            await kit.attach_channel(ROOM, "a")
            binding = await kit.get_binding(ROOM, "a")
            assert (binding.muted, binding.metadata) == (False, {})
            assert len(await kit.list_bindings(ROOM)) == 1
            assert len(told) == 2

    async def test_errors(self) -> None:
        async with RoomKit() as kit:
            with pytest.raises(RoomNotFoundError):
                await kit.attach_channel("nowhere", "ghost")
            await kit.create_room(ROOM)
            with pytest.raises(ChannelNotRegisteredError, match="ghost"):
                await kit.attach_channel(ROOM, "ghost")
            kit.register_channel(SimpleChannel("a"))
            with pytest.raises(TypeError):
                await kit.attach_channel(ROOM, "a", capabilities=ChannelCapabilities())
            with pytest.raises(InvalidMetadataError):
                await kit.attach_channel(ROOM, "a", metadata={"x": object()})
            assert await kit.list_bindings(ROOM) == []
            assert await kit.get_timeline(ROOM) == []

    async def test_unknown_options_are_ignored(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), colour="red")
            assert not hasattr(await kit.get_binding(ROOM, "a"), "colour")

    async def test_order(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, *(SimpleChannel(name) for name in "cab"))
            assert [b.channel_id for b in await kit.list_bindings(ROOM)] == ["c", "a", "b"]
            assert await kit.list_bindings("nowhere") == []

    async def test_what_is_returned_is_the_callers_own(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            (await kit.attach_channel(ROOM, "a")).muted = True
            (await kit.get_binding(ROOM, "a")).muted = True
            (await kit.list_bindings(ROOM))[0].muted = True
            assert not (await kit.get_binding(ROOM, "a")).muted


class TestDetach:
    """A detached channel hears nothing more."""

    async def test_it(self) -> None:
        async with RoomKit() as kit:
            told = observe(kit, HookTrigger.ON_CHANNEL_DETACHED)
            other = SimpleChannel("b")
            await open_room(kit, SimpleChannel("a"), other)
            assert await kit.detach_channel(ROOM, "b")
            assert await last(kit) == (
                "channel_detached",
                "channel_detached",
                {"channel_id": "b"},
            )
            assert [system(t.event) for t in told] == [("channel_detached", {"channel_id": "b"})]
            await kit.process_inbound(inbound(), room_id=ROOM)
            assert other.delivered == []
            with pytest.raises(ChannelNotFoundError, match="'b'"):
                await kit.get_binding(ROOM, "b")

    async def test_what_is_not_there(self) -> None:
        async with RoomKit() as kit:
            await kit.create_room(ROOM)
            ears = Ears(kit)
            assert not await kit.detach_channel(ROOM, "a")
            assert not await kit.detach_channel("nowhere", "a")
            assert ears.heard == []
            assert await kit.get_timeline(ROOM) == []


class TestChanges:
    """Each change is stored with a system event that says what changed."""

    async def test_mute_and_unmute(self) -> None:
        async with RoomKit() as kit:
            muted = observe(kit, HookTrigger.ON_CHANNEL_MUTED)
            unmuted = observe(kit, HookTrigger.ON_CHANNEL_UNMUTED)
            await open_room(kit, SimpleChannel("a"))
            assert (await kit.mute(ROOM, "a")).muted
            assert await last(kit) == ("channel_muted", "channel_muted", {"channel_id": "a"})
            assert not (await kit.unmute(ROOM, "a")).muted
            assert await last(kit) == ("channel_unmuted", "channel_unmuted", {"channel_id": "a"})
            assert [system(t.event)[0] for t in muted] == ["channel_muted"]
            assert [system(t.event)[0] for t in unmuted] == ["channel_unmuted"]

    async def test_visibility(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            assert (await kit.set_visibility(ROOM, "a", "b,c")).visibility == "b,c"
            assert await last(kit) == (
                "channel_updated",
                "channel_visibility_changed",
                {"channel_id": "a", "old_visibility": "all", "visibility": "b,c"},
            )

    async def test_access(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            assert (await kit.set_access(ROOM, "a", Access.NONE)).access == Access.NONE
            assert await last(kit) == (
                "channel_updated",
                "channel_access_changed",
                {"channel_id": "a", "old_access": "read_write", "access": "none"},
            )

    async def test_metadata(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"), metadata={"x": 1, "y": 2})
            binding = await kit.update_binding_metadata(ROOM, "a", {"y": 3, "z": 4})
            assert binding.metadata == {"x": 1, "y": 3, "z": 4}
            assert await last(kit) == (
                "channel_updated",
                "channel_metadata_updated",
                {"channel_id": "a", "keys": ["y", "z"]},
            )

    async def test_an_equal_value_is_told_as_well(self) -> None:
        async with RoomKit() as kit:
            await open_room(kit, SimpleChannel("a"))
            await kit.unmute(ROOM, "a")
            await kit.set_access(ROOM, "a", Access.READ_WRITE)
            assert [event.type for event in await kit.get_timeline(ROOM)] == [
                EventType.CHANNEL_ATTACHED,
                EventType.CHANNEL_UNMUTED,
                EventType.CHANNEL_UPDATED,
            ]

    @pytest.mark.parametrize(
        ("method", "arguments"),
        [
            ("mute", ()),
            ("unmute", ()),
            ("set_visibility", ("all",)),
            ("set_access", (Access.NONE,)),
            ("update_binding_metadata", ({},)),
            ("get_binding", ()),
        ],
    )
    async def test_a_missing_binding(self, method: str, arguments: tuple[Any, ...]) -> None:
        async with RoomKit() as kit:
            await kit.create_room(ROOM)
            with pytest.raises(ChannelNotFoundError, match=r"'a'.*'r'"):
                await getattr(kit, method)(ROOM, "a", *arguments)


class TestMuted:
    """A muted channel hears everything and says nothing; what it leaves is kept."""

    async def test_a_muted_source_reaches_nobody(self) -> None:
        async with RoomKit() as kit:
            other = SimpleChannel("b")
            ears = Ears(kit)
            await open_room(kit, SimpleChannel("a"), other)
            await kit.mute(ROOM, "a")
            result = await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert result.event is not None
            assert (result.blocked, result.event.status) == (False, "delivered")
            assert other.delivered == []
            assert len(ears.of("event_processed")) == 1

    async def test_a_muted_target_is_delivered_to_and_keeps_its_effects(self) -> None:
        def answer(
            event: RoomEvent, binding: ChannelBinding, context: RoomContext
        ) -> ChannelOutput:
            return ChannelOutput(
                responded=True,
                response_events=reply(event, binding, "unheard").response_events,
                tasks=[Task(id="t", room_id=ROOM, title="x")],
                observations=[Observation(id="o", room_id=ROOM, channel_id="b", content="y")],
            )

        async with RoomKit() as kit:
            target = SimpleChannel("b", react_script=[answer])
            await open_room(kit, SimpleChannel("a"), target)
            await kit.mute(ROOM, "b")
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert (texts(target.received), texts(target.delivered)) == (["hi"], ["hi"])
            assert texts(await messages(kit)) == ["hi"]
            assert [task.id for task in await kit.list_tasks(ROOM)] == ["t"]
            assert [o.id for o in await kit.list_observations(ROOM)] == ["o"]


class TestObservers:
    """An intelligence that may only read hears everything; its answers reach nobody."""

    async def test_read_only(self) -> None:
        async with RoomKit() as kit:
            side = SimpleChannel("b")
            bot = SimpleChannel(
                "bot",
                ChannelType.AI,
                category=ChannelCategory.INTELLIGENCE,
                react_script=["I think..."],
            )
            await open_room(kit, SimpleChannel("a"), side)
            kit.register_channel(bot)
            await kit.attach_channel(ROOM, "bot", access=Access.READ_ONLY)
            await kit.process_inbound(inbound("hi"), room_id=ROOM)
            assert texts(bot.received) == ["hi"]
            assert texts(side.delivered) == ["hi"]
            assert texts(await messages(kit)) == ["hi", "I think..."]
