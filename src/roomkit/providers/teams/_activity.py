"""Content as an activity: text with its format, buttons and cards as an Adaptive Card."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from roomkit.models.content import AudioContent, MediaContent, RichContent, VideoContent
from roomkit.providers._text import leaves, media_of, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roomkit.models.content import EventContent

_CARD = "application/vnd.microsoft.card.adaptive"
_CARD_SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
_MOST_CARDS = 10
_MOST_ACTIONS = 6


def activity_of(
    content: EventContent, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the message activity of ``content``; None when there is nothing to say.

    Args:
        content: What to send.
        metadata: The event's; ``mentions`` holds ``{"id", "name"}`` each, for people to be
            notified.
    """
    rich = next((leaf for leaf in leaves(content) if isinstance(leaf, RichContent)), None)
    text = plain_text(content)
    media = [_media(item) for item in media_of(content) if item.url.startswith("http")]
    cards = [] if rich is None else _cards(rich)
    if not text and not media and not cards:
        return None
    activity: dict[str, Any] = {"type": "message", "text": text, "textFormat": _format(rich)}
    if media or cards:
        activity["attachments"] = [*media, *cards]
    if rich is not None and rich.quick_replies:
        activity["suggestedActions"] = {
            "actions": [
                {"type": "imBack", "title": reply, "value": reply} for reply in rich.quick_replies
            ]
        }
    _mention(activity, metadata or {})
    return activity


def _format(rich: RichContent | None) -> str:
    if rich is None:
        return "plain"
    return "xml" if rich.format == "html" else "markdown"


def _media(item: MediaContent | AudioContent | VideoContent) -> dict[str, Any]:
    found = {"contentType": item.mime_type, "contentUrl": item.url}
    name = item.filename if isinstance(item, MediaContent) else None
    return {**found, "name": name} if name else found


def _cards(rich: RichContent) -> list[dict[str, Any]]:
    """Return one card for the buttons, and one for each card."""
    cards = []
    if rich.buttons:
        cards.append(_card([], rich.buttons))
    for card in rich.cards[:_MOST_CARDS]:
        if card.get("type") == "AdaptiveCard":
            cards.append({"contentType": _CARD, "content": card})
            continue
        body: list[dict[str, Any]] = []
        if image := card.get("image_url") or card.get("image"):
            body.append({"type": "Image", "url": str(image), "size": "stretch"})
        if title := card.get("title"):
            body.append(
                {"type": "TextBlock", "text": str(title), "weight": "bolder", "wrap": True}
            )
        if words := card.get("description") or card.get("subtitle") or card.get("text"):
            body.append({"type": "TextBlock", "text": str(words), "wrap": True})
        buttons = card.get("buttons")
        cards.append(_card(body, buttons if isinstance(buttons, list) else []))
    return cards


def _card(body: list[dict[str, Any]], buttons: list[Any]) -> dict[str, Any]:
    content = {
        "$schema": _CARD_SCHEMA,
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": [_action(button) for button in buttons[:_MOST_ACTIONS]],
    }
    return {"contentType": _CARD, "content": content}


def _action(button: Mapping[str, Any]) -> dict[str, Any]:
    """Return a button that opens a page, or one that says its text (or payload)."""
    title = str(button.get("text") or button.get("title") or "")
    if url := button.get("url"):
        return {"type": "Action.OpenUrl", "title": title, "url": str(url)}
    value = button.get("payload") or button.get("value") or button.get("id") or title
    return {
        "type": "Action.Submit",
        "title": title,
        "data": {"msteams": {"type": "imBack", "value": str(value)}, "payload": value},
    }


def _mention(activity: dict[str, Any], metadata: Mapping[str, Any]) -> None:
    """Put people to be notified into the text and the entities."""
    wanted = metadata.get("mentions")
    entities = []
    for person in wanted if isinstance(wanted, list) else ():
        if not isinstance(person, dict) or not person.get("id"):
            continue
        name = str(person.get("name") or person["id"])
        tag = f"<at>{escape(name)}</at>"
        if tag not in activity["text"]:
            activity["text"] = f"{tag} {activity['text']}".rstrip()
        entities.append(
            {
                "type": "mention",
                "text": tag,
                "mentioned": {"id": str(person["id"]), "name": name},
            }
        )
    if entities:
        activity["entities"] = entities
        # Plain text would show the tags.
        if activity["textFormat"] == "plain":
            activity["textFormat"] = "markdown"
