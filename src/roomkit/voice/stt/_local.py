"""What the recognisers that run on this machine share: audio in, and streams that stay bounded."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from roomkit._aio import cancel_and_wait
from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.voice._data_url import read_data_url
from roomkit.voice._workers import LocalModel
from roomkit.voice.audio.pcm import SampleCarry, mono_pcm16, read_samples, require_format
from roomkit.voice.audio.resample import SincResamplerProvider, resample_pcm16
from roomkit.voice.audio.wav import parse_wav
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.stt.base import STTProvider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from types import TracebackType

    from roomkit.models.content import AudioContent
    from roomkit.voice._workers import ModelWorker, Stop
    from roomkit.voice.base import AudioChunk, TranscriptionResult

_PCM = frozenset({"pcm_s16le", "linear16", "raw"})
_AHEAD_SECONDS = 30
_FULL_SCALE = 32768.0


def floats(pcm: bytes) -> list[float]:
    """Return 16-bit PCM as numbers from -1 to 1; half a sample at the end is left out."""
    return [sample / _FULL_SCALE for sample in read_samples(pcm)]


class Ear[M](Protocol):
    """One stream inside a model. Every method runs in the model's thread."""

    def hear(self, model: M, samples: list[float], stop: Stop) -> list[TranscriptionResult]:
        """Take audio in and return what is new."""

    def end(self, model: M, samples: list[float], stop: Stop) -> list[TranscriptionResult]:
        """Take the last audio in and return what is left; the last result is final."""

    def drop(self, model: M) -> None:
        """Let the stream go."""


class LocalRecogniser[M](LocalModel[M], STTProvider):
    """A recogniser whose model is loaded by its first use, into a thread of its own.

    A provider calls ``_set_up`` in its constructor.
    """

    fetches: ClassVar[str]
    """What is said about recordings that are somewhere else."""

    data_urls: ClassVar[bool] = True
    """Whether recordings in ``data:`` URLs are decoded."""

    def _set_up(
        self, worker: ModelWorker[M], rate: int, *, timeout: float, max_audio_seconds: float
    ) -> None:
        if min(timeout, max_audio_seconds) <= 0:
            raise ConfigurationError(
                f"{type(self).__name__}: timeout and max_audio_seconds are more than 0"
            )
        require_format(rate, 1, 2)
        self._worker = worker
        self._rate = rate
        self._timeout = timeout
        self._most_seconds = max_audio_seconds

    @abstractmethod
    def _recognise(self, model: M, samples: list[float], stop: Stop) -> str:
        """Return what is said in mono audio of the model's rate. Runs in the model's thread."""

    async def transcribe(self, audio: AudioContent | AudioChunk | AudioFrame) -> str:
        """Return what is said in a recording; an empty text for silence.

        Audio of any rate and number of channels is converted.

        Args:
            audio: 16-bit PCM, or frames of another sample width.

        Raises:
            InvalidInputError: It is no PCM, is somewhere else, or is too long.
            ConfigurationError: The model cannot be loaded.
            ProviderError: It failed, took too long, is busy or closed.
        """
        pcm, rate = self._read(audio)
        if not pcm:
            return ""
        if len(pcm) > 2 * rate * self._most_seconds:
            raise InvalidInputError(
                f"audio: more than max_audio_seconds={self._most_seconds:g} seconds; give it in "
                "parts, or raise the limit"
            )

        def job(model: M, stop: Stop) -> str:
            return self._recognise(model, floats(resample_pcm16(pcm, rate, self._rate)), stop)

        return await self._worker.run(job, self._timeout)

    async def _listen(
        self, audio_stream: AsyncIterator[AudioChunk], ear: Ear[M]
    ) -> AsyncGenerator[TranscriptionResult]:
        """Yield what an ear hears in a stream."""
        worker, seconds = self._worker, self._timeout
        results: list[TranscriptionResult] = []
        async with _Ahead(audio_stream, self._rate) as ahead:
            try:
                while (convert := await ahead.take()) is not None:
                    results = await worker.run(_hearing(ear.hear, convert), seconds)
                    for result in results:
                        yield result
                if ahead.heard:
                    results = await worker.run(_hearing(ear.end, ahead.rest), seconds)
                    for result in results:
                        yield result
            finally:
                worker.afterwards(ear.drop)

    def _read(self, audio: Any) -> tuple[bytes, int]:
        """Return mono PCM and its rate.

        Raises:
            InvalidInputError: It is something else.
        """
        url = getattr(audio, "url", None)
        if url is not None:
            return self._decoded(str(url))
        if isinstance(audio, AudioFrame):
            require_format(audio.sample_rate, audio.channels, audio.sample_width)
            pcm = mono_pcm16(audio.data, audio.channels, audio.sample_width)
            return pcm, audio.sample_rate
        _require_pcm(audio)
        return mono_pcm16(audio.data, audio.channels), audio.sample_rate

    def _decoded(self, url: str) -> tuple[bytes, int]:
        if not self.data_urls or not url.startswith("data:"):
            raise InvalidInputError(f"audio.url: {self.name} {self.fetches}")
        found = read_data_url(url)
        if found.mime_type in ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"):
            wav = parse_wav(found.data)
            return mono_pcm16(wav.data, wav.channels), wav.sample_rate
        rate = found.parameters.get("rate", "")
        if found.mime_type in ("audio/pcm", "audio/l16") and rate.isdecimal():
            require_format(int(rate), 1, 2)
            return mono_pcm16(found.data), int(rate)
        raise InvalidInputError("audio.url: neither WAV nor PCM with its rate")


def _require_pcm(chunk: AudioChunk) -> None:
    if chunk.format not in _PCM:
        raise InvalidInputError(
            f"audio.format={chunk.format!r}: recognisers on this machine hear PCM only; decode "
            "it first"
        )
    require_format(chunk.sample_rate, chunk.channels, 2)


def _hearing[M](
    hear: Callable[[M, list[float], Stop], list[TranscriptionResult]],
    convert: Callable[[], list[float]],
) -> Callable[[M, Stop], list[TranscriptionResult]]:
    return lambda model, stop: hear(model, convert(), stop)


class _Ahead:
    """Reads a stream of audio ahead of a recogniser that is busy; 30 seconds at most.

    Args:
        stream: Chunks of one rate and number of channels.
        rate: What the recogniser wants.

    Attributes:
        heard: Whether there was any audio.
    """

    def __init__(self, stream: AsyncIterator[AudioChunk], rate: int) -> None:
        self._stream = stream
        self._rate = rate
        self._resampler = SincResamplerProvider()
        self._form: tuple[int, int] | None = None
        self._carry = SampleCarry(2)
        self._waiting = bytearray()
        self._over = False
        self._news = asyncio.Event()
        self._space = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.heard = False

    async def __aenter__(self) -> _Ahead:
        self._task = asyncio.create_task(self._read(), name="voice_stt_ahead")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            await cancel_and_wait((self._task,))

    async def take(self) -> Callable[[], list[float]] | None:
        """Return what gives all the audio that waits, to be called in the thread; None: over.

        Raises:
            InvalidInputError: A chunk is no PCM, or has another form than those before.
            Exception: What the stream raises.
        """
        while not self._waiting and not self._over:
            self._news.clear()
            await self._news.wait()
        if not self._waiting:
            if self._task is not None and self._task.done() and not self._task.cancelled():
                self._task.result()
            return None
        data, rate = bytes(self._waiting), self._form[0] if self._form else self._rate
        self._waiting.clear()
        self._space.set()
        self.heard = True
        if rate == self._rate:
            return lambda: floats(data)
        return lambda: floats(self._converted(AudioFrame(data, rate)))

    def rest(self) -> list[float]:
        """Return the end of the audio that the conversion still held back. In the thread."""
        return floats(self._resampler.flush())

    def _converted(self, frame: AudioFrame) -> bytes:
        return self._resampler.resample(frame, self._rate, 1, 2).data

    async def _read(self) -> None:
        try:
            async for chunk in self._stream:
                await self._keep(chunk)
                if chunk.is_final:
                    return
        finally:
            self._over = True
            self._news.set()

    async def _keep(self, chunk: AudioChunk) -> None:
        if not chunk.data:
            return
        _require_pcm(chunk)
        form = (chunk.sample_rate, chunk.channels)
        if self._form is None:
            self._form = form
            self._carry = SampleCarry(2 * chunk.channels)
        if form != self._form:
            raise InvalidInputError("audio_stream: chunks of one rate and number of channels")
        while len(self._waiting) > 2 * _AHEAD_SECONDS * chunk.sample_rate:
            self._space.clear()
            await self._space.wait()
        self._waiting += mono_pcm16(self._carry.push(chunk.data), chunk.channels)
        self._news.set()
