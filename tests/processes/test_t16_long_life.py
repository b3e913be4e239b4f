"""A process that opens and closes rooms for a long time holds no more than at first (T16)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes._driver import Fleet

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes._driver import Nursery

WAVES = 10
WARM = 4
"""Waves until caches are full and the allocator has what it needs."""

PER_EVENT = 1024
"""Bytes of resident memory an event may leave behind."""

LEFT_ROWS = 100
"""Rows all tables together may keep of rooms that were deleted."""


def _rows(path: Path) -> dict[str, int]:
    """Return how many rows each table of a file has."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        counts = {}
        for (name,) in names:
            # The name comes from the file itself.
            count = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()
            counts[str(name)] = int(count[0])
        return counts


def _check(waves: list[dict[str, Any]], events: int) -> None:
    """Nothing may have grown since it was warm, but memory by less than its bound."""
    warm, last = waves[:WARM], waves[-3:]
    for name in ("fds", "tasks"):
        # Some come and go: what leaks grows with every wave.
        then, now = (max(w[name] for w in warm), min(w[name] for w in last))
        assert now <= then, f"{name}: {[wave[name] for wave in waves]}"
    for name in ("lanes", "waiting", "depth"):
        assert waves[-1][name] == 0, f"{name}: {waves[-1][name]}"
    slope = (last[-1]["rss"] - warm[-1]["rss"]) / (events * (WAVES - WARM) / WAVES)
    assert slope < PER_EVENT, f"{slope:.0f} bytes an event: {[w['rss'] for w in waves]}"


class TestLongLife:
    """Events over rooms that are opened, closed and deleted."""

    async def _live(self, nursery: Nursery, folder: Path, events: int, rooms: int) -> None:
        path = folder / "talk.db"
        place = {"store": "sqlite", "path": str(path), "store_options": {"synchronous": "OFF"}}
        async with Fleet(nursery, folder, place) as fleet:
            (worker,) = await fleet.start()
            told = await worker.ask("churn", events=events, rooms=rooms, waves=WAVES)
            _check(told["waves"], events)
            await fleet.end()
        rows = _rows(path)
        assert sum(rows.values()) <= LEFT_ROWS, rows

    async def test_a_thousand_events(self, nursery: Nursery, tmp_path: Path) -> None:
        """10^3 events over 10^2 rooms leave nothing behind."""
        await self._live(nursery, tmp_path, 1000, 100)

    @pytest.mark.soak
    @pytest.mark.timeout(600)
    async def test_ten_thousand_events(self, nursery: Nursery, tmp_path: Path) -> None:
        """10^4 events over 10^3 rooms leave nothing behind."""
        await self._live(nursery, tmp_path, 10_000, 1000)
