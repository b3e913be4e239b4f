"""A stand-in for Telnyx: SMS, MMS and RCS, with Ed25519-signed callbacks.

Built from the pages "Send a message", "Send an RCS message", "Receiving Webhooks for
Messaging", "Idempotency" and "Messaging error codes" of Telnyx' developer documentation.
"""

from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._lazy import require
from roomkit.simulators._base import SentMessage, SimReply
from roomkit.simulators._callbacks import CallbackSimulator
from roomkit.simulators._telnyx_rules import files_of, rcs_problem, sms_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.simulators._base import SimRequest, Step, WebhookAnswer

_KEY = re.compile(r"[A-Za-z0-9_:-]{1,255}", re.ASCII)
_CAPABILITY = re.compile(r"/v2/messaging/rcs/capabilities/([^/]+)/([^/]+)")
_CODES = {
    400: ("10015", "Bad Request", "The request is invalid"),
    401: ("10009", "Authentication failed", "The API key is invalid"),
    403: ("10010", "Authorization failed", "You may not do this"),
    404: ("10005", "Resource not found", "There is nothing here"),
    422: ("10027", "Unprocessable Entity", "The key was used for another request"),
    429: ("10011", "Too many requests", "You have exceeded the rate limit"),
    500: ("10007", "Unexpected error", "An unexpected error occurred"),
    503: ("10016", "Service unavailable", "The service is unavailable"),
}


class TelnyxSimulator(CallbackSimulator):
    """Telnyx on a socket of this machine.

    Args:
        api_key: The key requests must bear.
        from_number: The account's number.
        messaging_profile_id: The account's messaging profile.
        agent_id: The account's RCS agent.
        seed: 32 bytes the signing key is made of.
        webhook_url: Where ``status`` sends to when the message names nothing else.
        without_rcs: Numbers no RCS reaches.
        port: The port; 0 takes a free one.
    """

    vendor: ClassVar[str] = "telnyx"

    def __init__(
        self,
        *,
        api_key: str = "KEY0188SIMULATED_telnyx",
        from_number: str = "+15145550199",
        messaging_profile_id: str = "40017c8e-5e5a-4b8b-9f0a-simulated000",
        agent_id: str = "agent-simulated",
        seed: bytes = bytes(range(32)),
        webhook_url: str | None = None,
        without_rcs: Sequence[str] = (),
        port: int = 0,
    ) -> None:
        super().__init__(from_number=from_number, webhook_url=webhook_url, port=port)
        self.without_rcs: set[str] = set(without_rcs)
        self._api_key = api_key
        self._profile = messaging_profile_id
        self._agent = agent_id
        self._seed = seed
        self._answers: dict[str, tuple[bytes, SimReply]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for ``TelnyxConfig``."""
        return {
            "api_key": self._api_key,
            "from_number": self._from_number,
            "messaging_profile_id": self._profile,
            "api_base": self.api_base,
        }

    @property
    def rcs_settings(self) -> dict[str, Any]:
        """Keyword arguments for ``TelnyxRCSConfig``; SMS may stand in."""
        return {
            "api_key": self._api_key,
            "agent_id": self._agent,
            "messaging_profile_id": self._profile,
            "fallback_from": self._from_number,
            "api_base": self.api_base,
        }

    @property
    def public_key(self) -> str:
        """The account's public key, base64, for the provider's ``public_key``."""
        return base64.b64encode(self._key().public_key().public_bytes_raw()).decode()

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a request as Telnyx would."""
        if not self.bears(request, self._api_key):
            return _errors(401)
        found = _CAPABILITY.fullmatch(request.path)
        if found is not None:
            return self._capability(request.method, *found.groups())
        if request.path not in ("/v2/messages", "/v2/messages/rcs"):
            return _errors(404)
        if request.method != "POST":
            return _errors(405, code="10006")
        if not self.says_json(request):
            return _errors(415, code="10012", detail="The body must be JSON")
        try:
            body = request.json
        except ValueError:
            return _errors(400, detail="The body is no JSON")
        if not isinstance(body, dict):
            return _errors(400, detail="The body must be an object")
        if request.path == "/v2/messages":
            return self._sms(body)
        return self._keyed(request, body)

    def _sms(self, body: dict[str, Any]) -> SimReply:
        text, media = body.get("text", ""), body.get("media_urls", [])
        problem = sms_problem(body, self._profile)
        if problem:
            return _errors(400, code=problem[0], detail=problem[1])
        kind = "MMS" if media else "SMS"
        data = {
            "record_type": "message",
            "direction": "outbound",
            "id": self._sent(body, text, media),
            "type": kind,
            "messaging_profile_id": self._profile,
            "from": {"phone_number": body["from"], "carrier": "Telnyx", "line_type": "Wireless"},
            "to": [{"phone_number": body["to"], "status": "queued"}],
            "text": text,
            "media": [{"url": url} for url in media],
            "errors": [],
        }
        return SimReply.of_json({"data": data})

    def _keyed(self, request: SimRequest, body: dict[str, Any]) -> SimReply:
        """Answer a repeat of an RCS request as the first time."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return self._rcs(body)
        if not _KEY.fullmatch(key):
            return _errors(400, detail="The Idempotency-Key is malformed")
        known = self._answers.get(key)
        if known is not None:
            return known[1] if known[0] == request.body else _errors(422)
        reply = self._rcs(body)
        if reply.status == 200:
            self._answers[key] = request.body, reply
        return reply

    def _rcs(self, body: dict[str, Any]) -> SimReply:
        problem = rcs_problem(body, self._agent, self._profile)
        if problem:
            return _errors(400, detail=problem)
        message = body["agent_message"].get("content_message")
        kind = "RCS"
        if body["to"] in self.without_rcs:
            stand_in = body.get("sms_fallback") or body.get("mms_fallback")
            if stand_in is None:
                return _errors(400, code="40315", detail="The number is not reachable by RCS")
            kind = "MMS" if "mms_fallback" in body else "SMS"
        message_id = self.new_id("rcs-")
        if message is not None:
            self._record(message_id, body, message.get("text", ""), files_of(message))
        data = {
            "record_type": "message",
            "direction": "outbound",
            "id": message_id,
            "type": kind,
            "messaging_profile_id": self._profile,
            "from": {"agent_id": self._agent, "agent_name": "Simulated", "carrier": "Telnyx"},
            "to": [{"phone_number": body["to"], "status": "queued"}],
            "body": body["agent_message"],
        }
        return SimReply.of_json({"data": data})

    def _capability(self, method: str, agent: str, phone: str) -> SimReply:
        if method != "GET":
            return _errors(405, code="10006")
        if agent != self._agent:
            return _errors(404)
        features = [] if phone in self.without_rcs else ["RICHCARD_STANDALONE", "ACTION_DIAL"]
        data = {
            "record_type": "rcs.capabilities",
            "agent_id": agent,
            "agent_name": "Simulated",
            "phone_number": phone,
            "features": features,
        }
        return SimReply.of_json({"data": data})

    def _sent(self, body: dict[str, Any], text: str, media: Sequence[str]) -> str:
        message_id = self.new_id("msg-")
        self._record(message_id, body, text, media)
        return message_id

    def _record(
        self, message_id: str, body: dict[str, Any], text: str, media: Sequence[str]
    ) -> None:
        self.sent.append(SentMessage(message_id, body["to"], text, tuple(media), data=body))

    def failure(self, step: Step) -> SimReply:
        """Return Telnyx' form of an error, the wait in ``x-ratelimit-reset``."""
        wait = {}
        if step.retry_after is not None:
            wait["x-ratelimit-reset"] = f"{step.retry_after:g}"
        return _errors(step.status, code=step.code, headers=wait)

    # -- callbacks ---------------------------------------------------------------------------

    def callback(
        self,
        event_type: str,
        payload: Mapping[str, Any],
        *,
        timestamp: int | None = None,
        event_id: str | None = None,
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of a callback, signed, without sending it.

        Args:
            event_type: Such as ``message.received``.
            payload: Telnyx' ``data.payload``.
            timestamp: When it is signed, in unix seconds; now by default.
            event_id: The id of the event.
        """
        data = {
            "event_type": event_type,
            "id": event_id or self.new_id("ev-"),
            "occurred_at": "2026-01-01T00:00:00.000+00:00",
            "payload": dict(payload),
            "record_type": "event",
        }
        body = json.dumps({"data": data, "meta": {"attempt": 1}}, ensure_ascii=False).encode()
        return body, self.sign(body, timestamp)

    def sign(self, body: bytes, timestamp: int | None = None) -> dict[str, str]:
        """Return the headers of a callback with this body."""
        moment = str(int(time.time()) if timestamp is None else timestamp)
        seal = self._key().sign(moment.encode() + b"|" + body)
        return {
            "content-type": "application/json",
            "telnyx-signature-ed25519": base64.b64encode(seal).decode(),
            "telnyx-timestamp": moment,
        }

    def inbound(
        self,
        text: str = "",
        *,
        sender: str = "+14155550100",
        media: Sequence[str] = (),
        message_id: str | None = None,
    ) -> dict[str, Any]:
        """Return the payload of an SMS or MMS to the account's number."""
        return {
            "direction": "inbound",
            "id": message_id or self.new_id("in-"),
            "type": "MMS" if media else "SMS",
            "from": {"phone_number": sender, "carrier": "Simulated", "line_type": "Wireless"},
            "to": [{"phone_number": self._from_number, "status": "webhook_delivered"}],
            "text": text,
            "media": [{"url": url, "content_type": "image/jpeg"} for url in media],
            "received_at": "2026-01-01T00:00:00.000+00:00",
            "errors": [],
        }

    def inbound_rcs(
        self,
        text: str = "",
        *,
        sender: str = "+14155550100",
        message_id: str | None = None,
        **body: Any,
    ) -> dict[str, Any]:
        """Return the payload of an RCS message to the agent.

        Args:
            text: What it says.
            sender: Who says it.
            message_id: Its id.
            body: More of the body: ``user_file``, ``location``, ``suggestion_response``, ...
        """
        return {
            "direction": "inbound",
            "id": message_id or self.new_id("in-"),
            "type": "RCS",
            "from": {"phone_number": sender, "carrier": "Simulated", "line_type": "Wireless"},
            "to": [{"agent_id": self._agent, "agent_name": "Simulated"}],
            "body": {**({"text": text} if text else {}), **body},
            "received_at": "2026-01-01T00:00:00.000+00:00",
        }

    async def receive(
        self,
        url: str,
        text: str = "",
        *,
        sender: str = "+14155550100",
        media: Sequence[str] = (),
        message_id: str | None = None,
        rcs: Mapping[str, Any] | None = None,
        raw: bytes | None = None,
        timestamp: int | None = None,
    ) -> WebhookAnswer:
        """Send a signed message to an endpoint.

        Args:
            url: The endpoint.
            text: What the message says.
            sender: Who sent it.
            media: URLs of its files.
            message_id: Its id.
            rcs: Makes it an RCS message, with this in its body.
            raw: A body to sign and send instead.
            timestamp: When it is signed; now by default.
        """
        if raw is not None:
            return await self.post(url, raw, self.sign(raw, timestamp))
        if rcs is None:
            payload = self.inbound(text, sender=sender, media=media, message_id=message_id)
        else:
            payload = self.inbound_rcs(text, sender=sender, message_id=message_id, **rcs)
        body, headers = self.callback("message.received", payload, timestamp=timestamp)
        return await self.post(url, body, headers)

    async def status(
        self,
        message_id: str,
        status: str = "delivered",
        url: str | None = None,
        *,
        error_code: str = "40001",
        detail: str = "Not routable",
    ) -> WebhookAnswer:
        """Send word of a message that was sent.

        Args:
            message_id: The message.
            status: ``sent``, ``read``, or how it ended: ``delivered``, ``delivery_failed``,
                ``sending_failed``, ``delivery_unconfirmed``, ``expired``.
            url: The endpoint; by default the simulator's ``webhook_url``.
            error_code: The code of a failure.
            detail: The explanation of a failure.

        Raises:
            ValueError: There is no endpoint.
        """
        event_type, payload = self.report(message_id, status, error_code, detail)
        return await self.deliver(url, self.callback(event_type, payload))

    def report(
        self, message_id: str, status: str, error_code: str = "40001", detail: str = "Not routable"
    ) -> tuple[str, dict[str, Any]]:
        """Return type and payload of a callback on a message that was sent."""
        event = status if status in ("sent", "read") else "finalized"
        failed = status in ("delivery_failed", "sending_failed", "expired")
        to = self.recipient_of(message_id, "+14155550100")
        errors = [{"code": error_code, "title": "Failed", "detail": detail}] if failed else []
        return f"message.{event}", {
            "direction": "outbound",
            "id": message_id,
            "from": {"phone_number": self._from_number},
            "to": [{"phone_number": to, "status": status}],
            "errors": errors,
            "completed_at": "2026-01-01T00:00:01.000+00:00" if event == "finalized" else None,
            "sent_at": "2026-01-01T00:00:00.500+00:00",
        }

    def _key(self) -> Any:
        module = require(
            "cryptography.hazmat.primitives.asymmetric.ed25519",
            user="TelnyxSimulator",
            extra="signatures",
            dist="cryptography",
        )
        return module.Ed25519PrivateKey.from_private_bytes(self._seed)


def _errors(
    status: int,
    *,
    code: str | None = None,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> SimReply:
    known, title, text = _CODES.get(status, ("10000", "Error", "An error"))
    error = {"code": code or known, "title": title, "detail": detail or text}
    return SimReply.of_json({"errors": [error]}, status, headers)
