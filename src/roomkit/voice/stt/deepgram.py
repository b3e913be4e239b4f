"""Speech recognition by Deepgram, of whole recordings and while somebody speaks.

Protocol: the vendor's public API reference, "Pre-Recorded Audio" and "Live Audio" (version 1 of
``listen``). Recordings need the extra ``httpx``, live streams ``websocket``.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from roomkit._fetch import fetch_media
from roomkit.exceptions import ConfigurationError, InvalidInputError, ProviderError
from roomkit.voice._cloud import CloudSpeech
from roomkit.voice._cloud_socket import Pieces, Turn, json_or_none
from roomkit.voice._data_url import read_data_url
from roomkit.voice.stt._deepgram_live import Limits, LiveStream, encoding_of
from roomkit.voice.stt.base import STTProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    import httpx

    from roomkit.models.content import AudioContent
    from roomkit.voice._cloud_socket import CloudSocket
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import AudioChunk, TranscriptionResult

logger: logging.Logger = logging.getLogger("roomkit.voice.stt.deepgram")

_UNKNOWN_TYPE = "application/octet-stream"
_PCM_TYPES = frozenset({"audio/pcm", "audio/l16", "audio/raw"})


@dataclass
class DeepgramConfig:
    """An account at Deepgram and what to listen for.

    Attributes:
        api_key: A key of the project.
        model: The model; ``nova-3`` is newer than the default.
        language: Such as ``en`` or ``fr``; ``multi`` with models that can.
        punctuate: Whether to set punctuation marks.
        diarize: Whether to tell speakers apart: ``speaker`` in the words.
        smart_format: Whether to write numbers, dates and the like as people do.
        filler_words: Whether to keep "uh" and "um".
        interim_results: Whether a live stream also tells what may still change.
        endpointing: Milliseconds of silence that end an utterance.
        vad_events: Whether the vendor reports the beginning of speech (it is only logged).
        base_url: Where the API lies, with its version.
        utterance_end_ms: Milliseconds between words that end an utterance when noise hides
            the silence; at least 1000, and only with ``interim_results``.
        extra_params: Further parameters, such as ``{"keyterm": ["RoomKit"]}``.
        keepalive_seconds: Seconds without audio after which the connection is kept alive; the
            vendor closes it after 10.
        api_base: Scheme, host and port of another server, such as a simulator; the path stays.
    """

    api_key: str = field(repr=False)
    model: str = "nova-2"
    language: str = "en"
    punctuate: bool = True
    diarize: bool = False
    smart_format: bool = True
    filler_words: bool = False
    interim_results: bool = True
    endpointing: int = 300
    vad_events: bool = True
    base_url: str = "https://api.deepgram.com/v1"
    utterance_end_ms: int | None = None
    extra_params: dict[str, Any] | None = None
    keepalive_seconds: float = 5.0
    api_base: str | None = field(default=None, kw_only=True)


class DeepgramSTTProvider(CloudSpeech, STTProvider):
    """Recognises speech with Deepgram.

    A live stream that is lost is taken up again: audio the vendor has not finished with (30
    seconds at most) is said again, so nothing is missing and nothing comes twice.

    Args:
        config: The account.
        client: An HTTP client to use instead of one of our own.
        transport: What carries our own client's requests, for tests.
        timeout: Seconds for a whole recording.
        first_answer_seconds: For the handshake, and for the first answer to live audio.
        idle_seconds: Between two answers while audio flows, and after its end.
        reconnects: How often in a row a live stream is taken up again without success.
        media_hosts: Hosts recordings may be fetched from although they are private, such as
            ``media.internal:8080``; see ``fetch_media``.

    Raises:
        ConfigurationError: The key cannot be sent, or a time limit is not positive.
    """

    vendor: ClassVar[str] = "Deepgram"

    def __init__(
        self,
        config: DeepgramConfig,
        *,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 60.0,
        first_answer_seconds: float = 10.0,
        idle_seconds: float = 10.0,
        reconnects: int = 2,
        media_hosts: Collection[str] = (),
    ) -> None:
        headers = {"Authorization": f"Token {config.api_key}", "Content-Type": "audio/wav"}
        self._set_up(
            config,
            headers,
            client=client,
            transport=transport,
            timeout=timeout,
            first_answer_seconds=first_answer_seconds,
            idle_seconds=idle_seconds,
        )
        if config.keepalive_seconds <= 0:
            raise ConfigurationError("DeepgramConfig: keepalive_seconds is more than 0")
        self._limits = Limits(
            config.keepalive_seconds, first_answer_seconds, idle_seconds, reconnects
        )
        self._media_hosts = media_hosts

    @property
    def name(self) -> str:
        """``DeepgramSTT``."""
        return "DeepgramSTT"

    @property
    def supports_streaming(self) -> bool:
        """Always."""
        return True

    async def transcribe(self, audio: AudioContent | AudioChunk | AudioFrame) -> str:
        """Return what is said in a recording; an empty text for silence or no audio.

        Args:
            audio: PCM, mu-law, A-law or a format that describes itself (``wav``, ``mp3``,
                ``ogg``, ...), or content whose URL is ``http(s)`` or ``data:``.

        Raises:
            InvalidInputError: The audio cannot be what it says; a ``data:`` URL is broken.
            UnsafeURLError: The URL leads where it must not.
            MediaFetchError: The URL could not be fetched.
            ProviderError: Deepgram refused or cannot be reached; ``retryable`` says whether
                another try may help.
            MissingDependencyError: httpx is not installed.
        """
        data, kind, extra = await self._recording(audio)
        if not data:
            return ""
        body = await self._ask(
            "POST",
            "listen",
            params={**self._build_query_params(), **extra},
            content=data,
            headers={"Content-Type": kind},
        )
        answer = json_or_none(body)
        if answer is None:
            raise ProviderError(
                "Deepgram's answer cannot be read; check the base_url", provider="deepgram"
            )
        return _transcript(answer)

    async def transcribe_stream(
        self, audio_stream: AsyncIterator[AudioChunk]
    ) -> AsyncIterator[TranscriptionResult]:
        """Yield what is said while it is said.

        Every result carries its utterance so far. ``is_final`` marks the utterance's end:
        silence (``endpointing``), ``utterance_end_ms`` without a word, or the stream's end.
        Silence yields nothing.

        Args:
            audio_stream: Chunks of one rate, number of channels and format. It ends with a
                chunk with ``is_final``, or just so.

        Raises:
            ProviderError: From the iterator: Deepgram refused, or was lost for good.
            InvalidInputError: From the iterator: the chunks are not alike.
            MissingDependencyError: From the iterator: websockets is not installed.
        """
        pieces = Pieces(audio_stream)
        try:
            first = await pieces.next()
            while not isinstance(first, Turn) and not first.data and not first.is_final:
                first = await pieces.next()
            if isinstance(first, Turn) or not first.data:
                return
            path = f"listen?{urlencode(self._live_params(first), doseq=True)}"

            async def connect() -> CloudSocket:
                return await self._connect(path, pings=True)

            live = LiveStream(connect, pieces, first, self._limits)
            async with aclosing(live.results()) as results:  # type: ignore[type-var]
                async for result in results:
                    yield result
        finally:
            await pieces.close()

    def _build_query_params(self) -> dict[str, Any]:
        """Return the parameters that recordings and live streams have in common."""
        config: DeepgramConfig = self._config
        params: dict[str, Any] = {
            "model": config.model,
            "language": config.language,
            "punctuate": config.punctuate,
            "diarize": config.diarize,
            "smart_format": config.smart_format,
            "filler_words": config.filler_words,
            **(config.extra_params or {}),
        }
        return {name: _word(value) for name, value in params.items() if value is not None}

    def _live_params(self, first: AudioChunk) -> dict[str, Any]:
        config: DeepgramConfig = self._config
        params = {
            "interim_results": config.interim_results,
            "endpointing": config.endpointing,
            "vad_events": config.vad_events,
            "utterance_end_ms": config.utterance_end_ms,
            **_encoding(first.format, first.sample_rate, first.channels),
        }
        given = {name: _word(value) for name, value in params.items() if value is not None}
        return {**given, **self._build_query_params()}

    async def _recording(self, audio: Any) -> tuple[bytes, str, dict[str, Any]]:
        """Return bytes, content type and parameters of a recording."""
        url = getattr(audio, "url", None)
        if isinstance(url, str):
            return await self._fetched(url)
        if getattr(audio, "sample_width", 2) != 2:
            raise InvalidInputError("audio.sample_width: Deepgram takes 16-bit samples")
        form = getattr(audio, "format", "raw")
        if encoding_of(form) is None:
            return audio.data, f"audio/{form}", {}
        return audio.data, "audio/raw", _encoding(form, audio.sample_rate, audio.channels)

    async def _fetched(self, url: str) -> tuple[bytes, str, dict[str, Any]]:
        if url[:5].lower() != "data:":
            media = await fetch_media(url, allow_hosts=self._media_hosts)
            kind = "audio/wav" if media.mime_type == _UNKNOWN_TYPE else media.mime_type
            return media.data, kind, {}
        found = read_data_url(url)
        if found.mime_type not in _PCM_TYPES:
            return found.data, found.mime_type or "audio/wav", {}
        rate = found.parameters.get("rate", "")
        if not rate.isdecimal():
            raise InvalidInputError(
                "audio.url: PCM without a rate; give an AudioChunk with its sample_rate, or WAV"
            )
        return found.data, "audio/raw", _encoding("raw", int(rate), 1)

    def _words(self, body: Any, headers: Mapping[str, str]) -> tuple[str | None, str | None]:
        found = body if isinstance(body, dict) else {}
        code, message = found.get("err_code"), found.get("err_msg") or headers.get("dg-error")
        return (
            code if isinstance(code, str) else None,
            message if isinstance(message, str) else None,
        )


def _encoding(form: str, rate: int, channels: int) -> dict[str, Any]:
    """Return the parameters that describe raw audio; none when it describes itself.

    Raises:
        InvalidInputError: The rate or the number of channels is none.
    """
    encoding = encoding_of(form)
    if encoding is None:
        return {}
    if rate <= 0 or channels <= 0:
        raise InvalidInputError("audio: sample_rate and channels are more than 0")
    return {"encoding": encoding, "sample_rate": rate, "channels": channels}


def _word(value: Any) -> Any:
    """Return a parameter's value as the vendor writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return [_word(each) for each in value]
    return value


def _transcript(answer: Any) -> str:
    """Return the text in the answer to a recording; empty, with a warning, without one."""
    try:
        text = answer["results"]["channels"][0]["alternatives"][0]["transcript"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        logger.warning("Deepgram's answer has no transcript")
        return ""
    return text.strip()
