"""Little words that mean "I am listening", not "let me speak"."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class BackchannelContext:
    """What was said while something was being played.

    Attributes:
        transcript: The words so far.
        speech_duration_ms: How long they took, in milliseconds.
        session_id: Whose.
        metadata: Anything a detector may want to know.
    """

    transcript: str = field(repr=False)
    speech_duration_ms: float = 0.0
    session_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class BackchannelDecision:
    """Whether it was only a sign of listening.

    Attributes:
        is_backchannel: Whether it was.
        confidence: 0 to 1.
        label: Which sign, such as ``acknowledgement``.
    """

    is_backchannel: bool
    confidence: float = 1.0
    label: str | None = None


class BackchannelDetector(ABC):
    """Tells signs of listening from words that want the floor. Synchronous and quick."""

    @property
    def name(self) -> str:
        """What to call it in logs; the class name by default."""
        return type(self).__name__

    @abstractmethod
    def classify(self, context: BackchannelContext) -> BackchannelDecision:
        """Return whether what was said is only a sign of listening."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""


_WORDS = """
    ah aha alright cool fine good gotcha great hm hmm hmmm huh i see mhm mhmm mm mmhm mmhmm mmm
    nice oh ok okay right sure true uh uhhuh uhu um umhum wow yea yeah yep yes yup
    ach achso genau gut hmhm ja jo klar richtig stimmt
    bon bien d'accord exact ouais oui voila
    aja bueno claro si vale
"""
ACKNOWLEDGEMENTS = frozenset(_WORDS.split())
"""Words of English, German, French and Spanish that alone, or in a row, ask for nothing."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_JOINED = re.compile(r"(?<=\w)-(?=\w)")


class WordListBackchannelDetector(BackchannelDetector):
    """Takes a few words from a list for a sign of listening.

    Args:
        words: The list; compared without case. Default: ``ACKNOWLEDGEMENTS``.
        max_words: More words than this want the floor, whatever they are.
        max_duration_ms: So does speech longer than this, in milliseconds.

    Raises:
        InvalidInputError: ``words`` is one string instead of several.
    """

    def __init__(
        self,
        words: Iterable[str] = ACKNOWLEDGEMENTS,
        *,
        max_words: int = 4,
        max_duration_ms: float = 2000.0,
    ) -> None:
        if isinstance(words, str):
            raise InvalidInputError("words must be several strings, such as ['ok', 'yes']")
        self._words = frozenset(word.casefold() for word in words)
        self._max_words = max_words
        self._max_duration_ms = max_duration_ms

    def classify(self, context: BackchannelContext) -> BackchannelDecision:
        """Return whether all words are on the list; no words at all are no sign."""
        # "uh-huh" is one word, however the recogniser writes it.
        text = _JOINED.sub("", context.transcript.casefold())
        words = _WORD.findall(text)
        listening = (
            0 < len(words) <= self._max_words
            and context.speech_duration_ms <= self._max_duration_ms
            and all(word in self._words for word in words)
        )
        if not listening:
            return BackchannelDecision(is_backchannel=False)
        return BackchannelDecision(is_backchannel=True, label="acknowledgement")
