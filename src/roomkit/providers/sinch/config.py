"""What a Sinch SMS account needs to be told."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from roomkit._http import base_url


class SinchConfig(BaseModel):
    """Settings of a Sinch SMS provider.

    Attributes:
        service_plan_id: The service plan of the SMS REST API.
        api_token: The plan's token.
        from_number: The number messages come from.
        region: Where the plan lives.
        webhook_secret: The secret callbacks are signed with.
        timeout: Seconds a request may take.
        api_base: Scheme, host and port to use instead of Sinch' own, such as a simulator's.
        previous_secrets: Webhook secrets that still count while they are being replaced.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    service_plan_id: str
    api_token: SecretStr
    from_number: str
    region: Literal["us", "eu", "au", "br", "ca"] = "us"
    webhook_secret: SecretStr | None = None
    timeout: float = 10.0
    api_base: str | None = None
    previous_secrets: list[SecretStr] = Field(default_factory=list)

    @property
    def api_url(self) -> str:
        """Where messages are sent to."""
        base = base_url(self.api_base, f"https://{self.region}.sms.api.sinch.com")
        return f"{base}/xms/v1/{quote(self.service_plan_id, safe='')}/batches"
