"""The base class of providers that send e-mail."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from roomkit.providers.base import Provider
from roomkit.providers.email._thread import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
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
            event: What to send. Its metadata may say which mail it answers: ``in_reply_to`` (a
                message id) and ``references`` (a list of them).
            to: The recipient's address.
            from_: The sender's address; None means the configured one.
            subject: The subject line; None: the event's ``metadata["subject"]``.
        """

    def prepare(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> RoomEvent:
        """Return the event with what a mail needs from its room: the mail it answers.

        A room's mails are one conversation. ``in_reply_to``, ``references`` and a subject that
        begins with ``Re:`` come from the mail the event was written for, else from the newest
        of the channel.

        Args:
            event: What is about to be sent.
            binding: The channel's place in the room.
            context: The room; its recent events are looked at.
        """
        return in_thread(event, binding.channel_id, context.recent_events)

    async def parse_inbound(self, payload: Mapping[str, Any]) -> InboundMessage:
        """Return the mail a callback holds.

        Raises:
            NotImplementedError: The vendor forwards no mail to us.
        """
        raise NotImplementedError
