"""The door: every message and event is made storable here, or refused, before anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._sanitize import clean_json, clean_text
from roomkit.exceptions import InvalidInputError
from roomkit.models.content import clean_content

if TYPE_CHECKING:
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import EventSource, RoomEvent

MAX_KEY_LENGTH = 512
"""Longer idempotency keys are refused: every store must be able to index them."""


def clean_message(message: InboundMessage) -> InboundMessage:
    """Return a message every store can hold; the same object when nothing had to change.

    Raises:
        InvalidInputError: Its metadata or key cannot be stored.
    """
    changes = _said(message)
    _text(message, ("sender_id", "external_id", "thread_id", "idempotency_key"), changes)
    check_key(message.idempotency_key)
    return message.cleaned(**changes) if changes else message


def clean_event(event: RoomEvent) -> RoomEvent:
    """Return an event every store can hold; the same object when nothing had to change.

    Raises:
        InvalidInputError: Its metadata or key cannot be stored.
    """
    changes = _said(event)
    _text(event, _EVENT_TEXTS, changes)
    source = event.source
    of_source: dict[str, Any] = {}
    _text(source, _SOURCE_TEXTS, of_source)
    if source.raw_payload:
        payload = clean_json(source.raw_payload, "raw_payload")
        if payload is not source.raw_payload:
            of_source["raw_payload"] = payload
    if of_source:
        changes["source"] = source.cleaned(**of_source)
    check_key(event.idempotency_key)
    return event.cleaned(**changes) if changes else event


_EVENT_TEXTS = ("idempotency_key", "parent_event_id", "correlation_id", "visibility")
_SOURCE_TEXTS = ("participant_id", "external_id", "provider", "provider_message_id")


def _said(carrier: InboundMessage | RoomEvent) -> dict[str, Any]:
    """Return the content and metadata to replace, as far as they must be."""
    changes: dict[str, Any] = {}
    content = clean_content(carrier.content)
    if content is not carrier.content:
        changes["content"] = content
    if carrier.metadata:
        metadata = clean_json(carrier.metadata)
        if metadata is not carrier.metadata:
            changes["metadata"] = metadata
    return changes


def _text(
    carrier: InboundMessage | RoomEvent | EventSource,
    names: tuple[str, ...],
    changes: dict[str, Any],
) -> None:
    """Add to ``changes`` what must be replaced of a carrier's short texts."""
    fields = carrier.__dict__
    for name in names:
        value = fields[name]
        # Plain ASCII without NUL, which nearly all are, is told without a call of ours.
        if value is not None and not (value.isascii() and "\x00" not in value):
            cleaned = clean_text(value)
            if cleaned is not value:
                changes[name] = cleaned


def check_key(key: str | None) -> None:
    """Raise InvalidInputError when an idempotency key is too long to be indexed."""
    if key is not None and len(key) > MAX_KEY_LENGTH:
        raise InvalidInputError(
            f"idempotency_key has {len(key)} characters; at most {MAX_KEY_LENGTH} are allowed"
        )
