"""Content as the Cloud API takes it: one or more message objects.

Limits are those of Meta's "WhatsApp Cloud API - Message API".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.models.content import (
    AudioContent,
    DeleteContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.providers._choices import (
    NO_WORDS,
    Card,
    Choice,
    cards_of,
    choices_of,
    chunks,
    distinct,
    is_fetchable,
    quick_choices,
)
from roomkit.providers._text import leaf_text, leaves, split_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roomkit.models.content import EventContent

MAX_TEXT = 4096
MAX_BODY = 1024
MAX_CAPTION = 1024
MAX_BUTTONS = 3
MAX_ROWS = 10
MAX_BUTTON_TITLE = 20
MAX_ROW_TITLE = 24
MAX_BUTTON_ID = 256
MAX_ROW_ID = 200
MAX_FILENAME = 240

# What the types of message take; anything else travels as a document.
_IMAGES = frozenset({"image/jpeg", "image/png"})
_VIDEOS = frozenset({"video/mp4", "video/3gpp"})
_AUDIO = frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"})
_CAPTIONED = frozenset({"image", "video", "document"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        type: The Cloud API's word for it.
        fields: What stands under that word.
        upload: A ``data:`` URL whose bytes must be uploaded first, and their type; the media
            id then goes into ``fields``.
    """

    type: str
    fields: dict[str, Any]
    upload: tuple[str, str] | None = field(default=None, repr=False)


def messages_of(content: EventContent, *, list_button: str = "Options") -> list[Message]:
    """Return the messages ``content`` is sent as, in order; empty when there is nothing.

    In a composite the first text becomes the caption of the first media that can have one.

    Args:
        content: What to send.
        list_button: The label of the button that opens a list.
    """
    found: list[Message] = []
    for leaf in _captioned(list(leaves(content))):
        if isinstance(leaf, RichContent):
            found.extend(_rich(leaf, list_button))
        elif isinstance(leaf, MediaContent | AudioContent | VideoContent):
            found.extend(_media(leaf))
        elif isinstance(leaf, LocationContent):
            found.append(_location(leaf))
        elif isinstance(leaf, TemplateContent):
            found.append(_template(leaf))
        else:
            found.extend(_texts(leaf_text(leaf)))
    return found


def unsupported(content: EventContent) -> bool:
    """Tell whether it is an edit or a withdrawal, which the Cloud API has not."""
    return isinstance(content, EditContent | DeleteContent)


def template_of(name: str, params: dict[str, Any] | None) -> dict[str, Any]:
    """Return a ``template`` object; see ``WhatsAppCloudProvider.send_template``."""
    given = params or {}
    language = given.get("language") or "en_US"
    template: dict[str, Any] = {"name": name, "language": {"code": str(language)}}
    components = given.get("components")
    if not isinstance(components, list):
        components = [
            *_component("header", given.get("header")),
            *_component("body", given.get("body")),
            *_buttons(given.get("buttons")),
        ]
    if components:
        template["components"] = components
    return template


def _texts(text: str) -> list[Message]:
    return [_text(piece) for piece in split_text(text, MAX_TEXT)]


def _text(body: str) -> Message:
    return Message("text", {"body": body, "preview_url": False})


def _location(content: LocationContent) -> Message:
    fields: dict[str, Any] = {"latitude": content.latitude, "longitude": content.longitude}
    if content.label:
        fields["name"] = content.label
    if content.address:
        fields["address"] = content.address
    return Message("location", fields)


def _media(content: MediaContent | AudioContent | VideoContent) -> list[Message]:
    """Return a file, and its caption after it where it cannot go along."""
    mime = _bare(content.mime_type)
    kind = _kind(mime)
    caption = (content.caption or "") if isinstance(content, MediaContent) else ""
    fields: dict[str, Any] = {}
    if is_fetchable(content.url):
        fields["link"] = content.url
    if caption and kind in _CAPTIONED and len(caption) <= MAX_CAPTION:
        fields["caption"], caption = caption, ""
    if kind == "document" and isinstance(content, MediaContent) and content.filename:
        fields["filename"] = content.filename[:MAX_FILENAME]
    upload = None if "link" in fields else (content.url, mime)
    return [Message(kind, fields, upload), *_texts(caption)]


def _bare(mime_type: str) -> str:
    """Return a media type in lower case without its parameters."""
    return mime_type.partition(";")[0].strip().lower()


def _kind(mime: str) -> str:
    known = (("image", _IMAGES), ("video", _VIDEOS), ("audio", _AUDIO))
    return next((kind for kind, types in known if mime in types), "document")


def _captioned(found: list[EventContent]) -> list[EventContent]:
    """Return the leaves with the first text moved under the first media that can have it."""
    text = next((leaf for leaf in found if isinstance(leaf, TextContent)), None)
    media = _first_captionless(found)
    if text is None or media is None or not 0 < len(text.body) <= MAX_CAPTION:
        return found
    filename = media.filename if isinstance(media, MediaContent) else None
    whole = MediaContent(
        url=media.url, mime_type=media.mime_type, filename=filename, caption=text.body
    )
    return [whole if leaf is media else leaf for leaf in found if leaf is not text]


def _first_captionless(found: list[EventContent]) -> MediaContent | VideoContent | None:
    for leaf in found:
        if isinstance(leaf, VideoContent) or (
            isinstance(leaf, MediaContent)
            and not leaf.caption
            and _kind(_bare(leaf.mime_type)) in _CAPTIONED
        ):
            return leaf
    return None


def _rich(content: RichContent, list_button: str) -> list[Message]:
    """Return text, choices and cards.

    Up to three answers are buttons, more are lists of ten. One link alone is a button too;
    among other buttons links are written under the text, for no message takes both.
    """
    text = (content.plain_text or content.body) if content.format == "html" else content.body
    pressable = choices_of(content.buttons)
    replies = distinct([*(c for c in pressable if c.replies), *quick_choices(content)])
    links = [c for c in pressable if not c.replies]
    found: list[Message] = []
    if len(links) == 1 and links[0].url and not replies:
        found.extend(_under_text(text, [_link(links[0])]))
    else:
        text = "\n".join(line for line in (text, *map(_written, links)) if line)
        found.extend(
            _under_text(text, _choices(replies, list_button)) if replies else _texts(text)
        )
    for card in cards_of(content):
        found.extend(_card(card, list_button))
    return found


def _under_text(text: str, actions: Iterable[dict[str, Any]]) -> list[Message]:
    """Return a text whose end stands above the first of some interactive objects."""
    pieces = split_text(text, MAX_TEXT) or [NO_WORDS]
    pieces[-1:] = split_text(pieces[-1], MAX_BODY)
    found = [_text(piece) for piece in pieces[:-1]]
    heading = pieces[-1]
    for action in actions:
        found.append(
            Message("interactive", {"type": action["type"], "body": {"text": heading}, **action})
        )
        heading = NO_WORDS
    return found


def _choices(choices: Sequence[Choice], list_button: str) -> list[dict[str, Any]]:
    """Return the interactive objects for some answers, without their bodies."""
    if len(choices) <= MAX_BUTTONS:
        titled = _titled(choices, MAX_BUTTON_ID, MAX_BUTTON_TITLE)
        buttons = [
            {"type": "reply", "reply": {"id": id_, "title": title}} for id_, title in titled
        ]
        return [{"type": "button", "action": {"buttons": buttons}}]
    return [_list(some, list_button) for some in chunks(choices, MAX_ROWS)]


def _list(choices: Sequence[Choice], list_button: str) -> dict[str, Any]:
    titled = _titled(choices, MAX_ROW_ID, MAX_ROW_TITLE)
    rows = [{"id": id_, "title": title} for id_, title in titled]
    section = {"title": list_button, "rows": rows}
    return {"type": "list", "action": {"button": list_button, "sections": [section]}}


def _titled(choices: Sequence[Choice], id_limit: int, limit: int) -> list[tuple[str, str]]:
    """Return the id and the label of each choice, cut to length, no two alike."""
    ids = _unlike((choice.payload for choice in choices), id_limit)
    titles = _unlike((choice.title for choice in choices), limit)
    return list(zip(ids, titles, strict=True))


def _unlike(words: Iterable[str], limit: int) -> list[str]:
    """Return the words cut to ``limit``, with a number at the end of those that came before."""
    found: list[str] = []
    taken: set[str] = set()
    for word in words:
        cut, number = word[:limit], 2
        while cut in taken:
            mark = f" {number}"
            cut = word[: limit - len(mark)] + mark
            number += 1
        taken.add(cut)
        found.append(cut)
    return found


def _link(choice: Choice) -> dict[str, Any]:
    parameters = {"display_text": choice.title[:MAX_BUTTON_TITLE], "url": choice.url}
    return {"type": "cta_url", "action": {"name": "cta_url", "parameters": parameters}}


def _written(choice: Choice) -> str:
    return f"{choice.title}: {choice.url or choice.phone}"


def _card(card: Card, list_button: str) -> list[Message]:
    """Return a card: its picture above its words, its buttons below."""
    replies = distinct(c for c in card.choices if c.replies)[:MAX_BUTTONS]
    links = [_written(c) for c in card.choices if not c.replies]
    text = "\n".join(line for line in (card.text, *links) if line)
    if not replies:
        if card.image and len(text) <= MAX_CAPTION:
            return [Message("image", {"link": card.image, "caption": text})]
        picture = [Message("image", {"link": card.image})] if card.image else []
        return [*picture, *_texts(text)]
    found = _under_text(text, _choices(replies, list_button))
    if card.image:
        header = {"type": "image", "image": {"link": card.image}}
        found[-1] = Message("interactive", {**found[-1].fields, "header": header})
    return found


def _template(content: TemplateContent) -> Message:
    numbered = content.parameters and all(key.isdecimal() for key in content.parameters)
    body: list[str] | dict[str, str] = (
        [content.parameters[key] for key in sorted(content.parameters, key=int)]
        if numbered
        else content.parameters
    )
    given = {"language": content.language, "body": body}
    return Message("template", template_of(content.template_id, given))


def _component(kind: str, given: Any) -> list[dict[str, Any]]:
    """Return the component of a header or body; none when nothing was given."""
    if isinstance(given, dict) and "type" not in given:
        parameters = [
            {"type": "text", "parameter_name": str(name), "text": str(value)}
            for name, value in given.items()
        ]
    elif isinstance(given, list | tuple):
        parameters = [_parameter(value) for value in given]
    else:
        parameters = [] if given is None else [_parameter(given)]
    return [{"type": kind, "parameters": parameters}] if parameters else []


def _parameter(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"type": "text", "text": str(value)}


def _buttons(given: Any) -> list[dict[str, Any]]:
    """Return the components of buttons: a text is a quick reply's payload, an object as it is."""
    found = []
    for index, button in enumerate(given if isinstance(given, list | tuple) else ()):
        component: dict[str, Any] = {"type": "button", "index": str(index)}
        if isinstance(button, dict):
            component.update(button)
        else:
            component["sub_type"] = "quick_reply"
            component["parameters"] = [{"type": "payload", "payload": str(button)}]
        found.append(component)
    return found
