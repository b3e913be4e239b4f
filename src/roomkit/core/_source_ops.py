"""RoomKit's face to sources: connections that push messages in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.core._helpers import HelpersMixin
from roomkit.core.services.sources import RestartPolicy

if TYPE_CHECKING:
    from roomkit.core.services.sources import Sources
    from roomkit.sources.base import SourceHealth, SourceProvider, SourceStatus


class SourceOpsMixin(HelpersMixin):
    """Sources: attached, supervised, detached."""

    _sources: Sources

    async def attach_source(
        self,
        channel_id: str,
        source: SourceProvider,
        *,
        auto_restart: bool = True,
        restart_delay: float = 5.0,
        max_restart_delay: float = 300.0,
        max_restart_attempts: int | None = None,
        max_concurrent_emits: int | None = 10,
    ) -> None:
        """Run a source whose messages enter by a channel.

        A source that fails is started again with growing delays; counter and delay start
        anew after 60 s of healthy run.

        Args:
            channel_id: The channel; it may be registered later.
            source: The source.
            auto_restart: Whether to start it again at all.
            restart_delay: Seconds before the first restart, doubled each time.
            max_restart_delay: The longest wait.
            max_restart_attempts: Starts in a row before giving up.
            max_concurrent_emits: Messages processed at the same time; None for no limit.

        Raises:
            SourceAlreadyAttachedError: A living source is attached.
        """
        await self._ready()
        policy = RestartPolicy(
            auto_restart, restart_delay, max_restart_delay, max_restart_attempts
        )
        await self._sources.attach(channel_id, source, policy, max_concurrent_emits)

    async def detach_source(self, channel_id: str) -> None:
        """Stop a source and forget it.

        Raises:
            SourceNotFoundError: None is attached.
        """
        await self._ready()
        await self._sources.detach(channel_id)

    async def source_health(self, channel_id: str) -> SourceHealth | None:
        """Return how a source is doing, or None."""
        await self._ready()
        return await self._sources.health(channel_id)

    def list_sources(self) -> dict[str, SourceStatus]:
        """Return every attached source's status."""
        return self._sources.statuses()
