"""The door: every message and event is made storable here, or refused, before anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._sanitize import clean_json, clean_text
from roomkit.exceptions import InvalidInputError
from roomkit.models.content import clean_content

if TYPE_CHECKING:
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent

MAX_KEY_LENGTH = 512
"""Longer idempotency keys are refused: every store must be able to index them."""


def clean_message(message: InboundMessage) -> InboundMessage:
    """Return a message every store can hold; the same object when nothing had to change.

    Raises:
        InvalidInputError: Its metadata or key cannot be stored.
    """
    changes: dict[str, Any] = {}
    content = clean_content(message.content)
    if content is not message.content:
        changes["content"] = content
    if message.metadata:
        metadata = clean_json(message.metadata)
        if metadata is not message.metadata:
            changes["metadata"] = metadata
    sender = clean_text(message.sender_id)
    if sender is not message.sender_id:
        changes["sender_id"] = sender
    for name in ("external_id", "thread_id", "idempotency_key"):
        value = getattr(message, name)
        if value is not None:
            cleaned = clean_text(value)
            if cleaned is not value:
                changes[name] = cleaned
    check_key(message.idempotency_key)
    return message.cleaned(**changes) if changes else message


def clean_event(event: RoomEvent) -> RoomEvent:
    """Return an event every store can hold; the same object when nothing had to change.

    Raises:
        InvalidInputError: Its metadata or key cannot be stored.
    """
    changes: dict[str, Any] = {}
    content = clean_content(event.content)
    if content is not event.content:
        changes["content"] = content
    if event.metadata:
        metadata = clean_json(event.metadata)
        if metadata is not event.metadata:
            changes["metadata"] = metadata
    if event.source.raw_payload:
        payload = clean_json(event.source.raw_payload, "raw_payload")
        if payload is not event.source.raw_payload:
            changes["source"] = event.source.cleaned(raw_payload=payload)
    check_key(event.idempotency_key)
    return event.cleaned(**changes) if changes else event


def check_key(key: str | None) -> None:
    """Raise InvalidInputError when an idempotency key is too long to be indexed."""
    if key is not None and len(key) > MAX_KEY_LENGTH:
        raise InvalidInputError(
            f"idempotency_key has {len(key)} characters; at most {MAX_KEY_LENGTH} are allowed"
        )
