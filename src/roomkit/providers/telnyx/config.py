"""What a Telnyx account needs to be told."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class TelnyxAccount(BaseModel):
    """An account; see ``TelnyxConfig`` and ``TelnyxRCSConfig``.

    Attributes:
        api_key: The API v2 key.
        messaging_profile_id: The messaging profile, when the number belongs to several. Telnyx
            refuses RCS messages without one.
        timeout: Seconds a request may take.
        api_base: Scheme, host and port to use instead of Telnyx' own, such as a simulator's.
        previous_public_keys: Public keys (base64) whose signatures still count while the
            account's key is being replaced; the current one is given to the provider.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    api_key: SecretStr
    messaging_profile_id: str | None = None
    timeout: float = 10.0
    api_base: str | None = None
    previous_public_keys: list[str] = Field(default_factory=list)


class TelnyxConfig(TelnyxAccount):
    """An account that sends SMS and MMS; see ``TelnyxAccount`` for the other fields.

    Attributes:
        from_number: The number messages come from, in E.164.
    """

    from_number: str


class TelnyxRCSConfig(TelnyxAccount):
    """An account that sends RCS; see ``TelnyxAccount`` for the other fields.

    Attributes:
        agent_id: The RCS agent messages come from.
        fallback_from: The number an SMS or MMS comes from where RCS does not reach; without
            one there is no fallback.
    """

    agent_id: str
    fallback_from: str | None = None
