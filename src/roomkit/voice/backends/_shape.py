"""Whatever is to be played, brought into one shape: mono PCM at one rate."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from roomkit._logging import ids
from roomkit.voice.audio.pcm import MAX_RATE, MIN_RATE, SampleCarry
from roomkit.voice.audio.resample import SincResamplerProvider
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import AudioChunk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

logger = logging.getLogger("roomkit.voice.backends")

MAX_CHANNELS = 8
_SLICE_MS = 100


class Shaper:
    """Makes mono PCM of one rate of the chunks of one stream."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._channels = 1
        self._carry = SampleCarry()
        self._resampler: SincResamplerProvider | None = None

    def pieces(self, chunk: AudioChunk) -> list[bytes]:
        """Return the samples of a chunk, cut so that none takes long to resample.

        Half a sample at its end waits for the next chunk.
        """
        width = 2 * chunk.channels
        if chunk.channels != self._channels:
            self._channels, self._carry = chunk.channels, SampleCarry(width)
        data = self._carry.push(chunk.data)
        step = width * (chunk.sample_rate * _SLICE_MS // 1000)
        return [data[at : at + step] for at in range(0, len(data), step)]

    def convert(self, piece: bytes, chunk: AudioChunk) -> bytes:
        """Return a piece of a chunk at our rate."""
        if self._resampler is None:
            if chunk.sample_rate == self._rate and chunk.channels == 1:
                return piece
            self._resampler = SincResamplerProvider()
        frame = AudioFrame(piece, chunk.sample_rate, chunk.channels, 2)
        return self._resampler.resample(frame, self._rate, 1, 2).data

    def finish(self) -> bytes:
        """Return the end of the sound that the resampler holds back."""
        return self._resampler.flush() if self._resampler is not None else b""


def playable(chunk: AudioChunk) -> bool:
    """Whether a chunk is uncompressed audio of a rate and width that can be played."""
    return (
        chunk.format == "pcm_s16le"
        and isinstance(chunk.sample_rate, int)
        and isinstance(chunk.channels, int)
        and MIN_RATE <= chunk.sample_rate <= MAX_RATE
        and 1 <= chunk.channels <= MAX_CHANNELS
    )


async def shaped(
    audio: bytes | AsyncIterator[AudioChunk], rate: int, session_id: str, *, joined: bool = False
) -> AsyncGenerator[bytes]:
    """Yield PCM, mono, at ``rate``.

    Chunks of another rate or width are resampled; half a sample waits for the next chunk, at
    the end it is dropped. A chunk that cannot be played (compressed, an impossible rate) is
    dropped, with one error in the log for the whole stream. The iterator is closed, however
    this ends.

    Args:
        audio: PCM of that rate already, or chunks that carry theirs.
        rate: Hertz.
        session_id: Whose, for the log.
        joined: One piece for a chunk; else pieces of 100 ms at most.
    """
    shaper = Shaper(rate)
    chunks = _whole(audio, rate) if isinstance(audio, bytes | bytearray | memoryview) else audio
    refused = False
    try:
        async for chunk in chunks:
            if not playable(chunk):
                refused = refused or _refuse(chunk, session_id)
                continue
            whole = bytearray()
            for piece in shaper.pieces(chunk):
                whole += shaper.convert(piece, chunk)
                if whole and not joined:
                    yield bytes(whole)
                    whole.clear()
                await asyncio.sleep(0)  # a long chunk must not hold up other calls
            if whole:
                yield bytes(whole)
        if data := shaper.finish():
            yield data
    finally:
        await close_iterator(chunks)


async def _whole(audio: bytes, rate: int) -> AsyncIterator[AudioChunk]:
    yield AudioChunk(bytes(audio), rate)


def _refuse(chunk: AudioChunk, session_id: str) -> bool:
    if not chunk.data:
        return False  # such as the empty one that ends a stream of any format
    logger.error(
        "audio of format %s, %s Hz, %s channels cannot be played and is dropped",
        chunk.format,
        chunk.sample_rate,
        chunk.channels,
        extra=ids(session_id=session_id),
    )
    return True


async def close_iterator(iterator: Any) -> None:
    """Close an iterator that can be closed, as a generator can."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
