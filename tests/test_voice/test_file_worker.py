"""The thread that writes: in order, bounded, and a failure stays with its job."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from roomkit.voice._file_worker import FileWorker


class TestFileWorker:
    async def test_bound(self) -> None:
        """What waits for a slow disk counts until it is written."""
        worker, gate = FileWorker("slow", 10), threading.Event()
        worker.submit(gate.wait, size=8)
        assert worker.has_room(2)
        assert not worker.has_room(3)
        gate.set()
        await worker.settle()
        assert worker.has_room(10)
        worker.retire()

    async def test_order(self) -> None:
        """Jobs run one after the other, also those before a retirement are waited for."""
        worker, done = FileWorker("order", 10), []
        for number in range(50):
            worker.submit(done.append, number)
        worker.retire()
        await worker.settle()
        assert done == list(range(50))
        worker.retire()

    async def test_failure(self, caplog: pytest.LogCaptureFixture) -> None:
        """A failing job is logged by its kind only, keeps its error, and the next one runs."""
        worker, done = FileWorker("fails", 10), []

        def fail() -> None:
            raise OSError("/home/somebody/secret")

        with caplog.at_level(logging.INFO):
            future = worker.submit(fail, size=5)
            worker.submit(done.append, 1)
            with pytest.raises(OSError, match="secret"):
                await asyncio.wrap_future(future)
            await worker.settle()
        assert done == [1]
        assert worker.has_room(10)
        assert "OSError" in caplog.text
        assert "secret" not in caplog.text
        worker.retire()
