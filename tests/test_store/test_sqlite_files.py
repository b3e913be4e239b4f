"""Files that cannot be used, and what the caller of an SQLite store is told about them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import (
    CommitOutcomeUnknown,
    ConfigurationError,
    ForeignDatabaseError,
    SchemaTooNewError,
    StoreError,
    StoreUnavailableError,
)
from roomkit.models.room import Room
from roomkit.store.commit import CommitBatch
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing.builders import make_event
from roomkit.testing.invariants import assert_invariants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from roomkit.models.event import RoomEvent

_connect = sqlite3.connect


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _damage(path: Path) -> None:
    """Spoil all of a database but its schema."""
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xa5" * (len(content) - 8192))


def _write_diary(path: Path) -> None:
    path.write_bytes(b"my diary, page one: it rained\n" * 100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of the test's own."""
    return tmp_path / "rooms.db"


async def test_using_it_before_opening(path: Path) -> None:
    """Every call says what is missing; nothing is made."""
    store = SQLiteStore(path)
    with pytest.raises(RuntimeError, match="call init"):
        await store.get_room("r")
    with pytest.raises(RuntimeError, match="call init"):
        await store.create_room(Room(id="r"))
    await store.close()
    assert _content(path) is None


async def test_it_opens_and_closes_again(path: Path) -> None:
    """Both may be repeated; what was stored is there again."""
    store = SQLiteStore(path)
    await store.open()
    await store.init()
    await store.create_room(Room(id="r"))
    await store.close()
    await store.close()
    async with store as same:
        assert same is store
        assert await store.get_room("r") is not None
    assert not path.with_name("rooms.db-wal").exists()


async def test_memory_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database in memory ends with ``close``, and no file is made of it."""
    monkeypatch.chdir(tmp_path)
    async with SQLiteStore(":memory:") as store:
        await store.create_room(Room(id="r"))
        assert await store.get_room("r") is not None
    async with store:
        assert await store.get_room("r") is None
    assert os.listdir(tmp_path) == []


async def test_repr_tells_the_file_and_nothing_else(path: Path) -> None:
    """Neither the folder nor anything stored is shown."""
    store = SQLiteStore(path)
    assert repr(store) == "SQLiteStore('rooms.db', closed)"
    async with store:
        await store.create_room(Room(id="secret"))
        assert repr(store) == "SQLiteStore('rooms.db', open)"


@pytest.mark.parametrize(
    "build",
    [
        lambda: SQLiteStore(""),
        lambda: SQLiteStore("a\x00b"),
        lambda: SQLiteStore(b"bytes.db"),  # type: ignore[arg-type]
        lambda: SQLiteStore("x.db", synchronous="SOMETIMES"),  # type: ignore[arg-type]
        lambda: SQLiteStore("x.db", busy_timeout=-1),
        lambda: SQLiteStore("x.db", busy_timeout=float("nan")),
    ],
)
def test_wrong_arguments(build: Callable[[], SQLiteStore]) -> None:
    """They are refused where they are given."""
    with pytest.raises(ConfigurationError):
        build()


@pytest.mark.parametrize(
    ("level", "number"), [("OFF", 0), ("NORMAL", 1), ("FULL", 2), ("EXTRA", 3)]
)
async def test_synchronous_is_what_was_asked(
    path: Path, level: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection waits for the disk as told, in the mode that lets others read."""
    opened: list[sqlite3.Connection] = []

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        opened.append(_connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connect)
    async with SQLiteStore(path, synchronous=level) as store:
        await store.create_room(Room(id="r"))
        await store.get_room("r")
        assert len(opened) >= 2
        for connection in opened:
            assert connection.execute("PRAGMA synchronous").fetchone() == (number,)
            assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_full_is_the_default(path: Path) -> None:
    """What was told survives a loss of power unless somebody chose otherwise."""
    defaults = SQLiteStore.__init__.__kwdefaults__
    assert defaults["synchronous"] == "FULL"


async def test_a_file_that_is_no_database(path: Path) -> None:
    """It is refused and left as it was, and so is every later try."""
    _write_diary(path)
    before = _content(path)
    store = SQLiteStore(path)
    for _ in range(2):
        with pytest.raises(ForeignDatabaseError, match="not an SQLite database"):
            await store.open()
    assert _content(path) == before
    await store.close()


async def test_a_database_of_another_program(path: Path) -> None:
    """Its tables are named, and nothing is changed in it."""
    with closing(_connect(path)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
        other.commit()
    before = _content(path)
    with pytest.raises(ForeignDatabaseError, match="recipes"):
        await SQLiteStore(path).open()
    assert _content(path) == before


async def test_a_database_of_a_newer_roomkit(path: Path) -> None:
    """It is refused: this one would not know what it writes."""
    async with SQLiteStore(path):
        pass
    with closing(_connect(path)) as other:
        other.execute("INSERT INTO roomkit_migrations VALUES (999, 'later', 'x', '2030-01-01')")
        other.commit()
    with pytest.raises(SchemaTooNewError, match="999"):
        await SQLiteStore(path).open()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The cure is named; once the folder is there the same store opens."""
    store = SQLiteStore(tmp_path / "missing" / "rooms.db")
    with pytest.raises(StoreUnavailableError, match="folder exists"):
        await store.open()
    (tmp_path / "missing").mkdir()
    async with store:
        await store.create_room(Room(id="r"))


async def test_a_file_that_may_only_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading works, writing says why not; once it may be written the same store does."""
    async with SQLiteStore(path) as store:
        await store.create_room(Room(id="r"))

    def read_only(name: str, **kwargs: Any) -> sqlite3.Connection:
        return _connect(f"file:{name}?mode=ro", uri=True, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    async with store:
        assert await store.get_room("r") is not None
        with pytest.raises(StoreUnavailableError, match="cannot be written"):
            await store.create_room(Room(id="s"))
        monkeypatch.undo()
        await store.create_room(Room(id="s"))
        assert [room.id for room in await store.list_rooms()] == ["r", "s"]


async def test_a_file_that_stays_locked(path: Path) -> None:
    """Waiting is bounded, the cure is named, and nothing of the call is stored."""
    async with SQLiteStore(path, busy_timeout=0.1) as store:
        await store.create_room(Room(id="room-1"))
        with closing(_connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked") as told:
                await store.commit(CommitBatch("room-1", (make_event(idempotency_key="k"),)))
            assert "busy_timeout" in str(told.value)
            assert await store.get_event_count("room-1") == 0
            other.execute("ROLLBACK")
        result = await store.commit(CommitBatch("room-1", (make_event(idempotency_key="k"),)))
        assert result.events[0].index == 0


async def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half-written stays, reading goes on, and so does writing once there is room."""
    opened: list[sqlite3.Connection] = []

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = _connect(*args, **kwargs)
        connection.execute("PRAGMA max_page_count = 120")
        opened.append(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    async with SQLiteStore(path) as store:
        await store.create_room(Room(id="room-1"))
        stored: list[RoomEvent] = []

        async def fill() -> None:
            for n in range(1000):
                event = make_event(body="x" * 900, idempotency_key=f"k{n}")
                stored.extend((await store.commit(CommitBatch("room-1", (event,)))).events)

        with pytest.raises(StoreUnavailableError, match="disk is full"):
            await fill()
        assert 0 < len(stored) < 1000
        assert await store.check_idempotency("room-1", f"k{len(stored)}") is False
        await assert_invariants(store, stored)
        for connection in opened:
            connection.execute("PRAGMA max_page_count = 100000")
        batch = CommitBatch("room-1", (make_event(idempotency_key=f"k{len(stored)}"),))
        assert (await store.commit(batch)).events[0].index == len(stored)


async def test_a_damaged_file(path: Path) -> None:
    """It is told apart from a passing trouble, with the cure."""
    async with SQLiteStore(path) as store:
        await store.create_room(Room(id="room-1"))
        for _ in range(50):
            await store.add_event(make_event(body="x" * 500))
    _damage(path)
    with pytest.raises(StoreError, match=r"damaged.*backup"):
        async with store:
            await store.list_events("room-1")


async def test_a_file_that_is_replaced_while_open(path: Path, tmp_path: Path) -> None:
    """Nobody is told that something was kept in a file without a name; then it goes on."""
    backup = tmp_path / "backup.db"
    async with SQLiteStore(path) as store:
        await store.create_room(Room(id="room-1"))
        await store.backup(backup)
        await store.add_event(make_event(idempotency_key="later"))
        assert await store.load_context("room-1") is not None
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        backup.replace(path)
        with pytest.raises(StoreUnavailableError, match="replaced"):
            await store.add_event(make_event())
        assert await store.check_idempotency("room-1", "later") is False
        context = await store.load_context("room-1")
        assert context is not None
        assert context.recent_events == []
        assert (await store.add_event(make_event())).index == 0


class _FailingDisk(sqlite3.Connection):
    """A connection whose disk fails when it is asked to keep something."""

    failing = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
        if sql == "COMMIT" and _FailingDisk.failing:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC  # type: ignore[misc]
            raise error
        return super().execute(sql, *args)


async def test_a_disk_that_fails_in_a_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can say what became of it; a repeat under the key makes it one."""

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        return _connect(*args, **kwargs, factory=_FailingDisk)

    monkeypatch.setattr(sqlite3, "connect", connect)
    async with SQLiteStore(path) as store:
        await store.create_room(Room(id="room-1"))
        batch = CommitBatch("room-1", (make_event(idempotency_key="k"),))
        monkeypatch.setattr(_FailingDisk, "failing", True)
        with pytest.raises(CommitOutcomeUnknown, match="same key"):
            await store.commit(batch)
        monkeypatch.setattr(_FailingDisk, "failing", False)
        result = await store.commit(batch)
        assert len(result.events) == (result.duplicate_of is None)
        assert await store.get_event_count("room-1") == 1


async def test_only_the_first_to_open_it_opened_it(path: Path) -> None:
    """So that who opens a store can be who closes it."""
    store = SQLiteStore(path)
    assert sorted(await asyncio.gather(*(store.open() for _ in range(5)))) == [False] * 4 + [True]
    assert await store.open() is False
    await store.close()
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await store.open() is True
    await store.close()
