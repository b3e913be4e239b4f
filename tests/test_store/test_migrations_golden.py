"""Databases of earlier releases: each still tells the same, and a kit goes on with it.

The files in `tests/data` are made by `scripts/make_fixture.py`, one set for each schema.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from roomkit import RoomKit
from roomkit.exceptions import SchemaTooNewError
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import (
    ChannelCategory,
    ChannelType,
    EventStatus,
    EventType,
    RoomStatus,
    TaskStatus,
)
from roomkit.models.room import Room
from roomkit.store._sql.migrate_postgres import apply_postgres
from roomkit.store._sql.migrate_sqlite import apply_sqlite
from roomkit.store._sql.migrations import TABLE, Migration, load
from roomkit.store.commit import (
    CommitBatch,
    DeliveryFinish,
    DeliveryKind,
    DeliveryPlan,
    RecordStatus,
)
from roomkit.store.postgres import PostgresStore
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import ManualClock, SimpleChannel
from tests.support.durable_memory import DurableMemoryStore
from tests.support.golden import (
    CLAIM,
    CLAIMED,
    CONTENTS,
    MORNING,
    TALK,
    VISIBILITIES,
    WORK,
    bindings,
    event,
    fill,
    record_id,
)
from tests.support.golden_log import differences, golden_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from roomkit.store.durable import DurableStore

    type Opened = Callable[[str], AbstractAsyncContextManager[DurableStore]]

DATA = Path(__file__).resolve().parents[1] / "data"
SCHEMAS = sorted(path.stem.removeprefix("schema_") for path in DATA.glob("schema_*.json"))
PATIENCE = 20.0

each_schema = pytest.mark.parametrize("schema", SCHEMAS)


def golden(schema: str) -> dict[str, Any]:
    """Return what was said about a database of that schema when it was made."""
    data: dict[str, Any] = json.loads((DATA / f"schema_{schema}.json").read_text("utf-8"))
    return data


def golden_room(schema: str, room_id: str) -> dict[str, Any]:
    """Return the part about one room."""
    (room,) = [one for one in golden(schema)["rooms"] if one["room"]["id"] == room_id]
    return dict(room)


def restore_sqlite(schema: str, path: Path) -> None:
    """Make a file as that release left it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / f"schema_{schema}.sqlite.sql").read_text("utf-8"))


def of_postgres(schema: str) -> tuple[list[tuple[str, str]], str]:
    """Return the labels and checksums of that release's migrations, and its rows as SQL."""
    text = (DATA / f"schema_{schema}.postgres.sql").read_text("utf-8")
    words = [line.split() for line in text.splitlines() if line.startswith("-- migration ")]
    return [(label, checksum) for *_, label, checksum in words], text


async def restore_postgres(schema: str, dsn: str) -> None:
    """Make a database as that release left it."""
    migrations, text = of_postgres(schema)
    connection = await asyncpg.connect(dsn)
    try:
        await apply_postgres(connection, migrations=load("postgres")[: len(migrations)])
        await connection.execute(text)
    finally:
        await connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens a store on a restored database of a schema."""
    dsn = request.getfixturevalue("postgres_dsn") if request.param == "postgres" else ""

    @asynccontextmanager
    async def restored(schema: str) -> AsyncIterator[DurableStore]:
        store: DurableStore
        if dsn:
            await restore_postgres(schema, dsn)
            store = PostgresStore(dsn)
        else:
            restore_sqlite(schema, tmp_path / "old.db")
            store = SQLiteStore(tmp_path / "old.db")
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    return restored


async def idle(kit: RoomKit) -> None:
    """Return when nothing is left to be delivered or taken in."""
    async with asyncio.timeout(PATIENCE):
        while True:
            stats = await kit.stats()
            if not stats.deliveries.depth and not stats.inbox.depth:
                return
            await asyncio.sleep(0.02)


@each_schema
class TestEachSchema:
    async def test_the_rooms_tell_what_they_told(self, opened: Opened, schema: str) -> None:
        """Timelines, people, work: nothing is lost or changed by later migrations."""
        async with opened(schema) as store:
            assert list(differences(golden(schema), await golden_log(store))) == []

    async def test_a_kit_goes_on_with_it(self, opened: Opened, schema: str) -> None:
        """New messages follow the old ones, repeats are known, what was left is done."""
        sms = SimpleChannel("sms", ChannelType.SMS, recipient_key="phone_number")
        web, mail = SimpleChannel("web"), SimpleChannel("mail", ChannelType.EMAIL)
        ai = SimpleChannel(
            *("ai", ChannelType.AI), category=ChannelCategory.INTELLIGENCE, react_script=[None]
        )
        async with opened(schema) as store:
            kit = RoomKit(store=store)
            for channel in (sms, web, mail, ai):
                kit.register_channel(channel)
            async with kit:
                await idle(kit)
                self._what_was_left_is_done(schema, sms, web, ai)
                await self._new_messages_follow(kit, schema)
                letters = {letter.id for letter in await kit.list_dead_letters()}
                assert letters == {letter["id"] for letter in golden(schema)["dead_letters"]}
                assert await kit.retry_dead_letter(record_id(event(2, WORK).id, "mail"))
                await idle(kit)
                assert event(2, WORK).id in [one.id for one in mail.delivered]
                claimed = await store.open_room(CLAIM, Room(id="x"), bindings("x")[0])
                assert (claimed.room_id, claimed.created) == (CLAIMED, False)

    @staticmethod
    def _what_was_left_is_done(
        schema: str, sms: SimpleChannel, web: SimpleChannel, ai: SimpleChannel
    ) -> None:
        """Deliveries and accepted messages of the process that is gone, in order."""
        old = {row["id"] for row in golden_room(schema, WORK)["events"]}
        assert [one.id for one in sms.delivered if one.id in old] == [
            event(number, WORK).id for number in (3, 4)
        ]
        assert [one.id for one in web.delivered if one.id in old] == [
            event(number, WORK).id for number in (5, 6)
        ]
        assert [one.id for one in ai.received if one.id in old] == [event(5, WORK).id]
        taken_in = [
            one.content.body
            for one in web.delivered
            if one.id not in old and isinstance(one.content, TextContent)
        ]
        assert sorted(taken_in) == ["accepted: behind", "accepted: claimed", "accepted: waiting"]
        assert taken_in.index("accepted: claimed") < taken_in.index("accepted: behind")

    @staticmethod
    async def _new_messages_follow(kit: RoomKit, schema: str) -> None:
        """The next index, and a repeat of an old key gets the first event."""
        message = InboundMessage(
            channel_id="sms", sender_id="+15550100", content=TextContent(body="and now?")
        )
        old = golden_room(schema, TALK)["events"]
        result = await kit.process_inbound(message, room_id=TALK)
        assert result.event is not None
        assert (result.blocked, result.event.index) == (False, len(old))
        repeat = await kit.process_inbound(
            InboundMessage(
                channel_id="sms",
                sender_id="+15550100",
                content=TextContent(body="again"),
                idempotency_key="key-1",
            ),
            room_id=TALK,
        )
        assert repeat.event is not None
        assert (repeat.reason, repeat.event.id) == ("duplicate", old[1]["id"])

    def test_no_migration_of_the_release_was_changed(self, schema: str) -> None:
        """On PostgreSQL; for SQLite opening the restored file already tells."""
        migrations, _ = of_postgres(schema)
        ours = [(one.label, one.checksum) for one in load("postgres")[: len(migrations)]]
        assert migrations == ours

    def test_the_history_holds_everything(self, schema: str) -> None:
        """Rooms of each status, events of each type, status, content and visibility."""
        log = golden(schema)
        events = golden_room(schema, TALK)["events"]
        assert {room["room"]["status"] for room in log["rooms"]} == {*RoomStatus}
        assert {one["type"] for one in events} == {*EventType}
        assert {one["status"] for one in events} == {*EventStatus}
        assert {one["visibility"] for one in events} == {*VISIBILITIES}
        kinds = {one["content"]["type"] for one in events}
        assert kinds == {*(content.type for content in CONTENTS), "edit", "delete"}
        assert {one["status"] for one in golden_room(schema, TALK)["tasks"]} == {*TaskStatus}
        assert {letter["kind"] for letter in log["dead_letters"]} == {"deliver", "react", "inbox"}

    def test_every_table_of_the_file_holds_rows(self, schema: str, tmp_path: Path) -> None:
        """A table nobody has filled would prove nothing."""
        restore_sqlite(schema, tmp_path / "old.db")
        with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            assert [
                name
                for (name,) in names.fetchall()
                if not connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            ] == []

    async def test_every_table_of_the_server_holds_rows(
        self, schema: str, postgres_dsn: str
    ) -> None:
        """The same on PostgreSQL."""
        await restore_postgres(schema, postgres_dsn)
        connection = await asyncpg.connect(postgres_dsn)
        try:
            names = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
            assert {
                row["tablename"]
                for row in names
                if not await connection.fetchval(f'SELECT count(*) FROM "{row["tablename"]}"')
            } == set()
            assert await connection.fetchval(f"SELECT count(*) FROM {TABLE}")
        finally:
            await connection.close()


class TestTheNewest:
    def test_there_is_one(self) -> None:
        """Else nothing above would have run."""
        assert "0001" in SCHEMAS

    def test_it_is_of_the_present_schema(self) -> None:
        """Whoever adds a migration runs `scripts/make_fixture.py`."""
        migrations, _ = of_postgres(SCHEMAS[-1])
        assert [label for label, _ in migrations] == [one.label for one in load("postgres")]
        lite = (DATA / f"schema_{SCHEMAS[-1]}.sqlite.sql").read_text("utf-8")
        assert all(migration.checksum in lite for migration in load("sqlite"))

    @pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
    async def test_each_store_writes_the_same_history(
        self, kind: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        """What is kept is what the present release writes."""
        store: DurableStore
        if kind == "memory":
            store = DurableMemoryStore(ManualClock(MORNING))
        elif kind == "sqlite":
            store = SQLiteStore(tmp_path / "new.db", clock=ManualClock(MORNING))
        else:
            store = PostgresStore(request.getfixturevalue("postgres_dsn"))
        await store.open()
        try:
            await fill(store)
            found = await golden_log(store)
        finally:
            await store.close()
        kept = golden(SCHEMAS[-1])
        assert [*differences(kept, found), *differences(found, kept)] == []


class TestRollOut:
    """Release n has migrated a database that processes of n-1 are using."""

    SQL = "CREATE TABLE later (id text);\nALTER TABLE rooms ADD COLUMN later text DEFAULT 'x';"

    async def test_a_running_process_goes_on_and_a_new_one_is_refused_sqlite(
        self, tmp_path: Path
    ) -> None:
        """What runs is not disturbed; what starts is told to upgrade."""
        path = tmp_path / "shared.db"
        async with SQLiteStore(path) as store:
            await self._talk(store, 0)
            known = load("sqlite")
            with closing(sqlite3.connect(path)) as connection:
                newer = Migration(len(known) + 1, "later", self.SQL)
                assert apply_sqlite(connection, migrations=[*known, newer]) == [newer]
            await self._talk(store, 1)
            with pytest.raises(SchemaTooNewError, match="upgrade roomkit"):
                await SQLiteStore(path).open()
            await self._talk(store, 2)

    async def test_a_running_process_goes_on_and_a_new_one_is_refused_postgres(
        self, postgres_dsn: str
    ) -> None:
        """The same on a server, with its cached statements and functions."""
        async with PostgresStore(postgres_dsn) as store:
            await self._talk(store, 0)
            known = load("postgres")
            connection = await asyncpg.connect(postgres_dsn)
            try:
                newer = Migration(len(known) + 1, "later", self.SQL)
                assert await apply_postgres(connection, migrations=[*known, newer]) == [newer]
            finally:
                await connection.close()
            await self._talk(store, 1)
            with pytest.raises(SchemaTooNewError, match="upgrade roomkit"):
                await PostgresStore(postgres_dsn).open()
            await self._talk(store, 2)

    @staticmethod
    async def _talk(store: DurableStore, turn: int) -> None:
        """Use every kind of call: a room, a commit with work, claims, finishes, reads."""
        room_id = f"golden-turn-{turn}"
        await store.create_room(Room(id=room_id, metadata={"turn": turn}))
        await store.add_binding(bindings(room_id)[0])
        said = event(0, room_id)
        plan = DeliveryPlan(f"{said.id}.sms.deliver", said.id, "sms", DeliveryKind.DELIVER)
        await store.beat("w", ("sms",))
        result = await store.commit(CommitBatch(room_id, events=(said,), deliveries=(plan,)))
        assert [one.index for one in result.events] == [0]
        claimed = await store.claim_deliveries("w", ("sms",))
        assert [record.id for record in claimed] == [plan.id]
        done = RecordStatus.DONE
        finish = DeliveryFinish(plan.id, said.id, "sms", DeliveryKind.DELIVER, done, owner="w")
        await store.finish_deliveries([finish])
        assert (await store.work_stats()).deliveries.depth == 0
        room = await store.get_room(room_id)
        assert room is not None
        assert (room.event_count, room.metadata) == (1, {"turn": turn})
        assert len(await store.list_rooms()) == turn + 1
        assert [one.id for one in await store.find_rooms(None, "active", {"turn": turn})] == [
            room_id
        ]
