"""Somebody's endpoint on this machine: takes signed messages, and posts signed ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.simulators._base import SentMessage, SimReply, VendorSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.simulators._base import SimRequest, Step, WebhookAnswer

_PATH = "/hook"
_FRESH = 300


class WebhookSimulator(VendorSimulator):
    """The other side of ``WebhookHTTPProvider``, in each of its ways of signing.

    A message that comes again under the same delivery id gets its first answer and is not
    listed twice.

    Args:
        secret: What both sides sign with; None: nothing is signed.
        sign_timestamp: Sign a timestamp too.
        standard_webhooks: Speak Standard Webhooks.
        port: The port; 0 takes a free one.
    """

    vendor: ClassVar[str] = "http"

    def __init__(
        self,
        *,
        secret: str | None = "whsec_bWFkZS11cC1zZWNyZXQtZm9yLXRlc3RzLW9ubHkh",
        sign_timestamp: bool = False,
        standard_webhooks: bool = False,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self._secret = secret
        self._sign_timestamp = sign_timestamp
        self._standard = standard_webhooks
        self._known: dict[str, str] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of HTTPProviderConfig."""
        return {
            "webhook_url": f"{self.api_base}{_PATH}",
            "api_base": self.api_base,
            "secret": self._secret,
            "sign_timestamp": self._sign_timestamp,
            "standard_webhooks": self._standard,
        }

    async def handle(self, request: SimRequest) -> SimReply:
        """Take a message that is signed as it should be."""
        if request.path != _PATH:
            return _error(404, "no such endpoint")
        if request.method != "POST":
            return _error(405, "post messages")
        if request.headers.get("content-type") != "application/json":
            return _error(415, "send JSON")
        if not self._believes(request):
            return _error(401, "the signature is wrong")
        try:
            document = request.json
            text = document["content"]["body"]
            to = document["recipient_id"]
        except (ValueError, KeyError, TypeError):
            return _error(400, "the document is not as agreed")
        key = request.headers.get("webhook-id") or request.headers.get("x-roomkit-delivery")
        found = self._known.get(key) if key else None
        if found is None:
            found = self.new_id("hook-")
            self.sent.append(SentMessage(found, to, text, (), document))
            if key:
                self._known[key] = found
        return SimReply.of_json({"message_id": found})

    def failure(self, step: Step) -> SimReply:
        """Return an error with ``Retry-After`` in seconds."""
        headers = {} if step.retry_after is None else {"retry-after": f"{step.retry_after:g}"}
        return _error(step.status, step.code or "no", headers)

    async def receive(
        self,
        url: str,
        *,
        text: str = "",
        sender: str = "user-1",
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        timestamp: int | None = None,
        raw: bytes | None = None,
    ) -> WebhookAnswer:
        """Post a message to an endpoint, signed.

        Args:
            url: The endpoint.
            text: What it says.
            sender: Who says it.
            external_id: Its id at the sender.
            metadata: More.
            request_id: The id of the request, the same over repeats; by default a new one.
            timestamp: The moment of the signature; by default now.
            raw: The body instead of all that.
        """
        document: dict[str, Any] = {"sender_id": sender, "body": text}
        if external_id is not None:
            document["external_id"] = external_id
        if metadata is not None:
            document["metadata"] = dict(metadata)
        body = json.dumps(document).encode() if raw is None else raw
        headers = self.signature(body, request_id or self.new_id("req-"), timestamp)
        return await self.post(url, body, {"content-type": "application/json", **headers})

    def signature(
        self, body: bytes, request_id: str, timestamp: int | None = None
    ) -> dict[str, str]:
        """Return the headers that go with a body."""
        moment = int(time.time()) if timestamp is None else timestamp
        if self._standard:
            headers = {"webhook-id": request_id, "webhook-timestamp": str(moment)}
            if self._secret is not None:
                headers["webhook-signature"] = f"v1,{self._v1(request_id, str(moment), body)}"
            return headers
        headers = {"X-RoomKit-Delivery": request_id}
        if self._secret is not None and self._sign_timestamp:
            headers["X-RoomKit-Timestamp"] = str(moment)
            headers["X-RoomKit-Signature"] = self._hex(f"{moment}.".encode() + body)
        elif self._secret is not None:
            headers["X-RoomKit-Signature"] = self._hex(body)
        return headers

    def _believes(self, request: SimRequest) -> bool:
        if self._secret is None:
            return True
        headers, body = request.headers, request.body
        name = "webhook-timestamp" if self._standard else "x-roomkit-timestamp"
        moment = headers.get(name, "")
        stale = not moment.isdecimal() or abs(time.time() - int(moment)) > _FRESH
        if stale and (self._standard or self._sign_timestamp):
            return False
        if self._standard:
            expected = f"v1,{self._v1(headers.get('webhook-id', ''), moment, body)}"
            return expected in headers.get("webhook-signature", "").split()
        signed = f"{moment}.".encode() + body if self._sign_timestamp else body
        return headers.get("x-roomkit-signature") == self._hex(signed)

    def _hex(self, payload: bytes) -> str:
        key = (self._secret or "").encode()
        return hmac.new(key, payload, hashlib.sha256).hexdigest()

    def _v1(self, request_id: str, moment: str, body: bytes) -> str:
        key = base64.b64decode((self._secret or "").removeprefix("whsec_"))
        content = f"{request_id}.{moment}.".encode() + body
        return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> SimReply:
    return SimReply.of_json({"error": text}, status, headers)
