"""Who is behind an address: the one question RoomKit asks about people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.identity import IdentityResult


class IdentityResolver(ABC):
    """Tells who sent a message. Give one to ``RoomKit(identity_resolver=...)``.

    It is asked before the room is locked, within ``RoomKit(identity_timeout=...)`` seconds;
    running out of them counts as UNKNOWN. It may be asked about many messages at once.
    """

    @abstractmethod
    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        """Return what is known about the sender of ``message``.

        Args:
            message: As it came in; ``message.sender_id`` is the raw address.
            context: The room it is about to enter, as it was just before.

        Returns:
            IDENTIFIED with an identity names the sender. AMBIGUOUS (with candidates) and
            PENDING ask the ON_IDENTITY_AMBIGUOUS hooks, UNKNOWN and REJECTED the
            ON_IDENTITY_UNKNOWN hooks. Where ``address`` and ``channel_type`` are None the
            engine fills in the message's own.

        Raises:
            Exception: Whatever is raised reaches the caller of ``process_inbound``; nothing
                is stored then.
        """
