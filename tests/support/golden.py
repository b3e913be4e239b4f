"""A small history with everything a database can hold, always the same.

``fill`` writes it through the public calls of a durable store; ``scripts/make_fixture.py`` keeps
what the database then holds, and later releases must still read it. Never change what an
existing release wrote: add to it, and make the fixture of the next schema.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from roomkit.models.channel import ChannelBinding, ChannelCapabilities, RateLimit, RetryPolicy
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import (
    Access,
    ChannelCategory,
    ChannelMediaType,
    ChannelType,
    EventStatus,
    EventType,
    IdentificationStatus,
    ParticipantRole,
    ParticipantStatus,
    RoomStatus,
    TaskStatus,
)
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers
from roomkit.models.task import Observation, Task
from roomkit.store.commit import (
    CommitBatch,
    DeliveryFinish,
    DeliveryKind,
    DeliveryPlan,
    RecordStatus,
    RoomClaim,
)
from roomkit.store.durable import InboxRow

if TYPE_CHECKING:
    from roomkit.models.event import EventContent
    from roomkit.store.durable import DurableStore

TALK, WORK, CLAIMED = "golden-talk", "golden-work", "golden-claimed"
CLAIM = RoomClaim("acme", "sms", "+15550101")
WORKER = "worker-of-the-past"
MORNING = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SENT_ID = "SM-golden-1"
PERSON = "person-1"

CONTENTS: tuple[EventContent, ...] = (
    TextContent(body="Grüße, 世界 🌍 'quoted' \"twice\" \\ and\nlines", language="de"),
    RichContent(body="**bold**", plain_text="bold", buttons=[{"id": "yes"}], quick_replies=["no"]),
    MediaContent(url="https://media.example/cat.png", mime_type="image/png", size_bytes=12),
    LocationContent(latitude=-33.5, longitude=151.25, label="Harbour"),
    AudioContent(url="https://media.example/hi.ogg", duration_seconds=1.5, transcript="hi"),
    VideoContent(url="https://media.example/v.mp4", thumbnail_url="https://media.example/v.png"),
    SystemContent(body="noted", code="noted", data={"deep": {"list": [1, 2.5, None, True]}}),
    TemplateContent(template_id="welcome", parameters={"name": "Ana"}, body="Welcome, Ana"),
    CompositeContent(parts=[TextContent(body="one"), TextContent(body="two")]),
)
VISIBILITIES = ("all", "none", "internal", "transport", "intelligence", "sms,web")


def at(seconds: float) -> datetime:
    """Return a moment of that day."""
    return MORNING + timedelta(seconds=seconds)


def work_id(name: str) -> str:
    """Return 32 hexadecimal digits for a name."""
    return name.encode().hex().ljust(32, "0")


def record_id(event_id: str, channel_id: str, kind: DeliveryKind = DeliveryKind.DELIVER) -> str:
    """Return the id the engine of this release gives to a delivery."""
    return f"{event_id}.{channel_id}.{kind.value}"


def event(number: int, room_id: str = TALK, **fields: Any) -> RoomEvent:
    """Return the event of a number, the same each time."""
    source = EventSource(
        channel_id="sms",
        channel_type=ChannelType.SMS,
        participant_id="person-1",
        external_id=f"in-{room_id}-{number}",
        provider="twilio",
        raw_payload={"Body": "raw"},
    )
    values: dict[str, Any] = {
        "id": work_id(f"{room_id[7:]}-{number}"),
        "room_id": room_id,
        "source": source,
        "content": TextContent(body=f"message {number}"),
        "status": EventStatus.DELIVERED,
        "idempotency_key": f"key-{room_id}-{number}",
        "created_at": at(number),
    }
    return RoomEvent(**{**values, **fields})


def bindings(room_id: str) -> list[ChannelBinding]:
    """Return a room's channels of every kind."""
    common: dict[str, Any] = {"room_id": room_id, "attached_at": at(0)}
    return [
        ChannelBinding(
            channel_id="sms",
            channel_type=ChannelType.SMS,
            metadata={"phone_number": "+1 (555) 0100"},
            rate_limit=RateLimit(max_per_second=5.0),
            retry_policy=RetryPolicy(max_retries=2),
            **common,
        ),
        ChannelBinding(
            channel_id="web",
            channel_type=ChannelType.WEBSOCKET,
            participant_id=PERSON,
            capabilities=ChannelCapabilities(
                media_types=[ChannelMediaType.TEXT, ChannelMediaType.RICH], supports_edit=True
            ),
            last_read_index=1,
            **common,
        ),
        ChannelBinding(
            channel_id="mail",
            channel_type=ChannelType.EMAIL,
            access=Access.READ_ONLY,
            muted=True,
            visibility="transport",
            **common,
        ),
        ChannelBinding(
            channel_id="ai",
            channel_type=ChannelType.AI,
            category=ChannelCategory.INTELLIGENCE,
            **common,
        ),
    ]


def participants(room_id: str) -> list[Participant]:
    """Return one person for each status, with every role and identification in turn."""
    roles, statuses = itertools.cycle(ParticipantRole), list(ParticipantStatus)
    return [
        Participant(
            id=f"person-{number}",
            room_id=room_id,
            channel_id="sms",
            display_name=f"Person {number}",
            role=next(roles),
            status=statuses[number % len(statuses)],
            identification=identification,
            identity_id="ana" if identification is IdentificationStatus.IDENTIFIED else None,
            candidates=["ana", "bob"]
            if identification is IdentificationStatus.AMBIGUOUS
            else None,
            joined_at=at(number),
            metadata={"number": number},
        )
        for number, identification in enumerate(IdentificationStatus, start=1)
    ]


async def fill(store: DurableStore) -> None:
    """Write the whole history into an empty, open store."""
    await _identities(store)
    await _rooms(store)
    await _talk(store)
    await _deliveries(store)
    await _inbox(store)


async def _identities(store: DurableStore) -> None:
    await store.create_identity(
        Identity(
            id="ana",
            organization_id="acme",
            display_name="Ana",
            channel_addresses={"sms": ["+15550100"]},
            external_ids={"crm": "7"},
        )
    )
    await store.create_identity(Identity(id="bob", metadata={"vip": True}))
    await store.link_address("bob", "email", "bob@example.com")


async def _rooms(store: DurableStore) -> None:
    """One room of each status with a few events, and one that was opened for a claim."""
    for number, status in enumerate(RoomStatus):
        room = Room(
            id=f"golden-{status.value}",
            organization_id="acme" if number % 2 else None,
            status=status,
            created_at=at(number),
            updated_at=at(number),
            closed_at=None if number < 2 else at(100),
            timers=RoomTimers(inactive_after_seconds=10**9, closed_after_seconds=2 * 10**9),
            metadata={"tier": "gold", "number": number},
        )
        await store.create_room(room)
        for channel in bindings(room.id)[:2]:
            await store.add_binding(channel)
        for place in range(number):
            await store.add_event(event(place, room.id))
    room = Room(id=CLAIMED, organization_id="acme", created_at=at(10), updated_at=at(10))
    channel = bindings(CLAIMED)[0]
    first = event(0, CLAIMED, type=EventType.SYSTEM, content=SystemContent(body="opened"))
    assert (await store.open_room(CLAIM, room, channel, [first])).created


async def _talk(store: DurableStore) -> None:
    """A conversation with events of each type, status, content and visibility."""
    await store.create_room(Room(id=TALK, created_at=at(11), updated_at=at(11)))
    everybody = bindings(TALK)
    gone = ChannelBinding(
        channel_id="gone", room_id=TALK, channel_type=ChannelType.PUSH, attached_at=at(0)
    )
    await store.add_binding(gone)
    await store.commit(
        CommitBatch(
            TALK,
            participants=tuple(participants(TALK)),
            bindings=tuple(everybody),
            removed_bindings=("gone",),
        )
    )
    statuses, contents = itertools.cycle(EventStatus), itertools.cycle(CONTENTS)
    visibilities = itertools.cycle(VISIBILITIES)
    number = 0
    for kind in EventType:
        if kind in (EventType.EDIT, EventType.DELETE):
            continue
        status = next(statuses)
        new = event(
            number,
            type=kind,
            status=status,
            blocked_by="the gate" if status is EventStatus.BLOCKED else None,
            content=next(contents),
            visibility=next(visibilities),
            chain_depth=number % 3,
            parent_event_id=event(number - 1).id if number else None,
            correlation_id="thread-1" if number % 2 else None,
            idempotency_key=f"key-{number}" if number % 4 else None,
            metadata={"number": number, "text": "ünïcode"},
            channel_data=ChannelData(provider="twilio", thread_id="t-1", extra={"a": [1]}),
        )
        await store.commit(CommitBatch(TALK, events=(new,), activity_at=new.created_at))
        number += 1
    await _changes(store, number)
    await _people(store)


async def _changes(store: DurableStore, number: int) -> None:
    """An edit, a delete, and what became of deliveries."""
    stored = await store.list_events(TALK, limit=1000)
    edited = next(one for one in stored if isinstance(one.content, TextContent))
    words = TextContent(body="what I meant")
    edit = EditContent(target_event_id=edited.id, new_content=words, edit_source="sender")
    await store.commit(
        CommitBatch(
            TALK,
            events=(event(number, type=EventType.EDIT, content=edit),),
            target=edited.edited(words),
        )
    )
    deleted = stored[5]
    delete = DeleteContent(target_event_id=deleted.id, reason="a mistake")
    await store.commit(
        CommitBatch(
            TALK,
            events=(event(number + 1, type=EventType.DELETE, content=delete),),
            target=deleted.deleted(),
        )
    )
    sent = {"status": "sent", "provider_message_id": SENT_ID, "attempts": 1}
    failed = {"status": "failed", "error": "rate_limit", "attempts": 3}
    await store.finish_deliveries(
        [
            _finish(edited, "sms", RecordStatus.DONE, result=sent),
            _finish(edited, "web", RecordStatus.DEAD, result=failed),
        ]
    )


async def _people(store: DurableStore) -> None:
    """Tasks of each status, observations and read markers."""
    for number, status in enumerate(TaskStatus):
        task = Task(
            id=work_id(f"task-{number}"),
            room_id=TALK,
            title=f"Task {number}",
            description="call back",
            assigned_to="bob",
            created_at=at(200 + number),
            metadata={"due": "today"},
        )
        await store.add_task(task)
        await store.update_task(Task(**{**task.model_dump(), "status": status}))
    for number in range(2):
        await store.add_observation(
            Observation(
                id=work_id(f"seen-{number}"),
                room_id=TALK,
                channel_id="ai",
                content="is in a hurry",
                category="mood",
                confidence=0.25 + number / 2,
                created_at=at(300 + number),
            )
        )
    events = await store.list_events(TALK, limit=1000)
    await store.mark_read(TALK, "web", events[3].id)
    await store.mark_all_read(TALK, "mail")


def _finish(of: RoomEvent, channel_id: str, status: RecordStatus, **fields: Any) -> DeliveryFinish:
    kind = fields.pop("kind", DeliveryKind.DELIVER)
    delivery = record_id(of.id, channel_id, kind)
    return DeliveryFinish(delivery, of.id, channel_id, kind, status, room_id=of.room_id, **fields)


def _plan(
    of: RoomEvent,
    channel_id: str,
    *,
    kind: DeliveryKind = DeliveryKind.DELIVER,
    direct: bool = False,
) -> DeliveryPlan:
    return DeliveryPlan(record_id(of.id, channel_id, kind), of.id, channel_id, kind, direct)


async def _deliveries(store: DurableStore) -> None:
    """Records of each status: done, skipped, dead, waiting for a retry, claimed, unclaimed."""
    await store.create_room(Room(id=WORK, created_at=at(12), updated_at=at(12)))
    for channel in bindings(WORK):
        await store.add_binding(channel)
    await store.beat(WORKER, ("sms", "web", "mail", "ai"))
    places = {
        "done": "sms",
        "skipped": "web",
        "dead": "mail",
        "retry": "sms",
        "behind": "sms",
        "claimed": "web",
    }
    events = {name: event(number, WORK) for number, name in enumerate(places)}
    for name, channel_id in places.items():
        one = events[name]
        plans = [_plan(one, channel_id)]
        if name in ("dead", "claimed"):
            plans.append(_plan(one, "ai", kind=DeliveryKind.REACT))
        await store.commit(CommitBatch(WORK, events=(one,), deliveries=tuple(plans), owner=WORKER))
    nobody = event(len(places), WORK)
    plan = _plan(nobody, "web", direct=True)
    await store.commit(CommitBatch(WORK, events=(nobody,), deliveries=(plan,)))
    owned: dict[str, Any] = {"owner": WORKER, "attempts": 1}
    done = {"status": "sent", "provider_message_id": "SM-golden-2", "attempts": 1}
    dead = {"status": "failed", "error": "unreachable", "attempts": 1}
    await store.finish_deliveries(
        [
            _finish(events["done"], "sms", RecordStatus.DONE, result=done, **owned),
            _finish(
                events["skipped"],
                "web",
                RecordStatus.SKIPPED,
                result={"status": "skipped", "error": "detached"},
                **owned,
            ),
            _finish(
                events["dead"],
                "mail",
                RecordStatus.DEAD,
                result=dead,
                error="unreachable",
                **owned,
            ),
            _finish(
                events["dead"],
                "ai",
                RecordStatus.DEAD,
                kind=DeliveryKind.REACT,
                error="model_gone",
                **owned,
            ),
            _finish(
                events["retry"],
                "sms",
                RecordStatus.PENDING,
                error="rate_limit",
                retry_in=5.0,
                **owned,
            ),
        ]
    )


def inbox_row(name: str, sender: str) -> InboxRow:
    """Return an accepted message as a kit of this release writes it."""
    message = InboundMessage(
        channel_id="sms",
        sender_id=sender,
        content=TextContent(body=f"accepted: {name}"),
        idempotency_key=f"inbox-{name}",
        external_id=f"ext-{name}",
        metadata={"name": name},
    )
    text = message.model_dump_json()
    payload = f'{{"message":{text},"room_id":"{WORK}","organization_id":null}}'
    return InboxRow(work_id(f"i-{name}"), "sms", sender, f"inbox-{name}", payload)


async def _inbox(store: DurableStore) -> None:
    """Rows of each status: done with its event, dead, claimed, waiting."""
    for name, sender in (("done", "a"), ("dead", "b"), ("claimed", "c"), ("behind", "c")):
        await store.accept(inbox_row(name, sender))
    await store.claim_inbox(WORKER, ("sms",))
    await store.commit(
        CommitBatch(
            WORK,
            events=(event(100, WORK, idempotency_key="inbox-done"),),
            inbox_id=work_id("i-done"),
            owner=WORKER,
        )
    )
    await store.finish_inbox(WORKER, work_id("i-dead"), RecordStatus.DEAD, error="not_found")
    await store.accept(inbox_row("waiting", "d"), delay=5.0)
