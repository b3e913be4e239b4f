"""Fixtures of the app's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roomkit import RoomKit
from roomkit.asgi import create_app
from roomkit.store.sqlite import SQLiteStore
from tests.test_asgi._driver import Client
from tests.test_asgi._vendor import VendorChannel, VendorHandler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roomkit.asgi import App


@pytest.fixture
def handler() -> VendorHandler:
    """The vendor's handler."""
    return VendorHandler()


@pytest.fixture
async def kit(handler: VendorHandler) -> AsyncIterator[RoomKit]:
    """A kit in memory with the vendor's channel ``sms``."""
    kit = RoomKit()
    kit.register_channel(VendorChannel("sms", handler))
    yield kit
    await kit.close()


@pytest.fixture
async def durable(handler: VendorHandler, tmp_path: Path) -> AsyncIterator[RoomKit]:
    """The same on a database, started."""
    kit = RoomKit(SQLiteStore(tmp_path / "kit.db"))
    kit.register_channel(VendorChannel("sms", handler))
    async with kit:
        yield kit


@pytest.fixture
def app(kit: RoomKit) -> App:
    """The app of the kit in memory."""
    return create_app(kit)


@pytest.fixture
def client(app: App) -> Client:
    """A client of that app."""
    return Client(app)
