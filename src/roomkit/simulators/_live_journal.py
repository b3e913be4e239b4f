"""What comes to a simulator of live conversations, a line each; nothing of what was said."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque

_MOST_LINES = 1_000
_MOST_KINDS = 32
_KIND = re.compile(r"[A-Za-z][\w.]{0,63}", re.ASCII)


class Journal:
    """The newest lines, at most 1,000; each is numbered from 1 on.

    A conversation has a line for its beginning, one for the first message of each kind, and one
    for its end that counts the messages: a call has fifty pieces of audio a second.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._count = 0
        self._talks = 0
        self._news = asyncio.Event()

    def note(self, line: str) -> None:
        """Write a line."""
        self._lines.append(line)
        self._count += 1
        self._news.set()

    def talk(self, where: str) -> Talk:
        """Return the record of a conversation that begins; ``where`` is what it asked for."""
        self._talks += 1
        return Talk(self, self._talks, where)

    async def after(self, number: int) -> tuple[int, list[str]]:
        """Wait for lines behind a number; return the newest's number, and those lines."""
        while self._count <= number:
            self._news.clear()
            await self._news.wait()
        return self._count, list(self._lines)[-(self._count - number) :]


class Talk:
    """One conversation in a journal."""

    def __init__(self, journal: Journal, number: int, where: str) -> None:
        self._journal = journal
        self._name = f"connection {number}"
        self._kinds: Counter[str] = Counter()
        journal.note(f"{self._name}: {where}")

    def took(self, kind: str) -> None:
        """Note a message; what is no word is ``other``, since it may hold what was said."""
        new = kind not in self._kinds
        if new and (_KIND.fullmatch(kind) is None or len(self._kinds) >= _MOST_KINDS):
            kind = "other"
        self._kinds[kind] += 1
        if self._kinds[kind] == 1:
            self._journal.note(f"{self._name}: {kind}")

    def ended(self) -> None:
        """Note the end."""
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self._kinds.items()))
        self._journal.note(f"{self._name} ended: {counts or 'no messages'}")
