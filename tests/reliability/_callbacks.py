"""One table of all the callbacks vendors sign, for tests over all of them.

The signatures are those of ``_seals``, which shares nothing with our code or the simulators.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx

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
from roomkit.providers.webhook import WebhookRequest
from roomkit.providers.whatsapp.cloud import WhatsAppCloudProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from tests.reliability import _samples, _seals
from tests.reliability._samples import EMOJI, NOW, OWN, PHONE
from tests.reliability._seals import APP_ID, TEAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from roomkit.providers.webhook import WebhookHandler


ORIGIN = "https://hooks.example.org"
PATH = "/webhooks/ch"
URL = f"{ORIGIN}{PATH}"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Callback:
    """One kind of signed callback.

    Attributes:
        name: Unique.
        secrets: Ours, the one before it, that of another tenant.
        handler: Makes the reader, of a secret and those being rotated out.
        seal: ``(secret, url, body, moment)`` to the headers of a good request.
        body: A good body, with an emoji in it.
        header: Where the signature is.
        kind_of_body: Its content type.
        moment: Where the signed time is, if there is one.
        url: What was called.
        method: How.
        kind: The second segment of the endpoint.
        covers_url: Whether the URL is signed.
        covers_body: Whether the body is signed.
        asymmetric: Whether the signature is of a key pair.
        rotates: Whether the config has a field for secrets that are being rotated out.
    """

    name: str
    secrets: tuple[str, str, str]
    handler: Callable[[str, Sequence[str]], WebhookHandler]
    seal: Callable[[str, str, bytes, str], dict[str, str]]
    body: bytes = field(repr=False)
    header: str
    kind_of_body: str = JSON
    moment: str | None = None
    url: str = URL
    method: str = "POST"
    kind: str = ""
    covers_url: bool = False
    covers_body: bool = True
    asymmetric: bool = False
    rotates: bool = True

    @property
    def reader(self) -> WebhookHandler:
        """The reader of an endpoint that knows our secret alone."""
        return self.handler(self.secrets[0], ())

    def headers(
        self,
        secret: str | None = None,
        *,
        url: str | None = None,
        body: bytes | None = None,
        moment: str = str(NOW),
    ) -> dict[str, str]:
        """Return the headers of a good request with these facts."""
        secret = self.secrets[0] if secret is None else secret
        body = self.body if body is None else body
        sealed = self.seal(secret, url or self.url, body, moment)
        return {"content-type": self.kind_of_body, **sealed}

    def request(
        self,
        headers: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        url: str | None = None,
        at: float = NOW,
    ) -> WebhookRequest:
        """Return a request: a good one, as far as nothing else is said."""
        url = url or self.url
        return WebhookRequest(
            method=self.method,
            url=url,
            headers=self.headers(url=url) if headers is None else headers,
            query=dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)),
            body=self.body if body is None else body,
            channel_id="ch",
            kind=self.kind,
            received_at=at,
        )

    def __str__(self) -> str:
        return self.name


def _nothing() -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(404))


# Twilio: the URL, then each field of a form.


def _twilio_sms(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = TwilioConfig(
        account_sid="AC1",
        auth_token=secret,
        from_number=OWN,
        previous_secrets=list(previous),
    )
    return TwilioSMSProvider(config, transport=_nothing()).webhook()


def _twilio_shared(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = TwilioConfig(
        account_sid="AC1",
        auth_token="another token altogether",
        from_number=OWN,
        signing_keys={"K1": secret},
    )
    return TwilioSMSProvider(config, transport=_nothing()).webhook()


def _twilio_rcs(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = TwilioRCSConfig(
        account_sid="AC1",
        auth_token=secret,
        messaging_service_sid="MG1",
        previous_secrets=list(previous),
    )
    return TwilioRCSProvider(config, transport=_nothing()).webhook()


_TWILIO_TOKENS = ("tw_token_0123456789abcdef", "tw_token_before", "tw_token_of_another")


# Telnyx: Ed25519; a secret is the base64 of a seed.


def _telnyx_sms(secret: str, previous: Sequence[str]) -> WebhookHandler:
    keys = [_seals.telnyx_public(one) for one in previous]
    config = TelnyxConfig(api_key="k", from_number=PHONE, previous_public_keys=keys)
    provider = TelnyxSMSProvider(config, _seals.telnyx_public(secret), transport=_nothing())
    return provider.webhook()


def _telnyx_rcs(secret: str, previous: Sequence[str]) -> WebhookHandler:
    keys = [_seals.telnyx_public(one) for one in previous]
    config = TelnyxRCSConfig(api_key="k", agent_id="a", previous_public_keys=keys)
    provider = TelnyxRCSProvider(config, _seals.telnyx_public(secret), transport=_nothing())
    return provider.webhook()


_SEEDS = (
    _seals.b64(bytes(range(32))),
    _seals.b64(bytes(range(1, 33))),
    _seals.b64(bytes(range(2, 34))),
)


# Sinch: body, nonce and time.


def _sinch(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = SinchConfig(
        service_plan_id="p",
        api_token="t",
        from_number=PHONE,
        webhook_secret=secret,
        previous_secrets=list(previous),
    )
    return SinchSMSProvider(config, transport=_nothing()).webhook()


# Meta: the body; all but ASCII is escaped before it is signed.


def _messenger(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = MessengerConfig(
        page_access_token="t", app_secret=secret, previous_secrets=list(previous)
    )
    return FacebookMessengerProvider(config, transport=_nothing()).webhook()


def _whatsapp(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = WhatsAppCloudConfig(
        access_token="t",
        phone_number_id="444",
        app_secret=secret,
        previous_secrets=list(previous),
    )
    return WhatsAppCloudProvider(config, transport=_nothing()).webhook()


# SendGrid: ECDSA over time and body; a secret is the scalar in hexadecimal.


def _sendgrid_events(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = SendGridConfig(
        api_key="k",
        from_email="bot@in.example.com",
        webhook_public_key=_seals.sendgrid_public(secret),
        previous_public_keys=[_seals.sendgrid_public(one) for one in previous],
    )
    return SendGridProvider(config, transport=_nothing()).webhook().for_kind("events")


def _sendgrid_mail(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = SendGridConfig(
        api_key="k",
        from_email="bot@in.example.com",
        inbound_public_key=_seals.sendgrid_public(secret),
    )
    return SendGridProvider(config, transport=_nothing()).webhook()


_SCALARS = tuple(f"1f2e3d4c5b6a7988{n:048x}" for n in (1, 2, 3))


# RoomKit's own, and Standard Webhooks.


def _http(**options: Any) -> Callable[[str, Sequence[str]], WebhookHandler]:
    def make(secret: str, previous: Sequence[str]) -> WebhookHandler:
        config = HTTPProviderConfig(
            webhook_url="https://example.org/hook",
            secret=secret,
            previous_secrets=list(previous),
            **options,
        )
        return WebhookHTTPProvider(config, transport=_nothing()).webhook()

    return make


_HTTP_SECRETS = ("shared-secret-of-ours", "shared-secret-before", "shared-secret-of-another")
_WHSECS = tuple(f"whsec_{seed}" for seed in _SEEDS)


# Teams: a token about the caller; it covers neither the body nor the URL.


def _teams_metadata(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("openidconfiguration"):
        return httpx.Response(200, json={"jwks_uri": f"{TEAMS}/v1/.well-known/keys"})
    return httpx.Response(200, json={"keys": [_seals.teams_public()]})


def _teams(secret: str, previous: Sequence[str]) -> WebhookHandler:
    config = TeamsConfig(app_id=APP_ID, app_password="p", tenant_id="t", api_base=TEAMS)
    transport = httpx.MockTransport(_teams_metadata)
    return BotFrameworkTeamsProvider(config, transport=transport).webhook()


# -- the table -------------------------------------------------------------------------------

_TWILIO: dict[str, Any] = {"header": "x-twilio-signature", "covers_url": True}
_TELNYX: dict[str, Any] = {
    "secrets": _SEEDS,
    "seal": _seals.telnyx,
    "header": "telnyx-signature-ed25519",
    "moment": "telnyx-timestamp",
    "asymmetric": True,
}
_META: dict[str, Any] = {"seal": _seals.meta, "header": "x-hub-signature-256"}
_SENDGRID: dict[str, Any] = {
    "secrets": _SCALARS,
    "seal": _seals.sendgrid,
    "header": "x-twilio-email-event-webhook-signature",
    "moment": "x-twilio-email-event-webhook-timestamp",
    "asymmetric": True,
}
_APP_SECRETS = ("0123456789abcdef0123456789abcdef", "1" * 32, "2" * 32)

CALLBACKS = (
    Callback(
        "twilio",
        _TWILIO_TOKENS,
        _twilio_sms,
        _seals.twilio,
        _samples.TWILIO_FORM,
        kind_of_body=FORM,
        **_TWILIO,
    ),
    Callback(
        "twilio-get",
        _TWILIO_TOKENS,
        _twilio_sms,
        _seals.twilio_url,
        b"",
        method="GET",
        url=f"{URL}?{_samples.TWILIO_FORM.decode()}",
        covers_body=False,
        **_TWILIO,
    ),
    Callback(
        "twilio-json",
        _TWILIO_TOKENS,
        _twilio_sms,
        _seals.twilio_url,
        _samples.TWILIO_JSON,
        url=f"{URL}?bodySHA256={hashlib.sha256(_samples.TWILIO_JSON).hexdigest()}",
        **_TWILIO,
    ),
    Callback(
        "twilio-shared-key",
        _TWILIO_TOKENS,
        _twilio_shared,
        _seals.twilio_shared,
        _samples.TWILIO_FORM,
        kind_of_body=FORM,
        rotates=False,
        **_TWILIO,
    ),
    Callback(
        "twilio-rcs",
        _TWILIO_TOKENS,
        _twilio_rcs,
        _seals.twilio,
        _samples.TWILIO_FORM,
        kind_of_body=FORM,
        **_TWILIO,
    ),
    Callback(
        "telnyx", handler=_telnyx_sms, body=_samples.telnyx_body("SMS", text=EMOJI), **_TELNYX
    ),
    Callback(
        "telnyx-rcs",
        handler=_telnyx_rcs,
        body=_samples.telnyx_body("RCS", body={"text": EMOJI}),
        **_TELNYX,
    ),
    Callback(
        "sinch",
        ("sinch-secret", "sinch-secret-before", "sinch-secret-of-another"),
        _sinch,
        _seals.sinch,
        json.dumps(
            {"type": "mo_text", "id": "mo-1", "from": "1415", "to": "1514", "body": EMOJI},
            ensure_ascii=False,
        ).encode(),
        header="x-sinch-webhook-signature",
        moment="x-sinch-webhook-signature-timestamp",
    ),
    Callback("messenger", _APP_SECRETS, _messenger, body=_samples.MESSENGER_BODY, **_META),
    Callback("whatsapp", _APP_SECRETS, _whatsapp, body=_samples.WHATSAPP_BODY, **_META),
    Callback(
        "sendgrid-events",
        handler=_sendgrid_events,
        body=_samples.EVENTS_BODY,
        kind="events",
        **_SENDGRID,
    ),
    Callback(
        "sendgrid-mail",
        handler=_sendgrid_mail,
        body=_samples.MAIL_BODY,
        kind_of_body=f"multipart/form-data; boundary={_samples.BOUNDARY}",
        rotates=False,
        **_SENDGRID,
    ),
    Callback(
        "http",
        _HTTP_SECRETS,
        _http(),
        _seals.http,
        _samples.HTTP_BODY,
        header="x-roomkit-signature",
    ),
    Callback(
        "http-timed",
        _HTTP_SECRETS,
        _http(sign_timestamp=True),
        _seals.http_timed,
        _samples.HTTP_BODY,
        header="x-roomkit-signature",
        moment="x-roomkit-timestamp",
    ),
    Callback(
        "standard-webhooks",
        _WHSECS,
        _http(standard_webhooks=True),
        _seals.standard,
        _samples.HTTP_BODY,
        header="webhook-signature",
        moment="webhook-timestamp",
    ),
    Callback(
        "teams",
        ("ours", "before", "another"),
        _teams,
        _seals.teams,
        _samples.TEAMS_BODY,
        header="authorization",
        covers_body=False,
        asymmetric=True,
        rotates=False,
    ),
)
