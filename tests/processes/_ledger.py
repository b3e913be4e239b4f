"""The ledger: what the provider of the workers has seen, whatever became of the workers.

One file for all of them, opened for appending: a line is one small write, so what was written
before a SIGKILL is there, and the order of the lines is the order of the sends.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from roomkit.models.event import RoomEvent


@dataclass(frozen=True, slots=True)
class Line:
    """One thing a worker did.

    Attributes:
        what: ``send``, ``react``, ``lapsed``, or ``died: `` and the point it died at.
        at: Unix time.
        pid: The worker.
        room: The room.
        event: The event's id.
        index: Its index.
        channel: The target.
        delivery: The delivery id.
        attempt: 1 for the first, as the engine counts.
        key: The event's idempotency key.
    """

    what: str
    at: float
    pid: int
    room: str = ""
    event: str = ""
    index: int = -1
    channel: str = ""
    delivery: str = ""
    attempt: int = 0
    key: str | None = None


class Ledger:
    """Writes lines; each is in the file when the call returns.

    Args:
        path: The file, made if need be.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, event: RoomEvent, channel: str, delivery: str, attempt: int) -> None:
        """Write down that an event reached a channel."""
        self._write(
            Line(
                what,
                time.time(),
                os.getpid(),
                event.room_id,
                event.id,
                event.index,
                channel,
                delivery,
                attempt,
                event.idempotency_key,
            )
        )

    def mark(self, what: str) -> None:
        """Write down that something happened to this worker."""
        self._write(Line(what, time.time(), os.getpid()))

    def _write(self, line: Line) -> None:
        data = json.dumps(asdict(line)).encode() + b"\n"
        written = os.write(self._fd, data)
        assert written == len(data), "a line of the ledger was cut"


def read_ledger(path: Path) -> list[Line]:
    """Return all lines in the order they were written."""
    if not path.exists():
        return []
    return [Line(**json.loads(text)) for text in path.read_text().splitlines()]
