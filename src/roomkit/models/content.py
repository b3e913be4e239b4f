"""What an event can say: eleven content types, told apart by their ``type``.

Every check happens here, at the edge: past it the engine trusts its values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, Field, field_validator

from roomkit._sanitize import clean_json, clean_text
from roomkit.models._copy import changed
from roomkit.models.enums import DeleteType

MAX_NESTING_DEPTH = 5
"""How many composite levels may lie in each other."""


def _checked_url(url: str, schemes: tuple[str, ...]) -> str:
    if not url.startswith(schemes):
        raise ValueError(f"url must start with {' or '.join(schemes)}")
    return url


class TextContent(BaseModel, defer_build=True):
    """Plain text.

    Attributes:
        body: The text.
        language: BCP 47 tag, when known.
    """

    type: Literal["text"] = "text"
    body: str
    language: str | None = None


class RichContent(BaseModel, defer_build=True):
    """Formatted text with optional buttons, cards and quick replies.

    Attributes:
        body: The text in ``format``.
        format: ``markdown`` or ``html``.
        plain_text: What channels without formatting show instead.
        buttons: One mapping a button, with at least ``text``.
        cards: One mapping a card.
        quick_replies: Suggested answers.
    """

    type: Literal["rich"] = "rich"
    body: str
    format: Literal["html", "markdown"] = "markdown"
    plain_text: str | None = None
    buttons: list[dict[str, Any]] = Field(default_factory=list)
    cards: list[dict[str, Any]] = Field(default_factory=list)
    quick_replies: list[str] = Field(default_factory=list)


class MediaContent(BaseModel, defer_build=True):
    """A file: image, document or anything with a MIME type.

    Attributes:
        url: ``http://``, ``https://`` or ``data:``.
        mime_type: Such as ``image/png``.
        filename: The name to show.
        size_bytes: Its size, when known.
        caption: Text that goes with it.
    """

    type: Literal["media"] = "media"
    url: str
    mime_type: str
    filename: str | None = None
    size_bytes: int | None = Field(default=None, ge=0)
    caption: str | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return _checked_url(value, ("http://", "https://", "data:"))


class LocationContent(BaseModel, defer_build=True):
    """A place on the map, in degrees of WGS 84.

    Attributes:
        latitude: From -90 to 90.
        longitude: From -180 to 180.
        label: What is there.
        address: Where that is, in words.
    """

    type: Literal["location"] = "location"
    latitude: float = Field(ge=-90.0, le=90.0)
    longitude: float = Field(ge=-180.0, le=180.0)
    label: str | None = None
    address: str | None = None


class AudioContent(BaseModel, defer_build=True):
    """A sound recording, such as a voice message.

    Attributes:
        url: ``http://``, ``https://`` or ``data:``.
        mime_type: Its encoding.
        duration_seconds: Its length, when known.
        transcript: What is said in it, when known.
    """

    type: Literal["audio"] = "audio"
    url: str
    mime_type: str = "audio/ogg"
    duration_seconds: float | None = Field(default=None, ge=0.0)
    transcript: str | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return _checked_url(value, ("http://", "https://", "data:"))


class VideoContent(BaseModel, defer_build=True):
    """A film. Its URLs are ``http://`` or ``https://``; data URLs are refused.

    Attributes:
        url: Where it is.
        mime_type: Its encoding.
        duration_seconds: Its length, when known.
        thumbnail_url: A picture of it.
    """

    type: Literal["video"] = "video"
    url: str
    mime_type: str = "video/mp4"
    duration_seconds: float | None = Field(default=None, ge=0.0)
    thumbnail_url: str | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return _checked_url(value, ("http://", "https://"))

    @field_validator("thumbnail_url")
    @classmethod
    def _check_thumbnail(cls, value: str | None) -> str | None:
        return value if value is None else _checked_url(value, ("http://", "https://"))


class SystemContent(BaseModel, defer_build=True):
    """A notice of the system.

    Attributes:
        body: For people.
        code: For programs, such as ``channel_attached``.
        data: What belongs to the code.
    """

    type: Literal["system"] = "system"
    body: str
    code: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class TemplateContent(BaseModel, defer_build=True):
    """A message template approved by a vendor, with its parameters and a text to fall back on.

    Attributes:
        template_id: The vendor's name of the template.
        language: The language it is sent in, as the vendor spells it.
        parameters: What goes into the gaps.
        body: What channels without templates show instead.
    """

    type: Literal["template"] = "template"
    template_id: str
    language: str = "en"
    parameters: dict[str, str] = Field(default_factory=dict)
    body: str | None = None


class CompositeContent(BaseModel, defer_build=True):
    """Several contents in one event, nested at most five levels deep.

    Attributes:
        parts: The contents, in their order.

    Raises:
        ValidationError: No parts, or deeper nesting.
    """

    type: Literal["composite"] = "composite"
    parts: _Parts

    @field_validator("parts")
    @classmethod
    def _check_parts(cls, parts: list[EventContent]) -> list[EventContent]:
        if not parts:
            raise ValueError("composite content needs at least one part")
        if 1 + max(map(nesting_depth, parts)) > MAX_NESTING_DEPTH:
            raise ValueError(f"composite nesting depth exceeds {MAX_NESTING_DEPTH}")
        return parts


class EditContent(BaseModel, defer_build=True):
    """New content for an earlier event.

    Attributes:
        target_event_id: The event to change.
        new_content: What it says from now on.
        edit_source: Who edits: None or ``"sender"`` must be the author; other words name an
            authority of the application.
    """

    type: Literal["edit"] = "edit"
    target_event_id: str
    new_content: _NewContent
    edit_source: str | None = None


class DeleteContent(BaseModel, defer_build=True):
    """The withdrawal of an earlier event.

    Attributes:
        target_event_id: The event to take back.
        delete_type: Who takes it back; SENDER must be the author.
        reason: Why, for people.
    """

    type: Literal["delete"] = "delete"
    target_event_id: str
    delete_type: DeleteType = DeleteType.SENDER
    reason: str | None = None


EventContent = Annotated[
    TextContent
    | RichContent
    | MediaContent
    | LocationContent
    | AudioContent
    | VideoContent
    | CompositeContent
    | SystemContent
    | TemplateContent
    | EditContent
    | DeleteContent,
    Field(discriminator="type"),
]
"""Any content; ``TypeAdapter(EventContent)`` parses one by its ``type``."""

# Names of their own: pydantic looks them up when a model is first used, and there the variables
# of whoever uses it come first. Nobody has one called like this.
_Parts = list[EventContent]
_NewContent = EventContent


def nesting_depth(content: object) -> int:
    """Return how many composite levels ``content`` has; 0 for anything else."""
    depth = 0
    level: list[object] = [content]
    while level:
        composites = [part for part in level if isinstance(part, CompositeContent)]
        if not composites:
            return depth
        depth += 1
        level = [part for composite in composites for part in composite.parts]
    return depth


def clean_content(content: EventContent) -> EventContent:
    """Return content every store can hold; the same object when nothing had to change.

    Raises:
        InvalidMetadataError: A mapping in it holds something JSON cannot carry.
    """
    if (
        isinstance(content, TextContent)
        and content.language is None
        and clean_text(content.body) is content.body
    ):
        return content
    changes: dict[str, Any] = {}
    for name, value in content.__dict__.items():
        cleaned: Any
        if isinstance(value, BaseModel):
            cleaned = clean_content(cast("EventContent", value))
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            cleaned = [clean_content(part) for part in value]
            if all(a is b for a, b in zip(cleaned, value, strict=True)):
                cleaned = value
        elif isinstance(value, (str, float, list, dict)) and not isinstance(value, DeleteType):
            cleaned = clean_json(value, name)
        else:
            continue
        if cleaned is not value:
            changes[name] = cleaned
    return changed(content, **changes) if changes else content
