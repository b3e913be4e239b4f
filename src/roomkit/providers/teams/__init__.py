"""Microsoft Teams: the base class, a mock and the memory of conversations."""

from __future__ import annotations

from roomkit.providers.teams.base import TeamsProvider
from roomkit.providers.teams.conversation_store import (
    ConversationReferenceStore,
    InMemoryConversationReferenceStore,
)
from roomkit.providers.teams.mock import MockTeamsProvider

__all__ = [
    "ConversationReferenceStore",
    "InMemoryConversationReferenceStore",
    "MockTeamsProvider",
    "TeamsProvider",
]
