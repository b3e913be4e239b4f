"""HTTP: the mock is an HTTP provider."""

from __future__ import annotations

from roomkit.models.delivery import ProviderResult
from roomkit.providers.http import HTTPProvider, MockHTTPProvider
from tests.test_providers._events import an_event


class TestMockHTTPProvider:
    """Usable wherever an HTTPProvider is asked for."""

    async def test_it_sends_as_an_http_provider(self) -> None:
        mock = MockHTTPProvider(results=[ProviderResult(success=False, error="http_503")])
        provider: HTTPProvider = mock
        event = an_event()
        assert (await provider.send(event, to="user-1")).error == "http_503"
        assert mock.sent == [{"event": event, "to": "user-1"}]
