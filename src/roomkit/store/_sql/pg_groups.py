"""Commits that wait at the same time share a transaction: one answer of the disk for all.

A commit that finds nobody else at work goes by itself, at once. Those that come meanwhile wait
for the end of the event loop's round, or for a group under way to end, and then go together:
different rooms, one statement. What cannot be written together is taken apart, until the
guilty one fails alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from roomkit.exceptions import RoomKitError, StoreUnavailableError
from roomkit.store._sql.pg_ends import COMMIT
from roomkit.store._sql.pg_errors import BusyError
from roomkit.store._sql.pg_rows import commit_args

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.store._sql.pg_ends import EndSender
    from roomkit.store._sql.pg_pool import Database
    from roomkit.store.commit import CommitBatch

_GROUP: Final = """\
SELECT * FROM roomkit_commit_group(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"""

_UNDER_WAY: Final = 2
"""Groups under way at most: one is prepared while the disk is busy with the other."""

_MOST: Final = 64
"""Commits of a group at most."""

_LONGEST: Final = 1 << 20
"""Characters of a group's documents; a longer one goes by itself."""

_CLOSING: Final = "the store is being closed: nothing of this commit was written"

_NO_DELIVERIES: Final = (None,) * 7

type Row = Any
"""An answer of ``roomkit_commit``: a row, or a mapping of the same names."""


class _Waiting:
    """A commit that waits for its group.

    Attributes:
        args: The arguments of ``roomkit_commit``.
        future: Where its answer goes; done early when its caller gives up.
    """

    __slots__ = ("args", "future")

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.args = args
        self.future: asyncio.Future[Row] = asyncio.get_running_loop().create_future()

    def fail(self, error: BaseException) -> None:
        """Tell the caller of an error: each gets one of its own."""
        if self.future.done():
            return
        if isinstance(error, RoomKitError):
            own = type(error)(*error.args)
            own.__cause__ = error.__cause__
            self.future.set_exception(own)
        elif isinstance(error, Exception):
            self.future.set_exception(error)
        else:  # the loop is being taken down, not this caller's commit refused
            self.future.set_exception(StoreUnavailableError(_CLOSING))


class CommitGroups:
    """Sends commits to a database, together where they come together."""

    def __init__(self, database: Database, ends: EndSender) -> None:
        """Send to a database; a commit that goes by itself takes ends along."""
        self._db = database
        self._ends = ends
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._alone = 0
        self._called = False

    async def commit(self, batch: CommitBatch, *, repeated: bool) -> Row:
        """Carry out a batch and return what ``roomkit_commit`` answers.

        Args:
            batch: The batch.
            repeated: Whether two of its events carry the same key.

        Raises:
            TakenError: Something of the batch is stored already.
            InvalidInputError: It holds what the database cannot keep.
            StoreUnavailableError: The database is away, or the store is being closed. When the
                connection broke while the commit ran, it may have been carried out.
        """
        args = commit_args(batch, repeated=repeated)
        idle = not (self._alone or self._under_way or self._waiting)
        if idle or not _joins(batch, args):
            self._alone += 1
            try:
                return await self._ends.commit(args)
            finally:
                self._alone -= 1
        waiting = _Waiting(args)
        self._waiting.append(waiting)
        if not self._called and self._under_way < _UNDER_WAY:
            self._called = True
            asyncio.get_running_loop().call_soon(self._go)
        return await waiting.future

    def stop(self) -> None:
        """Fail what waits; what is under way goes on."""
        self._called = False  # the event loop may end before it comes to that
        while self._waiting:
            self._waiting.popleft().fail(StoreUnavailableError(_CLOSING))

    async def ended(self) -> None:
        """Return when what is under way has ended (with its connection, at the latest)."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # -- groups --------------------------------------------------------------------------

    def _go(self) -> None:
        """Send groups as long as there are waiting ones and few are under way."""
        self._called = False
        while self._waiting and self._under_way < _UNDER_WAY:
            group = self._next()
            if group:
                self._under_way += 1
                self._start(group, counted=True)

    def _next(self) -> list[_Waiting]:
        """Take the next group off the queue: the longest waiting of different rooms."""
        group: list[_Waiting] = []
        later: list[_Waiting] = []
        rooms: set[str] = set()
        length = 0
        while self._waiting and len(group) < _MOST and length < _LONGEST:
            waiting = self._waiting.popleft()
            if waiting.future.done():  # its caller has given up
                continue
            room_id = waiting.args[0]
            if room_id in rooms:
                later.append(waiting)
                continue
            rooms.add(room_id)
            group.append(waiting)
            length += len(waiting.args[7][0])
        self._waiting.extendleft(reversed(later))
        return group

    def _start(self, group: list[_Waiting], *, counted: bool) -> None:
        task = asyncio.create_task(self._carry(group, counted=counted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, group: list[_Waiting], *, counted: bool) -> None:
        """Send a group and tell its callers."""
        error: BaseException | None = None
        try:
            if counted:
                answers = await self._together(group)
            else:
                answers = [await self._db.write("fetchrow", COMMIT, group[0].args)]
            for waiting, answer in zip(group, answers, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(answer)
        except BaseException as exc:
            error = exc
            if not isinstance(exc, Exception):
                raise
        finally:
            if error is not None:
                self._failed(group, error, counted=counted)
            if counted:
                self._under_way -= 1
                self._go()

    def _failed(self, group: list[_Waiting], error: BaseException, *, counted: bool) -> None:
        """Tell callers of an error, or try again apart what was refused because of one of them.

        A group that holds one commit only, or is taken apart, is not counted any more: a room
        that stays locked for long must not hold up the others.
        """
        apart = isinstance(error, BusyError) or (
            isinstance(error, RoomKitError) and not isinstance(error, StoreUnavailableError)
        )
        if not (counted and apart):
            for waiting in group:
                waiting.fail(error)
            return
        for waiting in group:
            if not waiting.future.done():
                self._start([waiting], counted=False)

    async def _together(self, group: list[_Waiting]) -> Sequence[Row]:
        """Carry out commits of different rooms in one statement; return an answer for each."""
        row = await self._db.write("fetchrow", _GROUP, _group_args(group))
        return _answers(row)


def _joins(batch: CommitBatch, args: tuple[Any, ...]) -> bool:
    """Return whether a batch may go with others: one new event, and what goes with it."""
    return (
        len(batch.events) == 1
        and args[8] is None  # it has no results
        and args[17] is None  # nothing but events and deliveries
        and len(args[7][0]) < _LONGEST
    )


def _group_args(group: Sequence[_Waiting]) -> tuple[Any, ...]:
    """Return the arguments of ``roomkit_commit_group``: those of single commits as columns."""
    rows = [waiting.args for waiting in group]
    plans: list[tuple[Any, ...]] = []
    for place, row in enumerate(rows, 1):
        if row[10] is not None:
            plans += zip([place] * len(row[10]), *row[10:16], strict=True)
    return (
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        [row[16] for row in rows],
        [row[9] for row in rows],
        [row[3][0] for row in rows],
        [None if row[4] is None else row[4][0] for row in rows],
        [row[5][0] for row in rows],
        [row[6][0] for row in rows],
        [row[7][0] for row in rows],
        *(zip(*plans, strict=True) if plans else _NO_DELIVERIES),
    )


def _answers(row: Any) -> list[Row]:
    """Return what ``roomkit_commit_group`` says of each commit, as ``roomkit_commit`` does."""
    answers: list[Row] = [
        {
            "outcome": outcome,
            "version": version,
            "first_index": place,
            "unclaimed": None,
            "wake": None,
            "rooms": None,
        }
        for outcome, version, place in zip(
            row["outcomes"], row["versions"], row["places"], strict=True
        )
    ]
    if row["docs"] is not None:
        found = [answer for answer in answers if answer["outcome"] == "duplicate"]
        for answer, doc, results in zip(found, row["docs"], row["results"], strict=True):
            answer["first_doc"] = doc
            answer["first_results"] = results
    if row["left_ids"] is not None:
        wake = any(row["wakes"])
        for place, delivery in zip(row["left_places"], row["left_ids"], strict=True):
            answer = answers[place - 1]
            answer["unclaimed"] = [*(answer["unclaimed"] or ()), delivery]
            answer["wake"] = wake
    return answers
