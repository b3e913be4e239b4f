"""Endpoints, vendors' classes and simulators, as a user types them; see `program.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from pydantic import SecretStr

from roomkit import (
    AnthropicAIProvider,
    AnthropicConfig,
    DeliveryStatus,
    EmailChannel,
    HTTPProviderConfig,
    RoomKit,
    SegmentCount,
    WebhookHTTPProvider,
    WhatsAppChannel,
    WhatsAppCloudConfig,
    WhatsAppCloudProvider,
    count_segments,
    get_llms_txt,
    normalize_phone,
)
from roomkit.asgi import App, Principal, create_app
from roomkit.simulators import TwilioSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


async def authenticate(scope: Mapping[str, Any]) -> Principal | None:
    """Let one visitor in."""
    return Principal(participant_id="ana", room_ids=frozenset({"lobby"}))


def endpoints() -> App:
    """Return the application."""
    kit = RoomKit()
    hook = HTTPProviderConfig(webhook_url="https://example.org/hook")
    claude = AnthropicConfig(api_key=SecretStr("key"))
    cloud = WhatsAppCloudConfig(access_token=SecretStr("t"), phone_number_id="1")
    kit.register_channel(WhatsAppChannel("wa", provider=WhatsAppCloudProvider(cloud)))
    kit.register_channel(EmailChannel("mail"))
    assert_type(AnthropicAIProvider(claude).model_name, str)
    assert_type(WebhookHTTPProvider(hook).name, str)

    @kit.on_delivery_status
    async def told(status: DeliveryStatus) -> None:
        assert_type(status.message_id, str)

    app = create_app(kit, public_url="https://chat.example.org", authenticate=authenticate)
    assert_type(app, App)
    return app


async def simulated() -> str:
    """Use a stand-in for a vendor."""
    async with TwilioSimulator() as sim:
        assert_type(sim.api_base, str)
    assert_type(normalize_phone("+15550100"), str)
    assert_type(count_segments("hello"), SegmentCount)
    return get_llms_txt()
