"""Deliveries with a store that keeps records: tried again, in order, by whoever is alive."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from roomkit import (
    ChannelOutput,
    DeliveryStatus,
    HookTrigger,
    ProviderDeliveryError,
    ProviderResult,
    RateLimit,
    RetryPolicy,
    RoomKit,
    StoreUnavailableError,
    current_delivery,
)
from roomkit.testing import SimpleChannel
from tests.support.kits import Ears, inbound, observe, open_room, texts
from tests.test_durable._world import World, settle, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BUSY = ProviderDeliveryError("busy", retryable=True)
NEVER = ProviderDeliveryError("unknown_number", retryable=False)


@pytest_asyncio.fixture(name="here")
async def _here() -> AsyncIterator[World]:
    """A world of the test's own."""
    async with world() as here:
        yield here


class Gated(SimpleChannel):
    """A channel whose deliveries wait until the test opens it; it notes ids and attempts."""

    def __init__(self, channel_id: str = "b", *, is_open: bool = False) -> None:
        super().__init__(channel_id)
        self.begun: list[tuple[str, int]] = []
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()

    async def deliver(self, *args: Any) -> ChannelOutput:
        """Wait for the gate, then record."""
        delivery = current_delivery()
        assert delivery is not None
        self.begun.append((delivery.id, delivery.attempt))
        await self.gate.wait()
        return await super().deliver(*args)


async def say(kit: RoomKit, *bodies: str) -> None:
    """Bring messages into the room, one after the other."""
    for body in bodies:
        result = await kit.process_inbound(inbound(body), room_id="r")
        assert not result.blocked


class TestRetry:
    """What fails is due again later, and holds its lane up until then."""

    async def test_a_failed_delivery_is_made_later(self, here: World) -> None:
        """The call returns at once; the worker repeats it under the same delivery id."""
        seen = []

        async def deliver(*args: Any) -> None:
            seen.append(current_delivery())
            if len(seen) == 1:
                raise BUSY

        channel = SimpleChannel("b", deliver_script=deliver)
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        ears = Ears(kit)
        result = await kit.process_inbound(inbound("one"), room_id="r")
        assert result.event is not None
        waiting = {"status": "retrying", "attempts": 1, "error": "busy"}
        assert result.event.delivery_results["b"] == waiting
        await here.until(lambda: len(seen) == 2)
        await settle()
        stored = await here.store.get_event(result.event.id)
        assert stored is not None
        assert stored.delivery_results["b"] == {"status": "sent", "attempts": 2}
        assert seen[0] is not None
        assert seen[1] is not None
        assert (seen[0].id, seen[0].attempt) == (seen[1].id, 1)
        assert seen[1].attempt == 2
        assert ears.of("delivery_scheduled")[0].data == {
            "kind": "deliver",
            "attempts": 1,
            "error": "busy",
            "retry_in": 1.0,
        }
        assert len(ears.of("event_processed")) == 1
        assert len(ears.of("delivery_succeeded")) == 1

    async def test_what_follows_waits_for_it(self, here: World) -> None:
        """No message overtakes one that waits for its next attempt."""
        channel = SimpleChannel("b", deliver_script=[BUSY, BUSY])
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        await say(kit, "one", "two", "three")
        await here.until(lambda: len(channel.delivered) == 5)
        assert texts(channel.delivered) == ["one", "one", "one", "two", "three"]

    async def test_other_lanes_go_on(self, here: World) -> None:
        """A target that fails holds up neither other targets nor other rooms."""
        bad = SimpleChannel("b", deliver_script=[BUSY])
        good = SimpleChannel("c")
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), bad, good)
        await say(kit, "one", "two")
        assert texts(good.delivered) == ["one", "two"]
        assert texts(bad.delivered) == ["one"]

    async def test_after_the_last_attempt_it_is_dead(self, here: World) -> None:
        """Four attempts by default; then a dead letter, told of once, and the lane goes on."""
        channel = SimpleChannel("b", deliver_script=[BUSY] * 4)
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        ears = Ears(kit)
        errors = observe(kit, HookTrigger.ON_ERROR)
        await say(kit, "one", "two")
        await here.until(lambda: len(channel.delivered) == 5)
        await settle()
        letters = await kit.list_dead_letters()
        assert [(d.kind, d.channel_id, d.attempts, d.error) for d in letters] == [
            ("deliver", "b", 4, "busy")
        ]
        assert len(errors) == 1
        dead = ears.of("delivery_dead")
        assert [event.data for event in dead] == [
            {"kind": "deliver", "attempts": 4, "error": "busy"}
        ]
        assert texts(channel.delivered) == ["one"] * 4 + ["two"]

    async def test_a_permanent_failure_is_dead_at_once(self, here: World) -> None:
        """It is not tried again by itself, but when somebody asks for it."""
        channel = SimpleChannel("b", deliver_script=[NEVER])
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        await say(kit, "one", "two")
        await here.pass_time(5)
        assert texts(channel.delivered) == ["one", "two"]
        (letter,) = await kit.list_dead_letters()
        assert letter.attempts == 1
        assert await kit.retry_dead_letter(letter.id)
        await here.until(lambda: len(channel.delivered) == 3)
        assert texts(channel.delivered)[-1] == "one"
        await settle()
        assert await kit.list_dead_letters() == []
        assert not await kit.retry_dead_letter(letter.id)

    async def test_a_dead_letter_can_be_dropped(self, here: World) -> None:
        """A discarded one is never tried again."""
        channel = SimpleChannel("b", deliver_script=[NEVER])
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        await say(kit, "one")
        await settle()
        (letter,) = await kit.list_dead_letters()
        assert await kit.discard_dead_letter(letter.id)
        assert not await kit.discard_dead_letter(letter.id)
        await here.pass_time(5)
        assert len(channel.delivered) == 1
        assert await kit.list_dead_letters() == []

    async def test_the_bindings_policy_counts(self, here: World) -> None:
        """A binding's own retry policy takes the place of the default."""
        channel = SimpleChannel("b", deliver_script=[BUSY] * 9)
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel, retry_policy=RetryPolicy(max_retries=1))
        await say(kit, "one")
        await here.pass_time(5)
        assert len(channel.delivered) == 2

    async def test_an_open_breaker_spends_no_attempt(self, here: World) -> None:
        """While the breaker is open the record waits; then its attempts go on where they were."""
        channel = SimpleChannel("b", deliver_script=[BUSY] * 5)
        kit = await here.kit()
        policy = RetryPolicy(max_retries=6, base_delay_seconds=0.5, max_delay_seconds=0.5)
        await open_room(kit, SimpleChannel("a"), channel, retry_policy=policy)
        await say(kit, "one")
        await here.pass_time(20)
        assert len(channel.delivered) == 5  # the breaker opened with the fifth
        await here.pass_time(60)
        assert len(channel.delivered) == 6
        await settle()
        stored = (await kit.get_timeline("r"))[-1]
        assert stored.delivery_results["b"] == {"status": "sent", "attempts": 6}

    async def test_a_long_turn_of_the_limiter_is_waited_for_in_the_record(
        self, here: World
    ) -> None:
        """One an hour: the second is not held in memory, and goes out when it may."""
        channel = SimpleChannel("b")
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel, rate_limit=RateLimit(max_per_minute=1))
        await say(kit, "one", "two")
        await settle()
        assert (await kit.stats()).lanes == 0
        await here.pass_time(55)
        assert len(channel.delivered) == 1
        await here.pass_time(10)
        assert texts(channel.delivered) == ["one", "two"]

    async def test_a_kit_that_was_not_started_says_so(
        self, here: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It leaves the retry to one that was, and warns once."""
        channel = SimpleChannel("b", deliver_script=[BUSY])
        idle = await here.kit(start=False)
        await open_room(idle, SimpleChannel("a"), channel)
        with caplog.at_level(logging.WARNING, "roomkit.worker"):
            await say(idle, "one", "two")
            await here.pass_time(5)
        assert [r.message for r in caplog.records if "not started" in r.message] != []
        assert texts(channel.delivered) == ["one"]
        await here.kit(SimpleChannel("a"), channel)
        await here.until(lambda: len(channel.delivered) == 3)
        assert texts(channel.delivered) == ["one", "one", "two"]

    async def test_the_store_may_fail_at_its_turn(self, here: World) -> None:
        """A delivery whose room cannot be read waits a moment and is made."""
        channel = Gated()
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        first = asyncio.ensure_future(say(kit, "one"))
        await settle()
        second = asyncio.ensure_future(say(kit, "two"))
        await settle()
        view = here.views[kit]
        view.raising["load_delivery"] = StoreUnavailableError("away")
        await asyncio.sleep(0.12)  # longer than what a commit saw may be relied on
        channel.gate.set()
        await asyncio.gather(first, second)
        await here.pass_time(3)
        assert texts(channel.delivered) == ["one"]
        del view.raising["load_delivery"]
        await here.until(lambda: len(channel.delivered) == 2)


class TestBounds:
    """A lane in memory is short; the rest waits in its records."""

    async def test_a_full_lane_spills(self, here: World) -> None:
        """Nobody is refused, and everything arrives in order, a few at a time."""
        channel = Gated()
        kit = await here.kit(lane_limit=3, settle_timeout=0.01)
        await open_room(kit, SimpleChannel("a"), channel)
        bodies = [str(n) for n in range(12)]
        await say(kit, *bodies)
        assert (await kit.stats()).waiting == 3
        channel.gate.set()
        await here.until(lambda: len(channel.delivered) == 12)
        assert texts(channel.delivered) == bodies
        await settle()
        assert (await kit.stats()).deliveries.depth == 0


class TestTakeOver:
    """What a process leaves behind, another goes on with."""

    async def test_a_dead_process_is_replaced(self, here: World) -> None:
        """Its deliveries are made by another, in order, within seconds."""
        stuck, other = Gated(), SimpleChannel("b")
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), stuck)
        await here.kit(SimpleChannel("a"), other)
        await say(first, "one", "two", "three")
        await here.pass_time(6)
        assert other.delivered == []  # it lives: nothing is taken from it
        here.kill(first)
        await here.until(lambda: len(other.delivered) == 3, 6)
        assert texts(other.delivered) == ["one", "two", "three"]

    async def test_what_it_sends_after_its_death_changes_nothing(self, here: World) -> None:
        """A process that comes back too late cannot end what another has taken over."""
        stuck, other = Gated(), Gated()
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), stuck)
        second = await here.kit(SimpleChannel("a"), other)
        await say(first, "one")
        view = here.views[first]
        view.dead = True  # paused, not gone
        await here.until(lambda: other.begun)
        view.revive()
        stuck.gate.set()
        await settle()
        assert (await second.stats()).deliveries.depth == 1
        other.gate.set()
        await settle()
        assert (await second.stats()).deliveries.depth == 0
        assert stuck.begun[0][0] == other.begun[0][0]
        assert (stuck.begun[0][1], other.begun[0][1]) == (1, 1)

    async def test_a_lane_passes_from_hand_to_hand(self, here: World) -> None:
        """Two processes say something in one room: each target gets it in order, once."""
        mine, theirs = Gated(), Gated()
        one = await here.kit(settle_timeout=0.01)
        await open_room(one, SimpleChannel("a"), mine)
        two = await here.kit(SimpleChannel("a"), theirs, settle_timeout=0.01)
        await say(one, "1")
        result = await two.process_inbound(inbound("2"), room_id="r")
        assert not result.blocked
        await say(one, "3")
        await here.pass_time(3)
        assert theirs.begun == []
        mine.gate.set()
        theirs.gate.set()
        await here.until(lambda: len(mine.delivered) + len(theirs.delivered) == 3)
        await here.pass_time(3)
        assert sorted(texts(mine.delivered) + texts(theirs.delivered)) == ["1", "2", "3"]
        arrived = sorted([*mine.deliveries, *theirs.deliveries], key=lambda call: call.event.index)
        assert texts(call.event for call in arrived) == ["1", "2", "3"]
        await settle()
        assert (await one.stats()).deliveries.depth == 0

    async def test_closing_gives_back(self, here: World) -> None:
        """What a kit has not delivered when it closes is open to others at once."""
        stuck, other = Gated(), SimpleChannel("b")
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), stuck)
        await here.kit(SimpleChannel("a"), other)
        await say(first, "one", "two")
        await first.close(drain_timeout=0.01)
        here.kits.remove(first)
        await here.until(lambda: len(other.delivered) == 2, 2)

    async def test_observers_hear_of_it_once(self, here: World) -> None:
        """A recovered delivery does not tell of its event again."""
        stuck, other = Gated(), SimpleChannel("b")
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), stuck)
        second = await here.kit(SimpleChannel("a"), other)
        ears, told = Ears(second), observe(second, HookTrigger.AFTER_BROADCAST)
        await say(first, "one")
        here.kill(first)
        await here.until(lambda: len(other.delivered) == 1)
        await settle()
        assert told == []
        assert ears.types == ["delivery_succeeded"]

    async def test_the_room_as_it_is_then(self, here: World) -> None:
        """At its turn a recovered delivery obeys what changed meanwhile."""
        stuck, other, muted = Gated(), SimpleChannel("b"), Gated("c")
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), stuck, muted)
        second = await here.kit(SimpleChannel("a"), other, SimpleChannel("c"))
        await say(first, "one")
        await second.detach_channel("r", "c")
        here.kill(first)
        await here.until(lambda: len(other.delivered) == 1)
        await settle()
        event = (await second.get_timeline("r"))[-2]
        assert event.delivery_results["c"]["status"] == "skipped"
        assert event.delivery_results["c"]["error"] == "detached"
        assert (await second.stats()).deliveries.depth == 0

    async def test_a_channel_only_others_have(self, here: World) -> None:
        """A process without the channel leaves the delivery to one that has it."""
        only = SimpleChannel("b")
        second = await here.kit(SimpleChannel("a"), only)
        await second.create_room("r")
        await second.attach_channel("r", "a")
        await second.attach_channel("r", "b")
        first = await here.kit(SimpleChannel("a"))
        result = await first.process_inbound(inbound("one"), room_id="r")
        assert result.event is not None
        assert result.event.delivery_results == {}
        await here.until(lambda: len(only.delivered) == 1)

    async def test_a_channel_nobody_has(self, here: World) -> None:
        """After an hour such a record dies, and the worker tells of it."""
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), SimpleChannel("b"))
        await kit.unregister_channel("b")
        ears = Ears(kit)
        await say(kit, "one")
        await here.pass_time(60, step=60)
        assert await kit.list_dead_letters() == []
        await here.pass_time(3720, step=60)
        (letter,) = await kit.list_dead_letters()
        assert letter.error == "channel_not_registered"
        assert len(ears.of("delivery_dead")) == 1


class TestClaims:
    """While the store is asked what was left, no lane may begin out of turn."""

    async def test_new_messages_wait_for_a_claim_under_way(self, here: World) -> None:
        """Two messages come while older ones of their lane are being claimed."""
        stuck, other = Gated(), SimpleChannel("b")
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), stuck)
        await say(first, "one", "two")
        second = await here.kit(SimpleChannel("a"), other, settle_timeout=0.01)
        view = here.views[second]
        answered = view.slow["claim_deliveries"] = asyncio.Event()
        here.kill(first)
        await here.pass_time(6)  # the claim is made, and its answer on its way
        await say(second, "three", "four")
        await settle()
        assert other.delivered == []
        answered.set()
        await here.until(lambda: len(other.delivered) == 4)
        assert texts(other.delivered) == ["one", "two", "three", "four"]

    async def test_an_answer_that_never_comes(self, here: World) -> None:
        """What it claimed is given up and claimed again; nothing is lost or out of order."""
        stuck, other = Gated(), SimpleChannel("b")
        first = await here.kit(settle_timeout=0.01)
        await open_room(first, SimpleChannel("a"), stuck)
        await say(first, "one", "two")
        second = await here.kit(SimpleChannel("a"), other, settle_timeout=0.01)
        here.views[second].after["claim_deliveries"] = ConnectionError("reset")
        here.kill(first)
        await here.pass_time(6)
        await say(second, "three")
        await here.until(lambda: len(other.delivered) == 3)
        assert texts(other.delivered) == ["one", "two", "three"]
        await settle()
        assert (await second.stats()).deliveries.depth == 0

    async def test_many_more_than_one_claim(self, here: World) -> None:
        """A long lane is claimed a few records at a time, in order to its end."""
        stuck, other = Gated(), SimpleChannel("b")
        first = await here.kit(settle_timeout=0.001)
        await open_room(first, SimpleChannel("a"), stuck)
        bodies = [str(n) for n in range(35)]
        await say(first, *bodies)
        await here.kit(SimpleChannel("a"), other)
        here.kill(first)
        await here.until(lambda: len(other.delivered) == 35)
        assert texts(other.delivered) == bodies


class TestCommits:
    """A commit whose outcome is not known loses and doubles nothing."""

    async def test_a_lost_answer(self, here: World) -> None:
        """The store wrote but its answer was lost: stored once, delivered once."""
        channel = SimpleChannel("b")
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        here.views[kit].after["commit"] = ConnectionError("reset")
        result = await kit.process_inbound(inbound("one"), room_id="r")
        assert not result.blocked
        await here.until(lambda: len(channel.delivered) == 1)
        await here.pass_time(6)
        assert texts(channel.delivered) == ["one"]
        await say(kit, "two")
        await here.until(lambda: len(channel.delivered) == 2)

    async def test_a_refused_write(self, here: World) -> None:
        """The store could not write: the caller hears of it, and nothing is delivered."""
        channel = SimpleChannel("b")
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        here.views[kit].raising["commit"] = StoreUnavailableError("away")
        with pytest.raises(StoreUnavailableError):
            await say(kit, "one")
        del here.views[kit].raising["commit"]
        await settle()
        await say(kit, "two")
        assert texts(channel.delivered) == ["two"]

    async def test_a_write_that_comes_late(self, here: World) -> None:
        """The caller was told of a failure, then the server carried it out after all.

        A repeat finds it stored, and it is delivered once, in its place.
        """
        channel = SimpleChannel("b")
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        view = here.views[kit]
        view.late.add("commit")
        with pytest.raises(StoreUnavailableError):
            await kit.process_inbound(inbound("one", idempotency_key="k"), room_id="r")
        for call in view.later:
            await call
        again = await kit.process_inbound(inbound("one", idempotency_key="k"), room_id="r")
        assert again.reason == "duplicate"
        await say(kit, "two")
        await here.until(lambda: len(channel.delivered) == 2, 8)
        await here.pass_time(6)
        assert texts(channel.delivered) == ["one", "two"]

    async def test_ends_that_cannot_be_written_yet(self, here: World) -> None:
        """What was sent while the store was away is recorded when it is back, not sent again."""
        channel = SimpleChannel("b")
        kit = await here.kit()
        await open_room(kit, SimpleChannel("a"), channel)
        view = here.views[kit]
        view.raising["finish_deliveries"] = StoreUnavailableError("away")
        await say(kit, "one")
        await settle()
        assert (await kit.stats()).deliveries.depth == 1
        del view.raising["finish_deliveries"]
        await here.pass_time(2)
        await settle()
        assert (await kit.stats()).deliveries.depth == 0
        assert len(channel.delivered) == 1


class TestStatuses:
    """What vendors report later about deliveries other processes made."""

    async def test_a_status_comes_to_another_process_first(self, here: World) -> None:
        """It is kept there until the delivery it is about is recorded, and then counts."""

        async def deliver(*args: Any) -> None:
            delivery = current_delivery()
            assert delivery is not None
            delivery.result = ProviderResult(success=True, provider_message_id="SM1")

        one = await here.kit()
        await open_room(one, SimpleChannel("a"), SimpleChannel("b", deliver_script=deliver))
        two = await here.kit(SimpleChannel("a"))
        early = DeliveryStatus(provider="mock", message_id="SM1", status="delivered")
        await two.process_delivery_status(early)
        unknown = DeliveryStatus(provider="mock", message_id="SM2", status="delivered")
        await two.process_delivery_status(unknown)
        await say(one, "hello")
        await here.pass_time(3)
        event = (await one.get_timeline("r"))[-1]
        assert event.delivery_results["b"]["status"] == "delivered"
