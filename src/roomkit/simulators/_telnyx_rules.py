"""What Telnyx refuses, and why: the rules of its simulator.

Sources: the pages "Send a message", "Send an RCS message", "Character and Rate Limits" and
"Messaging error codes" of Telnyx' developer documentation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = re.compile(r"\+?[0-9]{3,15}", re.ASCII)
_GSM_ONLY = re.compile(r"[\n\r\x20-\x5f\x61-\x7e]*")
"""What Telnyx packs into seven bits; a letter with an accent makes it UCS-2."""


def sms_problem(body: Mapping[str, Any], profile: str) -> tuple[str, str] | None:
    """Return code and explanation of what Telnyx would not take in an SMS or MMS."""
    text, media = body.get("text", ""), body.get("media_urls", [])
    if not isinstance(body.get("from"), str) or not body["from"]:
        return "40305", "Invalid 'from' address"
    if not isinstance(body.get("to"), str) or not _NUMBER.fullmatch(body["to"]):
        return "40310", "Invalid 'to' address"
    if body.get("messaging_profile_id", profile) != profile:
        return "10015", "The messaging profile is unknown"
    if not isinstance(text, str) or not isinstance(media, list):
        return "10015", "text must be a string, media_urls a list"
    if not text and not media:
        return "10015", "The message has neither text nor media"
    if not all(_is_url(url) for url in media):
        return "40317", "A media URL is invalid"
    if not media and _parts(text) > 10:
        return "40302", f"The SMS message would be divided into {_parts(text)} parts"
    return None


def _parts(text: str) -> int:
    """Return how many parts an SMS has; extended characters count twice."""
    if _GSM_ONLY.fullmatch(text):
        units = len(text) + sum(text.count(mark) for mark in "~^|{}[]\\")
        return 1 if units <= 160 else -(-units // 153)
    units = len(text.encode("utf-16-le")) // 2
    return 1 if units <= 70 else -(-units // 67)


def rcs_problem(body: Mapping[str, Any], agent: str, profile: str) -> str | None:
    """Return what Telnyx would not take in an RCS request."""
    if body.get("agent_id") != agent:
        return "agent_id is unknown"
    if body.get("messaging_profile_id") != profile:
        return "messaging_profile_id is required"
    if not isinstance(body.get("to"), str) or not _NUMBER.fullmatch(body["to"]):
        return "Invalid 'to' address"
    if body.get("type", "RCS") != "RCS":
        return "type must be RCS"
    message = body.get("agent_message")
    if not isinstance(message, dict):
        return "agent_message is required"
    if "event" in message:
        kind = message["event"].get("event_type")
        return None if kind in ("IS_TYPING", "READ") else "event_type is invalid"
    content = message.get("content_message")
    return _content_problem(content) if isinstance(content, dict) else "content_message is missing"


def _content_problem(content: Mapping[str, Any]) -> str | None:
    if sum(name in content for name in ("text", "content_info", "rich_card")) != 1:
        return "content_message needs exactly one of text, content_info and rich_card"
    text = content.get("text", "x")
    if not isinstance(text, str) or not 0 < len(text) <= 3072:
        return "text must have 1 to 3072 characters"
    if "content_info" in content and not _is_url(content["content_info"].get("file_url")):
        return "file_url is invalid"
    cards, problem = _cards(content.get("rich_card", {}))
    if problem:
        return problem
    suggestions = [s for holder in (content, *cards) for s in holder.get("suggestions", [])]
    return next((bad for s in suggestions if (bad := _suggestion_problem(s))), None)


def _cards(rich: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    cards: list[dict[str, Any]] = []
    if "standalone_card" in rich:
        cards = [rich["standalone_card"].get("card_content", {})]
    elif "carousel_card" in rich:
        cards = rich["carousel_card"].get("card_contents", [])
        if not 2 <= len(cards) <= 10:
            return [], "a carousel has 2 to 10 cards"
    elif rich:
        return [], "rich_card needs a card"
    for card in cards:
        if len(card.get("title", "")) > 200 or len(card.get("description", "")) > 2000:
            return [], "a card's title has up to 200 characters, its description up to 2000"
    return cards, None


def _suggestion_problem(suggestion: Mapping[str, Any]) -> str | None:
    held = suggestion.get("reply") or suggestion.get("action")
    if not isinstance(held, dict):
        return "a suggestion is a reply or an action"
    if not 0 < len(held.get("text", "")) <= 25:
        return "a suggestion's text has 1 to 25 characters"
    if len(held.get("postback_data", "")) > 2048:
        return "postback_data has up to 2048 characters"
    page = held.get("open_url_action")
    return "open_url_action is invalid" if page and not _is_url(page.get("url")) else None


def files_of(message: Mapping[str, Any]) -> list[str]:
    """Return the files an RCS message shows by themselves."""
    url = message.get("content_info", {}).get("file_url")
    return [url] if url else []


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))
