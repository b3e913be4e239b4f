"""The shipped parts of voice against the suites that users run against theirs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit.testing.conformance.denoiser import DenoiserConformance
from roomkit.testing.conformance.stt import STTConformance
from roomkit.testing.conformance.tts import TTSConformance
from roomkit.testing.conformance.vad import VADConformance
from roomkit.testing.conformance.voice_backend import VoiceBackendConformance
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.base import AudioChunk, TranscriptionResult, VoiceCapability, VoiceSession
from roomkit.voice.pipeline.mock import MockDenoiserProvider
from roomkit.voice.pipeline.vad_provider import VADEvent, VADEventType
from roomkit.voice.stt.mock import MockSTTProvider
from roomkit.voice.tts.mock import MockTTSProvider
from roomkit.voice.vad.energy import EnergyVADProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.content import AudioContent
    from roomkit.voice.backends.base import VoiceBackend
    from roomkit.voice.pipeline.denoiser_provider import DenoiserProvider
    from roomkit.voice.pipeline.vad_provider import VADProvider
    from roomkit.voice.stt.base import STTProvider
    from roomkit.voice.tts.base import TTSProvider


class TestMockSTT(STTConformance):
    """The recogniser of tests."""

    async def make_stt(self) -> STTProvider:
        return MockSTTProvider()


class TestMockTTS(TTSConformance):
    """The synthesiser of tests; its chunks are words, not samples."""

    whole_samples = False

    async def make_tts(self) -> TTSProvider:
        return MockTTSProvider()


class TestMockDenoiser(DenoiserConformance):
    """The denoiser that does nothing."""

    def make_denoiser(self) -> DenoiserProvider:
        return MockDenoiserProvider()


class TestEnergyVAD(VADConformance):
    """The detector without dependencies."""

    def make_vad(self) -> VADProvider:
        return EnergyVADProvider()


class TestMockBackend(VoiceBackendConformance):
    """The transport of tests."""

    async def make_backend(self) -> VoiceBackend:
        return MockVoiceBackend(capabilities=VoiceCapability.INTERRUPTION)

    async def speak(
        self, backend: VoiceBackend, session: VoiceSession, audio: list[AudioFrame]
    ) -> bool:
        assert isinstance(backend, MockVoiceBackend)
        for frame in audio:
            await backend.simulate_audio_received(session, frame)
        return True


class SharedVAD(EnergyVADProvider):
    """A detector that serves every caller with the same memory, as the reference's did."""

    def for_session(self) -> SharedVAD:
        return self


class DeafVAD(EnergyVADProvider):
    """A detector that hears nothing and calls everything speech at once."""

    def process(self, frame: AudioFrame) -> VADEvent | None:
        return VADEvent(VADEventType.SPEECH_START)


class Halving(MockDenoiserProvider):
    """A denoiser that loses every other sample and halves the rate."""

    def process(self, frame: AudioFrame) -> AudioFrame:
        half = frame.data[: len(frame.data) // 4 * 2]
        return AudioFrame(data=half, sample_rate=frame.sample_rate // 2)


class OpenEnded(MockSTTProvider):
    """A recogniser whose results are never final."""

    async def transcribe_stream(
        self, audio_stream: AsyncIterator[AudioChunk]
    ) -> AsyncIterator[TranscriptionResult]:
        async for _ in audio_stream:
            yield TranscriptionResult(text="hel", is_final=False)


class Odd(MockTTSProvider):
    """A synthesiser that cuts samples in two."""

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        yield AudioChunk(data=b"\0\0\0")

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        content = await super().synthesize(text)
        return content.__class__(url=content.url, mime_type="audio/mpeg")


class Greedy(MockVoiceBackend):
    """A backend that ends everybody's session with the first, and swallows failures."""

    async def disconnect(self, session: VoiceSession) -> None:
        await self.close()

    async def send_audio(
        self, session: VoiceSession, audio: bytes | AsyncIterator[AudioChunk]
    ) -> None:
        try:
            await super().send_audio(session, audio)
        except ValueError:
            return


class TestTheSuitesCanFail:
    """Each finds what it is there to find."""

    def test_vad(self) -> None:
        """Callers that share a detector, and one that never hears an end."""

        class Shared(VADConformance):
            def make_vad(self) -> VADProvider:
                return SharedVAD()

        class Deaf(VADConformance):
            def make_vad(self) -> VADProvider:
                return DeafVAD()

        with pytest.raises(AssertionError):
            asyncio.run(Shared().test_sessions_do_not_hear_each_other())
        with pytest.raises(ValueError, match="too many values"):
            asyncio.run(Deaf().test_an_utterance_has_a_start_and_an_end(DeafVAD()))
        with pytest.raises(AssertionError):
            asyncio.run(Deaf().test_silence_is_no_speech(DeafVAD()))

    def test_denoiser(self) -> None:
        """Another format, and lost audio."""

        class Suite(DenoiserConformance):
            def make_denoiser(self) -> DenoiserProvider:
                return Halving()

        for test in (Suite().test_the_format_stays, Suite().test_no_audio_gets_lost):
            with pytest.raises(AssertionError):
                asyncio.run(test(Halving()))

    def test_stt(self) -> None:
        """A stream without a final result."""

        class Suite(STTConformance):
            async def make_stt(self) -> STTProvider:
                return OpenEnded()

        with pytest.raises(AssertionError):
            asyncio.run(Suite().test_a_stream_ends_with_its_audio(OpenEnded(), True))

    def test_tts(self) -> None:
        """Half samples, sound for nothing, and a recording without its text."""

        class Suite(TTSConformance):
            async def make_tts(self) -> TTSProvider:
                return Odd()

        suite = Suite()
        for test in (
            suite.test_a_stream_is_audio_in_pieces,
            suite.test_a_blank_text_is_silence,
            suite.test_a_text_gives_a_recording,
        ):
            with pytest.raises(AssertionError):
                asyncio.run(test(Odd()))

    def test_backend(self) -> None:
        """A leaver who takes others along, and a failure nobody learns of."""

        class Suite(VoiceBackendConformance):
            async def make_backend(self) -> VoiceBackend:
                return Greedy()

        with pytest.raises(AssertionError):
            asyncio.run(Suite().test_one_leaver_ends_only_his_session(Greedy()))
        with pytest.raises(pytest.fail.Exception):
            asyncio.run(Suite().test_a_synthesis_that_fails_is_reported(Greedy()))
