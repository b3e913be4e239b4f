"""Settings of the WhatsApp Business Cloud provider."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from roomkit._http import base_url as api_root
from roomkit.providers._graph import GRAPH


class WhatsAppCloudConfig(BaseModel):
    """A business phone number and the app that speaks for it.

    Attributes:
        access_token: The token, best of a system user.
        phone_number_id: Meta's id of the number, not the number itself.
        api_version: The Graph API's version.
        app_secret: The app's secret, with which Meta signs callbacks.
        verify_token: The word of your own choice that Meta repeats when you enter the endpoint.
        timeout: Seconds for one request.
        base_url: Scheme and host of the Graph API.
        previous_secrets: App secrets that still count while they are being rotated out.
        list_button: What stands on the button that opens a list of choices, at most 20
            characters.
        api_base: Scheme, host and port of another server, such as a simulator; it wins over
            ``base_url``.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    access_token: SecretStr
    phone_number_id: str
    api_version: str = "v25.0"
    app_secret: SecretStr | None = None
    verify_token: SecretStr | None = None
    timeout: float = Field(default=30.0, gt=0)
    base_url: str = GRAPH
    previous_secrets: list[SecretStr] = Field(default_factory=list)
    list_button: str = Field(default="Options", min_length=1, max_length=20)
    api_base: str | None = None

    @property
    def graph_url(self) -> str:
        """The API's root, version included."""
        return f"{api_root(self.api_base, self.base_url)}/{self.api_version}"

    @property
    def messages_url(self) -> str:
        """Where messages are posted to."""
        return f"{self.graph_url}/{self.phone_number_id}/messages"

    @property
    def media_url(self) -> str:
        """Where media are uploaded to."""
        return f"{self.graph_url}/{self.phone_number_id}/media"
