"""Messenger: the mock is a Messenger provider."""

from __future__ import annotations

from roomkit.providers.messenger import MessengerProvider, MockMessengerProvider
from tests.test_providers._events import an_event


class TestMockMessengerProvider:
    """Usable wherever a MessengerProvider is asked for."""

    async def test_it_sends_as_a_messenger_provider(self) -> None:
        mock = MockMessengerProvider()
        provider: MessengerProvider = mock
        event = an_event()
        assert (await provider.send(event, to="psid-1")).success
        assert mock.sent == [{"event": event, "to": "psid-1"}]
        assert await provider.send_typing("psid-1") is False
