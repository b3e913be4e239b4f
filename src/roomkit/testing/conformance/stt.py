"""What every speech recogniser must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from roomkit.testing.conformance._sound import silence
from roomkit.testing.conformance._suite import PATIENCE, Suite
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import AudioChunk, TranscriptionResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.stt.base import STTProvider


class STTConformance(Suite, ABC):
    """Text for audio, whole or in pieces. Implement ``make_stt``."""

    speech: AudioFrame | None = None
    """A recording, if the recogniser understands any."""

    words = ""
    """What is said in it, in lower case."""

    streams = True
    """Whether ``transcribe_stream`` can be used."""

    patience = PATIENCE
    """Seconds one recognition may take."""

    secrets: tuple[str, ...] = ()
    """Keys the recogniser was made with."""

    @abstractmethod
    async def make_stt(self) -> STTProvider:
        """Return a new recogniser, whose vendor (or stand-in) answers."""

    @pytest_asyncio.fixture
    async def stt(self) -> AsyncIterator[STTProvider]:
        """A recogniser of the test's own."""
        stt = await self.make_stt()
        yield stt
        await stt.close()

    async def chunks(self, *, final: bool) -> AsyncIterator[AudioChunk]:
        """Yield half a second of audio in pieces, with or without a mark at its end."""
        frame = self.speech or AudioFrame(data=silence(500))
        size = 2 * frame.channels * (frame.sample_rate // 10)
        for start in range(0, len(frame.data), size):
            yield AudioChunk(
                data=frame.data[start : start + size],
                sample_rate=frame.sample_rate,
                channels=frame.channels,
                is_final=final and start + size >= len(frame.data),
            )

    async def test_a_recording_gives_a_text(self, stt: STTProvider) -> None:
        """As a frame and as a chunk; a text or a result with one."""
        frame = self.speech or AudioFrame(data=silence(500))
        chunk = AudioChunk(frame.data, frame.sample_rate, frame.channels)
        for audio in (frame, chunk):
            async with asyncio.timeout(self.patience):
                result = await stt.transcribe(audio)
            text = result.text if isinstance(result, TranscriptionResult) else result
            assert isinstance(text, str)
            if self.speech is not None:
                assert self.words in text.lower()

    async def test_nothing_is_no_error(self, stt: STTProvider) -> None:
        """Audio of no length gives an answer."""
        async with asyncio.timeout(self.patience):
            result = await stt.transcribe(AudioFrame(data=b""))
        assert isinstance(result, str | TranscriptionResult)

    async def test_recordings_may_overlap(self, stt: STTProvider) -> None:
        """Several at once each get an answer."""
        frame = self.speech or AudioFrame(data=silence(500))
        async with asyncio.timeout(4 * self.patience):
            results = await asyncio.gather(*(stt.transcribe(frame) for _ in range(4)))
        assert len(results) == 4
        assert all(isinstance(result, str | TranscriptionResult) for result in results)

    @pytest.mark.parametrize("final", [True, False])
    async def test_a_stream_ends_with_its_audio(self, stt: STTProvider, final: bool) -> None:
        """Marked as final or not; what it gives are results, and the last one is final."""
        if not self.streams:
            pytest.skip("the recogniser takes no streams")
        async with asyncio.timeout(self.patience):
            stream = stt.transcribe_stream(self.chunks(final=final))
            results = [result async for result in stream]
        assert all(isinstance(result, TranscriptionResult) for result in results)
        assert not results or results[-1].is_final
        if self.speech is not None:
            said = " ".join(result.text for result in results if result.is_final)
            assert self.words in said.lower()

    async def test_a_stream_may_be_left(self, stt: STTProvider) -> None:
        """Whoever stops listening leaves nothing behind: no task goes on."""
        if not self.streams:
            pytest.skip("the recogniser takes no streams")
        before = asyncio.all_tasks()

        async def listen() -> None:
            async for _ in stt.transcribe_stream(self.endless()):
                pass

        task = asyncio.ensure_future(listen())
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(self.patience):
            with pytest.raises(asyncio.CancelledError):
                await task
            while asyncio.all_tasks() - before:  # noqa: ASYNC110 - tasks on their way out
                await asyncio.sleep(0)

    @staticmethod
    async def endless() -> AsyncIterator[AudioChunk]:
        """Yield one piece, then keep the line open."""
        yield AudioChunk(data=silence(100))
        await asyncio.get_running_loop().create_future()

    async def test_it_says_what_it_is(self, stt: STTProvider) -> None:
        """A name, and whether it streams; ``repr`` keeps its secrets."""
        assert stt.name
        assert isinstance(stt.supports_streaming, bool)
        assert not any(secret in repr(stt) for secret in self.secrets)

    async def test_warming_up_and_closing_may_be_repeated(self, stt: STTProvider) -> None:
        """Twice is fine."""
        async with asyncio.timeout(4 * self.patience):
            await stt.warmup()
            await stt.warmup()
            await stt.close()
            await stt.close()
