"""Ephemeral events reach whoever listens now, in order, and nobody can hold them up."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from roomkit.exceptions import ConfigurationError
from roomkit.realtime import (
    EphemeralEvent,
    EphemeralEventType,
    InMemoryRealtime,
    RealtimeBackend,
    memory,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def typing_event(user_id: str = "ann", event_id: str | None = None) -> EphemeralEvent:
    event = EphemeralEvent("r", EphemeralEventType.TYPING_START, user_id)
    if event_id is not None:
        event.id = event_id
    return event


class Listener:
    """A callback that keeps what it hears and can be waited for."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self.heard = asyncio.Queue[str]()

    async def __call__(self, event: EphemeralEvent) -> None:
        self.users.append(event.user_id)
        self.heard.put_nowait(event.user_id)

    async def wait_for(self, count: int) -> list[str]:
        async with asyncio.timeout(5):
            return [await self.heard.get() for _ in range(count)]


class Gate(Listener):
    """A listener that is held up at its first event until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, event: EphemeralEvent) -> None:
        self.entered.set()
        await self.opened.wait()
        await super().__call__(event)


@pytest.fixture
async def realtime() -> AsyncIterator[InMemoryRealtime]:
    backend = InMemoryRealtime()
    yield backend
    await backend.close()


class TestEphemeralEvent:
    """An event is plain data that survives JSON."""

    def test_the_kinds_are_the_documented_ones(self) -> None:
        assert " ".join(EphemeralEventType) == (
            "typing_start typing_stop presence_online presence_away presence_offline "
            "read_receipt reaction custom"
        )

    def test_id_and_time_are_filled_in(self) -> None:
        first, second = typing_event(), typing_event()
        assert first.id != second.id
        assert first.timestamp.tzinfo is UTC
        assert first.channel_id is None
        assert first.data == {}
        assert first.data is not second.data

    def test_it_comes_back_from_json_as_it_was(self) -> None:
        event = EphemeralEvent(
            room_id="r",
            type=EphemeralEventType.REACTION,
            user_id="ann",
            channel_id="ws",
            data={"emoji": "+1", "n": [1]},
            timestamp=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        )
        sent = event.to_dict()
        assert " ".join(sent) == "id room_id type user_id channel_id data timestamp"
        assert EphemeralEvent.from_dict(json.loads(json.dumps(sent))) == event

    def test_channel_and_data_may_be_left_out(self) -> None:
        sent = typing_event().to_dict()
        del sent["channel_id"], sent["data"]
        event = EphemeralEvent.from_dict(sent)
        assert event.channel_id is None
        assert event.data == {}

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(ValueError, match="dancing"):
            EphemeralEvent.from_dict({**typing_event().to_dict(), "type": "dancing"})


class TestPublishing:
    """Everyone subscribed to the channel hears it, in order, and the publisher never waits."""

    async def test_events_arrive_in_the_order_they_were_published(
        self, realtime: InMemoryRealtime
    ) -> None:
        listener = Listener()
        await realtime.subscribe("c", listener)
        for n in range(80):
            await realtime.publish("c", typing_event(str(n)))
        assert await listener.wait_for(80) == [str(n) for n in range(80)]

    async def test_only_the_channel_hears_it(self, realtime: InMemoryRealtime) -> None:
        here, there = Listener(), Listener()
        await realtime.subscribe("c", here)
        await realtime.subscribe("d", there)
        await realtime.publish("c", typing_event("1"))
        await realtime.publish("d", typing_event("2"))
        assert await here.wait_for(1) == ["1"]
        assert await there.wait_for(1) == ["2"]
        assert here.users == ["1"]

    async def test_a_room_is_a_channel_of_that_name(self, realtime: InMemoryRealtime) -> None:
        by_room, by_name = Listener(), Listener()
        await realtime.subscribe_to_room("r", by_room)
        await realtime.subscribe("room:r", by_name)
        await realtime.publish_to_room("r", typing_event("1"))
        assert await by_room.wait_for(1) == await by_name.wait_for(1) == ["1"]

    async def test_nothing_is_kept_for_later(self, realtime: InMemoryRealtime) -> None:
        await realtime.publish("c", typing_event("early"))
        listener = Listener()
        await realtime.subscribe("c", listener)
        await realtime.publish("c", typing_event("late"))
        assert await listener.wait_for(1) == ["late"]

    async def test_a_slow_subscriber_holds_up_nobody(self, realtime: InMemoryRealtime) -> None:
        slow, quick = Gate(), Listener()
        await realtime.subscribe("c", slow)
        await realtime.subscribe("c", quick)
        for n in range(3):
            await realtime.publish("c", typing_event(str(n)))
        assert await quick.wait_for(3) == ["0", "1", "2"]
        assert slow.users == []
        slow.opened.set()
        assert await slow.wait_for(3) == ["0", "1", "2"]

    async def test_a_plain_function_may_listen(self, realtime: InMemoryRealtime) -> None:
        heard = asyncio.Queue[str]()

        def listen(event: EphemeralEvent) -> None:
            heard.put_nowait(event.user_id)

        await realtime.subscribe("c", listen)
        await realtime.publish("c", typing_event("1"))
        async with asyncio.timeout(5):
            assert await heard.get() == "1"

    async def test_something_else_to_await_is_awaited(self, realtime: InMemoryRealtime) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        calls = asyncio.Queue[str]()

        def listen(event: EphemeralEvent) -> asyncio.Future[None]:
            calls.put_nowait(event.user_id)
            return done

        await realtime.subscribe("c", listen)  # type: ignore[arg-type]
        await realtime.publish("c", typing_event("1"))
        await realtime.publish("c", typing_event("2"))
        async with asyncio.timeout(5):
            assert await calls.get() == "1"
            assert calls.empty()
            done.set_result(None)
            assert await calls.get() == "2"

    async def test_a_subscriber_that_feeds_itself_leaves_others_their_turn(
        self, realtime: InMemoryRealtime
    ) -> None:
        """The loop goes on although the subscription never runs out of events."""
        rounds = 0
        enough = asyncio.Event()

        async def feed(event: EphemeralEvent) -> None:
            nonlocal rounds
            rounds += 1
            if rounds == 500:
                enough.set()
            await realtime.publish("c", typing_event())

        subscription = await realtime.subscribe("c", feed)
        await realtime.publish("c", typing_event())
        async with asyncio.timeout(5):
            await enough.wait()
            assert await realtime.unsubscribe(subscription)


class TestOverflow:
    """A queue has a bound; what falls out is the oldest, and it is counted."""

    async def test_the_oldest_is_dropped(self) -> None:
        realtime = InMemoryRealtime(max_queue_size=2)
        listener = Listener()
        await realtime.subscribe("c", listener)
        for n in range(3):
            await realtime.publish("c", typing_event(str(n)))
        assert await listener.wait_for(2) == ["1", "2"]
        assert realtime.dropped == 1
        await realtime.close()

    async def test_drops_are_counted_over_all_and_logged_once_each(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        realtime = InMemoryRealtime(max_queue_size=1)
        for _ in range(2):
            await realtime.subscribe("c", Gate())
        with caplog.at_level(logging.WARNING, "roomkit.realtime"):
            for n in range(5):
                await realtime.publish("c", typing_event(str(n)))
        assert realtime.dropped == 8
        assert len(caplog.records) == 2
        await realtime.close()

    async def test_an_event_that_waits_is_not_queued_twice(self) -> None:
        realtime = InMemoryRealtime(max_queue_size=2)
        listener = Listener()
        await realtime.subscribe("c", listener)
        for event_id in ("a", "b", "a", "b"):
            await realtime.publish("c", typing_event(event_id, event_id))
        assert await listener.wait_for(2) == ["a", "b"]
        assert realtime.dropped == 0
        await realtime.publish("c", typing_event("a", "a"))
        assert await listener.wait_for(1) == ["a"]
        assert listener.users == ["a", "b", "a"]
        await realtime.close()

    @pytest.mark.parametrize("size", [0, -1])
    def test_a_queue_without_room_is_refused(self, size: int) -> None:
        with pytest.raises(ValueError, match="max_queue_size"):
            InMemoryRealtime(max_queue_size=size)


class TestFailingCallbacks:
    """A callback that fails or hangs costs its own event, never the subscription."""

    async def test_an_error_is_logged_and_the_next_event_comes(
        self, realtime: InMemoryRealtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        listener = Listener()

        async def fragile(event: EphemeralEvent) -> None:
            if event.user_id == "bad":
                raise LookupError("no such thing")
            await listener(event)

        await realtime.subscribe("c", fragile)
        with caplog.at_level(logging.ERROR, "roomkit.realtime"):
            await realtime.publish("c", typing_event("bad", "e1"))
            await realtime.publish("c", typing_event("good"))
            assert await listener.wait_for(1) == ["good"]
        (record,) = caplog.records
        assert record.__dict__["ephemeral_id"] == "e1"
        assert realtime.subscription_count == 1

    async def test_an_error_after_a_wait_is_contained_too(
        self, realtime: InMemoryRealtime
    ) -> None:
        listener = Listener()

        async def fragile(event: EphemeralEvent) -> None:
            await asyncio.sleep(0)
            if event.user_id == "bad":
                raise LookupError
            await listener(event)

        await realtime.subscribe("c", fragile)
        await realtime.publish("c", typing_event("bad"))
        await realtime.publish("c", typing_event("good"))
        assert await listener.wait_for(1) == ["good"]

    async def test_one_that_hangs_is_cancelled_after_its_time(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        realtime = InMemoryRealtime(callback_timeout=0.01)
        listener = Listener()

        async def stuck(event: EphemeralEvent) -> None:
            if event.user_id == "stuck":
                await asyncio.Event().wait()
            await listener(event)

        await realtime.subscribe("c", stuck)
        with caplog.at_level(logging.ERROR, "roomkit.realtime"):
            await realtime.publish("c", typing_event("stuck"))
            await realtime.publish("c", typing_event("next"))
            assert await listener.wait_for(1) == ["next"]
        assert len(caplog.records) == 1
        await realtime.close()

    async def test_a_cancellation_inside_it_does_not_end_the_subscription(
        self, realtime: InMemoryRealtime
    ) -> None:
        listener = Listener()

        async def fragile(event: EphemeralEvent) -> None:
            if event.user_id != "good":
                lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                if event.user_id == "waits":
                    asyncio.get_running_loop().call_soon(lost.cancel)
                else:
                    lost.cancel()
                await lost
            await listener(event)

        await realtime.subscribe("c", fragile)
        for user in ("at once", "waits", "good"):
            await realtime.publish("c", typing_event(user))
        assert await listener.wait_for(1) == ["good"]


class TestUnsubscribing:
    """After it, the callback is not running and not called again."""

    async def test_it_is_not_called_any_more(self, realtime: InMemoryRealtime) -> None:
        gone, stays = Listener(), Listener()
        subscription = await realtime.subscribe("c", gone)
        await realtime.subscribe("c", stays)
        assert await realtime.unsubscribe(subscription)
        await realtime.publish("c", typing_event("1"))
        assert await stays.wait_for(1) == ["1"]
        assert gone.users == []
        assert realtime.subscription_count == 1

    async def test_what_waits_is_lost(self, realtime: InMemoryRealtime) -> None:
        gone, stays = Listener(), Listener()
        subscription = await realtime.subscribe("c", gone)
        await realtime.subscribe("c", stays)
        await realtime.publish("c", typing_event("1"))
        assert await realtime.unsubscribe(subscription)
        assert await stays.wait_for(1) == ["1"]
        assert gone.users == []

    async def test_a_running_callback_has_ended_when_it_returns(
        self, realtime: InMemoryRealtime
    ) -> None:
        entered = asyncio.Event()
        ended = False

        async def listen(event: EphemeralEvent) -> None:
            nonlocal ended
            try:
                entered.set()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended = True

        subscription = await realtime.subscribe("c", listen)
        await realtime.publish("c", typing_event())
        async with asyncio.timeout(5):
            await entered.wait()
            assert await realtime.unsubscribe(subscription)
        assert ended

    async def test_an_unknown_id_is_false(self, realtime: InMemoryRealtime) -> None:
        subscription = await realtime.subscribe("c", Listener())
        assert await realtime.unsubscribe("nobody") is False
        assert await realtime.unsubscribe(subscription) is True
        assert await realtime.unsubscribe(subscription) is False

    async def test_a_callback_may_end_itself(self, realtime: InMemoryRealtime) -> None:
        """It runs to its end, although it awaits after unsubscribing, and hears no more."""
        finished = asyncio.Queue[str]()
        subscription = ""

        async def once(event: EphemeralEvent) -> None:
            assert await realtime.unsubscribe(subscription)
            await asyncio.sleep(0)
            finished.put_nowait(event.user_id)

        subscription = await realtime.subscribe("c", once)
        await realtime.publish("c", typing_event("1"))
        await realtime.publish("c", typing_event("2"))
        async with asyncio.timeout(5):
            assert await finished.get() == "1"
        assert realtime.subscription_count == 0
        stays = Listener()
        await realtime.subscribe("c", stays)
        await realtime.publish("c", typing_event("3"))
        assert await stays.wait_for(1) == ["3"]
        assert finished.empty()


class TestClosing:
    """Closing ends everything, once and for all."""

    async def test_nothing_is_heard_afterwards(self) -> None:
        realtime = InMemoryRealtime()
        listener = Listener()
        await realtime.subscribe("c", listener)
        await realtime.publish("c", typing_event("waits"))
        await realtime.close()
        assert realtime.subscription_count == 0
        await realtime.publish("c", typing_event("late"))
        await realtime.close()
        assert listener.users == []

    async def test_no_task_is_left(self) -> None:
        before = asyncio.all_tasks()
        realtime = InMemoryRealtime()
        gate = Gate()
        for _ in range(5):
            await realtime.subscribe("c", gate)
        await realtime.publish("c", typing_event())
        await gate.entered.wait()
        await realtime.close()
        assert asyncio.all_tasks() == before

    async def test_a_closed_backend_takes_no_subscriptions(self) -> None:
        realtime = InMemoryRealtime()
        await realtime.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await realtime.subscribe("c", Listener())

    async def test_a_callback_that_resists_is_not_waited_for_for_ever(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(memory, "STOP_TIMEOUT", 0.01)
        realtime = InMemoryRealtime()
        entered, released, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def resist(event: EphemeralEvent) -> None:
            entered.set()
            while not released.is_set():
                with suppress(asyncio.CancelledError):
                    await released.wait()
            ended.set()

        await realtime.subscribe("c", resist)
        await realtime.publish("c", typing_event())
        await entered.wait()
        async with asyncio.timeout(5):
            await realtime.close()
            assert "did not end" in caplog.text
            released.set()
            await ended.wait()

    async def test_a_callback_may_close_it(self) -> None:
        realtime = InMemoryRealtime()
        closed = asyncio.Event()

        async def close(event: EphemeralEvent) -> None:
            await realtime.close()
            closed.set()

        await realtime.subscribe("c", close)
        await realtime.subscribe("c", Gate())
        await realtime.publish("c", typing_event())
        async with asyncio.timeout(4):
            await closed.wait()
        assert realtime.subscription_count == 0


class TestRealtimeBackend:
    """A backend of one's own needs three methods."""

    async def test_rooms_and_close_come_with_it(self) -> None:
        published: list[str] = []

        class Own(RealtimeBackend):
            async def publish(self, channel: str, event: EphemeralEvent) -> None:
                published.append(channel)

            async def subscribe(self, channel: str, callback: object) -> str:
                return channel

            async def unsubscribe(self, subscription_id: str) -> bool:
                return False

        backend = Own()
        await backend.publish_to_room("r", typing_event())
        assert published == ["room:r"]
        assert await backend.subscribe_to_room("r", Listener()) == "room:r"
        await backend.close()
