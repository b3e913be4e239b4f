"""As much of FastRTC and numpy as the backend uses, for tests without them.

What it does was read in FastRTC 0.0.34; tests/fastrtc runs against the real one.
"""

from __future__ import annotations

import asyncio
from array import array
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

_context: ContextVar[Any] = ContextVar("fake_fastrtc")


class Samples:
    """A one-dimensional numpy array, or one of one row, as far as it is needed here."""

    def __init__(self, values: list[Any], dtype: str = "int16", ndim: int = 1) -> None:
        self.values = list(values)
        self.size = len(self.values)
        self.dtype = dtype
        self.ndim = ndim

    def flatten(self) -> Samples:
        """Return it with one dimension."""
        return Samples(self.values, self.dtype)

    def clip(self, low: float, high: float) -> Samples:
        """Return it within bounds."""
        return Samples([max(low, min(high, value)) for value in self.values], self.dtype)

    def __mul__(self, by: float) -> Samples:
        return Samples([value * by for value in self.values], self.dtype)

    def astype(self, dtype: str) -> Samples:
        """Return it as 16-bit numbers; out of range it wraps, as a cast does."""
        wrapped = [(int(value) + 32768) % 65536 - 32768 for value in self.values]
        return Samples(wrapped, "int16")

    def reshape(self, *shape: int) -> Samples:
        """Return it as one row."""
        return Samples(self.values, self.dtype, len(shape))

    def tobytes(self) -> bytes:
        """Return its bytes."""
        return array("h", self.values).tobytes()


def samples(pcm: bytes) -> Samples:
    """Return PCM as FastRTC hands it over: one row."""
    return Samples(list(array("h", pcm)), ndim=2)


class AsyncStreamHandler:
    """The base of handlers."""

    def __init__(
        self,
        expected_layout: str = "mono",
        output_sample_rate: int = 24000,
        output_frame_size: int | None = None,
        input_sample_rate: int = 48000,
        fps: int = 30,
    ) -> None:
        self.rates = (input_sample_rate, output_sample_rate)
        self.phone_mode = False
        self.clear_queue: Any = None
        self.channel: Any = None
        self.messages: list[str] = []

    def set_channel(self, channel: Any) -> None:
        """Give it the data channel."""
        self.channel = channel

    async def send_message(self, message: str) -> None:
        """Send over the data channel."""
        if self.channel is not None:
            self.messages.append(message)


class CloseStream:
    """What a handler emits to close its client."""


class Stream:
    """The routes of a handler.

    Attributes:
        connections: The clients by their id.
        pcs: The WebRTC connections by their id.
        mounted: ``(app, path)`` of each mount.
        limit: The concurrency limit.
    """

    def __init__(
        self, *, handler: Any, modality: str, mode: str, concurrency_limit: int | None
    ) -> None:
        assert (modality, mode) == ("audio", "send-receive")
        self.handler = handler
        self.limit = concurrency_limit
        self.connections: dict[str, list[Any]] = {}
        self.pcs: dict[str, PeerConnection] = {}
        self.mounted: list[tuple[Any, str]] = []

    def mount(self, app: Any, path: str = "") -> None:
        """Add routes to an app."""
        self.mounted.append((app, path))

    def clean_up(self, webrtc_id: str) -> None:
        """Forget a client."""
        self.connections.pop(webrtc_id, None)
        self.pcs.pop(webrtc_id, None)


class PeerConnection:
    """The connection of a WebRTC client.

    Attributes:
        closed: Whether we closed it.
    """

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        """Close."""
        self.closed = True


class WebSocket:
    """The socket of a client; it keeps what was sent.

    Attributes:
        sent: The messages.
        closed: Whether we closed it.
        fails: Sending raises.
        hangs: Sending never ends.
    """

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed = False
        self.fails = False
        self.hangs = False

    async def send_json(self, message: dict[str, Any]) -> None:
        """Send."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise RuntimeError("the socket of 203.0.113.7 is closed")
        self.sent.append(message)

    async def close(self) -> None:
        """Close."""
        self.closed = True


class Client:
    """A client, driven as FastRTC drives its handler.

    Attributes:
        emitted: What ``emit`` gave.
        emits: How often it returned.
        cleared: How often FastRTC's queue was emptied.
        channel: Its data channel.
        pc: Its connection, of a WebRTC client.
    """

    def __init__(self, stream: Stream, name: Any, *, kind: str = "websocket") -> None:
        self.stream = stream
        self.name = name
        self.handler = stream.handler.copy()
        self.channel = SimpleNamespace(bufferedAmount=0)
        self.handler.set_channel(self.channel)
        self.pc = PeerConnection()
        self.handler.phone_mode = kind == "phone"
        self.handler.clear_queue = self._clear
        self.websocket = None if kind == "webrtc" else WebSocket()
        self.emitted: list[Any] = []
        self.emits = 0
        self.cleared = 0
        self._kind = kind
        # FastRTC begins to emit before the client has said who it is.
        self.emitting = asyncio.create_task(self._emit())
        self.start(name)
        if kind == "webrtc":
            stream.pcs[name] = self.pc
        elif kind == "websocket" and isinstance(name, str):
            stream.connections[name] = [SimpleNamespace(websocket=self.websocket)]

    def start(self, name: Any) -> None:
        """Say who it is."""
        _context.set(SimpleNamespace(webrtc_id=name, websocket=self.websocket))
        self._started = asyncio.create_task(self.handler.start_up())

    async def started(self) -> Self:
        """Wait until FastRTC has told who it is."""
        await self._started
        return self

    async def _emit(self) -> None:
        while True:
            found = await self.handler.emit()
            self.emits += 1
            if found is not None:
                self.emitted.append(found)

    async def hear(self, *frames: Any, rate: int | None = None) -> Self:
        """Receive frames from the client; FastRTC gives them the handler's rate."""
        await self._started
        for frame in frames:
            await self.handler.receive((rate or self.handler.rates[0], frame))
        return self

    def pcm(self) -> bytes:
        """Return the audio that was emitted."""
        return b"".join(
            each[1].tobytes() for each in self.emitted if not isinstance(each, CloseStream)
        )

    def _clear(self) -> None:
        self.cleared += 1

    async def leave(self) -> None:
        """Go, as FastRTC notices it: a WebRTC handler is told, another's task is cancelled."""
        if self._kind == "webrtc":
            self.stream.pcs.pop(self.name, None)
            await self.handler.shutdown()
        self.emitting.cancel()
        await asyncio.wait([self.emitting])


@dataclass
class Packages:
    """The two modules."""

    fastrtc: Any
    numpy: Any


def _current() -> Any:
    """Return what is known of the client, as FastRTC does."""
    found = _context.get(None)
    if found is None:
        raise RuntimeError("No context found")
    return found


def packages() -> Packages:
    """Return the fake modules."""
    fastrtc = SimpleNamespace(
        AsyncStreamHandler=AsyncStreamHandler,
        CloseStream=CloseStream,
        Stream=Stream,
        get_current_context=_current,
    )
    numpy = SimpleNamespace(frombuffer=lambda data, dtype: Samples(list(array("h", data)), ndim=1))
    return Packages(fastrtc, numpy)
