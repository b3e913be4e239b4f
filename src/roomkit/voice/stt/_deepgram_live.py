"""One live stream to Deepgram, over as many connections as it takes.

What was said into a connection is kept until the vendor has closed the segment it belongs to.
When the connection is lost the rest is said again into a new one, so that nothing is missing
and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.voice._cloud_socket import Exchange, SocketLost, Turn, clean, json_object
from roomkit.voice.stt._deepgram_results import Utterances, channel_of, read_segment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from roomkit.voice._cloud_socket import CloudSocket, Pieces
    from roomkit.voice.base import AudioChunk, TranscriptionResult

logger = logging.getLogger("roomkit.voice.stt.deepgram")

REPLAY_SECONDS = 30
"""How much audio is kept to be said again; segments are closed after some five seconds."""

_VENDOR = "Deepgram"
_LONGEST_PAUSE = 4.0
_FIRST_PAUSE = 0.25
_ENCODINGS = {
    "pcm_s16le": "linear16",
    "linear16": "linear16",
    "raw": "linear16",
    "ulaw": "mulaw",
    "mulaw": "mulaw",
    "alaw": "alaw",
    "opus": "opus",
}
_WIDTHS = {"linear16": 2, "mulaw": 1, "alaw": 1}


def encoding_of(name: str) -> str | None:
    """Return the vendor's word for a raw format; None for one that describes itself."""
    return _ENCODINGS.get(name.lower())


def frame_size(encoding: str | None, channels: int) -> int | None:
    """Return the bytes of one moment of sound; None when they are not all alike."""
    width = _WIDTHS.get(encoding or "")
    return None if width is None else width * channels


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a stream is.

    Attributes:
        keepalive: Seconds without audio after which the connection is kept alive.
        first_answer: Seconds for the handshake and for the first answer.
        idle: Seconds between two answers while audio flows, or after its end.
        reconnects: New connections in a row that bring nothing.
    """

    keepalive: float
    first_answer: float
    idle: float
    reconnects: int


class AudioTail:
    """The audio the vendor has not finished with.

    Args:
        frame: Bytes of one moment; None when they are not all alike, and nothing can be kept.
        rate: Moments a second.
    """

    def __init__(self, frame: int | None, rate: int) -> None:
        self._frame = frame or 1
        self._rate = rate
        self._keeps = frame is not None
        self._parts: deque[bytes] = deque()
        self._begin = 0
        self._size = 0
        self.whole = True
        """Whether everything unfinished is in here: only then can it be said again."""

    @property
    def start(self) -> float:
        """Where it begins, in seconds of the stream."""
        return self._begin / (self._frame * self._rate)

    @property
    def parts(self) -> tuple[bytes, ...]:
        """The audio."""
        return tuple(self._parts)

    def add(self, data: bytes) -> None:
        """Keep what is about to be said; the oldest goes beyond ``REPLAY_SECONDS``."""
        if not self._keeps:
            self.whole = False
            return
        self._parts.append(data)
        self._size += len(data)
        over = self._size - self._frame * self._rate * REPLAY_SECONDS
        if over > 0:
            self.whole = False
            self._drop(over)

    def finished(self, until: float) -> bool:
        """Forget what lies before a moment, in seconds of the stream; True when it is news."""
        place = int(until * self._rate + 0.5) * self._frame
        if not self._keeps or place <= self._begin:
            return False
        self._drop(place - self._begin)
        self.whole = True
        return True

    def _drop(self, size: int) -> None:
        size = min(size, self._size)
        self._begin += size
        self._size -= size
        while size > 0:
            part = self._parts.popleft()
            if len(part) > size:
                self._parts.appendleft(part[size:])
            size -= len(part)


class LiveStream:
    """Sends chunks, yields what is heard.

    Args:
        connect: Opens a connection.
        pieces: The chunks, without the first.
        first: The first chunk; the others must be of its kind.
        limits: How patient it is.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[CloudSocket]],
        pieces: Pieces[AudioChunk],
        first: AudioChunk,
        limits: Limits,
    ) -> None:
        self._connect = connect
        self._pieces = pieces
        self._first = first
        self._limits = limits
        frame = frame_size(encoding_of(first.format), first.channels)
        self._tail = AudioTail(frame, first.sample_rate)
        self._utterances = Utterances()
        self._exchange: Exchange | None = None
        self._offset = 0.0
        self._attempts = 0
        self._asked: float | None = None
        self._answered = False
        self._done = False
        self._begun = False
        self._keep(first)

    async def results(self) -> AsyncIterator[TranscriptionResult]:
        """Yield what is heard, until the chunks end and the vendor has heard them all.

        Raises:
            ProviderError: The vendor refused, or was lost and did not come back.
            InvalidInputError: A chunk is of another kind than the first.
        """
        try:
            await self._open(None)
            while (data := await self._message()) is not None:
                result = self._read(data)
                if result is not None:
                    yield result
            for result in self._utterances.end_all():
                yield result
        finally:
            await self._close()
            await self._pieces.close()

    async def _open(self, error: ProviderError | None) -> None:
        """Connect; after an error as often as the limits allow.

        Raises:
            ProviderError: The last error, when there is no sense in trying again.
        """
        while True:
            if error is not None:
                await self._close()
                self._attempts += 1
                cannot = self._begun and not self._tail.whole
                if cannot or not error.retryable or self._attempts > self._limits.reconnects:
                    raise error
                logger.warning("the connection to %s is opened again", _VENDOR)
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self._attempts - 1))
                if error.retry_after is not None:
                    pause = min(_LONGEST_PAUSE, max(pause, error.retry_after))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # nosec B311
            try:
                socket = await self._connect()
            except ProviderError as exc:
                error = exc
                continue
            self._begun = True
            self._offset = self._tail.start
            self._asked, self._answered = None, False
            self._exchange = Exchange(
                socket, first_answer=self._limits.first_answer, idle=self._limits.idle
            )
            self._exchange.start(self._write(socket, self._exchange))
            return

    async def _message(self) -> dict[str, Any] | None:
        """Return the vendor's next message; None after its last."""
        while not self._done and self._exchange is not None:
            try:
                frame = await self._exchange.next()
                if frame is None and not self._exchange.written:
                    raise self._exchange.socket.lost("closed the connection too early")
                if frame is None:
                    return None
                data = json_object(frame, _VENDOR)
                if data.get("type") == "Error":
                    raise _error(data)
            except ProviderError as exc:
                if exc is self._pieces.failure:
                    raise
                if self._heard_all and isinstance(exc, SocketLost) and exc.retryable:
                    # Only the goodbye is missing.
                    return None
                await self._open(exc)
                continue
            self._asked, self._answered = None, True
            return data
        return None

    @property
    def _heard_all(self) -> bool:
        return self._pieces.over and self._tail.whole and not self._tail.parts

    def _read(self, data: dict[str, Any]) -> TranscriptionResult | None:
        kind = data.get("type")
        if self._exchange is not None and kind in ("Results", "UtteranceEnd"):
            self._exchange.progress()
        if kind == "Results":
            segment = read_segment(data, self._offset)
            if segment.closed and self._tail.finished(self._offset + segment.until):
                self._attempts = 0
            return self._utterances.add(segment)
        if kind == "UtteranceEnd":
            return self._utterances.end(channel_of(data.get("channel")))
        if kind == "Metadata" and self._exchange is not None and self._exchange.written:
            # The summary, after everything was heard. An early one only describes the model.
            self._done = True
        logger.debug("%s says %s", _VENDOR, str(kind)[:40])
        return None

    async def _write(self, socket: CloudSocket, exchange: Exchange) -> None:
        """Say what is to be said again, then what comes, then that it was all."""
        for data in self._tail.parts if self._tail.whole else (self._first.data,):
            await self._say(socket, exchange, data)
        while not self._pieces.over:
            piece = await self._pieces.next(self._limits.keepalive)
            if piece is Turn.LATE:
                # Nobody owes an answer to silence.
                self._asked = None
                await socket.send_json({"type": "KeepAlive"})
            elif not isinstance(piece, Turn):
                self._keep(piece)
                await self._say(socket, exchange, piece.data)
        await socket.send_json({"type": "CloseStream"})

    def _keep(self, chunk: AudioChunk) -> None:
        """Look at a chunk and keep it until the vendor has finished with it.

        Raises:
            InvalidInputError: It is of another kind than the first.
        """
        first = self._first
        # The last chunk is often only a mark: its rate says nothing.
        if chunk.data and _kind(chunk) != _kind(first):
            raise InvalidInputError(
                "audio_stream: every chunk has the rate, channels and format of the first; "
                "resample before"
            )
        if chunk.is_final:
            self._pieces.over = True
        if chunk.data:
            self._tail.add(chunk.data)

    async def _say(self, socket: CloudSocket, exchange: Exchange, data: bytes) -> None:
        """Send audio, as long as somebody answers now and then.

        Raises:
            SocketLost: Audio has flowed for too long without an answer.
        """
        if not data:
            # An empty frame once meant the end of the audio, and still does.
            return
        now = asyncio.get_running_loop().time()
        if exchange.unread or self._asked is None:
            self._asked = now
        limit = self._limits.idle if self._answered else self._limits.first_answer
        if now - self._asked > limit:
            raise socket.lost("takes audio but does not answer")
        await socket.send(data)

    async def _close(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.close()


def _kind(chunk: AudioChunk) -> tuple[int, int, str]:
    return chunk.sample_rate, chunk.channels, encoding_of(chunk.format) or chunk.format


def _error(data: dict[str, Any]) -> ProviderError:
    """Return what an ``Error`` message means."""
    code = data.get("code") or data.get("err_code") or data.get("variant")
    said = data.get("description") or data.get("message") or data.get("err_msg") or ""
    code = clean(code) if isinstance(code, str) else None
    text = f"{_VENDOR} reports an error" + (f" ({code})" if code else "")
    return ProviderError(
        f"{text}: {clean(said)}" if isinstance(said, str) and said else text,
        retryable=(code or "").startswith("NET-"),
        provider=_VENDOR.lower(),
        error_type=code,
    )
