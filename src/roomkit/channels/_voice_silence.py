"""A call in which nobody says anything: noticed, and told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit._clock import Clock


class SilenceWatch:
    """Notices when it has been silent for so long, whether audio comes in or not.

    Args:
        limit: Seconds.
        clock: Where time comes from.
        busy: Returns whether anybody speaks now, on either side.
        tell: Given the seconds of silence each time so many more have passed.
    """

    def __init__(
        self,
        limit: float,
        clock: Clock,
        busy: Callable[[], bool],
        tell: Callable[[float], None],
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._busy = busy
        self._tell = tell
        self._since = clock.monotonic()

    def noise(self) -> None:
        """Note that somebody speaks, or did until now."""
        self._since = self._clock.monotonic()

    async def run(self) -> None:
        """Watch until cancelled."""
        told = 0
        while True:
            silent = self._clock.monotonic() - self._since
            if self._busy():
                self.noise()
                silent, told = 0.0, 0
            elif silent < told * self._limit:
                told = 0
            # A clock's sleep may end a little early.
            if silent + 0.001 >= (told + 1) * self._limit:
                told = int((silent + 0.001) / self._limit)
                self._tell(silent)
            await self._clock.sleep(max(0.05, (told + 1) * self._limit - silent))
