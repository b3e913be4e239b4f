"""A kit behind HTTP on a free port, for simulators to call back."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from roomkit.asgi import create_app
from roomkit.simulators._server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit import RoomKit


@asynccontextmanager
async def endpoint(kit: RoomKit, channel_id: str) -> AsyncIterator[str]:
    """Serve the kit while the context lasts; give the URL of a channel's webhook."""
    app = create_app(kit)
    await app.startup()
    try:
        async with serve(app, socket.create_server(("127.0.0.1", 0))) as port:
            yield f"http://127.0.0.1:{port}/webhooks/{channel_id}"
    finally:
        await app.shutdown()
