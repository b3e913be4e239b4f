"""What hooks and AIs leave behind for people: tasks and observations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from roomkit.models._copy import changed
from roomkit.models.enums import TaskStatus
from roomkit.models.event import utc_now


class Task(BaseModel, defer_build=True):
    """Work somebody should do.

    Attributes:
        id: Unique.
        room_id: The room it came up in.
        title: What to do, in a line.
        description: What to do, at length.
        assigned_to: Who should do it.
        status: How far it has come.
        created_at: When it came up.
        metadata: Anything JSON can carry.
    """

    id: str
    room_id: str
    title: str
    description: str | None = None
    assigned_to: str | None = None
    status: TaskStatus = TaskStatus.PENDING
    created_at: datetime = Field(default_factory=utc_now)
    metadata: dict[str, Any] = Field(default_factory=dict)

    def snapshot(self) -> Task:
        """Return a shallow copy the caller may assign to."""
        return changed(self)


class Observation(BaseModel, defer_build=True):
    """Something an intelligence noticed.

    Attributes:
        id: Unique.
        room_id: The room.
        channel_id: Who noticed it.
        content: What it noticed.
        category: Its kind.
        confidence: From 0.0 to 1.0.
        created_at: When it was noticed.
        metadata: Anything JSON can carry.
    """

    id: str
    room_id: str
    channel_id: str
    content: str
    category: str | None = None
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)
    created_at: datetime = Field(default_factory=utc_now)
    metadata: dict[str, Any] = Field(default_factory=dict)
