"""What a simulated language model says next; shared by the simulators of such models."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """One answer of a model.

    Attributes:
        text: What it says.
        calls: Tools it wants run: name and arguments; a string goes out as it is, JSON or not.
        thinking: What it thinks first.
        stop: Why it stopped, in the vendor's word; by default the one that fits.
        ending: ``whole``; ``early``: a stream that ends without its end; ``error``: a stream
            that turns into the vendor's error event before its end.
    """

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any] | str], ...] = ()
    thinking: str = ""
    stop: str | None = None
    ending: Literal["whole", "early", "error"] = "whole"


class AnswerQueue:
    """The answers still to be given; when none is left, the model repeats what it heard."""

    def __init__(self) -> None:
        self._waiting: deque[ModelAnswer] = deque()

    def add(self, *answers: ModelAnswer | str) -> None:
        """Let the next requests be answered so, one each."""
        self._waiting.extend(
            ModelAnswer(text=answer) if isinstance(answer, str) else answer for answer in answers
        )

    def clear(self) -> None:
        """Forget what is left."""
        self._waiting.clear()

    def next(self, heard: str) -> ModelAnswer:
        """Return the next answer to somebody who said ``heard``."""
        return self._waiting.popleft() if self._waiting else ModelAnswer(f"You said: {heard}")


def arguments_text(arguments: dict[str, Any] | str) -> str:
    """Return arguments of a call as the text a model writes."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def pieces(text: str) -> Iterator[str]:
    """Yield a text as a stream gives it, in several pieces wherever that is possible."""
    size = max(1, -(-len(text) // 4))
    for start in range(0, len(text), size):
        yield text[start : start + size]


def words(text: str) -> int:
    """Return a number of tokens that is good enough for a simulator."""
    return max(1, len(text.split()))
