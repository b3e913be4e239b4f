"""PostgresStore beyond the suites: round trips, several stores, and how it opens and closes."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from roomkit._ids import new_id
from roomkit.exceptions import (
    ConfigurationError,
    InvalidInputError,
    MissingDependencyError,
    StoreError,
    StoreUnavailableError,
)
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.event import RoomEvent

_SYNC = b"S\x00\x00\x00\x04"
"""What a client ends each question with that it waits for."""


class Wire:
    """A door to the server that counts questions."""

    def __init__(self, dsn: str) -> None:
        self._there = urlsplit(dsn)
        self.dsn = ""
        self.questions = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Wire]:
        """Listen on a free port as long as the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.dsn = self._there._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
        async with server:
            yield self

    async def _serve(self, client: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        host, port = self._there.hostname, self._there.port
        server, into = await asyncio.open_connection(host, port)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass(client, into, counted=True))
            group.create_task(self._pass(server, out, counted=False))

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        while data := await source.read(65536):
            if counted:
                self.questions += data.count(_SYNC)
            sink.write(data)
            await sink.drain()
        sink.close()


def batch(room_id: str, event: RoomEvent, *channels: str, owner: str | None = None) -> CommitBatch:
    """Return the commit of an event that is to be delivered to some channels."""
    plans = tuple(
        DeliveryPlan(new_id(), event.id, channel_id, DeliveryKind.DELIVER)
        for channel_id in channels
    )
    return CommitBatch(room_id, (event,), deliveries=plans, owner=owner)


def ends(given: CommitBatch, owner: str) -> list[DeliveryFinish]:
    """Return the ends of all deliveries of a batch."""
    return [
        DeliveryFinish(
            plan.id,
            plan.event_id,
            plan.channel_id,
            plan.kind,
            RecordStatus.DONE,
            {"success": True},
            owner=owner,
            attempts=1,
            room_id=given.room_id,
        )
        for plan in given.deliveries
    ]


class TestRoundTrips:
    """What a message asks of the server."""

    async def test_each_step_of_a_message_is_one_question(self, postgres_dsn: str) -> None:
        """A look with a key, a commit with deliveries, and ends in two rooms: one each."""
        async with (
            Wire(postgres_dsn).open() as wire,
            PostgresStore(wire.dsn, min_size=1, max_size=1) as store,
        ):
            for _ in range(2):  # the first round prepares the statements
                counts = []
                done: list[DeliveryFinish] = []
                for room_id in (new_id(), new_id()):
                    await store.create_room(Room(id=room_id))
                    given = batch(
                        room_id, make_event(idempotency_key=new_id()), "a", "b", owner="w"
                    )
                    before = wire.questions
                    await store.look(room_id, key="k")
                    counts.append(wire.questions - before)
                    before = wire.questions
                    assert (await store.commit(given)).left == frozenset()
                    counts.append(wire.questions - before)
                    done += ends(given, "w")
                before = wire.questions
                await store.finish_deliveries(done)
                counts.append(wire.questions - before)
            assert counts == [1, 1, 1, 1, 1]

    async def test_a_look_after_an_own_commit_reads_nothing_anew(self, postgres_dsn: str) -> None:
        """The context a commit left behind is the object the next look gives back."""
        async with PostgresStore(postgres_dsn) as store:
            await store.create_room(Room(id="r"))
            await store.look("r")
            given = batch("r", make_event(room_id="r"), "a", owner="w")
            await store.commit(given)
            await store.finish_deliveries(ends(given, "w"))
            peeked = store.peek_context("r")
            looked, _ = await store.look("r", known=peeked)
            assert peeked is not None
            assert looked is peeked
            assert looked.recent_events[0].delivery_results == {"a": {"success": True}}
            assert looked.recent_events == await store.list_events("r")


class TestTwoStores:
    """Two processes on one database, played by two stores."""

    async def test_a_room_written_by_both_has_no_gap(self, postgres_dsn: str) -> None:
        """100 commits of each at once: every index once, and both see the same."""
        async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn) as two:
            await one.create_room(Room(id="r"))
            results = await asyncio.gather(
                *(
                    store.commit(batch("r", make_event(room_id="r"), "a", owner=name))
                    for _ in range(100)
                    for name, store in (("w1", one), ("w2", two))
                )
            )
            indexes = sorted(result.events[0].index for result in results)
            assert indexes == list(range(200))
            seen = [await store.load_context("r") for store in (one, two)]
            assert seen[0] == seen[1]
            assert seen[0] is not None
            assert [event.index for event in seen[0].recent_events] == list(range(150, 200))
            # One of them owns the lane, from its head on, without a gap.
            left = {plan for result in results for plan in result.left}
            assert left

    async def test_a_lane_is_handed_over_without_losing_or_doubling(
        self, postgres_dsn: str
    ) -> None:
        """200 commits by two workers that work at the same time: each record once, in order."""
        async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn) as two:
            await one.create_room(Room(id="r"))
            stores = {"w1": one, "w2": two}
            worked: list[str] = []
            places: dict[str, int] = {}

            async def work(name: str, plans: list[DeliveryFinish]) -> None:
                store = stores[name]
                while plans:
                    worked.extend(plan.event_id for plan in plans)
                    lanes = await store.finish_deliveries(plans)
                    claimed = await store.claim_deliveries(name, ["a"], lanes=lanes)
                    plans = [
                        DeliveryFinish(
                            record.id,
                            record.event_id,
                            record.channel_id,
                            record.kind,
                            RecordStatus.DONE,
                            owner=name,
                            room_id=record.room_id,
                        )
                        for record in claimed
                    ]

            async def say(name: str) -> None:
                for _ in range(100):
                    given = batch("r", make_event(room_id="r"), "a", owner=name)
                    result = await stores[name].commit(given)
                    places[result.events[0].id] = result.events[0].index
                    if not result.left:
                        await work(name, ends(given, name))

            for name, store in stores.items():
                await store.beat(name, ["a"])
            async with asyncio.timeout(40), asyncio.TaskGroup() as group:
                for name in stores:
                    group.create_task(say(name))
            while rest := await one.claim_deliveries("w1", ["a"]):
                worked.extend(record.event_id for record in rest)
            assert [places[event_id] for event_id in worked] == list(range(200))

    async def test_a_batch_made_from_old_news_is_refused(self, postgres_dsn: str) -> None:
        """When members have changed since, by whomever; new events and results do not count."""
        async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn) as two:
            await one.create_room(Room(id="r"))
            assert one.peek_guarded("r") is None
            context = await one.load_context("r")
            known = one.peek_guarded("r")
            assert known is not None
            assert known[0] is context
            await two.commit(batch("r", make_event(room_id="r")))
            event = make_event(room_id="r", idempotency_key="k")
            guarded = CommitBatch("r", (event,), guard=known[1])
            await two.add_binding(make_binding("new", room_id="r"))
            assert (await one.commit(guarded)).refused == "stale_context"
            assert not await one.check_idempotency("r", "k")
            await one.load_context("r")
            fresh = one.peek_guarded("r")
            assert fresh is not None
            await two.commit(batch("r", make_event(room_id="r")))
            again = CommitBatch("r", (event,), guard=fresh[1])
            assert (await one.commit(again)).events
            assert (await one.commit(again)).duplicate_of is not None
            await one.add_binding(make_binding("newer", room_id="r"))
            assert one.peek_guarded("r") is None

    async def test_one_room_is_opened_for_a_claim(self, postgres_dsn: str) -> None:
        """20 of two stores at once: one room, known to all."""
        async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn) as two:
            claim = RoomClaim(None, "sms", "+1 555")
            opened = await asyncio.gather(
                *(
                    store.open_room(claim, Room(id=room_id), make_binding(room_id=room_id))
                    for store in (one, two)
                    for room_id in [new_id() for _ in range(10)]
                )
            )
            assert len({room.room_id for room in opened}) == 1
            assert sum(room.created for room in opened) == 1
            assert len(await one.list_rooms()) == 1

    async def test_a_word_of_new_work_wakes_the_others(self, postgres_dsn: str) -> None:
        """Whoever waits for work hears of a message accepted elsewhere, long before its poll."""
        async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn) as two:
            await two.wait_for_work(5.0)  # returns when it has begun to listen
            waiting = asyncio.create_task(two.wait_for_work(50.0))
            await one.accept(InboxRow(new_id(), "sms", "me", "k", "{}"))
            async with asyncio.timeout(10):
                await waiting

    async def test_a_commit_nobody_takes_on_wakes_the_others(self, postgres_dsn: str) -> None:
        """So does a delivery that its writer leaves to whom it may concern."""
        async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn) as two:
            await one.create_room(Room(id="r"))
            await two.wait_for_work(5.0)
            waiting = asyncio.create_task(two.wait_for_work(50.0))
            await one.commit(batch("r", make_event(room_id="r"), "a"))
            async with asyncio.timeout(10):
                await waiting

    async def test_eight_stores_open_at_once(self, postgres_dsn: str) -> None:
        """An empty database gets one schema, whoever is first."""
        stores = [PostgresStore(postgres_dsn, min_size=1, max_size=1) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        await stores[0].create_room(Room(id="r"))
        for store in stores:
            assert await store.get_room("r") is not None
        await asyncio.gather(*(store.close() for store in stores))


class TestLife:
    """Opening, closing, and what is said about a store."""

    async def test_it_is_opened_first(self) -> None:
        """A call before init says what to do."""
        with pytest.raises(RuntimeError, match=r"init\(\)"):
            await PostgresStore("postgresql://127.0.0.1/x").get_room("r")

    async def test_it_can_be_opened_again(self, postgres_dsn: str) -> None:
        """Closing twice is harmless, and what was kept is there."""
        store = PostgresStore(postgres_dsn)
        await store.init()
        await store.init()
        await store.create_room(Room(id="r"))
        await store.close()
        await store.close()
        with pytest.raises(RuntimeError):
            await store.get_room("r")
        assert await store.open()
        assert not await store.open()
        async with store as again:
            assert await again.get_room("r") is not None

    async def test_a_given_pool_is_the_callers(self, postgres_dsn: str) -> None:
        """It is used, never closed; waiting for work is then a poll."""
        async with asyncpg.create_pool(postgres_dsn, min_size=1, max_size=2) as pool:
            async with PostgresStore(pool=pool) as store:
                await store.create_room(Room(id="r"))
                await store.wait_for_work(0.01)
            assert await pool.fetchval("SELECT count(*) FROM rooms") == 1
            assert pool.get_idle_size() == pool.get_size()

    def test_without_asyncpg_it_says_which_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error is an ImportError that names the package and the extra."""
        monkeypatch.setitem(sys.modules, "asyncpg", None)
        with pytest.raises(ImportError, match=r"asyncpg.*postgres") as caught:
            PostgresStore("postgresql://127.0.0.1/x")
        assert isinstance(caught.value, MissingDependencyError)

    @pytest.mark.parametrize(
        ("dsn", "shown"),
        [
            ("postgresql://me:geheim@db.example:5433/talk", "db.example:5433/talk"),
            ("postgresql://me:geheim@db.example/talk?sslmode=require", "db.example/talk"),
            ("postgresql:///talk?password=geheim", "local/talk"),
            ("host=db user=me password=geheim", "(DSN)"),
            ("postgresql://me:ge@heim:geheim@db/talk", ""),
            ("postgresql://me:geheim/@db:99999999/talk", ""),
            (None, "environment"),
        ],
    )
    def test_no_secret_is_shown(self, dsn: str | None, shown: str) -> None:
        """The repr tells host and database of a DSN, never user or password."""
        text = repr(PostgresStore(dsn))
        assert shown in text
        assert "geheim" not in text
        assert "me:" not in text

    async def test_what_cannot_be_kept_is_refused(self, postgres_dsn: str) -> None:
        """NUL has no place in the database; the error does not repeat the text."""
        async with PostgresStore(postgres_dsn) as store:
            with pytest.raises(InvalidInputError) as caught:
                await store.create_room(Room(id="r", metadata={"note": "se\x00cret"}))
            assert "cret" not in str(caught.value)
            with pytest.raises(InvalidInputError):
                await store.get_room("r\x00")
            assert await store.list_rooms() == []

    async def test_a_taken_id_is_named(self, postgres_dsn: str) -> None:
        """A second room of an id is refused by an error that names it."""
        async with PostgresStore(postgres_dsn) as store:
            await store.create_room(Room(id="r"))
            with pytest.raises(StoreError, match="'r' exists already"):
                await store.create_room(Room(id="r"))

    async def test_keys_of_any_length_are_kept_apart(self, postgres_dsn: str) -> None:
        """Keys too long for an index are known again all the same."""
        async with PostgresStore(postgres_dsn) as store:
            await store.create_room(Room(id="r"))
            keys = ["k" * 5000, "k" * 5001]
            for key in keys:
                event = make_event(room_id="r", idempotency_key=key)
                assert (await store.commit(CommitBatch("r", (event,)))).events
            again = make_event(room_id="r", idempotency_key=keys[0])
            repeated = await store.commit(CommitBatch("r", (again,)))
            assert repeated.duplicate_of is not None
            assert repeated.duplicate_of.index == 0


class TestWrongPlaces:
    """A store that cannot be opened says why, and no secret."""

    @pytest.mark.parametrize(
        "dsn",
        [
            "mysql://me:geheim@127.0.0.1/x",
            "postgresql://me:geheim@127.0.0.1:geheim/x",
            "postgresql://me:geheim@127.0.0.1:1/x?sslmode=geheim",
        ],
    )
    async def test_a_dsn_that_is_none(self, dsn: str) -> None:
        """It is a ConfigurationError that says what one looks like."""
        with pytest.raises(ConfigurationError, match="postgresql://") as caught:
            await PostgresStore(dsn).init()
        assert "geheim" not in str(caught.value)
        assert caught.value.__cause__ is None

    async def test_nobody_listens(self) -> None:
        """It says that the server cannot be reached."""
        store = PostgresStore("postgresql://me:geheim@127.0.0.1:1/x")
        with pytest.raises(StoreUnavailableError, match="cannot be reached") as caught:
            await store.init()
        assert "geheim" not in f"{caught.value} {caught.value.__cause__}"

    async def test_unknown_database_or_user(self, postgres_dsn: str) -> None:
        """It says which of the two is wrong."""
        there = urlsplit(postgres_dsn)
        with pytest.raises(StoreUnavailableError, match="database of the DSN does not exist"):
            await PostgresStore(there._replace(path="/nowhere").geturl()).init()
        stranger = there._replace(netloc=f"stranger:geheim@127.0.0.1:{there.port}").geturl()
        with pytest.raises(StoreUnavailableError, match="user or password") as caught:
            await PostgresStore(stranger).init()
        assert "geheim" not in f"{caught.value} {caught.value.__cause__}"
