"""Sessions of a voice channel: bound, heard while bound, quiet after; and the channel's end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from roomkit import RoomKit, TextContent
from roomkit.channels.voice import VoiceChannel
from roomkit.exceptions import InvalidInputError
from roomkit.models.enums import Access
from roomkit.testing import SimpleChannel
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.mock import MockTTSProvider
from tests.support.kits import Ears, texts
from tests.test_voice._voice_rooms import (
    END,
    ROOM,
    START,
    HookEars,
    SlowTTS,
    heard,
    open_call,
    settle,
    speak,
    until,
    voice,
)


class TestSessions:
    """Bound once, heard while bound, quiet after."""

    async def test_a_session_belongs_to_one_room(self) -> None:
        """Binding again with the room does nothing; with another room it is refused."""
        backend = MockVoiceBackend()
        channel = voice(backend)
        async with RoomKit(voice=backend) as kit:
            session = await open_call(kit, channel)
            binding: Any = await kit.store.get_binding(ROOM, "voice")
            channel.bind_session(session, ROOM, binding)
            assert channel.sessions == [session]
            with pytest.raises(InvalidInputError, match="another room"):
                channel.bind_session(session, "other", binding)

    async def test_frames_outside_a_session_are_counted(self) -> None:
        """After the end nothing is listened to any more."""
        backend = MockVoiceBackend()
        channel = voice(backend, START, END)
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, channel)
            await kit.disconnect_voice(session)
            await speak(backend, session)
            await settle()
            assert channel.dropped_frames == 2
            assert ears.order == []

    async def test_last_words_arrive(self) -> None:
        """What was said before somebody hung up still becomes a message."""
        backend = MockVoiceBackend()
        go = asyncio.Event()

        class Slow(MockSTTProvider):
            async def transcribe(self, audio: Any) -> str:
                await go.wait()
                return await super().transcribe(audio)

        async with RoomKit(voice=backend) as kit:
            session = await open_call(kit, voice(backend, START, END, stt=Slow(["bye"])))
            await speak(backend, session)
            await settle()
            await kit.disconnect_voice(session)
            go.set()
            said = await heard(kit)
            assert texts(said) == ["bye"]

    async def test_a_muted_channel_hears_nothing(self) -> None:
        """While the binding is muted or may not write, nobody's speech counts."""
        backend, stt = MockVoiceBackend(), MockSTTProvider(["x"])
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            session = await open_call(kit, voice(backend, START, END, START, END, stt=stt))
            await kit.mute(ROOM, "voice")
            await speak(backend, session)
            await settle()
            assert ears.order == []
            await kit.unmute(ROOM, "voice")
            await kit.set_access(ROOM, "voice", Access.READ_WRITE)
            await speak(backend, session)
            await until(lambda: "on_transcription" in ears.order)
            assert len(stt.calls) == 1

    async def test_closing_leaves_nothing_behind(self) -> None:
        """Parts are closed in their order, tasks have ended, and again does nothing."""
        log: list[str] = []

        class Speech(MockSTTProvider):
            async def transcribe(self, audio: Any) -> str:
                await asyncio.Event().wait()
                return ""

            async def close(self) -> None:
                log.append("stt")

        class Voice(MockTTSProvider):
            async def close(self) -> None:
                log.append("tts")
                raise OSError("gone")

        backend = MockVoiceBackend()
        channel = voice(backend, START, END, stt=Speech(), tts=Voice())
        before = asyncio.all_tasks()
        kit = RoomKit(voice=backend)
        session = await open_call(kit, channel)
        await speak(backend, session)
        await settle()
        with pytest.raises(OSError, match="gone"):
            await channel.close()
        await channel.close()
        assert log == ["stt", "tts"]
        assert "close" in {call.method for call in backend.calls}
        await kit.close()
        await settle()
        assert asyncio.all_tasks() == before


class TestFacts:
    """What the channel says of itself."""

    def test_info_and_capabilities(self) -> None:
        """Names, flags and formats as they were promised."""
        backend = MockVoiceBackend()
        channel = voice(backend, None)
        assert channel.info == {
            "stt": "MockSTTProvider",
            "tts": "MockTTSProvider",
            "backend": "MockVoiceBackend",
            "streaming": True,
            "pipeline": True,
        }
        assert channel.backend is backend
        assert channel.capabilities().supported_audio_formats == ["wav", "mp3", "ogg", "webm"]
        bare = VoiceChannel("bare", pipeline=AudioPipelineConfig())
        assert bare.info["backend"] is None
        with pytest.raises(InvalidInputError):
            VoiceChannel("bad", tts_timeout=0)


class Leaving(MockVoiceBackend):
    """Notices when a caller hangs up."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[Any] = []

    def on_session_ended(self, callback: Any) -> None:
        """Keep the callback."""
        self.gone.append(callback)


class TestCallers:
    """Who hears what."""

    async def test_all_callers_of_a_room_hear_it(self) -> None:
        """One text, one pair of hooks, each caller's audio."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            ears = HookEars(kit)
            first = await open_call(kit, voice(backend))
            second = await kit.connect_voice(ROOM, "kim", "voice")
            kit.register_channel(SimpleChannel("desk"))
            await kit.attach_channel(ROOM, "desk")
            await kit.send_event(ROOM, "desk", TextContent(body="hello"))
            assert sorted(backend.sent_audio) == sorted(
                (each.id, b"mock-audio-hello") for each in (first, second)
            )
            assert ears.order.count("before_tts") == ears.order.count("after_tts") == 1

    async def test_a_session_nobody_bound_hears_too(self) -> None:
        """Where none is bound, the backend's own sessions of the room are spoken to."""
        backend = MockVoiceBackend()
        async with RoomKit(voice=backend) as kit:
            session = await open_call(kit, voice(backend))
            channel: Any = kit.get_channel("voice")
            channel.unbind_session(session)
            kit.register_channel(SimpleChannel("desk"))
            await kit.attach_channel(ROOM, "desk")
            await kit.send_event(ROOM, "desk", TextContent(body="hello"))
            assert backend.sent_audio == [(session.id, b"mock-audio-hello")]

    async def test_a_hang_up_takes_the_session_out(self) -> None:
        """Other callers stay, and the end is told once, by who connected."""
        backend = Leaving()
        channel = voice(backend)
        async with RoomKit(voice=backend) as kit:
            ears = Ears(kit)
            session = await open_call(kit, channel)
            other = await kit.connect_voice(ROOM, "kim", "voice")
            backend.on_session_ended(kit.disconnect_voice)
            for callback in backend.gone:
                result = callback(session)
                if result is not None:
                    await result
            assert channel.sessions == [other]
            assert len(ears.of("voice_disconnected")) == 1


class TestBounds:
    """Nothing grows for ever."""

    async def test_an_utterance_is_cut(self) -> None:
        """More than max_utterance_seconds does not reach the recogniser."""
        backend, stt = MockVoiceBackend(), MockSTTProvider(["x"])
        async with RoomKit(voice=backend) as kit:
            channel = VoiceChannel("voice", stt=stt, backend=backend, max_utterance_seconds=0.5)
            session = await open_call(kit, channel)
            await backend.simulate_speech_end(session, bytes(64_000))
            await until(lambda: stt.calls)
            given: Any = stt.calls[0]
            assert len(given.data) == 16_000

    async def test_speeches_that_wait_are_bounded(self, caplog: pytest.LogCaptureFixture) -> None:
        """A caller who is told more than can be said hears no more than waits."""
        backend, tts = MockVoiceBackend(), SlowTTS()
        channel = voice(backend, tts=tts)
        async with RoomKit(voice=backend) as kit:
            session = await open_call(kit, channel)
            saying = [asyncio.create_task(channel.say(session, f"n{n}")) for n in range(40)]
            await until(lambda: len(tts.calls) == 1)
            await settle()
            assert sum(task.done() for task in saying) == 40 - 1 - 32
            assert "is not said" in caplog.text
            await channel.interrupt(session)
            await asyncio.gather(*saying)

    async def test_a_thread_that_floods_is_bounded(self) -> None:
        """Frames of another thread wait for the loop, fifty at most; the oldest go."""
        backend = MockVoiceBackend()
        channel = voice(backend, None)
        async with RoomKit(voice=backend) as kit:
            session = await open_call(kit, channel)

            def flood() -> None:
                asyncio.run(speak(backend, session, 80))

            thread = threading.Thread(target=flood)
            thread.start()
            thread.join()  # the loop cannot turn meanwhile
            assert channel.dropped_frames == 30
            await settle()
            assert channel.dropped_frames == 30
