"""Links to live models that come back when they are lost: what the vendors' providers share."""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from roomkit._aio import TaskSet, cancel_and_wait
from roomkit._clock import SystemClock
from roomkit._logging import ids
from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.voice.realtime.base import RealtimeSessionState
from roomkit.voice.realtime.provider import CallbackRealtimeProvider

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from roomkit._clock import Clock
    from roomkit.voice.realtime.base import RealtimeSession

Told = tuple[Any, ...]
"""A callback to call: its kind, then its arguments behind the session."""

MAX_RECONNECTS = 3
"""Attempts to open a lost link again, where none are named."""

_HEALTHY_SECONDS = 60.0
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 4.0
_CHANCE = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What a session was connected with; used again for every new link of it."""

    system_prompt: str | None = field(default=None, repr=False)
    voice: str | None = None
    tools: list[dict[str, Any]] | None = None
    temperature: float | None = None
    server_vad: bool = True
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Attempts:
    """The attempts to open one session's link again: a bounded number, with growing pauses.

    Args:
        clock: What pauses are measured with.
        most: How many; a link that lasted a minute starts the count anew.
        spread: Between which parts of the full pause it is chosen by chance, so that sessions
            that are cut at once do not all come back at once.

    Attributes:
        made: How many were made since the count began.
    """

    def __init__(self, clock: Clock, most: int, spread: tuple[float, float]) -> None:
        self.made = 0
        self._clock = clock
        self._most = most
        self._spread = spread

    @property
    def left(self) -> bool:
        """Whether there is one more."""
        return self.made < self._most

    def lost(self, since: float) -> None:
        """Note that a link is lost that was opened at a time of the clock."""
        if self._clock.monotonic() - since >= _HEALTHY_SECONDS:
            self.made = 0

    async def begin(self, *, at_once: bool = False) -> None:
        """Begin the next one: wait for as long as is due, or not at all."""
        delay = min(_FIRST_DELAY * 2**self.made, _LONGEST_DELAY)
        self.made += 1
        if not at_once:
            await self._clock.sleep(delay * _CHANCE.uniform(*self._spread))


class Conversation(Protocol):
    """What is known of a conversation, whatever link it is on."""

    def link_lost(self) -> list[Told]:
        """Forget what belonged to the link; return what is to be told."""
        ...


class SessionLink[D: Conversation]:
    """One session's way to the server, over however many connections.

    Args:
        session: Whose.
        dialogue: What is known of the conversation.
        attempts: To open it again.

    Attributes:
        runner: What listens, as long as the session lasts.
        closing: Whether it ends for good.
        since: When the newest connection was opened.
        extra: For logs.
    """

    def __init__(self, session: RealtimeSession, dialogue: D, attempts: Attempts) -> None:
        self.session = session
        self.dialogue = dialogue
        self.attempts = attempts
        self.extra = ids(session_id=session.id)
        self.runner: asyncio.Task[Any] | None = None
        self.closing = False
        self.since = 0.0


class LinkedRealtimeProvider[L: SessionLink[Any]](CallbackRealtimeProvider):
    """A provider whose sessions outlive their connections.

    Args:
        name: Of its tasks.
        max_reconnects: Attempts to open a lost link again.
        send_timeout: Seconds one message may take to be sent.
        close_timeout: Seconds a connection may take to be closed.
        spread: See ``Attempts``.
        clock: What pauses are measured with.

    Raises:
        InvalidInputError: A number makes no sense.
    """

    _log: ClassVar[logging.Logger]

    def __init__(
        self,
        name: str,
        *,
        max_reconnects: int,
        send_timeout: float,
        close_timeout: float,
        spread: tuple[float, float],
        clock: Clock | None,
    ) -> None:
        super().__init__()
        if max_reconnects < 0 or send_timeout <= 0:
            raise InvalidInputError("max_reconnects is not negative, send_timeout more than 0")
        self._max_reconnects = max_reconnects
        self._send_timeout = send_timeout
        self._close_timeout = close_timeout
        self._spread = spread
        self._clock = clock or SystemClock()
        self._links: dict[str, L] = {}
        self._tasks = TaskSet(name)

    @abstractmethod
    async def _restore(self, link: L) -> bool:
        """Open a new connection and tell it what it must know; False when that came to nothing.

        Raises:
            ProviderError: There is none.
            InvalidInputError: What it is asked for makes no sense.
        """

    @abstractmethod
    async def _pass_on(self, link: L, told: Told) -> None:
        """Call the callbacks."""

    @abstractmethod
    async def _close_link(self, link: L) -> None:
        """Leave the connection there is, if any."""

    def _worth_another(self, link: L, exc: ProviderError | InvalidInputError) -> bool:
        """Return whether to try again after a failed attempt."""
        return isinstance(exc, ProviderError) and exc.retryable

    def _attempts(self) -> Attempts:
        """Return the attempts of a new session."""
        return Attempts(self._clock, self._max_reconnects, self._spread)

    def _forget(self, link: L) -> None:
        if self._links.get(link.session.id) is link:
            del self._links[link.session.id]

    async def _reopen(self, link: L, *, planned: bool = False) -> bool:
        """Open a lost link again; False when it stays lost.

        Args:
            link: Which.
            planned: Whether it was left on purpose: the first attempt is made at once, and the
                session stays active meanwhile.
        """
        session, attempts = link.session, link.attempts
        if not planned:
            session.state = RealtimeSessionState.CONNECTING
            self._log.warning("the link to the model was lost", extra=link.extra)
        for told in link.dialogue.link_lost():
            await self._pass_on(link, told)
        attempts.lost(link.since)
        while attempts.left and not link.closing:
            if not planned:
                session.state = RealtimeSessionState.CONNECTING
            await attempts.begin(at_once=planned)
            planned = False
            try:
                restored = await self._restore(link)
            except (ProviderError, InvalidInputError) as exc:
                self._log.warning("attempt %d failed", attempts.made, extra=link.extra)
                if not self._worth_another(link, exc):
                    return False
                continue
            if restored and not link.closing:
                session.state = RealtimeSessionState.ACTIVE
                self._log.info("the link to the model is back", extra=link.extra)
                return True
        return False

    async def _lost(self, link: L, code: str, why: str = "") -> None:
        """Give a session up and say so."""
        self._forget(link)
        if link.closing:
            return
        link.session.state = RealtimeSessionState.ENDED
        await self._tell(
            "error",
            link.session,
            code,
            f"the link to the model was lost{why}, and {link.attempts.made} attempts did not "
            "bring it back",
        )

    async def _shut(self, link: L) -> None:
        """End a link for good."""
        link.closing = True
        self._forget(link)
        try:
            await self._close_link(link)
        finally:
            if link.runner is not None and link.runner is not asyncio.current_task():
                await cancel_and_wait([link.runner], self._close_timeout)

    async def disconnect(self, session: RealtimeSession) -> None:
        """End a session's link; no callback is told. Again does nothing."""
        link = self._links.get(session.id)
        if link is not None:
            try:
                await self._shut(link)
            finally:
                session.state = RealtimeSessionState.ENDED

    async def close(self) -> None:
        """End every link. Idempotent."""
        for link in list(self._links.values()):
            await self.disconnect(link.session)
        await self._tasks.cancel(but=(asyncio.current_task(),), timeout=self._close_timeout)


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Merge settings into others, objects field by field."""
    for key, value in more.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merge(old, value)
        else:
            into[key] = value
