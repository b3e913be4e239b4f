"""What every part of the kit's public face shares: the check that it is used where it can work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.core.hooks import IdentityHookFn
from roomkit.core.services.framework_bus import FrameworkEventHandler

if TYPE_CHECKING:
    from roomkit.core.services.lifecycle import Lifecycle

__all__ = ["FrameworkEventHandler", "HelpersMixin", "IdentityHookFn"]


class HelpersMixin:
    """Base of the kit's mixins."""

    _lifecycle: Lifecycle

    async def _ready(self) -> None:
        """Check the loop and process, and open the store on first use."""
        await self._lifecycle.ready()
