"""Messages from a personal WhatsApp account, as a linked device, by way of neonize.

neonize wraps whatsmeow, a client in Go that keeps the connection up by itself; its events
come from a thread of its own into one event loop a process. Not the Business API.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._aio import bounded, cancel_and_wait
from roomkit._logging import ids
from roomkit.exceptions import MissingDependencyError
from roomkit.sources import _neonize_parse as parse
from roomkit.sources._neonize_parse import NeonizeMessageParser, default_message_parser
from roomkit.sources.base import BaseSourceProvider, EmitCallback, SourceStatus

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.models.delivery import InboundMessage

# An OSError is its shared library or libmagic that could not be loaded. Older versions ask
# for an event loop where there is none, which is deprecated.
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from neonize.aioze.client import NewAClient

    HAS_NEONIZE = True
    _import_error: Exception | None = None
except (ImportError, OSError) as exc:
    NewAClient = None
    HAS_NEONIZE = False
    _import_error = exc

__all__ = [
    "HAS_NEONIZE",
    "NeonizeEventCallback",
    "NeonizeMessageParser",
    "NeonizeSource",
    "NewAClient",
    "WhatsAppPersonalSourceProvider",
    "default_message_parser",
    "parse_jid",
]

NeonizeEventCallback = Callable[[str, dict[str, Any]], Awaitable[None] | None]
"""Told of what is not a message: ``(type, data)``, a plain or an async function."""

_USER_SERVER = "s.whatsapp.net"
_DEVICE_PROPS = "neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2"
_EVENT_TIMEOUT = 30.0
_DISCONNECT_TIMEOUT = 10.0


def parse_jid(jid: str) -> Any:
    """Return neonize's own JID of ``user@server`` (or of a bare phone number).

    Raises:
        ImportError: neonize is not installed.
    """
    user, _, server = jid.partition("@")
    return import_module("neonize.utils.jid").build_jid(user, server or _USER_SERVER)


class WhatsAppPersonalSourceProvider(BaseSourceProvider):
    """A personal WhatsApp account linked like a web browser.

    The first start gives QR codes to ``on_event("qr", ...)``; after they were scanned the
    session lives in ``db``. Messages of one chat are emitted in order, those of different
    chats side by side. The client reconnects by itself (status RECONNECTING meanwhile).

    ``on_event(type, data)`` is told, 30 seconds each at most:

    - ``qr`` {codes}, ``authenticated`` {jid, user, device}, ``connected`` {},
      ``disconnected`` {}, ``logged_out`` {} (the account was unlinked, status ERROR);
    - ``reaction`` {chat_id, chat_jid, sender_id, is_from_me, target_message_id, emoji,
      push_name}; an empty emoji takes it back;
    - ``receipt`` {type, raw_type, chat, sender, sender_name, message_ids, timestamp};
    - ``presence`` {chat, sender, sender_name, state, media}: somebody is typing or recording.

    Args:
        db: The session file (or database URL) of neonize.
        channel_id: The channel the messages come by.
        parser: Makes messages of ``(client, event)``; default ``default_message_parser``.
        on_event: Told of what is not a message.
        device_name: What the phone shows among its linked devices.
        device_platform: One of ``PLATFORMS``; anything else is taken for ``chrome``.
        self_chat: Take one's own messages too, sent from another device.
        clock: What the times of ``healthcheck`` are read from.

    Attributes:
        PLATFORMS: Platform names to WhatsApp's numbers.
        RECEIPT_TYPES: WhatsApp's numbers of receipts to their names.
    """

    PLATFORMS: ClassVar[dict[str, int]] = {
        "chrome": 1,
        "firefox": 2,
        "safari": 5,
        "edge": 6,
        "desktop": 7,
    }
    RECEIPT_TYPES: ClassVar[dict[int, str]] = parse.RECEIPT_TYPES
    _log: ClassVar[logging.Logger] = logging.getLogger("roomkit.sources.neonize")

    def __init__(
        self,
        db: str = "whatsapp-session.db",
        channel_id: str = "whatsapp-personal",
        *,
        parser: NeonizeMessageParser | None = None,
        on_event: NeonizeEventCallback | None = None,
        device_name: str = "RoomKit",
        device_platform: str = "chrome",
        self_chat: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock=clock)
        self._db = db
        self._channel_id: str = channel_id
        self._parser = parser or default_message_parser(channel_id, self_chat=self_chat)
        self._on_event = on_event
        self._device_name = device_name
        self._device_platform = device_platform
        self._self_chat = self_chat
        self._client: Any = None
        self._connection: asyncio.Future[Any] | None = None
        self._names = parse.PushNames()
        self._turns = parse.ChatTurns()

    @property
    def name(self) -> str:
        """Return ``neonize:<db>``."""
        return f"neonize:{self._db}"

    @property
    def client(self) -> Any:
        """Return the neonize client while the source runs, else None."""
        return self._client

    _parse_jid = staticmethod(parse_jid)

    async def start(self, emit: EmitCallback) -> None:
        """Connect and emit messages until stopped.

        Raises:
            MissingDependencyError: neonize is not installed (its cause says what is wrong).
            Exception: The client could not connect or ended by itself.
        """
        if not HAS_NEONIZE or NewAClient is None:
            raise MissingDependencyError(
                "neonize", user=type(self).__name__, extra="whatsapp-personal"
            ) from _import_error
        await self._run(lambda: self._session(emit))

    async def _session(self, emit: EmitCallback) -> None:
        await self._prepare()
        try:
            self._client = client = self._make_client()
            self._register(client, emit)
            connection = await self._or_stop(client.connect())
            # Newer clients give the task that lasts as long as the connection does.
            if isinstance(connection, asyncio.Future):
                self._connection = connection
                await self._or_stop(asyncio.wait((connection,)))
                error = None if connection.cancelled() else connection.exception()
                raise error or ConnectionError("the WhatsApp client ended by itself")
            await self._stop_event.wait()
        finally:
            await self._disconnect()

    async def _prepare(self) -> None:
        """Make ready what the client needs on disk; here nothing."""

    def _make_client(self) -> Any:
        # Its events are sent into the loop it finds here, so before it is made; which of the
        # two modules it looks into depends on its version.
        loop = asyncio.get_running_loop()
        for module in ("neonize.aioze.events", "neonize.aioze.client"):
            import_module(module).event_global_loop = loop  # type: ignore[attr-defined]
        return NewAClient(self._db, props=self._device_props())

    def _device_props(self) -> Any:
        try:
            device_props = import_module(_DEVICE_PROPS).DeviceProps
        except ImportError:
            return None
        platform = self.PLATFORMS.get(self._device_platform.lower(), self.PLATFORMS["chrome"])
        return device_props(os=self._device_name, platformType=platform)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        connection, self._connection = self._connection, None
        if client is not None:
            try:
                result = client.disconnect()
                if inspect.isawaitable(result):
                    async with asyncio.timeout(_DISCONNECT_TIMEOUT):
                        await result
            except Exception as exc:  # noqa: BLE001 - it is gone either way
                self._log.debug("disconnecting failed: %s", type(exc).__name__)
        # Only its cancellation tells the Go side to let go of its thread.
        if connection is not None and isinstance(connection, asyncio.Task):
            await cancel_and_wait((connection,))

    async def stop(self) -> None:
        """Stop and disconnect; errors of disconnecting are not worth an exception."""
        await super().stop()
        await self._disconnect()

    def _register(self, client: Any, emit: EmitCallback) -> None:
        events = import_module("neonize.aioze.events")

        async def on_message(client: Any, event: Any) -> None:
            await self._take_message(client, event, emit)

        client.qr(self._contained(self._take_qr))
        for kind, handler in (
            (events.PairStatusEv, self._take_pairing),
            (events.ConnectedEv, self._take_connected),
            (events.DisconnectedEv, self._take_disconnected),
            (events.LoggedOutEv, self._take_logged_out),
            (events.ReceiptEv, self._take_receipt),
            (events.ChatPresenceEv, self._take_presence),
            (events.MessageEv, on_message),
        ):
            client.event(kind)(self._contained(handler))

    def _contained(
        self, handler: Callable[[Any, Any], Awaitable[None]]
    ) -> Callable[[Any, Any], Awaitable[None]]:
        """Wrap a handler: nothing after ``stop``, and no error is lost in the client."""

        async def handle(client: Any, event: Any) -> None:
            if self._should_stop():
                return
            try:
                await handler(client, event)
            except Exception as exc:  # noqa: BLE001 - a vendor's event of unknown shape
                self._note_failure("event_errors", "an event could not be handled", exc)

        return handle

    async def _take_qr(self, client: Any, data: Any) -> None:
        text = data.decode() if isinstance(data, bytes) else str(data)
        if self._on_event is None:
            self._log.warning(
                "WhatsApp wants a QR code scanned, but there is no on_event to show it",
                extra=ids(channel_id=self._channel_id),
            )
        await self._fire_event("qr", {"codes": text.split(",")})

    async def _take_pairing(self, client: Any, event: Any) -> None:
        if isinstance(event.Error, str) and event.Error:
            self._log.error("pairing failed", extra=ids(channel_id=self._channel_id))
            return
        jid = event.ID
        await self._fire_event(
            "authenticated",
            {"jid": parse.jid_text(jid), "user": jid.User, "device": jid.Device},
        )

    async def _take_connected(self, client: Any, event: Any) -> None:
        self._set_status(SourceStatus.CONNECTED)
        self._log.info("source connected", extra=ids(channel_id=self._channel_id))
        await self._fire_event("connected", {})
        try:
            presence = import_module("neonize.utils.enum").Presence
            await client.send_presence(presence.AVAILABLE)
        except Exception as exc:  # noqa: BLE001 - being seen online is a courtesy
            self._log.debug("presence was not sent: %s", type(exc).__name__)

    async def _take_disconnected(self, client: Any, event: Any) -> None:
        self._set_status(SourceStatus.RECONNECTING)
        await self._fire_event("disconnected", {})

    async def _take_logged_out(self, client: Any, event: Any) -> None:
        self._set_status(SourceStatus.ERROR, "logged_out")
        self._log.error("the account was unlinked", extra=ids(channel_id=self._channel_id))
        await self._fire_event("logged_out", {})

    async def _take_receipt(self, client: Any, event: Any) -> None:
        name = self._names.of(event.MessageSource.Sender)
        await self._fire_event("receipt", parse.read_receipt(event, name))

    async def _take_presence(self, client: Any, event: Any) -> None:
        name = self._names.of(event.MessageSource.Sender)
        await self._fire_event("presence", parse.read_presence(event, name))

    async def _take_message(self, client: Any, event: Any, emit: EmitCallback) -> None:
        source = event.Info.MessageSource
        self._names.remember(event.Info.Pushname, source)
        if event.Message.HasField("reactionMessage"):
            await self._fire_event("reaction", parse.read_reaction(event))
            return
        if self._turns.full:
            self._counts["dropped"] += 1
            self._log.error(
                "too many messages are waiting, one was dropped",
                extra=ids(channel_id=self._channel_id),
            )
            return
        # Reading may take a download; what follows in the chat must not overtake it.
        async with self._turns.turn(parse.jid_text(source.Chat)):
            message = await self._read(client, event)
            if message is not None:
                await self._pass_on(message, emit)

    async def _read(self, client: Any, event: Any) -> InboundMessage | None:
        try:
            message = self._parser(client, event)
            if inspect.isawaitable(message):
                message = await message
        except Exception as exc:  # noqa: BLE001 - a parser is foreign code
            self._note_failure("parse_errors", "the parser failed", exc)
            return None
        if message is None:
            self._counts["skipped"] += 1
        return message

    async def _fire_event(self, event_type: str, data: dict[str, Any]) -> None:
        """Tell ``on_event``; what goes wrong in it is logged."""
        if self._on_event is None:
            return
        try:
            result = self._on_event(event_type, data)
            if inspect.isawaitable(result):
                await bounded(_awaited(result), _EVENT_TIMEOUT)
        except Exception as exc:  # noqa: BLE001 - a callback is foreign code
            self._note_failure("event_errors", f"on_event failed for {event_type}", exc)

    def _connected_client(self) -> Any:
        if self._client is None or self._status is not SourceStatus.CONNECTED:
            raise RuntimeError("the WhatsApp source is not connected")
        return self._client

    async def send(self, jid: str, text: str) -> Any:
        """Send a text; returns the client's own answer.

        Raises:
            RuntimeError: The source is not connected.
        """
        return await self._connected_client().send_message(jid, text)

    async def send_composing(self, jid: Any, *, media: str = "text") -> None:
        """Show a chat that somebody is typing, or with ``media="audio"`` recording.

        Raises:
            RuntimeError: The source is not connected.
        """
        client = self._connected_client()
        enums = import_module("neonize.utils.enum")
        kinds = enums.ChatPresenceMedia
        await client.send_chat_presence(
            _jid(jid),
            enums.ChatPresence.CHAT_PRESENCE_COMPOSING,
            kinds.CHAT_PRESENCE_MEDIA_AUDIO
            if media == "audio"
            else kinds.CHAT_PRESENCE_MEDIA_TEXT,
        )

    async def send_paused(self, jid: Any) -> None:
        """Show a chat that nobody is typing any more.

        Raises:
            RuntimeError: The source is not connected.
        """
        client = self._connected_client()
        enums = import_module("neonize.utils.enum")
        await client.send_chat_presence(
            _jid(jid),
            enums.ChatPresence.CHAT_PRESENCE_PAUSED,
            enums.ChatPresenceMedia.CHAT_PRESENCE_MEDIA_TEXT,
        )

    async def mark_read(self, message_ids: Sequence[str], chat: Any, sender: Any) -> None:
        """Show the sender that messages of a chat have been read.

        Raises:
            RuntimeError: The source is not connected.
        """
        client = self._connected_client()
        receipts = import_module("neonize.utils.enum").ReceiptType
        await client.mark_read(
            *message_ids, chat=_jid(chat), sender=_jid(sender), receipt=receipts.READ
        )

    async def send_reaction(self, chat: Any, sender: Any, message_id: str, emoji: str) -> Any:
        """React to a message; an empty ``emoji`` takes the reaction back.

        Args:
            chat: The chat the message is in.
            sender: Who wrote it.
            message_id: WhatsApp's id of it.
            emoji: The reaction.

        Raises:
            RuntimeError: The source is not connected.
        """
        client = self._connected_client()
        chat_jid = _jid(chat)
        reaction = await client.build_reaction(chat_jid, _jid(sender), message_id, emoji)
        return await client.send_message(chat_jid, reaction)


class NeonizeSource(WhatsAppPersonalSourceProvider):
    """The same source under its short name, with a session file in the user's home.

    Args:
        session_path: The session file; ``~`` is expanded, and a missing folder is made,
            readable for its owner only, when the source starts.
        channel_id: See ``WhatsAppPersonalSourceProvider``, also for the rest.
        parser: Makes messages of ``(client, event)``.
        on_event: Told of what is not a message.
        device_name: What the phone shows among its linked devices.
        device_platform: One of ``PLATFORMS``.
        self_chat: Take one's own messages too.
        clock: What the times of ``healthcheck`` are read from.
    """

    def __init__(
        self,
        session_path: str = "~/.roomkit/wa.db",
        channel_id: str = "whatsapp-personal",
        *,
        parser: NeonizeMessageParser | None = None,
        on_event: NeonizeEventCallback | None = None,
        device_name: str = "RoomKit",
        device_platform: str = "chrome",
        self_chat: bool = False,
        clock: Clock | None = None,
    ) -> None:
        path = Path(session_path).expanduser()
        super().__init__(
            str(path),
            channel_id,
            parser=parser,
            on_event=on_event,
            device_name=device_name,
            device_platform=device_platform,
            self_chat=self_chat,
            clock=clock,
        )
        self._folder = path.parent

    async def _prepare(self) -> None:
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)


def _jid(value: Any) -> Any:
    return parse_jid(value) if isinstance(value, str) else value


async def _awaited(awaitable: Awaitable[Any]) -> None:
    await awaitable
