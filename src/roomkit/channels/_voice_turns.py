"""Utterances joined into turns: what a caller wants to say, in one message."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from roomkit.channels._voice_hooks import contained
from roomkit.models.enums import HookTrigger
from roomkit.voice.events import TurnCompleteEvent, TurnIncompleteEvent
from roomkit.voice.turn_detector import TurnCollector, TurnDecision, TurnEntry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.channels._voice_hearing import Lane
    from roomkit.channels._voice_hooks import RoomHooks
    from roomkit.channels._voice_session import VoiceParts
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.turn_detector import TurnDetector

_HISTORY = 12
_MOST = 1024


class Turns:
    """The turns of one session.

    Args:
        parts: What the channel shares.
        detector: Says whether a turn is over.
        session: The session.
        hooks: Of its room.
        telling: The lane in which hooks are told.
        say: Brings a whole turn into the room.
        silence_ms: The silence that ends an utterance.
    """

    def __init__(
        self,
        parts: VoiceParts,
        detector: TurnDetector,
        session: VoiceSession,
        hooks: RoomHooks,
        telling: Lane,
        say: Callable[[str], Awaitable[None]],
        silence_ms: float,
    ) -> None:
        self._session = session
        self._hooks = hooks
        self._telling = telling
        self._say = say
        self._silence_ms = silence_ms
        self._history: deque[TurnEntry] = deque(maxlen=_HISTORY)
        self._collector = TurnCollector(
            detector,
            self._over,
            on_incomplete=self._open,
            clock=parts.clock,
            session_id=session.id,
        )

    def answered(self, text: str) -> None:
        """Remember what was said to the session."""
        self._history.append(TurnEntry(text, "assistant"))

    def hold(self) -> None:
        """Note that somebody speaks again: a turn that waits for more gets it."""
        self._collector.hold()

    def resume(self) -> None:
        """Note that those were no words: a turn that waits for more goes on waiting."""
        self._collector.resume()

    async def add(self, text: str, spoken_ms: float) -> None:
        """Take an utterance.

        Args:
            text: What was said.
            spoken_ms: How long it took, in milliseconds.
        """
        await self._collector.add(
            text,
            silence_duration_ms=self._silence_ms,
            speech_duration_ms=spoken_ms,
            history=tuple(self._history),
        )

    async def _over(self, text: str, decision: TurnDecision) -> None:
        self._history.append(TurnEntry(text, "user"))
        event = TurnCompleteEvent(self._session, text, decision.confidence, decision.reason)
        self._tell(HookTrigger.ON_TURN_COMPLETE, event)
        await self._say(text)

    async def _open(self, text: str, decision: TurnDecision) -> None:
        event = TurnIncompleteEvent(
            self._session,
            text,
            decision.confidence,
            decision.reason,
            decision.suggested_wait_ms,
        )
        self._tell(HookTrigger.ON_TURN_INCOMPLETE, event)

    def _tell(self, trigger: HookTrigger, event: object) -> None:
        if self._hooks.watched(trigger):
            self._telling.put(partial(self._hooks.tell, trigger, event), _MOST)

    async def close(self, *, say: bool) -> None:
        """Stop. Idempotent.

        Args:
            say: Bring what was said in a turn that was not over into the room.
        """
        left = await self._collector.close()
        if left and say:
            decision = TurnDecision(is_complete=True, reason="session_ended")
            await contained(self._over(left, decision), "ending a turn", self._session)
