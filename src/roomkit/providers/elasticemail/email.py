"""Sending mail through version 2 of Elastic Email's API.

Protocol: the vendor's API reference, ``email/send``. It answers 200 to nearly everything; whether
it took a mail stands in the body, and so does the reason when it did not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roomkit._http import Refusal, answered, refused
from roomkit.models.delivery import ProviderResult
from roomkit.providers._sender import VendorClient
from roomkit.providers.elasticemail.config import ElasticEmailConfig
from roomkit.providers.elasticemail.webhook import ElasticEmailWebhook
from roomkit.providers.email._compose import compose
from roomkit.providers.email._thread import subject_line, thread_headers
from roomkit.providers.email.base import EmailProvider

if TYPE_CHECKING:
    from roomkit._http import Reply
    from roomkit.models.event import RoomEvent
    from roomkit.providers.email._compose import Letter

_LONGEST_ERROR = 500
_SEVERAL = re.compile(r"[;,\s]")


class ElasticEmailProvider(VendorClient[ElasticEmailConfig], EmailProvider):
    """Sends mail through Elastic Email.

    Text is sent as text, formatted content as HTML (with its ``plain_text`` beside it), media
    at ``http(s)`` as a link, media in ``data:`` URLs as an attachment. Mail that answers
    another carries ``In-Reply-To`` and ``References`` (the account must allow custom headers).

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
            The vendor's transaction id, and its ``messageid`` in the metadata. Errors:
            ``empty_message``, ``unsupported_media``, ``invalid_recipient``, ``timeout``,
            ``http_<status>``, the vendor's own text, ``unknown_error``, ``invalid_response``.
        """
        letter = compose(event.content)
        if letter.empty:
            return refused(letter.refusal)
        if _SEVERAL.search(to):
            # The vendor would send to each of them; who answers a stranger's mail must not.
            return refused("invalid_recipient")
        options: dict[str, Any] = {"data": self._form(event, letter, to, from_, subject)}
        if letter.attachments:
            options["files"] = [
                ("attachmentFiles", (file.filename, file.content, file.mime_type))
                for file in letter.attachments
            ]
        reply = await self._call("post", self._config.send_url, **options)
        if not isinstance(reply.json, dict):
            raise self._unreadable(reply)
        if not reply.object.get("success"):
            return self._said_no(reply)
        found, name = reply.find("data", "transactionid"), reply.find("data", "messageid")
        return ProviderResult(
            success=True,
            provider_message_id=found if isinstance(found, str) and found else None,
            metadata={"messageid": name} if isinstance(name, str) and name else {},
        )

    def _form(
        self, event: RoomEvent, letter: Letter, to: str, from_: str | None, subject: str | None
    ) -> dict[str, str]:
        """Return the request's fields."""
        config = self._config
        sender = from_ or config.from_email
        form = {
            "apikey": config.api_key.get_secret_value(),
            "from": sender,
            "to": to,
            "subject": subject_line(event, subject, config.default_subject),
            # The vendor wants a body, even beside attachments.
            "bodyText": letter.text or ("" if letter.html else " "),
            "bodyHtml": letter.html,
            "isTransactional": "true" if config.is_transactional else "false",
        }
        if config.from_name is not None:
            form["fromName"] = config.from_name
        if config.reply_to is not None:
            form["replyTo"] = config.reply_to
        for name, value in thread_headers(event.metadata, sender).items():
            form[f"headers_{name.replace('-', '').lower()}"] = f"{name}: {value}"
        return form

    def _said_no(self, reply: Reply) -> ProviderResult:
        """Return the result of a 200 that says no, in the vendor's own words."""
        said = reply.object.get("error")
        text = said.strip() if isinstance(said, str) else ""
        # The vendor is free to repeat in its text what it was given.
        text = text.replace(self._config.api_key.get_secret_value() or "\0", "***")
        return refused(text[:_LONGEST_ERROR] or "unknown_error", status_code=reply.status)

    def _refusal(self, reply: Reply) -> Refusal:
        return Refusal(f"http_{reply.status}")

    def webhook(self) -> ElasticEmailWebhook:
        """Return the reader of the vendor's notifications."""
        return ElasticEmailWebhook()
