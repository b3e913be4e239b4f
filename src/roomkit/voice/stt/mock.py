"""A recogniser that hears what a test tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.voice.base import TranscriptionResult
from roomkit.voice.stt.base import STTProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.content import AudioContent
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import AudioChunk

_DEFAULT = ("Hello", "How can I help you?")


class MockSTTProvider(STTProvider):
    """Hears the given texts, one a call, over and over.

    Args:
        transcripts: What to hear; None or an empty list means two everyday sentences.

    Attributes:
        transcripts: The texts.
        calls: What it was given: recordings, and each chunk of streams.
    """

    def __init__(self, transcripts: list[str] | None = None) -> None:
        self.transcripts: list[str] = transcripts or list(_DEFAULT)
        self.calls: list[AudioContent | AudioChunk | AudioFrame] = []
        self._next = 0

    async def transcribe(self, audio: AudioContent | AudioChunk | AudioFrame) -> str:
        """Return the next text."""
        self.calls.append(audio)
        return self._turn()

    async def transcribe_stream(
        self, audio_stream: AsyncIterator[AudioChunk]
    ) -> AsyncIterator[TranscriptionResult]:
        """Take the whole stream, then yield the next text as one final result."""
        async for chunk in audio_stream:
            self.calls.append(chunk)
        yield TranscriptionResult(text=self._turn(), is_final=True)

    def _turn(self) -> str:
        text = self.transcripts[self._next % len(self.transcripts)]
        self._next += 1
        return text
