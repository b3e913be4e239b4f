"""Which room a message from outside finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roomkit.core.inbound_router import DefaultInboundRoomRouter, InboundRoomRouter
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import ChannelCategory, ChannelType, RoomStatus
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.store.memory import InMemoryStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Rooms:
    """A store, and short ways to fill it; rooms are a minute apart in age."""

    def __init__(self) -> None:
        self.store = InMemoryStore()
        self.count = 0

    async def add(
        self,
        room_id: str,
        channel_id: str | None = "sms",
        *,
        status: RoomStatus = RoomStatus.ACTIVE,
        channel_type: ChannelType = ChannelType.SMS,
        member: str | None = None,
        participant_id: str | None = None,
        category: ChannelCategory = ChannelCategory.TRANSPORT,
        names: dict[str, str] | None = None,
    ) -> None:
        self.count += 1
        at = NOON + timedelta(minutes=self.count)
        await self.store.create_room(Room(id=room_id, status=status, created_at=at))
        if channel_id is not None:
            await self.store.add_binding(
                ChannelBinding(
                    channel_id=channel_id,
                    room_id=room_id,
                    channel_type=channel_type,
                    category=category,
                    participant_id=participant_id,
                    metadata=names or {},
                )
            )
        if member is not None:
            await self.store.add_participant(
                Participant(id=member, room_id=room_id, channel_id=channel_id or "x")
            )


@pytest.fixture
def rooms() -> Rooms:
    """An empty store."""
    return Rooms()


async def route(
    rooms: Rooms,
    sender: str | None,
    channel_id: str = "sms",
    channel_type: ChannelType = ChannelType.SMS,
    **options: Any,
) -> str | None:
    """Return where the default router sends a message."""
    router = DefaultInboundRoomRouter(rooms.store, **options)
    return await router.route(channel_id, channel_type, participant_id=sender)


class TestByChannel:
    """First the rooms that have the channel."""

    async def test_the_room_that_has_the_channel(self, rooms: Rooms) -> None:
        await rooms.add("other", "mail")
        await rooms.add("right")
        assert await route(rooms, "+15550001") == "right"

    async def test_of_several_the_oldest(self, rooms: Rooms) -> None:
        await rooms.add("first")
        await rooms.add("second")
        assert await route(rooms, "+15550001") == "first"

    @pytest.mark.parametrize("sender", [None, "", "+15550001"])
    async def test_none_for_an_unknown_channel(self, rooms: Rooms, sender: str | None) -> None:
        await rooms.add("other", "mail")
        assert await route(rooms, sender) is None

    @pytest.mark.parametrize("status", [s for s in RoomStatus if s is not RoomStatus.ACTIVE])
    async def test_only_active_rooms_match(self, rooms: Rooms, status: RoomStatus) -> None:
        await rooms.add("r", status=status, member="+15550001")
        assert await route(rooms, "+15550001") is None


class TestPersons:
    """A binding that names somebody is for that person only."""

    async def test_two_people_who_write_to_one_number_do_not_meet(self, rooms: Rooms) -> None:
        await rooms.add("anna", names={"phone_number": "+15550001"})
        await rooms.add("ben", names={"phone_number": "+15550002"})
        assert await route(rooms, "+15550002") == "ben"
        assert await route(rooms, "+15550001") == "anna"
        assert await route(rooms, "+15550003") is None

    async def test_addresses_are_compared_normalised(self, rooms: Rooms) -> None:
        await rooms.add("anna", names={"phone_number": "+1 (555) 000-1"})
        assert await route(rooms, " +15550001") == "anna"

    async def test_the_own_room_goes_before_an_older_one_for_everybody(self, rooms: Rooms) -> None:
        await rooms.add("lobby")
        await rooms.add("anna", names={"phone_number": "+15550001"})
        assert await route(rooms, "+15550001") == "anna"
        assert await route(rooms, "+15550002") == "lobby"

    async def test_a_binding_for_a_participant(self, rooms: Rooms) -> None:
        await rooms.add("anna", "ws", channel_type=ChannelType.WEBSOCKET, participant_id="Anna")
        found = [await route(rooms, p, "ws", ChannelType.WEBSOCKET) for p in ("anna", "ben", None)]
        assert found == ["anna", None, None]

    async def test_an_intelligence_binding_names_nobody(self, rooms: Rooms) -> None:
        await rooms.add(
            "r",
            "bot",
            channel_type=ChannelType.AI,
            category=ChannelCategory.INTELLIGENCE,
            participant_id="bot",
        )
        assert await route(rooms, "anna", "bot", ChannelType.AI) == "r"

    @pytest.mark.parametrize(
        ("channel_type", "key"),
        [
            (ChannelType.SMS, "phone_number"),
            (ChannelType.MMS, "phone_number"),
            (ChannelType.RCS, "phone_number"),
            (ChannelType.WHATSAPP, "phone_number"),
            (ChannelType.WHATSAPP_PERSONAL, "phone_number"),
            (ChannelType.EMAIL, "email_address"),
            (ChannelType.MESSENGER, "facebook_user_id"),
            (ChannelType.TEAMS, "teams_conversation_id"),
            (ChannelType.WEBHOOK, "recipient_id"),
        ],
    )
    async def test_where_each_channel_type_names_its_person(
        self, rooms: Rooms, channel_type: ChannelType, key: str
    ) -> None:
        await rooms.add("anna", "c", channel_type=channel_type, names={key: "anna"})
        assert await route(rooms, "anna", "c", channel_type) == "anna"
        assert await route(rooms, "ben", "c", channel_type) is None

    async def test_a_channels_own_key_goes_before_the_table(self, rooms: Rooms) -> None:
        await rooms.add("anna", names={"fax": "anna", "phone_number": "ben"})
        keys = {"sms": "fax"}
        found = [await route(rooms, p, recipient_key_of=keys.get) for p in ("anna", "ben")]
        assert found == ["anna", None]

    async def test_a_channel_without_a_key_is_for_everybody(self, rooms: Rooms) -> None:
        await rooms.add("r", names={"phone_number": "anna"})
        assert await route(rooms, "ben", recipient_key_of=lambda channel_id: None) == "r"


class TestBySender:
    """Then the sender's newest room with such a channel."""

    async def test_the_newest_room_of_the_sender(self, rooms: Rooms) -> None:
        await rooms.add("old", "mine", member="anna")
        await rooms.add("new", "mine", member="anna")
        await rooms.add("foreign", "mine", member="ben")
        assert await route(rooms, "anna") == "new"

    async def test_a_binding_counts_only_with_the_same_channel_type(self, rooms: Rooms) -> None:
        mail = ChannelType.EMAIL
        await rooms.add("mail", "mine", channel_type=mail, participant_id="anna")
        assert await route(rooms, "anna") is None
        await rooms.add("sms", "my-sms", participant_id="anna")
        assert await route(rooms, "anna") == "sms"

    async def test_not_without_a_sender(self, rooms: Rooms) -> None:
        """Nobody is not a person, even where a room has a member without a name."""
        await rooms.add("r", "mine", member="")
        assert await route(rooms, None) is None
        assert await route(rooms, "") is None

    async def test_a_plain_string_is_a_channel_type_too(self, rooms: Rooms) -> None:
        await rooms.add("r", "mine", member="anna")
        router = DefaultInboundRoomRouter(rooms.store)
        assert await router.route("sms", "sms", "anna") == "r"  # type: ignore[arg-type]


class TestPausedRooms:
    """With ``resume_paused_rooms`` a paused room matches, after the active ones."""

    async def test_a_paused_room_matches_when_wanted(self, rooms: Rooms) -> None:
        await rooms.add("r", status=RoomStatus.PAUSED)
        assert await route(rooms, "anna", resume_paused_rooms=True) == "r"

    async def test_an_active_one_goes_first(self, rooms: Rooms) -> None:
        await rooms.add("paused", status=RoomStatus.PAUSED)
        await rooms.add("active")
        assert await route(rooms, "anna", resume_paused_rooms=True) == "active"

    async def test_also_by_sender_and_active_first(self, rooms: Rooms) -> None:
        await rooms.add("active", "mine", member="anna")
        await rooms.add("paused", "mine", status=RoomStatus.PAUSED, member="anna")
        await rooms.add("bens", "mine", status=RoomStatus.PAUSED, member="ben")
        found = [await route(rooms, p, resume_paused_rooms=True) for p in ("anna", "ben")]
        assert found == ["active", "bens"]

    @pytest.mark.parametrize("status", [RoomStatus.CLOSED, RoomStatus.ARCHIVED])
    async def test_closed_rooms_never_match(self, rooms: Rooms, status: RoomStatus) -> None:
        await rooms.add("r", status=status, member="anna")
        assert await route(rooms, "anna", resume_paused_rooms=True) is None


class TestInterface:
    """A router of one's own implements ``route``."""

    def test_the_base_cannot_be_used_alone(self) -> None:
        with pytest.raises(TypeError):
            InboundRoomRouter()  # type: ignore[abstract]
