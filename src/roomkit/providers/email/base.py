"""The base class of providers that send e-mail."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from roomkit.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.delivery import InboundMessage, ProviderResult
    from roomkit.models.event import RoomEvent


class EmailProvider(Provider):
    """A client of an e-mail vendor."""

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        from_: str | None = None,
        subject: str | None = None,
    ) -> ProviderResult:
        """Send the content of an event to one address; see ``Provider.send``.

        Args:
            event: What to send.
            to: The recipient's address.
            from_: The sender's address; None means the configured one.
            subject: The subject line.
        """

    async def parse_inbound(self, payload: Mapping[str, Any]) -> InboundMessage:
        """Return the mail a callback holds.

        Raises:
            NotImplementedError: The vendor forwards no mail to us.
        """
        raise NotImplementedError
