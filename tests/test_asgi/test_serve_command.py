"""`roomkit serve` as a process of its own."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from roomkit import RoomKit
from roomkit.cli import main
from roomkit.store.sqlite import SQLiteStore
from roomkit.testing.invariants import assert_invariants
from tests.test_asgi._served import TOKEN
from tests.test_asgi._vendor import VendorChannel, callback, message, sign
from tests.test_asgi.test_webhooks import said
from tests.test_durable._kits import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]
SERVED = "tests.test_asgi._served"
PATIENCE = 40.0


class Served:
    """A running `roomkit serve`.

    Attributes:
        process: The process.
        base: Its URL.
        lines: What it wrote to standard error, so far.
    """

    def __init__(self, process: asyncio.subprocess.Process, base: str) -> None:
        self.process = process
        self.base = base
        self.lines: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode())

    async def ended(self) -> int:
        """Wait for the end; return the exit code."""
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
            await self._reader
        return code

    async def close(self) -> None:
        """End the process if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self._reader


async def run(*words: str, **env: str) -> asyncio.subprocess.Process:
    """Start the command."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        "roomkit",
        "serve",
        *words,
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def serving(*words: str, **env: str) -> AsyncIterator[Served]:
    """Serve, on a free port; give what runs."""
    process = await run(*words, "--port", "0", **env)
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        said_first = (await process.stdout.readline()).decode()
    found = re.match(r"RoomKit serves (http://127\.0\.0\.1:\d+)\n$", said_first)
    if found is None:
        _, errors = await process.communicate()
        pytest.fail(f"not served: {said_first}{errors.decode()}")
    served = Served(process, found[1])
    try:
        yield served
    finally:
        await served.close()


async def failure(*words: str, **env: str) -> tuple[int | None, str]:
    """Run a command that cannot serve; return its exit code and what it says."""
    process = await run(*words, **env)
    async with asyncio.timeout(PATIENCE):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


class TestServing:
    """A kit, an app or what makes one."""

    @pytest.mark.parametrize("attribute", ["kit", "app", "make"])
    async def test_it_serves_until_it_is_told_to_end(self, attribute: str) -> None:
        """And answers 0 then, without a word of trouble."""
        async with serving(f"{SERVED}:{attribute}") as served, httpx.AsyncClient() as client:
            url = f"{served.base}/webhooks/sms"
            body = callback(message())
            headers = {"x-signature": sign(url, body)}
            assert (await client.post(url, content=body, headers=headers)).status_code == 200
            assert (await client.get(f"{served.base}/health/ready")).status_code == 200
            served.process.send_signal(signal.SIGINT)
            assert await served.ended() == 0
        log = "".join(served.lines)
        assert "POST /webhooks/sms HTTP/1.1" in log
        assert "Traceback" not in log
        assert "ERROR" not in log

    async def test_the_public_url_is_what_signatures_cover(self) -> None:
        """As vendors see it, whatever is in front."""
        public = "https://hooks.example.org"
        words = (f"{SERVED}:kit", "--public-url", public, "--no-access-log")
        async with serving(*words) as served, httpx.AsyncClient() as client:
            body = callback(message())
            for base, expected in ((public, 200), (served.base, 401)):
                headers = {"x-signature": sign(f"{base}/webhooks/sms", body)}
                answered = await client.post(
                    f"{served.base}/webhooks/sms", content=body, headers=headers
                )
                assert answered.status_code == expected
            served.process.terminate()
            assert await served.ended() == 0
        assert "POST" not in "".join(served.lines)

    async def test_no_token_or_query_is_logged(self) -> None:
        """At the most talkative level."""
        words = (f"{SERVED}:app", "--log-level", "debug")
        async with serving(*words) as served, httpx.AsyncClient() as client:
            base = f"{served.base}/webhooks/quiet"
            body = callback(message("quiet words"))
            for url in (f"{base}?token={TOKEN}", f"{base}/{TOKEN}"):
                assert (await client.post(url, content=body)).status_code == 200
            assert (await client.post(f"{base}?token=not-it", content=body)).status_code == 401
            served.process.terminate()
            assert await served.ended() == 0
        log = "".join(served.lines)
        assert "POST /webhooks/quiet/... HTTP/1.1" in log
        assert all(word not in log for word in (TOKEN, "not-it", "quiet words", "+15550100"))

    async def test_leaving_it_goes_on_serving_for_a_while(self) -> None:
        """Not ready any more for load balancers; a second signal ends the while."""
        words = (f"{SERVED}:app", "--leave-for", "600")
        async with serving(*words) as served, httpx.AsyncClient() as client:
            served.process.terminate()

            async def leaving() -> bool:
                answered = await client.get(f"{served.base}/health/ready")
                return answered.status_code == 503

            await until(leaving)
            url = f"{served.base}/webhooks/quiet?token={TOKEN}"
            assert (await client.post(url, content=callback(message()))).status_code == 200
            served.process.terminate()
            assert await served.ended() == 0

    async def test_a_second_signal_cuts_the_end_short(self) -> None:
        """It answers 1, and what a durable store keeps goes on later."""
        async with serving(f"{SERVED}:make") as served, httpx.AsyncClient() as client:
            url = f"{served.base}/webhooks/sms"
            body = callback(message("forever"))
            headers = {"x-signature": sign(url, body)}
            call = asyncio.create_task(
                client.post(url, content=body, headers=headers, timeout=PATIENCE)
            )
            await until(lambda: "the gate waits" in "".join(served.lines))
            served.process.terminate()
            await until(lambda: "Waiting for" in "".join(served.lines))
            served.process.terminate()
            assert await served.ended() == 1
            await asyncio.gather(call, return_exceptions=True)
        assert "cut short" in "".join(served.lines)


class TestEndingUnderLoad:
    """A signal while webhooks come in, each of them twice."""

    @pytest.mark.parametrize(
        ("sent_signal", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
    )
    async def test_what_was_acknowledged_is_stored_once(
        self, tmp_path: Path, sent_signal: signal.Signals, code: int
    ) -> None:
        """Told to end or killed: what was answered 200 is there, and nothing twice."""
        path = str(tmp_path / "kit.db")
        acknowledged: set[str] = set()
        sent: set[str] = set()
        async with serving(f"{SERVED}:app", SERVED_DB=path) as served:
            vendors = [
                asyncio.create_task(_send_until_refused(served.base, vendor, sent, acknowledged))
                for vendor in range(8)
            ]
            await until(lambda: len(acknowledged) >= 100)
            served.process.send_signal(sent_signal)
            await asyncio.gather(*vendors)
            assert await served.ended() == code
            assert "Traceback" not in "".join(served.lines)
        unsure = sent - acknowledged
        kit = RoomKit(SQLiteStore(path))
        kit.register_channel(VendorChannel("sms"))
        async with kit:

            async def settled() -> bool:
                return (await kit.stats()).inbox.depth == 0

            await until(settled)
            stored = await said(kit)
            await assert_invariants(kit.store)
        assert acknowledged <= set(stored)
        assert set(stored) - acknowledged <= unsure
        assert len(stored) == len(set(stored))


async def _send_until_refused(
    base: str, vendor: int, sent: set[str], acknowledged: set[str]
) -> None:
    """Send one message after the other, each twice, until the server is gone."""
    url = f"{base}/webhooks/sms"
    async with httpx.AsyncClient() as client:
        for number in range(100_000):
            text = f"{vendor}-{number}"
            body = callback(message(text, id=text, **{"from": f"+1555010{vendor}"}))
            headers = {"x-signature": sign(url, body)}
            sent.add(text)
            for _ in range(2):
                try:
                    answered = await client.post(url, content=body, headers=headers)
                except httpx.TransportError:
                    return
                if answered.status_code == 503:
                    return
                assert answered.status_code == 200
                acknowledged.add(text)


class TestInThisProcess:
    """The same, called as a function."""

    @pytest.mark.parametrize("options", [(), ("--leave-for", "600")], ids=["", "leaving"])
    def test_it_answers_0_when_told_to_end(
        self, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
    ) -> None:
        """Signals come to the main thread, whoever sends them; a second one ends the wait."""
        out = Listening()
        monkeypatch.setattr(sys, "stdout", out)
        health: list[int] = []

        def visit() -> None:
            if not out.heard.wait(PATIENCE):
                return
            base = out.getvalue().split()[-1]
            for number in range(1 + len(options) // 2):
                health.append(httpx.get(f"{base}/health/ready").status_code)
                os.kill(os.getpid(), signal.SIGTERM)
                while not number and options and httpx.get(f"{base}/health/ready").is_success:
                    pass

        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            assert main(["serve", f"{SERVED}:make", "--port", "0", *options]) == 0
        finally:
            visitor.join()
        assert health == ([200, 503] if options else [200])


class Listening(io.StringIO):
    """A standard output that tells when a line is there.

    Attributes:
        heard: Set then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def flush(self) -> None:
        if self.getvalue().endswith("\n"):
            self.heard.set()


class TestRefusing:
    """What cannot be served is told in one line."""

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["served"], "MODULE:ATTRIBUTE"),
            ([":kit"], "MODULE:ATTRIBUTE"),
            (["no_such_module_at_all:kit"], "no module 'no_such_module_at_all'"),
            ([f"{SERVED}:nothing"], "has no 'nothing'"),
            ([f"{SERVED}:number"], "neither a RoomKit nor"),
            ([f"{SERVED}:app", "--public-url", "https://x.example"], "create_app"),
            ([f"{SERVED}:build", "--public-url", "x.example"], "public_url must be"),
            ([f"{SERVED}:kit", "--port", "70000"], "from 0 to 65535"),
            ([f"{SERVED}:kit", "--port", "http"], "not a number"),
            ([f"{SERVED}:kit", "--host", "no.such.host.invalid"], "cannot listen on no.such"),
            ([f"{SERVED}:broken", "--port", "0"], "roomkit serve: "),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_with_exit_code_2(
        self, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """On standard error; nothing is served before."""
        assert main(["serve", *words]) == 2
        out, errors = capsys.readouterr()
        assert (out, told in errors) == ("", True), errors

    def test_a_port_that_is_taken(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Named, with what to do about it."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert main(["serve", f"{SERVED}:kit", "--port", port]) == 2
        assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err

    async def test_a_process_tells_it_without_a_traceback(self) -> None:
        """One line of its own, at the end."""
        code, errors = await failure(f"{SERVED}:broken", "--port", "0", "--log-level", "warning")
        assert (code, errors.count("\n")) == (2, 1), errors
        assert errors.startswith("roomkit serve: the database")

    async def test_an_error_of_the_program_is_told_in_full(self, tmp_path: Path) -> None:
        """It is the program's: its author wants the whole story."""
        (tmp_path / "shop.py").write_text("import no_such_module_at_all\n", encoding="utf-8")
        code, errors = await failure("shop:kit", PYTHONPATH=str(tmp_path))
        assert (code, "no_such_module_at_all" in errors) == (1, True)
        assert "Traceback" in errors

    def test_without_uvicorn_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The name of the extra, and the line that brings it."""
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        assert main(["serve", "shop:kit"]) == 2
        told: Any = capsys.readouterr().err
        assert "uvicorn is required for roomkit serve" in told
        assert "pip install 'roomkit[serve]'" in told

    def test_its_help_tells_what_is_served(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Routes, signals and exit codes too."""
        assert main(["serve", "--help"]) == 0
        told = capsys.readouterr().out
        for word in ("/webhooks/CHANNEL", "/ws/CHANNEL", "/health/ready", "SIGTERM", "exit codes"):
            assert word in told
