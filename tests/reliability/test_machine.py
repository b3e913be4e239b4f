"""A whole kit against its model, on stores that live in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.reliability._machine import KitMachine, walks
from tests.support.suspending import SuspendingStore

if TYPE_CHECKING:
    from roomkit import ConversationStore


class SuspendingMachine(KitMachine):
    """The same on a store that suspends at every call."""

    def wrap(self, store: ConversationStore) -> ConversationStore:
        """Wrap it."""
        return SuspendingStore(store)


class LongMachine(KitMachine):
    """The same, in long walks for the night."""


TestKit = KitMachine.TestCase
TestKit.settings = walks(200, 50)
TestSuspending = SuspendingMachine.TestCase
TestSuspending.settings = walks(40, 40)
TestLong = pytest.mark.soak(pytest.mark.timeout(3600)(LongMachine.TestCase))
TestLong.settings = walks(3000, 100)
