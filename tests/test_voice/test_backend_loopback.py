"""Calls whose people are recordings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import ConflictError, InvalidInputError
from roomkit.testing import ManualClock
from roomkit.voice.audio import WavAudio, parse_wav, wav_bytes
from roomkit.voice.backends.loopback import LoopbackVoiceBackend
from roomkit.voice.base import AudioChunk, VoiceCapability, VoiceSessionState
from tests.test_voice._backend_clients import endless, until
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roomkit.voice.audio_frame import AudioFrame

MS = 32


@pytest.fixture
def clock() -> ManualClock:
    """Time of its own."""
    return ManualClock()


@pytest.fixture
async def backend(clock: ManualClock) -> AsyncIterator[LoopbackVoiceBackend]:
    """A backend on that time."""
    backend = LoopbackVoiceBackend(clock=clock)
    yield backend
    await backend.close()


class TestSpeaking:
    """A recording speaks as a microphone would."""

    async def test_frames_come_when_they_are_due(
        self, backend: LoopbackVoiceBackend, clock: ManualClock
    ) -> None:
        """20 ms each, none early, the last one filled up with silence."""
        session = await backend.connect("r", "ana", "voice")
        heard: list[tuple[float, AudioFrame]] = []
        backend.on_audio_received(lambda _, frame: heard.append((clock.monotonic(), frame)))
        sound = tone(440, 50)
        speaking = asyncio.create_task(backend.speak(session, WavAudio(sound, 16000, 1)))
        await clock.advance(0.019)
        assert heard == []
        await clock.advance(0.021)
        assert len(heard) == 2
        await clock.advance(1)
        await speaking
        assert [round(at, 3) for at, _ in heard] == [0.02, 0.04, 0.06]
        assert [frame.timestamp_ms for _, frame in heard] == [0, 20, 40]
        assert b"".join(frame.data for _, frame in heard) == sound.ljust(60 * MS, b"\0")
        assert session.metadata["input_sample_rate"] == 16000

    async def test_from_a_file_in_stereo(
        self, backend: LoopbackVoiceBackend, clock: ManualClock, tmp_path: Path
    ) -> None:
        """Mixed to one channel, at the rate of the file, followed by silence."""
        path = tmp_path / "question.wav"
        path.write_bytes(wav_bytes(b"\x10\x00\x20\x00" * 160, 8000, 2))
        session = await backend.connect("r", "ana", "voice")
        heard: list[AudioFrame] = []
        backend.on_audio_received(lambda _, frame: heard.append(frame))
        speaking = asyncio.create_task(backend.speak(session, path, silence_ms=20))
        while not speaking.done():
            await clock.advance(0.02)
            await asyncio.sleep(0.001)
        await speaking
        assert [frame.data for frame in heard] == [b"\x18\x00" * 160, bytes(320)]
        assert heard[0].sample_rate == 8000

    async def test_recordings_that_cannot_speak(
        self, backend: LoopbackVoiceBackend, tmp_path: Path
    ) -> None:
        """The error says why; nothing was heard."""
        session = await backend.connect("r", "ana", "voice")
        broken = tmp_path / "broken.wav"
        broken.write_bytes(b"not a wav")
        with pytest.raises(InvalidInputError, match="not a WAV"):
            await backend.speak(session, broken)
        with pytest.raises(InvalidInputError, match="96000 Hz"):
            await backend.speak(session, WavAudio(b"", 96000, 1))

    async def test_it_stops_with_the_session(
        self, backend: LoopbackVoiceBackend, clock: ManualClock
    ) -> None:
        """Nobody is heard after the end, and a session that has ended says nothing."""
        session = await backend.connect("r", "ana", "voice")
        heard: list[Any] = []
        backend.on_audio_received(lambda *_: heard.append(1))
        sound = WavAudio(tone(440, 1000), 16000, 1)
        speaking = asyncio.create_task(backend.speak(session, sound))
        await clock.advance(0.1)
        await backend.disconnect(session)
        await clock.advance(2)
        await speaking
        assert len(heard) == 5
        await backend.speak(session, sound)
        assert len(heard) == 5

    async def test_slow_callbacks_lose_the_oldest(
        self, backend: LoopbackVoiceBackend, clock: ManualClock
    ) -> None:
        """As in a real call: fifty frames wait, the rest is counted."""
        session = await backend.connect("r", "ana", "voice")
        gate = asyncio.Event()
        backend.on_audio_received(lambda *_: gate.wait())
        sound = WavAudio(bytes(2000 * MS), 16000, 1)
        speaking = asyncio.create_task(backend.speak(session, sound))
        await clock.advance(2)
        await speaking
        assert backend.dropped_frames(session) == 49
        gate.set()

    async def test_it_may_be_told_to_barge_in(self, backend: LoopbackVoiceBackend) -> None:
        """Whoever listens for it is told."""
        session = await backend.connect("r", "ana", "voice")
        seen: list[str] = []
        backend.on_barge_in(lambda each: seen.append(each.id))
        await backend.barge_in(session)
        assert seen == [session.id]


class TestHearing:
    """What is sent is recorded where it would be heard."""

    async def test_playbacks_have_their_places(
        self, backend: LoopbackVoiceBackend, clock: ManualClock, tmp_path: Path
    ) -> None:
        """What comes while something plays goes behind it, later sound after its silence."""
        session = await backend.connect("r", "ana", "voice")
        await clock.advance(0.1)
        await backend.send_audio(session, tone(440, 100))
        await clock.advance(0.05)
        await backend.send_audio(session, tone(550, 100))
        assert backend.is_playing(session)
        assert backend.played_ms(session) == 50
        await clock.advance(0.25)
        assert not backend.is_playing(session)
        assert backend.played_ms(session) == 200
        await backend.send_audio(session, tone(660, 20))
        assert [each.position_ms for each in backend.playbacks(session)] == [100, 400]
        expected = (
            bytes(100 * MS) + tone(440, 100) + tone(550, 100) + bytes(100 * MS) + tone(660, 20)
        )
        assert backend.recording(session).data == expected
        path = tmp_path / "heard.wav"
        await backend.save(session, path)
        assert parse_wav(path.read_bytes()) == WavAudio(expected, 16000, 1)

    async def test_an_interruption_cuts(
        self, backend: LoopbackVoiceBackend, clock: ManualClock
    ) -> None:
        """What was heard stays, to the sample; what follows begins anew."""
        session = await backend.connect("r", "ana", "voice")
        sound = tone(440, 1000)
        await backend.send_audio(session, sound)
        await clock.advance(0.25)
        assert await backend.cancel_audio(session)
        assert not await backend.cancel_audio(session)
        assert not backend.is_playing(session)
        assert backend.played_ms(session) == 250
        assert backend.playbacks(session)[0].interrupted
        assert backend.recording(session).data == sound[: 250 * MS]
        assert backend.capabilities == VoiceCapability.INTERRUPTION

    async def test_a_cancelled_stream_is_closed(
        self, backend: LoopbackVoiceBackend, clock: ManualClock
    ) -> None:
        """An endless one stops at the next chunk, or where the recording is full."""
        session = await backend.connect("r", "ana", "voice")
        gone = asyncio.Event()
        chunk = AudioChunk(tone(440, 60, rate=24000), 24000)
        sending = asyncio.create_task(backend.send_audio(session, endless(gone, chunk)))
        await until(lambda: backend.is_playing(session))
        assert await backend.cancel_audio(session)
        await sending
        assert gone.is_set()

    async def test_the_recording_is_bounded(self, clock: ManualClock) -> None:
        """Endless audio ends where it is full."""
        backend = LoopbackVoiceBackend(clock=clock, max_recorded_ms=500)
        session = await backend.connect("r", "ana", "voice")
        gone = asyncio.Event()
        await backend.send_audio(session, endless(gone, AudioChunk(bytes(40 * MS))))
        assert gone.is_set()
        assert len(backend.recording(session).data) == 500 * MS
        await backend.close()

    async def test_what_was_shown(self, backend: LoopbackVoiceBackend) -> None:
        """Texts are kept, in order."""
        session = await backend.connect("r", "ana", "voice")
        await backend.send_transcription(session, "Hello")
        await backend.send_transcription(session, "Hi!", "assistant")
        assert backend.transcriptions(session) == [("user", "Hello"), ("assistant", "Hi!")]


class TestSessions:
    """Their beginning and end."""

    async def test_they_are_known_until_they_end(self, backend: LoopbackVoiceBackend) -> None:
        """Ended ones take nothing and give nothing."""
        session = await backend.connect("r", "ana", "voice", metadata={"a": 1})
        assert session.metadata == {"output_sample_rate": 16000, "a": 1}
        assert backend.get_session(session.id) is session
        assert backend.list_sessions("r") == [session]
        await backend.disconnect(session)
        await backend.disconnect(session)
        assert session.state is VoiceSessionState.ENDED
        assert backend.list_sessions("r") == []
        await backend.send_audio(session, bytes(640))
        await backend.send_transcription(session, "Hello")
        assert backend.played_ms(session) is None
        assert backend.recording(session).data == b""
        assert backend.playbacks(session) == backend.transcriptions(session) == []

    async def test_bounds(self, clock: ManualClock) -> None:
        """Too many sessions and senseless bounds are refused."""
        backend = LoopbackVoiceBackend(clock=clock, max_sessions=1)
        await backend.connect("r", "ana", "voice")
        with pytest.raises(ConflictError, match="1 sessions"):
            await backend.connect("r", "bob", "voice")
        await backend.close()
        for wrong in ({"output_sample_rate": 4000}, {"frame_ms": 0}):
            with pytest.raises(InvalidInputError):
                LoopbackVoiceBackend(**wrong)
