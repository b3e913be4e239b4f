"""A synthesiser whose audio is made of the words."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from roomkit.models.content import AudioContent
from roomkit.voice.base import AudioChunk
from roomkit.voice.tts.base import TTSProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class MockTTSProvider(TTSProvider):
    """Speaks at once, and says what it was asked to say.

    Args:
        voice: The default voice.

    Attributes:
        calls: One ``{"text", "voice"}`` a call; of a stream, once it is iterated.
    """

    def __init__(self, voice: str = "mock-voice") -> None:
        self._voice = voice
        self.calls: list[dict[str, str]] = []

    @property
    def default_voice(self) -> str:
        """The voice it was made with."""
        return self._voice

    async def synthesize(self, text: str, *, voice: str | None = None) -> AudioContent:
        """Return content with an invented URL; 50 ms a character."""
        self.calls.append({"text": text, "voice": voice or self._voice})
        return AudioContent(
            url=f"https://mock.test/audio/{uuid4().hex}.mp3",
            mime_type="audio/mpeg",
            transcript=text,
            duration_seconds=len(text) * 0.05,
        )

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield one chunk a word, ``b"mock-audio-<word>"``; none for a blank text."""
        self.calls.append({"text": text, "voice": voice or self._voice})
        words = text.split()
        for number, word in enumerate(words, start=1):
            yield AudioChunk(
                data=f"mock-audio-{word}".encode(),
                sample_rate=16000,
                is_final=number == len(words),
            )
