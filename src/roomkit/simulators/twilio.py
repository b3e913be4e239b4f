"""Twilio's Messages resource and its webhooks, for SMS, MMS and RCS.

Facts from Twilio's pages "Messages resource", "Webhooks security", "Track outbound message status"
and its error dictionary.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from roomkit.simulators._base import SentMessage, SimReply, SimRequest, Step, VendorSimulator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roomkit.simulators._base import WebhookAnswer

_FORM = "application/x-www-form-urlencoded"
_ADDRESS = re.compile(r"(rcs:|whatsapp:)?\+[1-9][0-9]{6,14}")
_MEDIA_URL = re.compile(r"https?://[^\s/]+\S*")
_LONGEST_BODY = 1600
_MOST_MEDIA = 10
_STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"})
_START = frozenset({"start", "yes", "unstop"})

_MESSAGES = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    20503: "Service Unavailable",
    21211: "Invalid 'To' Phone Number",
    21266: "'To' and 'From' number cannot be the same",
    21603: "A 'From' phone number is required",
    21604: "A 'To' phone number is required",
    21606: "The 'From' phone number is not a valid, message-capable number of this account",
    21610: "Attempt to send to unsubscribed recipient",
    21617: "The concatenated message body exceeds the 1600 character limit",
    21619: "A text message body or media urls must be specified",
    21620: "Invalid media URL(s)",
    21623: "Number of media files exceeds allowed limit",
    21654: "ContentSid Required",
    21656: "The Content Variables parameter is invalid",
    21701: "The Messaging Service does not exist",
}
_USUAL = {400: 21211, 401: 20003, 403: 20003, 404: 20404, 429: 20429, 500: 20500, 503: 20503}


def sign(
    url: str, fields: Iterable[tuple[str, str]], token: str, *, algorithm: str = "HMAC_SHA1"
) -> str:
    """Return the signature Twilio would give a request.

    Args:
        url: The URL called, query included.
        fields: The form's names and values; none for a GET or a body hashed into the URL.
        token: The account's token, or a shared key.
        algorithm: ``HMAC_SHA1`` or ``HMAC_SHA256``.
    """
    values: dict[str, set[str]] = {}
    for name, value in fields:
        values.setdefault(name, set()).add(value)
    text = url
    for name in sorted(values):
        for value in sorted(values[name]):
            text += name + value
    digest = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}[algorithm]
    return base64.b64encode(hmac.new(token.encode(), text.encode(), digest).digest()).decode()


class TwilioSimulator(VendorSimulator):
    """One account with one number and one Messaging Service, whose RCS sender reaches everybody.

    It keeps the opt-outs of its recipients: after a ``STOP`` through ``receive`` a number is
    refused with code 21610 until it sends ``START``.

    Args:
        account_sid: The account.
        auth_token: Its token; requests are checked and webhooks signed with it.
        from_number: Its number.
        messaging_service_sid: Its Messaging Service.
        rcs_agent: The service's RCS sender.
        port: The port; 0 takes a free one.
    """

    vendor = "twilio"

    def __init__(
        self,
        *,
        account_sid: str = "AC00000000000000000000000000000001",
        auth_token: str = "tw-simulated-token",
        from_number: str = "+14155550199",
        messaging_service_sid: str = "MG00000000000000000000000000000001",
        rcs_agent: str = "rcs:acme_agent",
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self._account = account_sid
        self._token = auth_token
        self._number = from_number
        self._service = messaging_service_sid
        self._agent = rcs_agent
        self._stopped: set[str] = set()
        self._path = f"/2010-04-01/Accounts/{account_sid}/Messages.json"

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of ``TwilioConfig``."""
        return {
            "account_sid": self._account,
            "auth_token": self._token,
            "from_number": self._number,
            "api_base": self.api_base,
        }

    @property
    def rcs_settings(self) -> dict[str, Any]:
        """Keyword arguments of ``TwilioRCSConfig``."""
        settings = {**self.settings, "messaging_service_sid": self._service}
        del settings["from_number"]
        return settings

    async def handle(self, request: SimRequest) -> SimReply:
        """Take a message, or refuse it as Twilio would."""
        if request.path != self._path or request.method != "POST":
            return _error(404, 20404)
        if not self._knows(request.headers.get("authorization", "")):
            return _error(401, 20003)
        is_form = request.headers.get("content-type", "").partition(";")[0].strip() == _FORM
        form = request.form if is_form else {}
        fields = {name: values[0] for name, values in form.items()}
        media = form.get("MediaUrl", [])
        code = self._address_fault(fields) or _content_fault(fields, media)
        return self._accepted(fields, media) if code is None else _error(400, code)

    def failure(self, step: Step) -> SimReply:
        """Return an error as JSON; ``retry_after`` becomes a ``Retry-After`` header."""
        code = int(step.code) if step.code else _USUAL.get(step.status, step.status)
        wait = {} if step.retry_after is None else {"retry-after": f"{step.retry_after:g}"}
        return _error(step.status, code, wait)

    async def receive(
        self,
        url: str,
        *,
        text: str = "",
        sender: str = "+14155550100",
        media: Sequence[tuple[str, str]] = (),
        button: tuple[str, str] | None = None,
        message_id: str | None = None,
        rcs: bool = False,
        raw: bytes | None = None,
        method: str = "POST",
        signed_url: str | None = None,
        token: str | None = None,
        **fields: str,
    ) -> WebhookAnswer:
        """Let somebody write to the account's number: call an endpoint, signed.

        Args:
            url: The endpoint.
            text: What they write.
            sender: Their number.
            media: URL and type of each file they send.
            button: Text and payload of a button they pressed.
            message_id: The message's id; a new one by default.
            rcs: Whether they write to the RCS sender.
            raw: A form's body to send instead of all that.
            method: ``POST`` or ``GET``.
            signed_url: The URL to sign, where the endpoint is behind a proxy.
            token: The token to sign with; the account's by default.
            fields: Further fields, such as ``Latitude``.
        """
        self._note_consent(sender, text)
        message = {
            "MessageSid": message_id or self._new_sid("MM" if media else "SM"),
            "AccountSid": self._account,
            "From": f"rcs:{sender}" if rcs else sender,
            "To": self._agent if rcs else self._number,
            "Body": text,
            "NumMedia": str(len(media)),
            "NumSegments": "1",
            "SmsStatus": "received",
            "ApiVersion": "2010-04-01",
        }
        if rcs:
            message["MessagingServiceSid"] = self._service
        for place, (address, kind) in enumerate(media):
            message[f"MediaUrl{place}"] = address
            message[f"MediaContentType{place}"] = kind
        if button is not None:
            message["Body"] = text or button[0]
            message["ButtonText"], message["ButtonPayload"] = button
        message["SmsSid"] = message["SmsMessageSid"] = message["MessageSid"]
        body = urlencode({**message, **fields}).encode() if raw is None else raw
        return await self._call_back(
            url, body, method=method, signed_url=signed_url, token=token or self._token
        )

    async def status(
        self,
        message_id: str,
        status: str = "delivered",
        *,
        url: str | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
        by_sms: bool = False,
        signed_url: str | None = None,
        token: str | None = None,
        **fields: str,
    ) -> WebhookAnswer:
        """Report what became of a message that was sent.

        Args:
            message_id: Its id.
            status: Such as ``sent``, ``delivered``, ``undelivered``, ``failed`` or ``read``.
            url: The endpoint; by default the message's ``StatusCallback``.
            error_code: Why it failed.
            error_message: The same in words.
            by_sms: Whether SMS stood in for RCS.
            signed_url: The URL to sign, where the endpoint is behind a proxy.
            token: The token to sign with; the account's by default.
            fields: Further fields, such as ``RawDlrDoneDate``.

        Raises:
            ValueError: No such message was sent, or there is no endpoint.
        """
        message = next((m for m in self.sent if m.id == message_id), None)
        if message is None:
            raise ValueError("no message of this id was sent")
        target = url or message.data.get("StatusCallback")
        if not target:
            raise ValueError("give a url: the message was sent without a StatusCallback")
        service = message.data.get("MessagingServiceSid")
        is_rcs = service is not None and not by_sms
        report = {
            "MessageSid": message_id,
            "SmsSid": message_id,
            "MessageStatus": status,
            "SmsStatus": status,
            "AccountSid": self._account,
            "From": self._agent if is_rcs else self._number,
            "To": message.to,
            "ApiVersion": "2010-04-01",
        }
        optional = {
            "MessagingServiceSid": service,
            "ChannelPrefix": "rcs" if is_rcs else None,
            "EventType": "READ" if status == "read" else None,
            "ErrorCode": error_code,
            "ErrorMessage": error_message,
        }
        report.update({name: value for name, value in optional.items() if value is not None})
        body = urlencode({**report, **fields}).encode()
        return await self._call_back(
            target, body, method="POST", signed_url=signed_url, token=token or self._token
        )

    def reset(self) -> None:
        """Forget requests, messages, opt-outs and what is left of a script."""
        super().reset()
        self._stopped.clear()

    async def _call_back(
        self, url: str, body: bytes, *, method: str, signed_url: str | None, token: str
    ) -> WebhookAnswer:
        pairs: list[tuple[str, str]] = []
        signed = signed_url or url
        headers = {"user-agent": "TwilioProxy/1.1"}
        if method == "GET":
            join = "&" if "?" in url else "?"
            url, signed = (f"{u}{join}{body.decode()}" for u in (url, signed))
            body = b""
        else:
            pairs = SimRequest("POST", "", {}, {}, body).form_pairs
            headers["content-type"] = f"{_FORM}; charset=UTF-8"
        headers["x-twilio-signature"] = sign(signed, pairs, token)
        return await self.post(url, body, headers, method=method)

    def _new_sid(self, prefix: str) -> str:
        return self.new_id(f"{prefix}{'0' * 28}")

    def _knows(self, authorization: str) -> bool:
        credentials = base64.b64encode(f"{self._account}:{self._token}".encode()).decode()
        return hmac.compare_digest(authorization.encode(), f"Basic {credentials}".encode())

    def _note_consent(self, sender: str, text: str) -> None:
        word = text.strip().lower()
        if word in _STOP:
            self._stopped.add(sender)
        elif word in _START:
            self._stopped.discard(sender)

    def _address_fault(self, fields: dict[str, str]) -> int | None:
        """Return the code of what is wrong with recipient and sender."""
        to, sender = fields.get("To", ""), fields.get("From", "")
        service = fields.get("MessagingServiceSid")
        number = to.rpartition(":")[2]
        checks = (
            (not to, 21604),
            (_ADDRESS.fullmatch(to) is None, 21211),
            (not sender and service is None, 21603),
            (service is not None and service != self._service, 21701),
            (service is None and sender == to, 21266),
            (bool(sender) and sender != self._number, 21606),
            (number in self._stopped, 21610),
        )
        return next((code for wrong, code in checks if wrong), None)

    def _accepted(self, fields: dict[str, str], media: list[str]) -> SimReply:
        """Keep the message and answer with its resource."""
        sid = self._new_sid("MM" if media else "SM")
        service = fields.get("MessagingServiceSid")
        text = fields.get("Body", "")
        self.sent.append(SentMessage(sid, fields["To"], text, tuple(media), fields))
        uri = self._path.replace(".json", f"/{sid}.json")
        resource = {
            "account_sid": self._account,
            "api_version": "2010-04-01",
            "body": text,
            "date_created": "Sat, 21 Nov 2026 12:00:00 +0000",
            "date_sent": None,
            "date_updated": "Sat, 21 Nov 2026 12:00:00 +0000",
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": None if service else fields.get("From"),
            "messaging_service_sid": service,
            "num_media": str(len(media)),
            # A service picks the sender later, and only then counts.
            "num_segments": "0" if service else "1",
            "price": None,
            "price_unit": None,
            "sid": sid,
            "status": "accepted" if service else "queued",
            "subresource_uris": {"media": uri.replace(".json", "/Media.json")},
            "to": fields["To"],
            "uri": uri,
        }
        return SimReply.of_json(resource, 201)


def _content_fault(fields: dict[str, str], media: list[str]) -> int | None:
    """Return the code of what is wrong with text, files and template."""
    text, template = fields.get("Body", ""), fields.get("ContentSid")
    variables = fields.get("ContentVariables")
    checks = (
        (not text.strip() and not media and template is None, 21619),
        (len(text.encode("utf-16-le")) // 2 > _LONGEST_BODY, 21617),
        (len(media) > _MOST_MEDIA, 21623),
        (any(_MEDIA_URL.fullmatch(url) is None for url in media), 21620),
        (variables is not None and template is None, 21654),
        (variables is not None and not _is_object(variables), 21656),
    )
    return next((code for wrong, code in checks if wrong), None)


def _is_object(text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and bool(found)


def _error(status: int, code: int, headers: dict[str, str] | None = None) -> SimReply:
    body = {
        "code": code,
        "message": _MESSAGES.get(code, "The request failed"),
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return SimReply.of_json(body, status, headers)
