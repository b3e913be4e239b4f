"""The audio of a playback on its way out: checked, counted, through the outbound stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.channels._voice_faults import Fault
from roomkit.exceptions import InvalidReturnError
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import AudioChunk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from roomkit.channels._voice_faults import Faults
    from roomkit.channels._voice_speech import Meter
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.pipeline.engine import AudioPipeline

_SAMPLE = 2


async def metered(
    chunks: AsyncIterator[AudioChunk],
    meter: Meter,
    pipeline: AudioPipeline | None,
    session: VoiceSession,
    faults: Faults,
) -> AsyncGenerator[AudioChunk, None]:
    """Yield what can be played, as the pipeline leaves it, and count it.

    Compressed audio is left out. A chunk may carry another rate than the one before it.

    Raises:
        InvalidReturnError: Something that is no audio came.
    """
    if pipeline is not None and not pipeline.changes_outbound:
        pipeline = None
    try:
        async for chunk in chunks:
            _check(chunk)
            if chunk.format != "pcm_s16le":
                if chunk.data:
                    kind = str(chunk.format)[:20]
                    faults.note(Fault.TTS_FORMAT, f"audio of format {kind} is not played")
                continue
            out = chunk if pipeline is None else _through(pipeline, session, chunk)
            meter.add(1000.0 * len(out.data) / (out.sample_rate * out.channels * _SAMPLE))
            yield out
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


def _check(chunk: AudioChunk) -> None:
    """Refuse what is no audio.

    Raises:
        InvalidReturnError: It is none.
    """
    fits = isinstance(chunk, AudioChunk) and isinstance(chunk.data, (bytes, bytearray))
    if not fits or chunk.sample_rate <= 0 or chunk.channels <= 0:
        raise InvalidReturnError("a synthesiser must give AudioChunks of bytes with a rate")


def _through(pipeline: AudioPipeline, session: VoiceSession, chunk: AudioChunk) -> AudioChunk:
    """Return a chunk as the outbound stages leave it."""
    frame = AudioFrame(chunk.data, chunk.sample_rate, chunk.channels, _SAMPLE)
    out = pipeline.process_outbound(session, frame)
    if out is frame:
        return chunk
    return AudioChunk(
        out.data,
        out.sample_rate,
        out.channels,
        timestamp_ms=chunk.timestamp_ms,
        is_final=chunk.is_final,
    )
