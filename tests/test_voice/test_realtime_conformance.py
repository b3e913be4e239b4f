"""The suites of realtime providers and transports, on our own."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit.providers.openai.realtime import OpenAIRealtimeProvider
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator
from roomkit.testing.conformance.realtime_provider import RealtimeProviderConformance
from roomkit.testing.conformance.realtime_transport import (
    RealtimeClient,
    RealtimeTransportConformance,
)
from roomkit.voice.realtime import MockRealtimeProvider, MockRealtimeTransport
from roomkit.voice.realtime.ws_transport import WebSocketRealtimeTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.realtime import (
        RealtimeAudioTransport,
        RealtimeSession,
        RealtimeVoiceProvider,
    )


class TestMockProvider(RealtimeProviderConformance):
    """The mock."""

    async def make_provider(self) -> RealtimeVoiceProvider:
        return MockRealtimeProvider()


class TestOpenAIProvider(RealtimeProviderConformance):
    """OpenAI's, against its simulator."""

    @pytest_asyncio.fixture(autouse=True)
    async def simulator(self) -> AsyncIterator[None]:
        """One a test."""
        async with OpenAIRealtimeSimulator() as self.sim:
            yield

    async def make_provider(self) -> RealtimeVoiceProvider:
        return OpenAIRealtimeProvider(**self.sim.settings)


class MockClient(RealtimeClient):
    """The mock's caller: its connection is what the session is found by."""

    def __init__(self, transport: MockRealtimeTransport) -> None:
        self.connection = object()
        self.transport = transport
        self.session: RealtimeSession | None = None

    def bound(self) -> RealtimeSession:
        assert self.session is not None
        return self.session

    async def say(self, audio: bytes) -> None:
        await self.transport.simulate_client_audio(self.bound(), audio)

    async def leave(self) -> None:
        await self.transport.simulate_client_disconnect(self.bound())

    def audio(self) -> bytes:
        return b"".join(audio for _, audio in self.transport.sent_audio)

    def messages(self) -> list[dict[str, Any]]:
        return [message for _, message in self.transport.sent_messages]


class BindingMock(MockRealtimeTransport):
    """A mock that tells its caller which session they are."""

    clients: dict[int, MockClient]

    async def accept(self, session: RealtimeSession, connection: Any) -> None:
        await super().accept(session, connection)
        self.clients[id(connection)].session = session


class TestMockTransport(RealtimeTransportConformance):
    """The mock."""

    async def make_transport(self) -> RealtimeAudioTransport:
        transport = BindingMock()
        transport.clients = {}
        return transport

    async def make_client(self, transport: RealtimeAudioTransport) -> RealtimeClient:
        assert isinstance(transport, BindingMock)
        client = MockClient(transport)
        transport.clients[id(client.connection)] = client
        return client


class SocketClient(RealtimeClient):
    """A caller at a real socket."""

    def __init__(self, connection: Any, socket: Any) -> None:
        self.connection = connection
        self._socket = socket
        self._frames: list[dict[str, Any]] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for frame in self._socket:
            self._frames.append(json.loads(frame))

    async def say(self, audio: bytes) -> None:
        await self._socket.send(audio)

    async def leave(self) -> None:
        await self._socket.close()

    def audio(self) -> bytes:
        parts = [base64.b64decode(f["data"]) for f in self._frames if f["type"] == "audio"]
        return b"".join(parts)

    def messages(self) -> list[dict[str, Any]]:
        return [frame for frame in self._frames if frame["type"] != "audio"]


class TestWebSocketTransport(RealtimeTransportConformance):
    """Over real sockets."""

    @pytest_asyncio.fixture(autouse=True)
    async def sockets(self) -> AsyncIterator[None]:
        """A server that hands its connections over, one a test."""
        self.accepted: asyncio.Queue[Any] = asyncio.Queue()

        async def keep(ws: Any) -> None:
            self.accepted.put_nowait(ws)
            await ws.wait_closed()

        async with AsyncExitStack() as self.stack:
            serving = serve(keep, "127.0.0.1", 0, compression=None, close_timeout=1)
            server = await self.stack.enter_async_context(serving)
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield

    async def make_transport(self) -> RealtimeAudioTransport:
        return WebSocketRealtimeTransport()

    async def make_client(self, transport: RealtimeAudioTransport) -> RealtimeClient:
        url = f"ws://127.0.0.1:{self.port}"
        socket = await self.stack.enter_async_context(connect(url, compression=None))
        return SocketClient(await self.accepted.get(), socket)
