"""Bodies: bounded in length, in time and in number; clients may leave at any moment."""

from __future__ import annotations

import asyncio
import logging
import threading
import tracemalloc
from itertools import repeat
from operator import length_hint
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import HookResult, HookTrigger, RoomKit
from roomkit.asgi import create_app
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import ManualClock
from tests.test_asgi._driver import ORIGIN, Client
from tests.test_asgi._vendor import MailHandler, VendorChannel, callback, message, sign
from tests.test_asgi.test_webhooks import said
from tests.test_durable._kits import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.test_asgi._vendor import VendorHandler

KIB = 1024


def signed(body: bytes) -> list[tuple[str, str]]:
    """Return the headers of a body the vendor signed."""
    return [("x-signature", sign(f"{ORIGIN}/webhooks/sms", body))]


def pieces(body: bytes, size: int) -> list[bytes]:
    """Return a body in pieces."""
    return [body[at : at + size] for at in range(0, len(body), size)]


class TestLength:
    """A body has a length it must not pass, whatever it says of itself."""

    @pytest.fixture
    def client(self, kit: RoomKit) -> Client:
        """A client of an app that takes 1,000 bytes."""
        return Client(create_app(kit, max_body=1000))

    @pytest.mark.parametrize(("size", "expected"), [(1000, 400), (1001, 413)])
    async def test_the_limit_holds_while_reading(
        self, client: Client, size: int, expected: int
    ) -> None:
        """In one piece or in many; 400 means it was read, believed and found to be no list."""
        body = b"x" * size
        for chunks in (None, pieces(body, 7)):
            answered = await client.request(
                "POST", "/webhooks/sms", body, headers=signed(body), chunks=chunks
            )
            assert answered.status == expected

    async def test_a_body_a_little_too_long_is_read_to_its_end(self, client: Client) -> None:
        """So that the client is there to read the answer, and the connection lives on."""
        answered = await client.request("POST", "/webhooks/sms", chunks=pieces(b"x" * 1500, 100))
        assert (answered.status, "connection" in answered.headers) == (413, False)

    async def test_a_body_far_too_long_ends_the_connection(self, client: Client) -> None:
        """Reading on has a bound as well."""
        endless = repeat(b"x" * 100, 1000)
        answered = await client.request("POST", "/webhooks/sms", chunks=endless)
        assert (answered.status, answered.headers["connection"]) == (413, "close")
        assert length_hint(endless) > 900

    @pytest.mark.parametrize(
        ("length", "expected"),
        [("2001", 413), ("9" * 18, 413), ("9" * 5000, 400), ("-1", 400), ("x", 400), ("٣", 400)],
    )
    async def test_a_length_that_cannot_be_is_refused_before_reading(
        self, client: Client, length: str, expected: int
    ) -> None:
        """Nothing of the body is asked for: the client leaving at once is not noticed."""
        scope = {"headers": [(b"host", b"h"), (b"content-length", length.encode())]}
        answered = await client.request("POST", "/webhooks/sms", chunks=[None], scope=scope)
        assert (answered.status, answered.headers["connection"]) == (expected, "close")

    async def test_http_2_gets_no_connection_header(self, client: Client) -> None:
        """It has none."""
        scope = {"http_version": "2", "headers": [(b"content-length", b"9999999")]}
        answered = await client.request("POST", "/webhooks/sms", scope=scope)
        assert (answered.status, "connection" in answered.headers) == (413, False)

    async def test_a_channel_of_mail_has_a_limit_of_its_own(self, kit: RoomKit) -> None:
        """Its handler names it; the app's does not count then."""
        kit.register_channel(VendorChannel("mail", MailHandler()))
        client = Client(create_app(kit, max_body=1000))
        headers = [("content-type", "application/json")]
        for size, expected in ((5000, 401), (5001, 413)):
            answered = await client.request("POST", "/webhooks/mail", b"x" * size, headers=headers)
            assert answered.status == expected


class TestTime:
    """A body has a time it must not pass."""

    async def test_a_slow_body_is_answered_408(self, kit: RoomKit) -> None:
        """The time is for all of it: a byte now and then does not help."""
        client = Client(create_app(kit, body_timeout=0.05))
        loop = asyncio.get_running_loop()
        began = loop.time()
        drops = [asyncio.sleep(0.02) if n % 2 else b"x" for n in range(1001)]
        answered = await client.request("POST", "/webhooks/sms", chunks=drops)
        for drop in drops:
            if asyncio.iscoroutine(drop):
                drop.close()
        assert (answered.status, answered.headers["connection"]) == (408, "close")
        assert loop.time() - began < 5

    async def test_the_time_is_for_the_body_alone(self, kit: RoomKit) -> None:
        """Gates may take longer."""
        gate = asyncio.Event()

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def slow(event: Any, context: Any) -> HookResult:
            asyncio.get_running_loop().call_later(0.15, gate.set)
            await gate.wait()
            return HookResult.allow()

        client = Client(create_app(kit, body_timeout=0.05))
        assert (await client.call(message("waited"))).status == 200


class TestLeaving:
    """A client that leaves has said nothing."""

    @pytest.mark.parametrize("parts", [0, 1])
    async def test_half_a_body_is_dropped_with_a_log_line(
        self, client: Client, kit: RoomKit, caplog: pytest.LogCaptureFixture, parts: int
    ) -> None:
        """No answer, no message, no word of it in the log."""
        caplog.set_level(logging.INFO)
        body = callback(message("half a word"))
        answered = await client.request(
            "POST", "/webhooks/sms", headers=signed(body), chunks=[*[body[:20]] * parts, None]
        )
        assert answered.status == 0
        assert await said(kit) == []
        assert "a client left" in caplog.text
        assert "half" not in caplog.text

    async def test_nobody_to_hear_the_answer_is_no_error(
        self, kit: RoomKit, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was whole is kept."""
        app = create_app(kit)
        body = callback(message("kept"))

        async def deaf(scope: Any, receive: Any, send: Any) -> None:
            async def refuse(_: Any) -> None:
                raise BrokenPipeError

            await app(scope, receive, refuse)

        await Client(deaf).request("POST", "/webhooks/sms", body, headers=signed(body))
        assert await said(kit) == ["kept"]
        assert caplog.text == ""

    async def test_a_cancelled_request_frees_what_it_held(self, kit: RoomKit) -> None:
        """A server may end a request at any time."""
        app = create_app(kit, max_requests=1)
        client = Client(app)
        never = asyncio.Event()
        request = asyncio.create_task(
            client.request("POST", "/webhooks/sms", chunks=[b"x" * 100, never.wait()])
        )
        await until(lambda: _is_full(client))
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await client.call(message())).status == 200


async def _is_full(client: Client) -> bool:
    return (await client.get("/webhooks/sms")).status == 429


class TestNumber:
    """What comes at once is bounded too."""

    async def test_more_requests_than_allowed_are_answered_429(self, kit: RoomKit) -> None:
        """With a time to come again; the others go on."""
        client = Client(create_app(kit, max_requests=3))
        go_on = asyncio.Event()
        body = callback(message("patient"))
        waiting = [
            asyncio.create_task(
                client.request(
                    "POST",
                    "/webhooks/sms",
                    headers=signed(body),
                    chunks=[body[:5], go_on.wait(), body[5:]],
                )
            )
            for _ in range(3)
        ]
        await until(lambda: _is_full(client))
        refused = await client.call(message("too much"))
        assert (refused.status, int(refused.headers["retry-after"]) > 0) == (429, True)
        go_on.set()
        assert [answered.status for answered in await asyncio.gather(*waiting)] == [200] * 3
        assert await said(kit) == ["patient"]

    async def test_more_bytes_than_allowed_are_answered_429(self, kit: RoomKit) -> None:
        """Counted over all bodies in hand, as they are read."""
        client = Client(create_app(kit, max_memory=1500))
        go_on = asyncio.Event()
        first = asyncio.create_task(
            client.request("POST", "/webhooks/sms", chunks=[b"x" * 1000, go_on.wait(), b""])
        )
        await until(lambda: _lacks_memory(client))
        assert (await client.request("POST", "/webhooks/sms", b"x" * 100)).status == 401
        go_on.set()
        assert (await first).status == 401
        assert (await client.request("POST", "/webhooks/sms", b"x" * 1400)).status == 401

    async def test_a_backlog_is_answered_429_until_it_is_gone(
        self, handler: VendorHandler, tmp_path: Path
    ) -> None:
        """The inbox of a kit nobody started only grows."""
        clock = ManualClock()
        kit = RoomKit(SQLiteStore(tmp_path / "kit.db"))
        kit.register_channel(VendorChannel("sms", handler))
        client = Client(create_app(kit, max_backlog=3, clock=clock))
        for number in range(3):
            assert (await client.call(message(f"number {number}"))).status == 200
        await clock.advance(2)
        # What is known of the backlog is renewed beside the requests.
        await until(lambda: _is_refused(client, "known"))
        await kit.start()
        await until(lambda: _waits_for_nothing(kit))
        await clock.advance(2)
        await until(lambda: _is_accepted(client, "late"))
        await kit.close()

    async def test_tiny_pieces_cost_no_more_than_long_ones(
        self, kit: RoomKit, handler: VendorHandler
    ) -> None:
        """What is kept are the bytes, not the pieces they came in."""
        client = Client(create_app(kit))
        await client.request("POST", "/webhooks/sms", chunks=repeat(b"x", 10))
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await client.request("POST", "/webhooks/sms", chunks=repeat(b"x", 256 * KIB))
            handler.seen.clear()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak - before < 1000 * KIB
        assert after - before < 64 * KIB


async def _lacks_memory(client: Client) -> bool:
    return (await client.request("POST", "/webhooks/sms", b"x" * 600)).status == 429


async def _is_refused(client: Client, text: str) -> bool:
    return (await client.call(message(text))).status == 429


async def _is_accepted(client: Client, text: str) -> bool:
    return (await client.call(message(text))).status == 200


async def _waits_for_nothing(kit: RoomKit) -> bool:
    return (await kit.stats()).inbox.depth == 0


class TestReading:
    """Taking a body apart may take long."""

    async def test_a_long_body_is_read_beside_the_loop(
        self, kit: RoomKit, handler: VendorHandler
    ) -> None:
        """In a thread, so that others need not wait; a short one at once."""
        threads: list[bool] = []

        class Noting(type(handler)):  # type: ignore[misc]
            def read(self, request: Any) -> Any:
                threads.append(threading.current_thread() is threading.main_thread())
                return super().read(request)

        kit.register_channel(VendorChannel("sms", Noting()))
        client = Client(create_app(kit))
        for text in ("short", "l" * 300 * KIB):
            assert (await client.call(message(text))).status == 200
        assert threads == [True, False]
