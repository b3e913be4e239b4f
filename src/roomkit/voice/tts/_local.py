"""What the synthesisers that run on this machine share: sentences in, pieces of audio out."""

from __future__ import annotations

import asyncio
import base64
import re
from abc import abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import ConfigurationError, InvalidInputError
from roomkit.models.content import AudioContent
from roomkit.voice._sentences import sentences
from roomkit.voice._workers import LocalModel
from roomkit.voice.audio.wav import wav_bytes
from roomkit.voice.base import AudioChunk
from roomkit.voice.tts.base import TTSProvider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from roomkit.voice._workers import ModelWorker

MOST_CHARACTERS = 5000
"""The longest text that becomes one recording; about six minutes of speech."""

_SHORTEST = 20
_ABBREVIATION = re.compile(r"(^|\s)(Dr|Mr|Mrs|Ms|Prof|St|No|vs|e\.g|i\.e|approx)\.$")
_PIECE_MS = 100


class LocalSynthesiser[M](LocalModel[M], TTSProvider):
    """A synthesiser whose model is loaded by its first use, into a thread of its own.

    A provider calls ``_set_up`` in its constructor.
    """

    def _set_up(self, worker: ModelWorker[M], *, timeout: float) -> None:
        if timeout <= 0:
            raise ConfigurationError(f"{type(self).__name__}: timeout is more than 0")
        self._worker = worker
        self._timeout = timeout

    @abstractmethod
    def _speaker(self, voice: str | None) -> Any:
        """Return who is meant by a voice, as far as that can be told without the model.

        Raises:
            InvalidInputError: Nobody can be.
        """

    @abstractmethod
    def _rate_of(self, model: M) -> int:
        """Return the rate of the audio, in hertz."""

    @abstractmethod
    def _speak(self, model: M, text: str, speaker: Any, emit: Callable[[bytes], bool]) -> None:
        """Emit a short text as mono PCM until ``emit`` says no. Runs in the model's thread."""

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Return a text as a WAV recording in a ``data:`` URL.

        Raises:
            InvalidInputError: The text has more than 5000 characters, or nobody has this voice.
            ConfigurationError: The model cannot be loaded.
            ProviderError: It failed, took too long, is busy or closed.
        """
        if len(text) > MOST_CHARACTERS:
            raise InvalidInputError(
                f"text: {len(text)} characters are too many for one recording; the most are "
                f"{MOST_CHARACTERS}, synthesize_stream takes any number"
            )
        pcm = bytearray()
        rate = 0
        async with aclosing(self._chunks(text, voice)) as chunks:
            async for chunk in chunks:
                pcm += chunk.data
                rate = chunk.sample_rate
        rate = rate or 16000
        wav = await asyncio.to_thread(lambda: base64.b64encode(wav_bytes(bytes(pcm), rate)))
        return AudioContent(
            url=f"data:audio/wav;base64,{wav.decode()}",
            mime_type="audio/wav",
            transcript=text,
            duration_seconds=len(pcm) / (2 * rate),
        )

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield a text as PCM in pieces of 100 ms, sentence by sentence, at the model's rate.

        A sentence is made when the one before has been read. The last chunk is empty and
        ``is_final``; a blank text gives no chunk. Closing the iterator stops the synthesis.

        Raises:
            InvalidInputError: From the iterator: nobody has this voice.
            ConfigurationError: From the iterator: the model cannot be loaded.
            ProviderError: From the iterator: it failed, took too long, is busy or closed.
        """
        async with aclosing(self._chunks(text, voice)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _chunks(self, text: str, voice: str | None) -> AsyncGenerator[AudioChunk]:
        speaker = self._speaker(voice)
        rate = 0
        async for part in _parts(text):

            def job(model: M, emit: Callable[[bytes], bool], said: str = part) -> None:
                self._speak(model, said, speaker, emit)

            async with aclosing(self._worker.pieces(job, self._timeout)) as pieces:
                async for pcm in pieces:
                    rate = rate or self._model_rate()
                    step = 2 * (rate * _PIECE_MS // 1000)
                    for at in range(0, len(pcm), step):
                        yield AudioChunk(pcm[at : at + step], rate)
                        # A sentence is long: others get their turn.
                        await asyncio.sleep(0)
        if rate:
            yield AudioChunk(b"", rate, is_final=True)

    def _model_rate(self) -> int:
        model = self._worker.model
        return 16000 if model is None else self._rate_of(model)


async def _parts(text: str) -> AsyncIterator[str]:
    """Yield a text sentence by sentence; what may be none, such as "Dr.", stays with the next."""

    async def whole() -> AsyncIterator[str]:
        yield text

    waiting = ""
    async for sentence in sentences(whole()):
        waiting = f"{waiting} {sentence}".strip()
        if len(waiting) >= _SHORTEST and _ABBREVIATION.search(waiting) is None:
            yield waiting
            waiting = ""
    if waiting:
        yield waiting
