"""What a Telnyx account needs to be told."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr


class TelnyxConfig(BaseModel):
    """Settings of a Telnyx SMS provider.

    Attributes:
        api_key: The API v2 key.
        from_number: The number messages come from, in E.164.
        messaging_profile_id: The messaging profile, when the number belongs to several.
        timeout: Seconds a request may take.
        api_base: Scheme, host and port to use instead of Telnyx' own, such as a simulator's.
        previous_public_keys: Public keys (base64) whose signatures still count while the
            account's key is being replaced; the current one is given to the provider.
    """

    api_key: SecretStr
    from_number: str
    messaging_profile_id: str | None = None
    timeout: float = 10.0
    api_base: str | None = None
    previous_public_keys: list[str] = Field(default_factory=list)


class TelnyxRCSConfig(BaseModel):
    """Settings of a Telnyx RCS provider.

    Attributes:
        api_key: The API v2 key.
        agent_id: The RCS agent messages come from.
        messaging_profile_id: The messaging profile; Telnyx refuses RCS messages without one.
        timeout: Seconds a request may take.
        fallback_from: The number an SMS or MMS comes from where RCS does not reach; without
            one there is no fallback.
        api_base: Scheme, host and port to use instead of Telnyx' own, such as a simulator's.
        previous_public_keys: Public keys (base64) whose signatures still count while the
            account's key is being replaced; the current one is given to the provider.
    """

    api_key: SecretStr
    agent_id: str
    messaging_profile_id: str | None = None
    timeout: float = 10.0
    fallback_from: str | None = None
    api_base: str | None = None
    previous_public_keys: list[str] = Field(default_factory=list)
