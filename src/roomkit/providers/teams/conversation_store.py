"""Where a Teams bot remembers how to reach a conversation again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class ConversationReferenceStore(ABC):
    """Keeps one reference a conversation: what a bot needs to write into it unasked.

    A reference is a JSON object in the connector's camelCase (``serviceUrl``, ``bot``,
    ``conversation``, ...). Implement this over your database to reach conversations after a
    restart.
    """

    @abstractmethod
    async def save(self, conversation_id: str, reference: dict[str, Any]) -> None:
        """Keep a reference, in place of an earlier one of the conversation."""

    @abstractmethod
    async def get(self, conversation_id: str) -> dict[str, Any] | None:
        """Return the reference of a conversation, or None when it is unknown."""

    @abstractmethod
    async def delete(self, conversation_id: str) -> None:
        """Forget a conversation; nothing happens when it is unknown."""

    @abstractmethod
    async def list_all(self) -> dict[str, dict[str, Any]]:
        """Return all references by conversation id, in a dict of the caller's own."""


class InMemoryConversationReferenceStore(ConversationReferenceStore):
    """Keeps references as long as the process lives, one a conversation.

    What goes in and comes out is copied one level deep: changing its keys changes nothing
    here.
    """

    def __init__(self) -> None:
        self._refs: dict[str, dict[str, Any]] = {}

    async def save(self, conversation_id: str, reference: dict[str, Any]) -> None:
        """Keep a copy of the reference."""
        self._refs[conversation_id] = dict(reference)

    async def get(self, conversation_id: str) -> dict[str, Any] | None:
        """Return a copy of the reference, or None."""
        reference = self._refs.get(conversation_id)
        return None if reference is None else dict(reference)

    async def delete(self, conversation_id: str) -> None:
        """Forget a conversation, known or not."""
        self._refs.pop(conversation_id, None)

    async def list_all(self) -> dict[str, dict[str, Any]]:
        """Return copies of all references, the oldest conversation first."""
        return {key: dict(reference) for key, reference in self._refs.items()}
