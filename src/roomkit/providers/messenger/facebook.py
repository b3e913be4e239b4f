"""Facebook Messenger through Meta's Send API (extra ``httpx``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from roomkit._http import answered, refused
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit.providers._graph import TRANSIENT, GraphSender, appsecret_proof
from roomkit.providers._text import media_of
from roomkit.providers.messenger._messages import MAX_BUTTONS, MAX_TEXT, messages_of
from roomkit.providers.messenger.base import MessengerProvider
from roomkit.providers.messenger.config import MessengerConfig
from roomkit.providers.messenger.webhook import MessengerWebhook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit._http import Reply
    from roomkit.models.event import RoomEvent

_CAPABILITIES = ChannelCapabilities(
    media_types=[
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
    ],
    max_length=MAX_TEXT,
    supports_typing=True,
    supports_read_receipts=True,
    supports_buttons=True,
    max_buttons=MAX_BUTTONS,
    supports_cards=True,
    supports_quick_replies=True,
    supports_media=True,
    supports_audio=True,
    supports_video=True,
)
_TAGGED = "MESSAGE_TAG"


class FacebookMessengerProvider(GraphSender[MessengerConfig, MessengerWebhook], MessengerProvider):
    """Sends for one Facebook page and reads its callbacks.

    A text longer than 2,000 characters, media with a caption and composites are several
    messages: their ids are in ``metadata["message_ids"]``, the first is the result's own.
    Outside of the 24 hours after the person's last message Meta wants to know why: set the
    event's ``metadata["message_tag"]``, or ``metadata["messaging_type"]``. An event's
    ``metadata["reply_to_external_id"]`` quotes the message of that id.

    Messages are not edited or taken back: Messenger lets no page do that.

    Args:
        config: The page.
        client: An ``httpx.AsyncClient`` to use; it is not closed.
        transport: What carries the requests instead, for tests.

    Raises:
        MissingDependencyError: httpx is not installed.
    """

    _capabilities = _CAPABILITIES
    retryable_codes: ClassVar[frozenset[int]] = TRANSIENT | {17, 32, 341, 613, 1200, 80006}

    def _reader(self) -> MessengerWebhook:
        return MessengerWebhook(self._config)

    @property
    def name(self) -> str:
        """Return ``messenger``."""
        return "messenger"

    @answered
    async def send(self, event: RoomEvent, to: str) -> ProviderResult:
        """Send the content of an event to one person; see ``Provider.send``.

        Args:
            event: What to send.
            to: The recipient's page-scoped id.

        Returns:
            Refusals are ``graph_<code>`` with Meta's ``message``; ``empty_message`` and
            ``unsupported_media`` (only ``data:`` URLs) are not even tried.
        """
        messages = messages_of(event.content)
        if not messages:
            return refused("unsupported_media" if media_of(event.content) else "empty_message")
        envelopes = [{**_envelope(event, to), "message": message} for message in messages]
        quoted = event.metadata.get("reply_to_external_id")
        if isinstance(quoted, str) and quoted:
            envelopes[0]["reply_to"] = {"mid": quoted}
        return await self._ledger.send(envelopes, self._send_one)

    async def send_typing(self, to: str, *, is_typing: bool = True) -> bool:
        """Show or hide "typing"; Messenger hides it by itself after 20 seconds.

        Raises:
            ProviderDeliveryError: Meta refused.
        """
        await self._act(to, "typing_on" if is_typing else "typing_off")
        return True

    async def mark_read(self, message_ids: Sequence[str], chat: str, sender: str) -> bool:
        """Show that the conversation was read; Messenger marks all of it.

        Raises:
            ProviderDeliveryError: Meta refused.
        """
        await self._act(chat or sender, "mark_seen")
        return True

    def _access_token(self) -> str:
        return self._config.page_access_token.get_secret_value()

    async def _act(self, to: str, action: str) -> None:
        await self._post({"recipient": {"id": to}, "sender_action": action})

    async def _send_one(self, envelope: dict[str, Any], key: str | None) -> ProviderResult:
        """Send one message; Messenger takes no idempotency key."""
        reply = await self._post(envelope)
        if not isinstance(reply.json, dict):
            raise self._unreadable(reply)
        message_id = reply.find("message_id")
        return ProviderResult(
            success=True,
            provider_message_id=message_id if isinstance(message_id, str) else None,
        )

    async def _post(self, body: dict[str, Any]) -> Reply:
        config, token = self._config, self._access_token()
        params, options = {}, {}
        if config.auth_style == "query":
            params["access_token"] = token
        else:
            options["headers"] = {"Authorization": f"Bearer {token}"}
        if config.appsecret_proof and config.app_secret is not None:
            secret = config.app_secret.get_secret_value()
            params["appsecret_proof"] = appsecret_proof(secret, token)
        if params:
            options["params"] = params
        return await self._call("post", config.base_url, json=body, **options)


def _envelope(event: RoomEvent, to: str) -> dict[str, Any]:
    """Return whom a message is for and why it is sent."""
    tag, kind = event.metadata.get("message_tag"), event.metadata.get("messaging_type")
    tagged = isinstance(tag, str) and bool(tag)
    if not isinstance(kind, str) or not kind:
        kind = _TAGGED if tagged else "RESPONSE"
    envelope: dict[str, Any] = {"recipient": {"id": to}, "messaging_type": kind}
    if tagged and kind == _TAGGED:
        envelope["tag"] = tag
    return envelope
