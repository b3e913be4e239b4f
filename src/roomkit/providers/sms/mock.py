"""An SMS provider for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.providers._mock import MockProvider
from roomkit.providers.sms.base import SMSProvider

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent


class MockSMSProvider(MockProvider, SMSProvider):
    """Sends nothing and remembers every call.

    Args:
        results: Answers to the first calls, in order; then every call succeeds.
        delay: Seconds of ``clock`` before each answer.
        clock: Whose time ``delay`` is; the system's by default.

    Attributes:
        sent: ``{"event", "to", "from"}`` a call; ``from`` is empty unless ``send`` was told.
        closed: Whether ``close`` was called.
    """

    @property
    def from_number(self) -> str:
        """Always ``+15550001234``."""
        return "+15550001234"

    async def send(self, event: RoomEvent, to: str, from_: str | None = None) -> ProviderResult:
        """Remember the call and give the next answer."""
        return await self._answer({"event": event, "to": to, "from": from_ or ""})
