"""What a supervisor and a load balancer ask: does it live, may it be given work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from roomkit.asgi._pulse import log_unready
from roomkit.asgi._respond import RETRY_AFTER, Answer, not_found, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.asgi._pulse import Pulse

METHODS = frozenset({"GET", "HEAD"})


class Health:
    """Answers ``/health/live`` and ``/health/ready``.

    Args:
        pulse: Knows how the kit is.
        leaving: Whether the app is being shut down.
    """

    def __init__(self, pulse: Pulse, leaving: Callable[[], bool]) -> None:
        self._pulse = pulse
        self._leaving = leaving
        self._was_ready = True

    async def answer(self, method: str, what: str) -> Answer:
        """Return the answer to one question.

        Raises:
            Refused: (404) There is no such question, (405) it is not asked so.
        """
        if what not in {"live", "ready"}:
            raise not_found()
        if method not in METHODS:
            raise refused(405, "health is asked with GET or HEAD", allow=METHODS)
        if what == "live":
            return _said(200, "live")
        if self._leaving():
            return _said(503, "draining")
        return await self._ready()

    async def _ready(self) -> Answer:
        try:
            stats = await self._pulse.look()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the answer is no
            if self._was_ready:
                log_unready(exc)
            self._was_ready = False
            return _said(503, "store unavailable")
        if self._pulse.durable and not stats.started:
            return _said(503, "not started")
        self._was_ready = True
        return _said(200, "ready")


def _said(status: int, word: str) -> Answer:
    later = (("retry-after", str(RETRY_AFTER)),) if status == 503 else ()
    return Answer(status, json.dumps({"status": word}).encode(), "application/json", later)
