"""Settings of the Elastic Email provider."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from roomkit._http import base_url


class ElasticEmailConfig(BaseModel):
    """An account at Elastic Email and how to use it.

    Attributes:
        api_key: A key that may send mail.
        from_email: The sender; its domain must be verified.
        from_name: The name shown beside it.
        is_transactional: Whether mail is an answer to somebody, no campaign.
        base_url: Where mail is posted (version 2 of the API).
        timeout: Seconds for one request.
        api_base: Scheme, host and port of another server, such as a simulator; the path stays.
        reply_to: Where answers shall go.
        default_subject: The subject of mail that was given none.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    api_key: SecretStr
    from_email: str
    from_name: str | None = None
    is_transactional: bool = True
    base_url: str = "https://api.elasticemail.com/v2/email/send"
    timeout: float = 30.0
    api_base: str | None = None
    reply_to: str | None = None
    default_subject: str | None = None

    @property
    def send_url(self) -> str:
        """Where mail is posted."""
        if self.api_base is None:
            return self.base_url
        return base_url(self.api_base, "") + urlsplit(self.base_url).path
