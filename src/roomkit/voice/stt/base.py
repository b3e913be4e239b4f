"""What every speech recogniser is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from roomkit.voice.base import AudioChunk, TranscriptionResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.content import AudioContent
    from roomkit.voice.audio_frame import AudioFrame


class STTProvider(ABC):
    """Turns speech into text. Several calls may run at once."""

    @property
    def name(self) -> str:
        """What to call it in logs; the class name by default."""
        return type(self).__name__

    @property
    def supports_streaming(self) -> bool:
        """Whether ``transcribe_stream`` gives words while somebody still speaks."""
        return False

    @abstractmethod
    async def transcribe(
        self, audio: AudioContent | AudioChunk | AudioFrame
    ) -> str | TranscriptionResult:
        """Return what is said in a recording; an empty text for silence.

        Args:
            audio: The recording: PCM, or content with a URL where the recogniser can fetch it.

        Raises:
            ProviderError: The recogniser failed.
        """

    async def transcribe_stream(
        self, audio_stream: AsyncIterator[AudioChunk]
    ) -> AsyncIterator[TranscriptionResult]:
        """Yield what is said while it is said; the last result is final.

        The default waits for the end and asks ``transcribe`` once.

        Args:
            audio_stream: Chunks of one rate; a chunk with ``is_final`` is the last.

        Raises:
            ProviderError: From the iterator.
        """
        parts: list[bytes] = []
        first: AudioChunk | None = None
        async for chunk in audio_stream:
            first = first or chunk
            parts.append(chunk.data)
            if chunk.is_final:
                break
        rate = first.sample_rate if first is not None else 16000
        channels = first.channels if first is not None else 1
        whole = AudioChunk(data=b"".join(parts), sample_rate=rate, channels=channels)
        result = await self.transcribe(whole)
        text = result.text if isinstance(result, TranscriptionResult) else result
        yield TranscriptionResult(text=text, is_final=True)

    async def warmup(self) -> None:
        """Load what the first call would have to load; the default loads nothing."""

    async def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""
