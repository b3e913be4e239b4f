"""Where every kind of callback of a user is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.core.hooks import HookEngine, HookRegistration, IdentityHookRegistration
    from roomkit.core.services.framework_bus import FrameworkBus, FrameworkEventHandler
    from roomkit.core.services.receipts import DeliveryStatusHandler, Receipts


class TakesIdentityHooks(Protocol):
    """The step that identifies senders, a floor above."""

    def add_hook(self, hook: IdentityHookRegistration) -> None:
        """Add an identity hook."""
        ...


class HookDesk:
    """Hands registrations to whom they belong."""

    def __init__(
        self,
        engine: HookEngine,
        identifier: TakesIdentityHooks,
        bus: FrameworkBus,
        receipts: Receipts,
    ) -> None:
        self.register: Callable[[HookRegistration], None] = engine.register
        self.add_room_hook: Callable[[str, HookRegistration], None] = engine.add_room_hook
        self.remove_room_hook: Callable[[str, str], bool] = engine.remove_room_hook
        self.add_identity_hook: Callable[[IdentityHookRegistration], None] = identifier.add_hook
        self.subscribe: Callable[[str, FrameworkEventHandler], None] = bus.subscribe
        self.add_status_handler: Callable[[DeliveryStatusHandler], None] = receipts.add_handler
