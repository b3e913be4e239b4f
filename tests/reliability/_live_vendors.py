"""The vendors of live models, as the attacks on voice see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.providers.gemini.realtime import GeminiLiveProvider
from roomkit.providers.openai.realtime import OpenAIRealtimeProvider
from roomkit.simulators.gemini_live import GeminiLiveSimulator, LiveTurn
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator, RealtimeTurn

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.reliability._calls import Relay


@dataclass(frozen=True)
class LiveVendor:
    """A vendor.

    Attributes:
        provider: Makes its provider.
        simulator: Makes its simulator.
        turn: Makes what its model does next.
        code: Of the error that ends a session.
        spread: The shortest and the longest first pause, in seconds.
        remembers: Whether the newest link was told so many things that were said.
        pings: Options of a provider that misses a dead line soon, and leaves it soon.
        simulated: Options of the simulator.
    """

    provider: Callable[..., Any]
    simulator: Callable[..., Any]
    turn: Callable[..., Any]
    code: str
    spread: tuple[float, float]
    remembers: Callable[[Any, int], bool]
    pings: dict[str, Any]
    simulated: dict[str, Any] = field(default_factory=dict)

    def behind(self, relay: Relay, sim: Any, **options: Any) -> Any:
        """Return a provider whose line to a simulator is a relay."""
        return self.provider(**{**sim.settings, "api_base": relay.base, **options})


PING_SECONDS = 0.4
"""Far longer than a busy machine takes to answer; twice that finds out a dead line."""

VENDORS = {
    "openai": LiveVendor(
        OpenAIRealtimeProvider,
        OpenAIRealtimeSimulator,
        RealtimeTurn,
        "connection_closed",
        (0.25, 0.5),
        lambda sim, count: len(sim.of("conversation.item.create")) >= count,
        {"keepalive_seconds": PING_SECONDS},
    ),
    "gemini": LiveVendor(
        GeminiLiveProvider,
        GeminiLiveSimulator,
        LiveTurn,
        "connection_lost",
        (0.375, 0.625),
        lambda sim, count: bool(sim.connections) and len(sim.known) >= count,
        {
            "http_options": {
                "async_client_args": {
                    "ping_interval": PING_SECONDS,
                    "ping_timeout": PING_SECONDS,
                    "close_timeout": 0.05,
                }
            }
        },
        # Who begins to speak is told to some accounts only; the states are driven by it.
        {"signals": True},
    ),
}
LONGEST_PAUSE = 6
"""Seconds after which every attempt to come back has begun."""
