"""What every speech synthesiser must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit.models.content import AudioContent
from roomkit.testing.conformance._suite import PATIENCE, Suite
from roomkit.voice.base import AudioChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.tts.base import TTSProvider


class TTSConformance(Suite, ABC):
    """Audio for text, whole or in pieces. Implement ``make_tts``."""

    text = "Hello, how can I help you? I am listening."
    """What is said."""

    whole_samples = True
    """Whether PCM chunks hold whole samples; what is no audio at all need not."""

    patience = PATIENCE
    """Seconds one synthesis may take."""

    secrets: tuple[str, ...] = ()
    """Keys the synthesiser was made with."""

    @abstractmethod
    async def make_tts(self) -> TTSProvider:
        """Return a new synthesiser, whose vendor (or stand-in) answers."""

    @pytest_asyncio.fixture
    async def tts(self) -> AsyncIterator[TTSProvider]:
        """A synthesiser of the test's own."""
        tts = await self.make_tts()
        yield tts
        await tts.close()

    def streaming(self, tts: TTSProvider) -> None:
        """Skip a test about streams where there are none."""
        if not tts.streams:
            pytest.skip("the synthesiser does not stream")

    async def test_a_text_gives_a_recording(self, tts: TTSProvider) -> None:
        """Audio content with a URL, and the text as its transcript."""
        async with asyncio.timeout(self.patience):
            content = await tts.synthesize(self.text)
        assert isinstance(content, AudioContent)
        assert content.url.partition(":")[0] in ("data", "http", "https")
        assert content.mime_type.startswith("audio/")
        assert content.transcript == self.text

    async def test_a_stream_is_audio_in_pieces(self, tts: TTSProvider) -> None:
        """Each says its own rate; of PCM there are whole samples; only the last is final."""
        self.streaming(tts)
        async with asyncio.timeout(self.patience):
            found = [chunk async for chunk in tts.synthesize_stream(self.text)]
        assert all(isinstance(chunk, AudioChunk) for chunk in found)
        assert sum(len(chunk.data) for chunk in found) > 0
        assert all(chunk.sample_rate > 0 and chunk.channels > 0 for chunk in found)
        assert not any(chunk.is_final for chunk in found[:-1])
        if self.whole_samples:
            sizes = [
                len(chunk.data) % (2 * chunk.channels)
                for chunk in found
                if chunk.format == "pcm_s16le"
            ]
            assert not any(sizes)

    async def test_a_blank_text_is_silence(self, tts: TTSProvider) -> None:
        """No error, and nothing to hear."""
        self.streaming(tts)
        async with asyncio.timeout(self.patience):
            found = [chunk async for chunk in tts.synthesize_stream("  ")]
        assert b"".join(chunk.data for chunk in found) == b""

    async def test_a_stream_may_be_left(self, tts: TTSProvider) -> None:
        """Closing it after the first piece ends the synthesis; the next one works."""
        self.streaming(tts)
        before = asyncio.all_tasks()
        async with asyncio.timeout(2 * self.patience):
            stream = tts.synthesize_stream(self.text)
            async for _ in stream:
                break
            await stream.aclose()  # type: ignore[attr-defined]
            while asyncio.all_tasks() - before:  # noqa: ASYNC110 - tasks on their way out
                await asyncio.sleep(0)
            found = [chunk async for chunk in tts.synthesize_stream(self.text)]
        assert sum(len(chunk.data) for chunk in found) > 0

    async def test_streams_may_overlap(self, tts: TTSProvider) -> None:
        """Several at once are each heard."""
        self.streaming(tts)

        async def say() -> int:
            return sum([len(chunk.data) async for chunk in tts.synthesize_stream(self.text)])

        async with asyncio.timeout(4 * self.patience):
            sizes = await asyncio.gather(*(say() for _ in range(3)))
        assert all(size > 0 for size in sizes)

    async def test_text_may_come_in_pieces(self, tts: TTSProvider) -> None:
        """While it is still being written."""
        self.streaming(tts)

        async def pieces() -> AsyncIterator[str]:
            for word in self.text.split(" "):
                yield f"{word} "

        async with asyncio.timeout(self.patience):
            found = [chunk async for chunk in tts.synthesize_stream_input(pieces())]
        assert sum(len(chunk.data) for chunk in found) > 0

    async def test_without_streams_it_says_so(self, tts: TTSProvider) -> None:
        """``synthesize_stream`` raises at its first piece."""
        if tts.streams:
            pytest.skip("the synthesiser streams")
        with pytest.raises(NotImplementedError):
            async for _ in tts.synthesize_stream(self.text):
                pass

    async def test_it_says_what_it_is(self, tts: TTSProvider) -> None:
        """A name and a voice; ``repr`` keeps its secrets."""
        assert tts.name
        assert tts.default_voice is None or isinstance(tts.default_voice, str)
        assert isinstance(tts.supports_streaming_input, bool)
        assert not any(secret in repr(tts) for secret in self.secrets)

    async def test_warming_up_and_closing_may_be_repeated(self, tts: TTSProvider) -> None:
        """Twice is fine."""
        async with asyncio.timeout(4 * self.patience):
            await tts.warmup()
            await tts.warmup()
            await tts.close()
            await tts.close()
