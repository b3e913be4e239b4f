"""Hooks: gates that decide about an event, observers that watch it.

The engine keeps every registration in one table per execution, sorted when registered, so
that running them is a walk over a tuple. It knows no rooms and no store.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from roomkit._aio import bounded, cancelled_from_within, resume
from roomkit._logging import brief, ids
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HOOK_SPECS, HookResult

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.enums import ChannelDirection, ChannelType
    from roomkit.models.event import EventSource
    from roomkit.models.hook import InjectedEvent
    from roomkit.models.identity import IdentityHookResult, IdentityResult
    from roomkit.models.task import Observation, Task

logger: logging.Logger = logging.getLogger("roomkit.hooks")

SyncHookFn = Callable[[Any, "RoomContext"], Coroutine[Any, Any, "HookResult[Any]"]]
"""A gate: ``async (event, context) -> HookResult``."""

AsyncHookFn = Callable[[Any, "RoomContext"], Coroutine[Any, Any, None]]
"""An observer: ``async (event, context) -> None``."""

IdentityHookFn = Callable[
    [RoomEvent, "RoomContext", "IdentityResult"], Awaitable["IdentityHookResult | None"]
]
"""Decides about an unclear sender: ``async (event, context, id_result) -> result or None``."""

HOOK_FAILED = "hook_failed"
"""The reason of an event stopped by a failing hook that is registered ``fail_closed``."""


@dataclass
class HookRegistration:
    """One hook and when it runs.

    Attributes:
        trigger: The moment.
        execution: SYNC for a gate, ASYNC for an observer.
        fn: The hook.
        priority: Lower runs first; equal ones in the order of registration.
        name: For logs, ``blocked_by`` and removal.
        timeout: Seconds it may take.
        channel_types: Only events of these channel types; None for any.
        channel_ids: Only events of these channels; None for any.
        directions: Only events of these directions; None for any.
        fail_closed: An error or timeout blocks the event (default: it passes).
    """

    trigger: HookTrigger | str
    execution: HookExecution
    fn: Callable[..., Any]
    priority: int = 0
    name: str = ""
    timeout: float = 30.0
    channel_types: set[ChannelType] | None = None
    channel_ids: set[str] | None = None
    directions: set[ChannelDirection] | None = None
    fail_closed: bool = False

    def matches(self, source: EventSource) -> bool:
        """Return whether the filters let an event of this source through."""
        return (
            (self.channel_types is None or source.channel_type in self.channel_types)
            and (self.channel_ids is None or source.channel_id in self.channel_ids)
            and (self.directions is None or source.direction in self.directions)
        )

    @property
    def label(self) -> str:
        """Its name, or its function's."""
        return self.name or getattr(self.fn, "__name__", type(self.fn).__name__)


@dataclass
class IdentityHookRegistration:
    """One identity hook and whom it decides about; the fields are as in ``HookRegistration``."""

    trigger: HookTrigger
    fn: IdentityHookFn
    channel_types: set[ChannelType] | None = None
    channel_ids: set[str] | None = None
    directions: set[ChannelDirection] | None = None
    timeout: float = 30.0

    def matches(self, source: EventSource) -> bool:
        """Return whether the filters let an event of this source through."""
        return (
            (self.channel_types is None or source.channel_type in self.channel_types)
            and (self.channel_ids is None or source.channel_id in self.channel_ids)
            and (self.directions is None or source.direction in self.directions)
        )

    @property
    def label(self) -> str:
        """Its function's name."""
        return getattr(self.fn, "__name__", type(self.fn).__name__)


@dataclass
class SyncPipelineResult:
    """What the gates of a trigger decided together."""

    allowed: bool = True
    event: Any = None
    reason: str | None = None
    blocked_by: str | None = None
    injected_events: list[InjectedEvent] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    hook_errors: list[dict[str, str]] = field(default_factory=list)
    failures: list[HookFailure] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HookFailure:
    """A hook that failed and was contained.

    Attributes:
        hook: Its name.
        error: What it raised, as text.
        kind: The class of what it raised.
    """

    hook: str
    error: str
    kind: str


@dataclass(slots=True)
class _Compiled:
    """A registration as the walk needs it: no filters means nothing to ask."""

    registration: HookRegistration
    fn: Callable[..., Any]
    timeout: float
    filtered: bool

    def skips(self, event: Any) -> bool:
        return self.filtered and not self.registration.matches(event.source)


_ALLOWED = HookResult.allow()


_Hooks = tuple[_Compiled, ...]


class HookEngine:
    """Runs hooks. Global hooks are registered for good, room hooks can be removed."""

    def __init__(self) -> None:
        self._hooks: dict[tuple[str, str], list[HookRegistration]] = {}
        self._room_hooks: dict[str, list[HookRegistration]] = {}
        self._merged: dict[tuple[str, str, str | None], _Hooks] = {}

    # -- registration --------------------------------------------------------------------

    def register(self, hook: HookRegistration) -> None:
        """Add a hook for every room."""
        _warn_if_idle(hook)
        self._hooks.setdefault((hook.trigger, hook.execution), []).append(hook)
        self._merged.clear()

    def add_room_hook(self, room_id: str, hook: HookRegistration) -> None:
        """Add a hook for one room."""
        _warn_if_idle(hook)
        self._room_hooks.setdefault(room_id, []).append(hook)
        self._merged.clear()

    def remove_room_hook(self, room_id: str, name: str) -> bool:
        """Remove the first hook of this name from a room; False if it has none."""
        hooks = self._room_hooks.get(room_id, [])
        for hook in hooks:
            if hook.name == name:
                hooks.remove(hook)
                if not hooks:
                    del self._room_hooks[room_id]
                self._merged.clear()
                return True
        return False

    def forget_room(self, room_id: str) -> None:
        """Remove every hook of a room."""
        if self._room_hooks.pop(room_id, None) is not None:
            self._merged.clear()

    # -- selection -----------------------------------------------------------------------

    def _select(self, room_id: str, trigger: str, execution: str) -> _Hooks:
        """Return the hooks of a trigger in the order they run; filters are not applied."""
        scope = room_id if room_id in self._room_hooks else None
        key = (trigger, execution, scope)
        found = self._merged.get(key)
        if found is None:
            hooks = list(self._hooks.get((trigger, execution), ()))
            if scope is not None:
                hooks += [
                    hook
                    for hook in self._room_hooks[scope]
                    if hook.trigger == trigger and hook.execution == execution
                ]
            hooks.sort(key=lambda hook: hook.priority)
            found = tuple(
                _Compiled(
                    hook,
                    hook.fn,
                    hook.timeout,
                    not (hook.channel_types is hook.channel_ids is hook.directions is None),
                )
                for hook in hooks
            )
            self._merged[key] = found
        return found

    def gated(self, room_id: str, trigger: str, source: EventSource) -> bool:
        """Return whether any gate of this trigger would see an event of this source."""
        hooks = self._select(room_id, trigger, HookExecution.SYNC)
        return any(hook.registration.matches(source) for hook in hooks)

    def has_gates(self, room_id: str, trigger: str) -> bool:
        """Return whether this trigger has any gate."""
        return bool(self._select(room_id, trigger, HookExecution.SYNC))

    def observed(self, room_id: str, trigger: str) -> bool:
        """Return whether anybody observes this trigger."""
        return bool(self._select(room_id, trigger, HookExecution.ASYNC))

    # -- running -------------------------------------------------------------------------

    async def run_sync_hooks(  # noqa: C901 - the hot walk is one loop on purpose
        self,
        room_id: str,
        trigger: HookTrigger | str,
        event: Any,
        context: RoomContext,
        *,
        skip_event_filter: bool = False,
    ) -> SyncPipelineResult:
        """Ask the gates of a trigger, one after the other.

        A block stops the walk; a modified event is what the next gate and the caller get.
        A gate that fails or times out lets the event pass (unless it is ``fail_closed``) and
        is listed in ``hook_errors``.
        """
        result = SyncPipelineResult(event=event)
        for hook in self._select(room_id, trigger, HookExecution.SYNC):
            if hook.filtered and not skip_event_filter and hook.skips(event):
                continue
            try:
                # The first step runs right here: a gate that does not wait costs no timer.
                answer = hook.fn(result.event, context)
                if type(answer) is CoroutineType:
                    try:
                        yielded = answer.send(None)
                    except StopIteration as stop:
                        answer = stop.value
                    else:
                        answer = await resume(answer, yielded, hook.timeout)
                elif inspect.isawaitable(answer):
                    answer = await bounded(_awaited(answer), hook.timeout)
                if answer is _ALLOWED:
                    continue
                _check_answer(answer, trigger, type(result.event))
                ended = _apply(result, hook.registration, answer)
            except asyncio.CancelledError as exc:
                if not cancelled_from_within():
                    raise
                ended = _failed(result, hook.registration, exc, room_id)
            except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
                ended = _failed(result, hook.registration, exc, room_id)
            if ended:
                break
        return result

    async def run_async_hooks(
        self,
        room_id: str,
        trigger: HookTrigger | str,
        event: Any,
        context: RoomContext,
        *,
        skip_event_filter: bool = False,
    ) -> None:
        """Tell the observers of a trigger; returns when all have ended or timed out."""
        await self.run_observers(
            room_id, trigger, event, context, skip_event_filter=skip_event_filter
        )

    async def run_observers(
        self,
        room_id: str,
        trigger: HookTrigger | str,
        event: Any,
        context: RoomContext,
        *,
        skip_event_filter: bool = False,
    ) -> list[HookFailure]:
        """Tell the observers of a trigger, all at once, and return those that failed.

        What an observer returns is ignored; one that fails leaves the others alone.
        """
        hooks = [
            hook
            for hook in self._select(room_id, trigger, HookExecution.ASYNC)
            if skip_event_filter or not hook.filtered or not hook.skips(event)
        ]
        if len(hooks) < 2:
            failure = await _observe(hooks[0], event, context, room_id) if hooks else None
            return [] if failure is None else [failure]
        return await _Watch(hooks, event, context, room_id).run()


class _Watch:
    """All observers of one moment, told at once.

    Each starts before any of them goes on, and sees the context variables as they were. Those
    that end at once share a task; who waits has it alone from then on, and who leaves a
    context variable changed is the last one in it.
    """

    __slots__ = ("_context", "_event", "_failures", "_hooks", "_next", "_room_id")

    def __init__(
        self, hooks: list[_Compiled], event: Any, context: RoomContext, room_id: str
    ) -> None:
        self._hooks = hooks
        self._event = event
        self._context = context
        self._room_id = room_id
        self._next = 0
        self._failures: dict[int, HookFailure] = {}

    async def run(self) -> list[HookFailure]:
        """Return the failures in the order of the hooks, once all have ended."""
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        while self._next < len(self._hooks):
            tasks.append(
                asyncio.Task(self._tell(), loop=loop, eager_start=True, context=copy_context())
            )
        await _finish(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
        return [self._failures[place] for place in sorted(self._failures)]

    async def _tell(self) -> None:
        """Run observers in this task as long as they leave no trace in it."""
        hooks, before, task = self._hooks, copy_context(), asyncio.current_task()
        while (place := self._next) < len(hooks):
            # When this one waits, the next task begins with the next observer.
            self._next = place + 1
            failure = await _observe(hooks[place], self._event, self._context, self._room_id)
            if failure is not None:
                self._failures[place] = failure
            if not _untouched(before) or (task is not None and task.cancelling()):
                return


def _untouched(before: Context) -> bool:
    """Return whether the context variables are what they were; at once, when they are."""
    try:
        return copy_context() == before
    except Exception:  # noqa: BLE001 - values compare as their owners like
        return False


async def _finish(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for all tasks; when cancelled, take them along."""
    pending = [task for task in tasks if not task.done()]
    if not pending:
        return
    try:
        await asyncio.wait(pending)
    except asyncio.CancelledError:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)
        raise


def _warn_if_idle(hook: HookRegistration) -> None:
    """Log once when a hook is registered under an execution its trigger never runs."""
    spec = HOOK_SPECS.get(hook.trigger)
    if spec is None and "." not in hook.trigger:  # "orders.check" is a program's own
        logger.warning("hook %s: no trigger is called %r", hook.label, str(hook.trigger))
    elif spec is not None and hook.execution not in spec.executions:
        names = sorted(spec.executions)
        logger.warning(
            "hook %s will never run: %s runs %s hooks; register it with execution=%s",
            hook.label,
            str(hook.trigger),
            " and ".join(names),
            " or ".join(f"HookExecution.{name.upper()}" for name in names),
        )


_PAYLOADS: dict[str, type] = {"event": RoomEvent, "text": str}


def _check_answer(answer: Any, trigger: str, given: type) -> None:
    """Raise TypeError unless ``answer`` is a decision with the trigger's payload (or its like)."""
    if not isinstance(answer, HookResult):
        raise TypeError(f"expected HookResult, got {type(answer).__name__}")
    if answer.action == "modify":
        spec = HOOK_SPECS.get(trigger)
        wanted = _PAYLOADS.get(spec.payload) if spec is not None else None
        if wanted is not None and not isinstance(answer.event, (wanted, given)):
            raise TypeError(f"expected {wanted.__name__}, got {type(answer.event).__name__}")


def _log_failure(hook: HookRegistration, error: BaseException, room_id: str) -> None:
    extra = ids(room_id=room_id)
    logger.error("hook %s failed: %s", hook.label, type(error).__name__, extra=extra)
    logger.debug("hook %s failed", hook.label, exc_info=error, extra=extra)


def _failed(
    result: SyncPipelineResult, hook: HookRegistration, error: BaseException, room_id: str
) -> bool:
    """Note a failed gate; return whether the walk ends here."""
    _log_failure(hook, error, room_id)
    failure = HookFailure(hook.name, brief(error), type(error).__name__)
    result.failures.append(failure)
    result.hook_errors.append({"hook": failure.hook, "error": failure.error})
    if hook.fail_closed:
        result.allowed = False
        result.reason = HOOK_FAILED
        result.blocked_by = hook.name
    return hook.fail_closed


def _apply(result: SyncPipelineResult, hook: HookRegistration, answer: HookResult[Any]) -> bool:
    """Fold one gate's decision into the result; return whether the walk ends here."""
    if answer.injected_events:
        result.injected_events.extend(answer.injected_events)
    if answer.tasks:
        result.tasks.extend(answer.tasks)
    if answer.observations:
        result.observations.extend(answer.observations)
    if answer.metadata:
        result.metadata.update(answer.metadata)
    if answer.action == "modify":
        result.event = answer.event
    elif answer.action == "block":
        result.allowed = False
        result.reason = answer.reason
        result.blocked_by = hook.name
        return True
    return False


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _observe(
    hook: _Compiled, event: Any, context: RoomContext, room_id: str
) -> HookFailure | None:
    """Run one observer within its timeout and contain what it raises."""
    try:
        answer = hook.fn(event, context)
        if type(answer) is CoroutineType:
            try:
                yielded = answer.send(None)
            except StopIteration:
                return None
            await resume(answer, yielded, hook.timeout)
        elif inspect.isawaitable(answer):
            await bounded(_awaited(answer), hook.timeout)
    except asyncio.CancelledError as exc:
        if not cancelled_from_within():
            raise
        error: BaseException = exc
    except Exception as exc:  # noqa: BLE001 - a border where foreign code runs
        error = exc
    else:
        return None
    _log_failure(hook.registration, error, room_id)
    return HookFailure(hook.registration.label, brief(error), type(error).__name__)
