"""The simulators' common part: a real socket, a record, scripted misfortune."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect

import roomkit.simulators
from roomkit.simulators import (
    SIMULATORS,
    SimReply,
    VendorSimulator,
    cut,
    error,
    not_json,
    ok,
    served,
    slow,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.simulators import SimRequest
    from roomkit.simulators._base import Step


class Echo(VendorSimulator):
    """Answers with what it was asked."""

    vendor = "echo"

    @property
    def settings(self) -> dict[str, Any]:
        return {"api_base": self.api_base}

    async def handle(self, request: SimRequest) -> SimReply:
        if request.path == "/events":
            return SimReply.of_events(self._events())
        if request.path == "/json":
            return SimReply.of_json(request.json)
        data = {"form": request.form, "pairs": request.form_pairs, "query": request.query}
        return SimReply.of_json(data, headers={"x-path": request.path})

    def failure(self, step: Step) -> SimReply:
        return SimReply.of_json({"code": step.code}, step.status)

    async def _events(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"data: %d\n\n" % number


@pytest.fixture
async def sim() -> AsyncIterator[Echo]:
    async with Echo() as sim:
        yield sim


@pytest.fixture
async def client(sim: Echo) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sim.api_base, timeout=10.0) as client:
        yield client


class TestServing:
    """Requests as they came, answers as they were given."""

    async def test_a_form(self, sim: Echo, client: httpx.AsyncClient) -> None:
        """Repeated and blank fields are kept, names decoded."""
        body = "b=1&a=caf%C3%A9&b=2&c="
        answer = await client.post("/x%20y?q=1", content=body)
        assert answer.headers["x-path"] == "/x y"
        assert answer.json()["form"] == {"b": ["1", "2"], "a": ["caf\u00e9"], "c": [""]}
        assert answer.json()["pairs"] == [["b", "1"], ["a", "caf\u00e9"], ["b", "2"], ["c", ""]]
        assert sim.requests[0].query == {"q": "1"}
        assert sim.requests[0].method == "POST"

    async def test_json_and_events(self, client: httpx.AsyncClient) -> None:
        """JSON goes both ways, events come one by one."""
        assert (await client.post("/json", json={"a": 1})).json() == {"a": 1}
        async with client.stream("GET", "/events") as answer:
            lines = [line async for line in answer.aiter_lines() if line]
        assert lines == ["data: 0", "data: 1", "data: 2"]

    async def test_its_representations_keep_quiet(
        self, sim: Echo, client: httpx.AsyncClient
    ) -> None:
        """A request's shows neither headers nor body."""
        await client.post("/x?token=canary", content="canary", headers={"x-key": "canary"})
        assert "canary" not in repr(sim.requests[0])

    async def test_not_running(self) -> None:
        """Without ``async with`` there is no address, and the error says what to do."""
        with pytest.raises(RuntimeError, match="async with"):
            _ = Echo().api_base

    async def test_several_and_again(self) -> None:
        """Two run side by side, and one may be started again."""
        first, second = Echo(), Echo()
        async with first, second:
            assert first.api_base != second.api_base
        async with first:
            assert (await first.post(first.api_base, b"", {})).status == 200

    async def test_a_port_in_use(self, sim: Echo) -> None:
        """It is an OSError, at once."""
        port = int(sim.api_base.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            async with Echo(port=port):
                pass


class TestScripts:
    """Misfortune, one request at a time."""

    async def test_steps_in_order(self, client: httpx.AsyncClient, sim: Echo) -> None:
        """Each request takes one step; afterwards all is as usual."""
        sim.script(error(429, code="busy"), ok(), not_json())
        answers = [await client.get("/") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [429, 200, 200, 200]
        assert answers[0].json() == {"code": "busy"}
        assert answers[2].text.startswith("<html>")
        assert answers[3].json()

    async def test_a_cut(self, client: httpx.AsyncClient, sim: Echo) -> None:
        """The request is carried out, the answer breaks off."""
        sim.script(cut())
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
        assert len(sim.requests) == 1

    async def test_slow_ends_with_the_simulator(self) -> None:
        """A slow answer does not hold up the end."""
        async with Echo() as sim:
            sim.script(slow(3600))
            asking = asyncio.create_task(sim.post(sim.api_base, b"", {}))
            await sim.arrived()
        assert (await asking).status == 200

    async def test_reset(self, client: httpx.AsyncClient, sim: Echo) -> None:
        """Nothing is left of requests and scripts."""
        sim.script(error(500))
        sim.reset()
        assert (await client.get("/")).status_code == 200
        assert len(sim.requests) == 1

    async def test_nothing_arrives(self, sim: Echo) -> None:
        """Waiting for a request has a bound."""
        with pytest.raises(TimeoutError):
            await sim.arrived(timeout=0.01)


class Visited:
    """An ASGI app that notes what it is told.

    Attributes:
        told: Kinds of scopes, and what lifespan said, in order.
        held: A request to ``/slow`` waits for this.
        waiting: Set when such a request has come.
    """

    def __init__(self, *, starts: bool = True) -> None:
        self.told: list[str] = []
        self.held = asyncio.Event()
        self.waiting = asyncio.Event()
        self._starts = starts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 200 with an empty body; echo the frames of a WebSocket."""
        self.told.append(scope["type"])
        await getattr(self, scope["type"])(scope, receive, send)

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        """Start and end, or refuse to start."""
        for what in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{what}"
            self.told.append(what)
            done = "complete" if self._starts else "failed"
            await send({"type": f"lifespan.{what}.{done}"})
            if not self._starts:
                return

    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, at once or when it is time."""
        if scope["path"] == "/slow":
            self.waiting.set()
            await self.held.wait()
            self.told.append("late")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def websocket(self, scope: Any, receive: Any, send: Any) -> None:
        """Say everything back until the other side, or the server, ends it."""
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if "text" in message:
                await send({"type": "websocket.send", "text": message["text"]})
        self.told.append("left")


class TestServed:
    """``served``: any app behind a URL of this machine."""

    async def test_the_apps_life(self) -> None:
        """It starts before the first request and is told of its end after the last."""
        app = Visited()
        async with served(app) as url, httpx.AsyncClient() as client:
            assert url.startswith("http://127.0.0.1:")
            assert (await client.get(url)).status_code == 200
            assert app.told == ["lifespan", "startup", "http"]
        assert app.told[-1] == "shutdown"
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(url)

    async def test_an_app_without_lifespan(self) -> None:
        """It is served all the same."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            await Visited().http(scope, receive, send)

        async with served(app) as url, httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 200

    async def test_an_app_that_does_not_start(self) -> None:
        """It is a RuntimeError, and the program goes on."""
        with pytest.raises(RuntimeError, match="did not start"):
            async with served(Visited(starts=False)):
                pytest.fail("it was served")

    async def test_a_socket(self) -> None:
        """WebSockets work, and one that is still open ends with the server."""
        app = Visited()
        async with served(app) as url:
            socket = await connect(url.replace("http", "ws", 1))
            await socket.send("hello")
            assert await socket.recv() == "hello"
        await socket.wait_closed()
        assert app.told[-2:] == ["left", "shutdown"]
        await socket.close()

    async def test_a_request_in_hand(self) -> None:
        """It is answered before the app is told that it ends."""
        app = Visited()
        async with httpx.AsyncClient(timeout=10.0) as client:
            async with served(app) as url:
                asking = asyncio.create_task(client.get(f"{url}/slow"))
                await app.waiting.wait()
                asyncio.get_running_loop().call_soon(app.held.set)
            assert (await asking).status_code == 200
        assert app.told[-2:] == ["late", "shutdown"]

    async def test_signals_are_left_alone(self) -> None:
        """Who handled them before still does."""
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        async with served(Visited()):
            now = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        assert now == before

    async def test_a_port_of_ones_own(self, sim: Echo) -> None:
        """It is taken when it is free; a taken one is an OSError, at once."""
        async with served(Visited()) as url:
            port = int(url.rpartition(":")[2])
        async with served(Visited(), port=port) as again:
            assert again == url
        with pytest.raises(OSError, match="in use"):
            async with served(Visited(), port=int(sim.api_base.rpartition(":")[2])):
                pytest.fail("it was served")

    async def test_a_failure_passes(self) -> None:
        """What the block raises comes out of it, after the app has ended."""
        app = Visited()
        with pytest.raises(LookupError):
            async with served(app):
                raise LookupError
        assert app.told[-1] == "shutdown"


class TestPackage:
    """The names, the fixtures and the command."""

    @pytest.mark.parametrize("vendor", sorted(SIMULATORS))
    async def test_every_simulator(self, vendor: str) -> None:
        """It runs, says its vendor, and its settings lead to it."""
        kind = getattr(roomkit.simulators, SIMULATORS[vendor])
        async with kind() as sim:
            assert sim.vendor == vendor
            assert sim.settings["api_base"] == sim.api_base

    async def test_fixtures(self, request: pytest.FixtureRequest) -> None:
        """Each vendor has a fixture, found through the entry point."""
        manager = request.session.config.pluginmanager
        plugin = manager.get_plugin("roomkit")
        assert plugin is not None
        assert all(hasattr(plugin, f"{vendor}_simulator") for vendor in SIMULATORS)

    async def test_a_fixture(self, twilio_simulator: VendorSimulator) -> None:
        """It is running."""
        assert twilio_simulator.api_base.startswith("http://127.0.0.1:")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_command(self, number: signal.Signals) -> None:
        """It prints the settings as JSON, answers, and ends with 0 when told to."""
        command = [sys.executable, "-m", "roomkit", "sim", "twilio", "--json"]
        env = {**os.environ, "PYTHONWARNINGS": "error"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            assert said["vendor"] == "twilio"
            answer = httpx.get(said["settings"]["api_base"], timeout=10.0)
            assert answer.status_code >= 400
            process.send_signal(number)
            assert process.wait(timeout=10) == 0

    def test_the_command_called_wrongly(self) -> None:
        """An unknown vendor and an impossible port are usage errors."""
        for arguments in (["nobody"], ["twilio", "--port", "70000"]):
            command = [sys.executable, "-m", "roomkit", "sim", *arguments]
            done = subprocess.run(command, capture_output=True, timeout=20)
            assert done.returncode == 2
