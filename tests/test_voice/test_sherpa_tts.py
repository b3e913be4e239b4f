"""Speech with sherpa-onnx, over a stand-in for the package."""

from __future__ import annotations

import asyncio
import struct
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import (
    ConfigurationError,
    InvalidInputError,
    MissingDependencyError,
    ProviderError,
)
from roomkit.testing.conformance.tts import TTSConformance
from roomkit.voice._data_url import read_data_url
from roomkit.voice.audio.wav import parse_wav
from roomkit.voice.tts.sherpa_onnx import (
    SherpaOnnxTTSConfig,
    SherpaOnnxTTSProvider,
    _float32_to_pcm_s16le,
    _wrap_wav,
)
from tests.test_voice._local_models import Engine, files, sherpa

if TYPE_CHECKING:
    from pathlib import Path

PHRASE = struct.pack("<3h", 16383, -32767, 32767) * 300


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The package's stand-in."""
    engine = Engine()
    monkeypatch.setitem(sys.modules, "sherpa_onnx", sherpa(engine))
    return engine


@pytest.fixture
def config(tmp_path: Path) -> SherpaOnnxTTSConfig:
    """A model in files."""
    model, tokens, lexicon = files(tmp_path, "voice.onnx", "tokens.txt", "lexicon.txt")
    return SherpaOnnxTTSConfig(
        model=model, tokens=tokens, data_dir=str(tmp_path), lexicon=lexicon, num_threads=1
    )


class TestConformance(TTSConformance):
    """The shared suite."""

    settings: SherpaOnnxTTSConfig

    @pytest.fixture(autouse=True)
    def package(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """The stand-in, and files."""
        self.settings = config

    async def make_tts(self) -> SherpaOnnxTTSProvider:
        """Return one."""
        return SherpaOnnxTTSProvider(self.settings)


class TestSpeaking:
    """Texts become sound."""

    async def test_a_recording(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """A WAV file at the model's rate, whatever the config says; clipped where too loud."""
        tts = SherpaOnnxTTSProvider(config)
        assert (tts.name, tts.default_voice) == ("SherpaOnnxTTS", "0")
        content = await tts.synthesize("Hello, Ana")
        wav = parse_wav(read_data_url(content.url).data)
        assert wav.sample_rate == 24000
        assert wav.data == PHRASE * 2
        assert content.mime_type == "audio/wav"
        assert content.duration_seconds == pytest.approx(1800 / 24000)
        loaded = dict(engine.calls)["load"]
        assert loaded.model.num_threads == 1
        assert loaded.model.vits.lexicon == config.lexicon
        assert (await tts.synthesize("")).duration_seconds == 0
        await tts.close()

    async def test_a_stream(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """Sentence by sentence; abbreviations end none; an empty chunk ends it."""
        tts = SherpaOnnxTTSProvider(config)
        text = "You are welcome here, Ana. We open at nine. Dr. Smith is away today."
        chunks = [chunk async for chunk in tts.synthesize_stream(text)]
        assert [what for name, what in engine.calls if name == "generate"] == [
            "You are welcome here",
            "Ana.",
            "We open at nine. Dr. Smith is away today.",
        ]
        assert b"".join(chunk.data for chunk in chunks) == PHRASE * 3
        assert chunks[-1].is_final
        assert (chunks[-1].data, chunks[-1].format) == (b"", "pcm_s16le")
        assert {chunk.sample_rate for chunk in chunks} == {24000}
        assert engine.count("load") == 1
        await tts.close()

    async def test_a_sentence_waits_to_be_wanted(
        self, engine: Engine, config: SherpaOnnxTTSConfig
    ) -> None:
        """Who reads slowly makes no work in advance."""
        tts = SherpaOnnxTTSProvider(config)
        text = "This is the first sentence. This is the second sentence."
        async with aclosing(tts.synthesize_stream(text)) as chunks:  # type: ignore[type-var]
            await anext(chunks)
            await tts.synthesize("Something else for others.")
            assert [what for name, what in engine.calls if name == "generate"] == [
                "This is the first sentence.",
                "Something else for others.",
            ]
        await tts.close()

    async def test_interrupted(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """A stream that is left stops the engine at its next phrase."""
        tts = SherpaOnnxTTSProvider(config)
        stream: Any = tts.synthesize_stream("one, two, three, four, five")
        assert (await anext(stream)).data
        engine.gate.clear()
        await stream.aclose()
        engine.gate.set()
        await tts.close()
        assert ("stopped", "five") not in engine.calls
        assert engine.count("generate") <= 5

    async def test_cancelled(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """A cancelled reader stops the engine in the middle, and the next one is served."""
        tts = SherpaOnnxTTSProvider(config)
        await tts.warmup()
        engine.gate.clear()

        async def read() -> None:
            async for _ in tts.synthesize_stream("one, two, three"):
                pass

        task = asyncio.ensure_future(read())
        await engine.stuck()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        engine.gate.set()
        assert (await tts.synthesize("four")).duration_seconds
        spoken = [what for name, what in engine.calls if name in ("generate", "stopped")]
        assert spoken == ["one", "one", "four"]
        await tts.close()

    async def test_speakers(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """A voice is the number of a speaker the model has."""
        tts = SherpaOnnxTTSProvider(config)
        assert (await tts.synthesize("Hello", voice="2")).duration_seconds
        for voice, reason in (("3", "0 to 2"), ("joe", "number"), ("-1", "number"), ("", "num")):
            with pytest.raises(InvalidInputError, match=reason):
                await tts.synthesize("Hello", voice=voice)
        await tts.close()

    async def test_long_texts(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """No recording of more than 5000 characters."""
        tts = SherpaOnnxTTSProvider(config)
        with pytest.raises(InvalidInputError, match="synthesize_stream"):
            await tts.synthesize("a" * 5001)
        await tts.close()


class TestFailures:
    """What goes wrong reaches who listens."""

    @pytest.mark.parametrize("name", ["model", "tokens", "data_dir", "lexicon"])
    async def test_missing_files(
        self, engine: Engine, config: SherpaOnnxTTSConfig, name: str
    ) -> None:
        """The error names the setting and the file."""
        setattr(config, name, f"{getattr(config, name)}.gone")
        tts = SherpaOnnxTTSProvider(config)
        with pytest.raises(ConfigurationError, match=rf"\.gone'.*{name}="):
            await tts.warmup()
        await tts.close()

    async def test_in_the_engine(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """An error in the thread ends the iterator, and the text is not in it."""
        tts = SherpaOnnxTTSProvider(config)
        await tts.warmup()
        engine.fault = ValueError("cannot say: my password")
        with pytest.raises(ProviderError, match=r"^SherpaOnnxTTS failed \(ValueError\)$"):
            _ = [chunk async for chunk in tts.synthesize_stream("my password")]
        await tts.close()

    async def test_too_slow(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """No audio in time is an error."""
        tts = SherpaOnnxTTSProvider(config, timeout=0.05)
        await tts.warmup()
        engine.gate.clear()
        with pytest.raises(ProviderError, match=r"within 0\.05 seconds"):
            await tts.synthesize("Hello")
        engine.gate.set()
        await tts.close()

    async def test_closed_in_the_middle(self, engine: Engine, config: SherpaOnnxTTSConfig) -> None:
        """Who listens gets an error, who comes later too; the thread has ended."""
        tts = SherpaOnnxTTSProvider(config)
        stream: Any = tts.synthesize_stream("This is the first sentence. And this is the second.")
        await anext(stream)
        await tts.close()
        with pytest.raises(ProviderError, match="closed"):
            _ = [chunk async for chunk in stream]
        with pytest.raises(ProviderError, match="closed"):
            await tts.synthesize("Hello")

    def test_settings(self, engine: Engine) -> None:
        """The contract's fields in order; what cannot be."""
        config = SherpaOnnxTTSConfig("m", "t", "d", "l", 1, 1.5, 16000, 3, "cuda")
        assert (config.provider, config.lexicon) == ("cuda", "l")
        for bad in ({"speed": 0}, {"num_threads": 0}, {"speaker_id": -1}):
            with pytest.raises(ConfigurationError, match=next(iter(bad))):
                SherpaOnnxTTSProvider(SherpaOnnxTTSConfig(**bad))  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="timeout"):
            SherpaOnnxTTSProvider(config, timeout=0)

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The constructor says what to install."""
        monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
        with pytest.raises(MissingDependencyError, match="sherpa-onnx is required") as caught:
            SherpaOnnxTTSProvider(SherpaOnnxTTSConfig())
        assert "roomkit[sherpa-onnx]" in str(caught.value)


class TestHelpers:
    """Numbers to samples, samples to a file."""

    def test_samples(self) -> None:
        """Full scale is 32767; what is louder is clipped; arrays are as good as lists."""
        numpy = pytest.importorskip("numpy")
        values = [0.0, 0.5, 1.5, -1.5]
        expected = struct.pack("<4h", 0, 16383, 32767, -32767)
        assert _float32_to_pcm_s16le(values) == expected
        assert _float32_to_pcm_s16le(numpy.array(values, dtype="float32")) == expected

    def test_wav(self) -> None:
        """44 bytes of header, then the samples."""
        wav = _wrap_wav(b"\1\2\3\4", 22050)
        assert (len(wav), wav[-4:]) == (48, b"\1\2\3\4")
        assert parse_wav(wav).sample_rate == 22050
