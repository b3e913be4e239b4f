"""Buttons, quick replies and cards of formatted content, read for vendors that show them.

``RichContent`` leaves the shape of a button to the program; here is what we understand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from roomkit.models.content import RichContent

NO_WORDS = "\u2026"
"""What stands above buttons that come without a text, where a vendor insists on one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing a person may press.

    Attributes:
        title: The label.
        payload: What comes back when it is pressed.
        url: Where it leads instead, if anywhere.
        phone: Whom it calls instead, if anybody.
    """

    title: str
    payload: str
    url: str = ""
    phone: str = ""

    @property
    def replies(self) -> bool:
        """Whether pressing it sends an answer, rather than opening something."""
        return not self.url and not self.phone


@dataclass(frozen=True, slots=True)
class Card:
    """A picture, a few words and buttons."""

    title: str
    subtitle: str = ""
    image: str = ""
    choices: tuple[Choice, ...] = ()

    @property
    def bare(self) -> bool:
        """Whether it is nothing but a title."""
        return not (self.subtitle or self.image or self.choices)

    @property
    def text(self) -> str:
        """Its words, a line each."""
        return "\n".join(line for line in (self.title, self.subtitle) if line)


def choices_of(buttons: Iterable[Mapping[str, Any]]) -> list[Choice]:
    """Return the buttons that have a label.

    The label is ``text``, ``title`` or ``label``; what comes back is ``payload``, ``id`` or
    ``value``, else the label; ``url`` opens a page and ``phone`` calls a number.
    """
    found = []
    for button in buttons:
        title = _word(button, "text", "title", "label")
        if title:
            payload = _word(button, "payload", "id", "value") or title
            url = _word(button, "url")
            found.append(
                Choice(
                    title,
                    payload,
                    url=url if is_fetchable(url) else "",
                    phone=_word(button, "phone", "phone_number"),
                )
            )
    return found


def quick_choices(content: RichContent) -> list[Choice]:
    """Return the suggested answers; each comes back as it is written."""
    return [Choice(word, word) for word in content.quick_replies if word]


def cards_of(content: RichContent) -> list[Card]:
    """Return the cards that have a title, or a text in its place."""
    found = []
    for card in content.cards:
        title = _word(card, "title", "text", "body")
        if not title:
            continue
        buttons = card.get("buttons")
        image = _word(card, "image_url", "image", "media_url")
        pressable = (
            choices_of(b for b in buttons if isinstance(b, dict))
            if isinstance(buttons, list)
            else []
        )
        found.append(
            Card(
                title,
                subtitle=_word(card, "subtitle", "description"),
                image=image if is_fetchable(image) else "",
                choices=tuple(pressable),
            )
        )
    return found


def chunks[T](things: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield the things in lists of at most ``size``."""
    for start in range(0, len(things), size):
        yield list(things[start : start + size])


def distinct(choices: Iterable[Choice]) -> list[Choice]:
    """Return the choices without those whose label came before; vendors refuse twins."""
    found: dict[str, Choice] = {}
    for choice in choices:
        found.setdefault(choice.title, choice)
    return list(found.values())


def is_fetchable(url: str) -> bool:
    """Tell whether a vendor could fetch it."""
    return url.startswith(("http://", "https://"))


def _word(of: Mapping[str, Any], *names: str) -> str:
    """Return the first of several entries that is text or a number."""
    for name in names:
        value = of.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""
