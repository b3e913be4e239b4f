"""Whether somebody has finished what they wanted to say, or only paused."""

from __future__ import annotations

import asyncio
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit._aio import TaskSet
from roomkit._clock import SystemClock
from roomkit._logging import ids, log_failure
from roomkit.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit._clock import Clock

logger: logging.Logger = logging.getLogger("roomkit.voice")


@dataclass
class TurnEntry:
    """Something that was said before.

    Attributes:
        text: What.
        role: ``user`` or ``assistant``, where that is known.
        duration_ms: How long it took, in milliseconds.
    """

    text: str = field(repr=False)
    role: str | None = None
    duration_ms: float | None = None


@dataclass
class TurnContext:
    """What a detector decides on.

    Attributes:
        conversation_history: What was said before, oldest first.
        silence_duration_ms: How long it has been silent since, in milliseconds.
        transcript: What was said in this turn so far.
        is_final: Whether the recogniser is done with it.
        speech_duration_ms: How long it took, in milliseconds.
        session_id: Whose.
        metadata: Anything a detector may want to know.
    """

    conversation_history: list[TurnEntry] = field(default_factory=list)
    silence_duration_ms: float = 0.0
    transcript: str = field(default="", repr=False)
    is_final: bool = True
    speech_duration_ms: float = 0.0
    session_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class TurnDecision:
    """What was decided.

    Attributes:
        is_complete: Whether the turn is over.
        confidence: 0 to 1.
        reason: Why, in a word.
        suggested_wait_ms: If it is not over: after how much more silence it is anyway.
    """

    is_complete: bool
    confidence: float = 1.0
    reason: str | None = None
    suggested_wait_ms: float | None = None


class TurnDetector(ABC):
    """Says whether a turn is over. Synchronous, quick, and remembers nothing."""

    @property
    def name(self) -> str:
        """What to call it in logs; the class name by default."""
        return type(self).__name__

    @abstractmethod
    def evaluate(self, context: TurnContext) -> TurnDecision:
        """Return whether the turn is over."""

    def close(self) -> None:
        """Release what it holds; the default holds nothing. Idempotent."""


# Words that rarely end a sentence, and no word that ends one in another of these languages.
_OPEN_WORDS = """
    a an and at because but er erm every for from if into my of or our than the their to uh um
    with your
    aber dass denn der das ein eine einen und weil wenn zu zum zur
    avec dans donc et le les ou parce pour une
    el las los para pero porque
"""
_UNFINISHED = frozenset(_OPEN_WORDS.split())
_LAST_WORD = re.compile(r"([^\W\d_]+(?:['\u2019][^\W\d_]+)*)\W*$")
_CLOSERS = "\"')]\u201d\u00bb "


class PunctuationTurnDetector(TurnDetector):
    """Judges by the last character, the last word and the pause; knows no grammar.

    Args:
        pause_ms: Silence that ends a turn without punctuation, in milliseconds.
        unfinished_ms: Silence that ends a turn which sounds unfinished (a comma, dots, a
            dash, or a last word such as "and"), in milliseconds; at least ``pause_ms``.

    Raises:
        InvalidInputError: A negative time.
    """

    def __init__(self, *, pause_ms: float = 700.0, unfinished_ms: float = 2000.0) -> None:
        if not (pause_ms >= 0 and unfinished_ms >= 0):
            raise InvalidInputError("pause_ms and unfinished_ms must be 0 or more")
        self._pause_ms = pause_ms
        self._unfinished_ms = max(pause_ms, unfinished_ms)

    def evaluate(self, context: TurnContext) -> TurnDecision:
        """Return whether the turn is over, else how much more silence would end it."""
        text = context.transcript.rstrip(_CLOSERS)
        if not context.is_final or not text:
            return TurnDecision(
                is_complete=False,
                reason="not_final" if text else "empty",
                suggested_wait_ms=self._unfinished_ms,
            )
        if text.endswith(("...", "\u2026", ",", ";", ":", "-", "\u2013", "\u2014")):
            return self._after(self._unfinished_ms, context, 0.8, "open_punctuation")
        if text[-1] in ".!?\u3002\uff01\uff1f":
            return TurnDecision(is_complete=True, confidence=0.9, reason="punctuation")
        last = _LAST_WORD.search(text)
        if last is not None and last[1].casefold() in _UNFINISHED:
            return self._after(self._unfinished_ms, context, 0.8, "open_word")
        return self._after(self._pause_ms, context, 0.6, "no_punctuation")

    @staticmethod
    def _after(
        needed_ms: float, context: TurnContext, confidence: float, reason: str
    ) -> TurnDecision:
        left = needed_ms - context.silence_duration_ms
        if left <= 0:
            return TurnDecision(is_complete=True, confidence=confidence, reason="pause")
        return TurnDecision(
            is_complete=False, confidence=confidence, reason=reason, suggested_wait_ms=left
        )


TurnCallback = Callable[[str, TurnDecision], Awaitable[None]]
"""``async (text, decision)``: the words of the turn so far, and what was decided."""

_DEFAULT_WAIT_MS = 1500.0
_LONGEST = 20_000
"""Characters after which a turn is over whatever the detector says."""


class TurnCollector:
    """Joins the utterances of one session into turns.

    An unfinished turn waits for more, but not for ever: when the detector's wait is over and
    nobody has spoken, it is over too.

    Args:
        detector: Decides; when it fails, the turn is over.
        on_complete: Given each whole turn.
        on_incomplete: Given what is there while it waits for more.
        clock: Where time comes from.
        session_id: Whose.
    """

    def __init__(
        self,
        detector: TurnDetector,
        on_complete: TurnCallback,
        *,
        on_incomplete: TurnCallback | None = None,
        clock: Clock | None = None,
        session_id: str = "",
    ) -> None:
        self._detector = detector
        self._on_complete = on_complete
        self._on_incomplete = on_incomplete
        self._clock = clock or SystemClock()
        self._session_id = session_id
        self._parts: list[str] = []
        self._spoken_ms = 0.0
        self._wait_ms = _DEFAULT_WAIT_MS
        self._decision = TurnDecision(is_complete=False)
        self._tasks = TaskSet("turn_wait")
        self._alarm: asyncio.Task[Any] | None = None

    @property
    def text(self) -> str:
        """What has been said in the turn that is not over."""
        return " ".join(self._parts)

    async def add(
        self,
        text: str,
        *,
        silence_duration_ms: float = 0.0,
        speech_duration_ms: float = 0.0,
        history: Sequence[TurnEntry] = (),
    ) -> TurnDecision:
        """Take an utterance; returns when the callback it led to has returned.

        Args:
            text: What was said; a blank text adds nothing.
            silence_duration_ms: The silence after it, in milliseconds.
            speech_duration_ms: How long it took, in milliseconds.
            history: What was said before this turn, oldest first.

        Raises:
            Exception: What a callback raises.
        """
        self.hold()
        if text.strip():
            self._parts.append(text.strip())
        self._spoken_ms += speech_duration_ms
        context = TurnContext(
            conversation_history=list(history),
            silence_duration_ms=silence_duration_ms,
            transcript=self.text,
            speech_duration_ms=self._spoken_ms,
            session_id=self._session_id,
        )
        self._decision = decision = self._decide(context)
        if decision.is_complete:
            await self._finish(decision)
            return decision
        wait = decision.suggested_wait_ms
        self._wait_ms = _DEFAULT_WAIT_MS if wait is None else max(wait, 0.0)
        self.resume()
        if self._on_incomplete is not None and self._parts:
            await self._on_incomplete(self.text, decision)
        return decision

    def hold(self) -> None:
        """Stop waiting: somebody speaks again. ``add`` or ``resume`` follows."""
        if self._alarm is not None and self._alarm is not asyncio.current_task():
            self._alarm.cancel()
        self._alarm = None

    def resume(self) -> None:
        """Wait again: what was heard meanwhile were no words."""
        self.hold()
        if self._parts:
            self._alarm = self._tasks.start(self._ring(), name="turn_wait")

    async def close(self) -> str:
        """Stop, and return what was said in a turn that was not over. Idempotent."""
        self.hold()
        left, self._parts = self.text, []
        await self._tasks.cancel(but=(asyncio.current_task(),))
        return left

    def _decide(self, context: TurnContext) -> TurnDecision:
        if not self._parts:
            return TurnDecision(is_complete=False, reason="empty")
        if len(context.transcript) > _LONGEST:
            return TurnDecision(is_complete=True, reason="too_long")
        try:
            return self._detector.evaluate(context)
        except Exception as exc:  # noqa: BLE001 - a detector is foreign code
            log_failure(
                logger,
                exc,
                "the turn detector %s failed, the turn is taken for whole",
                self._detector.name,
                extra=ids(session_id=self._session_id),
            )
            return TurnDecision(is_complete=True, confidence=0.0, reason="detector_failed")

    async def _ring(self) -> None:
        await self._clock.sleep(self._wait_ms / 1000)
        # From here on it is no wait that new speech could stop.
        self._alarm = None
        await self._finish(
            TurnDecision(is_complete=True, confidence=self._decision.confidence, reason="waited")
        )

    async def _finish(self, decision: TurnDecision) -> None:
        text, self._parts, self._spoken_ms = self.text, [], 0.0
        if text:
            await self._on_complete(text, decision)
