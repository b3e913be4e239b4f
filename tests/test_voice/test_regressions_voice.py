"""Defects of the reference's voice, each ruled out by name (decisions 3, contract/voice 16).

The tests here go through a whole kit, however it is built inside. Defects that lie in one vendor
or one backend have their test beside it; ``ELSEWHERE`` says where, and a test looks that it is
still there.
"""

from __future__ import annotations

import ast
import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import HookResult, HookTrigger, RoomKit
from roomkit.channels.voice import VoiceChannel
from roomkit.providers.openai.realtime import OpenAIRealtimeProvider
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator
from roomkit.voice.audio import mulaw_to_pcm16, pcm16_to_mulaw, read_samples
from roomkit.voice.base import AudioChunk
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.realtime import RealtimeSession, RealtimeSessionState
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.mock import MockTTSProvider
from roomkit.voice.vad import EnergyVADProvider
from tests.reliability._calls import until
from tests.reliability._speakers import Loudness, Writer, utterance, written
from tests.support.kits import Ears, messages, texts
from tests.test_voice._realtime import live
from tests.test_voice._signals import frames, power, silence, tone
from tests.test_voice._voice_rooms import Backend, HookEars, SlowTTS, heard, open_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).parent

ELSEWHERE = {
    "FastRTC: emit was a busy loop": "test_backend_fastrtc.py::test_an_idle_emit_waits",
    "FastRTC: one connection only": "test_backend_fastrtc.py::test_two_clients",
    "FastRTC: clients were never cleaned up": "test_backend_fastrtc.py::test_the_client_goes",
    "FastRTC realtime: the same": "test_realtime_fastrtc_sound.py::test_an_idle_emit_waits",
    "FastRTC realtime: clean-up": "test_realtime_fastrtc.py::test_the_client_goes",
    "sherpa: decode and get_result do not exist": "test_sherpa_stt.py::test_modes",
    "sherpa: a failed synthesis was waited for": "test_sherpa_tts.py::test_in_the_engine",
    "Deepgram: always 16 kHz": "test_deepgram_live.py::test_rate_from_chunks",
    "Deepgram: the query was not encoded": "test_deepgram_live.py::test_query_is_encoded",
    "Deepgram: no end without is_final": "test_deepgram_live.py::test_close_stream",
    "Deepgram: data URLs were fetched": "test_deepgram.py::test_a_data_url_is_read_here",
    "ElevenLabs: always 44100 Hz": "test_elevenlabs.py::test_rates_are_parsed",
    "ElevenLabs: torn samples": "test_elevenlabs.py::test_any_cut",
    "ElevenLabs: the last message": "test_elevenlabs_live.py::test_the_last_message",
    "ElevenLabs: sender errors": "test_elevenlabs_live.py::test_sender_errors_end_it",
    "ElevenLabs: the key in a message": (
        "test_elevenlabs_live.py::test_no_secret_in_the_first_message"
    ),
    "Realtime socket: our end was told as theirs": (
        "test_realtime_ws.py::test_our_own_disconnect_is_told_to_nobody"
    ),
    "Streaming synthesis missing: audio thrown away": (
        "test_voice_channel_playback.py::test_a_recording_is_played_whole"
    ),
}


@pytest.mark.parametrize("place", ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_table_is_right(place: str) -> None:
    """Each test that is referred to exists."""
    file, _, name = place.partition("::")
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    kinds = ast.AsyncFunctionDef | ast.FunctionDef
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


class Scene:
    """A kit with a voice channel on a backend that shows what went out."""

    def __init__(self, kit: RoomKit, **options: Any) -> None:
        self.kit = kit
        self.backend = Backend()
        self.ears = Ears(kit)
        self.hooks = HookEars(kit)
        options.setdefault("stt", Writer())
        options.setdefault("tts", MockTTSProvider())
        options.setdefault("pipeline", AudioPipelineConfig(vad=Loudness()))
        self.channel = VoiceChannel("voice", backend=self.backend, **options)


@asynccontextmanager
async def scene(**options: Any) -> AsyncIterator[Scene]:
    """A kit; it is closed at the end."""
    async with RoomKit() as kit:
        yield Scene(kit, **options)


class TestVoiceChannel:
    """The channel of callers, recognisers and synthesisers."""

    async def test_the_end_of_speech_is_told_once(self) -> None:
        """Once an utterance, also where the backend reports it as well as the VAD."""
        async with scene() as world:
            session = await open_call(world.kit, world.channel)
            for value in (1, 2, 3):
                for each in utterance(value, 2):
                    await world.backend.simulate_audio_received(session, each)
                await world.backend.simulate_speech_end(session, b"\1\0" * 320)
            said = await heard(world.kit, 3)
            assert await world.kit.drain(5)
            assert texts(said) == [written(value, 2) for value in (1, 2, 3)]
            assert world.hooks.order.count("on_speech_start") == 3
            assert world.hooks.order.count("on_speech_end") == 3
            assert world.hooks.order.count("on_transcription") == 3

    async def test_the_end_of_a_session_is_told_once(self) -> None:
        """However often and by whomever it is ended."""
        async with scene() as world:
            session = await open_call(world.kit, world.channel)
            await asyncio.gather(*(world.kit.disconnect_voice(session) for _ in range(3)))
            await world.kit.disconnect_voice(session)
            world.channel.unbind_session(session)
        assert [e.data["session_id"] for e in world.ears.of("voice_disconnected")] == [session.id]

    async def test_speech_lands_in_its_own_room(self) -> None:
        """The same person calls two rooms: what is said in the second is not in the first."""
        async with scene() as world:
            await open_call(world.kit, world.channel, room_id="first")
            second = await open_call(world.kit, world.channel, room_id="second")
            for each in utterance(5, 2):
                await world.backend.simulate_audio_received(second, each)
            assert texts(await heard(world.kit, 1, "second")) == [written(5, 2)]
            assert await world.kit.drain(5)
            assert await messages(world.kit, "first") == []

    async def test_a_vad_is_nobody_elses(self) -> None:
        """Silence of one caller does not end the speech of another, nor mix with it."""
        vad = EnergyVADProvider(silence_threshold_ms=100, min_speech_duration_ms=40)
        stt = MockSTTProvider(["all of it"])
        async with scene(stt=stt, pipeline=AudioPipelineConfig(vad=vad)) as world:
            speaks = await open_call(world.kit, world.channel, room_id="first")
            silent = await open_call(world.kit, world.channel, room_id="second", person="sam")
            speech = [*frames(tone(300, 1000)), *frames(silence(300))]
            quiet = list(frames(silence(1300)))
            for mine, theirs in zip(speech, quiet, strict=True):
                await world.backend.simulate_audio_received(speaks, mine)
                await world.backend.simulate_audio_received(silent, theirs)
            assert texts(await heard(world.kit, 1, "first")) == ["all of it"]
            assert await world.kit.drain(5)
            assert await messages(world.kit, "second") == []
            assert len(stt.calls) == 1
            assert tone(300, 1000) in stt.calls[0].data
            assert world.hooks.order.count("on_speech_start") == 1

    async def test_to_interrupt_stops_the_sound(self) -> None:
        """The synthesis is closed, the backend drops what it has, and nothing comes after."""
        tts = SlowTTS()
        async with scene(tts=tts) as world:
            session = await open_call(world.kit, world.channel)
            saying = asyncio.create_task(world.channel.say(session, "A long story"))
            await until(lambda: world.backend.chunks)
            assert await world.channel.interrupt(session)
            tts.go.set()
            await asyncio.wait_for(saying, 5)
            assert tts.closed == 1
            assert world.backend.chunks == [(session.id, bytes(16000))]
            assert "cancel_audio" in [call.method for call in world.backend.calls]
            assert not await world.channel.interrupt(session)
            assert world.hooks.order.count("on_tts_cancelled") == 1

    async def test_hooks_may_give_another_text(self) -> None:
        """``HookResult.modify("text")`` holds for what is heard and for what is said."""
        async with scene() as world:

            @world.kit.hook(HookTrigger.ON_TRANSCRIPTION)
            async def hears(text: str, context: Any) -> HookResult[str]:
                return HookResult.modify(f"heard {text}")

            @world.kit.hook(HookTrigger.BEFORE_TTS)
            async def says(text: str, context: Any) -> HookResult[str]:
                return HookResult.modify("other words")

            session = await open_call(world.kit, world.channel)
            for each in utterance(5, 2):
                await world.backend.simulate_audio_received(session, each)
            assert texts(await heard(world.kit)) == [f"heard {written(5, 2)}"]
            await world.channel.say(session, "these words")
            sound = b"".join(data for _, data in world.backend.chunks)
            assert sound == b"mock-audio-othermock-audio-words"

    async def test_a_hook_may_leave_nothing(self) -> None:
        """An empty text is a text: nothing is sent, nothing is said."""
        async with scene() as world:

            @world.kit.hook(HookTrigger.ON_TRANSCRIPTION)
            async def hears(text: str, context: Any) -> HookResult[str]:
                return HookResult.modify("")

            @world.kit.hook(HookTrigger.BEFORE_TTS)
            async def says(text: str, context: Any) -> HookResult[str]:
                return HookResult.modify("")

            session = await open_call(world.kit, world.channel)
            for each in utterance(5, 2):
                await world.backend.simulate_audio_received(session, each)
            await until(lambda: "on_transcription" in world.hooks.order)
            await world.channel.say(session, "these words")
            assert await world.kit.drain(5)
            assert await messages(world.kit) == []
            assert world.backend.chunks == []

    async def test_an_interruption_is_found_after_a_fast_hand_over(self) -> None:
        """A backend that takes all audio at once still plays it: speech stops it."""

        class Long(MockTTSProvider):
            async def synthesize_stream(self, text: str, *, voice: str | None = None) -> Any:
                yield AudioChunk(bytes(320_000), is_final=True)

        async with scene(tts=Long(), barge_in_threshold_ms=0) as world:
            session = await open_call(world.kit, world.channel)
            await world.channel.say(session, "Ten seconds")
            assert world.channel.playback(session) is not None
            await world.backend.simulate_audio_received(session, utterance(5, 1)[0])
            await until(lambda: "on_barge_in" in world.hooks.order)
            await until(lambda: "on_tts_cancelled" in world.hooks.order)
            assert world.channel.playback(session) is None


class TestRealtimeVoice:
    """The channel of live models, and OpenAI's."""

    async def test_the_end_of_a_session_is_told_once(self) -> None:
        """By the caller, by us, by the vendor, all at once."""
        async with live() as world:
            session = world.session
            await asyncio.gather(
                world.transport.simulate_client_disconnect(session),
                world.channel.end_session(session),
                world.kit.disconnect_realtime_voice(session),
                world.provider.simulate_error(session, "connection_closed", "gone"),
            )
            await world.channel.end_session(session)
        told = world.ears.of("voice_disconnected")
        assert [event.data["session_id"] for event in told] == [session.id]

    async def test_16_khz_is_not_sent_as_24_khz(self) -> None:
        """A tone stays the tone it is, and lasts as long."""
        async with OpenAIRealtimeSimulator() as sim:
            provider = OpenAIRealtimeProvider(**sim.settings)
            session = RealtimeSession("s", "r", "pat", "live")
            await provider.connect(session, input_sample_rate=16000)
            await provider.send_audio(session, tone(440, 500) + silence(1000))
            await until(lambda: sim.heard)
            await provider.close()
        said = sim.heard[0][: 24000 * 2 // 5]
        assert power(said, 440, 24000) > 10 * power(said, 660, 24000)

    async def test_the_end_of_a_lost_link_is_not_silent(self) -> None:
        """After the last attempt the caller, the room and the session know."""
        async with OpenAIRealtimeSimulator() as sim:
            provider = OpenAIRealtimeProvider(**sim.settings, max_reconnects=0)
            async with live(provider=provider) as world:
                sim.cut()
                await until(lambda: world.ears.of("voice_disconnected"))
                told = world.ears.of("voice_disconnected")
                assert [event.data["reason"] for event in told] == ["connection_closed"]
                assert world.session.state is RealtimeSessionState.ENDED
                assert world.messages("session_ended") == [
                    {"type": "session_ended", "code": "connection_closed"}
                ]
                assert world.channel.sessions == []


class TestSound:
    """G.711."""

    @pytest.mark.parametrize(
        ("sample", "code"),
        [(0, 0xFF), (4, 0xFE), (100, 0xF2), (1000, 0xCE), (8000, 0xA0), (32767, 0x80),
         (-1000, 0x4E), (-32768, 0x00)],
    )  # fmt: skip
    def test_mulaw_is_the_standards(self, sample: int, code: int) -> None:
        """The table of the reference was wrong for nearly every sample."""
        assert pcm16_to_mulaw(sample.to_bytes(2, "little", signed=True)) == bytes([code])

    def test_mulaw_is_as_loud_as_what_was_said(self) -> None:
        """It was 12 dB too quiet."""
        said = tone(440, 200, rate=8000)
        got = mulaw_to_pcm16(pcm16_to_mulaw(said))
        loud = max(map(abs, read_samples(got))) / max(map(abs, read_samples(said)))
        assert loud == pytest.approx(1, abs=0.04)
