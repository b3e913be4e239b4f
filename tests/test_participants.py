"""People in rooms: added by hand, identified by somebody's decision."""

from __future__ import annotations

import pytest

from roomkit import (
    HookTrigger,
    IdentificationStatus,
    Identity,
    IdentityNotFoundError,
    ManualClock,
    Participant,
    ParticipantNotFoundError,
    ParticipantRole,
    RoomKit,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import ROOM, Ears, observe, open_room, system


class TestEnsure:
    """Adding somebody twice is adding them once."""

    async def test_new_and_known(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await kit.create_room(ROOM)
            added = await kit.ensure_participant(ROOM, "a", "p", "Pat")
            assert (added.id, added.room_id, added.channel_id) == ("p", ROOM, "a")
            assert (added.display_name, added.joined_at) == ("Pat", clock.now())
            assert added.role == ParticipantRole.MEMBER
            assert added.identification == IdentificationStatus.PENDING
            again = await kit.ensure_participant(ROOM, "b", "p", "Other")
            assert (again.channel_id, again.display_name) == ("a", "Pat")
            assert await kit.get_timeline(ROOM) == []

    async def test_what_is_returned_is_the_callers_own(self) -> None:
        async with RoomKit() as kit:
            await kit.create_room(ROOM)
            mine = await kit.ensure_participant(ROOM, "a", "p", "Pat")
            mine.display_name = "Changed"
            known = await kit.store.get_participant(ROOM, "p")
            assert known is not None
            assert known.display_name == "Pat"


async def _pending(kit: RoomKit) -> None:
    await open_room(kit, SimpleChannel("a"))
    await kit.store.add_participant(
        Participant(
            id="p", room_id=ROOM, channel_id="a", display_name="?", candidates=["i-1", "i-2"]
        )
    )
    await kit.store.create_identity(Identity(id="i-1", display_name="Pat"))
    await kit.store.create_identity(Identity(id="i-3"))


class TestResolve:
    """A participant is linked to an identity; their own id stays."""

    async def test_fields(self) -> None:
        clock = ManualClock()
        async with RoomKit(clock=clock) as kit:
            await _pending(kit)
            await clock.advance(1)
            resolved = await kit.resolve_participant(ROOM, "p", "i-1")
            assert resolved.id == "p"
            assert resolved.identification == IdentificationStatus.IDENTIFIED
            assert (resolved.identity_id, resolved.display_name) == ("i-1", "Pat")
            assert (resolved.resolved_at, resolved.resolved_by) == (clock.now(), "manual")
            assert resolved.candidates is None
            assert await kit.store.get_participant(ROOM, "p") == resolved
            assert (await kit.get_binding(ROOM, "a")).participant_id == "i-1"

    async def test_a_nameless_identity_keeps_the_name(self) -> None:
        async with RoomKit() as kit:
            await _pending(kit)
            resolved = await kit.resolve_participant(ROOM, "p", "i-3", "agent-7")
            assert (resolved.display_name, resolved.resolved_by) == ("?", "agent-7")

    async def test_without_a_binding(self) -> None:
        async with RoomKit() as kit:
            await _pending(kit)
            await kit.detach_channel(ROOM, "a")
            assert (await kit.resolve_participant(ROOM, "p", "i-1")).identity_id == "i-1"
            assert await kit.list_bindings(ROOM) == []

    async def test_system_event_and_hook(self) -> None:
        async with RoomKit() as kit:
            await _pending(kit)
            told = observe(kit, HookTrigger.ON_PARTICIPANT_IDENTIFIED)
            ears = Ears(kit)
            await kit.resolve_participant(ROOM, "p", "i-1", "agent-7")
            event = (await kit.get_timeline(ROOM))[-1]
            assert event.type == "participant_identified"
            assert system(event) == (
                "participant_identified",
                {"participant_id": "p", "identity_id": "i-1", "resolved_by": "agent-7"},
            )
            assert system(told[0].event) == (
                "participant_identified",
                {"participant_id": "p", "identity_id": "i-1"},
            )
            assert len(told) == 1
            assert ears.heard == []

    async def test_errors_name_what_is_missing(self) -> None:
        async with RoomKit() as kit:
            await _pending(kit)
            with pytest.raises(ParticipantNotFoundError, match=r"Participant 'ghost'"):
                await kit.resolve_participant(ROOM, "ghost", "i-1")
            with pytest.raises(IdentityNotFoundError, match=r"Identity 'ghost'"):
                await kit.resolve_participant(ROOM, "p", "ghost")
            known = await kit.store.get_participant(ROOM, "p")
            assert known is not None
            assert known.identity_id is None
