"""Bad input, and vendors that fail: counted, logged once a session, and the call goes on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import HookExecution, HookTrigger, ManualClock, RoomKit
from roomkit.channels.voice import VoiceChannel
from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.base import AudioChunk, TranscriptionResult, VoiceCapability
from roomkit.voice.pipeline import AudioPipelineConfig, DenoiserProvider, MockVADProvider
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.base import TTSProvider
from roomkit.voice.vad import EnergyVADProvider
from tests.support.kits import texts
from tests.test_voice._signals import tone
from tests.test_voice._voice_rooms import (
    END,
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
    voice,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.content import AudioContent
    from roomkit.voice.base import VoiceSession


class Scripted(MockSTTProvider):
    """Answers one utterance after the other: an exception is raised, ... never comes."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)

    async def transcribe(self, audio: Any) -> Any:
        """Return the next answer."""
        self.calls.append(audio)
        answer = self.answers.pop(0)
        if answer is ...:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the voice layer logged above INFO."""
    found = [r for r in caplog.records if r.name == "roomkit.voice" and r.levelno > logging.INFO]
    return [record.getMessage() for record in found]


class TestRecogniser:
    """One that fails, hangs or answers nonsense loses an utterance and nothing else."""

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (ValueError("my secret"), "stt_failed"),
            (asyncio.CancelledError(), "stt_failed"),
            (..., "stt_timeout"),
            (42, "stt_garbage"),
            (b"my secret", "stt_garbage"),
            (None, "stt_garbage"),
        ],
    )
    async def test_the_next_utterance_works(
        self, answer: Any, fault: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Counted each time, logged the first time, and never what was said."""

        class Raising(Scripted):
            async def transcribe(self, audio: Any) -> Any:
                if isinstance(self.answers[0], asyncio.CancelledError):
                    raise self.answers.pop(0)
                return await super().transcribe(audio)

        backend = MockVoiceBackend()
        events = [START, END] * 3
        async with RoomKit(voice=backend) as kit:
            stt = Raising(answer, answer, "at last")
            channel = voice(backend, *events, stt=stt, stt_timeout=0.02)
            session = await open_call(kit, channel)
            await speak(backend, session, 6)
            assert texts(await heard(kit)) == ["at last"]
            assert channel.faults == {fault: 2}
            assert len(warnings(caplog)) == 1
            assert "my secret" not in caplog.text

    async def test_each_session_has_its_own_first_time(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log names every session that suffers, the counter counts them together."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", stt=Scripted(1, 2), backend=backend)
            first = await open_call(kit, channel)
            second = await kit.connect_voice(ROOM, "kim", "voice")
            for session in (first, second):
                await backend.simulate_speech_end(session, bytes(640))
            await until(lambda: channel.faults == {"stt_garbage": 2})
            named = {getattr(record, "session_id", None) for record in caplog.records}
            assert {first.id, second.id} <= named

    async def test_a_text_without_an_end_is_cut(self) -> None:
        """What nobody can say in a minute is not brought into the room whole."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            session = await open_call(kit, voice(backend, END, stt=Scripted("x" * 100_000)))
            await speak(backend, session, 1)
            (said,) = texts(await heard(kit))
            assert len(said) == 20_000

    @pytest.mark.parametrize("how", ["never ends", "no text", "too much text"])
    async def test_a_stream_that_misbehaves(self, how: str) -> None:
        """The utterance is sent in one piece; the stream is closed and counted."""
        closed: list[str] = []

        class Live(MockSTTProvider):
            supports_streaming = True

            async def transcribe_stream(
                self, audio_stream: AsyncIterator[AudioChunk]
            ) -> AsyncIterator[TranscriptionResult]:
                try:
                    async for _ in audio_stream:
                        pass
                    if how == "never ends":
                        await asyncio.Event().wait()
                    while how == "too much text":
                        await asyncio.sleep(0)
                        yield TranscriptionResult("words " * 1000)
                    yield TranscriptionResult(None)  # type: ignore[arg-type]
                finally:
                    closed.append(how)

        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            stt = Live(["in one piece"])
            channel = voice(backend, START, END, stt=stt, stt_streaming=True, stt_timeout=0.05)
            session = await open_call(kit, channel)
            await speak(backend, session)
            assert texts(await heard(kit)) == ["in one piece"]
            assert channel.faults == {"stt_stream_failed": 1}
            await until(lambda: closed == [how])


class Saying(TTSProvider):
    """Says what a test tells it, again and again."""

    def __init__(self, *chunks: Any, forever: bool = False) -> None:
        self.chunks = chunks
        self.forever = forever

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Not used here."""
        raise ConnectionError

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield the chunks."""
        while True:
            for chunk in self.chunks:
                if chunk is ...:
                    await asyncio.Event().wait()
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
            if not self.forever:
                return


class TestSynthesiser:
    """One that fails, hangs or gives nonsense leaves the rest of a text unsaid."""

    @pytest.mark.parametrize(
        ("tts", "fault"),
        [
            (Saying(ConnectionError("my secret")), "tts_failed"),
            (Saying(...), "tts_timeout"),
            (Saying(AudioChunk(bytes(320)), ...), "tts_timeout"),
            (Saying(b"raw bytes"), "tts_failed"),
            (Saying(AudioChunk("text")), "tts_failed"),  # type: ignore[arg-type]
            (Saying(AudioChunk(bytes(320), sample_rate=0)), "tts_failed"),
            (Saying(AudioChunk(bytes(320), channels=0)), "tts_failed"),
            (Saying(AudioChunk(bytes(3_200_000)), forever=True), "tts_failed"),
        ],
    )
    async def test_the_call_goes_on(
        self, tts: Saying, fault: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Told as an error each time, counted each time, logged once; words still arrive."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            channel = voice(backend, START, END, tts=tts, tts_timeout=0.02)
            session = await open_call(kit, channel)
            for text in ("one", "two"):
                await channel.say(session, text)
            await until(lambda: channel.faults == {fault: 2})
            reasons = [event.reason for event in ears.of(HookTrigger.ON_TTS_CANCELLED)]
            assert reasons == ["error", "error"]
            assert len(warnings(caplog)) == 1
            assert "my secret" not in caplog.text
            await speak(backend, session)
            assert texts(await heard(kit)) == ["Hi there"]

    async def test_a_format_nobody_can_play(self, caplog: pytest.LogCaptureFixture) -> None:
        """Left out, counted for each chunk, logged once however many texts there are."""
        backend = Backend()
        mp3 = AudioChunk(b"id3", format="mp3")
        async with RoomKit(voice=backend) as kit:
            channel = voice(backend, tts=Saying(mp3, AudioChunk(b"ab"), mp3))
            session = await open_call(kit, channel)
            for text in ("one", "two"):
                await channel.say(session, text)
            assert channel.faults == {"tts_format": 4}
            assert len(warnings(caplog)) == 1
            assert [data for _, data in backend.chunks] == [b"ab", b"ab"]

    async def test_a_rate_that_changes_in_mid_speech(self) -> None:
        """Each chunk counts by its own rate; the position is right."""
        backend, clock = Backend(), ManualClock()
        tts = Saying(AudioChunk(bytes(3200), 16000), AudioChunk(bytes(3200), 8000))
        async with RoomKit(voice=backend) as kit:
            channel = voice(backend, tts=tts, clock=clock)
            session = await open_call(kit, channel)
            await channel.say(session, "one")
            playback = channel.playback(session)
            assert playback is not None
            assert playback.total_duration_ms == 300
            await clock.advance(1)


class TestCallers:
    """What callers and their clients can do wrong."""

    async def test_an_endless_utterance_is_cut(self, caplog: pytest.LogCaptureFixture) -> None:
        """To max_utterance_seconds, each time; whole samples stay whole."""
        backend, stt = MockVoiceBackend(), MockSTTProvider(["x"])
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", stt=stt, backend=backend, max_utterance_seconds=0.5)
            session = await open_call(kit, channel)
            for _ in range(2):
                await backend.simulate_speech_end(session, bytes(64_001))
            given: list[Any] = stt.calls
            await until(lambda: len(given) == 2)
            assert [len(audio.data) for audio in given] == [16_000, 16_000]
            assert channel.faults == {"utterance_cut": 2}
            assert len(warnings(caplog)) == 1

    async def test_a_detector_cuts_endless_speech_itself(self) -> None:
        """Without a pause it is one message after the other, and bounded memory."""
        backend, stt = MockVoiceBackend(), MockSTTProvider(["one", "two"])
        vad = EnergyVADProvider(max_utterance_ms=1000, adaptive=False)
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel(
                "voice", stt=stt, backend=backend, pipeline=AudioPipelineConfig(vad=vad)
            )
            session = await open_call(kit, channel)
            await backend.simulate_audio_received(session, AudioFrame(tone(300, 1000)))
            for _ in range(100):
                await backend.simulate_audio_received(session, AudioFrame(tone(300, 20)))
                await settle(2)
            assert texts(await heard(kit, 2))[:2] == ["one", "two"]

    async def test_speech_whose_end_never_comes(self, caplog: pytest.LogCaptureFixture) -> None:
        """The next start begins anew; what came before is lost, and counted."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            channel = voice(backend, START, START, START, END)
            session = await open_call(kit, channel)
            await speak(backend, session, 4)
            assert texts(await heard(kit)) == ["Hi there"]
            assert channel.faults == {"speech_endless": 2}
            assert len(warnings(caplog)) == 1

    async def test_a_stage_that_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """Its frames pass as they are: what the caller says still arrives."""

        class Broken(DenoiserProvider):
            name = "broken"

            def process(self, frame: AudioFrame) -> AudioFrame:
                raise ValueError

        backend = MockVoiceBackend()
        config = AudioPipelineConfig(denoiser=Broken(), vad=MockVADProvider([START, END]))
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel(
                "voice", stt=MockSTTProvider(["yes"]), backend=backend, pipeline=config
            )
            session = await open_call(kit, channel)
            await speak(backend, session)
            assert texts(await heard(kit)) == ["yes"]
            assert channel.faults == {"stage:broken": 2}
            assert len([r for r in caplog.records if r.levelno > logging.INFO]) == 1

    async def test_more_utterances_than_the_recogniser_can_take(self) -> None:
        """One is worked on and sixteen wait; the others are dropped and counted."""
        backend, go = MockVoiceBackend(), asyncio.Event()

        class Slow(MockSTTProvider):
            async def transcribe(self, audio: Any) -> str:
                await go.wait()
                return await super().transcribe(audio)

        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", stt=Slow(["x"]), backend=backend)
            session = await open_call(kit, channel)
            for _ in range(20):
                await backend.simulate_speech_end(session, bytes(640))
            await until(lambda: channel.faults == {"utterance_dropped": 3})
            go.set()
            assert len(await heard(kit, 17)) == 17

    async def test_hooks_slower_than_the_caller(self) -> None:
        """Of silences and levels 32 wait, further ones are dropped; speech goes on."""
        backend = MockVoiceBackend(capabilities=VoiceCapability.VAD_SILENCE)
        go, told = asyncio.Event(), []
        async with RoomKit(voice=backend) as kit:

            @kit.hook(HookTrigger.ON_VAD_SILENCE, HookExecution.ASYNC)
            async def slow(event: Any, context: Any) -> None:
                await go.wait()
                told.append(event)

            channel = voice(backend)
            session = await open_call(kit, channel)
            for number in range(40):
                await backend.simulate_vad_silence(session, number)
            assert channel.faults == {"hook_dropped": 7}
            await backend.simulate_speech_end(session, bytes(640))
            go.set()
            assert texts(await heard(kit)) == ["Hi there"]
            assert [event.silence_duration_ms for event in told] == list(range(33))

    async def test_texts_that_cannot_all_be_said(self, caplog: pytest.LogCaptureFixture) -> None:
        """Thirty-two wait; further ones are refused, counted and logged once."""
        backend, tts = MockVoiceBackend(), SlowTTS()
        async with RoomKit(voice=backend) as kit:
            channel = voice(backend, tts=tts)
            session = await open_call(kit, channel)
            saying = [asyncio.create_task(channel.say(session, f"n{n}")) for n in range(40)]
            await until(lambda: channel.faults == {"speech_dropped": 7})
            assert len(warnings(caplog)) == 1
            await channel.interrupt(session)
            await asyncio.gather(*saying)


class TestSilence:
    """silence_timeout."""

    @staticmethod
    async def call(kit: RoomKit, backend: Backend, **options: Any) -> tuple[Any, ...]:
        """Open a call that is told of silence after five seconds."""
        clock, told = ManualClock(), []

        @kit.hook(HookTrigger.ON_VAD_SILENCE, HookExecution.ASYNC)
        async def hear(event: Any, context: Any) -> None:
            told.append(event.silence_duration_ms)

        channel = voice(backend, START, None, END, silence_timeout=5, clock=clock, **options)
        session: VoiceSession = await open_call(kit, channel)
        return clock, told, channel, session

    async def test_it_is_told_again_and_again(self) -> None:
        """After each five seconds, without a single frame; the session goes on."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            clock, told, channel, session = await self.call(kit, backend)
            await clock.advance(4.9)
            assert told == []
            await clock.advance(5.2)
            assert told == [5000, 10000]
            assert channel.sessions == [session]

    async def test_speech_begins_it_anew(self) -> None:
        """While somebody speaks it is not silent, and then it counts from their end."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            clock, told, _, session = await self.call(kit, backend)
            await clock.advance(4)
            await speak(backend, session, 2)
            await clock.advance(20)
            assert told == []
            await speak(backend, session, 1)
            await clock.advance(4.9)
            assert told == []
            await clock.advance(0.2)
            assert told == [5000]

    async def test_an_answer_is_no_silence(self) -> None:
        """Nor is what is said to the caller."""
        backend, tts = Backend(), SlowTTS()
        async with RoomKit(voice=backend) as kit:
            clock, told, channel, session = await self.call(kit, backend, tts=tts)
            saying = asyncio.create_task(channel.say(session, "one moment"))
            await until(lambda: backend.chunks)
            await clock.advance(20)
            assert told == []
            await channel.interrupt(session)
            await saying
            await clock.advance(11)
            assert told
            assert told[0] == 5000

    async def test_it_ends_with_the_session(self) -> None:
        """No task and no timer is left."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            clock, told, _, session = await self.call(kit, backend)
            assert clock.sleepers == 1
            await kit.disconnect_voice(session)
            await until(lambda: clock.sleepers == 0)
            await clock.advance(60)
            assert told == []

    @pytest.mark.parametrize("value", [0, -1.0, float("nan")])
    def test_a_time_that_is_none(self, value: float) -> None:
        """Refused by name."""
        with pytest.raises(InvalidInputError, match="silence_timeout"):
            VoiceChannel("voice", silence_timeout=value)
