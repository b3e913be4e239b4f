"""The local speech providers with real models and real speech."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.testing.conformance.stt import STTConformance
from roomkit.testing.conformance.tts import TTSConformance
from roomkit.voice.apm import WebRTCNoiseSuppressor
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import AudioChunk
from roomkit.voice.pipeline import VADEventType
from roomkit.voice.stt.moonshine import MoonshineSTTProvider
from roomkit.voice.stt.sherpa_onnx import SherpaOnnxSTTProvider
from roomkit.voice.tts.piper import PiperTTSProvider
from roomkit.voice.tts.sherpa_onnx import SherpaOnnxTTSProvider
from roomkit.voice.vad import SileroVADProvider
from tests.test_voice._signals import frames, mixed, noise, silence
from tests.voice_local._models import (
    HELP,
    NEEDS_MODELS,
    RATE,
    SENTENCES,
    errors,
    sherpa_stt_config,
    sherpa_tts_config,
    spoken,
    transcribed,
    words,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roomkit.voice.stt.base import STTProvider
    from roomkit.voice.tts.base import TTSProvider

pytestmark = NEEDS_MODELS


def utterances(pcm: bytes) -> list[tuple[float, float, bytes]]:
    """Return where Silero hears speech: from, to (milliseconds), and the sound it gives out."""
    vad = SileroVADProvider()
    found, begin = [], 0.0
    for frame in frames(pcm, rate=RATE):
        event = vad.process(frame)
        if event is None:
            continue
        if event.type is VADEventType.SPEECH_START:
            begin = frame.timestamp_ms or 0.0
        elif event.audio_bytes:
            found.append((begin, begin + (event.duration_ms or 0.0), event.audio_bytes))
    return found


def suppressed(pcm: bytes) -> bytes:
    """Return a recording with less noise in it."""
    stage = WebRTCNoiseSuppressor()
    return b"".join(stage.process(frame).data for frame in frames(pcm, rate=RATE))


async def mic(pcm: bytes) -> AsyncIterator[AudioChunk]:
    """Give a recording in pieces of 20 ms, faster than anybody speaks."""
    for frame in frames(pcm, rate=RATE):
        yield AudioChunk(frame.data, RATE)
        await asyncio.sleep(0.002)


class TestLoop:
    """Piper speaks, Silero cuts, Moonshine understands."""

    def test_a_question_is_understood(self) -> None:
        """One utterance, and its words."""
        found = utterances(silence(800) + spoken(HELP) + silence(1000))
        assert len(found) == 1
        assert "how can i help you" in " ".join(words(transcribed(found[0][2])[0]))

    def test_everyday_sentences(self) -> None:
        """At most a tenth of the words are wrong."""
        wrong = count = 0
        heard = transcribed(*map(spoken, SENTENCES))
        for sentence, text in zip(SENTENCES, heard, strict=True):
            wrong += errors(words(sentence), words(text))
            count += len(words(sentence))
        assert count > 80
        assert wrong / count <= 0.10

    def test_noise_moves_little(self) -> None:
        """White noise 10 dB below speech: the same utterances, within 100 ms of the clean ones.

        So it is behind the noise suppressor, where the detector stands. Without one, noise
        prolongs a word that dies away by up to 150 ms.
        """
        texts = (HELP, SENTENCES[1], SENTENCES[4], SENTENCES[8])
        clean = silence(1000) + b"".join(spoken(text) + silence(900) for text in texts)
        samples = memoryview(b"".join(map(spoken, texts))).cast("h")
        loud = (sum(value * value for value in samples) / len(samples)) ** 0.5
        noisy = mixed(clean, noise(len(clean) / 32, rms=loud / 10**0.5))
        wanted = utterances(clean)
        assert len(wanted) == len(texts)
        for heard, late in ((suppressed(noisy), 100), (noisy, 150)):
            for (begin, end, _), found in zip(wanted, utterances(heard), strict=True):
                assert found[0] == pytest.approx(begin, abs=100)
                assert found[1] == pytest.approx(end, abs=late)


class TestMoonshineAlone:
    """What only the real library shows."""

    async def test_words_while_they_are_spoken(self) -> None:
        """Partials come before the final text, each utterance has one."""
        stt = MoonshineSTTProvider()
        await stt.warmup()
        pcm = silence(500) + spoken(HELP) + silence(1500) + spoken(SENTENCES[1]) + silence(300)
        found = [result async for result in stt.transcribe_stream(mic(pcm))]
        finals = [" ".join(words(result.text)) for result in found if result.is_final]
        assert "how can i help you" in finals[0]
        assert "open on monday" in finals[-1]
        assert not found[0].is_final
        assert found[-1].is_final
        await stt.close()

    async def test_recordings_know_nothing_of_each_other(self) -> None:
        """Silence stays silence behind one that was cut off in mid-word."""
        stt = MoonshineSTTProvider()
        cut = spoken(HELP)[: RATE * 2]
        for _ in range(2):
            assert await stt.transcribe(AudioChunk(cut, RATE))
            assert await stt.transcribe(AudioChunk(silence(2000), RATE)) == ""
        assert await stt.transcribe(AudioChunk(noise(2000, rms=800), RATE)) == ""
        assert await stt.transcribe(AudioChunk(b"\0\0", RATE)) == ""
        await stt.close()

    async def test_a_long_stream_is_started_anew(self) -> None:
        """More than a minute, with and without pauses: every sentence is there once."""
        stt = MoonshineSTTProvider()
        await stt.warmup()
        pcm = b"".join(silence(700) + spoken(sentence) + silence(700) for sentence in SENTENCES)
        pcm += pcm
        assert len(pcm) > 2 * RATE * 70
        found = [result async for result in stt.transcribe_stream(mic(pcm))]
        heard = words(" ".join(result.text for result in found if result.is_final))
        said = words(" ".join(SENTENCES)) * 2
        assert errors(said, heard) / len(said) <= 0.10
        await stt.close()


class TestTheLoopGoesOn:
    """Nothing of it holds the event loop up."""

    async def test_while_models_work(self) -> None:
        """A task that wakes every 5 ms is never late by more than a quarter of a second."""
        tts, stt = PiperTTSProvider(sample_rate=RATE), MoonshineSTTProvider()
        await tts.warmup()
        await stt.warmup()
        pcm = spoken(" ".join(SENTENCES[:4]))
        worst = 0.0

        async def watch() -> None:
            nonlocal worst
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.005)
                worst = max(worst, time.monotonic() - before - 0.005)

        watching = asyncio.create_task(watch())
        await asyncio.gather(
            tts.synthesize(" ".join(SENTENCES)),
            *(stt.transcribe(AudioChunk(pcm, RATE)) for _ in range(3)),
        )
        watching.cancel()
        assert worst < 0.25
        await tts.close()
        await stt.close()

    async def test_who_stops_listening_stops_the_voice(self) -> None:
        """A long text that is left is over at once, and the next one is served."""
        tts = PiperTTSProvider()
        await tts.warmup()
        async with aclosing(tts.synthesize_stream(" ".join(SENTENCES * 20))) as stream:  # type: ignore[type-var]
            assert (await anext(stream)).data
        begin = time.monotonic()
        assert (await tts.synthesize("Yes.")).duration_seconds
        assert time.monotonic() - begin < 5
        await tts.close()


class TestSherpa:
    """sherpa-onnx with the same models."""

    async def test_it_understands_what_it_says(self, tmp_path: Path) -> None:
        """Its voice at the model's rate, its ears on it; two voices at a time are no trouble."""
        (tmp_path / "stt").mkdir()
        (tmp_path / "tts").mkdir()
        stt = SherpaOnnxSTTProvider(sherpa_stt_config(tmp_path / "stt"))
        tts = SherpaOnnxTTSProvider(sherpa_tts_config(tmp_path / "tts"))
        found = await asyncio.gather(*(_pcm(tts, text) for text in (HELP, SENTENCES[1])))
        assert [rate for _, rate in found] == [22050, 22050]
        heard = [await stt.transcribe(AudioChunk(pcm, rate)) for pcm, rate in found]
        assert "how can i help you" in " ".join(words(heard[0]))
        assert "open on monday" in " ".join(words(heard[1]))
        assert await stt.transcribe(AudioChunk(silence(1000), RATE)) == ""
        await stt.close()
        await tts.close()

    async def test_phrase_by_phrase(self, tmp_path: Path) -> None:
        """A stream that is left stops the engine."""
        tts = SherpaOnnxTTSProvider(sherpa_tts_config(tmp_path))
        await tts.warmup()
        stream: Any = tts.synthesize_stream(" ".join(SENTENCES * 5))
        assert (await anext(stream)).data
        await stream.aclose()
        begin = time.monotonic()
        assert (await tts.synthesize("Yes.")).duration_seconds
        assert time.monotonic() - begin < 5
        await tts.close()


async def _pcm(tts: TTSProvider, text: str) -> tuple[bytes, int]:
    chunks = [chunk async for chunk in tts.synthesize_stream(text)]
    return b"".join(chunk.data for chunk in chunks), chunks[0].sample_rate


class _Hearing(STTConformance):
    patience = 30.0  # the models are loaded in it, on a machine that others use too
    words = "how can i help you"

    @pytest.fixture(autouse=True)
    def question(self) -> None:
        """Somebody says it."""
        self.speech = AudioFrame(silence(300) + spoken(HELP) + silence(300))


class TestMoonshineConforms(_Hearing):
    """The shared suite."""

    async def make_stt(self) -> STTProvider:
        """Return one."""
        return MoonshineSTTProvider()


class TestSherpaHearsConforming(_Hearing):
    """The shared suite."""

    streams = False

    @pytest.fixture(autouse=True)
    def model(self, tmp_path: Path) -> None:
        """Its files."""
        self.config = sherpa_stt_config(tmp_path)

    async def make_stt(self) -> STTProvider:
        """Return one."""
        return SherpaOnnxSTTProvider(self.config)


class TestPiperConforms(TTSConformance):
    """The shared suite."""

    patience = 30.0

    async def make_tts(self) -> TTSProvider:
        """Return one."""
        return PiperTTSProvider()


class TestSherpaSpeaksConforming(TTSConformance):
    """The shared suite."""

    patience = 30.0

    @pytest.fixture(autouse=True)
    def model(self, tmp_path: Path) -> None:
        """Its files."""
        self.config = sherpa_tts_config(tmp_path)

    async def make_tts(self) -> TTSProvider:
        """Return one."""
        return SherpaOnnxTTSProvider(self.config)
