"""How to reach a Twilio account, and what its webhooks are signed with."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from roomkit._http import base_url

_API = "https://api.twilio.com"


class TwilioAccount(BaseModel):
    """An account; see ``TwilioConfig`` and ``TwilioRCSConfig``.

    Attributes:
        account_sid: The account, ``AC...``.
        auth_token: Its token; requests are made and webhooks signed with it.
        timeout: Seconds for a request.
        status_callback: Where Twilio reports what became of a message; None leaves it to the
            Messaging Service.
        api_base: Scheme, host and port to use instead of Twilio's, such as a simulator's.
        previous_secrets: Tokens that still count on webhooks while they are rotated out.
        signing_keys: Keys of webhooks signed by a shared key, by the key's id.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    account_sid: str
    auth_token: SecretStr
    timeout: float = 10.0
    status_callback: str | None = None
    api_base: str | None = None
    previous_secrets: list[SecretStr] = Field(default_factory=list)
    signing_keys: dict[str, SecretStr] = Field(default_factory=dict)

    @property
    def api_url(self) -> str:
        """Where messages are posted to."""
        account = quote(self.account_sid, safe="")
        return f"{base_url(self.api_base, _API)}/2010-04-01/Accounts/{account}/Messages.json"


class TwilioConfig(TwilioAccount):
    """An account that sends SMS and MMS; see ``TwilioAccount`` for the other fields.

    Attributes:
        from_number: The number messages come from, in E.164, or another sender of Twilio's.
        messaging_service_sid: A Messaging Service, ``MG...``; it then picks the number, and
            ``from_number`` is not used.
    """

    from_number: str
    messaging_service_sid: str | None = None
