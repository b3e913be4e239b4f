"""The hooks of voice sessions: asked and told by a channel, whatever happens to them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from roomkit._aio import cancelled_from_within
from roomkit._logging import ids, log_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from roomkit.channels._voice_session import VoiceParts
    from roomkit.models.enums import HookTrigger
    from roomkit.voice.base import VoiceSession

logger = logging.getLogger("roomkit.voice")

_LONGEST_TEXT = 200_000


async def contained(work: Awaitable[Any], what: str, session: VoiceSession | None = None) -> Any:
    """Return what foreign code gives; None when it failed, which is logged and goes no further."""
    try:
        return await work
    except asyncio.CancelledError as exc:
        if not cancelled_from_within():
            raise
        _log(exc, what, session)
    except Exception as exc:  # noqa: BLE001 - a border: nothing of it may reach audio callbacks
        _log(exc, what, session)
    return None


def _log(error: BaseException, what: str, session: VoiceSession | None) -> None:
    extra = {} if session is None else ids(session_id=session.id, room_id=session.room_id)
    log_failure(logger, error, "%s failed", what, extra=extra)


class RoomHooks:
    """The hooks of one room, for one voice channel. Nothing here raises but cancellation.

    Args:
        parts: Knows the framework, once the channel is registered.
        room_id: The room.
    """

    __slots__ = ("_parts", "_room_id")

    def __init__(self, parts: VoiceParts, room_id: str) -> None:
        self._parts = parts
        self._room_id = room_id

    def watched(self, trigger: HookTrigger) -> bool:
        """Return whether anybody would hear of a trigger."""
        host = self._parts.host
        return host is not None and host.is_observed(self._room_id, trigger)

    async def tell(self, trigger: HookTrigger, payload: Any) -> None:
        """Tell the observers of a trigger; returns when they are done."""
        host = self._parts.host
        if host is not None and host.is_observed(self._room_id, trigger):
            work = host.run_observers(self._room_id, trigger, payload)
            await contained(work, "telling hooks of " + trigger)

    async def ask(self, trigger: HookTrigger, text: str) -> str | None:
        """Ask the gates of a trigger about a text, then tell its observers what they left.

        Returns:
            The text as the gates left it; None when they refused it, or could not be asked.
        """
        host = self._parts.host
        if host is None:
            return None
        answer = await contained(
            host.run_gates(self._room_id, trigger, text), "asking hooks of " + trigger
        )
        if answer is None:
            return None
        allowed, left = answer
        if not allowed:
            logger.info("a hook of %s refused a text", trigger, extra=ids(room_id=self._room_id))
            return None
        if isinstance(left, str):
            text = left[:_LONGEST_TEXT]
        await self.tell(trigger, text)
        return text
