"""Where every kind of callback of a user is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from roomkit.core.hooks import HookEngine, IdentityHookRegistration
    from roomkit.core.services.framework_bus import FrameworkBus
    from roomkit.core.services.receipts import Receipts


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
        self.register = engine.register
        self.add_room_hook = engine.add_room_hook
        self.remove_room_hook = engine.remove_room_hook
        self.add_identity_hook = identifier.add_hook
        self.subscribe = bus.subscribe
        self.add_status_handler = receipts.add_handler
