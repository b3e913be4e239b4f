"""The base class of providers that send text messages (SMS and MMS)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from roomkit.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.delivery import InboundMessage, ProviderResult
    from roomkit.models.event import RoomEvent


class SMSProvider(Provider):
    """A client of an SMS vendor."""

    @property
    @abstractmethod
    def from_number(self) -> str:
        """The number messages come from unless ``send`` is told another."""

    @abstractmethod
    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Send the content of an event to one phone; see ``Provider.send``.

        Args:
            event: What to send.
            to: The recipient's number in E.164.
            from_: The sender's number; None means ``from_number``.
        """

    async def parse_webhook(self, payload: Mapping[str, Any]) -> InboundMessage:
        """Return the message a callback holds.

        Raises:
            NotImplementedError: Always, here; the vendors' modules have parse functions, and
                ``webhook()`` is the general way.
        """
        raise NotImplementedError
