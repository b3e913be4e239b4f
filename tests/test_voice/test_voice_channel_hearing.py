"""What a caller's sound does to a playback, a recording and a recogniser."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import HookTrigger, ManualClock, RoomKit, TextContent
from roomkit.channels.voice import VoiceChannel
from roomkit.testing import SimpleChannel
from roomkit.voice.apm import AECProvider
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import TranscriptionResult, VoiceCapability, VoiceSession
from roomkit.voice.interruption import InterruptionConfig, InterruptionStrategy
from roomkit.voice.pipeline import (
    AudioPipelineConfig,
    DenoiserProvider,
    MockVADProvider,
    VADEvent,
    VADEventType,
    VADProvider,
)
from roomkit.voice.recording import MockAudioRecorder, RecordingHandle
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.vad import EnergyVADProvider
from tests.support.kits import messages, texts
from tests.test_voice._signals import frames, silence, tone
from tests.test_voice._voice_rooms import (
    END,
    FRAME,
    ROOM,
    START,
    Backend,
    HookEars,
    SlowTTS,
    heard,
    open_call,
    settle,
    speak,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import AudioChunk

CONFIRMED = InterruptionConfig(strategy=InterruptionStrategy.CONFIRMED, min_speech_ms=300)


class Echo(AECProvider):
    """An echo canceller that only notes what it is told, with the backend's last word."""

    name = "echo"

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.references = 0
        self.cleared: list[str] = []

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Leave it as it is."""
        return frame

    def feed_reference(self, frame: AudioFrame) -> None:
        """Count it."""
        self.references += 1

    def clear_reference(self) -> None:
        """Note what the backend did last."""
        self.cleared.append(self.backend.calls[-1].method)


class Cutting(MockAudioRecorder):
    """A recorder that notes at which second it was cut."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.cuts: list[tuple[str, float]] = []

    def cut_outbound(self, handle: RecordingHandle) -> None:
        """Note when."""
        self.cuts.append((handle.id, self.clock.monotonic()))


class Scene:
    """A caller who is being told something that lasts; time stands still."""

    def __init__(self, kit: RoomKit, backend: Backend, vad: VADProvider, **options: Any) -> None:
        self.kit, self.backend, self.clock = kit, backend, ManualClock()
        self.ears, self.tts = HookEars(kit), SlowTTS()
        self.echo, self.recorder = Echo(backend), Cutting(self.clock)
        self.stt = MockSTTProvider(["stop please"])
        self.channel = VoiceChannel(
            "voice",
            stt=self.stt,
            tts=self.tts,
            backend=backend,
            clock=self.clock,
            pipeline=AudioPipelineConfig(vad=vad, aec=self.echo, recorder=self.recorder),
            **options,
        )
        self.session: VoiceSession

    async def begin(self) -> None:
        """Open the call and begin to speak."""
        self.session = await open_call(self.kit, self.channel)
        self.kit.register_channel(SimpleChannel("desk"))
        await self.kit.attach_channel(ROOM, "desk")
        self.telling = asyncio.create_task(
            self.kit.send_event(ROOM, "desk", TextContent(body="One two three four"))
        )
        await until(lambda: self.backend.chunks)

    async def sound(self, pcm: bytes) -> None:
        """Let the caller be heard, in real time."""
        for frame in frames(pcm):
            await self.backend.simulate_audio_received(self.session, frame)
            await self.clock.advance(0.02)

    async def end(self) -> None:
        """Let everything end."""
        self.tts.go.set()
        await self.telling

    @property
    def playing(self) -> bool:
        """Whether the answer goes on."""
        return self.channel.playback(self.session) is not None


class TestCancelledSound:
    """What was thrown away is no echo, and in no recording."""

    async def test_canceller_and_recorder_are_told(self) -> None:
        """Once, behind the backend's silence, at the moment of the interruption."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, MockVADProvider([START, END]))
            await scene.begin()
            assert scene.echo.references == 1
            await scene.clock.advance(0.3)
            await backend.simulate_audio_received(scene.session, FRAME)
            await until(lambda: not scene.playing)
            await scene.end()
            assert scene.echo.cleared == ["cancel_audio"]
            assert scene.recorder.cuts == [("recording-1", 0.3)]

    async def test_an_explicit_interruption_too(self) -> None:
        """Whoever stops it."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, MockVADProvider())
            await scene.begin()
            await scene.clock.advance(0.1)
            assert await scene.channel.interrupt(scene.session)
            await scene.end()
            assert len(scene.echo.cleared) == 1
            assert scene.recorder.cuts == [("recording-1", 0.1)]

    @pytest.mark.parametrize("how", ["no capability", "no flush", "it fails"])
    async def test_sound_that_goes_on_stays(self, how: str) -> None:
        """Where the backend plays on, its echo is still expected and its sound recorded."""

        class Stuck(Backend):
            async def cancel_audio(self, session: VoiceSession) -> bool:
                raise ConnectionError

        none = VoiceCapability.NONE
        backend = {"no capability": Backend(none), "it fails": Stuck()}.get(how, Backend())
        config = InterruptionConfig(
            strategy=InterruptionStrategy.IMMEDIATE, flush_partial_tts=how != "no flush"
        )
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, MockVADProvider([START, END]), interruption=config)
            await scene.begin()
            await backend.simulate_audio_received(scene.session, FRAME)
            await until(lambda: scene.ears.of(HookTrigger.ON_TTS_CANCELLED))
            await scene.end()
            assert scene.echo.cleared == []
            assert scene.recorder.cuts == []

    async def test_a_hang_up_cuts_the_recording(self) -> None:
        """What the caller did not stay to hear is not on it; the cut comes before its end."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, MockVADProvider())
            await scene.begin()
            await scene.clock.advance(0.2)
            await kit.disconnect_voice(scene.session)
            await scene.end()
            assert scene.recorder.cuts == [("recording-1", 0.2)]
            assert scene.recorder.stopped == ["recording-1"]

    async def test_what_was_heard_is_not_cut(self) -> None:
        """A playback that ended by itself leaves canceller and recorder alone."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, MockVADProvider())
            scene.tts.go.set()
            await scene.begin()
            await scene.telling
            await scene.clock.advance(1.5)
            await kit.disconnect_voice(scene.session)
            await settle()
            assert (scene.echo.cleared, scene.recorder.cuts) == ([], [])


class TestLastingSpeech:
    """CONFIRMED measures speech, and not the silence that ends it."""

    async def test_a_cough_does_not_interrupt(self) -> None:
        """100 ms of sound and half a second of silence are 100 ms of speech."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, EnergyVADProvider(), interruption=CONFIRMED)
            await scene.begin()
            await scene.sound(tone(300, 100) + silence(800))
            await until(lambda: "on_speech_end" in scene.ears.order)
            await settle()
            assert scene.playing
            assert "on_barge_in" not in scene.ears.order
            await scene.end()

    async def test_lasting_speech_does(self) -> None:
        """While it lasts: at 300 ms of it, and a frame."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, EnergyVADProvider(), interruption=CONFIRMED)
            await scene.begin()
            await scene.sound(tone(300, 280))
            assert scene.playing
            await scene.sound(tone(300, 60))
            await until(lambda: scene.ears.of(HookTrigger.ON_BARGE_IN))
            assert scene.clock.monotonic() <= 0.36
            await scene.end()

    async def test_two_coughs_are_no_speech_either(self) -> None:
        """Each is judged by itself, however long the quiet between them."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, EnergyVADProvider(), interruption=CONFIRMED)
            await scene.begin()
            for _ in range(2):
                await scene.sound(tone(300, 100) + silence(600))
            await settle()
            assert scene.ears.order.count("on_speech_end") == 2
            assert scene.playing
            await scene.end()

    async def test_a_detector_that_does_not_measure(self) -> None:
        """Then the time since the start counts, as the VAD reports no end."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, MockVADProvider([START]), interruption=CONFIRMED)
            await scene.begin()
            await scene.sound(silence(320))
            await until(lambda: scene.ears.of(HookTrigger.ON_BARGE_IN))
            await scene.end()


class TestTooShort:
    """Speech too short to be speech."""

    async def test_a_cough_is_no_utterance(self) -> None:
        """ON_SPEECH_START and ON_SPEECH_END once each, and nothing to recognise."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, EnergyVADProvider())
            scene.session = await open_call(kit, scene.channel)
            await scene.sound(silence(200) + tone(300, 60) + silence(800))
            await until(lambda: "on_speech_end" in scene.ears.order)
            await settle()
            assert scene.ears.order == ["on_speech_start", "on_speech_end"]
            assert scene.stt.calls == []
            assert scene.channel.faults == {}

    @pytest.mark.parametrize("nothing", [None, b"", b"\1"])
    async def test_an_end_without_a_sample(self, nothing: bytes | None) -> None:
        """No audio, and half a sample, are nothing to recognise; the next utterance works."""
        backend = Backend()
        empty = VADEvent(VADEventType.SPEECH_END, audio_bytes=nothing)
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, MockVADProvider([START, empty, START, END]))
            session = await open_call(kit, scene.channel)
            await speak(backend, session, 4)
            assert texts(await heard(kit)) == ["stop please"]
            assert scene.ears.order.count("on_speech_end") == 2
            assert len(scene.stt.calls) == 1


class Quieter(DenoiserProvider):
    """Takes everything for noise but one byte."""

    name = "quieter"

    def process(self, frame: AudioFrame) -> AudioFrame:
        """Return another frame."""
        return AudioFrame(b"\7\0", frame.sample_rate)


class Live(MockSTTProvider):
    """Recognises while somebody speaks."""

    supports_streaming = True

    async def transcribe_stream(
        self, audio_stream: AsyncIterator[AudioChunk]
    ) -> AsyncIterator[TranscriptionResult]:
        """Take everything, then give the words."""
        async for chunk in audio_stream:
            self.calls.append(chunk)
        yield TranscriptionResult("all of it")


class TestWhatAStreamHears:
    """A streaming recogniser hears what the VAD hears."""

    async def test_the_stages_come_first(self) -> None:
        """Pre-roll, speech and end, each as the denoiser left it."""
        backend, stt = Backend(), Live()
        config = AudioPipelineConfig(
            denoiser=Quieter(), vad=MockVADProvider([None, START, None, END])
        )
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel(
                "voice", stt=stt, backend=backend, pipeline=config, stt_streaming=True
            )
            session = await open_call(kit, channel)
            for _ in range(4):
                await speak(backend, session, 1)
                await settle()
            assert texts(await heard(kit)) == ["all of it"]
            given: list[Any] = stt.calls
            assert [chunk.data for chunk in given] == [b"\7\0"] * 4

    async def test_a_stream_without_a_pipeline(self) -> None:
        """Where the backend says who speaks, its frames reach the stream as they are."""
        backend, stt = Backend(), Live()
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", stt=stt, backend=backend, stt_streaming=True)
            session = await open_call(kit, channel)
            await backend.simulate_speech_start(session)
            await speak(backend, session, 3)
            await settle()
            await backend.simulate_speech_end(session, bytes(640))
            assert texts(await heard(kit)) == ["all of it"]
            assert len(stt.calls) == 3

    async def test_a_rate_that_changes_in_mid_speech(self) -> None:
        """The recogniser was told one rate: later frames are brought to it."""
        backend, stt = Backend(), Live()
        config = AudioPipelineConfig(vad=MockVADProvider([START, None, None, END]))
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel(
                "voice", stt=stt, backend=backend, pipeline=config, stt_streaming=True
            )
            session = await open_call(kit, channel)
            for rate in (16000, 48000, 8000, 16000):
                frame = AudioFrame(bytes(rate // 25), rate)
                await backend.simulate_audio_received(session, frame)
                await settle()
            assert texts(await heard(kit)) == ["all of it"]
            given: list[Any] = stt.calls
            assert {chunk.sample_rate for chunk in given} == {16000}

    async def test_a_muted_channel_streams_nothing(self) -> None:
        """Not even the first utterance after it was muted reaches the recogniser."""
        backend, stt = Backend(), Live()
        config = AudioPipelineConfig(vad=MockVADProvider([START, None, END]))
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel(
                "voice", stt=stt, backend=backend, pipeline=config, stt_streaming=True
            )
            session = await open_call(kit, channel)
            await kit.mute(ROOM, "voice")
            for _ in range(3):
                await speak(backend, session, 1)
                await settle()
            assert stt.calls == []
            assert await messages(kit) == []
