"""What turns content into something another channel can carry; the interface of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent


class ContentTranscoder(ABC):
    """Adapts what one channel said to what another can show."""

    @abstractmethod
    async def transcode(
        self,
        content: EventContent,
        source_binding: ChannelBinding,
        target_binding: ChannelBinding,
    ) -> EventContent | None:
        """Return ``content`` as the target can carry it, or None when there is no way.

        Called only for content whose kind the target does not list. The same object back
        means unchanged; ``content`` itself is never changed. Cutting to the target's
        ``max_length`` comes afterwards and is not the transcoder's.

        Args:
            content: What was said.
            source_binding: The channel that said it.
            target_binding: The channel that is to show it.
        """
