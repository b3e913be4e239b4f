"""The base class of providers that send Microsoft Teams messages."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from roomkit.providers.base import Provider

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent


class TeamsProvider(Provider):
    """A client of Microsoft Teams."""

    @abstractmethod
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to one conversation; see ``Provider.send``.

        Args:
            event: What to send.
            to: The conversation's id.
        """
