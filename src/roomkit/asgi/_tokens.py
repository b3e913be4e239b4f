"""Secrets in the URL, for vendors that do not sign what they send."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from roomkit._logging import ids
from roomkit.asgi._respond import not_found, refused
from roomkit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from roomkit.providers.webhook import WebhookHandler

logger = logging.getLogger("roomkit.asgi.webhooks")

type Tokens = Mapping[str, str | Sequence[str]]
"""Channel id to its token, or to several of which any will do."""

SHORT = 16
"""A shorter token can be guessed."""


class UrlTokens:
    """Knows the tokens and checks them.

    Args:
        tokens: Of each channel that has one.

    Raises:
        ConfigurationError: A channel has no token, or an empty one.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens: dict[str, tuple[bytes, ...]] = {}
        self._told: set[str] = set()
        for channel_id, given in tokens.items():
            each = (given,) if isinstance(given, str) else tuple(given)
            if not each or not all(each):
                raise ConfigurationError(f"unsigned: channel {channel_id!r} has an empty token")
            if min(map(len, each)) < SHORT:
                logger.warning(
                    "the URL token of channel %s has fewer than %d characters and can be guessed",
                    channel_id,
                    SHORT,
                    extra=ids(channel_id=channel_id),
                )
            self._tokens[channel_id] = tuple(token.encode() for token in each)

    def split(
        self, channel_id: str, rest: Sequence[str], query: Mapping[str, str]
    ) -> tuple[str, str | None]:
        """Return the kind of callback and the token a request names.

        Args:
            channel_id: The channel.
            rest: The path behind it, in segments.
            query: The query parameters; ``token`` counts before the last segment.

        Raises:
            Refused: (404) The path is none of a webhook.
        """
        token = None
        if channel_id in self._tokens:
            token = query.get("token")
            if token is None and rest:
                *rest, token = rest
        if len(rest) > 1 or (rest and not rest[0]):
            raise not_found()
        return (rest[0] if rest else ""), token

    def check(self, channel_id: str, handler: WebhookHandler, token: str | None) -> None:
        """Return when the token is right, or when none is needed.

        Raises:
            Refused: (401) It is wrong or missing, or nothing at all says who the sender is.
        """
        wanted = self._tokens.get(channel_id)
        if wanted is None:
            if handler.signed:
                return
            self._tell(channel_id)
            raise refused(401, "neither a signature nor a token says who sends")
        given = (token or "").encode()
        # Every one is compared: the time must not tell which of them was near.
        if not any([hmac.compare_digest(given, one) for one in wanted]):
            raise refused(401, "the token in the URL is wrong or missing")

    def _tell(self, channel_id: str) -> None:
        if channel_id in self._told:
            return
        self._told.add(channel_id)
        logger.warning(
            "the webhook of channel %s refuses everything: the vendor does not sign, or its "
            "provider was given no secret. Give the provider its secret, or the endpoint a "
            "token of its own: create_app(kit, unsigned={%r: token})",
            channel_id,
            channel_id,
            extra=ids(channel_id=channel_id),
        )
