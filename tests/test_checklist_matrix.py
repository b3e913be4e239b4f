"""Who gets a message, through a whole kit: access, mute, direction and visibility at once.

``test_router.py`` has the planner's own tables. Here a message goes all the way in, so that what
the engine reads back, stores and serves is judged by the same rules.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from roomkit import InboundMessage, RoomKit, TextContent
from roomkit.models.enums import Access, ChannelCategory, ChannelDirection
from roomkit.testing import SimpleChannel

_VISIBILITIES = {
    "all": {"phone", "bot"},
    "none": set(),
    "transport": {"phone"},
    "intelligence": {"bot"},
    "bot, elsewhere": {"bot"},
}


class Side(NamedTuple):
    """How one binding is set."""

    access: Access = Access.READ_WRITE
    muted: bool = False
    direction: ChannelDirection = ChannelDirection.BIDIRECTIONAL


SIDES = [Side(*values) for values in itertools.product(Access, (False, True), ChannelDirection)]


def may_say(side: Side) -> bool:
    """Return whether others hear what comes from there."""
    return not side.muted and side.access in (Access.READ_WRITE, Access.WRITE_ONLY)


def may_hear(side: Side) -> bool:
    """Return whether others are heard there; a muted side goes on listening."""
    return (
        side.access in (Access.READ_WRITE, Access.READ_ONLY)
        and side.direction != ChannelDirection.OUTBOUND
    )


class Stage:
    """A kit whose channels stand in as many rooms as there are cells."""

    def __init__(self) -> None:
        self.desk = SimpleChannel("desk")
        self.phone = SimpleChannel("phone")
        self.bot = SimpleChannel("bot", category=ChannelCategory.INTELLIGENCE)
        self.kit = RoomKit()
        for channel in (self.desk, self.phone, self.bot):
            self.kit.register_channel(channel)

    async def play(self, source: Side, target: Side, visibility: str) -> set[str]:
        """Send one message in a room of its own; return who got it."""
        room = (await self.kit.create_room()).id
        await self._attach(room, "desk", source, visibility)
        await self._attach(room, "phone", target)
        await self._attach(room, "bot", target)
        message = InboundMessage(
            channel_id="desk", sender_id="ann", content=TextContent(body="hello")
        )
        result = await self.kit.process_inbound(message, room_id=room)
        assert not result.blocked
        got = {"phone": self.phone.delivered, "bot": self.bot.received}
        return {name for name, events in got.items() if room in {e.room_id for e in events}}

    async def _attach(
        self, room: str, channel_id: str, side: Side, visibility: str = "all"
    ) -> None:
        await self.kit.attach_channel(
            room,
            channel_id,
            access=side.access,
            visibility=visibility,
            muted=side.muted,
            direction=side.direction,
        )


@pytest.mark.parametrize("visibility", list(_VISIBILITIES))
class TestMatrix:
    """Each cell is a room; a refused one is still accepted and stored, it only reaches nobody."""

    async def test_every_way_a_target_can_be_set(self, visibility: str) -> None:
        """Access and direction shut a target out; muting it does not."""
        stage = Stage()
        async with stage.kit:
            for target in SIDES:
                wanted = _VISIBILITIES[visibility] if may_hear(target) else set()
                assert await stage.play(Side(), target, visibility) == wanted, target

    async def test_every_way_a_source_can_be_set(self, visibility: str) -> None:
        """Access and muting silence a source; its direction does not."""
        stage = Stage()
        async with stage.kit:
            for source in SIDES:
                wanted = _VISIBILITIES[visibility] if may_say(source) else set()
                assert await stage.play(source, Side(), visibility) == wanted, source
