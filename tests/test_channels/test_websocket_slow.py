"""WebSocketChannel under stress: sockets that stall, hang, leave, come again."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from roomkit._clock import ManualClock
from roomkit.channels.websocket import ConnectionStats, WebSocketChannel
from roomkit.models.channel import ChannelOutput
from roomkit.models.streaming import StreamDelta, StreamEnd
from tests.test_channels._sockets import BINDING, CONTEXT, Socket, event, piece, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit.models.event import RoomEvent


@pytest.fixture
async def channel() -> AsyncIterator[WebSocketChannel]:
    """A channel that waits for no slow socket."""
    channel = WebSocketChannel("ws", slow_after=0)
    yield channel
    await channel.close()


class TestSlow:
    """A socket that stalls holds up nobody, keeps its order, and is bounded in every way."""

    async def test_deliver_waits_only_so_long(self) -> None:
        clock = ManualClock()
        channel = WebSocketChannel("ws", slow_after=0.05, clock=clock)
        slow, live = Socket(stalled=True), Socket()
        channel.register_connection("slow", slow.send)
        channel.register_connection("live", live.send)
        delivering = asyncio.ensure_future(channel.deliver(event(0), BINDING, CONTEXT))
        await slow.until(lambda s: s.started == 1)
        assert live.indexes == [0]
        await clock.advance(0.049)
        assert not delivering.done()
        await clock.advance(0.001)
        assert delivering.done()
        await say(channel, 1, 2)
        assert (live.indexes, slow.got) == ([0, 1, 2], [])
        assert channel.connection_stats("slow").queued == 2
        await channel.close()

    async def test_deliver_waits_for_all_that_are_in_time(self) -> None:
        channel = WebSocketChannel("ws", slow_after=60)
        quick, late = Socket(stalled=True), Socket(stalled=True)
        channel.register_connection("quick", quick.send)
        channel.register_connection("late", late.send)
        delivering = asyncio.ensure_future(channel.deliver(event(0), BINDING, CONTEXT))
        await late.until(lambda s: s.started == 1)
        quick.flow()
        await quick.until(lambda s: len(s.got) == 1)
        await say(channel, 1)
        await quick.until(lambda s: s.indexes == [0, 1])
        assert not delivering.done()
        late.flow()
        await delivering
        assert late.indexes[0] == 0
        await channel.close()

    async def test_it_catches_up_in_order_and_is_fast_again(self, channel) -> None:
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send)
        await say(channel, 0, 1, 2)
        slow.flow()
        await slow.until(lambda s: len(s.got) == 3)
        await say(channel, 3)
        assert slow.indexes == [0, 1, 2, 3]
        assert channel.connection_stats("slow") == ConnectionStats(0, 0, 0)

    async def test_it_may_stall_again_while_catching_up(self, channel) -> None:
        slow = Socket(stalled=True)

        async def each_waits(connection_id: str, payload: RoomEvent) -> None:
            await asyncio.sleep(0)
            await slow.send(connection_id, payload)

        channel.register_connection("slow", each_waits)
        await say(channel, 0, 1, 2)
        slow.flow()
        await slow.until(lambda s: len(s.got) == 1)
        slow.stall()
        await slow.until(lambda s: s.started == 2)
        await say(channel, 3)
        assert slow.indexes == [0]
        slow.flow()
        await slow.until(lambda s: len(s.got) == 4)
        assert slow.indexes == [0, 1, 2, 3]

    async def test_full_queue_drops_the_oldest_and_counts(self, caplog) -> None:
        channel = WebSocketChannel("ws", slow_after=0, queue_size=3)
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send)
        await say(channel, *range(10))
        assert channel.connection_stats("slow") == ConnectionStats(3, 6, 0)
        assert channel.dropped_total == 6
        slow.flow()
        await slow.until(lambda s: len(s.got) == 4)
        assert slow.indexes == [0, 7, 8, 9]
        channel.unregister_connection("slow")
        assert channel.dropped_total == 6
        assert len([r for r in caplog.records if "queue is full" in r.getMessage()]) == 1
        await channel.close()

    async def test_full_queue_may_end_the_connection(self) -> None:
        channel = WebSocketChannel("ws", slow_after=0, queue_size=3, drop="disconnect")
        slow, live = Socket(stalled=True), Socket()
        channel.register_connection("slow", slow.send, on_close=slow.on_close)
        channel.register_connection("live", live.send)
        await say(channel, *range(4))
        assert slow.closed == []
        await say(channel, 4, 5)
        assert slow.closed == [("slow", "too_slow")]
        assert live.indexes == [0, 1, 2, 3, 4, 5]
        await slow.until(lambda s: s.cancelled == 1)
        assert (slow.got, channel.connection_count) == ([], 1)
        await channel.close()

    async def test_a_send_that_hangs_ends_its_connection(self) -> None:
        clock = ManualClock()
        channel = WebSocketChannel("ws", send_timeout=10, slow_after=0.05, clock=clock)
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send, on_close=slow.on_close)
        delivering = asyncio.ensure_future(channel.deliver(event(0), BINDING, CONTEXT))
        await slow.until(lambda s: s.started == 1)
        await clock.advance(9.9)
        assert delivering.done()
        assert slow.closed == []
        await clock.advance(0.1)
        assert slow.closed == [("slow", "send_timeout")]
        assert (slow.cancelled, channel.connection_count) == (1, 0)
        await channel.close()
        assert clock.sleepers == 0

    async def test_a_deadline_while_catching_up(self) -> None:
        clock = ManualClock()
        channel = WebSocketChannel("ws", send_timeout=10, slow_after=0, clock=clock)
        first, slow = Socket(stalled=True), Socket(stalled=True)

        async def second_hangs(connection_id: str, payload: RoomEvent) -> None:
            await (first if payload.index == 0 else slow).send(connection_id, payload)

        channel.register_connection("slow", second_hangs, on_close=slow.on_close)
        delivering = asyncio.ensure_future(channel.deliver(event(0), BINDING, CONTEXT))
        await first.until(lambda s: s.started == 1)
        await clock.advance(0)
        await delivering
        await say(channel, 1)
        await clock.advance(5)
        first.flow()
        await slow.until(lambda s: s.started == 1)
        await clock.advance(9.9)
        assert slow.closed == []
        await clock.advance(0.1)
        assert slow.closed == [("slow", "send_timeout")]
        await channel.close()

    async def test_failures_count_while_catching_up(self, channel) -> None:
        slow = Socket(stalled=True)
        slow.fail = ConnectionError()
        channel.register_connection("slow", slow.send, on_close=slow.on_close)
        await say(channel, 0, 1, 2, 3)
        slow.flow()
        await slow.until(lambda s: bool(s.closed))
        assert slow.closed == [("slow", "send_failed")]
        assert slow.started == 3

    async def test_nine_hear_before_the_slow_tenth(self, channel) -> None:
        heard: list[str] = []
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send)
        for number in range(9):
            channel.register_connection(str(number), lambda cid, e: heard.append(cid))
        delivering = asyncio.ensure_future(channel.deliver(event(), BINDING, CONTEXT))
        await slow.until(lambda s: s.started == 1)
        assert len(heard) == 9
        await delivering

    async def test_one_stalled_among_a_hundred(self) -> None:
        """10,000 events: the live ones miss nothing, the stalled one costs a bounded memory."""
        channel = WebSocketChannel("ws", slow_after=0, queue_size=256)
        heard = [0] * 99
        ordered = True

        def live(number: int) -> Callable[[str, RoomEvent], Any]:
            async def send(connection_id: str, payload: RoomEvent) -> None:
                nonlocal ordered
                ordered = ordered and payload.index == heard[number]
                heard[number] += 1

            return send

        stalled = Socket(stalled=True)
        channel.register_connection("stalled", stalled.send, on_close=stalled.on_close)
        for number in range(99):
            channel.register_connection(f"live{number}", live(number))
        alive: set[int] = set()
        for index in range(10_000):
            sent = event(index)
            alive.add(index)
            weakref.finalize(sent, alive.discard, index)
            await channel.deliver(sent, BINDING, CONTEXT)
            del sent
        assert heard == [10_000] * 99
        assert ordered
        assert channel.connection_stats("stalled") == ConnectionStats(256, 10_000 - 257, 0)
        assert len(alive) <= 258
        assert stalled.closed == []
        await channel.close()
        assert stalled.closed == [("stalled", "closed")]
        assert len(alive) <= 2


class TestPieces:
    """Pieces of an answer go to those who take them and never cost an event."""

    async def test_shown_only_while_somebody_takes_them(self, channel) -> None:
        assert channel.shows_deltas is False
        channel.register_connection("plain", Socket().send)
        assert channel.shows_deltas is False
        channel.register_connection("live", Socket().send, stream_fn=Socket().send)
        assert channel.shows_deltas is True
        channel.register_connection("live", Socket().send)
        assert channel.shows_deltas is False
        channel.register_connection("live", Socket().send, stream_fn=Socket().send)
        channel.unregister_connection("live")
        assert channel.shows_deltas is False

    async def test_to_stream_functions_of_the_room(self, channel) -> None:
        plain, live, elsewhere = Socket(), Socket(), Socket()
        channel.register_connection("plain", plain.send)
        channel.register_connection("live", live.send, stream_fn=live.send_now)
        channel.register_connection(
            "else", elsewhere.send, stream_fn=elsewhere.send, room_ids="r2"
        )
        pieces = [piece(0), piece(1), StreamEnd("r1", "ai", "s1", "e1")]
        for part in pieces:
            await channel.deliver_delta(part, BINDING)
        assert (plain.got, live.got, elsewhere.got) == ([], pieces, [])

    async def test_nobody_takes_them(self, channel) -> None:
        plain = Socket()
        channel.register_connection("plain", plain.send)
        await channel.deliver_delta(piece(0), BINDING)
        assert plain.got == []

    async def test_in_order_with_events(self, channel) -> None:
        slow = Socket(stalled=True)

        async def stream(connection_id: str, part: StreamDelta | StreamEnd) -> None:
            await slow.send(connection_id, ("stream_fn", part))

        channel.register_connection("slow", slow.send, stream_fn=stream)
        parts = [piece(0), piece(1), StreamEnd("r1", "ai", "s1", "e1")]
        for part in parts:
            await channel.deliver_delta(part, BINDING)
        last = event(7)
        await channel.deliver(last, BINDING, CONTEXT)
        slow.flow()
        await slow.until(lambda s: len(s.got) == 4)
        assert slow.got == [*(("stream_fn", part) for part in parts), last]

    async def test_dropped_before_events(self) -> None:
        channel = WebSocketChannel("ws", slow_after=0, queue_size=4, drop="disconnect")
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send, stream_fn=slow.send)
        await say(channel, 0, 1)
        for seq in range(4):
            await channel.deliver_delta(piece(seq), BINDING)
        await say(channel, 2, 3, 4)
        await channel.deliver_delta(piece(4), BINDING)
        assert channel.connection_stats("slow") == ConnectionStats(4, 5, 0)
        slow.flow()
        await slow.until(lambda s: len(s.got) == 5)
        assert slow.indexes == [0, 1, 2, 3, 4]
        await channel.close()

    async def test_newest_pieces_stay(self) -> None:
        channel = WebSocketChannel("ws", slow_after=0, queue_size=2)
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send, stream_fn=slow.send)
        for seq in range(6):
            await channel.deliver_delta(piece(seq), BINDING)
        slow.flow()
        await slow.until(lambda s: len(s.got) == 3)
        assert [p.seq for p in slow.got] == [0, 4, 5]
        await channel.close()

    async def test_an_end_is_not_dropped_for_a_piece(self) -> None:
        channel = WebSocketChannel("ws", slow_after=0, queue_size=1)
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send, stream_fn=slow.send)
        end = StreamEnd("r1", "ai", "s1", None, retracted=True)
        for part in (piece(0), piece(1), end, piece(2)):
            await channel.deliver_delta(part, BINDING)
        slow.flow()
        await slow.until(lambda s: len(s.got) == 2)
        assert slow.got == [piece(0), end]
        await channel.close()


class TestCancel:
    """A cancelled deliver loses nothing: what was begun is finished."""

    async def test_sends_go_on(self) -> None:
        channel = WebSocketChannel("ws", slow_after=60)
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send)
        delivering = asyncio.ensure_future(channel.deliver(event(0), BINDING, CONTEXT))
        await slow.until(lambda s: s.started == 1)
        delivering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivering
        await say(channel, 1)
        slow.flow()
        await slow.until(lambda s: len(s.got) == 2)
        assert (slow.indexes, slow.cancelled) == ([0, 1], 0)
        await channel.close()

    async def test_the_deadline_holds_all_the_same(self) -> None:
        clock = ManualClock()
        channel = WebSocketChannel("ws", send_timeout=10, clock=clock)
        slow = Socket(stalled=True)
        channel.register_connection("slow", slow.send, on_close=slow.on_close)
        delivering = asyncio.ensure_future(channel.deliver(event(0), BINDING, CONTEXT))
        await slow.until(lambda s: s.started == 1)
        delivering.cancel()
        await clock.advance(10)
        assert slow.closed == [("slow", "send_timeout")]
        assert delivering.cancelled()
        await channel.close()


class TestStopping:
    """A connection can be taken away at any moment, also by its own send."""

    async def test_a_send_that_left_and_hangs_is_cancelled_in_time(self) -> None:
        clock = ManualClock()
        channel = WebSocketChannel("ws", send_timeout=10, clock=clock)
        hanging = Socket(stalled=True)

        async def leaving(connection_id: str, payload: RoomEvent) -> None:
            channel.unregister_connection(connection_id)
            await hanging.send(connection_id, payload)

        channel.register_connection("a", leaving)
        delivering = asyncio.ensure_future(channel.deliver(event(), BINDING, CONTEXT))
        await hanging.until(lambda s: s.started == 1)
        await clock.advance(9.9)
        assert hanging.cancelled == 0
        await clock.advance(0.1)
        assert hanging.cancelled == 1
        assert delivering.done()
        await channel.close()

    def test_outside_of_the_loop(self) -> None:
        async def stall() -> tuple[WebSocketChannel, Socket]:
            channel, socket = WebSocketChannel("ws", slow_after=0), Socket(stalled=True)
            channel.register_connection("a", socket.send)
            await say(channel, 0)
            return channel, socket

        with asyncio.Runner() as runner:
            channel, socket = runner.run(stall())
            channel.unregister_connection("a")
            runner.run(channel.close())
            assert socket.cancelled == 1


class TestReplaceWhileSending:
    """A new connection of the same id starts clean; the old one is stopped."""

    async def test_old_is_stopped(self, channel) -> None:
        old, new = Socket(stalled=True), Socket()
        channel.register_connection("a", old.send, on_close=old.on_close)
        await say(channel, 0, 1)
        channel.register_connection("a", new.send)
        await say(channel, 2)
        await old.until(lambda s: s.cancelled == 1)
        old.flow()
        await say(channel, 3)
        assert (old.got, old.started, old.closed) == ([], 1, [])
        assert new.indexes == [2, 3]
        assert channel.connection_stats("a") == ConnectionStats(0, 0, 0)

    async def test_replaced_by_its_own_send(self, channel) -> None:
        new, done = Socket(), asyncio.Event()

        async def replacing(connection_id: str, payload: RoomEvent) -> None:
            channel.register_connection(connection_id, new.send)
            await asyncio.sleep(0)
            done.set()

        channel.register_connection("a", replacing)
        await say(channel, 0, 1)
        await asyncio.wait_for(done.wait(), 5)
        assert new.indexes == [1]

    async def test_a_deliver_that_waits_is_let_go(self) -> None:
        channel = WebSocketChannel("ws", slow_after=60)
        slow = Socket(stalled=True)
        channel.register_connection("a", slow.send)
        delivering = asyncio.ensure_future(channel.deliver(event(), BINDING, CONTEXT))
        await slow.until(lambda s: s.started == 1)
        channel.unregister_connection("a")
        assert await asyncio.wait_for(delivering, 5) is ChannelOutput.empty()
        await channel.close()
