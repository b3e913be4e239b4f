"""Which audio format holds where: on the wire, and inside the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame


@dataclass(frozen=True)
class AudioFormat:
    """How audio is written down.

    Attributes:
        sample_rate: Hertz.
        channels: Interleaved channels.
        sample_width: Bytes a sample.
        codec: ``pcm_s16le`` unless a transport carries something else.
    """

    sample_rate: int = 16000
    channels: int = 1
    sample_width: int = 2
    codec: str = "pcm_s16le"

    @classmethod
    def of(cls, frame: AudioFrame) -> AudioFormat:
        """Return the format of a frame."""
        return cls(frame.sample_rate, frame.channels, frame.sample_width)


@dataclass(frozen=True)
class AudioPipelineContract:
    """What comes in, what goes out and what the stages between see.

    Attributes:
        transport_inbound_format: What the backend hands over (each frame carries its own).
        transport_outbound_format: What the backend wants to be given.
        internal_format: What the stages work on.
    """

    transport_inbound_format: AudioFormat
    transport_outbound_format: AudioFormat
    internal_format: AudioFormat = field(default_factory=AudioFormat)
