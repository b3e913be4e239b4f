"""Sending mail through SendGrid's v3 Mail Send API.

Protocol: Twilio's page "Mail Send API overview". A mail is accepted with 202 and an empty body;
the header ``X-Message-Id`` names it in later events.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from roomkit._http import Refusal, answered, number, refused, retry_after
from roomkit._scope import current_delivery
from roomkit.models.content import TemplateContent
from roomkit.models.delivery import ProviderResult
from roomkit.providers._sender import VendorClient
from roomkit.providers.email._compose import compose
from roomkit.providers.email._thread import own_message_id, subject_line, thread_headers
from roomkit.providers.email.base import EmailProvider
from roomkit.providers.sendgrid._signature import signed_by
from roomkit.providers.sendgrid.config import SendGridConfig
from roomkit.providers.sendgrid.webhook import SendGridWebhook, parse_sendgrid_inbound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit._http import Reply
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.providers.email._compose import Letter

_TEMPLATE_PREFIX = "d-"


class SendGridProvider(VendorClient[SendGridConfig], EmailProvider):
    """Sends mail through SendGrid and reads what it posts.

    Text is sent as text, formatted content as HTML (with its ``plain_text`` beside it), media
    at ``http(s)`` as a link, media in ``data:`` URLs as an attachment. A template whose id is
    one of SendGrid's (``d-...``) and that has no body is filled in by SendGrid.

    Within a delivery of a kit each mail has a ``Message-ID`` made of its event's id, the same
    for every attempt. Mail that answers another carries ``In-Reply-To`` and ``References``.

    Args:
        config: The account.
        client: An HTTP client to use instead of one of our own; ``close`` leaves it open.
        transport: What carries our own client's requests, for tests.

    Raises:
        ImportError: (a MissingDependencyError) httpx is not installed.
    """

    @answered
    async def send(
        self,
        event: RoomEvent,
        to: str,
        from_: str | None = None,
        subject: str | None = None,
    ) -> ProviderResult:
        """Send one mail; see ``EmailProvider.send``.

        Returns:
            The vendor's ``X-Message-Id``. Errors: ``empty_message``, ``unsupported_media``,
            ``rate_limited``, ``timeout``, the vendor's own text, else ``http_<status>``.
        """
        letter = compose(event.content)
        template = _template_of(event)
        if letter.empty and template is None:
            return refused(letter.refusal)
        key = self._config.api_key.get_secret_value()
        reply = await self._call(
            "post",
            self._config.send_url,
            json=self._document(event, letter, template, to, from_, subject),
            headers={"Authorization": f"Bearer {key}"},
        )
        return ProviderResult(
            success=True, provider_message_id=reply.headers.get("X-Message-Id") or None
        )

    def _document(
        self,
        event: RoomEvent,
        letter: Letter,
        template: TemplateContent | None,
        to: str,
        from_: str | None,
        subject: str | None,
    ) -> dict[str, Any]:
        """Return the request's body."""
        config = self._config
        sender = from_ or config.from_email
        person: dict[str, Any] = {"to": [{"email": to}]}
        if template is not None and template.parameters:
            person["dynamic_template_data"] = dict(template.parameters)
        author = {"email": sender, "name": config.from_name}
        document: dict[str, Any] = {
            "personalizations": [person],
            "from": {name: value for name, value in author.items() if value is not None},
            "subject": subject_line(event, subject, config.default_subject),
        }
        if template is not None:
            document["template_id"] = template.template_id
        bodies = (("text/plain", letter.text), ("text/html", letter.html))
        content = [{"type": kind, "value": value} for kind, value in bodies if value]
        if content or template is None:
            # The vendor wants at least one body, even beside attachments.
            document["content"] = content or [{"type": "text/plain", "value": " "}]
        if letter.attachments:
            document["attachments"] = [
                {
                    "content": base64.b64encode(file.content).decode("ascii"),
                    "type": file.mime_type,
                    "filename": file.filename,
                    "disposition": "attachment",
                }
                for file in letter.attachments
            ]
        document.update(self._options(event, sender))
        return document

    def _options(self, event: RoomEvent, sender: str) -> dict[str, Any]:
        """Return what is only there when it was asked for."""
        config = self._config
        options: dict[str, Any] = {}
        headers = thread_headers(event.metadata, sender)
        if current_delivery() is not None:
            headers = {"Message-ID": f"<{own_message_id(event.id, sender)}>", **headers}
        if headers:
            options["headers"] = headers
        if config.reply_to is not None:
            options["reply_to"] = {"email": config.reply_to}
        if config.categories:
            options["categories"] = list(config.categories)
        if config.custom_args:
            options["custom_args"] = {"event_id": event.id, "room_id": event.room_id}
        if config.sandbox:
            options["mail_settings"] = {"sandbox_mode": {"enable": True}}
        return options

    def _refusal(self, reply: Reply) -> Refusal:
        found = reply.find("errors", 0, "message")
        text = found.strip() if isinstance(found, str) else ""
        field = reply.find("errors", 0, "field")
        details = {"field": field} if isinstance(field, str) else None
        if reply.status == 429:
            return Refusal("rate_limited", retry_after=_wait(reply.headers))
        code = text[:500] or f"http_{reply.status}"
        return Refusal(code, message=text or None, details=details)

    def webhook(self) -> SendGridWebhook:
        """Return the reader of inbound mail; ``for_kind("events")`` reads events."""
        return SendGridWebhook(self._config)

    def verify_signature(
        self,
        payload: bytes,
        signature: str,
        timestamp: str | None = None,
        *,
        tolerance_seconds: int | None = None,
    ) -> bool:
        """Tell whether SendGrid's signed Event Webhook sent ``payload``.

        Args:
            payload: The raw body, the line break at its end included.
            signature: The header ``X-Twilio-Email-Event-Webhook-Signature``.
            timestamp: The header ``X-Twilio-Email-Event-Webhook-Timestamp``.
            tolerance_seconds: How old it may be; None: as old as it likes.

        Raises:
            ValueError: (an InvalidInputError) No public key is configured.
            ImportError: (a MissingDependencyError) cryptography is not installed.
        """
        config = self._config
        return signed_by(
            (config.webhook_public_key, *config.previous_public_keys),
            payload,
            signature,
            timestamp,
            tolerance_seconds,
        )

    async def parse_inbound(self, payload: Mapping[str, Any]) -> InboundMessage:
        """Return the mail the fields of an Inbound Parse form hold, for no channel yet.

        Raises:
            WebhookError: A field is of the wrong type, or nobody sent it.
        """
        return parse_sendgrid_inbound(payload, "")


SendGridEmailProvider = SendGridProvider
"""The same class by the name other documents use."""


def _template_of(event: RoomEvent) -> TemplateContent | None:
    content = event.content
    if not isinstance(content, TemplateContent) or content.body:
        return None
    return content if content.template_id.startswith(_TEMPLATE_PREFIX) else None


def _wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait: ``X-RateLimit-Reset`` is a moment in unix seconds."""
    reset = number(headers.get("X-RateLimit-Reset"))
    if reset is None:
        return retry_after(headers)
    return max(0.0, reset - time.time())
