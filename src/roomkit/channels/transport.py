"""The channel behind most channels: a provider does the sending, the binding says to whom."""

from __future__ import annotations

import logging
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from roomkit._scope import delivery_scope
from roomkit.channels._capabilities import in_force
from roomkit.channels.base import Channel
from roomkit.exceptions import ProviderDeliveryError
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.content import CompositeContent, DeleteContent, EditContent, MediaContent
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelType
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from roomkit.models.reasons import Reason
from roomkit.providers.base import Provider
from roomkit.providers.webhook import WebhookHandler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage

logger: logging.Logger = logging.getLogger("roomkit.channels.transport")

_NOTHING = ChannelOutput.empty()
_SENDERS = 1024
_SEND = object()
_PERMANENT = frozenset(
    {Reason.EMPTY_MESSAGE.value, "unsupported_media", Reason.NO_RECIPIENT.value}
)
"""Errors that say something about the message: the same message will fail again."""


class SenderCache:
    """What all plain messages of one sender have in common, made once: memory and time.

    Holds the newest 1,024 pairs of (sender, channel type); the oldest makes room.

    Args:
        channel_id: The channel the messages enter by.
    """

    __slots__ = ("_channel_id", "_known")

    def __init__(self, channel_id: str) -> None:
        self._channel_id = channel_id
        self._known: dict[tuple[str | None, ChannelType], tuple[EventSource, ChannelData]] = {}

    def shared(
        self, participant_id: str | None, channel_type: ChannelType
    ) -> tuple[EventSource, ChannelData]:
        """Return the source of a message without ids of its own, and channel data without any."""
        key = (participant_id, channel_type)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _SENDERS:
                del self._known[next(iter(self._known))]
            found = self._known[key] = (
                EventSource(
                    channel_id=self._channel_id,
                    channel_type=channel_type,
                    participant_id=participant_id,
                ),
                ChannelData(),
            )
        return found


class TransportChannel(Channel):
    """A channel that hands events to a provider.

    Args:
        channel_id: Unique within a kit.
        channel_type: What the channel speaks.
        provider: Anything with ``async send(event, to=..., **options)`` and ``async close()``.
            Without one deliveries go nowhere and count as done. One that gives the vendor the
            id of ``current_delivery()`` says so by an attribute ``sends_idempotency_key`` that
            is True; then a send of unclear outcome may be repeated.
        capabilities: What this kind of channel can carry; text by default.
        recipient_key: The binding metadata key that holds the recipient's address.
        defaults: Options of every send. A value that is not None is passed as it is; a None is
            filled in from the binding's metadata under the same key.
        address_of: Returns the address an answer to a message goes to; the sender's by default.
        requires_recipient: Whether the engine's deliveries need an address. Default: yes,
            except for webhooks and without a ``recipient_key``.
    """

    recipient_key: str

    def __init__(
        self,
        channel_id: str,
        channel_type: ChannelType,
        *,
        provider: Any = None,
        capabilities: ChannelCapabilities | None = None,
        recipient_key: str = "recipient_id",
        defaults: dict[str, Any] | None = None,
        requires_recipient: bool | None = None,
        address_of: Callable[[InboundMessage], str] | None = None,
    ) -> None:
        super().__init__(channel_id)
        if requires_recipient is None:
            requires_recipient = bool(recipient_key) and channel_type is not ChannelType.WEBHOOK
        self.channel_type = channel_type
        self.recipient_key = recipient_key
        self.requires_recipient = requires_recipient
        self.sends_idempotency_key: bool = getattr(provider, "sends_idempotency_key", None) is True
        self._provider = provider
        own = getattr(type(provider), "prepare", Provider.prepare)
        self._prepares = own is not Provider.prepare
        self._own_capabilities = capabilities or ChannelCapabilities()
        self._in_force: ChannelCapabilities | None = None
        self._defaults = dict(defaults or {})
        # Sorted out once: a send looks up only what its binding has to say.
        self._fixed_options = {k: v for k, v in self._defaults.items() if v is not None}
        self._open_options = tuple(k for k, v in self._defaults.items() if v is None)
        self._address_of = address_of
        self._senders = SenderCache(channel_id)
        self._closed = False

    @property
    def info(self) -> dict[str, Any]:
        """The options of every send that do not come from the binding."""
        return dict(self._fixed_options)

    def capabilities(self) -> ChannelCapabilities:
        """Return what the channel and its provider can both carry; always the same object."""
        if self._in_force is None:
            self._in_force = in_force(self._own_capabilities, _said_by(self._provider))
        return self._in_force

    def reply_address(self, message: InboundMessage) -> str:
        """Return the address an answer goes to; see ``Channel.reply_address``."""
        return message.sender_id if self._address_of is None else self._address_of(message)

    def webhook(self) -> WebhookHandler | None:
        """Return the provider's reader of callbacks; None when it has none."""
        make = getattr(self._provider, "webhook", None)
        handler = make() if callable(make) else None
        if isinstance(handler, WebhookHandler):
            return handler
        _discard(handler)
        return None

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event a message is; an SMS with media comes from an MMS.

        Messages without ids of their own share one source per sender.
        """
        channel_type = self.channel_type
        if channel_type is ChannelType.SMS and _has_media(message.content):
            channel_type = ChannelType.MMS
        sender = message.sender_id or None
        external_id, thread_id = message.external_id, message.thread_id
        if external_id is None:
            source, data = self._senders.shared(sender, channel_type)
        else:
            source = EventSource(
                channel_id=self.channel_id,
                channel_type=channel_type,
                participant_id=sender,
                external_id=external_id,
            )
        if external_id is not None or thread_id is not None:
            data = ChannelData(external_id=external_id, thread_id=thread_id)
        return RoomEvent(
            room_id=context.room.id,
            type=message.event_type,
            source=source,
            content=message.content,
            idempotency_key=message.idempotency_key,
            metadata=message.metadata,
            channel_data=data,
        )

    async def deliver(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Send the event to the recipient the binding names.

        The provider's answer is left in ``current_delivery().result``.

        Raises:
            ProviderDeliveryError: The provider answered that it failed, with the provider's
                code; or ``no_recipient`` when the engine delivers (elsewhere a missing address
                is passed on as an empty one).
            Exception: Whatever else the provider raises.
        """
        provider = self._provider
        if provider is None:
            return _NOTHING
        delivery = delivery_scope.get()
        settings = binding.metadata
        recipient = settings.get(self.recipient_key, "")
        if not recipient and delivery is not None and self.requires_recipient:
            raise ProviderDeliveryError(
                Reason.NO_RECIPIENT.value, provider=_name(provider), retryable=False
            )
        options = self._options(settings) if self._open_options else self._fixed_options
        content = event.content
        if isinstance(content, (EditContent, DeleteContent)) and self._changes(content):
            result = await self._change(content, recipient)
        else:
            result = _SEND
        if result is _SEND:
            if self._prepares:
                event = provider.prepare(event, binding, context)
            result = await provider.send(event, to=recipient, **options)
        if isinstance(result, ProviderResult):
            if delivery is not None:
                delivery.result = result
            if not result.success:
                raise _failure(provider, result)
        return _NOTHING

    def _options(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a send, the open ones from the binding."""
        return {**self._fixed_options, **{key: settings.get(key) for key in self._open_options}}

    def _changes(self, content: EditContent | DeleteContent) -> bool:
        """Return whether the provider can change messages it has sent."""
        method = "edit_message" if isinstance(content, EditContent) else "delete_message"
        own = getattr(type(self._provider), method, None)
        return own is not None and own is not getattr(Provider, method)

    async def _change(self, content: EditContent | DeleteContent, to: str) -> Any:
        """Edit or take back what was sent.

        Returns:
            The provider's answer; ``_SEND`` when the target never got there: an edit then goes
            out as a message of its own, and there is nothing to take back.
        """
        host, target = self._host, content.target_event_id
        sent = None if host is None else await host.find_sent_message(target, self.channel_id)
        if isinstance(content, EditContent):
            if sent is None:
                return _SEND
            return await self._provider.edit_message(to, sent, content.new_content)
        return None if sent is None else await self._provider.delete_message(to, sent)

    async def send_typing(self, binding: ChannelBinding, is_typing: bool = True) -> bool:
        """Show or hide "typing" at the recipient.

        Returns:
            False when that is impossible: no provider, no recipient or no such signal.

        Raises:
            Exception: Whatever the provider raises.
        """
        return await self._signal("send_typing", binding, is_typing=is_typing)

    async def mark_read(
        self, binding: ChannelBinding, message_ids: Sequence[str], *, sender: str | None = None
    ) -> bool:
        """Tell the sender that messages were read.

        Args:
            binding: The channel's place in the room; it names the chat.
            message_ids: The vendor's ids (``event.source.external_id``).
            sender: Who wrote them, in a chat of several; default: the chat itself.

        Returns:
            False when that is impossible; see ``send_typing``.
        """
        chat = binding.metadata.get(self.recipient_key) or ""
        ids = [message_ids] if isinstance(message_ids, str) else list(message_ids)
        return await self._signal("mark_read", binding, ids, at="chat", sender=sender or chat)

    async def send_reaction(
        self, binding: ChannelBinding, message_id: str, emoji: str, *, sender: str | None = None
    ) -> bool:
        """React to a message.

        Args:
            binding: The channel's place in the room; it names the chat.
            message_id: The vendor's id of the message.
            emoji: The reaction; empty takes it back.
            sender: Who wrote it, in a chat of several; default: the chat itself.

        Returns:
            False when that is impossible; see ``send_typing``.
        """
        chat = binding.metadata.get(self.recipient_key) or ""
        return await self._signal(
            "send_reaction",
            binding,
            at="chat",
            sender=sender or chat,
            message_id=message_id,
            emoji=emoji,
        )

    async def close(self) -> None:
        """Close the provider, once."""
        if not self._closed:
            self._closed = True
            await super().close()

    async def _signal(
        self, method: str, binding: ChannelBinding, *args: Any, at: str = "to", **options: Any
    ) -> bool:
        """Call an optional method of the provider, the recipient under the keyword ``at``."""
        recipient = binding.metadata.get(self.recipient_key)
        call = getattr(self._provider, method, None)
        if not recipient or call is None:
            return False
        try:
            done: Awaitable[bool | None] = call(*args, **{at: recipient}, **options)
            return await done is not False
        except NotImplementedError:
            return False


def _has_media(content: object) -> bool:
    if isinstance(content, CompositeContent):
        return any(isinstance(part, MediaContent) for part in content.parts)
    return isinstance(content, MediaContent)


def _said_by(provider: Any) -> ChannelCapabilities | None:
    """Return what a provider says it can carry, if it says anything of use."""
    say = getattr(provider, "capabilities", None)
    if not callable(say):
        return None
    said = say()
    if isinstance(said, ChannelCapabilities):
        return said
    _discard(said)
    return None


def _discard(said: object) -> None:
    """Drop what a stand-in that makes every method async said: unawaited it would warn."""
    if isawaitable(said) and hasattr(said, "close"):
        said.close()


def _name(provider: Any) -> str:
    name = getattr(provider, "name", "")
    return name if isinstance(name, str) else ""


def _failure(provider: Any, result: ProviderResult) -> ProviderDeliveryError:
    """Return the error a failed answer is."""
    code, details = result.error or "failed", result.metadata
    retry_after, status_code = details.get("retry_after"), details.get("status_code")
    return ProviderDeliveryError(
        code,
        provider=_name(provider),
        retryable=details.get("retryable") is not False and code not in _PERMANENT,
        retry_after=float(retry_after) if isinstance(retry_after, int | float) else None,
        status_code=status_code if isinstance(status_code, int) else None,
        ambiguous=bool(details.get("ambiguous")),
        result=result,
    )
