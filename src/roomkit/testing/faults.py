"""A store that fails when a test says so: at the k-th call, before or after its effect."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from roomkit.testing.wrapper import StoreWrapper

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from roomkit.store.base import ConversationStore

type Fault = BaseException | type[BaseException] | Literal["hang", "cancel"]
"""What goes wrong: an error (or its class) is raised; ``hang``: the call never returns;
``cancel``: the calling task is cancelled there."""

type When = Literal["before", "after"]
"""Whether the call fails before it has had an effect, or its answer is lost."""


@dataclass(frozen=True, slots=True)
class CallFault:
    """A fault waiting for its call.

    Attributes:
        number: Which call, counted from 1.
        fault: What goes wrong.
        when: Before or after the call had its effect.
        method: Count only the calls of this method; None counts all.
    """

    number: int
    fault: Fault
    when: When = "before"
    method: str | None = None


class FaultStore(StoreWrapper):
    """A store around another one, with faults.

    Args:
        inner: The store that does the work.

    Attributes:
        calls: The names of all calls so far, in order, failed ones included.
        counts: How often each method was called.
        fired: The faults that have happened.
    """

    def __init__(self, inner: ConversationStore) -> None:
        super().__init__(inner)
        self.calls: list[str] = []
        self.counts: Counter[str] = Counter()
        self.fired: list[CallFault] = []
        self._waiting: list[CallFault] = []

    def fail_at(
        self, number: int, fault: Fault, when: When = "before", *, method: str | None = None
    ) -> None:
        """Let a call fail, once.

        Args:
            number: Which call, counted from 1 since the beginning (or ``reset``).
            fault: What goes wrong.
            when: Before or after the call had its effect.
            method: Count only the calls of this method.

        Raises:
            ValueError: ``number`` is below 1, or that call has been made already.
        """
        made = len(self.calls) if method is None else self.counts[method]
        if number <= made or number < 1:
            raise ValueError(f"call {number} cannot fail any more: {made} were made")
        self._waiting.append(CallFault(number, fault, when, method))

    def reset(self) -> None:
        """Forget all calls and faults."""
        self.calls.clear()
        self.counts.clear()
        self.fired.clear()
        self._waiting.clear()

    async def around[T](self, name: str, call: Coroutine[Any, Any, T]) -> T:
        """Make the call, unless it is its turn to fail."""
        self.calls.append(name)
        self.counts[name] += 1
        fault = self._due(name)
        if fault is not None and fault.when == "before":
            call.close()
            await _strike(fault.fault)
        result = await call
        if fault is not None:
            await _strike(fault.fault)
        return result

    def _due(self, name: str) -> CallFault | None:
        for fault in self._waiting:
            made = len(self.calls) if fault.method is None else self.counts[fault.method]
            if made == fault.number and fault.method in (None, name):
                self._waiting.remove(fault)
                self.fired.append(fault)
                return fault
        return None


async def _strike(fault: Fault) -> None:
    """Let a fault happen; returns never."""
    if not isinstance(fault, str):
        raise fault
    if fault == "cancel":
        task = asyncio.current_task()
        if task is not None:
            task.cancel()
    await asyncio.get_running_loop().create_future()
