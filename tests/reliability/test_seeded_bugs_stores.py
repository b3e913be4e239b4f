"""Bugs put into stores and locks on purpose: each is caught by the test of a suite that is named.

The suites run over our stores elsewhere; here it is shown that they can fail.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from roomkit import InMemoryLockManager
from roomkit.testing import ManualClock, StoreWrapper
from roomkit.testing.conformance import (
    DurableStoreConformance,
    LockManagerConformance,
    StoreConformance,
)
from tests.reliability import _bugs as bugs
from tests.reliability import _bugs_stores as wrong
from tests.support.durable_memory import DurableMemoryStore

if TYPE_CHECKING:
    from roomkit.core.locks import RoomLockManager
    from roomkit.store.durable import DurableStore


class Bug(NamedTuple):
    """A wrong part and the test that catches it, with what that is told."""

    broken: type[Any]
    test: str
    told: tuple[tuple[str, str], ...] = ()


BUGS: dict[str, Bug] = {
    "COUNT index": Bug(wrong.CountIndex, "test_concurrent_commits_are_numbered_without_a_gap"),
    "COUNT index over processes": Bug(
        wrong.CountIndex, "test_commits_of_two_processes_have_no_gap"
    ),
    "ack before commit": Bug(wrong.AckBeforeCommit, "test_counters_are_seen_by_every_reader"),
    "dedup before commit": Bug(wrong.BurntKeys, "test_a_commit_that_fails_leaves_nothing"),
    "half a commit": Bug(wrong.HalfCommit, "test_a_commit_that_fails_leaves_nothing"),
    "finish without fence": Bug(wrong.FinishWithoutFence, "test_only_its_owner_ends_a_delivery"),
    "late finish without fence": Bug(
        wrong.FinishWithoutFence, "test_a_worker_that_comes_back_too_late"
    ),
    "commit without fence": Bug(
        wrong.CommitWithoutFence, "test_a_lost_lease_refuses_the_batch", (("cause", "taken"),)
    ),
    "inbox row without fence": Bug(
        wrong.RowWithoutFence, "test_a_lost_row_refuses_the_batch", (("cause", "taken"),)
    ),
    "inbox row left behind": Bug(wrong.RowLeftBehind, "test_an_inbox_row_ends_with_its_event"),
    "claim without room lock": Bug(wrong.ClaimWithoutLock, "test_many_claim_at_once"),
    "read without lock": Bug(wrong.ReadWithoutLock, "test_many_read_at_once"),
    "accept without lock": Bug(wrong.AcceptWithoutLock, "test_many_accept_the_same_at_once"),
    "rest left to the dead": Bug(
        wrong.RestLeftToTheDead, "test_a_part_taken_over_is_lost_as_a_whole"
    ),
    "overtaking": Bug(wrong.Overtaking, "test_nothing_is_claimed_behind_unclaimed_work"),
    "lane kept over a retry": Bug(wrong.LaneKept, "test_a_retry_gives_the_whole_lane_back"),
    "lost wake-up": Bug(wrong.LanesUntold, "test_lanes_with_work_left_are_told"),
    "results overwritten": Bug(
        wrong.ResultsOverwritten, "test_two_processes_end_deliveries_of_one_event"
    ),
    "nobody ever dies": Bug(wrong.Immortal, "test_the_dead_are_taken_over"),
    "everybody is dead": Bug(wrong.Mortal, "test_claims_of_the_living_are_kept"),
    "retry at once": Bug(wrong.Impatient, "test_a_retry_waits_its_time"),
    "gives up what is wanted": Bug(wrong.Expiring, "test_what_no_channel_wants_dies"),
    "releases what is known": Bug(wrong.Forgetful, "test_what_was_forgotten_is_released"),
    "unscoped inbox keys": Bug(wrong.UnscopedKeys, "test_a_message_is_accepted_once"),
    "unscoped claims": Bug(wrong.UnscopedClaims, "test_one_room_a_claim"),
    "unscoped identity": Bug(wrong.UnscopedIdentity, "test_identities"),
    "replaces what was begun": Bug(
        wrong.ReplacesBegun, "test_what_was_begun_is_not_replaced", (("state", "claimed"),)
    ),
    "attempt not counted": Bug(wrong.DeathUncounted, "test_a_message_given_up_is_a_dead_letter"),
    "purge by the wrong time": Bug(wrong.PurgesByAge, "test_the_time_of_the_end_decides"),
    "stale look": Bug(wrong.StaleLook, "test_a_look_shows_every_change"),
}
"""Every bug of stores by name."""

LOCK_BUGS: dict[str, Bug] = {
    "no-op lock": Bug(bugs.NoLock, "test_one_holder_at_a_time"),
    "unlock without a token": Bug(bugs.WaiterFreesLock, "test_a_cancelled_wait_frees_nothing"),
    "token left behind": Bug(
        bugs.CancelledWaiterKeepsLock, "test_a_cancelled_wait_leaves_nothing"
    ),
}
"""The same of locks."""


class _Stores(DurableStoreConformance, StoreConformance):
    """Both suites over one kind of store in memory."""

    def __init__(self, kind: type[DurableMemoryStore]) -> None:
        self.kind = kind
        self.clock = ManualClock()

    async def make_store(self) -> DurableStore:
        return self.kind(self.clock)

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def another(self, store: DurableStore) -> DurableStore:
        return StoreWrapper(store)  # type: ignore[return-value]  # durable around a durable one


class _Locks(LockManagerConformance):
    """The suite over one kind of lock manager."""

    def __init__(self, kind: type[InMemoryLockManager]) -> None:
        self.kind = kind

    async def make_locks(self) -> RoomLockManager:
        return self.kind()


async def _run(suite: _Stores | _Locks, bug: Bug) -> None:
    """Run the one test as pytest would."""
    case = getattr(suite, bug.test)
    told: dict[str, Any] = dict(bug.told)
    if isinstance(suite, _Locks):
        told["locks"] = await suite.make_locks()
    else:
        told["store"] = await suite.make_store()
        if "second" in inspect.signature(case).parameters:
            told["second"] = await suite.another(told["store"])
    async with asyncio.timeout(20):
        await case(**told)


class TestSeededBugsOfStores:
    """Each named test passes with the sound part and fails with the broken one."""

    @pytest.mark.parametrize("name", BUGS)
    async def test_the_sound_store_passes(self, name: str) -> None:
        """It is not the test that is wrong."""
        await _run(_Stores(DurableMemoryStore), BUGS[name])

    @pytest.mark.parametrize("name", BUGS)
    async def test_the_bug_is_caught(self, name: str) -> None:
        """By an assertion of the suite."""
        bug = BUGS[name]
        with pytest.raises(AssertionError):
            await _run(_Stores(bug.broken), bug)

    @pytest.mark.parametrize("name", LOCK_BUGS)
    async def test_the_sound_lock_passes(self, name: str) -> None:
        """It is not the test that is wrong."""
        await _run(_Locks(InMemoryLockManager), LOCK_BUGS[name])

    @pytest.mark.parametrize("name", LOCK_BUGS)
    async def test_the_lock_is_caught(self, name: str) -> None:
        """By an assertion of the suite, or because somebody waits for ever."""
        bug = LOCK_BUGS[name]
        with pytest.raises((AssertionError, TimeoutError)):
            await _run(_Locks(bug.broken), bug)
