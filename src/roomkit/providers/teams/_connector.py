"""The Bot Connector REST API: what the bot says, and the token it says it with.

Source: Microsoft's "Bot Connector REST API reference".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from roomkit._http import failed, number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit._clock import Clock
    from roomkit._http import Reply
    from roomkit.providers.teams.config import TeamsConfig

_MARGIN_SECONDS = 300.0
"""A token is renewed so long before it ends."""

_SHORTEST_SECONDS = 60.0


class TeamsConnector:
    """Asks the connector on behalf of one bot; ``provider.adapter``.

    Args:
        config: The bot.
        call: ``(method, url, **options)``: sends a request, raises ProviderDeliveryError.
        clock: Says when the token ends.
    """

    def __init__(
        self, config: TeamsConfig, call: Callable[..., Awaitable[Reply]], clock: Clock
    ) -> None:
        self._config = config
        self._call = call
        self._clock = clock
        self._bearer_value = ""
        self._ends = float("-inf")
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return "TeamsConnector()"

    async def send(self, service_url: str, conversation_id: str, activity: dict[str, Any]) -> str:
        """Send an activity into a conversation and return its id.

        Raises:
            ProviderDeliveryError: It was not taken.
        """
        reply = await self._ask("post", service_url, _activities(conversation_id), activity)
        return _id(reply)

    async def update(
        self, service_url: str, conversation_id: str, activity_id: str, activity: dict[str, Any]
    ) -> str:
        """Change an activity of ours.

        Raises:
            ProviderDeliveryError: It was not changed.
        """
        path = f"{_activities(conversation_id)}/{_segment(activity_id)}"
        reply = await self._ask("put", service_url, path, activity)
        return str(reply.find("id") or activity_id)

    async def delete(self, service_url: str, conversation_id: str, activity_id: str) -> None:
        """Take an activity of ours back.

        Raises:
            ProviderDeliveryError: It was not taken back.
        """
        path = f"{_activities(conversation_id)}/{_segment(activity_id)}"
        await self._ask("delete", service_url, path, None)

    async def create_conversation(
        self, service_url: str, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """Open a conversation and return ``id`` and, where there is one, ``activityId``.

        Raises:
            ProviderDeliveryError: It was not opened.
        """
        reply = await self._ask("post", service_url, "/v3/conversations", parameters)
        _id(reply)
        return reply.object

    async def _ask(
        self, method: str, service_url: str, path: str, body: dict[str, Any] | None
    ) -> Reply:
        if not self._config.allows_service(service_url):
            raise failed("service_not_allowed", retryable=False, provider="teams")
        url = f"{service_url.rstrip('/')}{path}"
        headers = {"authorization": f"Bearer {await self._bearer()}"}
        options: dict[str, Any] = {} if body is None else {"json": body}
        return await self._call(method, url, headers=headers, **options)

    async def _bearer(self) -> str:
        """Return a token that lasts, asking for one at most once at a time."""
        if self._clock.monotonic() >= self._ends:
            async with self._lock:
                if self._clock.monotonic() >= self._ends:
                    await self._renew()
        return self._bearer_value

    async def _renew(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._config.app_id,
            "client_secret": self._config.app_password.get_secret_value(),
            "scope": self._config.scope,
        }
        reply = await self._call("post", self._config.token_url, data=form)
        token = reply.find("access_token")
        if not isinstance(token, str) or not token:
            raise failed("no_token", retryable=True, provider="teams")
        lasts = number(reply.find("expires_in")) or _SHORTEST_SECONDS
        self._bearer_value = token
        self._ends = self._clock.monotonic() + max(_SHORTEST_SECONDS, lasts - _MARGIN_SECONDS)

    def forget_token(self) -> None:
        """Ask for a new token before the next request."""
        self._ends = float("-inf")


def _activities(conversation_id: str) -> str:
    return f"/v3/conversations/{_segment(conversation_id)}/activities"


def _segment(text: str) -> str:
    """Return an id as one segment of a path; it cannot lead elsewhere."""
    return quote(text, safe=":;=@,")


def _id(reply: Reply) -> str:
    found = reply.find("id")
    if not isinstance(found, str) or not found:
        raise failed(
            "invalid_response",
            retryable=False,
            ambiguous=True,
            status_code=reply.status,
            provider="teams",
            details={"status_code": reply.status},
        )
    return found
