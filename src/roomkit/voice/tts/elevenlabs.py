"""Speech synthesis by ElevenLabs: whole, in pieces, and while the text is still being written.

Protocol: the vendor's public API reference, "Text to Speech" (``convert``, ``stream`` and the
WebSocket ``stream-input``) and "Voices". Needs the extra ``httpx``; text that is still being
written needs ``websocket``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from roomkit.exceptions import ConfigurationError, InvalidInputError, ProviderError
from roomkit.models.content import AudioContent
from roomkit.voice._cloud import CloudSpeech
from roomkit.voice._cloud_socket import Exchange, Pieces, Turn, clean, json_object, json_or_none
from roomkit.voice._sentences import sentences
from roomkit.voice.tts._elevenlabs_audio import Audio, mime_of
from roomkit.voice.tts._elevenlabs_text import WholeWords, pronounced, silent
from roomkit.voice.tts.base import TTSProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx

    from roomkit.voice._cloud_socket import CloudSocket
    from roomkit.voice.base import AudioChunk

logger: logging.Logger = logging.getLogger("roomkit.voice.tts.elevenlabs")

_PIECE = 4096
_SPEECH = "text-to-speech/"
_WORDS_A_MINUTE = 150
_VOICE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Told by the server to a conversation it ends; another try may go well.
_PASSING = frozenset({"input_timeout_exceeded", "system_busy", "too_many_concurrent_requests"})


@dataclass
class ElevenLabsConfig:
    """An account at ElevenLabs and how to speak.

    Attributes:
        api_key: A key that may use text to speech.
        voice_id: The voice that speaks unless another is asked for.
        model_id: The model. Those of ``eleven_v3`` on cannot speak text that is still being
            written; it is then spoken sentence by sentence.
        stability: 0 (lively) to 1 (even).
        similarity_boost: 0 to 1, how close to the original voice.
        style: 0 to 1, how much of the original's style to exaggerate.
        use_speaker_boost: Whether to come still closer, which takes longer.
        output_format: Codec, hertz and kilobits: ``pcm_24000`` for live voice, ``mp3_44100_128``
            for files, ``ulaw_8000`` for telephones.
        optimize_streaming_latency: 0 to 4; the vendor wants it no more but takes it.
        base_url: Where the API lies, with its version.
        language_code: Such as ``fr``, with models that can be told.
        speed: 0.7 to 1.2.
        api_base: Scheme, host and port of another server, such as a simulator; the path stays.
    """

    api_key: str = field(repr=False)
    voice_id: str = "21m00Tcm4TlvDq8ikWAM"
    model_id: str = "eleven_multilingual_v2"
    stability: float = 0.5
    similarity_boost: float = 0.75
    style: float = 0.0
    use_speaker_boost: bool = True
    output_format: str = "mp3_44100_128"
    optimize_streaming_latency: int = 3
    base_url: str = "https://api.elevenlabs.io/v1"
    language_code: str | None = None
    speed: float | None = None
    api_base: str | None = field(default=None, kw_only=True)


@dataclass
class ElevenLabsVoice:
    """A voice of the account.

    Attributes:
        voice_id: What to ask for it by.
        name: What people call it.
        category: ``premade``, ``cloned``, ``generated`` or ``professional``.
        labels: The vendor's description: accent, age, use.
    """

    voice_id: str
    name: str
    category: str = "premade"
    labels: dict[str, str] = field(default_factory=dict)


class ElevenLabsTTSProvider(CloudSpeech, TTSProvider):
    """Speaks with ElevenLabs.

    Audio that was lost on its way is not asked for again: it would be heard twice. An answer
    without any audio to a text with letters or digits is an error.

    Args:
        config: The account.
        client: An HTTP client to use instead of one of our own.
        transport: What carries our own client's requests, for tests.
        timeout: Seconds for a whole recording.
        first_answer_seconds: For the handshake, and for the first audio of a stream.
        idle_seconds: Between two pieces of audio.
        flush_seconds: When text pauses for so long, what was written so far is spoken.
        keepalive_seconds: Seconds without text after which the connection is kept alive; the
            vendor closes it after 20.

    Raises:
        ConfigurationError: The key cannot be sent, or a time limit is not positive.
    """

    vendor: ClassVar[str] = "ElevenLabs"
    cures: ClassVar[dict[str, str]] = {
        "quota_exceeded": "the account has no characters left",
        "max_character_limit_exceeded": "give the text in parts",
        "model_can_not_do_text_to_speech": "choose another model_id",
    }

    def __init__(
        self,
        config: ElevenLabsConfig,
        *,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 60.0,
        first_answer_seconds: float = 10.0,
        idle_seconds: float = 10.0,
        flush_seconds: float = 0.5,
        keepalive_seconds: float = 10.0,
    ) -> None:
        headers = {"xi-api-key": config.api_key, "Content-Type": "application/json"}
        self._set_up(
            config,
            headers,
            client=client,
            transport=transport,
            timeout=timeout,
            first_answer_seconds=first_answer_seconds,
            idle_seconds=idle_seconds,
        )
        if min(flush_seconds, keepalive_seconds) <= 0:
            raise ConfigurationError("ElevenLabsTTSProvider: every time limit is more than 0")
        self._flush = flush_seconds
        self._keepalive = keepalive_seconds
        self._voices: list[ElevenLabsVoice] | None = None
        self._warned = False

    @property
    def name(self) -> str:
        """``ElevenLabsTTS``."""
        return "ElevenLabsTTS"

    @property
    def default_voice(self) -> str:
        """The voice of the config."""
        voice: str = self._config.voice_id
        return voice

    @property
    def supports_streaming_input(self) -> bool:
        """Whether the model speaks text that is still being written."""
        return re.match(r"eleven_v[3-9]", self._config.model_id) is None

    async def list_voices(self) -> list[ElevenLabsVoice]:
        """Return the account's voices; asked once and then kept.

        Raises:
            ProviderError: ElevenLabs refused or cannot be reached.
            MissingDependencyError: httpx is not installed.
        """
        if self._voices is None:
            body = await self._ask("GET", "voices")
            answer = json_or_none(body)
            found = answer.get("voices") if isinstance(answer, dict) else None
            if not isinstance(found, list):
                raise ProviderError(
                    "ElevenLabs' answer has no voices; check the base_url", provider="elevenlabs"
                )
            self._voices = [voice for voice in map(_voice, found) if voice is not None]
        return list(self._voices)

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Return a text as a recording in a ``data:`` URL.

        Its duration is estimated from the number of words.

        Raises:
            InvalidInputError: The text is blank, or the voice is no id.
            ProviderError: ElevenLabs refused or cannot be reached.
            MissingDependencyError: httpx is not installed.
        """
        if not text.strip():
            raise InvalidInputError("text: there is nothing to say")
        audio = await self._ask(
            "POST",
            self._path(voice),
            params={"output_format": self._config.output_format},
            json=self._body(text),
        )
        if not audio:
            raise silent()
        mime = mime_of(self._config.output_format)
        return AudioContent(
            url=f"data:{mime};base64,{base64.b64encode(audio).decode('ascii')}",
            mime_type=mime,
            transcript=text,
            duration_seconds=len(text.split()) / _WORDS_A_MINUTE * 60,
        )

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield a text as audio in pieces of 4096 bytes, then an empty chunk with ``is_final``.

        Closing the iterator ends the request. A blank text gives only the last chunk.

        Raises:
            InvalidInputError: From the iterator: the voice is no id.
            ProviderError: From the iterator: ElevenLabs refused, broke off, or fell silent.
            MissingDependencyError: From the iterator: httpx is not installed.
        """
        self._warn()
        audio = Audio(self._config.output_format)
        if text.strip():
            async with aclosing(self._streamed(text, voice)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    data = audio.whole(piece)
                    if data:
                        yield audio.chunk(data)
        yield audio.chunk(b"", is_final=True)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, **options: Any
    ) -> AsyncIterator[httpx.Response]:
        """Give a good answer, and one to a text only when it is no page or JSON."""
        async with super()._answer(method, path, **options) as answer:
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if path.startswith(_SPEECH) and kind.startswith(("text/", "application/json")):
                raise ProviderError(
                    "ElevenLabs' answer is no audio; check the base_url", provider="elevenlabs"
                )
            yield answer

    async def _streamed(self, text: str, voice: str | None) -> AsyncIterator[bytes]:
        params = {
            "output_format": self._config.output_format,
            "optimize_streaming_latency": self._config.optimize_streaming_latency,
        }
        answering = self._answer(
            "POST",
            f"{self._path(voice)}/stream",
            within=self._first,
            params=params,
            json=self._body(text),
        )
        async with answering as answer:
            pieces, limit, heard = answer.aiter_bytes(_PIECE), self._first, False
            while True:
                # The limit is for what the vendor does, not for who listens.
                try:
                    async with asyncio.timeout(limit):
                        piece = await anext(pieces, None)
                except TimeoutError as exc:
                    raise self._late(limit) from exc
                if piece is None and not heard and pronounced(text):
                    raise silent()
                if piece is None:
                    return
                limit, heard = self._idle, True
                yield piece

    async def synthesize_stream_input(
        self, text_stream: AsyncIterator[str], *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield audio for a text that is still being written; the last chunk ``is_final``.

        Args:
            text_stream: Pieces of text, cut anywhere. When they pause, what was written so far
                is spoken.
            voice: Who says it.

        Raises:
            InvalidInputError: From the iterator: the voice is no id.
            ProviderError: From the iterator: ElevenLabs refused, broke off, or fell silent.
            MissingDependencyError: From the iterator: websockets is not installed.
            Exception: From the iterator: what ``text_stream`` raised.
        """
        self._warn()
        audio = Audio(self._config.output_format)
        speak = self._spoken if self.supports_streaming_input else self._by_sentence
        async with aclosing(speak(text_stream, voice, audio)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk
                if chunk.is_final:
                    return
        yield audio.chunk(b"", is_final=True)

    async def _by_sentence(
        self, text_stream: AsyncIterator[str], voice: str | None, audio: Audio
    ) -> AsyncIterator[AudioChunk]:
        """Speak sentence by sentence; only the caller knows which chunk is the last."""
        async for sentence in sentences(text_stream):
            async with aclosing(self._streamed(sentence, voice)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    data = audio.whole(piece)
                    if data:
                        yield audio.chunk(data)

    async def _spoken(
        self, text_stream: AsyncIterator[str], voice: str | None, audio: Audio
    ) -> AsyncIterator[AudioChunk]:
        path = f"{self._path(voice)}/stream-input?{urlencode(self._live_params())}"
        pieces = Pieces(text_stream)
        exchange: Exchange | None = None
        spoke = False
        try:
            first = await _first_text(pieces)
            if first is None:
                return
            # No pings: their answers would wait behind audio that is played in its own time.
            socket = await self._connect(path, pings=False)
            exchange = Exchange(socket, first_answer=self._first, idle=self._idle)
            exchange.start(self._write(socket, pieces, first))
            while (frame := await exchange.next()) is not None:
                chunk = self._heard(json_object(frame, self.vendor), audio)
                if chunk is not None:
                    exchange.progress()
                    spoke = spoke or bool(chunk.data)
                    if chunk.is_final and not spoke:
                        break
                    yield chunk
            if not exchange.written:
                raise socket.lost("closed the connection too early")
            if not spoke and pronounced(first):
                raise silent()
        finally:
            if exchange is not None:
                await exchange.close()
            await pieces.close()

    async def _write(self, socket: CloudSocket, pieces: Pieces[str], first: str) -> None:
        """Say what comes, word by word, and that it was all."""
        await socket.send_json({"text": " ", "voice_settings": self._settings()})
        words, unspoken = WholeWords(), False
        piece: str | Turn = first
        while piece is not Turn.END:
            text = words.pause() if isinstance(piece, Turn) else words.add(piece)
            if piece is Turn.LATE and (text or unspoken):
                await socket.send_json({"text": text or " ", "flush": True})
                unspoken = False
            elif piece is Turn.LATE:
                await socket.send_json({"text": " "})
            elif text.strip():
                await socket.send_json({"text": text})
                unspoken = True
            waiting = self._flush if unspoken or piece is not Turn.LATE else self._keepalive
            piece = await pieces.next(waiting)
        rest = words.rest()
        if rest.strip():
            await socket.send_json({"text": rest})
        await socket.send_json({"text": ""})

    def _heard(self, data: dict[str, Any], audio: Audio) -> AudioChunk | None:
        """Return the audio in a message; None without any.

        Raises:
            ProviderError: The message is an error, or its audio is none.
        """
        if data.get("error"):
            raise _error(data, self._config.api_key)
        encoded, final = data.get("audio"), data.get("isFinal") is True
        if not encoded:
            return audio.chunk(b"", is_final=True) if final else None
        try:
            piece = audio.whole(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError, TypeError):
            raise ProviderError(
                "ElevenLabs sent audio that is no base64", provider="elevenlabs"
            ) from None
        return audio.chunk(piece, is_final=final) if piece or final else None

    def _path(self, voice: str | None) -> str:
        """Return where a voice speaks.

        Raises:
            InvalidInputError: The voice is no id; it would lead to another path.
        """
        voice = voice or self._config.voice_id
        if _VOICE_ID.fullmatch(voice) is None:
            raise InvalidInputError("voice: no ElevenLabs voice id; list_voices() gives them")
        return f"{_SPEECH}{voice}"

    def _settings(self) -> dict[str, Any]:
        config: ElevenLabsConfig = self._config
        settings: dict[str, Any] = {
            "stability": config.stability,
            "similarity_boost": config.similarity_boost,
            "style": config.style,
            "use_speaker_boost": config.use_speaker_boost,
        }
        return settings if config.speed is None else {**settings, "speed": config.speed}

    def _body(self, text: str) -> dict[str, Any]:
        config: ElevenLabsConfig = self._config
        body = {
            # Half a surrogate pair can be in no request.
            "text": text.encode("utf-8", "replace").decode("utf-8"),
            "model_id": config.model_id,
            "voice_settings": self._settings(),
        }
        language = config.language_code
        return body if language is None else {**body, "language_code": language}

    def _live_params(self) -> dict[str, Any]:
        config: ElevenLabsConfig = self._config
        params = {
            "model_id": config.model_id,
            "output_format": config.output_format,
            "optimize_streaming_latency": config.optimize_streaming_latency,
            "language_code": config.language_code,
        }
        return {name: value for name, value in params.items() if value is not None}

    def _warn(self) -> None:
        """Say once that live voice cannot play what the config asks for."""
        if self._warned or self._config.output_format.startswith("pcm_"):
            return
        self._warned = True
        logger.warning(
            "ElevenLabs streams %s, which live voice cannot play; "
            'set output_format="pcm_24000" unless you decode it yourself',
            self._config.output_format,
        )

    def _words(self, body: Any, headers: Mapping[str, str]) -> tuple[str | None, str | None]:
        detail = body.get("detail") if isinstance(body, dict) else None
        if isinstance(detail, list):
            return "validation_error", None
        if not isinstance(detail, dict):
            return None, None
        # The vendor's explanations may quote the text; its codes do not.
        code = detail.get("status") or detail.get("code")
        return (clean(code) if isinstance(code, str) else None), None


async def _first_text(pieces: Pieces[str]) -> str | None:
    """Return the text up to the first piece that is not blank; None when nothing is said."""
    text = ""
    while not text.strip():
        piece = await pieces.next()
        if isinstance(piece, Turn):
            return None
        text = text[-1:] + piece
    return text


def _voice(data: Any) -> ElevenLabsVoice | None:
    """Return a voice of the vendor's list; None for something without an id."""
    if not isinstance(data, dict) or not isinstance(data.get("voice_id"), str):
        return None
    labels = data.get("labels")
    return ElevenLabsVoice(
        voice_id=data["voice_id"],
        name=str(data.get("name") or ""),
        category=str(data.get("category") or "premade"),
        labels={str(k): str(v) for k, v in labels.items()} if isinstance(labels, dict) else {},
    )


def _error(data: dict[str, Any], secret: str) -> ProviderError:
    """Return what an error in a conversation means; its text may quote what was to be said."""
    code = clean(str(data["error"]), (secret,))
    return ProviderError(
        f"ElevenLabs reports an error ({code})",
        retryable=code in _PASSING,
        provider="elevenlabs",
        error_type=code,
    )
