"""Content for channels that cannot carry it: text instead of pictures, cards or places.

``adapt`` is the whole way of content to a target: as it is, or transcoded, then cut to the
target's length. Nothing here knows rooms or sends anything.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, assert_never

from roomkit.core.router import ContentTranscoder
from roomkit.models.content import (
    MAX_NESTING_DEPTH,
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
    nesting_depth,
)

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding, ChannelCapabilities
    from roomkit.models.content import EventContent

MAX_TRANSCODING_DEPTH = 32
"""Edits and composites wrapped deeper in each other than this are not transcoded."""

_ELLIPSIS = "..."
_LONGEST_STEP_BACK = 32
_ZERO_WIDTH_JOINER = "\u200d"
_EMOJI_MODIFIERS = range(0x1F3FB, 0x1F400)


async def adapt(
    transcoder: ContentTranscoder,
    content: EventContent,
    source_binding: ChannelBinding,
    target_binding: ChannelBinding,
) -> EventContent | None:
    """Return ``content`` as the target can carry it, or None when there is no way.

    The same object comes back when nothing had to change. The result depends on the target's
    capabilities only, unless the transcoder looks at more, so it may be shared by targets
    with equal ones.
    """
    capabilities = target_binding.capabilities
    if passes_untouched(content, capabilities):
        return truncated(content, capabilities.max_length)
    adapted = await transcoder.transcode(content, source_binding, target_binding)
    return None if adapted is None else truncated(adapted, capabilities.max_length)


def passes_untouched(content: EventContent, capabilities: ChannelCapabilities) -> bool:
    """Return whether a channel carries this kind of content as it is.

    Its kind must be among ``media_types``; edits and deletes have flags of their own.
    Composite and system content is no media type and never passes.
    """
    kind = content.type
    if kind == "edit":
        return capabilities.supports_edit
    if kind == "delete":
        return capabilities.supports_delete
    return kind in capabilities.media_types


def truncated(content: EventContent, max_length: int | None) -> EventContent:
    """Return text cut to ``max_length`` characters, ending in three dots.

    Up to a length of 3 there are no dots. A character is not cut off from its combining
    marks, joiners or modifiers, so the result may be a little shorter. Content that fits,
    and all that is not text, comes back as it is. ``None`` means no limit.
    """
    if max_length is None or not isinstance(content, TextContent):
        return content
    body = content.body
    if len(body) <= max_length:
        return content
    if max_length <= len(_ELLIPSIS):
        cut = body[: _boundary(body, max_length)]
    else:
        cut = body[: _boundary(body, max_length - len(_ELLIPSIS))] + _ELLIPSIS
    return TextContent(body=cut, language=content.language)


def _boundary(text: str, end: int) -> int:
    """Return the last place up to ``end`` where ``text`` can be cut."""
    place = end
    lowest = max(0, end - _LONGEST_STEP_BACK)
    while place > lowest and _belong_together(text[place - 1], text[place]):
        place -= 1
    if place == 0 or (place == lowest and _belong_together(text[place - 1], text[place])):
        place = end  # one base with endless marks: better cut among them than nothing left
    if place > 0 and _is_surrogate_pair(text[place - 1], text[place]):
        place -= 1
    return place


def _belong_together(before: str, after: str) -> bool:
    """Return whether two characters show as one."""
    if after < "\u0300":  # the first combining mark
        return False
    return (
        before == _ZERO_WIDTH_JOINER
        or after == _ZERO_WIDTH_JOINER
        or unicodedata.category(after)[0] == "M"  # variation selectors too
        or ord(after) in _EMOJI_MODIFIERS
        or _is_surrogate_pair(before, after)
    )


def _is_surrogate_pair(before: str, after: str) -> bool:
    return "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff"


class DefaultContentTranscoder(ContentTranscoder):
    """Says in text what the target cannot show.

    Text and system content stays as it is, whatever the target lists. Formatted text falls
    back on ``plain_text`` or its own source, a recording on its transcript, everything else
    on a note in brackets. A composite whose parts all become text is one text, a line each.
    A subclass that overrides ``transcode`` is asked for parts and edits too.
    """

    async def transcode(
        self,
        content: EventContent,
        source_binding: ChannelBinding,
        target_binding: ChannelBinding,
    ) -> EventContent | None:
        """Return ``content`` as the target can carry it; the same object when it can.

        None only for content wrapped more than 32 levels deep, or when an override returned
        None for every part of a composite. Never raises.
        """
        if passes_untouched(content, target_binding.capabilities):
            return content
        if not isinstance(content, EditContent | CompositeContent):
            return _in_words(content)
        if _wrapping_depth(content) > MAX_TRANSCODING_DEPTH:
            return None
        if isinstance(content, EditContent):
            new = await self.transcode(content.new_content, source_binding, target_binding)
            return _correction(new)
        parts = [
            await self.transcode(part, source_binding, target_binding) for part in content.parts
        ]
        return _recomposed(content, [part for part in parts if part is not None])


def _in_words(
    content: TextContent
    | SystemContent
    | RichContent
    | MediaContent
    | AudioContent
    | VideoContent
    | LocationContent
    | TemplateContent
    | DeleteContent,
) -> EventContent:
    """Return content without parts as text, where it is not already."""
    if isinstance(content, TextContent | SystemContent):
        return content
    return TextContent(body=_wording(content))


def _wording(
    content: RichContent
    | MediaContent
    | AudioContent
    | VideoContent
    | LocationContent
    | TemplateContent
    | DeleteContent,
) -> str:
    match content:
        case RichContent():
            return content.plain_text or content.body
        case MediaContent():
            return f"[Media: {content.caption or content.filename or content.url}]"
        case AudioContent():
            return content.transcript or f"[Voice message: {content.url}]"
        case VideoContent():
            return f"[Video: {content.url}]"
        case LocationContent():
            label = content.label or content.address or ""
            return f"[Location: {label} ({content.latitude}, {content.longitude})]"
        case TemplateContent():
            return content.body or f"[Template: {content.template_id}]"
        case DeleteContent():
            return "[Message deleted]"
        case _:
            assert_never(content)


def _correction(new_content: EventContent | None) -> EventContent:
    """Return what stands for an edit with this transcoded new content."""
    if new_content is None:
        return TextContent(body="[Correction]")
    if isinstance(new_content, TextContent):
        return TextContent(body=f"Correction: {new_content.body}")
    return new_content


def _recomposed(content: CompositeContent, parts: list[EventContent]) -> EventContent | None:
    """Return the transcoded parts as one content; ``content`` itself if none changed."""
    if not parts:
        return None
    texts = [part.body for part in parts if isinstance(part, TextContent)]
    if len(texts) == len(parts):
        return TextContent(body="\n".join(texts))
    if len(parts) == len(content.parts) and all(
        new is old for new, old in zip(parts, content.parts, strict=True)
    ):
        return content
    # An edit may bring a composite of its own where there was none: keep within the depth.
    if 1 + max(map(nesting_depth, parts)) > MAX_NESTING_DEPTH:
        parts = [
            inner
            for part in parts
            for inner in (part.parts if isinstance(part, CompositeContent) else (part,))
        ]
    return CompositeContent(parts=parts)


def _wrapping_depth(content: EventContent) -> int:
    """Return how many edits and composites lie in each other, counted up to the limit."""
    depth = 0
    level: list[EventContent] = [content]
    while level and depth <= MAX_TRANSCODING_DEPTH:
        inner: list[EventContent] = []
        for item in level:
            if isinstance(item, EditContent):
                inner.append(item.new_content)
            elif isinstance(item, CompositeContent):
                inner += item.parts
        depth += bool(inner)
        level = inner
    return depth
