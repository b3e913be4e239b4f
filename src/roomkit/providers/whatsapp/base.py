"""The base class of providers that send WhatsApp messages."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from roomkit.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.delivery import InboundMessage, ProviderResult
    from roomkit.models.event import RoomEvent


class WhatsAppProvider(Provider):
    """A client of WhatsApp, by the business API or by a linked phone."""

    @abstractmethod
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to one phone; see ``Provider.send``.

        Args:
            event: What to send.
            to: The recipient's number.
        """

    async def parse_webhook(self, payload: Mapping[str, Any]) -> InboundMessage:
        """Return the message a callback holds.

        Raises:
            NotImplementedError: The provider takes no callbacks.
        """
        raise NotImplementedError

    async def send_template(
        self, to: str, template_name: str, params: dict[str, Any] | None = None
    ) -> ProviderResult:
        """Send a template the vendor approved, as is needed to open a conversation.

        Args:
            to: The recipient's number.
            template_name: The template.
            params: What to fill it with.

        Raises:
            NotImplementedError: The provider has no templates.
        """
        raise NotImplementedError

    async def send_reaction(
        self, chat: str, sender: str, message_id: str, emoji: str
    ) -> bool | None:
        """React to a message; see ``Provider.send_reaction``.

        Raises:
            NotImplementedError: The provider has no reactions (other kinds return False).
        """
        raise NotImplementedError
