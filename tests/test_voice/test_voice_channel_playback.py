"""What is said to a caller: queued, counted, stopped when somebody speaks over it."""

from __future__ import annotations

import asyncio
import base64
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import HookExecution, HookTrigger, ManualClock, RoomKit, TextContent
from roomkit._scope import Delivery, delivery_scope
from roomkit.channels.voice import TTSPlaybackState, VoiceChannel
from roomkit.exceptions import (
    InvalidInputError,
    ProviderDeliveryError,
    VoiceBackendNotConfiguredError,
    VoiceNotConfiguredError,
)
from roomkit.models.content import AudioContent
from roomkit.testing import SimpleChannel
from roomkit.voice.audio import wav_bytes
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.base import AudioChunk, VoiceCapability, VoiceSession
from roomkit.voice.interruption import InterruptionConfig, InterruptionStrategy
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.base import TTSProvider
from roomkit.voice.tts.mock import MockTTSProvider
from tests.support.kits import Ears, messages
from tests.test_voice._voice_rooms import (
    END,
    FRAME,
    ROOM,
    START,
    Backend,
    HookEars,
    SlowTTS,
    open_call,
    pipeline,
    settle,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.event import RoomEvent

BOTH = VoiceCapability.INTERRUPTION | VoiceCapability.BARGE_IN


class Scene:
    """A caller who is being told "One two three four" (a second of audio, half of it made)."""

    def __init__(self, kit: RoomKit, backend: Backend, **options: Any) -> None:
        self.kit, self.backend = kit, backend
        self.clock, self.tts, self.ears = ManualClock(), SlowTTS(), HookEars(kit)
        options.setdefault("pipeline", pipeline(START, END, START, END))
        self.channel = VoiceChannel(
            "voice",
            stt=MockSTTProvider(["stop please"]),
            tts=self.tts,
            backend=backend,
            clock=self.clock,
            **options,
        )
        self.session: VoiceSession
        self.telling: asyncio.Task[RoomEvent]

    async def begin(self) -> None:
        """Open the call and begin to speak."""
        self.session = await open_call(self.kit, self.channel)
        self.kit.register_channel(SimpleChannel("desk"))
        await self.kit.attach_channel(ROOM, "desk")
        self.telling = asyncio.create_task(self.tell("One two three four"))
        await until(lambda: self.backend.chunks)

    async def tell(self, text: str) -> RoomEvent:
        """Say something in the room."""
        return await self.kit.send_event(ROOM, "desk", TextContent(body=text))

    async def speak_over(self) -> None:
        """Let the caller begin to speak."""
        await self.backend.simulate_audio_received(self.session, FRAME)

    async def told(self) -> RoomEvent:
        """Return the event as it stands in the timeline."""
        event = await self.telling
        found = await self.kit.store.get_event(event.id)
        assert found is not None
        return found


class TestBargeIn:
    """Speaking over an answer really stops it."""

    async def test_the_sound_stops_and_everybody_is_told(self) -> None:
        """Synthesis closed, backend silenced, hooks told the position, the event knows."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend)
            await scene.begin()
            await scene.clock.advance(0.3)
            await scene.speak_over()
            await scene.telling
            await until(lambda: scene.ears.of(HookTrigger.ON_TTS_CANCELLED))
            assert scene.tts.closed == 1
            assert scene.channel.playback(scene.session) is None
            assert "cancel_audio" in {call.method for call in backend.calls}
            barged = scene.ears.of(HookTrigger.ON_BARGE_IN)[0]
            cancelled = scene.ears.of(HookTrigger.ON_TTS_CANCELLED)[0]
            assert (barged.interrupted_text, barged.audio_position_ms) == (
                "One two three four",
                300,
            )
            assert (cancelled.reason, cancelled.audio_position_ms) == ("barge_in", 300)
            assert "after_tts" not in scene.ears.order
            await settle()
            event = await scene.told()
            assert event.metadata["played_ms"] == 300
            assert event.metadata["heard_text"] == "One"
            assert event.content == TextContent(body="One two three four")

    async def test_the_sound_stops_before_any_hook_runs(self) -> None:
        """A slow observer of the barge-in does not let the answer go on."""
        backend = Backend()
        order: list[str] = []
        async with RoomKit(voice=backend) as kit:

            @kit.hook(HookTrigger.ON_BARGE_IN, HookExecution.ASYNC)
            async def watch(event: Any, context: Any) -> None:
                order.extend(call.method for call in backend.calls)

            scene = Scene(kit, backend)
            await scene.begin()
            await scene.clock.advance(0.3)
            await scene.speak_over()
            await until(lambda: order)
            assert "cancel_audio" in order

    async def test_the_first_moments_are_protected(self) -> None:
        """Below barge_in_threshold_ms the answer goes on."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend)
            await scene.begin()
            await scene.clock.advance(0.1)
            await scene.speak_over()
            await scene.speak_over()  # and they have stopped again
            await until(lambda: "on_transcription" in scene.ears.order)
            assert scene.channel.playback(scene.session) is not None
            assert "on_barge_in" not in scene.ears.order
            scene.tts.go.set()
            await scene.told()
            assert "after_tts" in scene.ears.order

    async def test_disabled(self) -> None:
        """enable_barge_in=False: neither VAD nor backend stop anything."""
        backend = Backend(BOTH)
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, enable_barge_in=False)
            await scene.begin()
            await scene.clock.advance(0.4)
            await scene.speak_over()
            await backend.simulate_barge_in(scene.session)
            await settle()
            assert scene.channel.playback(scene.session) is not None
            scene.tts.go.set()
            await scene.told()

    async def test_confirmed_waits_for_lasting_speech(self) -> None:
        """CONFIRMED stops the answer once the speech has lasted, not at its first frame."""
        backend = Backend()
        config = InterruptionConfig(strategy=InterruptionStrategy.CONFIRMED, min_speech_ms=150)
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, interruption=config)
            await scene.begin()
            await scene.clock.advance(0.1)
            await scene.speak_over()
            await scene.clock.advance(0.1)
            assert scene.channel.playback(scene.session) is not None
            await scene.clock.advance(0.1)
            await until(lambda: scene.ears.of(HookTrigger.ON_TTS_CANCELLED))
            assert scene.tts.closed == 1

    async def test_semantic_judges_the_words(self) -> None:
        """A short utterance interrupts once its words are known to be more than a nod."""
        backend = Backend()
        config = InterruptionConfig(strategy=InterruptionStrategy.SEMANTIC, min_speech_ms=5000)
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend, interruption=config)
            await scene.begin()
            await scene.clock.advance(0.1)
            await scene.speak_over()
            await scene.speak_over()
            await until(lambda: scene.ears.of(HookTrigger.ON_BARGE_IN))
            assert scene.channel.playback(scene.session) is None

    async def test_two_reports_are_one_interruption(self) -> None:
        """VAD and backend both report it; the first wins, the threshold binds only the VAD."""
        backend = Backend(BOTH)
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend)
            await scene.begin()
            await backend.simulate_barge_in(scene.session)
            await scene.speak_over()
            await until(lambda: scene.ears.of(HookTrigger.ON_TTS_CANCELLED))
            await settle()
            assert len(scene.ears.of(HookTrigger.ON_BARGE_IN)) == 1

    async def test_a_finished_hand_over_can_still_be_interrupted(self) -> None:
        """A backend that queues at once: the playback lasts as long as the audio sounds."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend)
            scene.tts.go.set()
            await scene.begin()
            await scene.telling
            playback = scene.channel.playback(scene.session)
            assert playback is not None
            assert playback.total_duration_ms == 1000
            await scene.clock.advance(0.6)
            await scene.speak_over()
            await until(lambda: scene.ears.of(HookTrigger.ON_TTS_CANCELLED))
            cancelled = scene.ears.of(HookTrigger.ON_TTS_CANCELLED)[0]
            assert cancelled.audio_position_ms == 600

    async def test_what_was_heard_is_over(self) -> None:
        """Once all audio has sounded there is nothing to interrupt."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend)
            scene.tts.go.set()
            await scene.begin()
            await scene.telling
            await scene.clock.advance(1.1)
            assert scene.channel.playback(scene.session) is None
            assert await scene.channel.interrupt(scene.session) is False

    async def test_a_playback_ends_on_any_clock(self) -> None:
        """Parts of a millisecond that no clock can sleep away do not keep it going."""
        backend, clock = Backend(), ManualClock()
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", tts=MockTTSProvider(), backend=backend, clock=clock)
            session = await open_call(kit, channel)
            for _ in range(60):
                await channel.say(session, "Enter your number, then hash.")
                for _ in range(3):
                    await clock.advance(0.02)
                assert channel.playback(session) is None


class TestInterrupt:
    """Stopping from the program's side."""

    async def test_explicit(self) -> None:
        """What waits behind is forgotten too; with nothing to stop the answer is False."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend)
            await scene.begin()
            later = asyncio.create_task(scene.tell("Five"))
            await until(lambda: len(scene.ears.of(HookTrigger.BEFORE_TTS)) >= 1)
            assert await scene.channel.interrupt(scene.session) is True
            await scene.told()
            scene.tts.go.set()
            await later
            assert scene.ears.of(HookTrigger.ON_TTS_CANCELLED)[0].reason == "explicit"

    async def test_a_state_made_by_hand(self) -> None:
        """Its position is the wall clock's, and the backend falls silent."""
        backend = MockVoiceBackend(capabilities=VoiceCapability.INTERRUPTION)
        channel = VoiceChannel("voice", backend=backend)
        started = datetime.now(UTC) - timedelta(seconds=2)
        state = TTSPlaybackState("s", "text", started_at=started)
        assert 2000 <= state.position_ms < 60_000
        session = await backend.connect(ROOM, "pat", "voice")
        assert await channel.interrupt(session) is False
        assert "cancel_audio" not in {call.method for call in backend.calls}

    async def test_hanging_up_stops_the_sound(self) -> None:
        """Disconnecting a session cancels what is being said to it, with that reason."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            scene = Scene(kit, backend)
            ears = Ears(kit)
            await scene.begin()
            await kit.disconnect_voice(scene.session)
            await scene.telling
            await until(lambda: scene.ears.of(HookTrigger.ON_TTS_CANCELLED))
            assert scene.ears.of(HookTrigger.ON_TTS_CANCELLED)[0].reason == "disconnect"
            assert scene.tts.closed == 1
            assert len(ears.of("voice_disconnected")) == 1


class Saying(TTSProvider):
    """Says what a test tells it.

    Attributes:
        chunks: What a stream yields; an exception is raised in its place, None never comes.
    """

    def __init__(self, *chunks: Any) -> None:
        self.chunks = chunks

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Not used here."""
        raise ConnectionError

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield the chunks."""
        for chunk in self.chunks:
            if chunk is None:
                await asyncio.Event().wait()
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


class Recorded(TTSProvider):
    """Cannot stream; its recordings hold their audio themselves."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Return the recording."""
        return AudioContent(url=self.url, mime_type="audio/wav")


def wav_url() -> str:
    """Return 100 ms of silence at 8 kHz as a data: URL."""
    return "data:audio/wav;base64," + base64.b64encode(wav_bytes(bytes(1600), 8000)).decode()


async def tell_once(tts: TTSProvider, **options: Any) -> tuple[Backend, HookEars, Any]:
    """Say one text to one caller and return what came of it."""
    backend = Backend()
    async with RoomKit(voice=backend) as kit:
        ears = HookEars(kit)
        await open_call(kit, VoiceChannel("voice", tts=tts, backend=backend, **options))
        kit.register_channel(SimpleChannel("desk"))
        await kit.attach_channel(ROOM, "desk")
        event = await kit.send_event(ROOM, "desk", TextContent(body="hello there"))
        await settle()
        stored: Any = await kit.store.get_event(event.id)
    return backend, ears, stored


class TestSynthesis:
    """Streams, recordings, and synthesisers that fail."""

    @pytest.mark.parametrize("broken", [(ConnectionError(),), (None,), (AudioChunk(b"12"), None)])
    async def test_a_failure_is_told_and_not_repeated(self, broken: Any) -> None:
        """ON_TTS_CANCELLED says "error"; the delivery itself counts as made."""
        _, ears, stored = await tell_once(Saying(*broken), tts_timeout=0.05)
        assert [event.reason for event in ears.of(HookTrigger.ON_TTS_CANCELLED)] == ["error"]
        assert "after_tts" not in ears.order
        assert stored.delivery_results["voice"]["status"] == "sent"
        assert stored.delivery_results["voice"]["attempts"] == 1

    async def test_compressed_audio_is_never_played(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One error in the log, the PCM around it is played."""
        mp3 = AudioChunk(b"id3", format="mp3")
        backend, _, _ = await tell_once(Saying(mp3, mp3, AudioChunk(b"ab")))
        assert [data for _, data in backend.chunks] == [b"ab"]
        assert caplog.text.count("mp3") == 1

    @pytest.mark.parametrize("streaming", [True, False])
    async def test_a_recording_is_played_whole(self, streaming: bool) -> None:
        """A synthesiser that cannot stream, and streaming=False, need a data: URL."""
        backend, ears, _ = await tell_once(Recorded(wav_url()), streaming=streaming)
        assert b"".join(data for _, data in backend.chunks) == bytes(1600)
        assert "after_tts" in ears.order

    async def test_a_recording_elsewhere_is_an_error(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What would have to be fetched is not; the log says the kind and keeps the address."""
        with caplog.at_level(logging.INFO):
            backend, ears, _ = await tell_once(MockTTSProvider(), streaming=False)
        assert backend.chunks == []
        assert [event.reason for event in ears.of(HookTrigger.ON_TTS_CANCELLED)] == ["error"]
        assert "mock.test" not in caplog.text


class TestSkipped:
    """Nobody there: no failure, no repetition."""

    async def test_without_a_session_the_delivery_is_skipped(self) -> None:
        """The stored result says so, and the breaker does not mind."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", tts=MockTTSProvider(), backend=backend)
            session = await open_call(kit, channel)
            await kit.disconnect_voice(session)
            kit.register_channel(SimpleChannel("desk"))
            await kit.attach_channel(ROOM, "desk")
            event = await kit.send_event(ROOM, "desk", TextContent(body="hello"))
            stored: Any = await kit.store.get_event(event.id)
            assert stored.delivery_results["voice"]["status"] == "skipped"

    async def test_a_delivery_begun_before_is_not_repeated(self) -> None:
        """A second attempt, as after a crash, says nothing again."""
        backend = Backend()
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", tts=MockTTSProvider(), backend=backend)
            await open_call(kit, channel)
            kit.register_channel(SimpleChannel("desk"))
            await kit.attach_channel(ROOM, "desk")
            event = await kit.send_event(ROOM, "desk", TextContent(body="hello"))
            said = len(backend.chunks)
            binding: Any = await kit.store.get_binding(ROOM, "voice")
            context: Any = await kit.store.load_context(ROOM)
            token = delivery_scope.set(Delivery("d", attempt=2))
            try:
                with pytest.raises(ProviderDeliveryError):
                    await channel.deliver(event, binding, context)
            finally:
                delivery_scope.reset(token)
            assert said == len(backend.chunks) == 1


class TestSayAndPlay:
    """Speech that is no event."""

    async def test_say(self) -> None:
        """Hooks, the voice asked for, the audio; nothing in the timeline."""
        backend, tts = Backend(), MockTTSProvider()
        channel = VoiceChannel("voice", tts=tts, backend=backend)
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, channel)
            await channel.say(session, "Still there?", voice="ann")
            assert tts.calls == [{"text": "Still there?", "voice": "ann"}]
            assert [data for _, data in backend.chunks] == [
                b"mock-audio-Still",
                b"mock-audio-there?",
            ]
            assert ears.order == ["before_tts", "after_tts"]
            assert backend.sent_transcriptions == [(session.id, "Still there?", "assistant")]
            assert await messages(kit) == []

    async def test_play(self) -> None:
        """Bytes at the session's rate, or chunks; a text is shown, none asks no hook."""

        async def chunks() -> AsyncIterator[AudioChunk]:
            yield AudioChunk(b"xy", 24000)

        backend = Backend()
        channel = VoiceChannel("voice", backend=backend)
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, channel)
            await channel.play(session, b"ab")
            await channel.play(session, chunks(), text="ding")
            assert [data for _, data in backend.chunks] == [b"ab", b"xy"]
            assert ears.order == ["before_tts", "after_tts"]
            assert backend.sent_transcriptions == [(session.id, "ding", "assistant")]

    async def test_what_is_missing_is_named(self) -> None:
        """Without tts, backend or binding it is said what to do."""
        backend = Backend()
        session = await backend.connect(ROOM, "pat", "voice")
        with pytest.raises(VoiceNotConfiguredError):
            await VoiceChannel("voice", backend=backend).say(session, "x")
        with pytest.raises(VoiceBackendNotConfiguredError):
            await VoiceChannel("voice").play(session, b"")
        with pytest.raises(InvalidInputError, match="connect_voice"):
            await VoiceChannel("voice", backend=backend).play(session, b"")
