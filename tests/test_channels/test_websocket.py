"""WebSocketChannel: who gets what, in which order, and what a bad socket costs the others."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from roomkit.channels.websocket import ConnectionStats, WebSocketChannel
from roomkit.exceptions import InvalidInputError
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelMediaType, ChannelType, EventType
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from tests.test_channels._sockets import BINDING, CONTEXT, Socket, event, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def channel() -> AsyncIterator[WebSocketChannel]:
    """A channel that waits for no slow socket."""
    channel = WebSocketChannel("ws", slow_after=0)
    yield channel
    await channel.close()


class TestConnections:
    """Connections come and go; the channel counts them."""

    async def test_count(self, channel) -> None:
        assert channel.info == {"connection_count": 0}
        channel.register_connection("a", Socket().send)
        channel.register_connection("b", Socket().send)
        assert channel.connection_count == 2
        channel.unregister_connection("a")
        channel.unregister_connection("unknown")
        assert channel.info == {"connection_count": 1}

    async def test_unregistered_hears_nothing(self, channel) -> None:
        gone, here = Socket(), Socket()
        channel.register_connection("gone", gone.send, on_close=gone.on_close)
        channel.register_connection("here", here.send)
        channel.unregister_connection("gone")
        await say(channel, 0)
        assert (gone.got, gone.closed, here.indexes) == ([], [], [0])

    async def test_replaced_by_the_same_id(self, channel) -> None:
        old, new = Socket(), Socket()
        channel.register_connection("a", old.send)
        channel.register_connection("a", new.send)
        await say(channel, 0)
        assert (old.got, new.indexes, channel.connection_count) == ([], [0], 1)

    async def test_stats(self, channel) -> None:
        channel.register_connection("a", Socket().send)
        assert channel.connection_stats("a") == ConnectionStats(queued=0, dropped=0, failures=0)
        assert channel.connection_stats("unknown") is None

    @pytest.mark.parametrize(
        "bad",
        [
            {"queue_size": 0},
            {"send_timeout": 0},
            {"slow_after": -1},
            {"max_failures": 0},
            {"drop": "newest"},
        ],
    )
    def test_senseless_bounds_are_refused(self, bad) -> None:
        with pytest.raises(InvalidInputError):
            WebSocketChannel("ws", **bad)

    def test_capabilities(self) -> None:
        can = WebSocketChannel("ws").capabilities()
        assert set(can.media_types) == set(ChannelMediaType) - {ChannelMediaType.TEMPLATE}
        flags = {name for name, value in can if value is True}
        assert flags == {
            f"supports_{what}"
            for what in (
                "typing",
                "read_receipts",
                "reactions",
                "edit",
                "delete",
                "rich_text",
                "media",
                "buttons",
                "cards",
                "quick_replies",
            )
        }
        assert can.max_length is None


class TestInbound:
    """A message becomes an event that names its sender and carries no outside id."""

    async def test_event_of_a_message(self) -> None:
        channel = WebSocketChannel("ws")
        got = await channel.handle_inbound(
            InboundMessage(
                channel_id="ws",
                sender_id="user",
                content=TextContent(body="hi"),
                external_id="m1",
                idempotency_key="k",
                metadata={"a": 1},
            ),
            CONTEXT,
        )
        assert got.source == EventSource(
            channel_id="ws", channel_type=ChannelType.WEBSOCKET, participant_id="user"
        )
        assert (got.room_id, got.type, got.idempotency_key) == ("r1", EventType.MESSAGE, "k")
        assert (got.metadata, got.channel_data) == ({"a": 1}, ChannelData())

    async def test_sender_as_it_is_and_thread_kept(self) -> None:
        got = await WebSocketChannel("ws").handle_inbound(
            InboundMessage(
                channel_id="ws", sender_id="", content=TextContent(body="hi"), thread_id="t"
            ),
            CONTEXT,
        )
        assert got.source.participant_id == ""
        assert got.channel_data == ChannelData(thread_id="t")


class TestDelivery:
    """Whoever keeps up has the event when deliver returns: the object, at once, in order."""

    async def test_nobody_there(self, channel) -> None:
        await say(channel, 0)

    async def test_the_event_itself_to_everyone(self, channel) -> None:
        plain, waiting = Socket(), Socket()

        async def yielding(connection_id: str, payload: RoomEvent) -> None:
            await asyncio.sleep(0)
            waiting.got.append((connection_id, payload))

        channel = WebSocketChannel("ws", slow_after=5)
        channel.register_connection("sync", plain.send_now)
        channel.register_connection("async", yielding)
        sent = event()
        await channel.deliver(sent, BINDING, CONTEXT)
        assert plain.got == [sent]
        assert plain.got[0] is sent
        assert waiting.got[0][0] == "async"
        assert waiting.got[0][1] is sent
        await channel.close()

    async def test_a_send_function_may_return_a_future(self) -> None:
        channel = WebSocketChannel("ws", slow_after=5)
        future = asyncio.get_running_loop().create_future()
        channel.register_connection("a", lambda cid, e: future)
        delivering = asyncio.ensure_future(channel.deliver(event(), BINDING, CONTEXT))
        await asyncio.sleep(0)
        assert not delivering.done()
        future.set_result(None)
        assert await delivering is ChannelOutput.empty()
        await channel.close()

    async def test_a_value_that_cannot_be_awaited_is_fine(self, channel) -> None:
        channel.register_connection("a", lambda cid, e: 7)
        await say(channel, 0)
        assert channel.connection_stats("a").failures == 0

    async def test_order(self) -> None:
        channel, socket = WebSocketChannel("ws", slow_after=5), Socket()

        async def uneven(connection_id: str, payload: RoomEvent) -> None:
            for _ in range(payload.index % 4):
                await asyncio.sleep(0)
            await socket.send(connection_id, payload)

        channel.register_connection("a", uneven)
        await asyncio.gather(
            *(channel.deliver(event(i), BINDING, CONTEXT) for i in range(50)),
        )
        await socket.until(lambda s: len(s.got) == 50)
        assert socket.indexes == list(range(50))
        await channel.close()

    async def test_one_removed_by_an_earlier_send_of_the_same_event(self, channel) -> None:
        second = Socket()
        channel.register_connection("1", lambda cid, e: channel.unregister_connection("2"))
        channel.register_connection("2", second.send)
        await say(channel, 0)
        assert second.got == []

    async def test_one_gone_stays_gone_within_a_send(self, channel) -> None:
        second: list[int] = []

        async def outer(connection_id: str, payload: RoomEvent) -> None:
            if payload.index == 0:
                await channel.deliver(event(1), BINDING, CONTEXT)

        def leaving(connection_id: str, payload: RoomEvent) -> None:
            second.append(payload.index)
            channel.unregister_connection(connection_id)

        channel.register_connection("1", outer)
        channel.register_connection("2", leaving)
        await say(channel, 0)
        assert second == [1]

    async def test_a_send_that_delivers_keeps_the_order(self, channel) -> None:
        socket = Socket()

        async def echo(connection_id: str, payload: RoomEvent) -> None:
            if payload.index == 0:
                await channel.deliver(event(1), BINDING, CONTEXT)
            socket.got.append(payload)

        channel.register_connection("a", echo)
        await say(channel, 0)
        assert socket.indexes == [0, 1]
        await say(channel, 2)
        assert socket.indexes == [0, 1, 2]

    async def test_nothing_is_left_behind_when_nothing_waits(self, channel) -> None:
        before = asyncio.all_tasks()
        for number in range(20):
            channel.register_connection(str(number), Socket().send)
        await say(channel, *range(20))
        assert asyncio.all_tasks() == before


class TestFailures:
    """An error of a socket is its own: counted, forgiven by a success, fatal the third time."""

    @pytest.mark.parametrize("sync", [False, True])
    async def test_third_in_a_row_removes(self, channel, caplog, sync) -> None:
        bad, good = Socket(), Socket()
        bad.fail = ConnectionError("secret address")
        channel.register_connection(
            "bad", bad.send_now if sync else bad.send, on_close=bad.on_close
        )
        channel.register_connection("good", good.send)
        with caplog.at_level(logging.INFO, "roomkit"):
            await say(channel, 0, 1)
            assert channel.connection_stats("bad").failures == 2
            assert channel.connection_count == 2
            await say(channel, 2, 3)
        assert channel.connection_stats("bad") is None
        assert bad.closed == [("bad", "send_failed")]
        assert good.indexes == [0, 1, 2, 3]
        assert [r.getMessage() for r in caplog.records] == ["connection ended: send_failed"]
        assert (caplog.records[0].channel_id, caplog.records[0].connection_id) == ("ws", "bad")
        assert "secret" not in caplog.text

    async def test_success_forgives(self, channel) -> None:
        socket = Socket()
        channel.register_connection("a", socket.send)
        for number in range(4):
            socket.fail = ConnectionError()
            await say(channel, number, number)
            socket.fail = None
            await say(channel, number)
        assert channel.connection_stats("a") == ConnectionStats(0, 0, 0)

    async def test_registering_again_forgives(self, channel) -> None:
        socket = Socket()
        socket.fail = ConnectionError()
        channel.register_connection("a", socket.send)
        await say(channel, 0, 1)
        channel.register_connection("a", socket.send)
        await say(channel, 2, 3)
        assert channel.connection_count == 1

    async def test_errors_after_waiting_count_too(self) -> None:
        channel = WebSocketChannel("ws", slow_after=5, max_failures=2)
        socket = Socket()

        async def late(connection_id: str, payload: RoomEvent) -> None:
            await asyncio.sleep(0)
            if payload.index != 1:
                raise ConnectionError

        channel.register_connection("a", late, on_close=socket.on_close)
        await say(channel, 0)
        assert channel.connection_stats("a").failures == 1
        await say(channel, 1)
        assert channel.connection_stats("a").failures == 0
        await say(channel, 2, 3)
        assert socket.closed == [("a", "send_failed")]
        await channel.close()

    async def test_a_send_that_cancels_itself_is_a_failure(self, channel) -> None:
        async def cancelled(connection_id: str, payload: RoomEvent) -> None:
            raise asyncio.CancelledError

        channel.register_connection("a", cancelled)
        await say(channel, 0)
        assert channel.connection_stats("a").failures == 1

    async def test_a_send_may_unregister_itself(self, channel) -> None:
        done = asyncio.Event()

        async def leaving(connection_id: str, payload: RoomEvent) -> None:
            await asyncio.sleep(0)
            channel.unregister_connection(connection_id)
            await asyncio.sleep(0)
            done.set()

        channel.register_connection("a", leaving)
        await say(channel, 0)
        await asyncio.wait_for(done.wait(), 5)
        assert channel.connection_count == 0

    async def test_on_close_may_be_async_and_may_fail(self, channel, caplog) -> None:
        told = asyncio.Event()

        async def slowly(connection_id: str, reason: str) -> None:
            await asyncio.sleep(0)
            told.set()
            raise ValueError("secret")

        def at_once(connection_id: str, reason: str) -> None:
            raise ValueError("secret")

        bad = Socket()
        bad.fail = ConnectionError()
        channel.register_connection("a", bad.send, on_close=slowly)
        channel.register_connection("b", bad.send, on_close=at_once)
        await say(channel, 0, 1, 2)
        await asyncio.wait_for(told.wait(), 5)
        await channel.close()
        failed = [r for r in caplog.records if r.getMessage() == "on_close failed: ValueError"]
        assert {r.connection_id for r in failed} == {"a", "b"}
        assert "secret" not in caplog.text


class TestRooms:
    """A connection hears the rooms it was registered for and never another."""

    async def test_scopes(self, channel) -> None:
        one, two, every = Socket(), Socket(), Socket()
        channel.register_connection("one", one.send, room_ids="r1")
        channel.register_connection("two", two.send, room_ids=["r1", "r2"])
        channel.register_connection("all", every.send)
        channel.register_connection("none", Socket().send_now, room_ids=())
        for index, room_id in enumerate(("r1", "r2", "r3")):
            await say(channel, index, room_id=room_id)
        assert (one.indexes, two.indexes, every.indexes) == ([0], [0, 1], [0, 1, 2])

    async def test_many_rooms_never_mix(self, channel) -> None:
        sockets = {f"r{n}": [Socket() for _ in range(5)] for n in range(20)}
        for room_id, members in sockets.items():
            for number, socket in enumerate(members):
                channel.register_connection(f"{room_id}/{number}", socket.send, room_ids=room_id)
        await asyncio.gather(
            *(say(channel, *range(5), room_id=room_id) for room_id in sockets for _ in range(2))
        )
        for room_id, members in sockets.items():
            for socket in members:
                assert len(socket.got) == 10
                assert {e.room_id for e in socket.got} == {room_id}

    async def test_join_and_leave(self, channel) -> None:
        socket = Socket()
        channel.register_connection("a", socket.send, room_ids=())
        await say(channel, 0)
        assert channel.join_room("a", "r1")
        assert channel.join_room("a", "r2")
        assert channel.join_room("a", "r2")
        await say(channel, 1)
        await say(channel, 2, room_id="r2")
        assert channel.leave_room("a", "r1")
        assert not channel.leave_room("a", "r1")
        await say(channel, 3)
        await say(channel, 4, room_id="r2")
        assert socket.indexes == [1, 2, 4]
        assert channel.leave_room("a", "r2")
        await say(channel, 5, room_id="r2")
        assert socket.indexes == [1, 2, 4]

    async def test_joining_with_ears_for_everything(self, channel) -> None:
        socket = Socket()
        channel.register_connection("a", socket.send)
        assert channel.join_room("a", "r1")
        assert not channel.leave_room("a", "r1")
        await say(channel, 0)
        assert socket.indexes == [0]

    async def test_unknown_connections(self, channel) -> None:
        assert not channel.join_room("x", "r1")
        assert not channel.leave_room("x", "r1")

    async def test_other_rooms_go_on_after_one_of_many_leaves(self, channel) -> None:
        first, second, third = Socket(), Socket(), Socket()
        for name, socket in (("1", first), ("2", second), ("3", third)):
            channel.register_connection(name, socket.send, room_ids={"r1", "r2"})
        channel.unregister_connection("2")
        await say(channel, 0)
        await say(channel, 1, room_id="r2")
        assert (first.indexes, second.indexes, third.indexes) == ([0, 1], [], [0, 1])
