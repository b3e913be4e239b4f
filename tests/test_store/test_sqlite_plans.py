"""No question an SQLite store is asked makes it read through a table."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

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
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing.builders import make_binding, make_event

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_connect = sqlite3.connect

# Indexes that hold nothing but open work, dead letters or what a purge may remove: to read
# through them is to read what was asked for. The workers are as many as there are processes.
WHOLE = re.compile(
    r"SCAN (CONSTANT ROW|json_each|\(subquery-\d+\))"
    r"|SCAN workers$"
    r"|SCAN (\w+) USING (COVERING )?INDEX (deliveries|inbox)_(open|dead|ready|ended)$"
)


async def _everything(store: SQLiteStore) -> None:
    """Ask a store everything it can be asked, but for lists of all rooms."""
    await _rooms(store)
    await _timeline(store)
    await _people(store)
    await _work(store)
    await store.delete_room("r")


async def _rooms(store: SQLiteStore) -> None:
    now = datetime.now(UTC)
    timers = RoomTimers(inactive_after_seconds=1, last_activity_at=now)
    room = Room(id="r", organization_id="o", timers=timers)
    await store.create_room(room)
    await store.open_room(
        RoomClaim("o", "c", "+1"), Room(id="s"), make_binding("c", "s"), [make_event("s")]
    )
    await store.update_room(room.with_metadata({"a": 1}, now))
    await store.find_rooms("o", "active")
    await store.find_rooms("o")
    await store.find_rooms(status="active", metadata_filter={"a": 1})
    for status in (None, "active"):
        await store.find_latest_room("ann", status=status)
        await store.find_latest_room("ann", "sms", status)
        await store.find_room_id_by_channel("c", status)
    for _ in range(2):
        await store.find_room_for("c", "+1", recipient_key="n", statuses=["active", "paused"])
    await store.find_due_rooms(now)
    await store.get_room("r")


async def _timeline(store: SQLiteStore) -> None:
    event = await store.add_event(make_event("r", idempotency_key="k"))
    await store.update_event(event.with_metadata(a=1))
    await store.list_events("r", 0, 10)
    await store.list_events("r", 0, 10, "all")
    await store.get_event(event.id)
    await store.check_idempotency("r", "k")
    await store.get_event_count("r")
    await store.find_event_by_key("r", "k")
    await store.find_event_by_channel_key("channel-1", "k")
    await store.mark_read("r", "c", event.id)
    await store.mark_read("r", "c", "unknown")
    await store.mark_all_read("r", "c")
    await store.get_unread_count("r", "c")
    await store.look("r", key="k")
    await store.look("r", key="other")
    await store.load_context("r", 10)
    await store.load_context("r", 100)


async def _people(store: SQLiteStore) -> None:
    await store.add_binding(make_binding("c", "r", participant_id="ann"))
    await store.update_binding(make_binding("c", "r"))
    await store.get_binding("r", "c")
    await store.list_bindings("r")
    await store.remove_binding("r", "c")
    ann = Participant(id="ann", room_id="r", channel_id="c")
    await store.add_participant(ann)
    await store.update_participant(ann)
    await store.get_participant("r", "ann")
    await store.list_participants("r")
    await store.create_identity(Identity(id="i", channel_addresses={"sms": ["+1"]}))
    await store.link_address("i", "sms", "+2")
    await store.resolve_identity("sms", "+2")
    await store.get_identity("i")
    task = Task(id="t", room_id="r", title="x")
    await store.add_task(task)
    await store.update_task(task)
    await store.get_task("t")
    await store.list_tasks("r")
    await store.list_tasks("r", "pending")
    await store.add_observation(Observation(id="o", room_id="r", channel_id="c", content="x"))
    await store.list_observations("r")


async def _work(store: SQLiteStore) -> None:
    await store.beat("w", ["c"], instead_of="v")
    event = make_event("r", idempotency_key="l")
    plans = tuple(
        DeliveryPlan(f"d{n}", event.id, "c", DeliveryKind.DELIVER, claim=n < 2) for n in range(5)
    )
    await store.commit(
        CommitBatch("r", (event,), deliveries=plans, owner="w", activity_at=event.created_at)
    )

    def end(n: int, status: RecordStatus, owner: str | None = "w") -> DeliveryFinish:
        result = {"provider_message_id": f"m{n}"}
        kind = DeliveryKind.DELIVER
        return DeliveryFinish(f"d{n}", event.id, "c", kind, status, result, owner, room_id="r")

    batch = CommitBatch("r", target=event.deleted(), finishes=(end(0, RecordStatus.DEAD),))
    await store.commit(batch)
    await store.finish_deliveries([end(1, RecordStatus.PENDING), end(9, RecordStatus.DONE, None)])
    await store.claim_deliveries("x", ["c"])
    await store.claim_deliveries("x", ["c"], lanes=[("r", "c")])
    await store.load_delivery("r", event.id, "c")
    await store.find_event_by_provider_message_id("m0")
    await store.list_dead_letters(room_id="r", channel_id="c", kind="deliver")
    await store.retry_dead_letter("d0")
    await store.discard_dead_letter("d0")
    await store.release_deliveries("x", ["d1"], 0)
    await store.expire_deliveries(0)
    row = InboxRow("0" * 32, "c", "ann", "key", "{}")
    await store.accept(row, replace=True)
    await store.accept(row, replace=True)
    await store.claim_inbox("w", ["c"])
    await store.finish_inbox("w", row.id, RecordStatus.PENDING)
    await store.claim_inbox("w", ["c"])
    await store.finish_inbox("w", row.id, RecordStatus.DEAD)
    await store.release_inbox("w")
    await store.retire("w")
    await store.work_stats()
    await store.purge(datetime(2999, 1, 1, tzinfo=UTC))


async def test_every_question_has_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan of each statement of each call searches by an index."""
    asked: set[str] = set()

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = _connect(*args, **kwargs)
        connection.set_trace_callback(asked.add)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        asked.clear()
        await _everything(store)
    questions = [sql for sql in asked if sql.startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))]
    assert len(questions) > 100
    with closing(_connect(tmp_path / "rooms.db")) as looked:
        for sql in questions:
            for *_, step in looked.execute(f"EXPLAIN QUERY PLAN {sql}"):
                assert not step.startswith("SCAN") or WHOLE.match(step), f"{step}: {sql}"


async def test_rooms_leave_by_indexes(tmp_path: Path) -> None:
    """Every table that a room's removal reaches finds its rows by an index."""
    path = tmp_path / "rooms.db"
    async with SQLiteStore(path):
        pass
    with closing(_connect(path)) as looked:
        tables = [
            row[0] for row in looked.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        keys = [
            (table, row[3])
            for table in tables
            for row in looked.execute("SELECT * FROM pragma_foreign_key_list(?)", (table,))
        ]
        assert len(keys) >= 9
        for table, column in keys:
            indexes = looked.execute("SELECT name, partial FROM pragma_index_list(?)", (table,))
            first = [
                looked.execute("SELECT name FROM pragma_index_info(?)", (name,)).fetchone()[0]
                for name, partial in indexes.fetchall()
                if not partial
            ]
            assert column in first, f"{table}.{column}"
