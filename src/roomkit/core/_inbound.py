"""RoomKit's face to messages: from outside, and said in a room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from roomkit.core._helpers import HelpersMixin

if TYPE_CHECKING:
    from roomkit.core.services.messages import Messages
    from roomkit.models.delivery import DeliveryStatus, InboundMessage, InboundResult
    from roomkit.models.event import EventContent, RoomEvent
    from roomkit.providers.webhook import Signal

from roomkit.models.enums import EventType


class WebhookLike(Protocol):
    """What ``process_webhook`` needs of a parsed webhook, such as a WebhookMeta."""

    @property
    def is_inbound(self) -> bool:
        """Whether it is a message."""
        ...

    @property
    def is_status(self) -> bool:
        """Whether it is a delivery status."""
        ...

    def to_inbound(self, channel_id: str) -> InboundMessage:
        """Return it as a message."""
        ...

    def to_status(self) -> DeliveryStatus:
        """Return it as a delivery status."""
        ...


class InboundMixin(HelpersMixin):
    """Messages and delivery statuses."""

    _messages: Messages

    async def process_inbound(
        self,
        message: InboundMessage,
        *,
        room_id: str | None = None,
        organization_id: str | None = None,
        wait: bool = True,
    ) -> InboundResult:
        """Bring a message from outside into its room and deliver it to everybody there.

        Args:
            message: The message.
            room_id: The room, when the caller knows it; else the router chooses, and a first
                contact opens a room of its own.
            organization_id: The tenant a new room belongs to.
            wait: Whether to wait for the deliveries; False returns after the commit.

        An edit, delete or reaction with ``metadata["target_message_id"]`` (a vendor's id)
        is about the event sent or received by the same channel under that id: it goes into
        that event's room. A reaction is published and not stored (``ephemeral``).

        Returns:
            The stored event, or why the message was refused. A repeat of an idempotency key
            gives ``blocked=True, reason="duplicate"`` with the first event, at once. The call
            returns when the event and its answers are delivered (or have failed for good), or
            after ``settle_timeout``; called from a hook or channel, after the commit.

        Raises:
            ChannelNotRegisteredError: No such channel.
            RoomNotFoundError: No such room.
            InvalidInputError: The message cannot be stored; nothing was.
            CommitOutcomeUnknown: The store did not answer; repeat with the same key.
        """
        await self._ready()
        return await self._messages.receive(message, room_id, organization_id, wait=wait)

    async def process_signal(self, signal: Signal) -> InboundResult:
        """Process a vendor's reaction, edit or revoke, as a webhook handler reads it.

        Returns:
            As ``process_inbound`` of ``signal.to_inbound()``, after the commit: refused
            ``target_event_not_found`` when the message it is about is not known, and
            ``ephemeral`` for a reaction, which was published.
        """
        await self._ready()
        return await self._messages.receive(signal.to_inbound(), wait=False)

    async def process_webhook(self, meta: WebhookLike, channel_id: str) -> None:
        """Process a parsed webhook: a message, a delivery status, or nothing of either.

        Args:
            meta: A WebhookMeta, as ``extract_sms_meta`` gives it.
            channel_id: The registered channel it came for.
        """
        await self._ready()
        await self._messages.webhook(meta, channel_id)

    async def process_delivery_status(self, status: DeliveryStatus) -> None:
        """Record what a vendor reports about a message we sent, and tell the handlers.

        The event's ``delivery_results`` follow it; a lower status never replaces a higher one
        and a failure is final. Handlers run in the order they were registered; one that fails
        is logged and the rest run.
        """
        await self._ready()
        await self._messages.status(status)

    async def send_event(
        self,
        room_id: str,
        channel_id: str,
        content: EventContent,
        event_type: EventType = EventType.MESSAGE,
        chain_depth: int = 0,
        participant_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        visibility: str = "all",
        *,
        idempotency_key: str | None = None,
        parent_event_id: str | None = None,
        correlation_id: str | None = None,
    ) -> RoomEvent:
        """Say something in a room, as if it came by one of its channels.

        It passes the gates, is stored, delivered and answered like any message.

        Args:
            room_id: The room.
            channel_id: The attached channel it is said through; that one does not get it.
            content: What is said.
            event_type: What it is about.
            chain_depth: How many answers led here; more when called from a hook or channel.
            participant_id: Who says it.
            metadata: Anything JSON can carry.
            visibility: Who gets it; see RoomEvent.
            idempotency_key: Per room one event a key; a repeat returns the first one.
            parent_event_id: What it answers.
            correlation_id: Shared by events that belong together.

        Returns:
            The stored event; its status is BLOCKED when a gate refused it.

        Raises:
            RoomNotFoundError: No such room.
            ChannelNotFoundError: The channel is not attached to it.
            RoomClosedError: The room is closed.
            EventRefusedError: Nothing was stored; ``reason`` says why.
        """
        await self._ready()
        return await self._messages.send(
            room_id,
            channel_id,
            content,
            event_type=event_type,
            chain_depth=chain_depth,
            participant_id=participant_id,
            metadata=metadata or {},
            visibility=visibility,
            idempotency_key=idempotency_key,
            parent_event_id=parent_event_id,
            correlation_id=correlation_id,
        )
