"""What every provider that carries messages has in common; each kind adds its own details.

Not for AI providers, which answer instead of carrying: see ``roomkit.providers.ai``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from roomkit.models.delivery import ProviderResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.models.channel import ChannelBinding, ChannelCapabilities
    from roomkit.models.content import EventContent
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.providers.webhook import WebhookHandler


class Provider(ABC):
    """A client of one vendor account.

    Subclass one of the kinds (``SMSProvider``, ``EmailProvider``, ...) and implement ``send``.
    A provider may be used by several channels and by many tasks at once. All methods but
    ``send`` and ``name`` are options with a default that says "I have nothing of the kind".
    """

    @property
    def name(self) -> str:
        """What to call the provider in logs and errors; the class name by default."""
        return type(self).__name__

    @abstractmethod
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to one recipient.

        A refusal by the vendor is an answer, not an exception: return
        ``ProviderResult(success=False, error="<short code>")``. Its metadata steers the
        retry: ``retryable`` (bool), ``retry_after`` (seconds), ``ambiguous`` (the vendor may
        have taken the message). ``roomkit.current_delivery()`` has an id that stays the same
        over the attempts, for vendors that take an idempotency key.

        Args:
            event: What to send; already transcoded to what the channel can carry.
            to: The recipient's address, as the vendor spells it.
        """

    async def edit_message(
        self, to: str, message_id: str, content: EventContent
    ) -> ProviderResult:
        """Change a message that was sent; only asked where ``capabilities`` allow edits.

        Args:
            to: The recipient's address.
            message_id: The vendor's id of the message.
            content: What it shall say.

        Returns:
            As ``send``; by default that the provider cannot.
        """
        return _cannot("edit")

    async def delete_message(self, to: str, message_id: str) -> ProviderResult:
        """Take a message back that was sent; only asked where ``capabilities`` allow it.

        Args:
            to: The recipient's address.
            message_id: The vendor's id of the message.

        Returns:
            As ``send``; by default that the provider cannot.
        """
        return _cannot("delete")

    def capabilities(self) -> ChannelCapabilities | None:
        """Return what the provider can carry, or None for all its channel can.

        What counts is what both the channel and the provider can; the rest is transcoded.
        Return the same object every time.
        """
        return None

    def prepare(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> RoomEvent:
        """Return what to send for an event, with what the room knows besides; by default itself.

        A channel calls it right before ``send``. Mail is put into its thread here.

        Args:
            event: The event, already transcoded.
            binding: The channel's place in the room.
            context: The room, its newest events ending with this one.
        """
        return event

    def webhook(self) -> WebhookHandler | None:
        """Return the reader of the vendor's callbacks, or None when there are none."""
        return None

    def verify_signature(
        self, payload: bytes, signature: str, timestamp: str | None = None
    ) -> bool:
        """Tell whether the vendor signed ``payload``.

        Args:
            payload: The raw body, byte for byte as received.
            signature: The vendor's signature header.
            timestamp: The vendor's timestamp header, where it signs one.

        Raises:
            NotImplementedError: The provider knows no signatures.
        """
        raise NotImplementedError(f"{self.name} does not support webhook signature verification")

    async def send_typing(self, to: str, *, is_typing: bool = True) -> bool | None:
        """Show or hide "typing" at the recipient.

        Returns:
            False when the provider has no such signal; anything else means it was sent.
        """
        return False

    async def mark_read(self, message_ids: Sequence[str], chat: str, sender: str) -> bool | None:
        """Tell the sender that messages were read.

        Args:
            message_ids: The vendor's ids of the messages.
            chat: The conversation's address.
            sender: Who wrote them.

        Returns:
            False when the provider has no such signal; anything else means it was sent.
        """
        return False

    async def send_reaction(
        self, chat: str, sender: str, message_id: str, emoji: str
    ) -> bool | None:
        """React to a message.

        Args:
            chat: The conversation's address.
            sender: Who wrote the message.
            message_id: The vendor's id of the message.
            emoji: The reaction; empty takes it back.

        Returns:
            False when the provider has no such signal; anything else means it was sent.
        """
        return False

    async def close(self) -> None:
        """Free connections. Idempotent; the default holds none."""


def _cannot(what: str) -> ProviderResult:
    return ProviderResult(
        success=False, error=f"{what}_not_supported", metadata={"retryable": False}
    )
