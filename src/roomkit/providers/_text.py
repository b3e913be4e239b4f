"""Content as vendors take it: one plain text, pieces of bounded length, leaves of a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.models.content import EventContent


def leaves(content: EventContent) -> Iterator[EventContent]:
    """Yield the contents that hold no other content, in order, at any depth; edits opened."""
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, CompositeContent):
            waiting.extend(reversed(item.parts))
        elif isinstance(item, EditContent):
            waiting.append(item.new_content)
        else:
            yield item


def plain_text(content: EventContent, *, separator: str = "\n") -> str:
    """Return the words of ``content``; empty when it has none.

    Media gives its caption, a recording its transcript, a place its label, address and
    coordinates, a template its body; a composite all of these, joined by ``separator``.
    """
    return separator.join(text for leaf in leaves(content) if (text := leaf_text(leaf)))


def leaf_text(content: EventContent) -> str:
    """Return the words of a content that holds no other content."""
    if isinstance(content, TextContent | RichContent | SystemContent):
        return content.body
    if isinstance(content, TemplateContent):
        return content.body or ""
    if isinstance(content, MediaContent):
        return content.caption or ""
    if isinstance(content, AudioContent):
        return content.transcript or ""
    if isinstance(content, LocationContent):
        return place_text(content, f"{content.latitude:.7g}", f"{content.longitude:.7g}")
    return ""


def place_text(place: LocationContent, latitude: str, longitude: str) -> str:
    """Return a place's label, address and coordinates, as far as they are known."""
    known = (place.label, place.address, f"{latitude},{longitude}")
    return " \u2013 ".join(word for word in known if word)


def media_of(content: EventContent) -> list[MediaContent | AudioContent | VideoContent]:
    """Return the pictures, files, recordings and films in ``content``, in order."""
    kinds = (MediaContent, AudioContent, VideoContent)
    return [leaf for leaf in leaves(content) if isinstance(leaf, kinds)]


def split_text(text: str, limit: int) -> list[str]:
    """Return ``text`` in pieces of at most ``limit`` characters, cut at blanks where possible.

    A line end is the best place, then a space; a piece is cut inside a word only when no blank
    stands in its last half. Blanks at a cut are dropped. No piece is empty.

    Args:
        text: What to cut.
        limit: Characters a piece may have, at least 2.
    """
    pieces = []
    rest = text
    while len(rest) > limit:
        end = _cut(rest, limit)
        piece = rest[:end].rstrip()
        if piece:
            pieces.append(piece)
        rest = rest[end:].lstrip()
    if rest.strip():
        pieces.append(rest)
    return pieces


def _cut(text: str, limit: int) -> int:
    """Return where to cut: at most ``limit``, at least 1."""
    for blank in ("\n", " "):
        place = text.rfind(blank, limit // 2, limit + 1)
        if place > 0:
            return place
    end = limit
    while end > 1 and _joined(text[end - 1], text[end]):
        end -= 1
    return end if end > 1 else limit


def _joined(before: str, after: str) -> bool:
    """Tell whether a cut between two characters would tear one that people see."""
    joiner = "\u200d"
    return (
        joiner in (before, after)
        or "\ufe00" <= after <= "\ufe0f"
        or "\u0300" <= after <= "\u036f"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
    )
