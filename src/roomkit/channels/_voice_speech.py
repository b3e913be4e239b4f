"""One speech: what is said, the audio it becomes, and how much of it was heard."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

from roomkit._aio import bounded, resume
from roomkit.channels._voice_hooks import contained
from roomkit.exceptions import InvalidInputError, InvalidReturnError
from roomkit.voice.base import AudioChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from roomkit._clock import Clock
    from roomkit.channels.host import ChannelHost
    from roomkit.models.content import AudioContent
    from roomkit.voice.tts.base import TTSProvider

    Show = Callable[[str], Awaitable[None]]

MOST_AUDIO_SECONDS = 600
"""Audio of one text; a synthesiser that gives more has lost its way."""

_SLICE_MS = 100
_MS_PER_CHARACTER = 65
"""How long a character of a sentence takes whose audio has not all come."""
_WRITING_PATIENCE = 6
"""A text still being written may keep a synthesiser waiting so many times longer."""


@dataclass(slots=True)
class _Span:
    """A stretch of text and its audio."""

    text: str
    begins_ms: float
    lasts_ms: float = 0.0
    whole: bool = False


def unheard(_text: str) -> None:
    """Do nothing with the text of a playback: nobody wants to know it, or not any more."""


class Meter:
    """Counts the audio of one playback as it is handed over.

    Args:
        clock: Says how long it has been playing.
        played: Gives what the client has heard, in milliseconds, or None; where the backend
            cannot tell, all that was handed over is taken to be played at its own speed.

    Attributes:
        sent_ms: How much audio was handed over.
        on_text: Told of the whole text whenever it grows.
    """

    def __init__(self, clock: Clock, played: Callable[[], Any] | None = None) -> None:
        self.sent_ms: float = 0.0
        self.on_text: Callable[[str], None] = unheard
        self._clock = clock
        self._played = played
        self._began: float | None = None
        self._spans: list[_Span] = []

    @property
    def measured(self) -> bool:
        """Whether the backend tells what was heard."""
        return self._played is not None

    @property
    def position_ms(self) -> int:
        """How much was heard, in milliseconds."""
        if self._began is None:
            return 0
        played = None if self._played is None else self._played()
        if isinstance(played, (int, float)):
            return int(min(played, self.sent_ms))
        return int(min((self._clock.monotonic() - self._began) * 1000, self.sent_ms))

    def left_seconds(self) -> float:
        """Return how long what was handed over still sounds."""
        if self._began is None:
            return 0.0
        return self.sent_ms / 1000 - (self._clock.monotonic() - self._began)

    def add(self, milliseconds: float) -> None:
        """Count audio that is being handed over."""
        now = self._clock.monotonic()
        if self._began is None:
            self._began = now
        elif self._played is None and (gap := now - self._began - self.sent_ms / 1000) > 0:
            # It fell silent for want of audio; that time is not played.
            self._began += gap
        self.sent_ms += milliseconds
        if self._spans:
            self._spans[-1].lasts_ms += milliseconds

    def begin(self, text: str) -> None:
        """Let the audio that follows be that of a text."""
        self.end()
        self._spans.append(_Span(text, self.sent_ms))
        self.on_text(" ".join(span.text for span in self._spans))

    def extend(self, text: str) -> None:
        """Let the audio be that of a longer text, whose parts cannot be told apart."""
        if not self._spans:
            self.begin(text)
            return
        self._spans[-1].text += " " + text
        self.on_text(" ".join(span.text for span in self._spans))

    def end(self) -> None:
        """Note that all the audio of the text begun last has come."""
        if self._spans:
            self._spans[-1].whole = True

    def heard(self, position_ms: float) -> str:
        """Return the words that were heard up to a position, as near as can be told."""
        parts = []
        for span in self._spans:
            into = position_ms - span.begins_ms
            lasts = span.lasts_ms
            if not span.whole:
                lasts = max(lasts, float(len(span.text) * _MS_PER_CHARACTER))
            if into <= 0 or lasts <= 0:
                break
            parts.append(span.text if into >= lasts else _words(span.text, into / lasts))
        return " ".join(part for part in parts if part)


def _words(text: str, share: float) -> str:
    """Return the whole words in the first part of a text."""
    cut = int(len(text) * share)
    if cut < len(text) and not text[cut].isspace():
        cut = text.rfind(" ", 0, cut) + 1
    return text[:cut].strip()


class Origin:
    """The event of the timeline that is being said.

    Args:
        event_id: The event; None while an answer is said that is not stored yet.
    """

    def __init__(self, event_id: str | None = None) -> None:
        self.event_id = event_id
        self._noted: dict[str, Any] | None = None

    async def interrupted(self, host: ChannelHost | None, played_ms: int, heard: str) -> None:
        """Note how much was heard, as soon as there is an event to note it at."""
        self._noted = {"interrupted": True, "played_ms": played_ms, "heard_text": heard}
        await self._write(host)

    async def stored(self, host: ChannelHost | None, event_id: str) -> None:
        """Tell which event it has become."""
        if self.event_id is None:
            self.event_id = event_id
            await self._write(host)

    async def _write(self, host: ChannelHost | None) -> None:
        if host is None or self.event_id is None or self._noted is None:
            return
        noted, self._noted = self._noted, None
        await contained(host.update_event_metadata(self.event_id, noted), "noting an interruption")


class Speech:
    """Something to be said to one session.

    Args:
        make: Gives the audio, once; it is told the meter and how to show a text.
        text: What is said, as far as it is known.
        origin: The event it is.
    """

    def __init__(
        self,
        make: Callable[[Meter, Show], AsyncIterator[AudioChunk]],
        text: str = "",
        origin: Origin | None = None,
    ) -> None:
        self.audio = make
        self.text = text
        self.origin = origin
        self._handed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def finish(self, handed: bool) -> None:
        """Note that all of it was handed over, or that it will not be; the first word counts."""
        if not self._handed.done():
            self._handed.set_result(handed)

    async def handed(self) -> bool:
        """Return whether all of it was handed over, once that is known."""
        if not self._handed.done():
            await asyncio.wait((self._handed,))
        return self._handed.result()


class Synthesis:
    """A synthesiser, and how long it may take.

    Args:
        tts: The synthesiser.
        whole: Make each text's audio in one piece, even where pieces could be had.
        timeout: Seconds to the first piece, and from one piece to the next.
    """

    def __init__(self, tts: TTSProvider, *, whole: bool, timeout: float) -> None:
        self._tts = tts
        self._whole = whole or not getattr(tts, "streams", True)
        self._timeout = timeout

    def text(self, text: str, voice: str | None = None) -> Callable[..., Any]:
        """Return what a ``Speech`` needs to say a text."""

        async def make(meter: Meter, show: Show) -> AsyncIterator[AudioChunk]:
            await show(text)
            meter.begin(text)
            async for chunk in self._chunks(text, voice):
                yield chunk
            meter.end()

        return make

    def growing(self, sentences: Callable[[], AsyncIterator[str]]) -> Callable[..., Any]:
        """Return what a ``Speech`` needs to say a text that is still being written."""
        if getattr(self._tts, "supports_streaming_input", False) is True and not self._whole:
            return self._fed(sentences)

        async def make(meter: Meter, show: Show) -> AsyncIterator[AudioChunk]:
            async for sentence in sentences():
                await show(sentence)
                meter.begin(sentence)
                async for chunk in self._chunks(sentence, None):
                    yield chunk
                meter.end()

        return make

    def _fed(self, sentences: Callable[[], AsyncIterator[str]]) -> Callable[..., Any]:
        async def make(meter: Meter, show: Show) -> AsyncIterator[AudioChunk]:
            async def told() -> AsyncIterator[str]:
                async for sentence in sentences():
                    await show(sentence)
                    meter.extend(sentence)
                    yield sentence + " "

            chunks = self._tts.synthesize_stream_input(told())
            patience = self._timeout * _WRITING_PATIENCE
            async for chunk in timed(chunks, patience, MOST_AUDIO_SECONDS):
                yield chunk
            meter.end()

        return make

    def _chunks(self, text: str, voice: str | None) -> AsyncIterator[AudioChunk]:
        # A voice that was not asked for is not named: some synthesisers know no such argument.
        named = {} if voice is None else {"voice": voice}
        if self._whole:
            return self._recorded(text, named)
        chunks = self._tts.synthesize_stream(text, **named)
        return timed(chunks, self._timeout, MOST_AUDIO_SECONDS)

    async def _recorded(self, text: str, named: dict[str, str]) -> AsyncIterator[AudioChunk]:
        content = await bounded(self._tts.synthesize(text, **named), self._timeout)
        for piece in sliced(_decoded(content)):
            yield piece


def _decoded(content: AudioContent) -> AudioChunk:
    """Return the PCM of a recording that holds its audio itself.

    Raises:
        InvalidInputError: It is somewhere else, or in a format that cannot be played.
    """
    from roomkit.voice._data_url import read_data_url
    from roomkit.voice.audio.wav import parse_wav

    if not content.url.startswith("data:"):
        raise InvalidInputError(
            "the synthesiser gave a recording that has to be fetched; a voice session needs "
            "one that streams, or that returns a data: URL with WAV or PCM"
        )
    found = read_data_url(content.url)
    mime = found.mime_type or content.mime_type
    if mime in ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"):
        wav = parse_wav(found.data)
        return AudioChunk(wav.data, wav.sample_rate, wav.channels, is_final=True)
    if mime in ("audio/pcm", "audio/l16", "audio/raw"):
        rate = found.parameters.get("rate", "16000")
        if rate.isdecimal() and int(rate) > 0:
            return AudioChunk(found.data, int(rate), is_final=True)
    raise InvalidInputError("the synthesiser's recording is neither WAV nor PCM")


def sliced(chunk: AudioChunk) -> list[AudioChunk]:
    """Return a chunk in pieces of a tenth of a second."""
    step = max(1, chunk.sample_rate * _SLICE_MS // 1000) * 2 * max(1, chunk.channels)
    return [
        AudioChunk(chunk.data[at : at + step], chunk.sample_rate, chunk.channels, chunk.format)
        for at in range(0, len(chunk.data), step)
    ]


async def timed(
    chunks: AsyncIterator[AudioChunk], limit: float, most: float | None = None
) -> AsyncIterator[AudioChunk]:
    """Yield what an iterator gives, which is closed in the end.

    Raises:
        DeadlineExceeded: It took longer than ``limit`` seconds for one.
        InvalidReturnError: It gave more than ``most`` seconds of audio.
    """
    sounded = 0.0
    generator = isinstance(chunks, AsyncGeneratorType)
    try:
        while True:
            # As ``bounded`` does it, but without a coroutine of its own for each chunk.
            step: Any = chunks.__anext__() if generator else _next(chunks)
            try:
                yielded = step.send(None)
            except StopIteration as stop:
                chunk = stop.value
            except StopAsyncIteration:
                return
            else:
                chunk = await _rest(step, yielded, limit)
            if chunk is None:
                return
            if most is not None:
                sounded += len(chunk.data) / max(1, chunk.sample_rate * chunk.channels * 2)
                if sounded > most:
                    raise InvalidReturnError("a synthesiser gives audio without an end")
            yield chunk
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def _rest(step: Any, yielded: Any, limit: float) -> Any:
    try:
        return await resume(step, yielded, limit)
    except StopAsyncIteration:
        return None


async def _next(chunks: AsyncIterator[AudioChunk]) -> AudioChunk | None:
    return await anext(chunks, None)
