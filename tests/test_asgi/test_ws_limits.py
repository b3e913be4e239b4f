"""What a client may use of the server: frames, queues, time, connections."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from roomkit._clock import ManualClock
from roomkit.asgi._ws_limits import Bounds, Pace, within
from roomkit.exceptions import InvalidInputError
from roomkit.models.content import TextContent
from tests.support.kits import inbound
from tests.support.ws_clients import ROOM, Client, serving

OTHERS = 20


def text(body: str = "x", **values: Any) -> dict[str, Any]:
    """Return a message frame's fields."""
    return {"room_id": ROOM, "ref": "1", "content": {"type": "text", "body": body}, **values}


class TestBounds:
    """Every bound is above 0, and a misspelt one is refused."""

    @pytest.mark.parametrize("bound", list(Bounds.__dataclass_fields__))
    def test_none_may_be_zero(self, bound: str) -> None:
        """A bound of nothing would close everybody out."""
        with pytest.raises(InvalidInputError, match=bound):
            Bounds(**{bound: 0})

    async def test_an_unknown_one(self) -> None:
        """A typing error is no bound."""
        with pytest.raises(TypeError):
            async with serving(max_conections=3):
                pass


class TestFrames:
    """A frame that is none of the protocol is answered; too many of them end it."""

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            ("", "malformed"),
            ("[]", "malformed"),
            ("{", "malformed"),
            ('{"type":"message","ref":NaN}', "malformed"),
            ('{"a":' + "1" * 5000 + "}", "malformed"),
            ("[" * 30_000, "malformed"),
            ('{"type":"ping","x":' + "[" * 40 + "]" * 40 + "}", "malformed"),
            ("{}", "unknown_type"),
            ('{"type":["join"]}', "unknown_type"),
            ('{"type":"shutdown"}', "unknown_type"),
            ('{"type":"join"}', "malformed"),
            ('{"type":"join","room_id":""}', "malformed"),
            ('{"type":"join","room_id":"a\\u0000b"}', "malformed"),
            ('{"type":"join","room_id":"\\ud800"}', "malformed"),
            ('{"type":"join","room_id":"r","after":-2}', "malformed"),
            ('{"type":"join","room_id":"r","after":true}', "malformed"),
            ('{"type":"join","room_id":"r","after":1e3}', "malformed"),
            ('{"type":"join","room_id":"r","after":99999999999999999999}', "malformed"),
            ('{"type":"typing","room_id":"r","typing":"yes"}', "malformed"),
            ('{"type":"read"}', "malformed"),
            ('{"type":"message","room_id":"r"}', "malformed"),
            ('{"type":"message","room_id":"r","ref":"1"}', "invalid_content"),
            ('{"type":"message","room_id":"r","ref":"1","content":{}}', "invalid_content"),
        ],
    )
    async def test_malformed_frames(self, raw: str, code: str) -> None:
        """Each gets an error with a code; the connection goes on."""
        async with serving() as (_, endpoint), Client(endpoint) as client:
            client.raw(raw)
            error = await client.next("error")
            assert error["code"] == code
            assert error.get("ref") == ("1" if '"ref":"1"' in raw else None)
            await client.join()

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            ({"type": "text"}, "invalid_content"),
            ({"type": "text", "body": 5}, "invalid_content"),
            (
                {"type": "media", "url": "file:///etc/passwd", "mime_type": "a/b"},
                "invalid_content",
            ),
            ({"type": "composite", "parts": []}, "invalid_content"),
            ({"type": "system", "body": "x", "code": "channel_muted"}, "content_not_allowed"),
            ({"type": "template", "template_id": "t"}, "content_not_allowed"),
            (
                {"type": "composite", "parts": [{"type": "system", "body": "x"}]},
                "content_not_allowed",
            ),
            (
                {
                    "type": "edit",
                    "target_event_id": "e",
                    "edit_source": "moderator",
                    "new_content": {"type": "text", "body": "x"},
                },
                "content_not_allowed",
            ),
            (
                {
                    "type": "edit",
                    "target_event_id": "e",
                    "new_content": {"type": "delete", "target_event_id": "e"},
                },
                "content_not_allowed",
            ),
            (
                {"type": "delete", "target_event_id": "e", "delete_type": "admin"},
                "content_not_allowed",
            ),
        ],
    )
    async def test_content_a_client_cannot_say(self, content: Any, code: str) -> None:
        """What the system says, what costs money, and rights taken from the payload."""
        async with serving() as (kit, endpoint), Client(endpoint) as client:
            await client.join()
            client.say("message", **text(content=content))
            assert (await client.next("error", ref="1"))["code"] == code
            assert not [e for e in await kit.get_timeline(ROOM) if e.source.channel_id == "web"]

    @pytest.mark.parametrize(
        "content",
        [
            {"type": "rich", "body": "*x*", "buttons": [{"text": "yes"}]},
            {"type": "media", "url": "https://a.test/x.png", "mime_type": "image/png"},
            {"type": "location", "latitude": 1, "longitude": 2},
            {"type": "audio", "url": "https://a.test/x.ogg"},
            {"type": "video", "url": "https://a.test/x.mp4"},
            {"type": "composite", "parts": [{"type": "text", "body": "x"}]},
        ],
    )
    async def test_content_a_client_can_say(self, content: Any) -> None:
        """It is shown as it was said."""
        async with serving() as (_, endpoint), Client(endpoint) as client:
            await client.join()
            client.say("message", **text(content=content))
            assert "event_id" in await client.next("ack")
            await client.until(lambda: len(client.events()) == 1)
            assert client.events()[0]["event"]["content"]["type"] == content["type"]

    async def test_binary_frames_are_none(self) -> None:
        """The protocol is text."""
        async with serving() as (_, endpoint), Client(endpoint) as client:
            client.data(b'{"type":"ping"}')
            assert (await client.next("error"))["code"] == "malformed"

    async def test_too_many_malformed_frames(self) -> None:
        """The last one is still answered."""
        async with serving(max_bad_frames=3) as (_, endpoint), Client(endpoint) as client:
            for _ in range(3):
                client.raw("nonsense")
            assert await client.closed() == 1008
            assert len([f for f in client.frames if f["type"] == "error"]) == 3

    @pytest.mark.parametrize("letter", ["a", "é"])
    async def test_a_frame_that_is_too_big(self, letter: str) -> None:
        """Counted in bytes; one that just fits passes."""
        frame = json.dumps({"type": "ping", "x": ""}, ensure_ascii=False)
        fits = 200 - len(frame)
        letters = fits // len(letter.encode())
        async with serving(max_frame=200) as (_, endpoint), Client(endpoint) as client:
            client.raw(frame.replace('""', f'"{letter * letters}"'))
            await client.next("pong")
            client.raw(frame.replace('""', f'"{letter * (letters + 1)}"'))
            assert await client.closed() == 1009

    async def test_a_stored_event_of_any_size_is_shown(self) -> None:
        """The bound on a client's frames is none on the room's."""
        async with (
            serving(max_frame=200, queue_bytes=500) as (kit, endpoint),
            Client(endpoint) as client,
        ):
            await client.join()
            await kit.process_inbound(inbound("x" * 5000, "phone"), room_id=ROOM)
            await client.heard("x" * 5000)


class TestPace:
    """More frames than allowed are read later, and none is lost."""

    def test_the_bucket(self) -> None:
        """A burst, then one at a time; a pause fills it again."""
        clock = ManualClock()
        pace = Pace(10, 3, clock)
        assert [pace.take() for _ in range(3)] == [0.0, 0.0, 0.0]
        assert pace.take() == pytest.approx(0.1)

    async def test_it_fills_again(self) -> None:
        """But never above its size."""
        clock = ManualClock()
        pace = Pace(10, 2, clock)
        pace.take()
        await clock.advance(100)
        assert [pace.take() for _ in range(2)] == [0.0, 0.0]
        assert pace.take() == pytest.approx(0.1)

    async def test_a_client_that_hurries(self) -> None:
        """Its frames are read at the rate, by the clock given."""
        clock = ManualClock()
        options: dict[str, Any] = {"clock": clock, "frames_per_second": 2, "burst": 2}
        async with serving(**options) as (_, endpoint), Client(endpoint) as client:
            for _ in range(4):
                client.say("ping")
            pongs = lambda: len([f for f in client.frames if f["type"] == "pong"])  # noqa: E731
            await client.until(lambda: pongs() == 2)
            await clock.advance(0.4)
            assert pongs() == 2
            await clock.advance(0.2)
            await client.until(lambda: pongs() == 3)
            await clock.advance(1)
            await client.until(lambda: pongs() == 4)


class TestSlowClients:
    """A client that does not take what is sent is let go, and the others do not notice."""

    async def test_one_stalls_and_twenty_go_on(self) -> None:
        """The stalled one is closed with 1013 once its queue is full."""
        async with serving(queue_frames=50) as (kit, endpoint), AsyncExitStack() as stack:
            stalled = await stack.enter_async_context(Client(endpoint, "slow"))
            await stalled.join()
            others = [
                await stack.enter_async_context(Client(endpoint, f"p{n}")) for n in range(OTHERS)
            ]
            for other in others:
                await other.join()
            stalled.stall()
            bodies = [str(number) for number in range(200)]
            for body in bodies:
                await kit.process_inbound(inbound(body, "phone"), room_id=ROOM)
            for other in others:
                await other.heard(*bodies)
            stalled.let_go()
            assert await stalled.closed() == 1013
            await stalled.leave()
            assert endpoint.stats.too_slow == 1
            assert endpoint.stats.connections == OTHERS

    async def test_bytes_count_too(self) -> None:
        """A few long events fill the queue as many short ones do."""
        async with serving(queue_bytes=10_000) as (kit, endpoint), Client(endpoint) as client:
            await client.join()
            client.stall()
            for _ in range(5):
                await kit.process_inbound(inbound("x" * 5000, "phone"), room_id=ROOM)
            await kit.drain(5)
            client.let_go()
            assert await client.closed() == 1013

    async def test_one_send_has_its_time(self) -> None:
        """After ``send_timeout`` of the clock the client is let go, its queue being empty."""
        clock = ManualClock()
        async with (
            serving(clock=clock, send_timeout=3) as (kit, endpoint),
            Client(endpoint) as client,
        ):
            await client.join()
            client.sending.clear()
            client.stall()
            await kit.process_inbound(inbound("x", "phone"), room_id=ROOM)
            await client.sending.wait()
            await clock.advance(2.9)
            assert endpoint.stats.too_slow == 0
            await clock.advance(0.2)
            # The close frame, too, has only so much time.
            await clock.advance(2.1)
            await client.leave()
            assert endpoint.stats.too_slow == 1
            assert endpoint.stats.connections == 0

    async def test_a_slow_client_that_replays_is_waited_for(self) -> None:
        """Missed events are read as fast as they are taken: a long replay is no overflow."""
        async with serving(queue_frames=10) as (kit, endpoint), Client(endpoint) as client:
            for number in range(100):
                await kit.process_inbound(inbound(str(number), "phone"), room_id=ROOM)
            await client.next("ready")
            client.stall()
            client.say("join", room_id=ROOM, after=-1)
            await kit.drain(5)
            client.let_go()
            await client.next("ready", room_id=ROOM)
            assert client.texts() == [str(number) for number in range(100)]
            assert client.code is None

    async def test_ephemeral_events_are_left_out_first(self) -> None:
        """Typing is counted as dropped, and the client stays."""
        async with serving(queue_frames=10) as (kit, endpoint), Client(endpoint) as client:
            await client.join()
            client.sending.clear()
            client.stall()
            await kit.process_inbound(inbound("first", "phone"), room_id=ROOM)
            await client.sending.wait()
            for _ in range(50):
                await kit.publish_typing(ROOM, "bob")
            async with asyncio.timeout(5):
                while not endpoint.stats.dropped:  # noqa: ASYNC110 - the backend hands on
                    await asyncio.sleep(0)
            await kit.process_inbound(inbound("last", "phone"), room_id=ROOM)
            client.let_go()
            await client.heard("first", "last")
            assert client.code is None

    async def test_a_client_whose_server_fails(self) -> None:
        """It is gone; nothing more is sent to it."""
        async with serving() as (kit, endpoint), Client(endpoint) as client:
            await client.join()
            client.code = 1006
            await kit.process_inbound(inbound("x", "phone"), room_id=ROOM)
            await kit.drain(5)
            await client.leave()
            assert endpoint.stats.connections == 0
            assert endpoint.stats.too_slow == 0


class TestCounts:
    """How many connections and rooms there may be."""

    async def test_connections_of_all(self) -> None:
        """One too many may try again later."""
        async with serving(max_connections=2) as (_, endpoint), Client(endpoint, "a") as first:
            await first.next("ready")
            async with Client(endpoint, "b") as second:
                await second.next("ready")
                async with Client(endpoint, "c") as third:
                    assert await third.closed() == 1013
            async with Client(endpoint, "c") as third:
                await third.next("ready")

    async def test_connections_of_one(self) -> None:
        """Somebody's many tabs do not take the places of others."""
        async with serving(max_per_participant=1) as (_, endpoint), Client(endpoint) as first:
            await first.next("ready")
            async with Client(endpoint) as second, Client(endpoint, "bob") as bob:
                assert await second.closed() == 1013
                await bob.next("ready")

    async def test_rooms_of_one_client(self) -> None:
        """Leaving one makes room for another."""
        async with serving(max_rooms=1) as (kit, endpoint), Client(endpoint) as client:
            await kit.create_room("other")
            await kit.attach_channel("other", "web")
            await client.join()
            await client.join()
            client.say("join", room_id="other")
            assert (await client.next("error"))["code"] == "too_many_rooms"
            client.say("leave", room_id=ROOM)
            await client.join("other")


class TestTime:
    """Bounds run by the clock given."""

    async def test_within(self) -> None:
        """What is late is cancelled; what is in time is returned."""
        clock = ManualClock()

        async def soon() -> str:
            await clock.sleep(1)
            return "done"

        async def late() -> None:
            await clock.sleep(100)

        kept = asyncio.create_task(within(clock, 2, soon()))
        lost = asyncio.create_task(within(clock, 2, late()))
        await clock.advance(3)
        assert await kept == "done"
        with pytest.raises(TimeoutError):
            await lost


class TestLoad:
    """One stalled client among many costs the others nothing."""

    async def test_many_events_to_99_live_clients(self) -> None:
        """Everything arrives in order, and what waits for the stalled one is bounded."""
        started = time.monotonic()
        clock = ManualClock()  # else the good-bye may give up before the client listens again
        async with (
            serving(queue_frames=100, clock=clock) as (kit, endpoint),
            AsyncExitStack() as stack,
        ):
            stalled = await stack.enter_async_context(Client(endpoint, "slow"))
            await stalled.join()
            live = [await stack.enter_async_context(Client(endpoint, f"p{n}")) for n in range(99)]
            for client in live:
                await client.join()
            stalled.stall()
            for number in range(250):
                body = TextContent(body=f"{number:04d}" + "x" * 1020)
                await kit.send_event(ROOM, "phone", body)
            for client in live:
                await client.until(lambda client=client: len(client.events()) == 250)
                assert client.indexes() == sorted(client.indexes())
            stalled.let_go()
            assert await stalled.closed() == 1013
            assert len(stalled.frames) < 250
        assert time.monotonic() - started < 50
