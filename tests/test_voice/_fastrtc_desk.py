"""A FastRTC transport of live sessions, mounted on the fake FastRTC, and its clients."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.voice.realtime.base import RealtimeSession
from roomkit.voice.realtime.fastrtc_transport import (
    FastRTCRealtimeTransport,
    mount_fastrtc_realtime,
)
from tests.test_voice._fake_fastrtc import Client, packages

if TYPE_CHECKING:
    from roomkit.testing import ManualClock

RATE = 24000
MS = 48
"""Bytes of a millisecond at that rate."""
CLEAR = {"type": "clear_audio"}
MESSAGE = {"type": "transcription", "text": "Grüße", "role": "assistant"}
KINDS = ["websocket", "webrtc", "phone"]


def mounted(transport: FastRTCRealtimeTransport, **options: Any) -> Any:
    """Mount a transport on the fakes; return what FastRTC would call its stream."""
    with pytest.MonkeyPatch.context() as patch:
        found = packages()
        patch.setitem(sys.modules, "fastrtc", found.fastrtc)
        patch.setitem(sys.modules, "numpy", found.numpy)
        mount_fastrtc_realtime("app", transport, **options)
    return vars(transport)["_stream"]


async def turns(count: int = 50) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Desk:
    """A mounted transport, what it tells, and its clients."""

    def __init__(self, clock: ManualClock, limit: int = 100, **options: Any) -> None:
        self.transport = FastRTCRealtimeTransport(clock=clock, **options)
        self.stream = mounted(self.transport, concurrency_limit=limit)
        self.came: list[str] = []
        self.heard: list[tuple[str, bytes]] = []
        self.left: list[RealtimeSession] = []
        self.clients: list[Client] = []
        self.transport.on_client_connected(self.came.append)
        self.transport.on_audio_received(lambda s, audio: self.heard.append((s.id, audio)))
        self.transport.on_client_disconnected(self.left.append)

    async def client(self, name: Any = "w1", kind: str = "websocket") -> Client:
        """Return a client that has come."""
        client = Client(self.stream, name, kind=kind)
        self.clients.append(client)
        return await client.started()

    async def call(
        self, name: str = "w1", kind: str = "websocket"
    ) -> tuple[Client, RealtimeSession]:
        """Return a client that has a session."""
        client = await self.client(name, kind)
        session = session_of(f"s-{name}")
        await self.transport.accept(session, name)
        return client, session

    async def close(self) -> None:
        """End everything."""
        for client in self.clients:
            await client.leave()
        await self.transport.close()


def session_of(session_id: str) -> RealtimeSession:
    """Return a session."""
    return RealtimeSession(session_id, "room", "ana", "live")


def shown(client: Client) -> list[dict[str, Any]]:
    """Return the messages a client got."""
    if client.websocket is not None:
        return client.websocket.sent
    return [json.loads(text) for text in client.handler.messages]
