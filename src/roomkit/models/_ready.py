"""Makes ready, ahead of the first message, the models no message can do without.

Pydantic works out how to validate a model when it is first used (``defer_build``), so that
importing the package is quick. A kit does it for these when it is made: the first message then
costs no more than the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.models.delivery import InboundMessage, InboundResult, ProviderResult
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room, RoomTimers

if TYPE_CHECKING:
    from pydantic import BaseModel

# Parts before wholes: what is ready is taken over as it is.
_NEEDED: tuple[type[BaseModel], ...] = (
    TextContent,
    RichContent,
    MediaContent,
    LocationContent,
    AudioContent,
    VideoContent,
    SystemContent,
    TemplateContent,
    DeleteContent,
    CompositeContent,
    EditContent,
    ChannelData,
    EventSource,
    RoomEvent,
    InboundMessage,
    InboundResult,
    ProviderResult,
    RoomTimers,
    Room,
    ChannelCapabilities,
    ChannelBinding,
    ChannelOutput,
    Participant,
)


def make_ready() -> None:
    """Build the models of a message's path; nothing happens when they are built already."""
    for model in _NEEDED:
        model.model_rebuild()
