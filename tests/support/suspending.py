"""A store that really suspends, as one behind a network does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkit.testing import StoreWrapper

if TYPE_CHECKING:
    from collections.abc import Coroutine


class SuspendingStore(StoreWrapper):
    """A store around another one whose every call gives way to others, before and after.

    It also cannot tell a room's version without asking, so that every shortcut is closed.
    """

    async def around[T](self, name: str, call: Coroutine[Any, Any, T]) -> T:
        """Make the call between two turns of the loop; a cancelled one leaves no trace."""
        try:
            await asyncio.sleep(0)
        except BaseException:
            call.close()
            raise
        result = await call
        await asyncio.sleep(0)
        return result

    def peek_version(self, room_id: str) -> int | None:
        """Return None: nobody but the store itself knows."""
        return None
