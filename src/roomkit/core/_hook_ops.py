"""RoomKit's face to hooks and handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from roomkit.core._helpers import HelpersMixin
from roomkit.core.hooks import HookRegistration, IdentityHookRegistration
from roomkit.models.enums import HookExecution

if TYPE_CHECKING:
    from roomkit.core.services.hook_desk import HookDesk
    from roomkit.models.enums import ChannelDirection, ChannelType, HookTrigger

type AnyHook = Callable[..., Any]


class HookOpsMixin(HelpersMixin):
    """Hooks, framework-event handlers and delivery-status handlers."""

    _hook_desk: HookDesk

    def hook[F: AnyHook](
        self,
        trigger: HookTrigger | str,
        execution: HookExecution = HookExecution.SYNC,
        priority: int = 0,
        name: str = "",
        timeout: float = 30.0,
        channel_types: set[ChannelType] | None = None,
        channel_ids: set[str] | None = None,
        directions: set[ChannelDirection] | None = None,
        *,
        fail_closed: bool = False,
    ) -> Callable[[F], F]:
        """Register a hook for every room.

        A SYNC hook is a gate: ``async (event, context) -> HookResult``; it runs under the
        room's lock, so keep it short. An ASYNC hook watches: ``async (event, context)``.

        Args:
            trigger: When it runs; a text with a dot names a trigger of your own.
            execution: Gate or observer; a wrong one for the trigger is logged.
            priority: Lower runs first.
            name: For ``blocked_by`` and logs; default: the function's name.
            timeout: Seconds it may take.
            channel_types: Only events from these kinds of channel.
            channel_ids: Only events from these channels.
            directions: Only events of these directions.
            fail_closed: An error or timeout blocks the event; by default it passes.

        Returns:
            A decorator that returns the function unchanged.
        """

        def register(fn: F) -> F:
            self._hook_desk.register(
                HookRegistration(
                    trigger,
                    execution,
                    fn,
                    priority,
                    name or getattr(fn, "__name__", type(fn).__name__),
                    timeout,
                    channel_types,
                    channel_ids,
                    directions,
                    fail_closed,
                )
            )
            return fn

        return register

    def add_room_hook(
        self,
        room_id: str,
        trigger: HookTrigger | str,
        execution: HookExecution,
        fn: AnyHook,
        priority: int = 0,
        name: str = "",
    ) -> None:
        """Register a hook for one room; it runs among the others by its priority."""
        self._hook_desk.add_room_hook(
            room_id, HookRegistration(trigger, execution, fn, priority, name)
        )

    def remove_room_hook(self, room_id: str, name: str) -> bool:
        """Remove the first hook of this name from a room; False if it has none."""
        return self._hook_desk.remove_room_hook(room_id, name)

    def identity_hook[F: AnyHook](
        self,
        trigger: HookTrigger,
        channel_types: set[ChannelType] | None = None,
        channel_ids: set[str] | None = None,
        directions: set[ChannelDirection] | None = None,
        *,
        timeout: float = 30.0,
    ) -> Callable[[F], F]:
        """Register a hook that decides about an unclear sender.

        ``async (event, context, id_result) -> IdentityHookResult | None``; the first one that
        answers decides.

        Args:
            trigger: ON_IDENTITY_AMBIGUOUS or ON_IDENTITY_UNKNOWN.
            channel_types: Only messages from these kinds of channel.
            channel_ids: Only messages from these channels.
            directions: Only messages of these directions.
            timeout: Seconds it may take.

        Returns:
            A decorator that returns the function unchanged.
        """

        def register(fn: F) -> F:
            self._hook_desk.add_identity_hook(
                IdentityHookRegistration(
                    trigger, fn, channel_types, channel_ids, directions, timeout
                )
            )
            return fn

        return register

    def on[F: AnyHook](self, event_type: str) -> Callable[[F], F]:
        """Register a handler for a framework event: ``async (FrameworkEvent) -> None``.

        Args:
            event_type: One of ``FrameworkEventType``; an unknown one is logged.

        Returns:
            A decorator that returns the function unchanged.
        """

        def register(fn: F) -> F:
            self._hook_desk.subscribe(event_type, fn)
            return fn

        return register

    def on_delivery_status[F: AnyHook](self, fn: F) -> F:
        """Register a handler for vendors' delivery statuses; use it without parentheses."""
        self._hook_desk.add_status_handler(fn)
        return fn
