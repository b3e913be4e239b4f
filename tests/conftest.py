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

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

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
