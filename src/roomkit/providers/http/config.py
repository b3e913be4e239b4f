"""Settings of the HTTP webhook provider."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from roomkit._http import base_url


class HTTPProviderConfig(BaseModel):
    """An endpoint that takes messages, and how both sides know each other.

    Attributes:
        webhook_url: Where messages are posted.
        secret: What both sides sign with; None: nothing is signed. With
            ``standard_webhooks`` it is ``whsec_`` and the base64 of 24 to 64 bytes.
        timeout: Seconds for one request.
        headers: Sent with every message, such as an ``Authorization`` of the endpoint.
        api_base: Scheme, host and port to use instead of the URL's; its path stays.
        previous_secrets: Secrets that still count, inbound, while they are being rotated out.
            Outbound Standard Webhooks are signed with them too.
        sign_timestamp: Sign ``<timestamp>.<body>`` and send the moment as
            ``X-RoomKit-Timestamp``; inbound requests must do the same, and be fresh.
        standard_webhooks: Speak Standard Webhooks both ways instead.
        allow_private_hosts: Whether the URL may lead to a host that is not public. Set it to
            False when the URL is not the operator's own.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    webhook_url: str
    secret: SecretStr | None = None
    timeout: float = 30.0
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    api_base: str | None = None
    previous_secrets: list[SecretStr] = Field(default_factory=list)
    sign_timestamp: bool = False
    standard_webhooks: bool = False
    allow_private_hosts: bool = True

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not name or not name.isascii() or any(c in f"{name}{text}" for c in "\r\n\0"):
                raise ValueError("a header has a name or a value HTTP cannot carry")
        return value

    @property
    def send_url(self) -> str:
        """Where messages are posted."""
        if self.api_base is None:
            return self.webhook_url
        parts = urlsplit(self.webhook_url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{base_url(self.api_base, '')}{parts.path}{query}"
