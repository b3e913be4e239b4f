"""Content as the Send API takes it: one or more ``message`` objects.

Limits are those of Meta's "Send API reference" and "Message templates".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.models.content import AudioContent, MediaContent, RichContent, VideoContent
from roomkit.providers._choices import (
    NO_WORDS,
    Card,
    Choice,
    cards_of,
    choices_of,
    chunks,
    is_fetchable,
    quick_choices,
)
from roomkit.providers._text import leaf_text, leaves, split_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.models.content import EventContent

MAX_TEXT = 2000
MAX_TEMPLATE_TEXT = 640
MAX_TITLE = 20
MAX_PAYLOAD = 1000
MAX_BUTTONS = 3
MAX_QUICK_REPLIES = 13
MAX_ELEMENTS = 10
MAX_ELEMENT_TEXT = 80


def messages_of(content: EventContent) -> list[dict[str, Any]]:
    """Return the ``message`` objects ``content`` is sent as, in order.

    Media comes before its caption. ``data:`` URLs are left out: Messenger fetches media.
    Empty when there is nothing Messenger can carry.
    """
    found: list[dict[str, Any]] = []
    for leaf in leaves(content):
        if isinstance(leaf, RichContent):
            found.extend(_rich(leaf))
        elif isinstance(leaf, MediaContent | AudioContent | VideoContent):
            found.extend(_media(leaf))
        else:
            found.extend(_texts(leaf_text(leaf)))
    return found


def _texts(text: str) -> list[dict[str, Any]]:
    return [{"text": piece} for piece in split_text(text, MAX_TEXT)]


def _media(content: MediaContent | AudioContent | VideoContent) -> list[dict[str, Any]]:
    if not is_fetchable(content.url):
        return _texts(leaf_text(content))
    family = content.mime_type.partition("/")[0].lower()
    kind = family if family in ("image", "video", "audio") else "file"
    payload = {"url": content.url, "is_reusable": False}
    caption = content.caption if isinstance(content, MediaContent) else None
    return [{"attachment": {"type": kind, "payload": payload}}, *_texts(caption or "")]


def _rich(content: RichContent) -> list[dict[str, Any]]:
    """Return text, cards and buttons, with the quick replies at the last of them."""
    text = content.plain_text or content.body
    buttons, quick = choices_of(content.buttons), quick_choices(content)
    if len(buttons) > MAX_BUTTONS and all(button.replies for button in buttons):
        # Four or more templates in a row are a wall; as quick replies they stand in one line.
        buttons, quick = [], [*buttons, *quick]
    found = _with_buttons(text, buttons) if buttons else _texts(text)
    cards = cards_of(content)
    # A card of nothing but a title is refused.
    for card in cards:
        if card.bare:
            found.extend(_texts(card.title))
    full = [card for card in cards if not card.bare]
    found.extend(_carousel(some) for some in chunks(full, MAX_ELEMENTS))
    if quick:
        if not found:
            found.append({"text": NO_WORDS})
        found[-1] = {**found[-1], "quick_replies": _quick_replies(quick)}
    return found


def _with_buttons(text: str, buttons: Sequence[Choice]) -> list[dict[str, Any]]:
    """Return a text whose end stands above the buttons, three to a message."""
    pieces = split_text(text, MAX_TEXT) or [NO_WORDS]
    pieces[-1:] = split_text(pieces[-1], MAX_TEMPLATE_TEXT)
    found = [{"text": piece} for piece in pieces[:-1]]
    heading = pieces[-1]
    for some in chunks(buttons, MAX_BUTTONS):
        payload = {
            "template_type": "button",
            "text": heading,
            "buttons": [_button(choice) for choice in some],
        }
        found.append(_template(payload))
        heading = NO_WORDS
    return found


def _carousel(cards: Sequence[Card]) -> dict[str, Any]:
    return _template({"template_type": "generic", "elements": [_element(card) for card in cards]})


def _element(card: Card) -> dict[str, Any]:
    element: dict[str, Any] = {"title": card.title[:MAX_ELEMENT_TEXT]}
    if card.subtitle:
        element["subtitle"] = card.subtitle[:MAX_ELEMENT_TEXT]
    if card.image:
        element["image_url"] = card.image
    if card.choices:
        element["buttons"] = [_button(choice) for choice in card.choices[:MAX_BUTTONS]]
    return element


def _button(choice: Choice) -> dict[str, Any]:
    title = choice.title[:MAX_TITLE]
    if choice.url:
        return {"type": "web_url", "url": choice.url, "title": title}
    if choice.phone:
        return {"type": "phone_number", "title": title, "payload": choice.phone}
    return {"type": "postback", "title": title, "payload": choice.payload[:MAX_PAYLOAD]}


def _quick_replies(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    return [
        {
            "content_type": "text",
            "title": choice.title[:MAX_TITLE],
            "payload": choice.payload[:MAX_PAYLOAD],
        }
        for choice in choices[:MAX_QUICK_REPLIES]
    ]


def _template(payload: dict[str, Any]) -> dict[str, Any]:
    return {"attachment": {"type": "template", "payload": payload}}
