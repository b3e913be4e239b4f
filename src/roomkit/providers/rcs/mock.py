"""An RCS provider for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.providers._mock import Script
from roomkit.providers.rcs.base import RCSDeliveryResult, RCSProvider

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit._clock import Clock
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent


class MockRCSProvider(RCSProvider):
    """Sends nothing and remembers every call.

    Args:
        sender_id: The agent it claims to be.
        simulate_fallback: No phone has RCS: SMS stands in where ``send`` allows it.
        simulate_failure: Every call fails with ``simulated_failure``.
        results: Answers to the first calls, in order; then the simulation above. A plain
            ProviderResult is returned as an RCSDeliveryResult.
        delay: Seconds of ``clock`` before each answer.
        clock: Whose time ``delay`` is; the system's by default.

    Attributes:
        calls: ``{"event", "to", "fallback"}`` a call, whatever its answer was.
        closed: Whether ``close`` was called.
    """

    def __init__(
        self,
        sender_id: str = "mock_rcs_agent",
        *,
        simulate_fallback: bool = False,
        simulate_failure: bool = False,
        results: Iterable[ProviderResult | Exception] | None = None,
        delay: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.calls: list[dict[str, Any]] = []
        self.closed: bool = False
        self._sender_id = sender_id
        self._simulate_fallback = simulate_fallback
        self._simulate_failure = simulate_failure
        self._script = Script(results, delay, clock)
        self._made = 0

    @property
    def sender_id(self) -> str:
        """The agent given."""
        return self._sender_id

    async def send(self, event: RoomEvent, to: str, *, fallback: bool = True) -> RCSDeliveryResult:
        """Remember the call and give the next answer; ids count from ``mock_rcs_1``."""
        self.calls.append({"event": event, "to": to, "fallback": fallback})
        scripted = await self._script.next()
        if isinstance(scripted, RCSDeliveryResult):
            return scripted
        if scripted is not None:
            return RCSDeliveryResult(**scripted.model_dump())
        return self._simulated(by_sms=fallback and self._simulate_fallback)

    def _simulated(self, *, by_sms: bool) -> RCSDeliveryResult:
        if self._simulate_failure:
            return RCSDeliveryResult(success=False, error="simulated_failure")
        self._made += 1
        used = "sms" if by_sms else "rcs"
        return RCSDeliveryResult(
            success=True,
            provider_message_id=f"mock_{used}_{self._made}",
            channel_used=used,
            fallback=by_sms,
        )

    async def check_capability(self, phone_number: str) -> bool:
        """Tell whether phones have RCS in this simulation."""
        return not self._simulate_fallback

    def reset(self) -> None:
        """Forget all calls, count ids from 1 and begin the script again.

        Results given as an iterator go on where they stand.
        """
        self.calls.clear()
        self.closed = False
        self._made = 0
        self._script.restart()

    async def close(self) -> None:
        """Set ``closed``."""
        self.closed = True
