"""What the parts of the PostgresStore share: its database and the rooms it remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.exceptions import StoreError
from roomkit.store._sql.pg_errors import OrphanError, TakenError
from roomkit.store.durable import DurableStore

if TYPE_CHECKING:
    from roomkit.store._sql.pg_bell import Bell
    from roomkit.store._sql.pg_ends import EndSender
    from roomkit.store._sql.pg_groups import CommitGroups
    from roomkit.store._sql.pg_pool import Database
    from roomkit.store._sql.window import RoomWindows


class PostgresPart(DurableStore):
    """A part of the store; each implements some of its methods."""

    _db: Database
    _windows: RoomWindows
    _bell: Bell
    _ends: EndSender
    _groups: CommitGroups

    async def _insert(self, what: str, sql: str, *args: object) -> None:
        """Add a row that must be new.

        Args:
            what: Its kind and id, for the error.
            sql: The statement.
            args: Its values.
        """
        try:
            await self._db.write("fetchval", sql, args)
        except TakenError as error:
            raise StoreError(f"{what} exists already: choose another id") from error
        except OrphanError as error:
            raise StoreError(
                f"{what} belongs to a room that does not exist: create the room first"
            ) from error

    async def _change(self, room_id: str, sql: str, *args: object) -> bool:
        """Run a write that returns the room's new version; False when there was no such row."""
        version = await self._db.write("fetchval", sql, (room_id, *args))
        if version is None:
            return False
        self._windows.stale(room_id, version)
        return True


def no_room(room_id: str) -> StoreError:
    """Return the error for a room that is not there."""
    return StoreError(f"room {room_id!r} does not exist: create it first")
