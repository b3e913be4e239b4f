"""What a store says about the history of ``tests.support.golden``, as plain JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.models.enums import RoomStatus
from tests.support.golden import SENT_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import BaseModel

    from roomkit.models.event import RoomEvent
    from roomkit.store.durable import DurableStore

MANY = 1000


def _plain(models: Iterable[BaseModel]) -> list[dict[str, Any]]:
    return [model.model_dump(mode="json") for model in models]


def _id(event: RoomEvent | None) -> str | None:
    return event.id if event is not None else None


async def golden_log(store: DurableStore) -> dict[str, Any]:
    """Return everything that does not depend on when the history was written."""
    rooms = await store.list_rooms(limit=MANY)
    return {
        "rooms": [await _room(store, room.id) for room in rooms],
        "identities": _plain(
            one for one in [await store.get_identity(name) for name in ("ana", "bob")] if one
        ),
        "found": await _found(store),
        "dead_letters": sorted(
            (
                {
                    "id": letter.id,
                    "kind": letter.kind,
                    "channel_id": letter.channel_id,
                    "room_id": letter.room_id,
                    "event_id": letter.event_id,
                    "attempts": letter.attempts,
                    "error": letter.error,
                }
                for letter in await store.list_dead_letters(limit=MANY)
            ),
            key=lambda letter: str(letter["id"]),
        ),
        "work": await _work(store),
    }


async def _room(store: DurableStore, room_id: str) -> dict[str, Any]:
    room = await store.get_room(room_id)
    assert room is not None
    bindings = await store.list_bindings(room_id)
    return {
        "room": room.model_dump(mode="json"),
        "events": _plain(await store.list_events(room_id, limit=MANY)),
        "bindings": _plain(bindings),
        "participants": _plain(await store.list_participants(room_id)),
        "tasks": _plain(await store.list_tasks(room_id)),
        "observations": _plain(await store.list_observations(room_id)),
        "unread": {
            binding.channel_id: await store.get_unread_count(room_id, binding.channel_id)
            for binding in bindings
        },
    }


async def _found(store: DurableStore) -> dict[str, Any]:
    """Return the answers of the side tables and indexes."""
    latest = await store.find_latest_room("person-1", status="active")
    ana = await store.resolve_identity("sms", "+15550100")
    bob = await store.resolve_identity("email", "bob@example.com")
    sent = await store.find_event_by_provider_message_id(SENT_ID)
    return {
        "by_sender": {
            status: await store.find_room_for(
                "sms", "+15550100", recipient_key="phone_number", statuses=[status]
            )
            for status in RoomStatus
        },
        "by_anybody": await store.find_room_for(
            "mail", "a@example.com", recipient_key="email_address", statuses=["active"]
        ),
        "latest": latest and latest.id,
        "by_channel": await store.find_room_id_by_channel("web", "paused"),
        "by_metadata": [room.id for room in await store.find_rooms("acme", None, {"number": 1})],
        "resolved": [ana and ana.id, bob and bob.id],
        "by_key": _id(await store.find_event_by_key("golden-talk", "key-1")),
        "by_channel_key": _id(await store.find_event_by_channel_key("sms", "key-2")),
        "sent": sent and [sent[0].id, sent[1]],
    }


async def _work(store: DurableStore) -> dict[str, Any]:
    stats = await store.work_stats()
    return {
        name: {"depth": queue.depth, "attempts": queue.attempts, "dead": queue.dead}
        for name, queue in (("deliveries", stats.deliveries), ("inbox", stats.inbox))
    }


def differences(golden: object, found: object, path: str = "") -> Iterator[str]:
    """Yield where what was found is not what it was; what newer releases add does not count."""
    if isinstance(golden, dict) and isinstance(found, dict):
        for key, value in golden.items():
            if key not in found:
                yield f"{path}.{key}: missing"
            else:
                yield from differences(value, found[key], f"{path}.{key}")
    elif isinstance(golden, list) and isinstance(found, list):
        if len(golden) != len(found):
            yield f"{path}: {len(found)} items instead of {len(golden)}"
        for number, (one, other) in enumerate(zip(golden, found, strict=False)):
            yield from differences(one, other, f"{path}[{number}]")
    elif golden != found:
        yield f"{path}: {found!r} instead of {golden!r}"
