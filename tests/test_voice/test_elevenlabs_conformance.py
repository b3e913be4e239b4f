"""ElevenLabs does what every synthesiser must do, at the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from roomkit.simulators.elevenlabs import ElevenLabsSimulator
from roomkit.testing.conformance.tts import TTSConformance
from roomkit.voice.tts.elevenlabs import ElevenLabsConfig, ElevenLabsTTSProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class _AtTheSimulator(TTSConformance):
    """The shared suite, whatever the model."""

    secrets = ("MADE-UP-ELEVENLABS-KEY",)
    model = ""
    sim: ElevenLabsSimulator

    @pytest_asyncio.fixture(autouse=True)
    async def vendor(self) -> AsyncIterator[None]:
        """The vendor."""
        async with ElevenLabsSimulator() as sim:
            self.sim = sim
            yield

    async def make_tts(self) -> ElevenLabsTTSProvider:
        """Return a synthesiser at the simulator."""
        return ElevenLabsTTSProvider(
            ElevenLabsConfig(**self.sim.settings, model_id=self.model, output_format="pcm_16000")
        )


class TestElevenLabs(_AtTheSimulator):
    """A model that speaks growing text."""

    model = "eleven_flash_v2_5"


class TestElevenLabsWithoutGrowingText(_AtTheSimulator):
    """A model that speaks sentence by sentence."""

    model = "eleven_v3"
