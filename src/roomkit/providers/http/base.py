"""The base class of providers that send messages posted to an HTTP endpoint."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from roomkit.providers.base import Provider

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent


class HTTPProvider(Provider):
    """A client of an HTTP endpoint that takes messages."""

    @abstractmethod
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to one recipient; see ``Provider.send``.

        Args:
            event: What to send.
            to: The recipient's id, as the endpoint knows it; not a URL.
        """
