"""The mocks of the voice layer: what programs' tests rely on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends.mock import MockVoiceBackend, MockVoiceCall
from roomkit.voice.base import (
    AudioChunk,
    TranscriptionResult,
    VoiceCapability,
    VoiceSession,
    VoiceSessionState,
)
from roomkit.voice.pipeline.diarization_provider import DiarizationResult
from roomkit.voice.pipeline.mock import (
    MockDenoiserProvider,
    MockDiarizationProvider,
    MockVADProvider,
)
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.mock import MockTTSProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FRAME = AudioFrame(data=b"\x01\x00" * 160)
SILENT = {"room_id": "r", "participant_id": "p", "channel_id": "c"}


async def chunks(*data: bytes, final: bool = False) -> AsyncIterator[AudioChunk]:
    for number, part in enumerate(data, start=1):
        yield AudioChunk(data=part, is_final=final and number == len(data))


class TestSTT:
    """MockSTTProvider."""

    async def test_the_texts_go_round(self) -> None:
        """One after the other, over and over, and every recording is kept."""
        stt = MockSTTProvider(["one", "two"])
        assert [await stt.transcribe(FRAME) for _ in range(3)] == ["one", "two", "one"]
        assert stt.calls == [FRAME] * 3

    @pytest.mark.parametrize("given", [None, []])
    async def test_no_texts_mean_the_usual_ones(self, given: list[str] | None) -> None:
        """None and an empty list alike."""
        stt = MockSTTProvider(given)
        assert stt.transcripts == ["Hello", "How can I help you?"]
        assert await stt.transcribe(FRAME) == "Hello"

    async def test_a_stream_is_one_text(self) -> None:
        """The same round as ``transcribe``; every chunk is kept, the one result is final."""
        stt = MockSTTProvider(["one", "two"])
        await stt.transcribe(FRAME)
        found = [result async for result in stt.transcribe_stream(chunks(b"a", b"b"))]
        assert found == [TranscriptionResult(text="two", is_final=True)]
        assert [getattr(call, "data", None) for call in stt.calls] == [FRAME.data, b"a", b"b"]

    def test_what_it_says_about_itself(self) -> None:
        """Its class name, and no streaming."""
        stt = MockSTTProvider()
        assert stt.name == "MockSTTProvider"
        assert not stt.supports_streaming


class TestTTS:
    """MockTTSProvider."""

    async def test_a_recording(self) -> None:
        """An invented URL of its own, and 50 ms a character."""
        tts = MockTTSProvider()
        first, second = await tts.synthesize("hello"), await tts.synthesize("hello", voice="x")
        assert first.url != second.url
        assert first.url.startswith("https://mock.test/audio/")
        assert first.url.endswith(".mp3")
        assert (first.mime_type, first.transcript) == ("audio/mpeg", "hello")
        assert first.duration_seconds == pytest.approx(0.25)
        assert tts.calls == [
            {"text": "hello", "voice": "mock-voice"},
            {"text": "hello", "voice": "x"},
        ]

    async def test_a_stream_is_a_chunk_a_word(self) -> None:
        """The last is final; the call is kept once somebody iterates."""
        tts = MockTTSProvider("joe")
        stream = tts.synthesize_stream("good  day")
        assert tts.calls == []
        found = [(chunk.data, chunk.sample_rate, chunk.is_final) async for chunk in stream]
        assert found == [(b"mock-audio-good", 16000, False), (b"mock-audio-day", 16000, True)]
        assert tts.calls == [{"text": "good  day", "voice": "joe"}]

    async def test_a_blank_text_is_silence(self) -> None:
        """No chunk at all."""
        assert [chunk async for chunk in MockTTSProvider().synthesize_stream("  ")] == []

    def test_what_it_says_about_itself(self) -> None:
        """Name, voice, and that it streams."""
        tts = MockTTSProvider("joe")
        assert (tts.name, tts.default_voice, tts.streams) == ("MockTTSProvider", "joe", True)


class TestBackend:
    """MockVoiceBackend."""

    async def test_connect(self) -> None:
        """An active session with the very metadata given; the call is kept as it was made."""
        backend = MockVoiceBackend()
        metadata = {"input_sample_rate": 8000}
        session = await backend.connect("r", "p", "c", metadata=metadata)
        plain = await backend.connect("r", "q", "c")
        assert session.state is VoiceSessionState.ACTIVE
        assert session.metadata is metadata
        assert plain.metadata == {}
        assert backend.get_session(session.id) is session
        assert backend.list_sessions("r") == [session, plain]
        assert backend.list_sessions("other") == []
        assert backend.calls == [
            MockVoiceCall("connect", {**SILENT, "metadata": metadata}),
            MockVoiceCall("connect", {**SILENT, "participant_id": "q", "metadata": None}),
        ]

    async def test_disconnect_keeps_an_ended_copy(self) -> None:
        """The caller's object is left alone; again changes nothing."""
        backend = MockVoiceBackend()
        session = await backend.connect("r", "p", "c")
        await backend.disconnect(session)
        await backend.disconnect(session)
        kept = backend.get_session(session.id)
        assert kept is not None
        assert kept.state is VoiceSessionState.ENDED
        assert session.state is VoiceSessionState.ACTIVE
        assert backend.calls[-1] == MockVoiceCall("disconnect", {"session_id": session.id})

    async def test_sent_audio_is_one_entry_a_playback(self) -> None:
        """Bytes as they are, a stream joined; playing is only what the test says."""
        backend = MockVoiceBackend()
        session = await backend.connect("r", "p", "c")
        await backend.send_audio(session, b"ab")
        await backend.send_audio(session, chunks(b"c", b"d"))
        assert backend.sent_audio == [(session.id, b"ab"), (session.id, b"cd")]
        assert backend.calls[1:] == [
            MockVoiceCall("send_audio", {"session_id": session.id}),
            MockVoiceCall("send_audio", {"session_id": session.id}),
        ]
        assert not backend.is_playing(session)

    async def test_cancelling(self) -> None:
        """Whether it was playing; afterwards it is not."""
        backend = MockVoiceBackend(capabilities=VoiceCapability.INTERRUPTION)
        session = await backend.connect("r", "p", "c")
        backend.start_playing(session)
        assert backend.is_playing(session)
        assert [await backend.cancel_audio(session) for _ in range(2)] == [True, False]
        assert [call.args["was_playing"] for call in backend.calls[1:]] == [True, False]
        backend.start_playing(session)
        backend.stop_playing(session)
        assert not backend.is_playing(session)
        assert backend.capabilities is VoiceCapability.INTERRUPTION

    async def test_transcriptions(self) -> None:
        """Kept with who said them; a user by default."""
        backend = MockVoiceBackend()
        session = await backend.connect("r", "p", "c")
        await backend.send_transcription(session, "hi")
        await backend.send_transcription(session, "hello", "assistant")
        assert backend.sent_transcriptions == [
            (session.id, "hi", "user"),
            (session.id, "hello", "assistant"),
        ]
        assert backend.calls[-1].args == {
            "session_id": session.id,
            "text": "hello",
            "role": "assistant",
        }

    async def test_close(self) -> None:
        """Sessions and playing are forgotten."""
        backend = MockVoiceBackend()
        session = await backend.connect("r", "p", "c")
        backend.start_playing(session)
        await backend.close()
        await backend.close()
        assert backend.get_session(session.id) is None
        assert not backend.is_playing(session)
        assert backend.calls[-1] == MockVoiceCall("close")

    async def test_every_simulation_reaches_its_callbacks(self) -> None:
        """Plain and async ones in the order of registration, with what was simulated."""
        backend = MockVoiceBackend()
        session = await backend.connect("r", "p", "c")
        seen: list[tuple[object, ...]] = []

        def plain(*args: object) -> None:
            seen.append(("plain", *args[1:]))

        async def slow(*args: object) -> None:
            await asyncio.sleep(0)
            assert args[0] is session
            seen.append(("slow", *args[1:]))

        for register in (
            backend.on_audio_received,
            backend.on_barge_in,
            backend.on_speech_start,
            backend.on_speech_end,
            backend.on_partial_transcription,
            backend.on_vad_silence,
            backend.on_vad_audio_level,
        ):
            register(slow)
            register(plain)
        await backend.simulate_audio_received(session, FRAME)
        await backend.simulate_barge_in(session)
        await backend.simulate_speech_start(session)
        await backend.simulate_speech_end(session, b"pcm")
        await backend.simulate_partial_transcription(session, "hel")
        await backend.simulate_vad_silence(session, 700)
        await backend.simulate_vad_audio_level(session, -20.0)
        expected: list[tuple[object, ...]] = [
            (FRAME,),
            (),
            (),
            (b"pcm",),
            ("hel", 0.8, False),
            (700,),
            (-20.0, True),
        ]
        assert seen == [(kind, *args) for args in expected for kind in ("slow", "plain")]

    async def test_only_the_two_first_registrations_are_calls(self) -> None:
        """``calls`` holds what it always held: audio and barge-in registrations."""
        backend = MockVoiceBackend()
        backend.on_audio_received(print)
        backend.on_barge_in(print)
        backend.on_speech_start(print)
        backend.on_vad_silence(print)
        assert [call.method for call in backend.calls] == ["on_audio_received", "on_barge_in"]


class TestStages:
    """The mocks of stages."""

    def test_vad(self) -> None:
        """One event a frame, then nothing, and anew after a reset."""
        start = VADEvent(VADEventType.SPEECH_START)
        vad = MockVADProvider([start, None])
        assert [vad.process(FRAME) for _ in range(3)] == [start, None, None]
        vad.reset()
        assert vad.process(FRAME) is start
        assert (vad.frames, vad.reset_count, vad.closed) == ([FRAME] * 4, 1, False)
        vad.close()
        assert vad.closed
        assert MockVADProvider().process(FRAME) is None

    def test_diarization(self) -> None:
        """The same for results."""
        result = DiarizationResult("a", 0.9, True)
        diarization = MockDiarizationProvider([result])
        assert [diarization.process(FRAME) for _ in range(2)] == [result, None]
        diarization.reset()
        assert diarization.process(FRAME) is result
        diarization.close()
        assert (diarization.reset_count, diarization.closed) == (1, True)

    def test_denoiser(self) -> None:
        """The very same frame."""
        denoiser = MockDenoiserProvider()
        assert denoiser.process(FRAME) is FRAME
        denoiser.close()
        assert (denoiser.frames, denoiser.closed) == ([FRAME], True)

    def test_sessions_share_a_mock(self) -> None:
        """``for_session`` is the mock itself."""
        for mock in (MockVADProvider(), MockDenoiserProvider(), MockDiarizationProvider()):
            assert mock.for_session() is mock
            assert mock.name == type(mock).__name__

    def test_a_session_cannot_be_hashed(self) -> None:
        """It is mutable: dictionaries go by its id."""
        session = VoiceSession(id="s", room_id="r", participant_id="p", channel_id="c")
        with pytest.raises(TypeError, match="unhashable"):
            hash(session)
