"""The shipped implementations against the suites that users run against theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.channels import (
    EmailChannel,
    HTTPChannel,
    MessengerChannel,
    RCSChannel,
    SMSChannel,
    TeamsChannel,
    WhatsAppChannel,
)
from roomkit.channels.websocket import WebSocketChannel
from roomkit.core.inbound_router import DefaultInboundRoomRouter
from roomkit.core.locks import InMemoryLockManager
from roomkit.identity.mock import MockIdentityResolver
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelCategory
from roomkit.models.identity import Identity
from roomkit.providers.email.mock import MockEmailProvider
from roomkit.providers.http.mock import MockHTTPProvider
from roomkit.providers.messenger.mock import MockMessengerProvider
from roomkit.providers.rcs.mock import MockRCSProvider
from roomkit.providers.sms.mock import MockSMSProvider
from roomkit.providers.teams.mock import MockTeamsProvider
from roomkit.providers.whatsapp.mock import MockWhatsAppProvider
from roomkit.realtime.memory import InMemoryRealtime
from roomkit.testing import SimpleChannel
from roomkit.testing.conformance import (
    ChannelConformance,
    IdentityResolverConformance,
    InboundRouterConformance,
    LockManagerConformance,
    ProviderConformance,
    RealtimeConformance,
)

if TYPE_CHECKING:
    from roomkit.channels.base import Channel
    from roomkit.core.inbound_router import InboundRoomRouter
    from roomkit.core.locks import RoomLockManager
    from roomkit.identity.base import IdentityResolver
    from roomkit.providers.base import Provider
    from roomkit.realtime.base import RealtimeBackend
    from roomkit.store.base import ConversationStore


class TestInMemoryLockManager(LockManagerConformance):
    """The default lock manager, with a table far smaller than the number of rooms."""

    async def make_locks(self) -> RoomLockManager:
        return InMemoryLockManager(max_locks=4)


class TestInMemoryRealtime(RealtimeConformance):
    """The default realtime backend."""

    async def make_realtime(self) -> RealtimeBackend:
        return InMemoryRealtime()


class TestMockIdentityResolver(IdentityResolverConformance):
    """The resolver tests are told about."""

    ambiguous = "twin"

    async def make_resolver(self) -> IdentityResolver:
        twins = [Identity(id="one"), Identity(id="two")]
        return MockIdentityResolver(
            {self.known: Identity(id=self.known_identity)}, {"twin": twins}
        )


class TestDefaultInboundRoomRouter(InboundRouterConformance):
    """The default router."""

    async def make_router(self, store: ConversationStore) -> InboundRoomRouter:
        return DefaultInboundRoomRouter(store)


class TestSimpleTransport(ChannelConformance):
    """The test channel as a transport."""

    async def make_channel(self) -> Channel:
        return SimpleChannel("simple", recipient_key="to")


class TestSimpleIntelligence(ChannelConformance):
    """The test channel as something that answers."""

    async def make_channel(self) -> Channel:
        return SimpleChannel(category=ChannelCategory.INTELLIGENCE, react_script=["hello"] * 9)


class TestSMSChannel(ChannelConformance):
    """SMS."""

    async def make_channel(self) -> Channel:
        return SMSChannel("sms", provider=MockSMSProvider())


class TestEmailChannel(ChannelConformance):
    """Mail."""

    async def make_channel(self) -> Channel:
        return EmailChannel("mail", provider=MockEmailProvider())


class TestWhatsAppChannel(ChannelConformance):
    """WhatsApp."""

    async def make_channel(self) -> Channel:
        return WhatsAppChannel("whatsapp", provider=MockWhatsAppProvider())


class TestMessengerChannel(ChannelConformance):
    """Messenger."""

    async def make_channel(self) -> Channel:
        return MessengerChannel("messenger", provider=MockMessengerProvider())


class TestTeamsChannel(ChannelConformance):
    """Teams."""

    async def make_channel(self) -> Channel:
        return TeamsChannel("teams", provider=MockTeamsProvider())


class TestHTTPChannel(ChannelConformance):
    """Webhooks outward."""

    async def make_channel(self) -> Channel:
        return HTTPChannel("http", provider=MockHTTPProvider())


class TestRCSChannel(ChannelConformance):
    """RCS."""

    async def make_channel(self) -> Channel:
        return RCSChannel("rcs", provider=MockRCSProvider())


class TestWebSocketChannel(ChannelConformance):
    """Sockets, none of them connected."""

    async def make_channel(self) -> Channel:
        return WebSocketChannel("ws")


class _Mock(ProviderConformance):
    """What all mocks have in common."""

    provider_class: type[Provider]

    async def make_provider(self) -> Provider:
        return self.provider_class()


class TestMockSMSProvider(_Mock):
    """SMS."""

    provider_class = MockSMSProvider

    async def make_refused(self) -> Provider | None:
        refused = ProviderResult(success=False, error="invalid_request")
        return MockSMSProvider(results=[refused])


class TestMockEmailProvider(_Mock):
    """Mail."""

    provider_class = MockEmailProvider


class TestMockHTTPProvider(_Mock):
    """Webhooks outward."""

    provider_class = MockHTTPProvider


class TestMockMessengerProvider(_Mock):
    """Messenger."""

    provider_class = MockMessengerProvider


class TestMockRCSProvider(_Mock):
    """RCS."""

    provider_class = MockRCSProvider


class TestMockTeamsProvider(_Mock):
    """Teams."""

    provider_class = MockTeamsProvider


class TestMockWhatsAppProvider(_Mock):
    """WhatsApp."""

    provider_class = MockWhatsAppProvider
