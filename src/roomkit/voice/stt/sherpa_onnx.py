"""sherpa-onnx as a recogniser: speech on this machine, with transducers, Whisper or Moonshine.

Source: the documentation of sherpa-onnx, and version 1.13.8 itself.
"""

from __future__ import annotations

import mmap
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._lazy import require
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.voice._workers import ModelWorker, Stop, require_file
from roomkit.voice.base import TranscriptionResult
from roomkit.voice.stt._local import LocalRecogniser, floats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import AudioChunk

_USER = "SherpaOnnxSTTProvider"
_MODES = ("transducer", "whisper", "moonshine")
_FEATURES = 80
_TAIL_SECONDS = 0.5
_NOT_STREAMING = "Streaming transcription is not supported"
# What the exporters write into the metadata of encoders that take audio piece by piece.
_STREAMING_MARK = b"decode_chunk_len"


@dataclass
class SherpaOnnxSTTConfig:
    """A model in files, and how it listens.

    Attributes:
        mode: What kind of model it is: ``transducer``, ``whisper`` or ``moonshine`` (an encoder
            and a merged decoder).
        tokens: The path of ``tokens.txt``.
        encoder: Of the encoder.
        decoder: Of the decoder.
        joiner: Of the joiner; transducers only.
        language: What is spoken; Whisper only.
        sample_rate: What the model hears, in hertz; audio of another rate is converted.
        num_threads: Processors one recognition uses.
        provider_type: What computes: ``cpu``, ``cuda`` or ``coreml``.
        provider: Another name of ``provider_type``; it wins.
        streaming: Whether a transducer takes audio piece by piece; None: look into its encoder.
        endpoint_rule1_min_trailing_silence: Seconds of silence that end an utterance in which
            nothing was understood.
        endpoint_rule2_min_trailing_silence: Seconds of silence that end one with words.
        endpoint_rule3_min_utterance_length: Seconds after which one ends in any case.
    """

    mode: str = "transducer"
    tokens: str = ""
    encoder: str = ""
    decoder: str = ""
    joiner: str = ""
    language: str = "en"
    sample_rate: int = 16000
    num_threads: int = 2
    provider_type: str = "cpu"
    provider: str | None = field(default=None, kw_only=True)
    streaming: bool | None = field(default=None, kw_only=True)
    endpoint_rule1_min_trailing_silence: float = field(default=2.4, kw_only=True)
    endpoint_rule2_min_trailing_silence: float = field(default=1.2, kw_only=True)
    endpoint_rule3_min_utterance_length: float = field(default=20.0, kw_only=True)

    def __post_init__(self) -> None:
        """Let both names of the provider say the same."""
        self.provider_type = self.provider or self.provider_type
        self.provider = self.provider_type


@dataclass(frozen=True)
class _Loaded:
    recogniser: Any
    online: bool


class SherpaOnnxSTTProvider(LocalRecogniser[_Loaded]):
    """Understands speech with sherpa-onnx, without a network.

    Nothing is loaded before the first call or ``warmup``. All calls share one thread. Words
    while somebody speaks need a streaming transducer; such a model is used for whole recordings
    too.

    Args:
        config: The model.
        timeout: Seconds a recognition may take, waiting for those before it included.
        max_audio_seconds: The longest recording.

    Raises:
        MissingDependencyError: sherpa-onnx is not installed.
        ConfigurationError: The mode is unknown, or a number cannot be.
    """

    fetches: ClassVar[str] = "does not support URL-based audio; give it PCM"
    data_urls: ClassVar[bool] = False

    def __init__(
        self,
        config: SherpaOnnxSTTConfig,
        *,
        timeout: float = 30.0,
        max_audio_seconds: float = 300.0,
    ) -> None:
        self._sherpa: Any = require(
            "sherpa_onnx", user=_USER, extra="sherpa-onnx", dist="sherpa-onnx"
        )
        if config.mode not in _MODES:
            raise ConfigurationError(f"SherpaOnnxSTTConfig: mode is one of {', '.join(_MODES)}")
        if config.num_threads < 1:
            raise ConfigurationError("SherpaOnnxSTTConfig: num_threads is at least 1")
        self._config = config
        worker = ModelWorker(self.name, self._load)
        self._set_up(
            worker, config.sample_rate, timeout=timeout, max_audio_seconds=max_audio_seconds
        )

    @property
    def name(self) -> str:
        """``SherpaOnnxSTT``."""
        return "SherpaOnnxSTT"

    @property
    def supports_streaming(self) -> bool:
        """Whether the model may take audio piece by piece; known for sure once it is loaded."""
        model = self._worker.model
        if model is not None:
            return model.online
        return self._config.mode == "transducer" and self._config.streaming is not False

    async def transcribe_stream(
        self, audio_stream: AsyncIterator[AudioChunk]
    ) -> AsyncIterator[TranscriptionResult]:
        """Yield the words of each utterance as they become known; its last result is final.

        An utterance ends by the ``endpoint_`` rules of the config, and with the stream.

        Args:
            audio_stream: PCM of one rate; a chunk with ``is_final`` is the last.

        Raises:
            InvalidInputError: From the iterator: the model takes whole recordings only, or a
                chunk is no PCM.
            ConfigurationError: From the iterator: the model cannot be loaded.
            ProviderError: From the iterator: it failed, took too long, is busy or closed.
        """
        if self._config.mode != "transducer":
            raise InvalidInputError(
                f"{_NOT_STREAMING} in mode {self._config.mode!r}; use transcribe()"
            )
        await self._worker.load()
        if not self.supports_streaming:
            raise InvalidInputError(f"{_NOT_STREAMING} by this transducer; use transcribe()")
        ear = _Ear(self._config.sample_rate)
        async with aclosing(self._listen(audio_stream, ear)) as results:
            async for result in results:
                yield result

    def _recognise(self, model: _Loaded, samples: list[float], stop: Stop) -> str:
        if model.online:
            ear = _Ear(self._config.sample_rate)
            results = [*ear.hear(model, samples, stop), *ear.end(model, [], stop)]
            return " ".join(each.text for each in results if each.is_final and each.text)
        stream = model.recogniser.create_stream()
        stream.accept_waveform(self._config.sample_rate, samples)
        model.recogniser.decode_stream(stream)
        return _text(stream.result)

    # -- in the model's thread ----------------------------------------------------------------

    def _load(self) -> _Loaded:
        config = self._config
        names = ["encoder", "decoder", "tokens"]
        if config.mode == "transducer":
            names.append("joiner")
        files = {name: require_file(_USER, name, getattr(config, name)) for name in names}
        common: dict[str, Any] = {
            **files,
            "num_threads": config.num_threads,
            "provider": config.provider_type,
        }
        offline = self._sherpa.OfflineRecognizer
        if config.mode == "whisper":
            return _Loaded(offline.from_whisper(**common, language=config.language), False)
        if config.mode == "moonshine":
            return _Loaded(offline.from_moonshine_v2(**common), False)
        common |= {"sample_rate": config.sample_rate, "feature_dim": _FEATURES}
        streaming = config.streaming
        if streaming is None:
            streaming = _is_streaming(files["encoder"])
        if not streaming:
            return _Loaded(offline.from_transducer(**common), False)
        online = self._sherpa.OnlineRecognizer.from_transducer(
            **common,
            enable_endpoint_detection=True,
            rule1_min_trailing_silence=config.endpoint_rule1_min_trailing_silence,
            rule2_min_trailing_silence=config.endpoint_rule2_min_trailing_silence,
            rule3_min_utterance_length=config.endpoint_rule3_min_utterance_length,
        )
        return _Loaded(online, True)


class _Ear:
    """One stream inside a streaming transducer."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._stream: Any = None
        self._last = ""

    def hear(self, model: _Loaded, samples: list[float], stop: Stop) -> list[TranscriptionResult]:
        """Take audio in, a tenth of a second at a time so that no endpoint is passed over."""
        recogniser = model.recogniser
        if self._stream is None:
            self._stream = recogniser.create_stream()
        results: list[TranscriptionResult] = []
        step = max(1, self._rate // 10)
        for at in range(0, len(samples), step):
            if stop:
                break
            self._stream.accept_waveform(self._rate, samples[at : at + step])
            self._decode(recogniser)
            results += self._news(recogniser, over=bool(recogniser.is_endpoint(self._stream)))
        return results

    def end(self, model: _Loaded, samples: list[float], stop: Stop) -> list[TranscriptionResult]:
        """Let the last words come out: they need some silence behind them."""
        results = self.hear(model, samples, stop)
        if self._stream is None:
            return results
        self._stream.accept_waveform(self._rate, [0.0] * int(self._rate * _TAIL_SECONDS))
        self._stream.input_finished()
        self._decode(model.recogniser)
        return results + self._news(model.recogniser, over=True)

    def drop(self, model: _Loaded) -> None:
        """Let the stream go."""
        self._stream = None

    def _decode(self, recogniser: Any) -> None:
        while recogniser.is_ready(self._stream):
            recogniser.decode_stream(self._stream)

    def _news(self, recogniser: Any, *, over: bool) -> list[TranscriptionResult]:
        text = _text(recogniser.get_result(self._stream))
        before, self._last = self._last, "" if over else text
        if over:
            recogniser.reset(self._stream)
            return [TranscriptionResult(text, is_final=True)] if text or before else []
        if not text or text == before:
            return []
        return [TranscriptionResult(text, is_final=False)]


def _text(result: Any) -> str:
    """Return the text of a result, which is one itself in some versions."""
    return str(getattr(result, "text", result)).strip()


def _is_streaming(encoder: str) -> bool:
    path = Path(encoder)
    if not path.stat().st_size:
        return False
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.rfind(_STREAMING_MARK) >= 0


def _pcm_s16le_to_float32(pcm: bytes) -> list[float]:
    """Return 16-bit PCM as numbers from -1 to 1."""
    return floats(pcm)
