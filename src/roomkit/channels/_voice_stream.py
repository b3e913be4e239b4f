"""An answer that is spoken while it is still being written: sentence by sentence."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from roomkit.channels._voice_speech import Origin
from roomkit.models.enums import HookTrigger
from roomkit.voice._sentences import sentences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.channels._voice_hooks import RoomHooks
    from roomkit.channels._voice_session import Speaker
    from roomkit.channels._voice_speech import Speech

logger = logging.getLogger("roomkit.voice")

MOST_CHARACTERS = 200_000
"""The longest answer that is spoken while it is written; the rest of it is not said."""


class SpokenStream:
    """One answer on its way: pieces of text come in, approved sentences go out.

    Each sentence passes BEFORE_TTS once, however many sessions hear it.

    Args:
        hooks: Of the room.

    Attributes:
        origin: The event it becomes.
        speeches: Session id to what is said there.
        speakers: Who says it.
        over: Whether the text is complete.
        task: Works on it, and tells AFTER_TTS in the end.
    """

    def __init__(self, hooks: RoomHooks) -> None:
        self.origin = Origin()
        self.speeches: dict[str, Speech] = {}
        self.speakers: list[Speaker] = []
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self._hooks = hooks
        self._pieces: list[str] = []
        self._said: list[str] = []
        self._size = 0
        self._done = False
        self._came = asyncio.Event()
        self._news = asyncio.Event()

    def push(self, text: str) -> None:
        """Take the next piece."""
        if self.over or self._size > MOST_CHARACTERS:
            return
        self._size += len(text)
        if self._size > MOST_CHARACTERS:
            logger.warning("an answer is too long to be spoken whole")
            return
        self._pieces.append(text)
        self._came.set()

    def end(self) -> None:
        """Note that no more pieces come. Idempotent."""
        self.over = True
        self._came.set()

    async def said(self) -> AsyncIterator[str]:
        """Yield the approved sentences from the first on, each as soon as it is there."""
        place = 0
        while True:
            news = self._news
            while place < len(self._said):
                yield self._said[place]
                place += 1
            if self._done:
                return
            await news.wait()

    async def run(self) -> None:
        """Cut the text into sentences, ask about each, and wait until all was handed over."""
        try:
            async for sentence in sentences(self._text()):
                text = await self._hooks.ask(HookTrigger.BEFORE_TTS, sentence)
                if text is not None and text.strip():
                    self._said.append(text)
                    self._tell()
        finally:
            self._done = True
            self._tell()
        handed = [await speech.handed() for speech in list(self.speeches.values())]
        if self._said and any(handed):
            await self._hooks.tell(HookTrigger.AFTER_TTS, " ".join(self._said))

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _text(self) -> AsyncIterator[str]:
        while True:
            self._came.clear()
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            if self._pieces:
                continue
            if self.over:
                return
            await self._came.wait()
