"""Who sent an activity: the token Teams puts into the Authorization header.

Source: Microsoft's "Authentication with the Bot Connector API". The keys are fetched from the
metadata the configuration names, kept for a day, and looked up again for an unknown key id, at
most once in five minutes: a stranger cannot make us ask for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from roomkit.exceptions import ProviderError, WebhookRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import ModuleType

    from roomkit._clock import Clock
    from roomkit.providers.teams.config import TeamsConfig

type Fetch = Callable[[str], Awaitable[Any]]
"""Fetches a URL and returns its JSON; raises ProviderError."""

ALGORITHMS = ("RS256", "RS384", "RS512")
LEEWAY_SECONDS = 300
MAX_KEYS = 100
MAX_AGE_SECONDS = 86_400.0
REFRESH_SECONDS = 300.0
_LONGEST_TOKEN = 16_384


class KeySet:
    """The public keys of the connector.

    Args:
        config: Where the metadata is.
        fetch: Fetches JSON.
        clock: Says how old the keys are.
    """

    def __init__(self, config: TeamsConfig, fetch: Fetch, clock: Clock) -> None:
        self._config = config
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, dict[str, Any]] = {}
        self._fetched: float | None = None
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    async def find(self, key_id: str) -> dict[str, Any] | None:
        """Return a key as JWK, looking for new ones when it is unknown or they are old.

        Raises:
            ProviderError: There are no keys and none can be fetched.
        """
        if self._age() > MAX_AGE_SECONDS or (
            key_id not in self._keys and self._age() > REFRESH_SECONDS
        ):
            async with self._lock:
                # Somebody else may have fetched while this one waited.
                age = self._age()
                if age > MAX_AGE_SECONDS or (key_id not in self._keys and age > REFRESH_SECONDS):
                    await self._refresh()
        return self._keys.get(key_id)

    def _age(self) -> float:
        return float("inf") if self._fetched is None else self._clock.monotonic() - self._fetched

    async def _refresh(self) -> None:
        """Fetch the keys; old ones go on counting when that fails."""
        try:
            metadata = await self._fetch(self._config.openid_url)
            location = metadata.get("jwks_uri") if isinstance(metadata, dict) else None
            if not isinstance(location, str) or not self._is_own(location):
                raise ProviderError("the metadata names no keys", retryable=True, provider="teams")
            found = await self._fetch(location)
        except ProviderError:
            if not self._keys:
                raise
        else:
            keys = found.get("keys") if isinstance(found, dict) else None
            self._keys = {
                key["kid"]: key
                for key in (keys if isinstance(keys, list) else [])[:MAX_KEYS]
                if isinstance(key, dict) and isinstance(key.get("kid"), str)
            }
        self._fetched = self._clock.monotonic()

    def _is_own(self, url: str) -> bool:
        """Return whether the keys lie where the metadata does."""
        mine, theirs = urlsplit(self._config.openid_url), urlsplit(url)
        return (mine.scheme, mine.netloc) == (theirs.scheme, theirs.netloc)


class Authenticator:
    """Checks tokens of incoming activities.

    Args:
        config: The bot.
        jwt: The PyJWT module.
        keys: The connector's keys.
    """

    def __init__(self, config: TeamsConfig, jwt: ModuleType, keys: KeySet) -> None:
        self._config = config
        self._jwt = jwt
        self._keys = keys

    async def claims(self, header: str) -> dict[str, Any]:
        """Return the claims of a good token, with its key's endorsements.

        Args:
            header: The Authorization header.

        Raises:
            WebhookRefused: The token is missing, of another kind, unsigned, for somebody else,
                stale, or of an unknown key.
            ProviderError: The keys cannot be fetched now.
        """
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
            raise WebhookRefused("the request has no bearer token")
        try:
            key_id = self._jwt.get_unverified_header(token).get("kid")
        except (self._jwt.PyJWTError, ValueError):
            raise WebhookRefused("the token cannot be read") from None
        key = await self._keys.find(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise WebhookRefused("the token is signed with an unknown key")
        try:
            claims: dict[str, Any] = self._jwt.decode(
                token,
                key=self._jwt.PyJWK(key, algorithm="RS256").key,
                algorithms=list(ALGORITHMS),
                audience=self._config.app_id,
                issuer=self._config.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (self._jwt.PyJWTError, ValueError, TypeError) as exc:
            raise WebhookRefused(f"the token is not good: {type(exc).__name__}") from None
        claims["endorsements"] = key.get("endorsements")
        return claims

    def match(self, claims: Mapping[str, Any], activity: Mapping[str, Any]) -> None:
        """Pass when a token belongs to an activity.

        Raises:
            WebhookRefused: It was issued for another service or channel, or the service is
                not an allowed one.
        """
        service = activity.get("serviceUrl")
        claimed = claims.get("serviceurl") or claims.get("serviceUrl")
        if not isinstance(service, str) or not isinstance(claimed, str):
            raise WebhookRefused("the token or the activity names no service")
        if service.rstrip("/") != claimed.rstrip("/"):
            raise WebhookRefused("the token belongs to another service")
        if not self._config.allows_service(service):
            raise WebhookRefused("the service is not an allowed one")
        endorsed = claims.get("endorsements")
        channel = activity.get("channelId")
        if isinstance(endorsed, list) and endorsed and channel not in endorsed:
            raise WebhookRefused("the key is not endorsed for the channel")
