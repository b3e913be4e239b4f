"""The base class of providers that send RCS messages, with SMS to fall back on."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from roomkit.models.delivery import ProviderResult
from roomkit.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent


class RCSDeliveryResult(ProviderResult):
    """A provider's answer to one send, and the way the message took.

    Attributes:
        channel_used: ``rcs`` or ``sms``.
        fallback: Whether SMS stood in for RCS.
    """

    channel_used: str = "rcs"
    fallback: bool = False


class RCSProvider(Provider):
    """A client of an RCS vendor."""

    @property
    @abstractmethod
    def sender_id(self) -> str:
        """The agent messages come from."""

    @property
    def supports_fallback(self) -> bool:
        """Whether SMS can stand in where RCS does not reach."""
        return True

    @abstractmethod
    async def send(self, event: RoomEvent, to: str, *, fallback: bool = True) -> RCSDeliveryResult:
        """Send the content of an event to one phone; see ``Provider.send``.

        Args:
            event: What to send.
            to: The recipient's number in E.164.
            fallback: Whether SMS may stand in for RCS.
        """

    async def check_capability(self, phone_number: str) -> bool:
        """Tell whether a phone can receive RCS.

        Raises:
            NotImplementedError: The provider cannot ask.
        """
        raise NotImplementedError(f"{self.name} does not support RCS capability checking")

    async def parse_webhook(self, payload: Mapping[str, Any]) -> InboundMessage:
        """Return the message a callback holds.

        Raises:
            NotImplementedError: Always, here; the vendors' modules have parse functions, and
                ``webhook()`` is the general way.
        """
        raise NotImplementedError
