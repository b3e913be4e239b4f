"""WhatsApp: the base class and the mock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roomkit.models.delivery import ProviderResult
from roomkit.providers.whatsapp.base import WhatsAppProvider
from roomkit.providers.whatsapp.mock import MockWhatsAppProvider
from tests.test_providers._events import an_event

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent


class DrumWhatsAppProvider(WhatsAppProvider):
    """The least a WhatsApp provider must be."""

    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        return ProviderResult(success=True)


class TestWhatsAppProvider:
    """A vendor fills in ``send``; the rest has documented answers."""

    async def test_the_optional_parts_say_that_they_are_missing(self) -> None:
        provider = DrumWhatsAppProvider()
        with pytest.raises(NotImplementedError):
            await provider.parse_webhook({})
        with pytest.raises(NotImplementedError):
            await provider.send_template("+15145550100", "welcome")
        with pytest.raises(NotImplementedError):
            await provider.send_reaction("chat", "bob", "m1", "👍")
        assert await provider.send_typing("+15145550100") is False


class TestMockWhatsAppProvider:
    """Messages, templates and signals are remembered apart."""

    async def test_each_call_is_remembered_in_its_place(self) -> None:
        mock = MockWhatsAppProvider()
        provider: WhatsAppProvider = mock
        event = an_event()
        await provider.send(event, to="+15145550100")
        await provider.send_template("+15145550100", "welcome", {"body": ["Ann"]})
        assert await provider.send_typing("+15145550100", is_typing=False)
        assert await provider.mark_read(("m1", "m2"), "chat", "bob")
        assert await provider.send_reaction("chat", "bob", "m1", "👍")
        assert mock.sent == [{"event": event, "to": "+15145550100"}]
        assert mock.templates == [
            {"to": "+15145550100", "template_name": "welcome", "params": {"body": ["Ann"]}}
        ]
        assert mock.signals == [
            {"type": "typing", "to": "+15145550100", "is_typing": False},
            {"type": "read", "message_ids": ["m1", "m2"], "chat": "chat", "sender": "bob"},
            {
                "type": "reaction",
                "chat": "chat",
                "sender": "bob",
                "message_id": "m1",
                "emoji": "👍",
            },
        ]

    async def test_templates_share_the_script_with_messages(self) -> None:
        refused = ProviderResult(success=False, error="graph_132001")
        mock = MockWhatsAppProvider(results=[refused])
        assert (await mock.send_template("a", "welcome")).error == "graph_132001"
        assert (await mock.send(an_event(), "a")).success

    async def test_reset_forgets_all_of_it(self) -> None:
        mock = MockWhatsAppProvider()
        await mock.send(an_event(), "a")
        await mock.send_template("a", "welcome")
        await mock.send_typing("a")
        mock.reset()
        assert (mock.sent, mock.templates, mock.signals) == ([], [], [])
