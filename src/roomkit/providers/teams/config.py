"""What a Teams bot needs to be told."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

_LOGIN = "https://login.microsoftonline.com"
_OPENID = "https://login.botframework.com"
_LOGIN_GOV = "https://login.microsoftonline.us"
_OPENID_GOV = "https://login.botframework.azure.us"

SERVICE_HOSTS = (
    "smba.trafficmanager.net",
    "smba.infra.gcc.teams.microsoft.com",
    "smba.infra.gov.teams.microsoft.us",
    "smba.infra.dod.teams.microsoft.us",
)
"""The hosts Teams itself uses for conversations."""


class TeamsConfig(BaseModel):
    """One bot registration.

    Attributes:
        app_id: The bot's application id.
        app_password: Its client secret.
        tenant_id: The tenant of a single-tenant bot; ``common`` for a multi-tenant one, which
            Microsoft no longer lets anybody register.
        timeout: Seconds for one request.
        api_base: Scheme, host and port that stand for the login, the metadata and the connector
            host, such as a simulator's.
        government: Use the United States government cloud.
        allowed_service_hosts: The hosts a token may be sent to; a conversation with another
            ``serviceUrl`` is refused.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    app_id: str
    app_password: SecretStr
    tenant_id: str = "common"
    timeout: float = 30.0
    api_base: str | None = None
    government: bool = False
    allowed_service_hosts: list[str] = Field(default_factory=lambda: list(SERVICE_HOSTS))

    @property
    def token_url(self) -> str:
        """Where tokens come from."""
        base = (self.api_base or (_LOGIN_GOV if self.government else _LOGIN)).rstrip("/")
        tenant = "botframework.com" if self.tenant_id == "common" else self.tenant_id
        return f"{base}/{tenant}/oauth2/v2.0/token"

    @property
    def openid_url(self) -> str:
        """Where the keys of incoming tokens are described."""
        base = (self.api_base or (_OPENID_GOV if self.government else _OPENID)).rstrip("/")
        return f"{base}/v1/.well-known/openidconfiguration"

    @property
    def scope(self) -> str:
        """What a token is asked for."""
        return f"https://api.botframework.{'us' if self.government else 'com'}/.default"

    @property
    def issuer(self) -> str:
        """Who issues incoming tokens."""
        return f"https://api.botframework.{'us' if self.government else 'com'}"

    def allows_service(self, url: str) -> bool:
        """Tell whether a token may be sent to a ``serviceUrl``: https, on an allowed host.

        The origin of ``api_base`` is allowed as it is.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return False
        if self.api_base is not None:
            own = urlsplit(self.api_base)
            if (parts.scheme, host, port) == (own.scheme, own.hostname, own.port):
                return parts.username is None
        return (
            parts.scheme == "https"
            and port in (None, 443)
            and parts.username is None
            and host in self.allowed_service_hosts
        )
