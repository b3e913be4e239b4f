"""What a VoiceMeUp account needs to be told."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, SecretStr

from roomkit._http import base_url


class VoiceMeUpConfig(BaseModel):
    """Settings of a VoiceMeUp SMS provider.

    Attributes:
        username: The account's name.
        auth_token: The account's token. VoiceMeUp takes it in the query of each request.
        from_number: The number messages come from.
        environment: ``production`` or ``sandbox``.
        timeout: Seconds a request may take.
        api_base: Scheme, host and port to use instead of VoiceMeUp's own, such as a
            simulator's.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    username: str
    auth_token: SecretStr
    from_number: str
    environment: str = "production"
    timeout: float = 10.0
    api_base: str | None = None

    @property
    def base_url(self) -> str:
        """Where the methods of the API live, with a slash at the end."""
        name = "dev-clients" if self.environment == "sandbox" else "clients"
        return f"{base_url(self.api_base, f'https://{name}.voicemeup.com')}/api/v1.1/json/"
