"""A stand-in for neonize: the modules the source looks into, a client, and its messages."""

from __future__ import annotations

import asyncio
import base64
import sys
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from roomkit.sources import neonize as module

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    import pytest

    from roomkit.sources import EmitCallback, WhatsAppPersonalSourceProvider

EVENTS = (
    "PairStatusEv",
    "ConnectedEv",
    "DisconnectedEv",
    "LoggedOutEv",
    "ReceiptEv",
    "ChatPresenceEv",
    "MessageEv",
)


type Handler = Callable[[Any, Any], Coroutine[Any, Any, None]]


class FakeClient:
    """Has the methods of neonize's client that are used, and keeps what they are given."""

    made: FakeClient

    def __init__(self, name: str, *, props: Any = None) -> None:
        FakeClient.made = self
        self.name = name
        self.props = props
        self.loops = [
            sys.modules[f"neonize.aioze.{part}"].__dict__["event_global_loop"]
            for part in ("events", "client")
        ]
        self.handlers: dict[str, Handler] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.connected = asyncio.Event()
        self.disconnected = False
        self.connection: asyncio.Task[None] | None = None
        self.media: bytes | Exception = b"media"

    def qr(self, handler: Handler) -> None:
        self.handlers["qr"] = handler

    def event(self, kind: str) -> Callable[[Handler], None]:
        def register(handler: Handler) -> None:
            self.handlers[kind] = handler

        return register

    async def tell(self, kind: str, event: Any = None) -> None:
        await self.handlers[kind](self, event)

    async def connect(self) -> asyncio.Task[None] | None:
        self.connected.set()
        return self.connection

    async def disconnect(self) -> None:
        self.disconnected = True

    async def download_any(self, message: Any) -> bytes:
        if isinstance(self.media, Exception):
            raise self.media
        return self.media

    async def send_presence(self, presence: str) -> None:
        self.calls.append(("send_presence", presence))

    async def send_message(self, to: Any, message: Any) -> str:
        self.calls.append(("send_message", to, message))
        return "sent"

    async def send_chat_presence(self, *args: Any) -> None:
        self.calls.append(("send_chat_presence", *args))

    async def mark_read(self, *ids: str, chat: Any, sender: Any, receipt: Any) -> None:
        self.calls.append(("mark_read", ids, chat, sender, receipt))

    async def build_reaction(self, chat: Any, sender: Any, message_id: str, emoji: str) -> Any:
        return ("reaction", chat, sender, message_id, emoji)


def fake_modules() -> dict[str, dict[str, Any]]:
    return {
        "neonize": {},
        "neonize.aioze": {},
        "neonize.aioze.events": {name: name for name in EVENTS},
        "neonize.aioze.client": {},
        "neonize.utils": {},
        "neonize.utils.jid": {"build_jid": lambda user, server: f"JID({user},{server})"},
        "neonize.utils.enum": {
            "Presence": SimpleNamespace(AVAILABLE="available"),
            "ReceiptType": SimpleNamespace(READ="read"),
            "ChatPresence": SimpleNamespace(
                CHAT_PRESENCE_COMPOSING="composing", CHAT_PRESENCE_PAUSED="paused"
            ),
            "ChatPresenceMedia": SimpleNamespace(
                CHAT_PRESENCE_MEDIA_TEXT="text", CHAT_PRESENCE_MEDIA_AUDIO="audio"
            ),
        },
        "neonize.proto": {},
        "neonize.proto.waCompanionReg": {},
        "neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2": {
            "DeviceProps": lambda os, platformType: (os, platformType)  # noqa: N803
        },
    }


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in where the source looks for the package."""
    for name, attributes in fake_modules().items():
        stub = ModuleType(name)
        stub.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, stub)
    monkeypatch.setattr(module, "HAS_NEONIZE", True)
    monkeypatch.setattr(module, "NewAClient", FakeClient)


def jid(user: str, server: str = "s.whatsapp.net", device: int = 0) -> Any:
    return SimpleNamespace(User=user, Server=server, Device=device)


class Message(SimpleNamespace):
    """A protobuf message as far as it is used: unset text is empty, HasField knows the rest."""

    def HasField(self, name: str) -> bool:  # noqa: N802
        return name in self.__dict__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return ""


def message_event(
    sender: str = "111", chat: Any = None, *, from_me: bool = False, id: str = "M1", **fields: Any
) -> Any:
    source = SimpleNamespace(
        IsFromMe=from_me,
        Sender=jid(sender),
        SenderAlt=jid("999", "lid"),
        Chat=chat or jid(sender),
    )
    info = SimpleNamespace(MessageSource=source, Timestamp=1700000000, Pushname="Ann", ID=id)
    return SimpleNamespace(Info=info, Message=Message(**fields))


def media(**fields: Any) -> Message:
    return Message(**{"mimetype": "", "seconds": 0, "fileLength": 5, **fields})


def data_url(mime: str, data: bytes = b"media") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


class EventLog:
    """An ``on_event`` that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, kind: str, data: dict[str, Any]) -> None:
        self.events.append((kind, data))


@asynccontextmanager
async def running(
    source: WhatsAppPersonalSourceProvider, emit: EmitCallback
) -> AsyncIterator[FakeClient]:
    """Run a source, give its client, and stop it at the end; it must end cleanly."""
    task = asyncio.create_task(source.start(emit))
    try:
        yield await started()
    finally:
        await source.stop()
        async with asyncio.timeout(5):
            await task


async def started() -> FakeClient:
    """Return the client that a source just being started makes."""
    async with asyncio.timeout(5):
        while not hasattr(FakeClient, "made"):  # noqa: ASYNC110 - made in a constructor
            await asyncio.sleep(0)
        client = FakeClient.made
        await client.connected.wait()
    del FakeClient.made
    return client
