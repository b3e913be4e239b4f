"""Settings of the SendGrid provider."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from roomkit._http import base_url


class SendGridConfig(BaseModel):
    """An account at SendGrid and how to use it.

    Attributes:
        api_key: A key that may send mail.
        from_email: The verified sender.
        from_name: The name shown beside it.
        base_url: Where mail is posted; subusers pinned to Europe use ``api.eu.sendgrid.com``.
        timeout: Seconds for one request.
        api_base: Scheme, host and port of another server, such as a simulator; the path stays.
        default_subject: The subject of mail that was given none. The vendor refuses an empty
            one.
        reply_to: Where answers shall go, such as the address of the Inbound Parse host.
        categories: The vendor's categories of each mail, at most 10.
        custom_args: Whether the vendor's events shall carry ``event_id`` and ``room_id``.
        sandbox: Let the vendor check mail without sending it.
        webhook_public_key: The public key of the signed Event Webhook, base64 as the console
            shows it.
        previous_public_keys: Keys that still count while they are being rotated out.
        inbound_public_key: The public key of the security policy of Inbound Parse, where one is
            attached; without it mail comes in unsigned.
        attachment_limit: Bytes of a mail's attachments that are kept in the message (as
            ``data:`` URLs); of others only name, type and size are.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True, hide_input_in_errors=True)

    api_key: SecretStr
    from_email: str
    from_name: str | None = None
    base_url: str = "https://api.sendgrid.com/v3/mail/send"
    timeout: float = 30.0
    api_base: str | None = None
    default_subject: str | None = None
    reply_to: str | None = None
    categories: list[str] = Field(default_factory=list, max_length=10)
    custom_args: bool = False
    sandbox: bool = False
    webhook_public_key: str | None = None
    previous_public_keys: list[str] = Field(default_factory=list)
    inbound_public_key: str | None = None
    attachment_limit: int = Field(default=5 * 1024 * 1024, ge=0)

    @property
    def send_url(self) -> str:
        """Where mail is posted."""
        if self.api_base is None:
            return self.base_url
        return base_url(self.api_base, "") + urlsplit(self.base_url).path
