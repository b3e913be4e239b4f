"""A WhatsApp provider for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.providers._mock import MockProvider
from roomkit.providers.whatsapp.base import WhatsAppProvider

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roomkit._clock import Clock
    from roomkit.models.delivery import ProviderResult


class MockWhatsAppProvider(MockProvider, WhatsAppProvider):
    """Sends nothing and remembers every call.

    Args:
        results: Answers to the first calls of ``send`` and ``send_template``, in order; then
            every call succeeds.
        delay: Seconds of ``clock`` before each answer.
        clock: Whose time ``delay`` is; the system's by default.

    Attributes:
        sent: ``{"event", "to"}`` a message.
        templates: ``{"to", "template_name", "params"}`` a template.
        signals: ``{"type", ...}`` a signal, the type being ``typing``, ``read`` or
            ``reaction``, with the arguments of its method.
        closed: Whether ``close`` was called.
    """

    def __init__(
        self,
        *,
        results: Iterable[ProviderResult | Exception] | None = None,
        delay: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(results=results, delay=delay, clock=clock)
        self.templates: list[dict[str, Any]] = []
        self.signals: list[dict[str, Any]] = []

    async def send_template(
        self, to: str, template_name: str, params: dict[str, Any] | None = None
    ) -> ProviderResult:
        """Remember the template and give the next answer."""
        self.templates.append({"to": to, "template_name": template_name, "params": params})
        return await self._next_answer()

    async def send_typing(self, to: str, *, is_typing: bool = True) -> bool:
        """Remember the signal."""
        self.signals.append({"type": "typing", "to": to, "is_typing": is_typing})
        return True

    async def mark_read(self, message_ids: Sequence[str], chat: str, sender: str) -> bool:
        """Remember the signal."""
        self.signals.append(
            {"type": "read", "message_ids": list(message_ids), "chat": chat, "sender": sender}
        )
        return True

    async def send_reaction(self, chat: str, sender: str, message_id: str, emoji: str) -> bool:
        """Remember the signal."""
        self.signals.append(
            {
                "type": "reaction",
                "chat": chat,
                "sender": sender,
                "message_id": message_id,
                "emoji": emoji,
            }
        )
        return True

    def reset(self) -> None:
        """Forget everything and begin the script again (an iterator goes on where it stands)."""
        super().reset()
        self.templates.clear()
        self.signals.clear()
