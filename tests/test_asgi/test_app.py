"""The app as a whole: its life, its health, its place in other apps."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

import roomkit.asgi
from roomkit import RoomKit
from roomkit.asgi import AccessLogFilter, App, create_app
from roomkit.exceptions import ConfigurationError, KitClosedError, StoreUnavailableError
from roomkit.store.memory import InMemoryStore
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing import FaultStore, ManualClock, SimpleChannel
from tests.test_asgi._driver import ORIGIN, Answered, Client, http_scope
from tests.test_asgi._vendor import VendorChannel, VendorHandler, callback, message, sign, status
from tests.test_asgi.test_webhooks import said
from tests.test_durable._kits import until

if TYPE_CHECKING:
    from pathlib import Path


def in_two_parts(client: Client, go_on: asyncio.Event) -> asyncio.Task[Answered]:
    """Begin a webhook whose second half waits."""
    body = callback(message("in two parts"))
    return asyncio.create_task(
        client.request(
            "POST",
            "/webhooks/sms",
            headers=[("x-signature", sign(f"{ORIGIN}/webhooks/sms", body))],
            chunks=[body[:9], go_on.wait(), body[9:]],
        )
    )


class Server:
    """What a server does with lifespan."""

    def __init__(self, app: App) -> None:
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(
            app({"type": "lifespan"}, self._events.get, self._told.put)
        )

    async def say(self, word: str) -> dict[str, Any]:
        """Tell the app, and return what it says."""
        await self._events.put({"type": f"lifespan.{word}"})
        async with asyncio.timeout(20):
            return await self._told.get()


class TestLifespan:
    """A server starts and ends the app; who has no such server does it by hand."""

    async def test_a_server_starts_and_drains_the_kit(
        self, handler: VendorHandler, tmp_path: Path
    ) -> None:
        """After the end nothing more is taken, and what was is delivered."""
        kit = RoomKit(SQLiteStore(tmp_path / "kit.db"))
        heard = SimpleChannel("desk")
        kit.register_channel(VendorChannel("sms", handler))
        kit.register_channel(heard)
        app = create_app(kit)
        server = Server(app)
        assert await server.say("startup") == {"type": "lifespan.startup.complete"}
        assert (await kit.stats()).started
        await kit.create_room("r")
        await kit.attach_channel("r", "sms")
        await kit.attach_channel("r", "desk")
        assert (await Client(app).call(message("last words"))).status == 200
        await until(lambda: heard.delivered)
        assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
        await server.task
        assert (await Client(app).call(message("too late"))).status == 503
        with pytest.raises(KitClosedError):
            await kit.stats()

    @pytest.mark.parametrize(
        ("error", "told"),
        [(StoreUnavailableError("no disk"), "no disk"), (RuntimeError("hunter2"), "RuntimeError")],
        ids=lambda value: type(value).__name__,
    )
    async def test_a_start_that_fails_is_told_and_ends_the_server(
        self, error: Exception, told: str
    ) -> None:
        """Only our own texts are told: a foreign one may quote a secret."""
        store = FaultStore(InMemoryStore())
        store.fail_at(1, error, method="open")
        server = Server(create_app(RoomKit(store)))
        assert await server.say("startup") == {"type": "lifespan.startup.failed", "message": told}
        await server.task

    async def test_by_hand_it_is_the_same(self, kit: RoomKit) -> None:
        """For apps that are mounted in others."""
        app = create_app(kit)
        async with app.lifespan() as same:
            assert same is app
            assert (await Client(app).call(message())).status == 200
        assert app.draining
        await app.shutdown()
        with pytest.raises(ConfigurationError, match="shut down"):
            await app.startup()

    async def test_starting_again_does_nothing(self, kit: RoomKit) -> None:
        """Both the server and the program may do it."""
        app = create_app(kit)
        await asyncio.gather(app.startup(), app.startup())
        assert repr(app) == f"App({kit!r}, serving)"

    async def test_a_kit_of_somebody_else_is_left_open(self, kit: RoomKit) -> None:
        """``close_kit=False``: who made it closes it."""
        app = create_app(kit, close_kit=False)
        async with app.lifespan():
            await Client(app).call(message("before"))
        assert await said(kit) == ["before"]
        await kit.create_room("still open")

    async def test_the_end_waits_for_requests_in_hand(self, kit: RoomKit) -> None:
        """What began before the end is taken; what comes after is answered 503."""
        app = create_app(kit, close_kit=False)
        client, go_on = Client(app), asyncio.Event()
        request = in_two_parts(client, go_on)
        await asyncio.sleep(0)
        ending = asyncio.create_task(app.shutdown())
        await until(lambda: app.draining)
        refused = await client.call(message("too late"))
        assert (refused.status, int(refused.headers["retry-after"]) > 0) == (503, True)
        assert not ending.done()
        go_on.set()
        assert (await request).status == 200
        await ending
        assert await said(kit) == ["in two parts"]

    async def test_the_end_does_not_wait_for_ever(
        self, kit: RoomKit, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A request that does not end is refused, and its vendor comes again."""
        app = create_app(kit, drain_timeout=0.05)
        client, go_on = Client(app), asyncio.Event()
        request = in_two_parts(client, go_on)
        await asyncio.sleep(0)
        await app.shutdown()
        assert "1 requests did not end in time" in caplog.text
        go_on.set()
        assert (await request).status == 503

    async def test_a_cancelled_end_goes_on_when_called_again(self, kit: RoomKit) -> None:
        """Nothing is left half closed."""
        app = create_app(kit)
        client, go_on = Client(app), asyncio.Event()
        request = in_two_parts(client, go_on)
        await asyncio.sleep(0)
        ending = asyncio.create_task(app.shutdown())
        await until(lambda: app.draining)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        go_on.set()
        assert (await request).status == 200
        await app.shutdown()
        with pytest.raises(KitClosedError):
            await kit.stats()

    async def test_an_accepting_app_nobody_started_says_so(
        self, handler: VendorHandler, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its messages would wait without a word."""
        kit = RoomKit(SQLiteStore(tmp_path / "kit.db"))
        kit.register_channel(VendorChannel("sms", handler))
        client = Client(create_app(kit))
        assert (await client.call(message())).status == 200
        await until(lambda: "await app.startup()" in caplog.text)
        await kit.close()


class TestStatusesThatTakeTime:
    """Handlers of statuses are the program's; a vendor does not wait for slow ones."""

    async def test_the_end_waits_for_them(self, kit: RoomKit) -> None:
        """They belong to the app."""
        heard: list[str] = []
        go_on = asyncio.Event()

        @kit.on_delivery_status
        async def slow(status: Any) -> None:
            await go_on.wait()
            heard.append(status.message_id)

        app = create_app(kit)
        request = asyncio.create_task(Client(app).call(status("m1")))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        ending = asyncio.create_task(app.shutdown())
        await until(lambda: app.draining)
        go_on.set()
        await ending
        assert heard == ["m1"]


class TestHealth:
    """What supervisors and load balancers ask."""

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("what", ["live", "ready"])
    async def test_both_are_yes(self, client: Client, method: str, what: str) -> None:
        """HEAD says the same without a body."""
        answered = await client.request(method, f"/health/{what}")
        body = b'{"status": "%s"}' % what.encode()
        assert answered.status == 200
        assert answered.body == (body if method == "GET" else b"")
        assert answered.headers["content-length"] == str(len(body))
        assert answered.headers["cache-control"] == "no-store"

    async def test_another_method_is_405(self, client: Client) -> None:
        """Health is asked, not told."""
        answered = await client.request("POST", "/health/live")
        assert (answered.status, answered.headers["allow"]) == (405, "GET, HEAD")

    async def test_a_store_that_is_down_makes_it_unready_but_alive(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A restart would not help. The log says it once, and by kind."""
        clock = ManualClock()
        store = FaultStore(SQLiteStore(tmp_path / "kit.db"))
        async with RoomKit(store) as kit:
            client = Client(create_app(kit, clock=clock))
            assert (await client.get("/health/ready")).status == 200
            for number in range(2):
                await clock.advance(2)
                made = store.counts["work_stats"]
                store.fail_at(made + 1, StoreUnavailableError("gone"), method="work_stats")
                answered = await client.get("/health/ready")
                assert (answered.status, b"store" in answered.body) == (503, True), number
                assert (await client.get("/health/live")).status == 200
            assert caplog.text.count("not ready: StoreUnavailableError") == 1
            assert (await client.get("/health/ready")).status == 200

    async def test_asking_often_does_not_burden_the_store(self, tmp_path: Path) -> None:
        """An answer is good for a second."""
        clock = ManualClock()
        store = FaultStore(SQLiteStore(tmp_path / "kit.db"))
        async with RoomKit(store) as kit:
            client = Client(create_app(kit, clock=clock))
            await asyncio.gather(*(client.get("/health/ready") for _ in range(20)))
            assert store.counts["work_stats"] == 1
            await clock.advance(1)
            await client.get("/health/ready")
            assert store.counts["work_stats"] == 2

    async def test_a_durable_kit_nobody_started_is_not_ready(self, tmp_path: Path) -> None:
        """It would accept messages and leave them."""
        kit = RoomKit(SQLiteStore(tmp_path / "kit.db"))
        app = create_app(kit, clock=ManualClock())
        assert (await Client(app).get("/health/ready")).status == 503
        await kit.close()

    async def test_leaving_it_is_not_ready_and_still_serves(
        self, client: Client, app: App
    ) -> None:
        """So that a load balancer looks elsewhere before anything is refused."""
        app.leave()
        assert (await client.get("/health/ready")).status == 503
        assert (await client.call(message())).status == 200
        app.stop_accepting()
        assert (await client.call(message())).status == 503
        assert (await client.get("/health/live")).status == 200


class Router:
    """What frameworks do when an app is mounted in another: the shortest form of it."""

    def __init__(self, prefix: str, app: App, *, strips: bool) -> None:
        self._prefix, self._app, self._strips = prefix, app, strips

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        assert path.startswith(f"{self._prefix}/")
        inner = {**scope, "root_path": scope["root_path"] + self._prefix}
        if self._strips:
            inner["path"] = path[len(self._prefix) :]
        await self._app(inner, receive, send)


class TestMounting:
    """Below a path of another app everything is as it was."""

    @pytest.mark.parametrize("strips", [False, True], ids=["keeps the path", "takes it away"])
    async def test_every_route_works(self, kit: RoomKit, strips: bool) -> None:
        """Whatever the framework does to the path; lifespan does not come."""
        app = create_app(kit, public_url="https://x.example/chat")
        client = Client(Router("/chat", app, strips=strips))
        body = callback(message("mounted"))
        answered = await client.request(
            "POST",
            "/chat/webhooks/sms",
            body,
            headers=[("x-signature", sign("https://x.example/chat/webhooks/sms", body))],
        )
        assert answered.status == 200
        assert (await client.get("/chat/health/ready")).status == 200
        assert (await client.get("/chat/nothing")).status == 404
        assert await said(kit) == ["mounted"]

    async def test_a_prefix_that_only_looks_like_the_mount_is_not_it(self, kit: RoomKit) -> None:
        """``/chatter`` is not below ``/chat``."""
        client = Client(create_app(kit), root_path="/chat")
        assert (await client.get("/chatter/health/live")).status == 404


class TestProtocols:
    """What is neither HTTP nor a path of ours."""

    async def test_a_websocket_elsewhere_is_closed_before_it_opens(self, app: App) -> None:
        """Which the server tells as 403."""
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(one: Any) -> None:
            sent.append(one)

        scope = http_scope("GET", "/elsewhere") | {"type": "websocket"}
        await app(scope, receive, send)
        app.stop_accepting()
        await app(scope | {"path": "/ws/sms"}, receive, send)
        assert sent == [
            {"type": "websocket.close", "code": 1008},
            {"type": "websocket.close", "code": 1012},
        ]

    async def test_an_unknown_protocol_is_an_error(self, app: App) -> None:
        """A server that speaks it should know."""
        with pytest.raises(ConfigurationError, match="speak 'telnet'"):
            await app({"type": "telnet"}, None, None)  # type: ignore[arg-type]

    async def test_a_star_is_no_path(self, client: Client) -> None:
        """``OPTIONS *`` asks about the server as a whole."""
        answered = await client.request("OPTIONS", "/", scope={"path": "*", "raw_path": b"*"})
        assert answered.status == 404


class TestPackage:
    """What the package says it has."""

    def test_every_public_name_is_there(self) -> None:
        """And ``dir`` lists them."""
        assert set(roomkit.asgi.__all__) <= set(dir(roomkit.asgi))
        for name in roomkit.asgi.__all__:
            assert getattr(roomkit.asgi, name) is not None


class TestAccessLog:
    """A server's log shows no query, no token, no address."""

    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            (
                ("1.2.3.4:5", "GET", "/webhooks/sms?token=secret", "1.1", 200),
                ("-", "GET", "/webhooks/sms", "1.1", 200),
            ),
            (
                ("1.2.3.4:5", "POST", "/api/webhooks/sms/kind/secret?x=1", "1.1", 401),
                ("-", "POST", "/api/webhooks/sms/...", "1.1", 401),
            ),
            (("1.2.3.4:5", "/ws/web?access_token=secret"), ("-", "/ws/web")),
            (("/run/socket",), ("/run/socket",)),
            ((4711,), (4711,)),
            (("hunter", 2), ("hunter", 2)),
        ],
    )
    def test_lines_with_a_path_are_cleaned(
        self, args: tuple[Any, ...], expected: tuple[Any, ...]
    ) -> None:
        """All others stay as they are."""
        record = logging.LogRecord("uvicorn.access", 20, "", 0, "x", args, None)
        assert AccessLogFilter().filter(record)
        assert record.args == expected
