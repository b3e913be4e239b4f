"""WhatsApp Business through Meta's Cloud API (extra ``httpx``)."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

from roomkit._fetch import fetch_media
from roomkit._http import Refusal, answered, failed, refused
from roomkit._scope import current_delivery
from roomkit.exceptions import ProviderDeliveryError, WebhookError
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import InboundMessage, ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit.providers._graph import TRANSIENT, GraphSender
from roomkit.providers.whatsapp._data_urls import data_of
from roomkit.providers.whatsapp._messages import (
    MAX_BUTTONS,
    MAX_TEXT,
    Message,
    messages_of,
    template_of,
    unsupported,
)
from roomkit.providers.whatsapp.base import WhatsAppProvider
from roomkit.providers.whatsapp.config import WhatsAppCloudConfig
from roomkit.providers.whatsapp.webhook import WhatsAppWebhook, parse_whatsapp_webhook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit._http import Reply
    from roomkit.models.event import RoomEvent

MAX_MEDIA_BYTES = 100 * 1024 * 1024
"""The largest file WhatsApp carries, a document."""

DOWNLOAD_SECONDS = 120.0

_CAPABILITIES = ChannelCapabilities(
    media_types=[
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
        ChannelMediaType.LOCATION,
        ChannelMediaType.TEMPLATE,
    ],
    max_length=MAX_TEXT,
    supports_reactions=True,
    supports_read_receipts=True,
    supports_templates=True,
    supports_rich_text=True,
    supports_buttons=True,
    max_buttons=MAX_BUTTONS,
    supports_cards=True,
    supports_quick_replies=True,
    supports_media=True,
    supports_audio=True,
    supports_video=True,
)
_PAIR_RATE = 131056
_RE_ENGAGEMENT = 131047
_LONGEST_PAIR_WAIT = 4.0**6
_META_MEDIA = ("fbsbx.com", "fbcdn.net")
_USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]+")
_NOT_DIGITS = re.compile(r"[\s().+-]")


class WhatsAppCloudProvider(GraphSender[WhatsAppCloudConfig, WhatsAppWebhook], WhatsAppProvider):
    """Sends for one business number, reads its callbacks, moves its media.

    Long texts and composites are several messages: their ids are in
    ``metadata["message_ids"]``, the first is the result's own. An event's
    ``metadata["reply_to_external_id"]`` quotes the message of that id. Media with a ``data:``
    URL is uploaded first. Outside of the 24 hours after the person's last message only
    templates go out; the refusal then has ``metadata["needs_template"]``.

    Messages are not edited or taken back: the Cloud API has no such call.

    Args:
        config: The number.
        client: An ``httpx.AsyncClient`` to use; it is not closed.
        transport: What carries the requests instead, for tests.

    Raises:
        MissingDependencyError: httpx is not installed.
    """

    _capabilities = _CAPABILITIES
    retryable_codes: ClassVar[frozenset[int]] = TRANSIENT | {
        80007, 130429, 131000, 131016, 131048, _PAIR_RATE, 133004, 133016,
    }  # fmt: skip

    def _reader(self) -> WhatsAppWebhook:
        return WhatsAppWebhook(self._config)

    @property
    def name(self) -> str:
        """Return ``whatsapp-cloud``."""
        return "whatsapp-cloud"

    @answered
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to one person; see ``Provider.send``.

        Args:
            event: What to send.
            to: A number, with or without ``+``, or a business-scoped user id.

        Returns:
            The id of the message, with ``wa_id`` in the metadata. Refusals are
            ``graph_<code>`` with Meta's ``message`` and ``details``; ``empty_message`` and
            ``unsupported_media`` (a ``data:`` URL that holds nothing) are not even tried.
        """
        if unsupported(event.content):
            return refused(f"Unsupported content type: {type(event.content).__name__}")
        messages = messages_of(event.content, list_button=self._config.list_button)
        if not messages:
            return refused("empty_message")
        quoted = event.metadata.get("reply_to_external_id")
        context = {"message_id": quoted} if isinstance(quoted, str) and quoted else None
        parts = [(m, context if place == 0 else None) for place, m in enumerate(messages)]

        async def send_part(
            part: tuple[Message, dict[str, str] | None], key: str | None
        ) -> ProviderResult:
            return await self._send_one(to, *part)

        return await self._ledger.send(parts, send_part)

    @answered
    async def send_template(
        self, to: str, template_name: str, params: dict[str, Any] | None = None
    ) -> ProviderResult:
        """Send a template Meta approved, as is needed to open a conversation.

        Args:
            to: A number or a business-scoped user id.
            template_name: The template.
            params: ``language`` (``en_US`` by default); ``body``, a list for numbered or a
                mapping for named parameters; ``header``, a text or a parameter as Meta spells
                it; ``buttons``, a payload or a component each; or ``components`` as Meta
                spells them, which wins.

        Returns:
            As ``send``.
        """
        template = template_of(template_name, params)
        return await self._send_one(to, Message("template", template), None)

    async def send_reaction(self, chat: str, sender: str, message_id: str, emoji: str) -> bool:
        """React to a message of ``chat``; an empty emoji takes the reaction back.

        Raises:
            ProviderDeliveryError: Meta refused.
        """
        reaction = Message("reaction", {"message_id": message_id, "emoji": emoji})
        await self._post(self._envelope(chat or sender, reaction.type, reaction.fields))
        return True

    async def mark_read(
        self,
        message_id: str | Sequence[str],
        chat: str = "",
        sender: str = "",
        *,
        typing: bool = False,
    ) -> bool:
        """Show the sender that a message, and all before it, was read.

        Args:
            message_id: The message; of several ids the last one.
            chat: Not used; the message's id says it.
            sender: Not used either.
            typing: Show "typing" too, until an answer or for 25 seconds.

        Returns:
            False when there is no id.

        Raises:
            ProviderDeliveryError: Meta refused.
        """
        newest = message_id if isinstance(message_id, str) else next(reversed(message_id), "")
        if not newest:
            return False
        body: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": newest,
        }
        if typing:
            body["typing_indicator"] = {"type": "text"}
        await self._post(body)
        return True

    async def upload_media(self, data: bytes, mime_type: str, filename: str | None = None) -> str:
        """Upload a file and return its media id, which lives 30 days.

        Raises:
            ProviderDeliveryError: Meta refused, or gave no id.
        """
        reply = await self._call(
            "post",
            self._config.media_url,
            data={"messaging_product": "whatsapp", "type": mime_type},
            files={"file": (filename or "file", data, mime_type)},
            headers=self._headers(),
        )
        media_id = reply.find("id")
        if not isinstance(media_id, str | int) or not media_id:
            raise self._unreadable(reply)
        return str(media_id)

    async def get_media(self, media_id: str) -> dict[str, Any]:
        """Return what Meta knows of a file.

        Returns:
            ``url`` (good for five minutes, and only with the token), ``mime_type``,
            ``sha256``, ``file_size``, ``id``.

        Raises:
            ProviderDeliveryError: Meta refused, or the answer is none.
        """
        url = f"{self._config.graph_url}/{quote(media_id, safe='')}"
        reply = await self._call("get", url, headers=self._headers())
        if not isinstance(reply.find("url"), str):
            raise self._unreadable(reply)
        return reply.object

    async def download_media(
        self, media_id: str, *, max_bytes: int = MAX_MEDIA_BYTES, timeout: float = DOWNLOAD_SECONDS
    ) -> bytes:
        """Return the bytes of a file somebody sent.

        The token goes to the Graph API and to Meta's own media hosts, to nobody else.

        Args:
            media_id: The id, ``metadata["media_id"]`` of the message.
            max_bytes: What is longer is refused.
            timeout: Seconds for the download.

        Raises:
            ProviderDeliveryError: Meta refused to say where it is.
            UnsafeURLError: It is at a place that is not to be asked.
            MediaFetchError: It could not be fetched.
        """
        url = (await self.get_media(media_id))["url"]
        own = urlsplit(self._config.graph_url).netloc.lower()
        host = (urlsplit(url).hostname or "").lower()
        trusted = {own}
        if any(host == domain or host.endswith(f".{domain}") for domain in _META_MEDIA):
            trusted.add(host)
        fetched = await fetch_media(
            url,
            headers=self._headers(),
            auth_hosts=trusted,
            allow_hosts={own} if self._config.api_base else (),
            max_bytes=max_bytes,
            timeout=timeout,
            transport=self._transport,
        )
        return fetched.data

    async def parse_webhook(
        self, payload: Mapping[str, Any], channel_id: str = "whatsapp"
    ) -> InboundMessage:
        """Return the first message of a callback; see ``webhook`` for all of it.

        Raises:
            WebhookError: (a ValueError) There is none, or the shape is wrong.
        """
        found = parse_whatsapp_webhook(payload, channel_id)
        if not found:
            raise WebhookError("the callback holds no message")
        return found[0]

    def _access_token(self) -> str:
        return self._config.access_token.get_secret_value()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._access_token()}"}

    def _refusal(self, reply: Reply) -> Refusal | None:
        if reply.status == 429 and not isinstance(reply.json, dict):
            return None
        found = super()._refusal(reply)
        if found is None:
            return None
        if found.vendor_code == _PAIR_RATE and found.retry_after is None:
            # Meta: wait 4^n seconds before the n-th repeat to the same person.
            delivery = current_delivery()
            attempt = delivery.attempt if delivery is not None else 1
            found.retry_after = min(4.0 ** min(attempt, 6), _LONGEST_PAIR_WAIT)
        elif found.vendor_code == _RE_ENGAGEMENT:
            found.details = {**found.details, "needs_template": True}
        return found

    @staticmethod
    def _envelope(to: str, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Return a message as it is posted."""
        return {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **_recipient(to),
            "type": kind,
            kind: fields,
        }

    async def _send_one(
        self, to: str, message: Message, context: dict[str, str] | None
    ) -> ProviderResult:
        """Send one message; the Cloud API takes no idempotency key."""
        fields = message.fields
        if message.upload is not None:
            fields = {"id": await self._uploaded(*message.upload), **fields}
        body = self._envelope(to, message.type, fields)
        if context is not None:
            body["context"] = context
        reply = await self._post(body)
        if not isinstance(reply.json, dict):
            raise self._unreadable(reply)
        message_id, wa_id = reply.find("messages", 0, "id"), reply.find("contacts", 0, "wa_id")
        return ProviderResult(
            success=True,
            provider_message_id=message_id if isinstance(message_id, str) else None,
            metadata={"wa_id": wa_id} if isinstance(wa_id, str) else {},
        )

    async def _uploaded(self, url: str, mime_type: str) -> str:
        data = await asyncio.to_thread(data_of, url)
        if data is None:
            raise failed("unsupported_media", retryable=False, provider=self.name)
        try:
            return await self.upload_media(data, mime_type)
        except ProviderDeliveryError as exc:
            if not exc.ambiguous:
                raise
            # A file that may lie there unused does no harm: nobody was sent anything yet.
            raise failed(exc.code, retryable=True, provider=self.name) from exc

    async def _post(self, body: dict[str, Any]) -> Reply:
        return await self._call(
            "post", self._config.messages_url, json=body, headers=self._headers()
        )


def _recipient(to: str) -> dict[str, str]:
    """Return the field that names a person: a number, or an id where the number is hidden."""
    if _USER_ID.fullmatch(to):
        return {"recipient": to}
    return {"to": _NOT_DIGITS.sub("", to)}
