"""Sentences out of text that is still being written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_END = re.compile(
    r"(?<![.!?\u2026\u3002\uff01\uff1f])[.!?\u2026\u3002\uff01\uff1f]+[\"')\]\u201d\u00bb]{0,4}(?=\s)|\n"
)
_LONGEST = 400
"""Characters after which a sentence is said although it has not ended."""


async def sentences(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield each sentence as soon as the text shows that it has ended; the rest at the end.

    What has no end for 400 characters is cut at its last blank. Blank pieces are left out.
    """
    waiting = ""
    async for piece in pieces:
        waiting += piece
        while True:
            cut = _cut(waiting)
            if cut is None:
                break
            sentence, waiting = waiting[:cut].strip(), waiting[cut:]
            if sentence:
                yield sentence
    if waiting.strip():
        yield waiting.strip()


def _cut(text: str) -> int | None:
    found = _END.search(text)
    if found is not None:
        return found.end()
    if len(text) <= _LONGEST:
        return None
    blank = text.rfind(" ", 0, _LONGEST)
    return blank if blank > 0 else _LONGEST
