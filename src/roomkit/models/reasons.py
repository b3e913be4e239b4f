"""The words the engine uses when it refuses, skips or gives up; hooks add their own."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Reason(StrEnum):
    """Why something did not happen. Refusals are results, not exceptions."""

    DUPLICATE = "duplicate"
    ROOM_CLOSED = "room_closed"
    PROCESS_TIMEOUT = "process_timeout"
    LOCK_TIMEOUT = "lock_timeout"
    OVERLOADED = "overloaded"
    TARGET_NOT_FOUND = "target_event_not_found"
    NOT_AUTHOR = "not_original_author"
    IDENTITY_CHALLENGE = "identity_challenge_sent"
    IDENTITY_REJECTED = "identity_rejected"
    UNKNOWN_SENDER = "unknown_sender"
    CHAIN_DEPTH = "event_chain_depth_limit"
    LOOP_CAP = "reentry_loop_cap"
    LEASE_LOST = "lease_lost"
    STALE = "stale_context"
    EPHEMERAL = "ephemeral"
    # Of a delivery.
    DETACHED = "detached"
    NO_ACCESS = "no_access"
    NOT_VISIBLE = "not_visible"
    EVENT_DELETED = "event_deleted"
    EVENT_MISSING = "event_missing"
    NOT_REGISTERED = "channel_not_registered"
    SUPERSEDED = "superseded"
    EMPTY_MESSAGE = "empty_message"
    NO_RECIPIENT = "no_recipient"
    NO_SESSION = "no_session"
    AMBIGUOUS = "ambiguous"
    TRANSCODING_FAILED = "transcoding_failed"
    CIRCUIT_OPEN = "circuit_breaker_open"
    RATE_LIMITED = "rate_limited"
    SHUTDOWN = "shutdown"
