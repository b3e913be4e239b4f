"""Who a WebSocket client is, as the application's own authentication found out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from roomkit.exceptions import InvalidInputError


@dataclass(frozen=True, slots=True)
class Principal:
    """The answer of an ``authenticate`` callback: a person, and the rooms they may enter.

    Attributes:
        participant_id: Who it is; the sender of everything the client says.
        room_ids: The rooms the client may enter. None: those in which the store knows the
            participant (neither left nor banned), or whose binding stands for them alone. In
            either case a banned participant gets in nowhere.

    Raises:
        InvalidInputError: ``participant_id`` is empty, or ``room_ids`` no collection of ids.
    """

    participant_id: str
    room_ids: Collection[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.participant_id, str) or not self.participant_id:
            raise InvalidInputError("Principal.participant_id must be a text that is not empty")
        if self.room_ids is None:
            return
        if isinstance(self.room_ids, str) or not isinstance(self.room_ids, Collection):
            # A lone id would let its characters in, and lock the room out.
            raise InvalidInputError("Principal.room_ids must be a collection of ids, or None")
        rooms = frozenset(self.room_ids)
        if not all(isinstance(room_id, str) for room_id in rooms):
            raise InvalidInputError("Principal.room_ids must hold texts")
        object.__setattr__(self, "room_ids", rooms)
