"""A stand-in for Sinch' SMS REST API, with signed callbacks.

Built from the pages "Batches", "Webhooks" and "HTTP Status Codes for the SMS REST API" of
Sinch' documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.simulators._base import SentMessage, SimReply
from roomkit.simulators._callbacks import CallbackSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.simulators._base import SimRequest, Step, WebhookAnswer

_NUMBER = re.compile(r"\+?[0-9]{3,15}", re.ASCII)
_TYPES = ("mt_text", "mt_binary", "mt_media")
_LONGEST_TEXT = 2000
_LONGEST_MEDIA_TEXT = 5000
_MOST_RECIPIENTS = 1000
_CODES = {
    400: ("syntax_constraint_violation", "The request is malformed"),
    403: ("missing_callback_url", "You may not do this"),
}
_REPORT_CODES = {"Delivered": 0, "Dispatched": 401, "Queued": 400, "Failed": 402, "Expired": 406}


class SinchSimulator(CallbackSimulator):
    """Sinch on a socket of this machine.

    Args:
        service_plan_id: The service plan.
        api_token: The plan's token.
        from_number: The plan's number.
        webhook_secret: What callbacks are signed with.
        webhook_url: Where ``status`` sends to when nothing else is named.
        port: The port; 0 takes a free one.
    """

    vendor: ClassVar[str] = "sinch"

    def __init__(
        self,
        *,
        service_plan_id: str = "plan-simulated",
        api_token: str = "simulated-sinch-token",
        from_number: str = "+15145550199",
        webhook_secret: str = "simulated-sinch-secret",
        webhook_url: str | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(from_number=from_number, webhook_url=webhook_url, port=port)
        self._plan = service_plan_id
        self._token = api_token
        self._secret = webhook_secret

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for ``SinchConfig``."""
        return {
            "service_plan_id": self._plan,
            "api_token": self._token,
            "from_number": self._from_number,
            "webhook_secret": self._secret,
            "api_base": self.api_base,
        }

    async def handle(self, request: SimRequest) -> SimReply:
        """Answer a request as Sinch would."""
        if not self.bears(request, self._token):
            return SimReply(401)
        if request.path != f"/xms/v1/{self._plan}/batches":
            return SimReply(404)
        if request.method != "POST":
            return SimReply(405)
        if not self.says_json(request):
            return SimReply(415)
        try:
            body = request.json
        except ValueError:
            return _error(400, "syntax_invalid_json", "The body is no JSON")
        problem = _problem(body)
        if problem:
            return _error(400, *problem)
        return self._accept(body)

    def _accept(self, body: dict[str, Any]) -> SimReply:
        batch = self.new_id("01SIM")
        content = body["body"]
        text = content.get("message", "") if isinstance(content, dict) else content
        media = (content["url"],) if isinstance(content, dict) else ()
        for to in body["to"]:
            self.sent.append(SentMessage(batch, to, text, media, data=body))
        answer = {
            **body,
            "id": batch,
            "canceled": False,
            "type": body.get("type", "mt_text"),
            "created_at": "2026-01-01T00:00:00.000Z",
            "modified_at": "2026-01-01T00:00:00.000Z",
        }
        return SimReply.of_json(answer, 201)

    def failure(self, step: Step) -> SimReply:
        """Return Sinch' form of an error; it names no time to wait."""
        if step.status not in _CODES and step.code is None:
            return SimReply(step.status)
        code, text = _CODES.get(step.status, ("error", "An error"))
        return _error(step.status, step.code or code, text)

    # -- callbacks ---------------------------------------------------------------------------

    def sign(
        self, body: bytes, *, nonce: str = "01SIMNONCE", timestamp: int | None = None
    ) -> dict[str, str]:
        """Return the headers of a callback with this body."""
        moment = str(int(time.time()) if timestamp is None else timestamp)
        signed = b".".join((body, nonce.encode(), moment.encode()))
        seal = hmac.new(self._secret.encode(), signed, hashlib.sha256).digest()
        return {
            "content-type": "application/json",
            "x-sinch-webhook-signature": base64.b64encode(seal).decode(),
            "x-sinch-webhook-signature-nonce": nonce,
            "x-sinch-webhook-signature-timestamp": moment,
            "x-sinch-webhook-signature-algorithm": "HmacSHA256",
        }

    def callback(
        self, payload: Mapping[str, Any], *, timestamp: int | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of a callback, signed, without sending it."""
        body = json.dumps(payload, ensure_ascii=False).encode()
        return body, self.sign(body, timestamp=timestamp)

    def inbound(
        self,
        text: str = "",
        *,
        sender: str = "14155550100",
        media: Sequence[str] = (),
        message_id: str | None = None,
    ) -> dict[str, Any]:
        """Return the payload of an SMS or MMS to the plan's number."""
        content: Any = text
        if media:
            files = [
                {"url": url, "content_type": "image/jpeg", "status": "Uploaded", "code": 0}
                for url in media
            ]
            content = {**({"message": text} if text else {}), "media": files}
        return {
            "type": "mo_media" if media else "mo_text",
            "id": message_id or self.new_id("01MO"),
            "from": sender,
            "to": self._from_number.lstrip("+"),
            "body": content,
            "received_at": "2026-01-01T00:00:00.000Z",
            "operator_id": "310260",
        }

    async def receive(
        self,
        url: str,
        text: str = "",
        *,
        sender: str = "14155550100",
        media: Sequence[str] = (),
        message_id: str | None = None,
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
            raw: A body to sign and send instead.
            timestamp: When it is signed; now by default.
        """
        if raw is not None:
            return await self.post(url, raw, self.sign(raw, timestamp=timestamp))
        payload = self.inbound(text, sender=sender, media=media, message_id=message_id)
        body, headers = self.callback(payload, timestamp=timestamp)
        return await self.post(url, body, headers)

    def report(self, message_id: str, status: str = "Delivered") -> dict[str, Any]:
        """Return the payload of a report on one recipient of a batch."""
        to = self.recipient_of(message_id, "14155550100")
        return {
            "type": "recipient_delivery_report_sms",
            "batch_id": message_id,
            "recipient": to.lstrip("+"),
            "code": _REPORT_CODES.get(status.capitalize(), 402),
            "status": status.capitalize(),
            "at": "2026-01-01T00:00:01.000Z",
        }

    async def status(
        self, message_id: str, status: str = "delivered", url: str | None = None
    ) -> WebhookAnswer:
        """Send a report on one recipient of a batch.

        Args:
            message_id: The batch.
            status: One of Sinch' words, such as ``delivered``, ``dispatched`` or ``expired``.
            url: The endpoint; by default the simulator's ``webhook_url``.

        Raises:
            ValueError: There is no endpoint.
        """
        return await self.deliver(url, self.callback(self.report(message_id, status)))


def _error(status: int, code: str, text: str) -> SimReply:
    return SimReply.of_json({"code": code, "text": text}, status)


def _problem(body: Any) -> tuple[str, str] | None:
    """Return code and explanation of what Sinch would not take."""
    wrong, beyond = "syntax_invalid_parameter_format", "syntax_constraint_violation"
    if not isinstance(body, dict):
        return "syntax_invalid_json", "The body must be an object"
    to = body.get("to")
    if not isinstance(to, list) or not 1 <= len(to) <= _MOST_RECIPIENTS:
        return beyond, "to must hold 1 to 1000 numbers"
    if not all(isinstance(number, str) and _NUMBER.fullmatch(number) for number in to):
        return wrong, "to holds something that is no number"
    if not isinstance(body.get("from"), str) or not body["from"]:
        return beyond, "from is required"
    kind = body.get("type", "mt_text")
    if kind not in _TYPES:
        return wrong, "type is unknown"
    content = body.get("body")
    return _media_problem(content) if kind == "mt_media" else _text_problem(content)


def _text_problem(content: Any) -> tuple[str, str] | None:
    if not isinstance(content, str):
        return "syntax_invalid_parameter_format", "body must be a string"
    if not 0 < len(content) <= _LONGEST_TEXT:
        return "syntax_constraint_violation", "body must have 1 to 2000 characters"
    return None


def _media_problem(content: Any) -> tuple[str, str] | None:
    url = content.get("url") if isinstance(content, dict) else None
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return "syntax_invalid_parameter_format", "body.url must be a URL"
    if len(content.get("message", "")) > _LONGEST_MEDIA_TEXT:
        return "syntax_constraint_violation", "body.message has up to 5000 characters"
    return None
