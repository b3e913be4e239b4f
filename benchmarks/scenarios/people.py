"""Rooms full of people, and finding out who somebody is."""

from __future__ import annotations

import itertools

from benchmarks.floors import MessageFloor
from benchmarks.measure import race
from benchmarks.model import Figure, check, scenario
from benchmarks.worlds import Room, message
from roomkit import RoomKit
from roomkit.identity.mock import MockIdentityResolver
from roomkit.models.enums import IdentificationStatus
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.store.commit import CommitBatch

CALLS = 1200
PEOPLE = 1000


async def _crowded(people: int) -> Room:
    room = await Room.make()
    members = tuple(
        Participant(id=f"person-{number}", room_id="room", channel_id="ws")
        for number in range(people)
    )
    await room.kit.store.commit(CommitBatch(room_id="room", participants=members))
    return room


@scenario("members", "message in a room of 1,000 participants", target=70.0)
async def members() -> Figure:
    """A message to a crowd."""
    room, fresh = await _crowded(PEOPLE), await _crowded(10)
    spent, small, floor = await race(CALLS, room.say, fresh.say, MessageFloor())
    await room.verify()
    check(len(await room.kit.store.list_participants("room")) == PEOPLE, "people were lost")
    return Figure(spent, floor, small)


async def _identifying(people: int) -> Room:
    known = {f"s{n}": Identity(id=f"person-{n}") for n in range(people)}
    room = await Room.make(kit=RoomKit(identity_resolver=MockIdentityResolver(known)))
    joined = tuple(
        Participant(
            id=identity.id,
            room_id="room",
            channel_id="ws",
            identification=IdentificationStatus.IDENTIFIED,
            identity_id=identity.id,
        )
        for identity in known.values()
    )
    await room.kit.store.commit(CommitBatch(room_id="room", participants=joined))
    return room


@scenario("identity", "identity, 1,000 known senders", target=60.0)
async def identity() -> Figure:
    """Messages of people the resolver knows and the room has."""
    room, fresh = await _identifying(PEOPLE), await _identifying(10)
    turns = itertools.count()

    async def speak(room: Room, people: int) -> None:
        number = next(turns) % people
        result = await room.kit.process_inbound(message(f"s{number}"))
        room.said += 1
        event = result.event
        check(
            event is not None and event.source.participant_id == f"person-{number}",
            "the sender was not identified",
        )

    spent, small, floor = await race(
        CALLS, lambda: speak(room, PEOPLE), lambda: speak(fresh, 10), MessageFloor()
    )
    await room.verify()
    return Figure(spent, floor, small)
