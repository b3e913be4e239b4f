"""The base class of providers that send Facebook Messenger messages."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from roomkit.providers.base import Provider

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent


class MessengerProvider(Provider):
    """A client of Facebook Messenger."""

    @abstractmethod
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to one person; see ``Provider.send``.

        Args:
            event: What to send.
            to: The recipient's page-scoped id.
        """
