"""A caller speaks, the room reads it, the answer is spoken: order, hooks, rooms and failures."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import HookResult, HookTrigger, RoomKit, TextContent
from roomkit.channels.voice import VoiceChannel
from roomkit.models.channel import ChannelOutput
from roomkit.testing import SimpleChannel
from roomkit.voice.backends.base import VoiceBackend
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.base import TranscriptionResult, VoiceCapability, VoiceSession
from roomkit.voice.pipeline import VADEvent, VADEventType
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.mock import MockTTSProvider
from tests.support.kits import messages, texts
from tests.test_voice._voice_rooms import (
    END,
    FRAME,
    ROOM,
    START,
    HookEars,
    heard,
    open_call,
    settle,
    speak,
    until,
    voice,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import AudioChunk


class TestOneTurn:
    """From sound to message, from answer to sound."""

    async def test_the_hooks_come_in_their_order(self) -> None:
        """Each hook of a turn fires once, and an utterance ends once."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, voice(backend, START, END), answers=["Hello friend"])
            await speak(backend, session)
            await until(lambda: ears.order.count("after_broadcast") == 2)
            assert ears.order == [
                "on_speech_start",
                "on_speech_end",
                "on_transcription",
                "before_broadcast",
                "before_broadcast",
                "before_tts",
                "after_tts",
                "after_broadcast",
                "after_broadcast",
            ]
            assert backend.sent_transcriptions == [
                (session.id, "Hi there", "user"),
                (session.id, "Hello friend", "assistant"),
            ]
            assert backend.sent_audio == [(session.id, b"mock-audio-Hellomock-audio-friend")]

    async def test_the_message_names_session_and_speaker(self) -> None:
        """The event is the caller's, and says that it was spoken."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            session = await open_call(kit, voice(backend, START, END))
            await speak(backend, session)
            said = await heard(kit)
            assert texts(said) == ["Hi there"]
            assert said[0].source.participant_id == "pat"
            assert said[0].metadata == {"voice_session_id": session.id, "source": "voice"}

    async def test_speech_reaches_only_its_own_room(self) -> None:
        """One voice channel in two rooms: what is said in the newer stays there, both ways."""
        backend = MockVoiceBackend()
        channel = voice(backend, START, END)
        async with RoomKit(voice=backend) as kit:
            first = await open_call(kit, channel)
            second = await open_call(kit, channel, room_id="other", person="kim")
            await speak(backend, second)
            await heard(kit, room_id="other")
            assert await messages(kit, ROOM) == []
            kit.register_channel(SimpleChannel("desk"))
            await kit.attach_channel("other", "desk")
            await kit.send_event("other", "desk", TextContent(body="hello"))
            assert {session_id for session_id, _ in backend.sent_audio} == {second.id}
            assert first.id != second.id

    async def test_hooks_change_the_text_both_ways(self) -> None:
        """ON_TRANSCRIPTION and BEFORE_TTS may put another text in its place, even with str."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:

            @kit.hook(HookTrigger.ON_TRANSCRIPTION)
            async def hear(text: str, context: Any) -> HookResult[str]:
                return HookResult.modify(text.upper())

            @kit.hook(HookTrigger.BEFORE_TTS)
            async def say(text: str, context: Any) -> HookResult[str]:
                return HookResult.modify("Bye")

            session = await open_call(kit, voice(backend, START, END), answers=["Hello"])
            await speak(backend, session)
            await until(lambda: backend.sent_audio)
            assert texts(await messages(kit)) == ["HI THERE", "Hello"]
            assert backend.sent_audio == [(session.id, b"mock-audio-Bye")]

    async def test_a_refused_text_goes_no_further(self) -> None:
        """A blocked transcription is no message; a blocked answer is neither shown nor said."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)

            @kit.hook(HookTrigger.ON_TRANSCRIPTION, priority=1000)
            @kit.hook(HookTrigger.BEFORE_TTS, priority=1000)
            async def refuse(text: str, context: Any) -> HookResult[str]:
                return HookResult.block("no")

            session = await open_call(kit, voice(backend, START, END))
            await speak(backend, session)
            await until(lambda: "on_transcription" in ears.order)
            await settle()
            assert await messages(kit) == []
            kit.register_channel(SimpleChannel("desk"))
            await kit.attach_channel(ROOM, "desk")
            await kit.send_event(ROOM, "desk", TextContent(body="hello"))
            assert backend.sent_audio == []
            assert ("assistant") not in {role for _, _, role in backend.sent_transcriptions}
            assert "after_tts" not in ears.order

    @pytest.mark.parametrize("blank", ["", "  ", TranscriptionResult(" ")])
    async def test_silence_is_no_message(self, blank: Any) -> None:
        """A blank transcription shows nothing and asks no hook."""

        class Deaf(MockSTTProvider):
            async def transcribe(self, audio: Any) -> Any:
                self.calls.append(audio)
                return blank

        backend, stt = MockVoiceBackend(), Deaf()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, voice(backend, START, END, stt=stt))
            await speak(backend, session)
            await until(lambda: stt.calls)
            await settle()
            assert "on_transcription" not in ears.order
            assert backend.sent_transcriptions == []

    async def test_the_recogniser_gets_the_frames_own_rate(self) -> None:
        """The rate of what the VAD saw counts before what the session says."""
        backend, stt = MockVoiceBackend(), MockSTTProvider(["x"])
        async with RoomKit(voice=backend) as kit:
            channel = voice(backend, END, stt=stt)
            await open_call(kit, channel)
            session = await kit.connect_voice(ROOM, "kim", "voice", {"input_sample_rate": 48000})
            await backend.simulate_audio_received(session, FRAME)
            await until(lambda: stt.calls)
            given: Any = stt.calls[0]
            assert (given.sample_rate, given.channels, given.sample_width) == (16000, 1, 2)
            assert given.data == END.audio_bytes

    async def test_a_failing_or_slow_recogniser_ends_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The failure is logged by its kind, without what it says; the next utterance works."""

        class Moody(MockSTTProvider):
            async def transcribe(self, audio: Any) -> str:
                self.calls.append(audio)
                if len(self.calls) == 1:
                    raise ValueError("secret words")
                if len(self.calls) == 2:
                    await asyncio.Event().wait()
                return "at last"

        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            channel = voice(backend, END, END, END, stt=Moody(), stt_timeout=0.05)
            session = await open_call(kit, channel)
            with caplog.at_level(logging.INFO):
                await speak(backend, session, 3)
            said = await heard(kit)
            assert texts(said) == ["at last"]
            assert "ValueError" in caplog.text
            assert "DeadlineExceeded" in caplog.text
            assert "secret words" not in caplog.text

    async def test_utterances_do_not_wait_for_answers(self) -> None:
        """A second message is in the room while the first is still being answered."""
        backend = MockVoiceBackend()
        go = asyncio.Event()

        class Slow(SimpleChannel):
            async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
                await go.wait()
                return ChannelOutput.empty()

        async with RoomKit(voice=backend) as kit:
            channel = voice(backend, END, END, stt=MockSTTProvider(["one", "two"]))
            session = await open_call(kit, channel)
            kit.register_channel(Slow("thinker"))
            await kit.attach_channel(ROOM, "thinker")
            await speak(backend, session)
            said = await heard(kit, 2)
            assert texts(said) == ["one", "two"]
            go.set()


class TestWhoDrives:
    """A VAD in the pipeline, else the backend, else nobody."""

    async def test_the_backend_drives_without_a_vad(self) -> None:
        """Speech callbacks of the backend take the same path; the session tells the rate."""
        backend, stt = MockVoiceBackend(), MockSTTProvider(["x"])
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            channel = VoiceChannel("voice", stt=stt, backend=backend)
            await open_call(kit, channel)
            session = await kit.connect_voice(ROOM, "kim", "voice", {"input_sample_rate": 8000})
            await backend.simulate_speech_start(session)
            await backend.simulate_speech_end(session, b"\0\0")
            await until(lambda: "after_broadcast" in ears.order)
            assert ears.order[:3] == ["on_speech_start", "on_speech_end", "on_transcription"]
            given: Any = stt.calls[0]
            assert given.sample_rate == 8000

    async def test_a_vad_silences_the_backends_own_word(self) -> None:
        """With a VAD the backend's speech callbacks are not even registered."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, voice(backend, None))
            await backend.simulate_speech_start(session)
            await backend.simulate_speech_end(session, b"\0\0")
            await settle()
            assert ears.order == []

    async def test_a_plain_backend_only_plays(self) -> None:
        """A backend of 0.3.2, without speech callbacks, still says what is sent."""

        class Plain(VoiceBackend):
            name = "plain"
            played: list[bytes] = []  # noqa: RUF012 - one backend in one test

            async def connect(
                self, room_id: str, participant_id: str, channel_id: str, **_: Any
            ) -> VoiceSession:
                return VoiceSession("s", room_id, participant_id, channel_id)

            async def disconnect(self, session: VoiceSession) -> None:
                return

            async def send_audio(self, session: VoiceSession, audio: Any) -> None:
                self.played.extend([chunk.data async for chunk in audio])

        backend = Plain()
        async with RoomKit(voice=backend) as kit:
            await open_call(kit, VoiceChannel("voice", tts=MockTTSProvider(), backend=backend))
            kit.register_channel(SimpleChannel("desk"))
            await kit.attach_channel(ROOM, "desk")
            await kit.send_event(ROOM, "desk", TextContent(body="hello"))
            assert backend.played == [b"mock-audio-hello"]

    async def test_silence_level_and_partials(self) -> None:
        """What the VAD and the backend measure reaches the hooks as they measured it."""
        backend = MockVoiceBackend(capabilities=VoiceCapability.PARTIAL_STT)
        quiet = VADEvent(VADEventType.SILENCE, duration_ms=700.4)
        loud = VADEvent(VADEventType.AUDIO_LEVEL, level_db=-20.0, confidence=0.9)
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, voice(backend, quiet, loud))
            await speak(backend, session)
            await backend.simulate_partial_transcription(session, "hel", 0.5)
            await until(lambda: len(ears.heard) == 3)
            silence = ears.of(HookTrigger.ON_VAD_SILENCE)[0]
            level = ears.of(HookTrigger.ON_VAD_AUDIO_LEVEL)[0]
            partial = ears.of(HookTrigger.ON_PARTIAL_TRANSCRIPTION)[0]
            assert silence.silence_duration_ms == 700
            assert (level.level_db, level.is_speech) == (-20.0, True)
            assert (partial.text, partial.confidence, partial.is_stable) == ("hel", 0.5, False)

    async def test_an_end_without_audio_only_tells(self) -> None:
        """SPEECH_END without audio fires its hook and asks no recogniser."""
        backend, stt = MockVoiceBackend(), MockSTTProvider()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            channel = voice(backend, START, VADEvent(VADEventType.SPEECH_END), stt=stt)
            session = await open_call(kit, channel)
            await speak(backend, session)
            await until(lambda: len(ears.heard) == 2)
            await settle()
            assert ears.order == ["on_speech_start", "on_speech_end"]
            assert stt.calls == []

    async def test_frames_of_another_thread(self) -> None:
        """A backend may call from a thread; the utterance arrives in the loop."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, voice(backend, START, END))

            def call() -> None:
                asyncio.run(speak(backend, session))

            thread = threading.Thread(target=call)
            thread.start()
            await until(lambda: "after_broadcast" in ears.order)
            thread.join()
            assert texts(await messages(kit)) == ["Hi there"]


class TestStreamingWords:
    """Recognition while somebody speaks, when asked for."""

    async def test_partials_and_the_final_text(self) -> None:
        """The pre-roll comes first, each piece fires a hook, nothing is transcribed twice."""

        class Live(MockSTTProvider):
            supports_streaming = True

            async def transcribe_stream(
                self, audio_stream: AsyncIterator[AudioChunk]
            ) -> AsyncIterator[TranscriptionResult]:
                async for chunk in audio_stream:
                    self.calls.append(chunk)
                    yield TranscriptionResult("so", is_final=False, confidence=0.4)
                yield TranscriptionResult("so far", confidence=0.9)

        backend, stt = MockVoiceBackend(), Live()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            channel = voice(backend, None, START, None, END, stt=stt, stt_streaming=True)
            session = await open_call(kit, channel)
            for _ in range(4):
                await backend.simulate_audio_received(session, FRAME)
                await settle()
            await until(lambda: "after_broadcast" in ears.order)
            partials = ears.of(HookTrigger.ON_PARTIAL_TRANSCRIPTION)
            assert len(stt.calls) == 4
            assert [event.text for event in partials] == ["so"] * 4 + ["so far"]
            assert partials[-1].is_stable
            assert texts(await messages(kit)) == ["so far"]

    async def test_a_broken_stream_falls_back_to_the_whole(self) -> None:
        """When the stream fails, the utterance is transcribed in one piece."""

        class Broken(MockSTTProvider):
            supports_streaming = True

            async def transcribe_stream(
                self, audio_stream: AsyncIterator[AudioChunk]
            ) -> AsyncIterator[TranscriptionResult]:
                raise ConnectionError
                yield TranscriptionResult("")

        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            channel = voice(backend, START, END, stt=Broken(["whole"]), stt_streaming=True)
            session = await open_call(kit, channel)
            await speak(backend, session)
            await until(lambda: "after_broadcast" in ears.order)
            assert texts(await messages(kit)) == ["whole"]
