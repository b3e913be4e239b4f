"""Content as messages of a Telnyx RCS agent, each with what stands in where RCS does not reach.

Source: the page "Send an RCS message" of Telnyx' API reference. One message holds a text, a
file or cards, so content with several of them is several messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.models.content import RichContent
from roomkit.providers._choices import NO_WORDS, cards_of, choices_of, chunks, quick_choices
from roomkit.providers._text import leaves, split_text
from roomkit.providers.sms.meta import extract_media_urls, extract_text_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit.models.content import EventContent
    from roomkit.providers._choices import Card, Choice

LONGEST_TEXT = 3072
_MOST_SUGGESTIONS = 11
_MOST_CARD_SUGGESTIONS = 4
_LONGEST_LABEL = 25
_LONGEST_POSTBACK = 2048
_LONGEST_TITLE = 200
_LONGEST_DESCRIPTION = 2000
_MOST_CARDS = 10
_ELLIPSIS = "\u2026"


@dataclass(slots=True)
class AgentMessage:
    """One message of an agent.

    Attributes:
        content: Telnyx' ``content_message``.
        text: What an SMS says instead.
        media: What an MMS carries instead.
    """

    content: dict[str, Any]
    text: str = ""
    media: list[str] = field(default_factory=list)

    def fallback(self, sender: str) -> dict[str, Any]:
        """Return the fields that let an SMS or MMS from ``sender`` stand in."""
        words = {"text": self.text[:LONGEST_TEXT]} if self.text else {}
        if self.media:
            return {"mms_fallback": {"from": sender, **words, "media_urls": self.media}}
        return {"sms_fallback": {"from": sender, **words}}


def agent_messages(content: EventContent) -> list[AgentMessage]:
    """Return content as messages: files, then text, then cards; empty when there is nothing.

    Buttons and suggested answers go under the last message. Labels beyond the eleven a message
    shows are written out in its text.
    """
    rich = [leaf for leaf in leaves(content) if isinstance(leaf, RichContent)]
    choices = [c for leaf in rich for c in (*choices_of(leaf.buttons), *quick_choices(leaf))]
    shown, extra = choices[:_MOST_SUGGESTIONS], choices[_MOST_SUGGESTIONS:]
    lines = (extract_text_body(content), *(f"- {choice.title}" for choice in extra))
    text = "\n".join(line for line in lines if line)
    messages = [
        AgentMessage({"content_info": {"file_url": url}}, media=[url])
        for url in extract_media_urls(content, http_only=True)
    ]
    cards = [card for leaf in rich for card in cards_of(leaf)]
    if shown and not text.strip() and not messages and not cards:
        text = NO_WORDS
    pieces = split_text(text, LONGEST_TEXT)
    messages += [AgentMessage({"text": piece}, text=piece) for piece in pieces]
    messages += [_of_cards(group) for group in chunks(cards, _MOST_CARDS)]
    if shown and messages:
        last = messages[-1]
        last.content["suggestions"] = _suggestions(shown, _MOST_SUGGESTIONS)
        labels = ", ".join(choice.title for choice in shown)
        last.text = f"{last.text}\n[{labels}]" if last.text else f"[{labels}]"
    return messages


def _of_cards(cards: list[Card]) -> AgentMessage:
    """Return one card standing alone, or a carousel of two to ten."""
    contents = [_card(card) for card in cards]
    rich_card: dict[str, Any]
    if len(contents) == 1:
        rich_card = {
            "standalone_card": {
                "card_orientation": "VERTICAL",
                "thumbnail_image_alignment": "LEFT",
                "card_content": contents[0],
            }
        }
    else:
        rich_card = {"carousel_card": {"card_width": "MEDIUM", "card_contents": contents}}
    return AgentMessage({"rich_card": rich_card}, text="\n\n".join(card.text for card in cards))


def _card(card: Card) -> dict[str, Any]:
    content: dict[str, Any] = {"title": _cut(card.title, _LONGEST_TITLE)}
    if card.subtitle:
        content["description"] = _cut(card.subtitle, _LONGEST_DESCRIPTION)
    if card.image:
        content["media"] = {"height": "MEDIUM", "content_info": {"file_url": card.image}}
    if card.choices:
        content["suggestions"] = _suggestions(card.choices, _MOST_CARD_SUGGESTIONS)
    return content


def _suggestions(choices: Iterable[Choice], most: int) -> list[dict[str, Any]]:
    return [_suggestion(choice) for choice in list(choices)[:most]]


def _suggestion(choice: Choice) -> dict[str, Any]:
    """Return a choice as a suggested reply, or an action that opens a page or dials."""
    words = {
        "text": _cut(choice.title, _LONGEST_LABEL),
        "postback_data": choice.payload[:_LONGEST_POSTBACK],
    }
    if choice.url:
        page = {"url": choice.url, "application": "BROWSER", "webview_view_mode": "FULL"}
        return {"action": {**words, "open_url_action": page}}
    if choice.phone:
        return {"action": {**words, "dial_action": {"phone_number": choice.phone}}}
    return {"reply": words}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS
