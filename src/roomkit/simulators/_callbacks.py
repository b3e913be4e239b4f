"""What the simulators of Sinch and Telnyx share: JSON in, and signed JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.simulators._base import VendorSimulator

if TYPE_CHECKING:
    from roomkit.simulators._base import SimRequest, WebhookAnswer


class CallbackSimulator(VendorSimulator):
    """An account with a number and one endpoint for its callbacks.

    Args:
        from_number: The account's number.
        webhook_url: Where ``status`` sends to when nothing else is named.
        port: The port; 0 takes a free one.

    Attributes:
        webhook_url: As given; may be changed.
    """

    def __init__(self, *, from_number: str, webhook_url: str | None, port: int) -> None:
        super().__init__(port=port)
        self.webhook_url = webhook_url
        self._from_number = from_number

    @staticmethod
    def bears(request: SimRequest, token: str) -> bool:
        """Return whether a request carries this token."""
        return request.headers.get("authorization") == f"Bearer {token}"

    @staticmethod
    def says_json(request: SimRequest) -> bool:
        """Return whether a request calls its body JSON."""
        return request.headers.get("content-type", "").startswith("application/json")

    async def deliver(
        self, url: str | None, callback: tuple[bytes, dict[str, str]]
    ) -> WebhookAnswer:
        """Post a callback, by default to ``webhook_url``.

        Raises:
            ValueError: There is no endpoint.
        """
        endpoint = url or self.webhook_url
        if endpoint is None:
            raise ValueError("name the endpoint: status(..., url=...)")
        return await self.post(endpoint, *callback)
