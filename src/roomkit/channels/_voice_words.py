"""Speech becomes text: whole utterances, or a stream while somebody still speaks."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from roomkit._aio import TaskSet, bounded
from roomkit.channels._voice_faults import Fault
from roomkit.exceptions import InvalidReturnError
from roomkit.voice.audio.resample import SincResamplerProvider
from roomkit.voice.base import AudioChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from roomkit.channels._voice_faults import Faults
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import TranscriptionResult, VoiceSession
    from roomkit.voice.stt.base import STTProvider

MOST_WAITING = 500
"""Frames that wait for a streaming recogniser; when more would, the whole utterance is sent to
it in one piece afterwards."""


MOST_TEXT = 20_000
"""Characters of an utterance; what is beyond them is no speech and left out."""


async def transcribe(stt: STTProvider, audio: AudioFrame, timeout: float) -> str:
    """Return what is said in an utterance.

    Raises:
        DeadlineExceeded: It took longer than ``timeout`` seconds.
        InvalidReturnError: The recogniser returned something else than a text.
        Exception: What the recogniser raises.
    """
    result = await bounded(_transcribe(stt, audio), timeout)
    text = getattr(result, "text", result)
    if not isinstance(text, str):
        raise InvalidReturnError(f"transcribe() must return a str, not {type(text).__name__}")
    return text[:MOST_TEXT]


async def _transcribe(stt: STTProvider, audio: AudioFrame) -> str | TranscriptionResult:
    return await stt.transcribe(audio)


class PreRoll:
    """The last frames before somebody began to speak.

    Args:
        keep_ms: How much to keep, in milliseconds.
    """

    def __init__(self, keep_ms: float) -> None:
        self._keep_ms = keep_ms
        self._frames: deque[AudioFrame] = deque()
        self._ms = 0.0

    def add(self, frame: AudioFrame) -> None:
        """Keep a frame, and forget what is too old."""
        self._frames.append(frame)
        self._ms += frame.duration_ms
        while len(self._frames) > 1 and self._ms - self._frames[0].duration_ms >= self._keep_ms:
            self._ms -= self._frames.popleft().duration_ms

    def take(self) -> list[AudioFrame]:
        """Return what was kept, and forget it."""
        frames, self._frames, self._ms = list(self._frames), deque(), 0.0
        return frames


class LiveTranscript:
    """One utterance, recognised while it is spoken.

    Args:
        stt: The recogniser.
        session: Who speaks.
        partial: Called with ``(text, confidence, is_stable)`` for each piece.
        most_ms: Audio that is taken at most, in milliseconds.
        allowed: Asked before the recogniser hears anything.
        faults: Counts what goes wrong.
    """

    def __init__(
        self,
        stt: STTProvider,
        session: VoiceSession,
        partial: Callable[[str, float, bool], None],
        most_ms: float,
        allowed: Callable[[], Awaitable[bool]],
        faults: Faults,
    ) -> None:
        self._stt = stt
        self._partial = partial
        self._left_ms = most_ms
        self._allowed = allowed
        self._faults = faults
        self._form: tuple[int, int, int] | None = None
        self._resampler = SincResamplerProvider()
        self._waiting: deque[AudioChunk] = deque()
        self._news = asyncio.Event()
        self._over = self._broken = False
        self._finals: list[str] = []
        self._last = ""
        self._tasks = TaskSet(f"voice_stt:{session.id}")
        self._task = self._tasks.start(self._run(), name=f"voice_stt:{session.id}")

    def feed(self, frame: AudioFrame) -> None:
        """Take the next frame."""
        if self._over or self._broken:
            return
        if len(self._waiting) >= MOST_WAITING or self._left_ms <= 0:
            # A hole would be worse than to wait for the whole.
            self._broken = True
            self._waiting.clear()
            self._news.set()
            return
        self._left_ms -= frame.duration_ms
        frame = self._in_one_format(frame)
        self._waiting.append(AudioChunk(frame.data, frame.sample_rate, frame.channels))
        self._news.set()

    def _in_one_format(self, frame: AudioFrame) -> AudioFrame:
        """Return a frame in the format of the first: a recogniser is told one for all."""
        form = (frame.sample_rate, frame.channels, 2)
        if self._form is None:
            self._form = form
        if form == self._form and frame.sample_width == 2:
            return frame
        return self._resampler.resample(frame, *self._form)

    async def finish(self, timeout: float) -> str | None:
        """End the utterance and return its text; None when the stream failed or was too slow."""
        self._over = True
        self._news.set()
        try:
            if not self._broken:
                await asyncio.wait((self._task,), timeout=timeout)
            if not self._broken and not self._task.done():
                self._broken = True
                self._faults.note(
                    Fault.STT_STREAM_FAILED,
                    "streaming recognition does not end: the utterance is sent in one piece",
                )
            if self._broken:
                return None
            return " ".join(self._finals) or self._last
        finally:
            await self.cancel()

    async def cancel(self) -> None:
        """Stop listening. Idempotent."""
        self._over = True
        await self._tasks.cancel(timeout=2.0)

    async def _run(self) -> None:
        try:
            if await self._allowed():
                async for result in self._stt.transcribe_stream(self._chunks()):
                    self._heard(result)
        except Exception as exc:  # noqa: BLE001 - the utterance is then sent in one piece
            self._broken = True
            self._faults.note(
                Fault.STT_STREAM_FAILED,
                "streaming recognition failed: the utterance is sent in one piece",
                exc,
            )

    def _heard(self, result: TranscriptionResult) -> None:
        text = result.text.strip()
        if not text:
            return
        self._last = "" if result.is_final else text
        if result.is_final:
            self._finals.append(text)
        said = " ".join([*self._finals, *([self._last] if self._last else [])])
        if len(said) > MOST_TEXT:
            raise InvalidReturnError("transcribe_stream() gives more text than anybody can say")
        self._partial(said, result.confidence or 0.0, result.is_final)

    async def _chunks(self) -> AsyncIterator[AudioChunk]:
        while not self._broken:
            while self._waiting:
                yield self._waiting.popleft()
            if self._over:
                return
            self._news.clear()
            await self._news.wait()
