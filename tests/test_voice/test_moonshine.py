"""Recognition with Moonshine, over a stand-in for the package."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import TYPE_CHECKING

import pytest

from roomkit.exceptions import (
    ConfigurationError,
    InvalidInputError,
    MissingDependencyError,
    ProviderError,
)
from roomkit.models.content import AudioContent
from roomkit.testing.conformance.stt import STTConformance
from roomkit.voice.audio.wav import wav_bytes
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import AudioChunk
from roomkit.voice.stt.moonshine import MoonshineSTTProvider
from tests.test_voice._local_models import Engine, files, moonshine
from tests.test_voice._signals import silence, speech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MODEL = ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    """The package's stand-in, with a model inside."""
    engine = Engine()
    files(tmp_path, *(f"assets/tiny-en/{name}" for name in MODEL))
    monkeypatch.setitem(sys.modules, "moonshine_voice", moonshine(engine, tmp_path))
    return engine


async def mic(engine: Engine, *pieces: bytes) -> AsyncIterator[AudioChunk]:
    """Give sound in pieces of 100 ms, each when those before were taken in."""
    given = engine.taken
    for piece in pieces:
        for at in range(0, len(piece), 3200):
            data = piece[at : at + 3200]
            yield AudioChunk(data, 16000)
            given += len(data) // 2
            while engine.taken < given:  # noqa: ASYNC110 - it is a thread that takes it
                await asyncio.sleep(0)


class TestConformance(STTConformance):
    """The shared suite."""

    speech = AudioFrame(speech(600))
    words = "hello"

    @pytest.fixture(autouse=True)
    def package(self, engine: Engine) -> None:
        """The stand-in."""

    async def make_stt(self) -> MoonshineSTTProvider:
        """Return one."""
        return MoonshineSTTProvider()


class TestWhole:
    """Recordings."""

    async def test_it_says_what_is_said(self, engine: Engine) -> None:
        """In a stream of its own, as it is but for its rate, in a thread."""
        stt = MoonshineSTTProvider()
        assert engine.calls == []
        assert await stt.transcribe(AudioChunk(speech(500, rate=8000), 8000)) == "hello"
        assert await stt.transcribe(AudioFrame(silence(500))) == ""
        assert await stt.transcribe(AudioFrame(b"")) == ""
        assert [what for name, what in engine.calls if name == "add"] == [8000, 8000]
        assert [engine.count("load"), engine.count("start"), engine.open] == [1, 2, 0]
        assert not any("MainThread" in name for name in engine.threads)
        await stt.close()
        assert engine.freed == [0]

    async def test_contents(self, engine: Engine) -> None:
        """WAV and PCM inside of data: URLs; nothing is fetched."""
        stt = MoonshineSTTProvider()
        wav = base64.b64encode(wav_bytes(speech(200, rate=22050), 22050)).decode()
        pcm = base64.b64encode(speech(200)).decode()
        for url in (f"data:audio/wav;base64,{wav}", f"data:audio/L16;rate=16000;base64,{pcm}"):
            assert await stt.transcribe(AudioContent(url=url, mime_type="audio/wav")) == "hello"
        for url in ("https://example.org/a.wav", "data:audio/mpeg;base64,AAAA"):
            with pytest.raises(InvalidInputError, match=r"audio\.url"):
                await stt.transcribe(AudioContent(url=url, mime_type="audio/wav"))
        await stt.close()

    async def test_a_failure_leaves_nothing_open(self, engine: Engine) -> None:
        """The stream is closed, and the next call works."""
        stt = MoonshineSTTProvider()
        await stt.warmup()
        engine.fault = RuntimeError("x")
        with pytest.raises(ProviderError, match=r"failed \(RuntimeError\)"):
            await stt.transcribe(AudioChunk(speech(100)))
        assert await stt.transcribe(AudioChunk(speech(100))) == "hello"
        assert engine.open == 0
        await stt.close()


class TestStreams:
    """Words while somebody speaks."""

    async def test_utterances(self, engine: Engine) -> None:
        """Partials grow; a pause makes them final; the end of the stream does too."""
        engine.heard = "how can i help you"
        stt = MoonshineSTTProvider()
        assert stt.supports_streaming
        sound = mic(engine, speech(2000), silence(1100), speech(700))
        found = [result async for result in stt.transcribe_stream(sound)]
        whole, rest = [result.text for result in found if result.is_final]
        assert whole == "how can i help you"
        assert rest.startswith("how")
        assert found[-1].is_final
        partials = [result.text for result in found if not result.is_final]
        assert partials
        assert all("how can i help you".startswith(text) for text in partials)
        await stt.close()
        assert engine.freed == [0]

    async def test_silence(self, engine: Engine) -> None:
        """A stream the library fails to end gives nothing, and no error."""
        stt = MoonshineSTTProvider()
        assert [result async for result in stt.transcribe_stream(mic(engine, silence(1000)))] == []
        assert engine.open == 0
        await stt.close()

    async def test_the_last_words_are_looked_for(self, engine: Engine) -> None:
        """What came since the last look is not lost."""
        stt = MoonshineSTTProvider(update_interval=60)
        found = [result async for result in stt.transcribe_stream(mic(engine, speech(300)))]
        assert [(result.text, result.is_final) for result in found] == [("hello", True)]
        await stt.close()

    @pytest.mark.parametrize("pause", [0, 1000])
    async def test_endless(self, engine: Engine, pause: int) -> None:
        """After a minute, or half of one and a pause, a new stream goes on inside."""
        stt = MoonshineSTTProvider()
        pieces = [speech(4000 - pause), silence(pause)] * 17
        found = [result async for result in stt.transcribe_stream(mic(engine, *pieces))]
        assert engine.count("start") == (3 if pause else 2)
        finals = [result.text for result in found if result.is_final]
        assert len(finals) == (17 if pause else 2)
        await stt.close()
        assert engine.freed == [0]

    async def test_left(self, engine: Engine) -> None:
        """Who leaves in the middle leaves no stream open in the library."""
        stt = MoonshineSTTProvider()
        results = stt.transcribe_stream(mic(engine, speech(5000)))
        assert not (await anext(results)).is_final  # type: ignore[arg-type]
        assert engine.open == 1
        await results.aclose()  # type: ignore[attr-defined]
        await stt.transcribe(AudioChunk(speech(100)))
        assert engine.open == 0
        await stt.close()

    async def test_closed_meanwhile(self, engine: Engine) -> None:
        """Streams end before their model does."""
        stt = MoonshineSTTProvider()
        results = stt.transcribe_stream(mic(engine, speech(5000)))
        await anext(results)  # type: ignore[arg-type]
        await stt.close()
        assert engine.freed == [0]
        with pytest.raises(ProviderError, match="closed"):
            _ = [result async for result in results]


class TestLife:
    """Loading and settings."""

    async def test_a_model_of_ones_own(self, engine: Engine, tmp_path: Path) -> None:
        """A folder and its architecture; each missing file is named."""
        folder = tmp_path / "base-en"
        stt = MoonshineSTTProvider(folder, architecture="base")
        with pytest.raises(ConfigurationError, match=r"no folder '.*base-en'"):
            await stt.warmup()
        for name in MODEL:
            folder.mkdir(exist_ok=True)
            with pytest.raises(ConfigurationError, match=name):
                await stt.warmup()
            files(folder, name)
        await stt.warmup()
        assert dict(engine.calls)["load"] == (str(folder), "base")
        await stt.close()
        streaming = MoonshineSTTProvider(folder, architecture="small-streaming")
        await streaming.warmup()
        await streaming.close()

    async def test_a_release_without_the_model(self, engine: Engine, tmp_path: Path) -> None:
        """The error says which to install."""
        (tmp_path / "assets" / "tiny-en" / MODEL[0]).unlink()
        stt = MoonshineSTTProvider()
        with pytest.raises(ConfigurationError, match=r"carries no model.*roomkit\[moonshine\]"):
            await stt.transcribe(AudioChunk(speech(100)))
        await stt.close()

    def test_settings(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """What cannot be is refused; without the package it says what to install."""
        with pytest.raises(ConfigurationError, match="architecture"):
            MoonshineSTTProvider(architecture="huge")
        for name in ("update_interval", "timeout", "max_audio_seconds"):
            with pytest.raises(ConfigurationError, match=name):
                MoonshineSTTProvider(**{name: 0})  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, "moonshine_voice", None)
        with pytest.raises(MissingDependencyError, match=r"roomkit\[moonshine\]"):
            MoonshineSTTProvider()
