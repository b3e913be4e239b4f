"""Text on its way to ElevenLabs while it is still being written. Pure.

The vendor wants pieces that end with a blank, while a model writes parts of words: what could
be half a word waits for its other half.
"""

from __future__ import annotations

import re

from roomkit.exceptions import ProviderError

_ENDS = re.compile(r"""[.!?\u2026\u3002\uff01\uff1f]["')\]\u201d\u00bb]*$""")
_WIDE_END = re.compile(r"[\u3002\uff01\uff1f\uff0c\u3001]")
_MOST_WAITING = 200


class WholeWords:
    """Cuts a text that grows at the ends of words."""

    def __init__(self) -> None:
        self._waiting = ""

    def add(self, piece: str) -> str:
        """Take a piece; return what can be said of all that waits, or an empty text.

        Of a text without blanks, such as Chinese, the part up to its last punctuation mark is
        returned, and everything after 200 characters.
        """
        self._waiting += piece
        cut = _last_blank(self._waiting)
        if cut == 0 and len(self._waiting) >= _MOST_WAITING:
            cut = len(self._waiting)
        return self._take(cut)

    def pause(self) -> str:
        """Return what can be said while the writer rests: a finished sentence."""
        return self._take(len(self._waiting) if _ENDS.search(self._waiting) else 0)

    def rest(self) -> str:
        """Return what is left at the end."""
        return self._take(len(self._waiting))

    def _take(self, cut: int) -> str:
        said, self._waiting = self._waiting[:cut], self._waiting[cut:]
        return said if not said or said[-1:].isspace() else f"{said} "


def _last_blank(text: str) -> int:
    """Return the place behind the last blank or wide punctuation mark; 0 without one."""
    for place in range(len(text), 0, -1):
        if text[place - 1].isspace() or _WIDE_END.match(text[place - 1]):
            return place
    return 0


def pronounced(text: str) -> bool:
    """Return whether a text has anything that sounds."""
    return any(character.isalnum() for character in text)


def silent() -> ProviderError:
    """Return the error of an answer without audio."""
    return ProviderError(
        "ElevenLabs sent no audio for a text; try again", retryable=True, provider="elevenlabs"
    )
