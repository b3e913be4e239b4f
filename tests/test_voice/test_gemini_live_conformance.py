"""The suite of realtime providers, on Gemini's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from roomkit.providers.gemini.realtime import GeminiLiveProvider
from roomkit.simulators.gemini_live import GeminiLiveSimulator
from roomkit.testing.conformance.realtime_provider import RealtimeProviderConformance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.realtime import RealtimeVoiceProvider


class TestGeminiProvider(RealtimeProviderConformance):
    """Gemini's, against its simulator."""

    @pytest_asyncio.fixture(autouse=True)
    async def simulator(self) -> AsyncIterator[None]:
        """One a test."""
        async with GeminiLiveSimulator() as self.sim:
            yield

    async def make_provider(self) -> RealtimeVoiceProvider:
        return GeminiLiveProvider(**self.sim.settings)
