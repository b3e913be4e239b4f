"""Moonshine as a recogniser: English speech on this machine, with a model inside the package.

Source: the documentation of moonshine-voice, and version 0.1.0 itself.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._lazy import require
from roomkit.exceptions import ConfigurationError
from roomkit.voice._workers import ModelWorker, Stop, require_file
from roomkit.voice.base import TranscriptionResult
from roomkit.voice.stt._local import LocalRecogniser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import AudioChunk

_USER = "MoonshineSTTProvider"
_RATE = 16000
_FILES = ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")
# The library would hand the sound back, and tell speakers apart, with every answer.
_OPTIONS = {"return_audio_data": "false", "identify_speakers": "false"}
_ARCHITECTURES = (
    "tiny",
    "base",
    "tiny-streaming",
    "base-streaming",
    "small-streaming",
    "medium-streaming",
)
_FRESH_SECONDS = 30
_LONGEST_SECONDS = 60


@dataclass
class _Loaded:
    """A model, and the streams that must end before it does."""

    transcriber: Any
    streams: set[Any] = field(default_factory=set)


class MoonshineSTTProvider(LocalRecogniser[_Loaded]):
    """Understands English speech with Moonshine, without a network.

    Nothing is loaded before the first call or ``warmup``. All calls share one thread.

    Args:
        model_path: The folder of a model. None: ``tiny-en``, which the extra ``moonshine``
            brings inside the package; releases of the package from 0.1.1 on do not.
        architecture: Of the model: ``tiny``, ``base`` or ``...-streaming``.
        update_interval: Seconds of audio between two partial results of a stream.
        timeout: Seconds a recognition may take, waiting for those before it included.
        max_audio_seconds: The longest recording.

    Raises:
        MissingDependencyError: moonshine-voice is not installed.
        ConfigurationError: The architecture is unknown, or a time is not positive.
    """

    fetches: ClassVar[str] = "hears recordings in data: URLs only; fetch it and give its PCM"

    def __init__(
        self,
        model_path: str | Path | None = None,
        *,
        architecture: str = "tiny",
        update_interval: float = 0.5,
        timeout: float = 30.0,
        max_audio_seconds: float = 300.0,
    ) -> None:
        self._moonshine: Any = require(
            "moonshine_voice", user=_USER, extra="moonshine", dist="moonshine-voice"
        )
        if architecture not in _ARCHITECTURES:
            raise ConfigurationError(
                f"{_USER}: architecture is one of {', '.join(_ARCHITECTURES)}"
            )
        if update_interval <= 0:
            raise ConfigurationError(f"{_USER}: update_interval is more than 0")
        self._model_path = model_path
        self._architecture = architecture
        self._interval = update_interval
        worker = ModelWorker(self.name, self._load, _free)
        self._set_up(worker, _RATE, timeout=timeout, max_audio_seconds=max_audio_seconds)

    @property
    def name(self) -> str:
        """``MoonshineSTT``."""
        return "MoonshineSTT"

    @property
    def supports_streaming(self) -> bool:
        """Always."""
        return True

    async def transcribe_stream(
        self, audio_stream: AsyncIterator[AudioChunk]
    ) -> AsyncIterator[TranscriptionResult]:
        """Yield each utterance as far as it is known; its last result is final.

        An utterance ends with a pause, at the latest after some 15 seconds, and with the
        stream. Of a stream that never ends one minute is kept at most.

        Args:
            audio_stream: PCM of one rate; a chunk with ``is_final`` is the last.

        Raises:
            InvalidInputError: From the iterator: a chunk is no PCM.
            ConfigurationError: From the iterator: the model cannot be loaded.
            ProviderError: From the iterator: it failed, took too long, is busy or closed.
        """
        ear = _Ear(self._interval)
        async with aclosing(self._listen(audio_stream, ear)) as results:
            async for result in results:
                yield result

    def _recognise(self, model: _Loaded, samples: list[float], stop: Stop) -> str:
        return _said(model, samples)

    def _load(self) -> _Loaded:
        package = self._moonshine
        folder = self._model_path
        if folder is None:
            folder = Path(package.__file__ or "").parent / "assets" / "tiny-en"
            if not (folder / _FILES[0]).is_file():
                raise ConfigurationError(
                    f"{_USER}: this release of moonshine-voice carries no model; install "
                    "'roomkit[moonshine]', or set model_path= to a model's folder"
                )
        folder = Path(require_file(_USER, "model_path", folder, folder=True))
        if not self._architecture.endswith("-streaming"):
            for name in _FILES:
                require_file(_USER, "model_path", folder / name)
        return _Loaded(
            package.Transcriber(
                str(folder),
                package.string_to_model_arch(self._architecture),
                options=dict(_OPTIONS),
            )
        )


def _free(model: _Loaded) -> None:
    """Let a model go, its streams first."""
    for stream in model.streams:
        stream.close()
    model.streams.clear()
    model.transcriber.close()


def _said(model: _Loaded, samples: list[float]) -> str:
    """Return what is said.

    Always in a stream of its own: the library's call for whole recordings remembers whether the
    one before ended in speech. As it is: digital silence put around it doubles the errors.
    """
    stream = _open(model)
    try:
        stream.add_audio(samples, _RATE)
        lines = _finished(model, stream)
    finally:
        _close(model, stream)
    return " ".join(line.text.strip() for line in lines if line.text.strip())


def _open(model: _Loaded) -> Any:
    # It would look for words at intervals of its own.
    stream = model.transcriber.create_stream(update_interval=1e9)
    model.streams.add(stream)
    try:
        stream.start()
    except Exception:
        _close(model, stream)
        raise
    return stream


def _close(model: _Loaded, stream: Any) -> None:
    model.streams.discard(stream)
    stream.close()


def _finished(model: _Loaded, stream: Any) -> list[Any]:
    """Return all lines of a stream that ends.

    What came since the last look is not in the answer of ``stop``, which is None when it fails:
    that happens where a pause has just begun.
    """
    lines = list(stream.update_transcription(model.transcriber.MOONSHINE_FLAG_FORCE_UPDATE).lines)
    ended = stream.stop()
    return lines if ended is None else list(ended.lines)


class _Ear:
    """One stream inside a model: lines that grow, and are complete at a pause."""

    def __init__(self, interval: float) -> None:
        self._between = int(interval * _RATE)
        self._stream: Any = None
        self._begin()

    def _begin(self) -> None:
        self._heard = 0
        self._new = 0
        self._partial = ""
        self._finished: set[int] = set()

    def hear(self, model: _Loaded, samples: list[float], stop: Stop) -> list[TranscriptionResult]:
        """Take audio in, and look for words when there is enough that is new."""
        if self._stream is None:
            self._stream = _open(model)
        if samples:
            self._stream.add_audio(samples, _RATE)
        self._new += len(samples)
        self._heard += len(samples)
        if self._new < self._between or stop:
            return []
        self._new = 0
        lines = self._stream.update_transcription().lines
        results = self._told(lines)
        seconds = self._heard / _RATE
        silent = all(line.is_complete for line in lines)
        if seconds > _LONGEST_SECONDS or (seconds > _FRESH_SECONDS and silent):
            results += self._rest(model)
        return results

    def end(self, model: _Loaded, samples: list[float], stop: Stop) -> list[TranscriptionResult]:
        """Complete what was begun."""
        return self.hear(model, samples, stop) + self._rest(model)

    def drop(self, model: _Loaded) -> None:
        """Let the stream go. Idempotent."""
        stream, self._stream = self._stream, None
        if stream in model.streams:
            _close(model, stream)

    def _rest(self, model: _Loaded) -> list[TranscriptionResult]:
        """End the stream; return its last lines as final, and be ready for another."""
        if self._stream is None:
            return []
        lines = _finished(model, self._stream)
        self.drop(model)
        results = self._told(lines, over=True)
        if self._partial:
            results.append(TranscriptionResult(self._partial))
        self._begin()
        return results

    def _told(self, lines: list[Any], *, over: bool = False) -> list[TranscriptionResult]:
        results: list[TranscriptionResult] = []
        for line in lines:
            text = line.text.strip()
            if line.line_id in self._finished:
                continue
            if line.is_complete or over:
                self._finished.add(line.line_id)
                if text or self._partial:
                    results.append(TranscriptionResult(text))
                self._partial = ""
            elif text and text != self._partial:
                self._partial = text
                results.append(TranscriptionResult(text, is_final=False))
        return results
