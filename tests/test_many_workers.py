"""examples/many_workers: several processes behind one address, on one PostgreSQL and one Redis."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect

from roomkit.simulators import TwilioSimulator
from roomkit.store.postgres import PostgresStore
from tests.support.programs import bytecode_folder, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from websockets.asyncio.client import ClientConnection

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "many_workers"
WORKER = FOLDER / "worker.py"
SECONDS = 25
TOKEN = "the clerk's token"


class Worker:
    """One process that serves.

    Attributes:
        process: The process.
        url: Where it serves.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""


class Workers:
    """Processes of the example on servers of a test.

    Args:
        variables: Their environment.

    Attributes:
        lines: What the workers have printed and logged, in order.
    """

    def __init__(self, variables: dict[str, str]) -> None:
        self._env = variables
        self._all: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self.lines: list[str] = []

    async def start(self) -> Worker:
        """Start one worker, and wait until it serves."""
        words = ("-m", "roomkit", "serve", "worker:make_app", "--port", "0")
        worker = Worker(await self._run(*words))
        self._all.append(worker.process)
        self._readers.append(asyncio.create_task(self._read(worker)))
        await self.until(lambda: bool(worker.url))
        return worker

    async def ask(self, *words: str) -> str:
        """Run one command; return what it printed."""
        process = await self._run(str(WORKER), *words)
        printed, _ = await process.communicate()
        assert process.returncode == 0, printed
        return printed.decode().strip()

    async def _run(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            *words,
            env=self._env,
            cwd=FOLDER,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def _read(self, worker: Worker) -> None:
        assert worker.process.stdout is not None
        async for line in worker.process.stdout:
            text = line.decode().rstrip()
            if found := re.search(r"RoomKit serves (http://\S+)", text):
                worker.url = found[1]
            self.lines.append(text)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    if holds():
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError("\n".join(self.lines)) from None

    async def close(self) -> None:
        """End every worker that still runs."""
        for process in self._all:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await asyncio.gather(*self._readers)

    def sent(self) -> list[str]:
        """Return the text messages the workers printed, in order."""
        return [
            line.partition(": ")[2] for line in self.lines if re.match(r"worker \d+: to", line)
        ]


class Clerk:
    """Somebody at the desk, connected to one worker."""

    def __init__(self, socket: ClientConnection, room_id: str) -> None:
        self._socket = socket
        self._room_id = room_id

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        await self._socket.send(json.dumps({"type": kind, "room_id": self._room_id, **fields}))

    async def next(self, kind: str) -> dict[str, Any]:
        """Return the next frame of a type."""
        async with asyncio.timeout(SECONDS):
            while True:
                frame: dict[str, Any] = json.loads(await self._socket.recv())
                if frame["type"] == kind:
                    return frame

    async def say(self, text: str) -> None:
        """Say something; return when it is stored."""
        await self.send("message", ref=text, content={"type": "text", "body": text})
        await self.next("ack")

    async def hears(self, text: str) -> None:
        """Wait until somebody has said something."""
        while (await self.next("event"))["event"]["content"].get("body") != text:
            pass


@asynccontextmanager
async def clerk(worker: Worker, room_id: str, after: int = -1) -> AsyncIterator[Clerk]:
    """Connect a clerk to a worker, and join a room."""
    url = worker.url.replace("http", "ws", 1) + "/ws/desk"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with connect(url, additional_headers=bearer) as socket:
        person = Clerk(socket, room_id)
        await person.send("join", after=after)
        yield person


@pytest.fixture
def variables(
    postgres_dsn: str,
    redis_url: str,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The environment of workers that print what they send."""
    bytecode = bytecode_folder(pytestconfig, tmp_path_factory)
    servers = {"DATABASE_URL": postgres_dsn, "REDIS_URL": redis_url, "CLERK_TOKEN": TOKEN}
    return {**environment(bytecode, "TWILIO", "PUBLIC_URL"), **servers}


@pytest.fixture
async def workers(variables: dict[str, str]) -> AsyncIterator[Workers]:
    """No workers yet."""
    workers = Workers(variables)
    yield workers
    await workers.close()


class TestManyWorkers:
    """Workers on one database, as processes of their own."""

    async def test_two_share_the_work_and_one_goes_on_alone(self, workers: Workers) -> None:
        """Each message is sent once; one worker is killed, the other told to end."""
        first, second = await asyncio.gather(workers.start(), workers.start())
        await workers.ask("open", "shop", "+15550100")
        async with clerk(second, "shop") as listener:
            async with clerk(first, "shop") as speaker:
                await speaker.say("number 0")
                await speaker.say("number 1")
            await listener.hears("number 1")
        await workers.ask("say", "shop", "number 2")
        await workers.until(lambda: len(workers.sent()) == 3)
        assert await workers.ask("stats") == "workers: 2, left to do: 0, dead letters: 0"
        first.process.kill()
        await first.process.wait()
        async with clerk(second, "shop") as speaker:
            await speaker.hears("number 2")
            await speaker.say("number 3")
        await workers.until(lambda: len(workers.sent()) == 4)
        assert workers.sent() == [f"to +15550100: number {n}" for n in range(4)]
        second.process.terminate()
        assert await second.process.wait() == 0

    async def test_a_webhook_is_taken_in_once_whichever_worker_it_reaches(
        self, variables: dict[str, str]
    ) -> None:
        """The vendor repeats itself at another worker; the answer goes out once."""
        async with TwilioSimulator() as twilio:
            names = {"auth_token": "AUTH_TOKEN", "from_number": "FROM"}
            account = {
                f"TWILIO_{names.get(name, name.upper())}": value
                for name, value in twilio.settings.items()
            }
            workers = Workers({**variables, **account})
            try:
                first, second = await asyncio.gather(workers.start(), workers.start())
                for worker in (first, second, first):
                    endpoint = f"{worker.url}/webhooks/sms"
                    answer = await twilio.receive(endpoint, text="Are you open?", message_id="SM1")
                    assert answer.status == 200
                forged = await twilio.receive(endpoint, text="Free money", token="wrong")
                assert forged.status == 401
                room_id = await self._only_room(variables["DATABASE_URL"])
                async with clerk(second, room_id) as person:
                    await person.hears("Are you open?")
                    await person.say("Until five.")
                await workers.until(lambda: len(twilio.sent) == 1)
                assert (twilio.sent[0].to, twilio.sent[0].text) == ("+14155550100", "Until five.")
                assert await workers.ask("stats") == "workers: 2, left to do: 0, dead letters: 0"
            finally:
                await workers.close()

    async def test_it_tells_a_balancer_whether_to_send_work(self, workers: Workers) -> None:
        """Ready while it serves; strangers get no socket."""
        worker = await workers.start()
        async with httpx.AsyncClient(base_url=worker.url) as client:
            assert (await client.get("/health/ready")).status_code == 200
        async with connect(worker.url.replace("http", "ws", 1) + "/ws/desk") as socket:
            await socket.send('{"type": "auth", "token": "wrong"}')
            async with asyncio.timeout(SECONDS):
                await socket.wait_closed()
            assert socket.close_code == 4401

    @staticmethod
    async def _only_room(dsn: str) -> str:
        async with PostgresStore(dsn) as store, asyncio.timeout(SECONDS):
            while True:
                if rooms := await store.list_rooms():
                    (room,) = rooms
                    return room.id
                await asyncio.sleep(0.02)


class TestWords:
    """The command line and the files beside the program."""

    @pytest.mark.parametrize("words", [[], ["sing"], ["say", "shop"]])
    def test_a_wrong_command_explains_itself(self, words: list[str]) -> None:
        """Nothing is connected to for a typing error."""
        done = subprocess.run(
            [sys.executable, "-W", "error", str(WORKER), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 2
        assert "python worker.py say ROOM TEXT" in done.stderr

    def test_the_compose_file_fits_the_program(self) -> None:
        """It sets what the program must have, and nothing the program does not know."""
        described = yaml.safe_load((FOLDER / "docker-compose.yml").read_text("utf-8"))
        services = described["services"]
        text = WORKER.read_text("utf-8")
        needed = set(re.findall(r'os\.environ\["(\w+)"\]', text))
        known = needed | set(re.findall(r'os\.environ\.get\("(\w+)"', text))
        assert needed == {"DATABASE_URL", "REDIS_URL"}
        for name in ("worker", "ask"):
            environment = services[name]["environment"]
            assert needed <= set(environment) <= known
            assert set(services[name]["depends_on"]) < set(services)
            for server in needed:
                assert re.search(r"//(?:\w+@)?(\w+):", environment[server])[1] in services
        assert {"database", "locks", "proxy"} < set(services)

    def test_the_proxy_asks_the_workers_what_they_answer(self) -> None:
        """It sends work to the port they serve, while they say that they are ready."""
        described = yaml.safe_load((FOLDER / "docker-compose.yml").read_text("utf-8"))
        command = described["services"]["worker"]["command"]
        port = command[command.index("--port") + 1]
        rules = described["configs"]["haproxy"]["content"]
        assert "option httpchk GET /health/ready" in rules
        assert re.search(rf"server-template worker \d+ worker:{port} check ", rules)
