"""What Messenger and WhatsApp share: both are doors to Meta's Graph API.

Errors, the wait a throttled caller is told, the signature of callbacks and the challenge that
opens an endpoint are the same at both (Meta: "Graph API error handling", "Rate limits",
"Webhooks: getting started").
"""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from roomkit._http import Refusal, Reply, number, retry_after
from roomkit.exceptions import InvalidInputError, WebhookRefused
from roomkit.providers._sender import VendorSender
from roomkit.providers._signature import hmac_hex, matches_any, same, secrets_of
from roomkit.providers._webhook import header, read_json, require_signature
from roomkit.providers.webhook import WebhookHandler, WebhookResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from roomkit.providers.webhook import WebhookItem, WebhookRequest

logger = logging.getLogger("roomkit.providers.graph")

GRAPH = "https://graph.facebook.com"
"""Scheme and host of the Graph API."""

TRANSIENT = frozenset({1, 2, 4})
"""Codes of either door after which the same request may succeed later."""

_SIGNATURE = "x-hub-signature-256"
_USAGE = "x-business-use-case-usage"
_LONGEST_USAGE = 64 * 1024
_LONGEST_CALLBACK = 3 * 1024 * 1024
_LONGEST_WORDS = 500
_SECONDS_A_MINUTE = 60.0


class GraphAccount(Protocol):
    """The config of a page or a number, as far as both agree."""

    @property
    def app_secret(self) -> SecretStr | None:
        """The app's secret, with which Meta signs callbacks."""

    @property
    def previous_secrets(self) -> list[SecretStr]:
        """App secrets that still count while they are being rotated out."""

    @property
    def verify_token(self) -> SecretStr | None:
        """The word agreed on for the challenge of a new endpoint."""


class GraphSender[C: GraphAccount, W: GraphWebhook](VendorSender[C, W]):
    """What both providers share: what errors mean, who signed a callback, the challenge."""

    retryable_codes: ClassVar[frozenset[int]] = TRANSIENT
    """Graph codes after which the same request may succeed later."""

    @abstractmethod
    def _access_token(self) -> str:
        """Return the token; an error's text may quote it, and must not be passed on so."""

    def verify_signature(
        self, payload: bytes, signature: str, timestamp: str | None = None
    ) -> bool:
        """Tell whether Meta signed ``payload``.

        Args:
            payload: The raw body.
            signature: The header ``X-Hub-Signature-256``.
            timestamp: Not used; Meta signs none.

        Raises:
            InvalidInputError: (a ValueError) The config has no ``app_secret``.
        """
        secrets = secrets_of(self._config.app_secret, self._config.previous_secrets)
        if not secrets:
            raise InvalidInputError(
                f"app_secret must be provided in {type(self._config).__name__} "
                "to verify signatures"
            )
        return signature_matches(secrets, payload, signature)

    def verify_challenge(self, params: Mapping[str, str]) -> str | None:
        """Return what to answer Meta's GET with when the endpoint is entered.

        Args:
            params: The query parameters.

        Returns:
            The text to answer as it is; None: answer 403.
        """
        return challenge_of(params, self._config.verify_token)

    def _refusal(self, reply: Reply) -> Refusal | None:
        """Return what an error answer means."""
        if not isinstance(reply.json, dict):
            return Refusal(f"http_{reply.status}")
        error = reply.find("error")
        error = error if isinstance(error, dict) else {}
        code = _code(error.get("code"))
        retryable = code in self.retryable_codes or None
        return Refusal(
            f"graph_{reply.status if code is None else code}",
            message=self._said(error.get("message")),
            vendor_code=code,
            retryable=retryable,
            retry_after=_wait(reply) if retryable or reply.status == 429 else None,
            details=self._details(error),
        )

    def _details(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """Return what else of an error is worth keeping."""
        data = error.get("error_data")
        found = {
            "details": self._said(data.get("details")) if isinstance(data, dict) else None,
            "error_subcode": _code(error.get("error_subcode")),
            "fbtrace_id": self._said(error.get("fbtrace_id")),
        }
        return {key: value for key, value in found.items() if value is not None}

    def _said(self, text: Any) -> str | None:
        """Return a vendor's text without the token; Graph quotes one it cannot read."""
        if not isinstance(text, str) or not text:
            return None
        token = self._access_token()
        return (text.replace(token, "<token>") if token else text)[:_LONGEST_WORDS]


class GraphWebhook(WebhookHandler):
    """Believes what carries Meta's signature, and answers the challenge of a new endpoint.

    Args:
        app_secret: The app's secret; None: callbacks are not signed as far as we can tell.
        previous_secrets: Secrets that still count while they are being rotated out.
        verify_token: The word agreed on for the challenge; None refuses every challenge.
    """

    max_body: ClassVar[int] = _LONGEST_CALLBACK
    methods: ClassVar[frozenset[str]] = frozenset({"GET", "POST"})
    content_types: ClassVar[frozenset[str]] = frozenset({"application/json"})

    def __init__(
        self,
        app_secret: SecretStr | None,
        previous_secrets: list[SecretStr],
        verify_token: SecretStr | None,
    ) -> None:
        self._secrets = secrets_of(app_secret, previous_secrets)
        self._verify_token = verify_token

    @property
    def signed(self) -> bool:
        """Whether a secret is configured; Meta always signs."""
        return bool(self._secrets)

    async def verify(self, request: WebhookRequest) -> None:
        """Return when the request comes from Meta.

        Meta signs no time, so age is not looked at: a repeat is known by the message's id.

        Raises:
            WebhookRefused: A challenge without the agreed word (status 403), a signature that
                is missing or wrong (401).
        """
        if request.method == "GET":
            if challenge_of(request.query, self._verify_token) is None:
                raise WebhookRefused("the verify token does not match", status=403)
        elif self._secrets:
            signature = header(request, _SIGNATURE)
            require_signature(signature_matches(self._secrets, request.body, signature))

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return what a callback holds; a challenge holds nothing.

        Raises:
            WebhookError: The body has the wrong shape; the text names the field.
        """
        if request.method == "GET":
            return []
        return self._items(read_json(request.body), request.channel_id)

    def response(self, request: WebhookRequest) -> WebhookResponse:
        """Return the challenge as plain text, or an empty 200."""
        if request.method != "GET":
            return WebhookResponse()
        challenge = challenge_of(request.query, self._verify_token) or ""
        return WebhookResponse(body=challenge.encode("utf-8", "replace"))

    @abstractmethod
    def _items(self, payload: dict[str, Any], channel_id: str) -> list[WebhookItem]:
        """Return what a callback's JSON holds."""


def signature_matches(secrets: list[str], payload: bytes, signature: str) -> bool:
    """Tell whether ``X-Hub-Signature-256`` goes with the raw body.

    Meta escapes non-ASCII characters before it signs, so JSON that was read and written again
    does not match.

    Args:
        secrets: App secrets, any of which may have been used.
        payload: The body, byte for byte.
        signature: The header, ``sha256=`` and 64 hex digits.
    """
    return matches_any([f"sha256={hmac_hex(secret, payload)}" for secret in secrets], signature)


def challenge_of(params: Mapping[str, str], verify_token: SecretStr | None) -> str | None:
    """Return the text to answer a subscription's challenge with.

    Args:
        params: The query parameters ``hub.mode``, ``hub.verify_token``, ``hub.challenge``.
        verify_token: The word agreed on.

    Returns:
        None when the challenge is not to be answered.
    """
    expected = verify_token.get_secret_value() if verify_token is not None else ""
    given, challenge = params.get("hub.verify_token"), params.get("hub.challenge")
    if not expected or not isinstance(given, str) or not isinstance(challenge, str):
        return None
    if not same(expected, given) or params.get("hub.mode") != "subscribe":
        return None
    return challenge


def appsecret_proof(app_secret: str, access_token: str) -> str:
    """Return the proof that the caller knows the secret of the app a token belongs to."""
    return hmac_hex(app_secret, access_token.encode())


def _code(value: Any) -> int | None:
    """Return a Graph code, which some answers give as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _wait(reply: Reply) -> float | None:
    """Return the seconds until calls are taken again, as far as the answer says."""
    minutes = _regain_minutes(reply.headers.get(_USAGE, ""))
    return minutes * _SECONDS_A_MINUTE if minutes else retry_after(reply.headers)


def _regain_minutes(usage: str) -> float | None:
    """Return the longest ``estimated_time_to_regain_access`` of a usage header."""
    if not usage or len(usage) > _LONGEST_USAGE:
        return None
    try:
        read = json.loads(usage)
    except (ValueError, RecursionError):
        return None
    lists = read.values() if isinstance(read, dict) else ()
    entries = [entry for some in lists if isinstance(some, list) for entry in some]
    waits = [
        number(entry.get("estimated_time_to_regain_access"))
        for entry in entries
        if isinstance(entry, dict)
    ]
    return max((wait for wait in waits if wait is not None and wait > 0), default=None)
