"""Which mails belong together (RFC 5322, 3.6.4): message ids in, reply headers out.

A conversation is known by the ``Message-ID`` of its first mail. Ids are kept without angle
brackets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roomkit._sanitize import clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.models.event import RoomEvent

IN_REPLY_TO = "in_reply_to"
"""Metadata key: the id of the mail that is answered."""

REFERENCES = "references"
"""Metadata key: the ids of the mails before, the oldest first."""

MOST_REFERENCES = 100

_LONGEST_HEADER = 900
"""Characters of a References header; a line may have 998."""

_BRACKETED = re.compile(r"<([^<>\s]{1,250})>")
_SAFE_ID = re.compile(r"[!-;=?-~]{1,250}")
_REPLY = re.compile(r"(?:re|aw|sv|vs|antw|ref|rif)\s{0,3}(?:\[\d{1,3}\])?:", re.IGNORECASE)
_BREAKS = re.compile(r"[\r\n]+[ \t]*")


def message_ids(value: str) -> list[str]:
    """Return the message ids in a header, in order, each once.

    Of more than 100 the first and the newest 99 are kept.
    """
    found = _BRACKETED.findall(value)
    if not found:
        found = [word for word in value.split() if "@" in word and len(word) <= 250]
    ids = list(dict.fromkeys(clean_text(word.strip("<>")) for word in found))
    return ids if len(ids) <= MOST_REFERENCES else [ids[0], *ids[1 - MOST_REFERENCES :]]


def first_id(value: str) -> str | None:
    """Return the first message id in a header; None when there is none."""
    return next(iter(message_ids(value)), None)


def thread_of(
    message_id: str | None, in_reply_to: str | None, references: Sequence[str]
) -> str | None:
    """Return the id of a conversation's first mail, as far as a mail knows it."""
    return references[0] if references else in_reply_to or message_id


def reply_subject(subject: str) -> str:
    """Return the subject of an answer; one ``Re:`` is enough."""
    subject = one_line(subject)
    return subject if not subject or _REPLY.match(subject) else f"Re: {subject}"


def one_line(text: str) -> str:
    """Return a header's text without line breaks, which would begin another header."""
    return _BREAKS.sub(" ", text).strip()


def subject_line(event: RoomEvent, given: str | None, default: str | None) -> str:
    """Return the subject of a mail: as ``send`` was told, else the event's, else the config's."""
    found = given or event.metadata.get("subject") or default
    return one_line(found) if isinstance(found, str) else ""


def own_message_id(event_id: str, address: str) -> str:
    """Return the ``Message-ID`` of an event sent from an address; the same over repeats."""
    domain = address.rpartition("@")[2].strip().strip(">") or "localhost"
    return f"{event_id}@{domain}"


def thread_headers(metadata: Mapping[str, Any], address: str) -> dict[str, str]:
    """Return the ``In-Reply-To`` and ``References`` an event's metadata asks for.

    An id without ``@`` is one of our own events; it is completed with the sender's domain.
    Ids no header may hold are left out.

    Args:
        metadata: The event's; ``in_reply_to`` is an id, ``references`` a list of them.
        address: Who sends.
    """
    answered = _usable(metadata.get(IN_REPLY_TO), address)
    given = metadata.get(REFERENCES)
    listed = message_ids(given) if isinstance(given, str) else given
    known = [
        one
        for item in (listed if isinstance(listed, list | tuple) else ())
        if (one := _usable(item, address)) is not None
    ]
    if answered is not None and answered not in known:
        known.append(answered)
    headers = {}
    if answered is not None:
        headers["In-Reply-To"] = f"<{answered}>"
    if known:
        headers["References"] = _fitting(known)
    return headers


def _usable(value: Any, address: str) -> str | None:
    if not isinstance(value, str):
        return None
    value = value.strip().strip("<>")
    if _SAFE_ID.fullmatch(value) is None:
        return None
    return value if "@" in value else own_message_id(value, address)


def _fitting(ids: list[str]) -> str:
    """Return a References header: the first id and as many of the newest as there is room for."""
    first, rest = f"<{ids[0]}>", ids[1:]
    room = _LONGEST_HEADER - len(first)
    kept: list[str] = []
    for one in reversed(rest):
        room -= len(one) + 3
        if room < 0:
            break
        kept.append(f"<{one}>")
    return " ".join([first, *reversed(kept)])


def in_thread(event: RoomEvent, channel_id: str, earlier: Sequence[RoomEvent]) -> RoomEvent:
    """Return an event that answers the mail it belongs to, when there is one.

    That is the mail the event was written for, else the newest that came by the channel, else
    the last one we sent by it. What the event's metadata says already stays, unless the event
    came by mail itself: then it speaks of that mail.

    Args:
        event: What is to be sent.
        channel_id: The channel it goes out by.
        earlier: Events of the room, oldest first.
    """
    said = event.metadata.get(IN_REPLY_TO) or event.metadata.get(REFERENCES)
    if said and event.source.external_id is None:
        return event
    before = [one for one in earlier if one.id != event.id and one.index <= event.index]
    mail = _answered(event, channel_id, before)
    if mail is not None:
        return _answering(event, mail)
    ours = [one.id for one in before if _was_sent(one, channel_id)]
    if not ours:
        return event
    return event.with_metadata(
        **{IN_REPLY_TO: ours[-1], REFERENCES: list(dict.fromkeys((ours[0], ours[-1])))}
    )


def _answered(event: RoomEvent, channel_id: str, before: Sequence[RoomEvent]) -> RoomEvent | None:
    mails = [
        one
        for one in before
        if one.source.channel_id == channel_id and one.source.external_id is not None
    ]
    for mail in mails:
        if mail.id == event.parent_event_id:
            return mail
    return mails[-1] if mails else None


def _answering(event: RoomEvent, mail: RoomEvent) -> RoomEvent:
    message_id = str(mail.source.external_id)
    given = mail.metadata.get(REFERENCES)
    references = [str(one) for one in given] if isinstance(given, list) else []
    answered = mail.metadata.get(IN_REPLY_TO)
    if not references and isinstance(answered, str):
        references = [answered]
    facts: dict[str, Any] = {IN_REPLY_TO: message_id, REFERENCES: [*references, message_id]}
    subject = mail.metadata.get("subject")
    if isinstance(subject, str) and subject and "subject" not in event.metadata:
        facts["subject"] = reply_subject(subject)
    return event.with_metadata(**facts)


def _was_sent(event: RoomEvent, channel_id: str) -> bool:
    found = event.delivery_results.get(channel_id)
    return isinstance(found, dict) and found.get("provider_message_id") is not None
