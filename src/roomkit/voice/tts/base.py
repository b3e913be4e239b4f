"""What every speech synthesiser is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from roomkit.voice._sentences import sentences

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from roomkit.models.content import AudioContent
    from roomkit.voice.base import AudioChunk


class TTSProvider(ABC):
    """Turns text into speech. Several calls may run at once."""

    @property
    def name(self) -> str:
        """What to call it in logs; the class name by default."""
        return type(self).__name__

    @property
    def default_voice(self) -> str | None:
        """The voice that speaks unless another is asked for; None when it has no name."""
        return None

    @property
    def supports_streaming_input(self) -> bool:
        """Whether ``synthesize_stream_input`` speaks while the text is still being written."""
        return False

    @abstractmethod
    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Return a text as a recording.

        Args:
            text: What to say.
            voice: Who says it; None means ``default_voice``.

        Raises:
            ProviderError: The synthesiser failed.
        """

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield a text as audio, piece by piece; closing the iterator stops the synthesis.

        Raises:
            NotImplementedError: The synthesiser cannot stream; ``streams`` tells before.
            ProviderError: From the iterator.
        """
        raise NotImplementedError(f"{self.name} does not stream; use synthesize()")
        yield  # pragma: no cover - makes this an async generator

    async def synthesize_stream_input(
        self, text_stream: AsyncIterator[str], *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield audio for a text that is still being written.

        The default speaks it sentence by sentence, each as soon as it is whole.

        Args:
            text_stream: Pieces of text.
            voice: Who says it.

        Raises:
            ProviderError: From the iterator.
        """
        last: AudioChunk | None = None
        async for sentence in sentences(text_stream):
            async with aclosing(
                _closable(self.synthesize_stream(sentence, voice=voice))
            ) as chunks:
                async for chunk in chunks:
                    last = chunk
                    # The end of a sentence is not the end of the text.
                    if chunk.data:
                        yield replace(chunk, is_final=False) if chunk.is_final else chunk
        if last is not None:
            yield replace(last, data=b"", timestamp_ms=None, is_final=True)

    @property
    def streams(self) -> bool:
        """Whether ``synthesize_stream`` is there to be used."""
        return type(self).synthesize_stream is not TTSProvider.synthesize_stream

    async def warmup(self) -> None:
        """Load what the first call would have to load; the default loads nothing."""

    async def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""


async def _closable(chunks: AsyncIterator[AudioChunk]) -> AsyncGenerator[AudioChunk]:
    """Yield from an iterator that may not know how to be closed."""
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
