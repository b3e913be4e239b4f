"""Fixtures of tests with worker processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.processes._driver import Nursery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.processes._worker import Config


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where the workers of all tests of this process come from."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """Where the workers of a test keep everything: each kind of store in turn."""
    if request.param == "sqlite":
        return {"store": "sqlite", "path": str(tmp_path / "talk.db")}
    return {"store": "postgres", "dsn": request.getfixturevalue("postgres_dsn")}
