"""What hooks of the realtime voice layer are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from roomkit.voice.realtime.base import RealtimeSession


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class RealtimeTranscriptionEvent:
    """Something was said, by the caller or the model.

    Attributes:
        session: Whose.
        text: The words.
        role: Who said them.
        is_final: Whether they will not change any more.
        item_id: The vendor's id of the turn, when it gives one.
        timestamp: When.
    """

    session: RealtimeSession
    text: str = field(repr=False)
    role: Literal["user", "assistant"]
    is_final: bool
    item_id: str | None = None
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class RealtimeToolCallEvent:
    """The model calls a tool.

    Attributes:
        session: Whose.
        tool_call_id: The call.
        name: The tool.
        arguments: As the model gave them.
        timestamp: When.
    """

    session: RealtimeSession
    tool_call_id: str
    name: str
    arguments: dict[str, Any] = field(repr=False)
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class RealtimeSpeechEvent:
    """The caller begins or ends to speak.

    Attributes:
        session: Whose.
        type: Which of both.
        timestamp: When.
    """

    session: RealtimeSession
    type: Literal["start", "end"]
    timestamp: datetime = field(default_factory=_now)


@dataclass(frozen=True)
class RealtimeErrorEvent:
    """The model's side failed.

    Attributes:
        session: Whose.
        code: The vendor's code.
        message: The vendor's text; it may quote what was said.
        timestamp: When.
    """

    session: RealtimeSession
    code: str
    message: str = field(repr=False)
    timestamp: datetime = field(default_factory=_now)
