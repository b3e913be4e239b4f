"""What a process holds, and a life of rooms that must not make it hold more."""

from __future__ import annotations

import asyncio
import gc
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage

if TYPE_CHECKING:
    from roomkit.core.framework import RoomKit

AT_ONCE = 10
"""Rooms that live at the same time."""


def own_figures() -> dict[str, Any]:
    """Return this process's resident memory in bytes, open files and tasks."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "fds": len(os.listdir("/proc/self/fd")),
        "tasks": len(asyncio.all_tasks()),
    }


async def churn(kit: RoomKit, events: int, rooms: int, waves: int) -> dict[str, Any]:
    """Open rooms, talk in them, close and delete them, in waves.

    Args:
        kit: The kit, with channels ``in``, ``out1``, ``out2`` and ``bot``.
        events: How many messages in all.
        rooms: In how many rooms in all.
        waves: After each of them old records are purged and figures taken.

    Returns:
        The figures after each wave.
    """
    each = events // rooms
    taken = []
    for wave in range(waves):
        for first in range(0, rooms // waves, AT_ONCE):
            names = [f"{wave}-{first + n}" for n in range(AT_ONCE)]
            await asyncio.gather(*(_live(kit, name, each) for name in names))
        await kit.purge(before=datetime.now(UTC) + timedelta(hours=1))
        figures = own_figures()
        stats = await kit.stats()
        figures |= {
            "lanes": stats.lanes,
            "waiting": stats.waiting,
            "depth": stats.deliveries.depth,
        }
        taken.append(figures)
    return {"waves": taken}


async def _live(kit: RoomKit, name: str, messages: int) -> None:
    await kit.create_room(name)
    for channel_id in ("in", "out1", "bot"):
        await kit.attach_channel(name, channel_id)
    for number in range(messages):
        message = InboundMessage(
            channel_id="in",
            sender_id=f"sender of {name}",
            content=TextContent(body=f"message {number} in a room that will be gone"),
            idempotency_key=f"{name}-{number}",
        )
        result = await kit.process_inbound(message, room_id=name)
        assert not result.blocked, result.reason
    await kit.close_room(name)
    await kit.store.delete_room(name)
