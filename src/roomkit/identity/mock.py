"""A resolver that knows what it was told, for tests and first steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.identity.base import IdentityResolver
from roomkit.models.enums import IdentificationStatus
from roomkit.models.identity import IdentityResult

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.identity import Identity


class MockIdentityResolver(IdentityResolver):
    """Looks senders up in two dictionaries, which may be changed later.

    Args:
        mapping: Sender id to the person it belongs to.
        ambiguous: Sender id to the people it may belong to; ``mapping`` comes first.
        unknown_status: What everybody else is.
    """

    def __init__(
        self,
        mapping: dict[str, Identity] | None = None,
        ambiguous: dict[str, list[Identity]] | None = None,
        unknown_status: IdentificationStatus = IdentificationStatus.UNKNOWN,
    ) -> None:
        self._mapping = mapping if mapping is not None else {}
        self._ambiguous = ambiguous if ambiguous is not None else {}
        self._unknown_status = unknown_status

    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        """Return what the dictionaries say about ``message.sender_id``."""
        identity = self._mapping.get(message.sender_id)
        if identity is not None:
            return IdentityResult(status=IdentificationStatus.IDENTIFIED, identity=identity)
        candidates = self._ambiguous.get(message.sender_id)
        if candidates is not None:
            return IdentityResult(
                status=IdentificationStatus.AMBIGUOUS, candidates=list(candidates)
            )
        return IdentityResult(status=self._unknown_status)
