"""PCM of one sample rate in, PCM of another out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.voice.audio_frame import AudioFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.voice.pipeline.engine import AudioPipeline
    from roomkit.voice.realtime.base import RealtimeSession


def converter(source: int, target: int) -> Callable[[bytes], bytes]:
    """Return what converts one stream of 16-bit mono PCM, piece by piece.

    Pieces may end in the middle of a sample; one may give nothing yet.

    Args:
        source: Hertz of what comes.
        target: Hertz of what is wanted.
    """
    from roomkit.voice.audio.resample import SincResamplerProvider

    resampler = SincResamplerProvider()

    def convert(audio: bytes) -> bytes:
        return resampler.resample(AudioFrame(data=audio, sample_rate=source), target).data

    return convert


def cleaned(
    pipeline: AudioPipeline, session: RealtimeSession, source: int, target: int
) -> Callable[[bytes], bytes]:
    """Return what runs one stream through the stages of a pipeline and converts its rate.

    Args:
        pipeline: The stages; those made for the session belong to it.
        session: Whose stream; a pipeline asks no more of it than its id and its state.
        source: Hertz of what comes.
        target: Hertz of what is wanted.
    """
    from roomkit.voice.audio.pcm import SampleCarry
    from roomkit.voice.audio.resample import SincResamplerProvider

    resampler, carry = SincResamplerProvider(), SampleCarry()
    whose: Any = session

    def clean(audio: bytes) -> bytes:
        whole = carry.push(audio)
        if not whole:
            return b""
        frame = pipeline.process_frame(whose, AudioFrame(data=whole, sample_rate=source))
        return resampler.resample(frame, target).data

    return clean
