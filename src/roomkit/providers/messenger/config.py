"""Settings of the Messenger provider."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from roomkit._http import base_url
from roomkit.providers._graph import GRAPH


class MessengerConfig(BaseModel):
    """A Facebook page and the app that speaks for it.

    Attributes:
        page_access_token: The page's token.
        api_version: The Graph API's version; Meta serves an expired one by its oldest living.
        timeout: Seconds for one request.
        app_secret: The app's secret, with which Meta signs callbacks.
        verify_token: The word of your own choice that Meta repeats when you enter the endpoint.
        previous_secrets: App secrets that still count while they are being rotated out.
        auth_style: How the token travels. ``header`` keeps it out of access logs; ``query``
            is the older way.
        appsecret_proof: Send the proof that goes with the app setting "Require app secret";
            needs ``app_secret``.
        api_base: Scheme, host and port of another server, such as a simulator.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    page_access_token: SecretStr
    api_version: str = "v21.0"
    timeout: float = Field(default=30.0, gt=0)
    app_secret: SecretStr | None = None
    verify_token: SecretStr | None = None
    previous_secrets: list[SecretStr] = Field(default_factory=list)
    auth_style: Literal["query", "header"] = "header"
    appsecret_proof: bool = False
    api_base: str | None = None

    @property
    def base_url(self) -> str:
        """Where messages are posted to."""
        return f"{base_url(self.api_base, GRAPH)}/{self.api_version}/me/messages"
