"""Ends of deliveries: sent at once, or along with the next commit of a busy room.

A room that commits one message after the other has its row locked nearly always. Ends sent by
themselves would wait for that lock and then keep the next commit waiting, with an answer of
the disk for each; so those of the room that commits just now wait a moment for its next commit
and share its transaction.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, Final

from roomkit.exceptions import RoomKitError, StoreUnavailableError
from roomkit.store._sql.pg_rows import finishes_json
from roomkit.store._sql.window import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.store._sql.pg_pool import Database
    from roomkit.store._sql.window import RoomWindows
    from roomkit.store.commit import DeliveryFinish

COMMIT: Final = """\
SELECT * FROM roomkit_commit(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"""
_FINISH: Final = "SELECT * FROM roomkit_finish($1)"
_COMMIT_WITH: Final = """\
SELECT * FROM roomkit_commit_with(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"""

_BUSY_FOR: Final = 0.004
"""Seconds after a commit for which its room counts as busy still."""

_PATIENCE: Final = 0.003
"""Seconds ends wait for the next commit of their room."""

_MOST: Final = 64
"""Ends that go with a commit at most: it should not wait for many."""

_CLOSING: Final = "the store is being closed: these ends of deliveries were not written"

type Lanes = list[tuple[str, str]]
type Told = tuple[Sequence[str], Sequence[int], Sequence[str]]
"""Rooms whose results changed, their versions then, and the deliveries that ended."""


class _Ends:
    """Ends of one call that wait.

    Attributes:
        finishes: What they are.
        future: Where the lanes go; done early when the caller gives up.
    """

    __slots__ = ("finishes", "future")

    def __init__(self, finishes: Sequence[DeliveryFinish]) -> None:
        self.finishes = finishes
        self.future: asyncio.Future[Lanes] = asyncio.get_running_loop().create_future()


class EndSender:
    """Sends ends of deliveries to a database."""

    def __init__(self, database: Database, windows: RoomWindows) -> None:
        """Send to a database, and tell the window of rooms what was recorded."""
        self._db = database
        self._windows = windows
        self._busy: tuple[str, float] = ("", 0.0)
        self._waiting: list[_Ends] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def finish(self, finishes: Sequence[DeliveryFinish]) -> Lanes:
        """Record ends; return the lanes ``roomkit_finish`` names."""
        room_id, since = self._busy  # since: the end of its commit, inf while that runs
        loop = asyncio.get_running_loop()
        if (
            len(finishes) > _MOST
            or loop.time() - since > _BUSY_FOR
            or any(finish.room_id != room_id for finish in finishes)
        ):
            return await self._send(finishes)
        ends = _Ends(finishes)
        self._waiting.append(ends)
        if self._timer is None:
            self._timer = loop.call_later(_PATIENCE, self._fire)
        return await ends.future

    async def commit(self, args: tuple[Any, ...]) -> Any:
        """Carry out a commit by itself, with the ends that wait for its room.

        Args:
            args: The arguments of ``roomkit_commit``.

        Returns:
            Its row, or one of ``roomkit_commit_with``, which says the same of it.
        """
        room_id: str = args[0]
        self._busy = (room_id, inf)
        try:
            ends = self._take(room_id)
            row = await self._commit_with(args, ends) if ends else None
            return row or await self._db.write("fetchrow", COMMIT, args)
        finally:
            self._busy = (room_id, asyncio.get_running_loop().time())

    async def _commit_with(self, args: tuple[Any, ...], ends: list[_Ends]) -> Any:
        """Carry out a commit with ends; None when either is refused: nothing was written."""
        finishes = [finish for one in ends for finish in one.finishes]
        try:
            row = await self._db.write("fetchrow", _COMMIT_WITH, (finishes_json(finishes), *args))
        except StoreUnavailableError as error:
            _fail(ends, error)
            raise
        except RoomKitError:  # each by itself, then
            self._start(ends)
            return None
        except BaseException:  # the commit was given up, not the ends: what is done stays done
            self._start(ends)
            raise
        self._settle(ends, finishes, row)
        return row

    def stop(self) -> None:
        """Fail what waits; what is under way goes on."""
        self._stop_timer()
        waiting, self._waiting = self._waiting, []
        _fail(waiting, StoreUnavailableError(_CLOSING))

    async def ended(self) -> None:
        """Return when what is under way has ended (with its connection, at the latest)."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # -- helpers -------------------------------------------------------------------------

    def _take(self, room_id: str) -> list[_Ends]:
        """Take what waits for a room off the queue, as much as may go with a commit."""
        if not self._waiting:
            return []
        taken: list[_Ends] = []
        rest: list[_Ends] = []
        count = 0
        for ends in self._waiting:
            if ends.future.done():  # given up before it was sent
                continue
            fits = ends.finishes[0].room_id == room_id and count + len(ends.finishes) <= _MOST
            (taken if fits else rest).append(ends)
            count += len(ends.finishes) if fits else 0
        self._waiting = rest
        if not rest:
            self._stop_timer()
        return taken

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        """Send by themselves what no commit has taken along."""
        self._timer = None
        waiting, self._waiting = self._waiting, []
        self._start([ends for ends in waiting if not ends.future.done()])

    def _start(self, ends: list[_Ends]) -> None:
        for one in ends:
            task = asyncio.create_task(self._carry(one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, ends: _Ends) -> None:
        error: BaseException | None = None
        try:
            lanes = await self._send(ends.finishes)
            if not ends.future.done():
                ends.future.set_result(lanes)
        except BaseException as exc:
            error = exc
            if not isinstance(exc, Exception):
                error = StoreUnavailableError(_CLOSING)
                raise
        finally:
            if error is not None:
                _fail([ends], error)

    async def _send(self, finishes: Sequence[DeliveryFinish]) -> Lanes:
        row = await self._db.write("fetchrow", _FINISH, (finishes_json(finishes),))
        if row["rooms"]:
            take_results(self._windows, finishes, (row["rooms"], row["versions"], row["ended"]))
        return _lanes(row)

    def _settle(
        self,
        ends: Sequence[_Ends],
        finishes: Sequence[DeliveryFinish],
        row: Any,
    ) -> None:
        """Tell the window of what went with a commit, and each caller of its lanes."""
        if row["end_rooms"]:
            take_results(
                self._windows, finishes, (row["end_rooms"], row["end_versions"], row["end_ids"])
            )
        lanes = _lanes(row)
        for one in ends:
            if not one.future.done():
                own = {(finish.room_id, finish.channel_id) for finish in one.finishes}
                one.future.set_result([lane for lane in lanes if lane in own])


def take_results(windows: RoomWindows, finishes: Sequence[DeliveryFinish], told: Told) -> None:
    """Take results that were recorded into the window of rooms.

    Args:
        windows: The rooms this process remembers.
        finishes: What was asked.
        told: What came of it.
    """
    places, versions, ids = told
    ended = set(ids)
    rooms: dict[str, dict[str, dict[str, Any]]] = {}
    for finish in finishes:
        if finish.owner is not None:
            if finish.id not in ended:
                continue
            ended.discard(finish.id)  # of two words only the first counts
        if finish.result is None:
            continue
        if not finish.room_id:  # somewhere: the next look tells
            return
        events = rooms.setdefault(finish.room_id, {})
        events.setdefault(finish.event_id, {})[finish.channel_id] = dict(finish.result)
    for room_id, version in zip(places, versions, strict=True):
        if room_id in rooms:
            windows.take(room_id, Change(version, results=rooms[room_id]))


def _lanes(row: Any) -> Lanes:
    if not row["lane_rooms"]:
        return []
    return list(zip(row["lane_rooms"], row["lane_channels"], strict=True))


def _fail(ends: Sequence[_Ends], error: BaseException) -> None:
    """Tell callers of an error: each gets one of its own."""
    for one in ends:
        if one.future.done():
            continue
        own = error
        if isinstance(error, RoomKitError):
            own = type(error)(*error.args)
            own.__cause__ = error.__cause__
        one.future.set_exception(own)
