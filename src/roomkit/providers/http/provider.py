"""Posting messages to an HTTP endpoint, signed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from roomkit._http import Refusal, VendorHTTP, answered, failed, refused, retry_after
from roomkit._scope import current_delivery
from roomkit._urls import check_url
from roomkit.exceptions import InvalidInputError, UnsafeURLError
from roomkit.models.delivery import ProviderResult
from roomkit.providers._signature import hmac_hex, secrets_of
from roomkit.providers._text import plain_text
from roomkit.providers.http import _standard
from roomkit.providers.http.base import HTTPProvider
from roomkit.providers.http.webhook import (
    DELIVERY_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    HTTPWebhook,
    verify_http_signature,
)

if TYPE_CHECKING:
    import httpx

    from roomkit._http import Reply
    from roomkit._urls import Resolver
    from roomkit.models.event import RoomEvent
    from roomkit.providers.http.config import HTTPProviderConfig

_THROTTLED = frozenset({429, 502, 503, 504})
"""Statuses that, with a ``Retry-After``, mean: not now (Standard Webhooks)."""


class WebhookHTTPProvider(VendorHTTP, HTTPProvider):
    """Posts each message as a JSON document, and reads what is posted to us.

    The document: ``recipient_id``, ``channel_id`` (where the message came from), ``room_id``,
    ``content`` (``{"type": "text", "body"}``) and ``metadata``. With a secret it is signed. The
    delivery's id goes along, the same for every attempt, so that an endpoint can leave repeats
    alone: ``webhook-id`` in Standard Webhooks, else ``X-RoomKit-Delivery``.

    An answer may be a JSON object with ``message_id``; any 2xx is a success.

    Args:
        config: The endpoint.
        client: An HTTP client to use instead of one of our own.
        transport: What carries our own client's requests, for tests.
        allow_hosts: Hosts that may be private although ``allow_private_hosts`` is False.
        resolver: Looks hosts up then; the system's by default.

    Raises:
        ImportError: (a MissingDependencyError) httpx is not installed.
        ConfigurationError: Standard Webhooks are asked for with a secret that is none.
    """

    sends_idempotency_key = True

    def __init__(
        self,
        config: HTTPProviderConfig,
        *,
        client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_hosts: tuple[str, ...] = (),
        resolver: Resolver | None = None,
    ) -> None:
        self._webhook = HTTPWebhook(config)
        self._allow_hosts = allow_hosts
        self._resolver = resolver
        self._open(config, client=client, transport=transport)

    @answered
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Post one message; see ``HTTPProvider.send``.

        Returns:
            The ``message_id`` the endpoint answered, if any. Errors: ``empty_message``,
            ``serialization_error``, ``private_host``, ``lookup_failed``, ``timeout``,
            ``http_<status>``.
        """
        text = plain_text(event.content)
        if not text:
            return refused("empty_message")
        try:
            body = _document(event, to, text)
        except (TypeError, ValueError, RecursionError):
            return refused("serialization_error")
        url, options = await self._target()
        headers = {**self._headers(event, body), **options.pop("headers", {})}
        reply = await self._call("post", url, content=body, headers=headers, **options)
        found = reply.find("message_id")
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        return ProviderResult(
            success=True, provider_message_id=found if isinstance(found, str) and found else None
        )

    async def _target(self) -> tuple[str, dict[str, Any]]:
        """Return where to post, and what the request needs for it.

        A guarded URL is posted to by the address that was looked at: a second look-up could
        lead elsewhere.
        """
        url: str = self._config.send_url
        if self._config.allow_private_hosts:
            return url, {}
        try:
            safe = await check_url(url, allow_hosts=self._allow_hosts, resolver=self._resolver)
        except UnsafeURLError as exc:
            # A look-up that failed is no verdict on the host.
            lookup = isinstance(exc.__context__, OSError)
            code = "lookup_failed" if lookup else "private_host"
            raise failed(code, retryable=lookup, provider=self.name) from exc
        parts = urlsplit(url)
        address = f"[{safe.address}]" if ":" in safe.address else safe.address
        direct = urlunsplit(
            (safe.scheme, f"{address}:{safe.port}", parts.path or "/", parts.query, "")
        )
        return direct, {
            "headers": {"Host": parts.netloc},
            "extensions": {"sni_hostname": safe.host},
        }

    def _headers(self, event: RoomEvent, body: str) -> dict[str, str]:
        """Return the request's headers; configured ones may replace the content type."""
        config = self._config
        headers = {"Content-Type": "application/json", **config.headers}
        delivery = current_delivery()
        now = int(time.time())
        if config.standard_webhooks:
            secrets = secrets_of(config.secret, config.previous_secrets)
            keys = [_standard.key_of(secret) for secret in secrets]
            key = delivery.id if delivery is not None else event.id
            headers[_standard.ID] = key
            headers[_standard.TIMESTAMP] = str(now)
            if keys:
                headers[_standard.SIGNATURE] = _standard.sign(keys, key, now, body.encode())
            return headers
        if delivery is not None:
            headers[DELIVERY_HEADER] = delivery.id
        secret = secrets_of(config.secret)
        if secret and config.sign_timestamp:
            headers[TIMESTAMP_HEADER] = str(now)
            headers[SIGNATURE_HEADER] = hmac_hex(secret[0], f"{now}.{body}".encode())
        elif secret:
            headers[SIGNATURE_HEADER] = hmac_hex(secret[0], body.encode())
        return headers

    def _refusal(self, reply: Reply) -> Refusal:
        code = f"http_{reply.status}"
        wait = retry_after(reply.headers)
        if reply.status in _THROTTLED and wait is not None:
            return Refusal(code, retryable=True, retry_after=wait)
        return Refusal(code)

    def webhook(self) -> HTTPWebhook:
        """Return the reader of what is posted to us."""
        return self._webhook

    def verify_signature(
        self, payload: bytes, signature: str, timestamp: str | None = None
    ) -> bool:
        """Tell whether ``payload`` was signed with one of the configured secrets.

        Args:
            payload: The raw body.
            signature: The header ``X-RoomKit-Signature``.
            timestamp: The header ``X-RoomKit-Timestamp``, where it is signed.

        Raises:
            ValueError: (an InvalidInputError) No secret is configured.
        """
        secrets = secrets_of(self._config.secret, self._config.previous_secrets)
        if not secrets:
            raise InvalidInputError("secret must be provided to check signatures")
        found = [
            verify_http_signature(payload, signature, one, timestamp=timestamp) for one in secrets
        ]
        return any(found)


def _document(event: RoomEvent, to: str, text: str) -> str:
    """Return the JSON document of a message.

    Raises:
        TypeError: The metadata holds something JSON cannot carry.
        ValueError: It holds itself, or a number that is none.
    """
    return json.dumps(
        {
            "recipient_id": to,
            "channel_id": event.source.channel_id,
            "room_id": event.room_id,
            "content": {"type": "text", "body": text},
            "metadata": event.metadata or {},
        },
        allow_nan=False,
    )
