"""The words the engine uses when it refuses, skips or gives up; hooks add their own."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Reason(StrEnum):
    """Why something did not happen. Refusals are results, not exceptions.

    Attributes:
        DUPLICATE: The key was seen before; the first event is handed back.
        ROOM_CLOSED: The room is closed or archived.
        PROCESS_TIMEOUT: The gates took longer than ``process_timeout``.
        LOCK_TIMEOUT: The room was busy for longer than ``lock_timeout``.
        OVERLOADED: Too many deliveries wait in this room.
        TARGET_NOT_FOUND: What is to be edited or deleted is not in the room.
        NOT_AUTHOR: Somebody else wrote what is to be edited or deleted.
        IDENTITY_CHALLENGE: An identity hook asked the sender who they are.
        IDENTITY_REJECTED: An identity hook refused the sender.
        UNKNOWN_SENDER: No identity hook let an unknown sender in.
        CHAIN_DEPTH: An answer to an answer, too many times over.
        LOOP_CAP: One message has caused too many others.
        LEASE_LOST: Another process took over the room's lock.
        STALE: The room changed in between; the engine tries anew by itself.
        EPHEMERAL: It was published to the room and is not kept.
        DETACHED: The channel left the room before its turn.
        NO_ACCESS: The binding may not receive.
        NOT_VISIBLE: The event's visibility was narrowed.
        EVENT_DELETED: The event was deleted before its turn.
        EVENT_MISSING: The event is no longer in the store.
        NOT_REGISTERED: No process has registered the channel.
        SUPERSEDED: The channel answers only the latest, and a newer message waits.
        EMPTY_MESSAGE: Nothing is left to send.
        NO_RECIPIENT: The binding has no address.
        NO_SESSION: Nobody is on the line any more.
        AMBIGUOUS: The vendor may have taken it, and would not know a repeat.
        TRANSCODING_FAILED: The content has no form that the channel carries.
        CIRCUIT_OPEN: The vendor failed several times in a row.
        RATE_LIMITED: The binding's rate is used up for now.
        SHUTDOWN: The kit was closed first.
    """

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
