"""A piece of audio that came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class AudioFrame:
    """Inbound audio, uncompressed.

    Attributes:
        data: Signed 16-bit little-endian PCM unless ``sample_width`` says otherwise.
        sample_rate: Hertz.
        channels: Interleaved channels.
        sample_width: Bytes a sample.
        timestamp_ms: When it begins, in milliseconds since the session's first frame.
        metadata: What stages of the pipeline found out about it.
    """

    data: bytes = field(repr=False)
    sample_rate: int = 16000
    channels: int = 1
    sample_width: int = 2
    timestamp_ms: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def duration_ms(self) -> float:
        """How long it lasts, in milliseconds."""
        size = self.sample_rate * self.channels * self.sample_width
        return 1000.0 * len(self.data) / size if size else 0.0
