"""What the mock providers share: a record of calls and a script of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._clock import SystemClock
from roomkit._ids import new_id
from roomkit.models.delivery import ProviderResult
from roomkit.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from roomkit._clock import Clock
    from roomkit.models.event import RoomEvent


class Script:
    """Answers to give one after the other, each after a delay.

    Args:
        results: The answers; an exception is raised. May be endless
            (``itertools.repeat(...)``).
        delay: Seconds of ``clock`` before each answer.
        clock: Whose time; the system's by default.
    """

    def __init__(
        self,
        results: Iterable[ProviderResult | Exception] | None,
        delay: float,
        clock: Clock | None,
    ) -> None:
        self._results: Iterable[ProviderResult | Exception] = (
            results if results is not None else ()
        )
        self._left: Iterator[ProviderResult | Exception] = iter(self._results)
        self._delay = delay
        self._clock: Clock = clock or SystemClock()

    async def next(self) -> ProviderResult | None:
        """Return the answer to this call, or None when the script has ended.

        Answers belong to calls in the order of the calls, also when those overlap.
        """
        answer = next(self._left, None)
        if self._delay > 0:
            await self._clock.sleep(self._delay)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def restart(self) -> None:
        """Begin again with the first answer; an iterator goes on where it stands."""
        self._left = iter(self._results)


class MockProvider(Provider):
    """Base of the mocks: accepts everything, unless scripted otherwise, and remembers it.

    Args:
        results: Answers to the first calls, in order: a result is returned, an exception
            raised. After the last one every call succeeds.
        delay: Seconds of ``clock`` before each answer.
        clock: Whose time ``delay`` is; pass the test's ``ManualClock``. The system's by
            default.

    Attributes:
        sent: One dict a call, in call order, whatever its answer was.
        closed: Whether ``close`` was called.
    """

    def __init__(
        self,
        *,
        results: Iterable[ProviderResult | Exception] | None = None,
        delay: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed: bool = False
        self._script = Script(results, delay, clock)

    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Remember ``{"event", "to"}`` and give the next answer."""
        return await self._answer({"event": event, "to": to})

    async def _answer(self, call: dict[str, Any]) -> ProviderResult:
        """Remember a call at once and give its answer."""
        self.sent.append(call)
        return await self._next_answer()

    async def _next_answer(self) -> ProviderResult:
        """Give the scripted answer of this call, or success under a new id."""
        scripted = await self._script.next()
        if scripted is not None:
            return scripted
        return ProviderResult(success=True, provider_message_id=new_id())

    def reset(self) -> None:
        """Forget all calls and begin the script again (an iterator goes on where it stands)."""
        self.sent.clear()
        self.closed = False
        self._script.restart()

    async def close(self) -> None:
        """Set ``closed``."""
        self.closed = True
