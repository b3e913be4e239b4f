"""No question to PostgreSQL reads a whole table."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from roomkit._ids import new_id
from roomkit.models.room import Room
from roomkit.store.commit import (
    CommitBatch,
    DeliveryFinish,
    DeliveryKind,
    DeliveryPlan,
    RecordStatus,
    RoomClaim,
)
from roomkit.store.durable import InboxRow
from roomkit.store.postgres import PostgresStore
from roomkit.testing.builders import make_binding, make_event

_LARGE = (
    "rooms",
    "events",
    "bindings",
    "participants",
    "room_names",
    "room_claims",
    "sent_messages",
    "deliveries",
    "inbox",
)
_SCANS = """\
SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY ($1) AND seq_scan > 0"""

_LOOKUPS = """\
SELECT relname FROM pg_stat_user_tables WHERE relname = ANY ($1) AND idx_scan > 0"""
_OPEN = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'roomkit'"

# 10,000 rooms, each with a customer of its own on one channel, events, work done and work to do.
_FILL = """\
INSERT INTO rooms (id, status, created_at, version, members_version, edits_version, doc,
    event_count)
SELECT 'room-' || n, 'active', now(), 1, 1, 1, jsonb_build_object('id', 'room-' || n,
    'metadata', jsonb_build_object('n', n), 'timers', '{}'::jsonb,
    'created_at', '2026-01-01T00:00:00Z', 'updated_at', '2026-01-01T00:00:00Z'), 1
FROM generate_series(1, 10000) AS n;
INSERT INTO events (id, room_id, index, key, channel_id, visibility, version, doc)
SELECT 'event-' || n, 'room-' || n, 0, 'key-' || n, 'sms', 'all', 1, $doc$
    {"id": "x", "room_id": "r", "source": {"channel_id": "sms", "channel_type": "sms"},
     "content": {"type": "text", "body": "x"}}$doc$::jsonb
FROM generate_series(1, 10000) AS n;
INSERT INTO bindings (room_id, channel_id, room_seq, room_status, room_created_at, channel_type,
    named_by, shape, doc)
SELECT id, 'sms', seq, status, created_at, 'sms', '{number}', md5('number'), '{}' FROM rooms;
INSERT INTO participants (room_id, id, room_seq, room_status, room_created_at, doc)
SELECT id, 'person-' || seq, seq, status, created_at, '{}' FROM rooms;
INSERT INTO room_names (room_id, channel_id, key, name, room_seq, room_status)
SELECT id, 'sms', 'number', md5(id), seq, status FROM rooms;
INSERT INTO room_claims (claim, room_id) SELECT md5(id), id FROM rooms;
INSERT INTO sent_messages (message_id, event_id, channel_id)
SELECT 'sent-' || id, id, 'sms' FROM events;
INSERT INTO deliveries (id, room_id, event_id, channel_id, kind, direct, status, owner, ended_at)
SELECT 'delivery-' || n, 'room-' || n, 'event-' || n, 'sms', 'deliver', false,
    CASE WHEN n % 20 = 0 THEN 'pending' WHEN n % 20 = 1 THEN 'dead' ELSE 'done' END,
    CASE WHEN n % 40 = 0 THEN NULL ELSE 'gone' END,
    CASE WHEN n % 20 = 0 THEN NULL ELSE now() - (20000 - n) * interval '1 second' END
FROM generate_series(1, 10000) AS n;
INSERT INTO inbox (id, channel_id, sender_id, key, payload, status, ended_at)
SELECT 'row-' || n, 'sms', 'sender-' || n % 500, 'key-' || n, '{}',
    CASE WHEN n % 20 = 0 THEN 'pending' ELSE 'done' END,
    CASE WHEN n % 20 = 0 THEN NULL ELSE now() - (20000 - n) * interval '1 second' END
FROM generate_series(1, 10000) AS n"""


async def _converse(store: PostgresStore) -> None:
    """Do once what a message, a customer's first contact and a timer ask of a store."""
    await store.create_room(Room(id="mine"))
    await store.add_binding(make_binding("sms", room_id="mine", metadata={"number": "+1"}))
    await store.look("mine", key="k")
    event = make_event(room_id="mine", idempotency_key="k")
    plan = DeliveryPlan(new_id(), event.id, "sms", DeliveryKind.DELIVER)
    await store.commit(CommitBatch("mine", (event,), deliveries=(plan,), owner="w"))
    result = {"provider_message_id": "m"}
    done = DeliveryFinish(
        plan.id, event.id, "sms", plan.kind, RecordStatus.DONE, result, owner="w"
    )
    await store.finish_deliveries([done])
    await store.open_room(RoomClaim(None, "sms", "+2"), Room(id="new"), make_binding("sms"))
    assert (
        await store.find_room_for("sms", "+1", recipient_key="number", statuses=["active"])
        == "mine"
    )
    for key in ("number", "other", None):
        await store.find_room_for("sms", "+3", recipient_key=key, statuses=["active", "paused"])
    assert await store.find_room_id_by_channel("sms", "active") == "room-1"
    assert await store.find_latest_room("person-7") is not None
    assert await store.find_latest_room("nobody", "sms", "active") is None
    assert [room.id for room in await store.find_rooms(metadata_filter={"n": 7})] == ["room-7"]
    await store.find_due_rooms(datetime.now(UTC))
    assert await store.find_event_by_channel_key("sms", "key-5") is not None
    assert await store.find_event_by_provider_message_id("m") is not None
    await store.list_events("room-1")
    await store.list_events("room-1", visibility_filter="internal")
    await store.mark_read("mine", "sms", event.id)
    assert await store.get_unread_count("mine", "sms") == 0
    await store.load_delivery("mine", event.id, "sms")
    await store.delete_room("mine")


async def _work(store: PostgresStore) -> None:
    """Do once what a worker asks of a store."""
    await store.beat("w", ["sms"])
    assert len(await store.claim_deliveries("w", ["sms"], limit=50)) == 50
    await store.release_deliveries("w", [], 0.0)
    await store.expire_deliveries(1e9)
    await store.accept(InboxRow(new_id(), "sms", "me", "mine", "{}"))
    row = (await store.claim_inbox("w", ["sms"], limit=10))[0]
    await store.finish_inbox("w", row.id, RecordStatus.PENDING)
    await store.release_inbox("w")
    assert len(await store.list_dead_letters(limit=20)) == 20
    assert await store.list_dead_letters(room_id="room-21") != []
    await store.work_stats()
    assert await store.purge(datetime(2020, 1, 1, tzinfo=UTC)) == 0
    await store.retire("w")


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "no statistics"])
async def test_no_large_table_is_scanned(postgres_dsn: str, analyzed: bool) -> None:
    """With 10,000 rows a table every road goes by an index, with or without statistics."""
    async with PostgresStore(postgres_dsn):
        pass
    watcher = await asyncpg.connect(postgres_dsn)
    try:
        await _no_analyze(watcher)
        await _fill(postgres_dsn, analyzed=analyzed)
        await watcher.execute("SELECT pg_stat_reset()")
        async with PostgresStore(postgres_dsn, min_size=1, max_size=1) as store:
            await _converse(store)
            await _work(store)
        # What the store's connections counted is told when they end.
        async with asyncio.timeout(20):
            while await watcher.fetchval(_OPEN):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        scans = {row["relname"] for row in await watcher.fetch(_SCANS, list(_LARGE))}
        assert scans == set()
        used = {row["relname"] for row in await watcher.fetch(_LOOKUPS, list(_LARGE))}
        assert used == set(_LARGE), "not every table was asked"
    finally:
        await watcher.close()


async def _no_analyze(watcher: asyncpg.Connection) -> None:
    """Keep the server from finding out by itself how large the tables are."""
    for table in _LARGE:
        await watcher.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")


async def _fill(dsn: str, *, analyzed: bool) -> None:
    """Fill the database by a connection that is gone, with all it counted, before the test."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_FILL)
        if analyzed:
            await connection.execute("ANALYZE")
        await connection.execute("SELECT pg_stat_force_next_flush()")
    finally:
        await connection.close()


_READ = """\
SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes
WHERE relname = ANY ($1)"""


async def test_plans_of_an_empty_database_serve_a_large_one(postgres_dsn: str) -> None:
    """A connection that knows the tables empty reads what it needs once they hold 10,000 rows."""
    watcher = await asyncpg.connect(postgres_dsn)
    try:
        async with PostgresStore(postgres_dsn, min_size=1, max_size=1) as store:
            await _no_analyze(watcher)  # first, for it makes connections plan anew
            for name in ("one", "two", "three"):
                await store.create_room(Room(id=name))
            for _ in range(2):
                await _speak(store)
            await _fill(postgres_dsn, analyzed=False)
            await watcher.execute("SELECT pg_stat_reset()")
            for _ in range(5):
                await _speak(store)
        async with asyncio.timeout(20):
            while await watcher.fetchval(_OPEN):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        assert 0 < await watcher.fetchval(_READ, list(_LARGE)) < 5000
    finally:
        await watcher.close()


async def _speak(store: PostgresStore) -> None:
    """Commit at once to three rooms, end what is owned, and claim and end what is not."""
    await store.beat("w", ["mail"])
    batches = []
    for name in ("one", "two", "three"):
        event = make_event(room_id=name, idempotency_key=new_id())
        plans = tuple(
            DeliveryPlan(new_id(), event.id, channel_id, DeliveryKind.DELIVER, claim=claim)
            for channel_id, claim in (("fax", True), ("mail", False))
        )
        batches.append(CommitBatch(name, (event,), deliveries=plans, owner="w"))
    await asyncio.gather(*(store.commit(batch) for batch in batches))
    done = [
        DeliveryFinish(plan.id, plan.event_id, "fax", plan.kind, RecordStatus.DONE, {}, owner="w")
        for batch in batches
        for plan in batch.deliveries[:1]
    ]
    await store.finish_deliveries(done)
    claimed = await store.claim_deliveries("w", ["mail"], limit=10)
    assert len(claimed) == 3
    await store.finish_deliveries(
        [
            DeliveryFinish(
                record.id, record.event_id, "mail", record.kind, RecordStatus.DONE, {}, owner="w"
            )
            for record in claimed
        ]
    )
    await store.accept(InboxRow(new_id(), "mail", "me", new_id(), "{}"))
    (row,) = await store.claim_inbox("w", ["mail"])
    await store.finish_inbox("w", row.id, RecordStatus.DONE)
