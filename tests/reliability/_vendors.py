"""One table of all vendors that carry messages, for tests over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from roomkit import channels
from roomkit import simulators as sims
from roomkit.providers.elasticemail import ElasticEmailConfig, ElasticEmailProvider
from roomkit.providers.http import HTTPProviderConfig, WebhookHTTPProvider
from roomkit.providers.messenger import FacebookMessengerProvider, MessengerConfig
from roomkit.providers.sendgrid import SendGridConfig, SendGridProvider
from roomkit.providers.sinch import SinchConfig, SinchSMSProvider
from roomkit.providers.teams import BotFrameworkTeamsProvider, TeamsConfig
from roomkit.providers.telnyx import (
    TelnyxConfig,
    TelnyxRCSConfig,
    TelnyxRCSProvider,
    TelnyxSMSProvider,
)
from roomkit.providers.twilio import (
    TwilioConfig,
    TwilioRCSConfig,
    TwilioRCSProvider,
    TwilioSMSProvider,
)
from roomkit.providers.voicemeup import VoiceMeUpConfig, VoiceMeUpSMSProvider
from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig

if TYPE_CHECKING:
    from collections.abc import Callable

PHONE = "+14155550100"


def canary(word: str) -> str:
    """Return a secret that can be found again wherever it turns up."""
    return f"canary-{word}-5e5e5e5e5e5e5e"


@dataclass(frozen=True, slots=True)
class Vendor:
    """One provider and what stands in for its vendor.

    Attributes:
        name: Unique.
        simulate: Makes the simulator; its secrets are canaries.
        config: Makes the provider's config of the simulator's settings; every further secret
            is a canary too.
        provide: The provider's class.
        channel: Makes the channel.
        key: Where a binding has the recipient.
        recipient: Somebody the vendor reaches.
        canaries: All the secrets.
        hears: Whether the vendor sends messages to us (``sim.receive``).
        status_kind: The endpoint statuses go to (``sim.status``); None: there are none.
        rcs: Whether the simulator is to be taken as an RCS agent.
        unreadable_is_success: Whether a 2xx is a success whatever its body says.
    """

    name: str
    simulate: Callable[[], Any]
    config: Callable[..., Any]
    provide: Callable[..., Any]
    channel: Callable[..., Any]
    key: str = "phone_number"
    recipient: str = PHONE
    canaries: tuple[str, ...] = ()
    hears: bool = True
    status_kind: str | None = None
    rcs: bool = False
    unreadable_is_success: bool = False

    def settings(self, sim: Any, **more: Any) -> dict[str, Any]:
        """Return the settings of the config at a running simulator."""
        return {**(sim.rcs_settings if self.rcs else sim.settings), **more}

    def make(self, config: Any, *keys: str) -> Any:
        """Return the provider of a config; it knows no authorities, which take time to load."""
        transport = httpx.AsyncHTTPTransport(verify=False)
        return self.provide(config, *keys, transport=transport)

    def __str__(self) -> str:
        return self.name


_TWILIO = {"previous_secrets": [canary("old")], "signing_keys": {"K1": canary("signing")}}
_TWILIO_CANARIES = (canary("token"), canary("old"), canary("signing"))
_META = {
    "access_token": canary("access"),
    "app_secret": canary("app"),
    "verify_token": canary("verify"),
}
_META_CANARIES = (*_META.values(), canary("old"))

VENDORS = (
    Vendor(
        "twilio",
        lambda: sims.TwilioSimulator(auth_token=canary("token")),
        lambda **settings: TwilioConfig(**settings, **_TWILIO),
        TwilioSMSProvider,
        channels.SMSChannel,
        canaries=_TWILIO_CANARIES,
        status_kind="",
    ),
    Vendor(
        "twilio-rcs",
        lambda: sims.TwilioSimulator(auth_token=canary("token")),
        lambda **settings: TwilioRCSConfig(**settings, **_TWILIO),
        TwilioRCSProvider,
        channels.RCSChannel,
        canaries=_TWILIO_CANARIES,
        status_kind="",
        rcs=True,
    ),
    Vendor(
        "telnyx",
        lambda: sims.TelnyxSimulator(api_key=canary("key")),
        TelnyxConfig,
        TelnyxSMSProvider,
        channels.SMSChannel,
        canaries=(canary("key"),),
        status_kind="",
    ),
    Vendor(
        "telnyx-rcs",
        lambda: sims.TelnyxSimulator(api_key=canary("key")),
        TelnyxRCSConfig,
        TelnyxRCSProvider,
        channels.RCSChannel,
        canaries=(canary("key"),),
        status_kind="",
        rcs=True,
    ),
    Vendor(
        "sinch",
        lambda: sims.SinchSimulator(api_token=canary("token"), webhook_secret=canary("hook")),
        lambda **settings: SinchConfig(**settings, previous_secrets=[canary("old")]),
        SinchSMSProvider,
        channels.SMSChannel,
        canaries=(canary("token"), canary("hook"), canary("old")),
        status_kind="",
    ),
    Vendor(
        "voicemeup",
        lambda: sims.VoiceMeUpSimulator(auth_token=canary("token")),
        VoiceMeUpConfig,
        VoiceMeUpSMSProvider,
        channels.SMSChannel,
        canaries=(canary("token"),),
    ),
    Vendor(
        "sendgrid",
        lambda: sims.SendGridSimulator(api_key=canary("key")),
        SendGridConfig,
        SendGridProvider,
        channels.EmailChannel,
        key="email_address",
        recipient="ana@example.org",
        canaries=(canary("key"),),
        status_kind="events",
        unreadable_is_success=True,
    ),
    Vendor(
        "elasticemail",
        lambda: sims.ElasticEmailSimulator(api_key=canary("key")),
        ElasticEmailConfig,
        ElasticEmailProvider,
        channels.EmailChannel,
        key="email_address",
        recipient="ana@example.org",
        canaries=(canary("key"),),
        hears=False,
        status_kind="",
    ),
    Vendor(
        "http",
        lambda: sims.WebhookSimulator(secret=canary("secret")),
        lambda **settings: HTTPProviderConfig(
            **settings,
            previous_secrets=[canary("old")],
            headers={"Authorization": canary("header")},
        ),
        WebhookHTTPProvider,
        channels.HTTPChannel,
        key="recipient_id",
        recipient="user-1",
        canaries=(canary("secret"), canary("old"), canary("header")),
        unreadable_is_success=True,
    ),
    Vendor(
        "messenger",
        lambda: sims.MessengerSimulator(**_META),
        lambda **settings: MessengerConfig(
            **settings, previous_secrets=[canary("old")], appsecret_proof=True
        ),
        FacebookMessengerProvider,
        channels.MessengerChannel,
        key="facebook_user_id",
        recipient="2220001112223",
        canaries=_META_CANARIES,
        status_kind="",
    ),
    Vendor(
        "whatsapp",
        lambda: sims.WhatsAppSimulator(**_META),
        lambda **settings: WhatsAppCloudConfig(**settings, previous_secrets=[canary("old")]),
        WhatsAppCloudProvider,
        channels.WhatsAppChannel,
        recipient="14155550100",
        canaries=_META_CANARIES,
        status_kind="",
    ),
    Vendor(
        "teams",
        lambda: sims.TeamsSimulator(app_password=canary("password")),
        TeamsConfig,
        BotFrameworkTeamsProvider,
        channels.TeamsChannel,
        key="teams_conversation_id",
        recipient="a:personal",
        canaries=(canary("password"), "sim-token-"),
    ),
)
