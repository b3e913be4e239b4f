"""A call whose vendors' lines break in the middle (T15): each word and each answer once.

The caller, the room and the model go on whatever becomes of recogniser and synthesiser.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import RoomKit
from roomkit.channels.voice import VoiceChannel
from roomkit.simulators.deepgram import DeepgramSimulator, Heard
from roomkit.simulators.elevenlabs import ElevenLabsSimulator
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.stt.deepgram import DeepgramConfig, DeepgramSTTProvider
from roomkit.voice.tts.elevenlabs import ElevenLabsConfig, ElevenLabsTTSProvider
from tests.reliability._calls import Relay, nothing_left, until
from tests.reliability._speakers import Loudness, frame
from tests.support.kits import messages, texts
from tests.test_voice._voice_rooms import Backend, HookEars, heard, open_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import VoiceSession


class World:
    """A voice channel whose vendors are behind relays, and one caller.

    Attributes:
        ears: Relay to the recogniser's vendor.
        mouth: Relay to the synthesiser's vendor.
    """

    def __init__(self, kit: RoomKit, ears: Relay, mouth: Relay, stt: Any, tts: Any) -> None:
        self.kit = kit
        self.ears = ears
        self.mouth = mouth
        self.backend = Backend()
        self.hooks = HookEars(kit)
        recogniser = DeepgramSTTProvider(
            DeepgramConfig(**{**stt.settings, "api_base": ears.base}, keepalive_seconds=0.05),
            first_answer_seconds=0.5,
            idle_seconds=0.15,
            timeout=0.5,
        )
        synthesiser = ElevenLabsTTSProvider(
            ElevenLabsConfig(
                **{**tts.settings, "api_base": mouth.base}, output_format="pcm_16000"
            ),
            first_answer_seconds=2.0,
            idle_seconds=0.1,
        )
        self.channel = VoiceChannel(
            "voice",
            backend=self.backend,
            stt=recogniser,
            tts=synthesiser,
            stt_streaming=True,
            enable_barge_in=False,
            pipeline=AudioPipelineConfig(vad=Loudness()),
        )
        self.session: VoiceSession

    async def hears(self, frames: int, value: int = 7) -> None:
        """Let the caller speak, in real pieces; 0 is silence."""
        for _ in range(frames):
            await self.backend.simulate_audio_received(self.session, frame(value))
            await asyncio.sleep(0)

    @property
    def sound(self) -> bytes:
        """What the caller was played."""
        return b"".join(data for _, data in self.backend.chunks)


@asynccontextmanager
async def calling() -> AsyncIterator[tuple[World, DeepgramSimulator, ElevenLabsSimulator]]:
    """A caller in a room."""
    async with (
        nothing_left(),
        DeepgramSimulator() as stt,
        ElevenLabsSimulator() as tts,
        Relay(stt.api_base) as ears,
        Relay(tts.api_base) as mouth,
        RoomKit() as kit,
    ):
        world = World(kit, ears, mouth, stt, tts)
        world.session = await open_call(kit, world.channel)
        yield world, stt, tts


class TestRecogniser:
    """Deepgram is lost while somebody speaks."""

    @pytest.mark.parametrize("harm", ["cut", "swallow"])
    async def test_in_the_middle_of_an_utterance(self, harm: str) -> None:
        """What was said is a message of the room, once, and the next utterance too."""
        async with calling() as (world, stt, _):
            stt.hear(Heard("first words", 0.4), Heard("and more", 0.4))
            await world.hears(15)
            await until(lambda: world.ears.lines)
            getattr(world.ears, harm)()
            asyncio.get_running_loop().call_later(0.3, world.ears.flow)
            await world.hears(30)
            await world.hears(1, 0)
            await heard(world.kit)
            stt.hear(Heard("another one", 0.2))
            await world.hears(20)
            await world.hears(1, 0)
            said = texts(await heard(world.kit, 2))
            assert await world.kit.drain(5)
            assert len(await messages(world.kit)) == 2
            assert said[0].startswith("first words")
            assert said[0].count("first words") == 1
            assert said[1] == "another one"
            assert world.hooks.order.count("on_speech_end") == 2

    async def test_nobody_is_there(self) -> None:
        """The utterance is lost, which is told; the call goes on and the next one arrives."""
        async with calling() as (world, stt, _):
            world.ears.refuse()
            await world.hears(20)
            await world.hears(1, 0)
            # Three connections of the stream, then one for the utterance as a whole.
            await until(lambda: world.ears.accepted == 4)
            assert "on_speech_end" in world.hooks.order
            world.ears.refuse(False)
            stt.hear(Heard("back again", 0.2))
            await world.hears(20)
            await world.hears(1, 0)
            assert texts(await heard(world.kit)) == ["back again"]


class TestSynthesiser:
    """ElevenLabs is lost while it speaks."""

    @pytest.mark.parametrize("harm", ["cut", "swallow", "stall"])
    async def test_in_the_middle_of_an_answer(self, harm: str) -> None:
        """It is told once, as an error, never spoken again from the start; the next one is."""
        async with calling() as (world, _, tts):
            world.mouth.after(200_000, harm)
            async with asyncio.timeout(5):
                await world.channel.say(world.session, "A very long story. " * 40)
            await until(lambda: "on_tts_cancelled" in world.hooks.order)
            assert world.sound
            world.mouth.flow()
            before = len(world.sound)
            asked = len(tts.sent)
            await world.channel.say(world.session, "Now this.")
            await until(lambda: len(world.sound) > before)
            told = [
                event.reason for name, event in world.hooks.heard if name == "on_tts_cancelled"
            ]
            assert told == ["error"]
            assert len(tts.sent) == asked + 1 == 2
