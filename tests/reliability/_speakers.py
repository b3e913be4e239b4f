"""Parts of a voice room that can be told apart: every sound and text names whose it is.

A caller speaks in frames whose samples all have one value; the recogniser writes down those
values, the model repeats what it was told, the synthesiser's samples are the letters of the
text. Whatever comes to the wrong place, or in the wrong order, is seen there.
"""

from __future__ import annotations

import asyncio
from array import array
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

from roomkit import MockAIProvider
from roomkit.providers.ai.base import AIContext, AIResponse
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import AudioChunk
from roomkit.voice.pipeline import VADEvent, VADEventType, VADProvider
from roomkit.voice.stt.base import STTProvider
from roomkit.voice.tts.base import TTSProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SAMPLES = 320
"""In a frame: 20 ms at 16 kHz."""


def frame(value: int) -> AudioFrame:
    """Return a frame of one value; 0 is silence."""
    return AudioFrame(value.to_bytes(2, "little") * SAMPLES)


def utterance(value: int, frames: int) -> list[AudioFrame]:
    """Return speech of one value, and the silence that ends it."""
    return [*(frame(value) for _ in range(frames)), frame(0)]


def written(value: int, frames: int) -> str:
    """Return what the recogniser makes of an utterance."""
    return f"{value} for {frames}"


def repeated(text: str) -> str:
    """Return the model's answer to a text."""
    return f"You said {text}."


def spoken(text: str) -> bytes:
    """Return the sound of a text."""
    return text.encode("utf-16-le")


class Gate:
    """Where work can be held up; open at first.

    Attributes:
        waiting: How many wait in front of it.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        """Let nobody pass any more."""
        self._open.clear()

    def open(self) -> None:
        """Let everybody pass."""
        self._open.set()

    async def passed(self) -> None:
        """Wait until it is open; a turn of the loop in any case."""
        self.waiting += 1
        try:
            await asyncio.sleep(0)
            await self._open.wait()
        finally:
            self.waiting -= 1


class Loudness(VADProvider):
    """Speech is whatever is not zero; one silent frame ends it."""

    def __init__(self) -> None:
        self._heard = b""

    @property
    def name(self) -> str:
        """``Loudness``."""
        return "Loudness"

    def for_session(self) -> Self:
        """Return one that has heard nothing."""
        return type(self)()

    def process(self, frame: AudioFrame) -> VADEvent | None:
        """Tell the beginning and the end of speech."""
        if any(frame.data):
            begins = not self._heard
            self._heard += frame.data
            return VADEvent(VADEventType.SPEECH_START) if begins else None
        heard, self._heard = self._heard, b""
        return VADEvent(VADEventType.SPEECH_END, audio_bytes=heard) if heard else None


class Writer(STTProvider):
    """Writes down which values it heard, and for how many frames.

    Attributes:
        gate: Passed before each text.
    """

    def __init__(self) -> None:
        self.gate = Gate()

    async def transcribe(self, audio: Any) -> str:
        """Return the values in their order."""
        await self.gate.passed()
        runs = groupby(array("h", audio.data))
        return ", ".join(written(value, len(list(samples)) // SAMPLES) for value, samples in runs)


class Parrot(MockAIProvider):
    """Repeats the last message.

    Attributes:
        gate: Passed before each answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def generate(self, context: AIContext) -> AIResponse:
        """Return what the last message said."""
        await self.gate.passed()
        return AIResponse(content=repeated(str(context.messages[-1].content)))


class Speller(TTSProvider):
    """Says each letter as one sample, a word at a time.

    Attributes:
        gate: Passed after each word but the last.
        open_streams: How many syntheses have begun and not ended.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.open_streams = 0

    async def synthesize(self, text: str, *, voice: str | None = None) -> Any:
        """Refuse: everything is streamed."""
        raise AssertionError("nobody asks for a recording")

    async def synthesize_stream(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AudioChunk]:
        """Yield the letters."""
        self.open_streams += 1
        try:
            words = text.split(" ")
            for number, word in enumerate(words):
                last = number == len(words) - 1
                yield AudioChunk(spoken(word if last else f"{word} "), is_final=last)
                if not last:
                    await self.gate.passed()
        finally:
            self.open_streams -= 1
