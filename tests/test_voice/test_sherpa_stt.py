"""Recognition with sherpa-onnx, over a stand-in for the package."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import (
    ConfigurationError,
    InvalidInputError,
    MissingDependencyError,
    ProviderError,
)
from roomkit.models.content import AudioContent
from roomkit.testing.conformance.stt import STTConformance
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import AudioChunk, TranscriptionResult
from roomkit.voice.stt.sherpa_onnx import (
    SherpaOnnxSTTConfig,
    SherpaOnnxSTTProvider,
    _pcm_s16le_to_float32,
)
from tests.test_voice._local_models import Engine, files, sherpa
from tests.test_voice._signals import silence, speech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STREAMING = b"\x00decode_chunk_len\x00"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The package's stand-in."""
    engine = Engine()
    monkeypatch.setitem(sys.modules, "sherpa_onnx", sherpa(engine))
    return engine


@pytest.fixture
def config(tmp_path: Path) -> SherpaOnnxSTTConfig:
    """A streaming transducer."""
    names = ("tokens.txt", "encoder.onnx", "decoder.onnx", "joiner.onnx")
    tokens, encoder, decoder, joiner = files(tmp_path, *names)
    (tmp_path / "encoder.onnx").write_bytes(STREAMING)
    return SherpaOnnxSTTConfig(
        tokens=tokens, encoder=encoder, decoder=decoder, joiner=joiner, num_threads=1
    )


class _Conformance(STTConformance):
    speech = AudioFrame(speech(600))
    words = "hello"
    mode = ""
    settings: SherpaOnnxSTTConfig

    @pytest.fixture(autouse=True)
    def package(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """The stand-in, and files."""
        config.mode = self.mode
        self.settings = config

    async def make_stt(self) -> SherpaOnnxSTTProvider:
        """Return one of this mode."""
        return SherpaOnnxSTTProvider(self.settings)


class TestTransducer(_Conformance):
    """The shared suite, with a model that streams."""

    mode = "transducer"


class TestMoonshine(_Conformance):
    """The shared suite, with one that does not."""

    mode = "moonshine"
    streams = False


async def mic(*pieces: bytes, rate: int = 16000) -> AsyncIterator[AudioChunk]:
    """Give sound in pieces of 20 ms."""
    for piece in pieces:
        for at in range(0, len(piece), rate // 25):
            yield AudioChunk(piece[at : at + rate // 25], rate)


class TestWhole:
    """Recordings."""

    @pytest.mark.parametrize(
        ("mode", "made", "wanted"),
        [
            ("whisper", "whisper", {"language": "en"}),
            ("moonshine", "moonshine", {}),
            ("transducer", "offline transducer", {"sample_rate": 16000, "feature_dim": 80}),
        ],
    )
    async def test_modes(
        self, engine: Engine, config: SherpaOnnxSTTConfig, mode: str, made: str, wanted: Any
    ) -> None:
        """Each makes its own recogniser, once, in a thread, and frees the caller of blanks."""
        config.mode, config.streaming = mode, False
        stt = SherpaOnnxSTTProvider(config)
        assert engine.calls == []
        assert [await stt.transcribe(AudioChunk(speech(300))) for _ in range(2)] == ["hello"] * 2
        await stt.close()
        settings = dict(engine.calls)[made]
        assert settings["provider"] == "cpu"
        assert settings["num_threads"] == 1
        assert ("joiner" in settings) == (mode == "transducer")
        assert {key: settings[key] for key in wanted} == wanted
        assert [engine.count(made), engine.count("decode")] == [1, 2]
        assert not any("MainThread" in name for name in engine.threads)
        assert not stt.supports_streaming

    @pytest.mark.parametrize(("mark", "made"), [(STREAMING, "online"), (b"plain", "offline")])
    async def test_the_encoder_says_what_it_is(
        self, engine: Engine, config: SherpaOnnxSTTConfig, tmp_path: Path, mark: bytes, made: str
    ) -> None:
        """A streaming transducer hears recordings through its own recogniser."""
        (tmp_path / "encoder.onnx").write_bytes(b"weights" + mark)
        stt = SherpaOnnxSTTProvider(config)
        assert stt.supports_streaming
        await stt.warmup()
        assert stt.supports_streaming == (made == "online")
        assert await stt.transcribe(AudioFrame(speech(700))) == "hello"
        assert engine.count(f"{made} transducer") == 1
        await stt.close()

    async def test_other_formats(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """Other rates, two channels and half samples come to the model as 16 kHz mono."""
        config.mode = "moonshine"
        stt = SherpaOnnxSTTProvider(config)
        stereo = AudioChunk(speech(200, rate=48000) + b"\1", 48000, channels=2)
        assert await stt.transcribe(stereo) == "hello"
        assert await stt.transcribe(AudioFrame(b"\x80\xff" * 800, 8000, 1, 1)) == "hello"
        assert [what for name, what in engine.calls if name == "decode"] == [1600, 3200]
        assert await stt.transcribe(AudioChunk(b"\1")) == ""
        await stt.close()

    async def test_what_is_refused(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """URLs, compressed sound, and what is too long; nothing is loaded for it."""
        stt = SherpaOnnxSTTProvider(config, max_audio_seconds=1)
        for url in ("https://example.org/a.wav", "data:audio/wav;base64,AAAA"):
            with pytest.raises(ValueError, match="does not support URL-based"):
                await stt.transcribe(AudioContent(url=url, mime_type="audio/wav"))
        with pytest.raises(InvalidInputError, match="'mp3'"):
            await stt.transcribe(AudioChunk(b"\0\0", format="mp3"))
        with pytest.raises(InvalidInputError, match="max_audio_seconds=1"):
            await stt.transcribe(AudioChunk(silence(1100)))
        assert engine.calls == []
        await stt.close()

    def test_helper(self) -> None:
        """Full scale is 32768; half a sample is left out."""
        assert _pcm_s16le_to_float32(b"\x00\x80\x00\x40\xff") == [-1.0, 0.5]


class TestStreams:
    """Words while somebody speaks."""

    async def test_utterances(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """Partials grow, an endpoint makes them final, and so does the end of the stream."""
        engine.heard = "how can i help you"
        stt = SherpaOnnxSTTProvider(config)
        sound = mic(speech(700), silence(1500), speech(300))
        found = [result async for result in stt.transcribe_stream(sound)]
        finals = [result.text for result in found if result.is_final]
        assert finals[0] == "how can i help you"
        assert len(finals) == 2
        assert "how can i" in [result.text for result in found if not result.is_final]
        assert found[-1].is_final
        settings = dict(engine.calls)["online transducer"]
        assert settings["enable_endpoint_detection"] is True
        assert settings["rule2_min_trailing_silence"] == 1.2
        await stt.close()

    async def test_silence(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """Nothing said, nothing found; no audio, and the model is not even asked."""
        stt = SherpaOnnxSTTProvider(config)
        assert [result async for result in stt.transcribe_stream(mic(silence(400)))] == []
        engine.calls.clear()
        assert [result async for result in stt.transcribe_stream(mic())] == []
        assert engine.calls == []
        await stt.close()

    @pytest.mark.parametrize("mode", ["whisper", "moonshine", "transducer"])
    async def test_not_by_all(
        self, engine: Engine, config: SherpaOnnxSTTConfig, tmp_path: Path, mode: str
    ) -> None:
        """Models for whole recordings say so at the first step."""
        (tmp_path / "encoder.onnx").write_bytes(b"plain")
        config.mode = mode
        stt = SherpaOnnxSTTProvider(config)
        with pytest.raises(ValueError, match="Streaming transcription is not supported"):
            await anext(aiter(stt.transcribe_stream(mic(speech(100)))))
        await stt.close()

    async def test_a_stream_that_breaks(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """What the source raises comes out as it is; chunks of another rate are refused."""
        stt = SherpaOnnxSTTProvider(config)

        async def broken() -> AsyncIterator[AudioChunk]:
            yield AudioChunk(speech(100))
            raise OSError("the line is dead")

        async def changing() -> AsyncIterator[AudioChunk]:
            yield AudioChunk(speech(100))
            yield AudioChunk(speech(100), 8000)

        with pytest.raises(OSError, match="the line is dead"):
            _ = [result async for result in stt.transcribe_stream(broken())]
        with pytest.raises(InvalidInputError, match="one rate"):
            _ = [result async for result in stt.transcribe_stream(changing())]
        await stt.close()

    async def test_a_busy_model_holds_the_source_up(
        self, engine: Engine, config: SherpaOnnxSTTConfig
    ) -> None:
        """Audio that comes faster than it is heard waits for at most half a minute."""
        given = 0

        async def flood() -> AsyncIterator[AudioChunk]:
            nonlocal given
            for _ in range(100):
                given += 1
                yield AudioChunk(silence(1000))

        stt = SherpaOnnxSTTProvider(config)
        await stt.warmup()
        engine.gate.clear()
        task = asyncio.ensure_future(_first(stt.transcribe_stream(flood())))
        await engine.stuck()
        for _ in range(200):
            await asyncio.sleep(0)
        assert 30 <= given <= 66
        engine.gate.set()
        assert await task is None
        assert given == 100
        await stt.close()


async def _first(results: AsyncIterator[TranscriptionResult]) -> TranscriptionResult | None:
    return await anext(results, None)


class TestLife:
    """Loading, failing, ending."""

    @pytest.mark.parametrize("name", ["encoder", "decoder", "joiner", "tokens"])
    async def test_missing_files(
        self, engine: Engine, config: SherpaOnnxSTTConfig, name: str
    ) -> None:
        """The error names the setting and the file; when it is there the next call works."""
        right = getattr(config, name)
        setattr(config, name, f"{right}.gone")
        stt = SherpaOnnxSTTProvider(config)
        with pytest.raises(ConfigurationError, match=rf"no file '.*\.gone'.*{name}="):
            await stt.warmup()
        setattr(config, name, "")
        with pytest.raises(ConfigurationError, match=f"needs {name}="):
            await stt.transcribe(AudioChunk(speech(100)))
        setattr(config, name, right)
        await stt.warmup()
        await stt.close()

    async def test_a_bad_model(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """What the package says about it is in the error."""
        engine.fault = RuntimeError("Load model failed: no graph")
        stt = SherpaOnnxSTTProvider(config)
        with pytest.raises(ConfigurationError, match=r"SherpaOnnxSTT could not load.*no graph"):
            await stt.warmup()
        await stt.close()

    async def test_a_failure(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """It is a ProviderError without what was said; the next call works."""
        config.mode = "moonshine"
        stt = SherpaOnnxSTTProvider(config)
        await stt.warmup()
        engine.fault = RuntimeError("heard: my password")
        with pytest.raises(ProviderError, match=r"failed \(RuntimeError\)$"):
            await stt.transcribe(AudioChunk(speech(100)))
        assert await stt.transcribe(AudioChunk(speech(100))) == "hello"
        await stt.close()

    async def test_time(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """A recognition that takes too long is given up, also while it waits its turn."""
        config.mode = "moonshine"
        stt = SherpaOnnxSTTProvider(config, timeout=0.05)
        await stt.warmup()
        engine.gate.clear()
        with pytest.raises(ProviderError, match=r"within 0\.05 seconds") as caught:
            await stt.transcribe(AudioChunk(speech(100)))
        assert caught.value.retryable
        engine.gate.set()
        await stt.close()

    async def test_too_many(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """64 calls may wait; the next is told that it is busy."""
        config.mode = "moonshine"
        stt = SherpaOnnxSTTProvider(config)
        await stt.warmup()
        engine.gate.clear()
        chunk = AudioChunk(speech(20))
        calls = [asyncio.ensure_future(stt.transcribe(chunk)) for _ in range(64)]
        await asyncio.sleep(0)
        with pytest.raises(ProviderError, match="busy: 64") as caught:
            await stt.transcribe(chunk)
        assert caught.value.retryable
        engine.gate.set()
        assert await asyncio.gather(*calls) == ["hello"] * 64
        await stt.close()

    async def test_the_end(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """Who waits when it closes gets an error, as does who comes later."""
        config.mode = "moonshine"
        stt = SherpaOnnxSTTProvider(config)
        await stt.warmup()
        engine.gate.clear()
        chunk = AudioChunk(speech(20))
        calls = [asyncio.ensure_future(stt.transcribe(chunk)) for _ in range(3)]
        await engine.stuck()
        closing = asyncio.ensure_future(stt.close())
        await asyncio.sleep(0)
        engine.gate.set()
        await closing
        first, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert first == "hello"
        assert [str(error) for error in others] == ["SherpaOnnxSTT is closed; make a new one"] * 2
        assert engine.count("decode") == 1
        for call in (stt.warmup(), stt.transcribe(chunk)):
            with pytest.raises(ProviderError, match="closed"):
                await call

    async def test_an_end_that_native_code_holds_up(
        self,
        engine: Engine,
        config: SherpaOnnxSTTConfig,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Closing returns all the same, with a warning; the thread ends when it can."""
        monkeypatch.setattr("roomkit.voice._workers._END_SECONDS", 0.05)
        config.mode = "moonshine"
        stt = SherpaOnnxSTTProvider(config)
        await stt.warmup()
        engine.gate.clear()
        call = asyncio.ensure_future(stt.transcribe(AudioChunk(speech(20))))
        await engine.stuck()
        await stt.close()
        assert "SherpaOnnxSTT: a job in native code goes on after its end" in caplog.text
        engine.gate.set()
        assert await call == "hello"

    async def test_a_caller_that_leaves(self, engine: Engine, config: SherpaOnnxSTTConfig) -> None:
        """Its call is dropped when it has not begun."""
        config.mode = "moonshine"
        stt = SherpaOnnxSTTProvider(config)
        await stt.warmup()
        engine.gate.clear()
        one = asyncio.ensure_future(stt.transcribe(AudioChunk(speech(20))))
        two = asyncio.ensure_future(stt.transcribe(AudioChunk(speech(20))))
        await engine.stuck()
        two.cancel()
        with pytest.raises(asyncio.CancelledError):
            await two
        engine.gate.set()
        assert await one == "hello"
        await stt.close()
        assert engine.count("decode") == 1

    def test_settings(self, engine: Engine) -> None:
        """The contract's fields in order; both names of the provider; what cannot be."""
        config = SherpaOnnxSTTConfig("whisper", "t", "e", "d", "j", "fr", 8000, 1, "cuda")
        assert (config.provider, config.joiner) == ("cuda", "j")
        assert SherpaOnnxSTTConfig(provider="coreml").provider_type == "coreml"
        for bad in ({"mode": "ctc"}, {"num_threads": 0}, {"sample_rate": 0}):
            with pytest.raises((ConfigurationError, InvalidInputError), match=next(iter(bad))):
                SherpaOnnxSTTProvider(SherpaOnnxSTTConfig(**bad))  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="timeout"):
            SherpaOnnxSTTProvider(config, timeout=0)

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The constructor says what to install."""
        monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
        with pytest.raises(MissingDependencyError, match="sherpa-onnx is required") as caught:
            SherpaOnnxSTTProvider(SherpaOnnxSTTConfig())
        assert "roomkit[sherpa-onnx]" in str(caught.value)
