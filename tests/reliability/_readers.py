"""One table of all readers of vendors' callbacks, with what each vendor sends."""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from roomkit import simulators as sims
from roomkit.providers.elasticemail import ElasticEmailWebhook, parse_elasticemail_notification
from roomkit.providers.http import HTTPProviderConfig, HTTPWebhook, parse_http_webhook
from roomkit.providers.messenger import (
    MessengerConfig,
    MessengerWebhook,
    parse_messenger_statuses,
    parse_messenger_webhook,
)
from roomkit.providers.sendgrid import (
    SendGridConfig,
    parse_sendgrid_events,
    parse_sendgrid_inbound,
)
from roomkit.providers.sendgrid.webhook import SendGridEvents, SendGridWebhook
from roomkit.providers.sinch import parse_sinch_webhook
from roomkit.providers.sinch.webhook import SinchWebhook
from roomkit.providers.sms.meta import extract_sms_meta
from roomkit.providers.teams import is_bot_added, parse_teams_activity, parse_teams_webhook
from roomkit.providers.telnyx import parse_telnyx_rcs_webhook, parse_telnyx_webhook
from roomkit.providers.telnyx.webhook import TelnyxWebhook
from roomkit.providers.twilio import (
    TwilioConfig,
    parse_twilio_rcs_webhook,
    parse_twilio_webhook,
)
from roomkit.providers.twilio.webhook import TwilioWebhook
from roomkit.providers.voicemeup import VoiceMeUpMMSAggregator, parse_voicemeup_webhook
from roomkit.providers.voicemeup.mms import MMSPairs
from roomkit.providers.voicemeup.webhook import VoiceMeUpWebhook
from roomkit.providers.webhook import WebhookHandler, WebhookRequest
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.providers.whatsapp.webhook import (
    WhatsAppWebhook,
    parse_whatsapp_statuses,
    parse_whatsapp_webhook,
)
from roomkit.simulators import WebhookAnswer
from tests.reliability._callbacks import CALLBACKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


@dataclass(frozen=True, slots=True)
class Reader:
    """One vendor's ways of reading.

    Attributes:
        name: Unique.
        simulate: Makes the vendor.
        calls: What to let it send: functions of the simulator and a URL.
        handler: Makes its webhook handler.
        parse: Its public functions of a payload.
        errors: What they may raise besides WebhookError.
    """

    name: str
    simulate: Callable[[], Any]
    calls: tuple[Callable[[Any, str], Awaitable[Any]], ...]
    handler: Callable[[], WebhookHandler]
    parse: tuple[Callable[[Any], Any], ...]
    errors: tuple[type[Exception], ...] = ()

    def __str__(self) -> str:
        return self.name


def on_channel(parse: Callable[..., Any], **options: Any) -> Callable[[Any], Any]:
    """Return a parse function of a payload and a channel as one of a payload."""
    return functools.partial(_on_channel, parse, options)


def _on_channel(parse: Callable[..., Any], options: dict[str, Any], payload: Any) -> Any:
    return parse(payload, "ch", **options)


def of_vendor(name: str) -> Callable[[Any], Any]:
    """Return the general reader of text messages for one vendor."""
    return functools.partial(_meta, name)


def _meta(name: str, payload: Any) -> Any:
    meta = extract_sms_meta(name, payload)
    return [meta.to_inbound("ch") if meta.is_inbound else None, meta.to_status(), repr(meta)]


_MAIL = SendGridConfig(api_key="k", from_email="bot@in.example.com")
_HTTP = HTTPProviderConfig(webhook_url="https://example.org/hook")

READERS = (
    Reader(
        "twilio",
        sims.TwilioSimulator,
        (
            lambda sim, url: sim.receive(url, text="caf\u00e9"),
            lambda sim, url: sim.receive(url, media=[("https://x.example/a", "image/png")]),
            lambda sim, url: sim.receive(url, rcs=True, button=("Yes", "yes")),
            lambda sim, url: sim.receive(url, Latitude="1.5", Longitude="2", Label="here"),
            lambda sim, url: sim.receive(url, MessageStatus="failed", ErrorCode="30005"),
        ),
        lambda: TwilioWebhook(TwilioConfig(account_sid="A", auth_token="t", from_number="+1")),
        (
            on_channel(parse_twilio_webhook),
            on_channel(parse_twilio_rcs_webhook),
            of_vendor("twilio"),
        ),
    ),
    Reader(
        "telnyx",
        sims.TelnyxSimulator,
        (
            lambda sim, url: sim.receive(url, "caf\u00e9", media=["https://x.example/a"]),
            lambda sim, url: sim.receive(
                url, rcs={"suggestion_response": {"text": "Yes", "postback": "y"}}
            ),
            lambda sim, url: sim.receive(url, rcs={"location": {"latitude": 1, "longitude": 2}}),
            lambda sim, url: sim.receive(
                url, rcs={"user_file": {"payload": {"file_uri": "https://x.example/a"}}}
            ),
            lambda sim, url: sim.receive(
                url, rcs={"edit": {"original_message_id": "m", "message": {"text": "new"}}}
            ),
            lambda sim, url: sim.status("msg-1", "delivery_failed", url),
        ),
        lambda: TelnyxWebhook([], parse_telnyx_rcs_webhook),
        (
            on_channel(parse_telnyx_webhook),
            on_channel(parse_telnyx_webhook, strict=False),
            on_channel(parse_telnyx_rcs_webhook),
            on_channel(parse_telnyx_rcs_webhook, strict=False),
            of_vendor("telnyx"),
        ),
    ),
    Reader(
        "sinch",
        sims.SinchSimulator,
        (
            lambda sim, url: sim.receive(url, "caf\u00e9"),
            lambda sim, url: sim.receive(url, "two", media=["https://x.example/a"]),
            lambda sim, url: sim.status("01SIM", "failed", url),
        ),
        lambda: SinchWebhook([]),
        (on_channel(parse_sinch_webhook), of_vendor("sinch")),
    ),
    Reader(
        "voicemeup",
        sims.VoiceMeUpSimulator,
        (
            lambda sim, url: sim.receive(url, "caf\u00e9", as_json=True),
            lambda sim, url: sim.receive(
                url, fields=sim.halves("t", "https://x.example/a")[0], as_json=True
            ),
            lambda sim, url: sim.receive(
                url, fields=sim.halves("t", "https://x.example/a")[1], as_json=True
            ),
        ),
        lambda: VoiceMeUpWebhook(MMSPairs()),
        (
            on_channel(parse_voicemeup_webhook),
            on_channel(VoiceMeUpMMSAggregator().take),
            of_vendor("voicemeup"),
        ),
        (KeyError,),
    ),
    Reader(
        "messenger",
        sims.MessengerSimulator,
        (
            lambda sim, url: sim.receive(url, media=[("image", "https://x.example/a")]),
            lambda sim, url: sim.receive(url, quick_reply={"payload": "p"}, reply_to={"mid": "m"}),
            lambda sim, url: sim.postback(url, title="Yes", payload="yes"),
            lambda sim, url: sim.reaction(url, message_id="m_1"),
            lambda sim, url: sim.edit(url, message_id="m_1", text="new"),
            lambda sim, url: sim.status("m_1", "delivered", url),
            lambda sim, url: sim.status("m_1", "read", url),
        ),
        lambda: MessengerWebhook(MessengerConfig(page_access_token="t")),
        (on_channel(parse_messenger_webhook), parse_messenger_statuses),
    ),
    Reader(
        "whatsapp",
        sims.WhatsAppSimulator,
        (
            lambda sim, url: sim.receive(url, text="caf\u00e9", context={"id": "w", "from": "1"}),
            lambda sim, url: sim.receive(url, media=(b"x", "image/png")),
            lambda sim, url: sim.receive(url, button="yes", text="Yes"),
            lambda sim, url: sim.receive(
                url, type="location", location={"latitude": 1, "longitude": 2, "name": "n"}
            ),
            lambda sim, url: sim.reaction(url, message_id="wamid.1"),
            lambda sim, url: sim.edit(url, message_id="wamid.1", text="new"),
            lambda sim, url: sim.revoke(url, message_id="wamid.1"),
            lambda sim, url: sim.status("wamid.1", "failed", url),
        ),
        lambda: WhatsAppWebhook(WhatsAppCloudConfig(access_token="t", phone_number_id="444")),
        (
            on_channel(parse_whatsapp_webhook),
            on_channel(parse_whatsapp_webhook, include_unsupported=True),
            parse_whatsapp_statuses,
        ),
    ),
    Reader(
        "sendgrid-events",
        sims.SendGridSimulator,
        (
            lambda sim, url: sim.status("id", "bounce", url, reason="no"),
            lambda sim, url: sim.status("id", "delivered", url),
        ),
        lambda: SendGridEvents(_MAIL),
        (parse_sendgrid_events,),
    ),
    Reader(
        "sendgrid-mail",
        sims.SendGridSimulator,
        (
            lambda sim, url: sim.receive(
                url,
                text="new\n\nOn Mon, 2 Nov 2026 at 10:00 A <a@x.org> wrote:\n> old",
                html="<p>new<b>er</b></p>",
                references=["a@x.org", "b@x.org"],
                attachments=[("a.txt", "text/plain", b"x")],
                headers={"Auto-Submitted": "no"},
            ),
            lambda sim, url: sim.receive(url, raw=_WHOLE_MAIL),
        ),
        lambda: SendGridWebhook(_MAIL),
        (on_channel(parse_sendgrid_inbound),),
    ),
    Reader(
        "elasticemail",
        sims.ElasticEmailSimulator,
        (lambda sim, url: sim.status("id", "failed", url, category="NoMailbox"),),
        ElasticEmailWebhook,
        (parse_elasticemail_notification,),
    ),
    Reader(
        "http",
        sims.WebhookSimulator,
        (
            lambda sim, url: sim.receive(
                url, text="caf\u00e9", external_id="e", metadata={"a": {"b": [1]}}
            ),
        ),
        lambda: HTTPWebhook(_HTTP),
        (on_channel(parse_http_webhook),),
        (KeyError,),
    ),
    Reader(
        "teams",
        sims.TeamsSimulator,
        (
            lambda sim, url: sim.receive(
                url,
                "<at>Bot</at> caf\u00e9 &amp; more",
                raw=None,
                conversation_type="channel",
                attachments=[{"contentType": "image/png", "contentUrl": "https://x.example/a"}],
                entities=[{"type": "mention", "mentioned": {"id": "28:bot"}}],
                value={"a": 1},
            ),
            lambda sim, url: sim.react(url, "a-1"),
            lambda sim, url: sim.receive(url, "new", raw=sim.activity("messageUpdate")),
            lambda sim, url: sim.receive(url, raw=sim.activity("messageDelete")),
            lambda sim, url: sim.receive(
                url, raw=sim.activity("conversationUpdate", membersAdded=[{"id": "28:bot"}])
            ),
        ),
        lambda: next(one for one in CALLBACKS if one.name == "teams").reader,
        (
            on_channel(parse_teams_webhook),
            on_channel(parse_teams_webhook, include_submits=True),
            parse_teams_activity,
            is_bot_added,
        ),
    ),
)

_WHOLE_MAIL = (
    b"From: =?utf-8?Q?An=C3=A1?= <ana@example.org>\r\nTo: bot@in.example.com\r\n"
    b"Subject: =?utf-8?B?SGk=?=\r\nMessage-ID: <m@example.org>\r\n"
    b'Content-Type: multipart/mixed; boundary="b1"\r\n\r\n'
    b'--b1\r\nContent-Type: multipart/alternative; boundary="b2"\r\n\r\n'
    b"--b2\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9=\r\n\r\n"
    b"--b2\r\nContent-Type: text/html\r\n\r\n<p>caf&eacute;</p>\r\n--b2--\r\n"
    b"--b1\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="a.png"\r\n\r\niVBORw0=\r\n--b1--\r\n'
)


@dataclass(frozen=True, slots=True)
class Caught:
    """A request as a vendor made it."""

    method: str
    url: str
    body: bytes
    headers: Mapping[str, str]

    def request(self, body: bytes | None = None, query: str | None = None) -> WebhookRequest:
        """Return it as an endpoint gets it, with another body or query if there is one."""
        found = self.url.partition("?")[2] if query is None else query
        return WebhookRequest(
            method=self.method,
            url=self.url,
            headers={name.lower(): value for name, value in self.headers.items()},
            query=dict(parse_qsl(found, keep_blank_values=True)),
            body=self.body if body is None else body,
            channel_id="ch",
        )


@functools.cache
def caught(name: str) -> tuple[Caught, ...]:
    """Return the requests a vendor makes, one of each kind."""
    reader = next(one for one in READERS if one.name == name)
    made: list[Caught] = []

    class Catching(reader.simulate):  # type: ignore[misc,name-defined]
        """A vendor whose requests go nowhere; it needs no socket for that."""

        @property
        def api_base(self) -> str:
            return "https://teams.test"

        async def post(
            self, url: str, body: bytes, headers: Any, *, method: str = "POST", **_: Any
        ) -> WebhookAnswer:
            made.append(Caught(method, url, body, headers))
            return WebhookAnswer(200, b"", {})

    async def go() -> None:
        sim = Catching()
        for call in reader.calls:
            await call(sim, "https://hooks.test/webhooks/ch")

    asyncio.run(go())
    return tuple(made)


def payload_of(one: Caught) -> Any:
    """Return what a request holds, as the public functions take it."""
    kind = one.headers.get("content-type", "")
    if kind.startswith("application/json"):
        return json.loads(one.body)
    if kind.startswith("multipart/"):
        return _mail_fields(one.body)
    text = one.body.decode() if one.method == "POST" else one.url.partition("?")[2]
    return dict(parse_qsl(text, keep_blank_values=True))


def _mail_fields(body: bytes) -> dict[str, str]:
    found = {}
    for part in body.split(b"--xYzZY-sim\r\n")[1:]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        found[name] = value.rpartition(b"\r\n")[0].decode()
    return found


def encoded(one: Caught, payload: Any) -> WebhookRequest:
    """Return a request that holds a payload the way the vendor writes them."""
    if one.headers.get("content-type", "").startswith("application/json"):
        return one.request(body=json.dumps(payload).encode())
    pairs = {str(k): v if isinstance(v, str) else str(v) for k, v in payload.items()}
    text = urlencode(pairs, errors="surrogatepass")
    return one.request(query=text) if one.method == "GET" else one.request(body=text.encode())
