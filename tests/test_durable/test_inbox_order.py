"""The inbox keeps one sender's messages in order, and lets different senders go side by side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.kits import ROOM, inbound, messages
from tests.test_durable._kits import Doorway, comes, idle, looked, said, until

if TYPE_CHECKING:
    from tests.test_durable._kits import World


class TestOrder:
    """Rows of one channel and sender enter their rooms in the order they were accepted."""

    async def test_a_slow_first_message_is_waited_for(self, world: World) -> None:
        """Nothing of the same sender overtakes it, not even at the door."""
        door = Doorway()
        go_on = door.hold("0")
        bodies = [str(number) for number in range(10)]
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            for body in bodies:
                await kit.accept(inbound(body), room_id=ROOM)
            await until(lambda: door.arrived)
            await looked(kit)
            assert door.arrived == ["0"]
            go_on.set()
            await comes(kit, *bodies)
            assert door.arrived == bodies

    async def test_more_than_one_claim_holds(self, world: World) -> None:
        """A long queue is taken in part by part, still in order."""
        front = world.kit(Doorway())
        await world.room(front, "a")
        bodies = [str(number) for number in range(65)]
        for body in bodies:
            await front.accept(inbound(body), room_id=ROOM)
        async with world.kit(Doorway()) as kit:
            await comes(kit, *bodies)
            await idle(kit)

    async def test_what_comes_meanwhile_goes_to_the_end(self, world: World) -> None:
        """A message accepted while earlier ones are in hand comes after them."""
        door = Doorway()
        go_on = door.hold("one")
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            await kit.accept(inbound("one"), room_id=ROOM)
            await until(lambda: door.arrived)
            await kit.accept(inbound("two"), room_id=ROOM)
            await looked(kit)
            assert door.arrived == ["one"]
            go_on.set()
            await comes(kit, "one", "two")

    async def test_over_rooms_too(self, world: World) -> None:
        """The order is the sender's, whatever rooms the messages are for."""
        door = Doorway()
        go_on = door.hold("one")
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            await world.room(kit, "a", room_id="s")
            await kit.accept(inbound("one"), room_id=ROOM)
            await kit.accept(inbound("two"), room_id="s")
            await until(lambda: door.arrived)
            await looked(kit)
            assert door.arrived == ["one"]
            go_on.set()
            await comes(kit, "two", room_id="s")


class TestSideBySide:
    """Nobody waits for a stranger's message."""

    async def test_another_sender(self, world: World) -> None:
        """Alice's message is held up at the door; Bob's goes in."""
        door = Doorway()
        go_on = door.hold("alice's")
        async with world.kit(door) as kit:
            await world.room(kit, "a")
            await kit.accept(inbound("alice's"), room_id=ROOM)
            await until(lambda: door.arrived)
            await kit.accept(inbound("bob's", sender="bob"), room_id=ROOM)
            await comes(kit, "bob's")
            go_on.set()
            await comes(kit, "bob's", "alice's")

    async def test_another_channel(self, world: World) -> None:
        """The same address on another channel is another sender."""
        first, second = Doorway("a"), Doorway("c")
        go_on = first.hold("one")
        async with world.kit(first, second) as kit:
            await world.room(kit, "a", "c")
            await kit.accept(inbound("one"), room_id=ROOM)
            await until(lambda: first.arrived)
            await kit.accept(inbound("two", "c"), room_id=ROOM)
            await comes(kit, "two")
            go_on.set()
            await comes(kit, "two", "one")

    async def test_more_senders_than_are_served_at_once(self, world: World) -> None:
        """All of a crowd get in, each in order, each once."""
        senders = [f"s{number}" for number in range(130)]
        front = world.kit(Doorway())
        await world.room(front, "a")
        for turn in range(2):
            for sender in senders:
                await front.accept(inbound(f"{sender} {turn}", sender=sender), room_id=ROOM)
        async with world.kit(Doorway()) as kit:
            await idle(kit)
            found = await messages(kit)
            heard: dict[str, list[str]] = {}
            for body in await said(kit):
                name, place = body.split()
                heard.setdefault(name, []).append(place)
            assert heard == {sender: ["0", "1"] for sender in senders}
            assert len(found) == 260


class TestTwoKits:
    """Started kits on one database share the work and double nothing."""

    async def test_each_message_once(self, world: World) -> None:
        """What one kit takes the other leaves alone, and each sender's order holds."""
        kits = [world.kit(Doorway()), world.kit(Doorway())]
        await world.room(kits[0], "a")
        for kit in kits:
            await kit.start()
        senders = [f"s{number}" for number in range(8)]

        async def accept(number: int) -> None:
            for turn in range(5):
                sender = senders[number]
                await kits[turn % 2].accept(
                    inbound(f"{sender} {turn}", sender=sender), room_id=ROOM
                )

        await asyncio.gather(*(accept(number) for number in range(len(senders))))
        await idle(kits[0])
        bodies = await said(kits[0])
        assert len(bodies) == 40
        for sender in senders:
            mine = [body for body in bodies if body.split()[0] == sender]
            assert mine == [f"{sender} {turn}" for turn in range(5)]
        taken = [(await kit.stats()).counters.get("taken_in", 0) for kit in kits]
        assert sum(taken) == 40

    async def test_both_get_some(self, world: World) -> None:
        """While one kit is held up with a sender, the other serves the rest."""
        doors = [Doorway(), Doorway()]
        kits = [world.kit(door) for door in doors]
        await world.room(kits[0], "a")
        held = [door.hold("held") for door in doors]
        for kit in kits:
            await kit.start()
        await kits[0].accept(inbound("held"), room_id=ROOM)
        await until(lambda: doors[0].arrived or doors[1].arrived)
        await kits[1].accept(inbound("behind"), room_id=ROOM)
        await kits[1].accept(inbound("free", sender="bob"), room_id=ROOM)
        await comes(kits[0], "free")
        for kit in kits:
            await looked(kit)
        arrived = doors[0].arrived + doors[1].arrived
        assert sorted(arrived) == ["free", "held"]
        for event in held:
            event.set()
        await comes(kits[0], "free", "held", "behind")
