"""A vendor for tests: it signs what it sends, and its callbacks hold what a test says."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.exceptions import WebhookError, WebhookRefused
from roomkit.models.content import TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import EventType
from roomkit.providers.webhook import (
    Signal,
    WebhookHandler,
    WebhookItem,
    WebhookRequest,
    WebhookResponse,
)
from roomkit.testing import SimpleChannel

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = b"a secret of the vendor"


def sign(url: str, body: bytes) -> str:
    """Return the vendor's signature."""
    return hmac.new(SECRET, url.encode() + body, hashlib.sha256).hexdigest()


def callback(*items: dict[str, Any]) -> bytes:
    """Return a callback's body."""
    return json.dumps(items).encode()


def message(text: str = "hello", **fields: Any) -> dict[str, Any]:
    """Return a message as the vendor writes it."""
    return {"is": "message", "from": "+15550100", "text": text, **fields}


def status(message_id: str = "m1", word: str = "delivered") -> dict[str, Any]:
    """Return a delivery status as the vendor writes it."""
    return {"is": "status", "id": message_id, "status": word}


class VendorHandler(WebhookHandler):
    """Reads the vendor's callbacks.

    Attributes:
        seen: The requests that were verified.
        problem: Raised by ``verify``, where a test sets it.
        said: The answer, where a test sets one.
    """

    methods: ClassVar[frozenset[str]] = frozenset({"GET", "POST"})

    def __init__(self) -> None:
        self.seen: list[WebhookRequest] = []
        self.problem: Exception | None = None
        self.said: WebhookResponse | None = None

    async def verify(self, request: WebhookRequest) -> None:
        self.seen.append(request)
        if self.problem is not None:
            raise self.problem
        if request.method == "GET" and "challenge" in request.query:
            if request.query.get("verify") != "me":
                raise WebhookRefused("the challenge names another secret", status=403)
            return
        given = request.headers.get("x-signature", "")
        if not hmac.compare_digest(given.encode(), sign(request.url, request.body).encode()):
            raise WebhookRefused("the signature is wrong")

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        if request.method == "GET":
            text = request.query.get("text")
            return [self._item(request, message(text))] if text else []
        try:
            found = json.loads(request.body)
        except ValueError:
            raise WebhookError("the body is no JSON") from None
        if not isinstance(found, list):
            raise WebhookError("the body is no list")
        return [self._item(request, item) for item in found]

    @staticmethod
    def _item(request: WebhookRequest, item: dict[str, Any]) -> WebhookItem:
        if item["is"] == "status":
            return DeliveryStatus(provider="vendor", message_id=item["id"], status=item["status"])
        if item["is"] == "reaction":
            return Signal(
                channel_id=request.channel_id,
                type=EventType.REACTION,
                sender_id=item["from"],
                target_message_id=item["about"],
                content=TextContent(body=item["emoji"]),
            )
        return InboundMessage(
            channel_id=request.channel_id,
            sender_id=item["from"],
            content=TextContent(body=item["text"]),
            external_id=item.get("id"),
            idempotency_key=item.get("key"),
        )

    def response(self, request: WebhookRequest) -> WebhookResponse:
        if "challenge" in request.query:
            return WebhookResponse(body=request.query["challenge"].encode())
        return self.said or super().response(request)


class UnsignedHandler(VendorHandler):
    """The same of a vendor that does not sign."""

    @property
    def signed(self) -> bool:
        return False

    async def verify(self, request: WebhookRequest) -> None:
        self.seen.append(request)


class KindsHandler(VendorHandler):
    """The same of a vendor with callbacks for messages and, apart, for statuses."""

    def for_kind(self, kind: str) -> WebhookHandler | None:
        return self if kind in {"", "status"} else None


class MailHandler(VendorHandler):
    """The same of a vendor that carries mail: long bodies of one type, and no GET."""

    max_body: ClassVar[int | None] = 5000
    methods: ClassVar[frozenset[str]] = frozenset({"POST"})
    content_types: ClassVar[frozenset[str]] = frozenset({"application/json"})


class VendorChannel(SimpleChannel):
    """A channel of the vendor.

    Args:
        channel_id: Unique within a kit.
        handler: Reads its callbacks.
    """

    def __init__(self, channel_id: str = "sms", handler: WebhookHandler | None = None) -> None:
        super().__init__(channel_id)
        self.handler = handler or VendorHandler()

    def webhook(self) -> WebhookHandler:
        return self.handler


def failing(error: Exception) -> Callable[..., Any]:
    """Return an async function that raises."""

    async def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail
