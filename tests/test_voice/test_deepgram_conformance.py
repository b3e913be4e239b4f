"""Deepgram does what every recogniser must do, at the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from roomkit.simulators.deepgram import DeepgramSimulator
from roomkit.testing.conformance.stt import STTConformance
from roomkit.voice.stt.deepgram import DeepgramConfig, DeepgramSTTProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class TestDeepgram(STTConformance):
    """The shared suite."""

    secrets = ("MADE-UP-DEEPGRAM-KEY",)
    sim: DeepgramSimulator

    @pytest_asyncio.fixture(autouse=True)
    async def vendor(self) -> AsyncIterator[None]:
        """The vendor, with something to hear."""
        async with DeepgramSimulator() as sim:
            sim.hear("hello", "hello", "hello")
            self.sim = sim
            yield

    async def make_stt(self) -> DeepgramSTTProvider:
        """Return a recogniser at the simulator."""
        return DeepgramSTTProvider(DeepgramConfig(**self.sim.settings))
