"""Reading what Teams sends: messages, who joined, reactions, edits; and who may send it."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, ClassVar

from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import EventType
from roomkit.providers._webhook import (
    object_at,
    objects_at,
    optional_text_at,
    read_json,
    sender_at,
    text_at,
    value_at,
)
from roomkit.providers.sms.meta import build_inbound_content
from roomkit.providers.webhook import Signal, WebhookHandler, WebhookResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from roomkit.models.content import EventContent
    from roomkit.providers.teams._jwt import Authenticator
    from roomkit.providers.webhook import WebhookItem, WebhookRequest

_MENTION = re.compile(r"<at[^<>]{0,200}>[^<>]{0,500}</at>\s{0,100}")
_GROUPS = frozenset({"groupChat", "channel"})
_FILE = "application/vnd.microsoft.teams.file.download.info"
_EMOJI = {
    "like": "\U0001f44d",
    "heart": "\u2764\ufe0f",
    "laugh": "\U0001f606",
    "surprised": "\U0001f62e",
    "sad": "\U0001f641",
    "angry": "\U0001f620",
}


def parse_teams_activity(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of any activity; what is missing is empty.

    Returns:
        ``activity_type``, ``conversation_id``, ``conversation_type``, ``is_group``,
        ``service_url``, ``tenant_id``, ``sender_id``, ``sender_name``, ``bot_id``,
        ``members_added`` and ``members_removed`` (ids).

    Raises:
        WebhookError: Something is of the wrong type.
    """
    kind = text_at(payload, "conversation", "conversationType", default="personal")
    return {
        "activity_type": text_at(payload, "type"),
        "conversation_id": text_at(payload, "conversation", "id"),
        "conversation_type": kind,
        "is_group": bool(value_at(payload, "conversation", "isGroup")) or kind in _GROUPS,
        "service_url": text_at(payload, "serviceUrl"),
        "tenant_id": text_at(payload, "channelData", "tenant", "id"),
        "sender_id": text_at(payload, "from", "id"),
        "sender_name": text_at(payload, "from", "name"),
        "bot_id": text_at(payload, "recipient", "id"),
        "members_added": _ids(payload, "membersAdded"),
        "members_removed": _ids(payload, "membersRemoved"),
    }


def is_bot_added(payload: Mapping[str, Any], bot_id: str | None = None) -> bool:
    """Tell whether an activity says that the bot was added to a conversation.

    Args:
        payload: The activity.
        bot_id: The bot; the activity's recipient by default.
    """
    bot = bot_id or text_at(payload, "recipient", "id")
    is_update = text_at(payload, "type") == "conversationUpdate"
    return is_update and bool(bot) and bot in _ids(payload, "membersAdded")


def parse_teams_webhook(
    payload: Mapping[str, Any], channel_id: str, *, include_submits: bool = False
) -> list[InboundMessage]:
    """Return the message an activity is; nothing for other activities and empty ones.

    In groups mentions are taken out of the text. Attachments are media.

    Args:
        payload: The activity.
        channel_id: The channel it came by.
        include_submits: Also return a submitted card without text, as an empty text with the
            card's values in ``metadata["value"]``.

    Raises:
        WebhookError: Something is of the wrong type, or nobody sent it.
    """
    if text_at(payload, "type") != "message":
        return []
    facts = parse_teams_activity(payload)
    content = _content(payload, is_group=facts["is_group"])
    if content is None:
        if not include_submits or value_at(payload, "value") is None:
            return []
        content = TextContent(body="")
    external_id = optional_text_at(payload, "id")
    metadata = {
        "sender_name": facts["sender_name"],
        "conversation_id": facts["conversation_id"],
        "conversation_type": facts["conversation_type"],
        "is_group": facts["is_group"],
        "bot_mentioned": not facts["is_group"] or _is_mentioned(payload, facts["bot_id"]),
        "service_url": facts["service_url"],
        "tenant_id": facts["tenant_id"],
        **_extras(payload),
    }
    return [
        InboundMessage(
            channel_id=channel_id,
            sender_id=sender_at(payload, "from", "id"),
            content=content,
            external_id=external_id,
            idempotency_key=external_id,
            metadata=metadata,
        )
    ]


def reference_of(activity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what is needed to write into an activity's conversation later.

    Returns:
        The connector's conversation reference; None without a conversation.
    """
    conversation = object_at(activity, "conversation")
    if not text_at(conversation, "id"):
        return None
    reference = {
        "activityId": activity.get("id"),
        "user": activity.get("from"),
        "bot": activity.get("recipient"),
        "conversation": conversation,
        "channelId": activity.get("channelId"),
        "locale": activity.get("locale"),
        "serviceUrl": activity.get("serviceUrl"),
    }
    return {key: value for key, value in reference.items() if value is not None}


class TeamsWebhook(WebhookHandler):
    """Reads activities whose token is good.

    Args:
        authenticator: Checks tokens.
        remember: Keeps the conversation of a verified activity.
    """

    methods: ClassVar[frozenset[str]] = frozenset({"POST"})
    content_types: ClassVar[frozenset[str]] = frozenset({"application/json"})

    def __init__(
        self,
        authenticator: Authenticator,
        remember: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self._authenticator = authenticator
        self._remember = remember

    async def verify(self, request: WebhookRequest) -> None:
        """Check the token, then that it belongs to the activity, whose conversation is kept.

        Raises:
            WebhookRefused: It is not good, or belongs to another service.
            WebhookError: The token is good, the body is none.
            ProviderError: The keys cannot be fetched now.
        """
        claims = await self._authenticator.claims(request.headers.get("authorization", ""))
        activity = read_json(request.body)
        self._authenticator.match(claims, activity)
        await self._remember(activity)

    def read(self, request: WebhookRequest) -> list[WebhookItem]:
        """Return messages, and reactions, edits and deletes as signals."""
        activity = read_json(request.body)
        kind = text_at(activity, "type")
        if kind == "message":
            return [*parse_teams_webhook(activity, request.channel_id, include_submits=True)]
        if kind == "messageReaction":
            return list(_reactions(activity, request.channel_id))
        if kind in ("messageUpdate", "messageDelete"):
            return [_change(activity, request.channel_id, kind)]
        return []

    def response(self, request: WebhookRequest) -> WebhookResponse:
        """Return an empty object: some activities (``invoke``) need an answer with a body."""
        return WebhookResponse(200, b"{}", "application/json")


def _reactions(activity: Mapping[str, Any], channel_id: str) -> list[Signal]:
    """Return one signal for each reaction added, and one for each taken back."""
    signals = []
    for key in ("reactionsAdded", "reactionsRemoved"):
        for place, reaction in enumerate(objects_at(activity, key)):
            name = text_at(reaction, "type")
            added = key == "reactionsAdded"
            external_id = text_at(activity, "id")
            signals.append(
                Signal(
                    channel_id=channel_id,
                    type=EventType.REACTION,
                    sender_id=sender_at(activity, "from", "id"),
                    target_message_id=optional_text_at(activity, "replyToId"),
                    content=TextContent(body=_EMOJI.get(name, name) if added else ""),
                    idempotency_key=f"{external_id}:{key}:{place}" if external_id else None,
                    metadata={"reaction": name},
                )
            )
    return signals


def _change(activity: Mapping[str, Any], channel_id: str, kind: str) -> Signal:
    """Return an edit or a delete of a message somebody sent before."""
    target = optional_text_at(activity, "id")
    edited = kind == "messageUpdate"
    is_group = parse_teams_activity(activity)["is_group"]
    content = _content(activity, is_group=is_group) if edited else None
    stamp = text_at(activity, "timestamp")
    return Signal(
        channel_id=channel_id,
        type=EventType.EDIT if edited else EventType.DELETE,
        sender_id=sender_at(activity, "from", "id"),
        target_message_id=target,
        content=(content or TextContent(body="")) if edited else None,
        idempotency_key=f"{target}:{kind}:{stamp}" if target else None,
    )


def _content(payload: Mapping[str, Any], *, is_group: bool) -> EventContent | None:
    """Return what a message says; None when that is nothing."""
    text = text_at(payload, "text")
    if is_group:
        text = _MENTION.sub("", text)
    text = html.unescape(text).strip()
    media = []
    for attachment in objects_at(payload, "attachments"):
        kind = text_at(attachment, "contentType")
        if kind == _FILE:
            url = text_at(attachment, "content", "downloadUrl")
            media.append({"url": url, "mime_type": None})
        elif kind.startswith(("image/", "audio/", "video/")):
            media.append({"url": text_at(attachment, "contentUrl"), "mime_type": kind})
    content = build_inbound_content(text, media)
    if isinstance(content, TextContent) and not content.body:
        return None
    return content


def _extras(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what only some messages have."""
    extras: dict[str, Any] = {
        "aad_object_id": optional_text_at(payload, "from", "aadObjectId"),
        "reply_to_id": optional_text_at(payload, "replyToId"),
        "value": value_at(payload, "value"),
        "team_id": optional_text_at(payload, "channelData", "team", "id"),
        "teams_channel_id": optional_text_at(payload, "channelData", "channel", "id"),
    }
    return {key: value for key, value in extras.items() if value is not None}


def _is_mentioned(payload: Mapping[str, Any], bot_id: str) -> bool:
    return bool(bot_id) and any(
        text_at(entity, "type") == "mention" and text_at(entity, "mentioned", "id") == bot_id
        for entity in objects_at(payload, "entities")
    )


def _ids(payload: Mapping[str, Any], key: str) -> list[str]:
    return [found for member in objects_at(payload, key) if (found := text_at(member, "id"))]
