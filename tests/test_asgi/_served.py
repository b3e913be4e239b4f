"""What the tests of `roomkit serve` serve, as a module of its own process.

The database's path comes from ``SERVED_DB``; without one the kit is in memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from roomkit import HookResult, HookTrigger, RoomKit
from roomkit.asgi import create_app
from roomkit.store.sqlite import SQLiteStore
from tests.test_asgi._vendor import UnsignedHandler, VendorChannel

TOKEN = "a-token-nobody-guesses"


def build() -> RoomKit:
    """Return a kit with the vendor's channels."""
    path = os.environ.get("SERVED_DB")
    kit = RoomKit(SQLiteStore(path) if path else None)
    kit.register_channel(VendorChannel("sms"))
    kit.register_channel(VendorChannel("quiet", UnsignedHandler()))
    return kit


kit = build()
app = create_app(kit, unsigned={"quiet": TOKEN}, drain_timeout=5)
number = 4711


async def make() -> Any:
    """Return an app of its own, whose gates never end for one word."""
    own = build()

    @own.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: Any, context: Any) -> HookResult:
        if "forever" in event.content.body:
            logging.getLogger("served").warning("the gate waits")
            await asyncio.Event().wait()
        return HookResult.allow()

    return create_app(own, unsigned={"quiet": TOKEN}, drain_timeout=30)


def broken() -> Any:
    """Return a kit whose store cannot be opened."""
    kit = RoomKit(SQLiteStore("/nowhere/at/all/kit.db"))
    return create_app(kit)
