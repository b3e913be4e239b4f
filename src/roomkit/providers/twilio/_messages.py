"""Posting to Twilio's Messages resource: the same for SMS, MMS and RCS."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from roomkit._http import Refusal, Reply, refused
from roomkit._sanitize import clean_text
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import TemplateContent
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit.providers._sender import VendorSender
from roomkit.providers._signature import secrets_of
from roomkit.providers._text import split_text
from roomkit.providers.sms.meta import extract_media_urls, extract_text_body, unsendable_reason
from roomkit.providers.sms.segments import split_segments
from roomkit.providers.twilio._signature import ALGORITHM, is_signed
from roomkit.providers.twilio.config import TwilioAccount
from roomkit.providers.twilio.webhook import TwilioWebhook

if TYPE_CHECKING:
    from roomkit.models.content import EventContent

type Fields = dict[str, str | list[str]]
"""A form; a list is a repeated field."""

LONGEST_BODY = 1600
"""Characters a ``Body`` may have; Twilio counts those of UTF-16."""

MOST_MEDIA = 10
"""``MediaUrl`` fields a message may have."""

LARGEST_MEDIA = 5 * 1024 * 1024
"""Bytes a file may have."""

_CONTENT_SID = re.compile(r"HX[0-9a-fA-F]{32}")


def capabilities(*, read_receipts: bool) -> ChannelCapabilities:
    """Return what a Body and MediaUrls can carry; buttons and cards are Content templates."""
    return ChannelCapabilities(
        media_types=[ChannelMediaType.TEXT, ChannelMediaType.MEDIA, ChannelMediaType.TEMPLATE],
        max_length=LONGEST_BODY,
        supports_read_receipts=read_receipts,
        supports_templates=True,
        supports_media=True,
        max_media_size_bytes=LARGEST_MEDIA,
    )


class TwilioMessages[C: TwilioAccount](VendorSender[C, TwilioWebhook]):
    """What the two providers share."""

    def verify_signature(
        self,
        payload: bytes,
        signature: str,
        timestamp: str | None = None,
        url: str | None = None,
        *,
        algorithm: str = ALGORITHM,
    ) -> bool:
        """Tell whether Twilio signed a request, with this or a previous token.

        Args:
            payload: The raw body, byte for byte; empty for a GET.
            signature: The header ``X-Twilio-Signature``.
            timestamp: Not used: Twilio signs none.
            url: The URL Twilio called, query included; without it nothing can be verified.
            algorithm: ``HMAC_SHA1``, or ``HMAC_SHA256`` where the header
                ``X-Twilio-Webhooks-Signature-Settings`` says so; then signing keys count too.
        """
        if url is None:
            return False
        config = self._config
        keys = () if algorithm == ALGORITHM else config.signing_keys.values()
        secrets = secrets_of(config.auth_token, (*config.previous_secrets, *keys))
        return is_signed(secrets, payload, signature, url, algorithm)

    async def _deliver(self, content: EventContent, address: Fields) -> ProviderResult:
        """Send content as the messages it takes, in order, and return one answer.

        Args:
            content: What to say.
            address: To whom and from whom.
        """
        parts = message_parts(content)
        if not parts:
            return refused(unsendable_reason(content))
        return await self._ledger.send([{**address, **part} for part in parts], self._post)

    async def _post(self, fields: Fields, key: str | None) -> ProviderResult:
        """Send one message. Twilio takes no idempotency key."""
        config = self._config
        if config.status_callback is not None:
            fields = {**fields, "StatusCallback": config.status_callback}
        reply = await self._call(
            "post",
            config.api_url,
            data=fields,
            auth=(config.account_sid, config.auth_token.get_secret_value()),
        )
        sid = reply.find("sid")
        if not isinstance(sid, str) or not sid:
            raise self._unreadable(reply)
        return ProviderResult(success=True, provider_message_id=sid)

    def _refusal(self, reply: Reply) -> Refusal | None:
        """Read ``{"code", "message", "more_info", "status"}``."""
        if not isinstance(reply.json, dict):
            return None
        code, message = reply.find("code"), reply.find("message")
        known = code if isinstance(code, int | str) and not isinstance(code, bool) else None
        name = "invalid_request" if known in (None, "") else str(known)[:20]
        return Refusal(
            f"twilio_{name}" if reply.status == 400 else None,
            message=message if isinstance(message, str) else None,
            vendor_code=known,
        )


def message_parts(content: EventContent) -> list[Fields]:
    """Return what each message of some content says; none when Twilio can carry none of it.

    A text too long for one message goes on in further ones, media beyond ten too: the first
    message has the beginning of the text and the first media.
    """
    if isinstance(content, TemplateContent) and _CONTENT_SID.fullmatch(content.template_id):
        return [_template(content)]
    text = clean_text(extract_text_body(content))
    urls = [clean_text(url) for url in extract_media_urls(content, http_only=True)]
    texts = _texts(text)
    batches = [urls[i : i + MOST_MEDIA] for i in range(0, len(urls), MOST_MEDIA)]
    return [
        _fields(
            texts[place] if place < len(texts) else "",
            batches[place] if place < len(batches) else [],
        )
        for place in range(max(len(texts), len(batches)))
    ]


def _texts(text: str) -> list[str]:
    """Return a text in pieces a Body can hold; blanks alone are no text."""
    if not text.strip():
        return []
    if len(text.encode("utf-16-le")) // 2 <= LONGEST_BODY:
        return [text]
    # A segment unit is never less than one of UTF-16, so pieces of so many units fit.
    return [
        piece
        for words in split_text(text, LONGEST_BODY)
        for piece in split_segments(words, LONGEST_BODY, max_units=LONGEST_BODY)
        if piece.strip()
    ]


def _fields(text: str, urls: list[str]) -> Fields:
    fields: Fields = {}
    if text:
        fields["Body"] = text
    if urls:
        # The service reads the repeated field and ignores the numbered ones, which are kept
        # for whoever watches requests: they have always been there.
        fields["MediaUrl"] = urls
        fields.update({f"MediaUrl{place}": url for place, url in enumerate(urls)})
    return fields


def _template(content: TemplateContent) -> Fields:
    """Return a template of the Content API, filled in."""
    fields: Fields = {"ContentSid": content.template_id}
    if content.parameters:
        fields["ContentVariables"] = json.dumps(content.parameters)
    return fields
