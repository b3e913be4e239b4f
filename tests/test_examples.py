"""Every example runs offline, ends by itself and prints what its text says it shows."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
WORKER = EXAMPLES / "many_workers" / "worker.py"
SECONDS = 50

OUTCOMES = {
    "ai_anthropic": [
        "called: opening_hours {'day': 'Monday'}",
        "answer: On Monday we open at nine.",
    ],
    "ai_gemini": ["called: stock {'shoe': 'red sneaker'}", "in pieces: True"],
    "ai_pydantic": [
        "inside the agent: find_order A-17",
        "in the room: refund A-17",
        "answer: Your order A-17 (lost in the mail) is refunded.",
    ],
    "ai_openai": [
        "attempt 1: 429 rate_limit_exceeded",
        "answer: We open at nine.",
        "in pieces: True",
    ],
    "ai_vllm": [
        "browser: When do you open?",
        "browser: We open at nine.",
        "telephone: We open at nine.",
    ],
    "ai_tools_function_calling": [
        'weather -> {"city": "Brest", "sky": "clear"}',
        "tides -> the tool failed (LookupError)",
        "answer: The sky over Brest is clear; I have no tides.",
    ],
    "channel_mute_unmute": [
        "the browser saw: Answer 1, Answer 3",
        "the model was asked 3 times",
    ],
    "circuit_breaker_retry": ["retry: sent after 3 attempts", "then the probe was sent"],
    "composite_messages": ["browser: text, media, location", "[Location: Harbour (43.29, 5.37)]"],
    "custom_identity_resolver": ["unknown number: identity_challenge_sent", "-> +15550199"],
    "delivery_status_webhook": ["heard: delivered, sent", "stored: delivered"],
    "demo": [
        "carol: This is about another order.",
        "9  blocked    alice      My password is hunter2.  [by moderation]",
        "10  delivered  carol      Charge [card number] please.",
        "checks passed.",
    ],
    "durable_sqlite": [
        "sent after the crash: We open at nine.",
        "the model was asked again: False",
        "the webhook came twice, duplicate: True",
        "on the timeline: When do you open? / We open at nine.",
        "dead letter: deliver sms unknown_number",
        "left to do: 0 dead: 0",
    ],
    "email_elasticemail": [
        "accepted: True",
        "file: text/csv 17",
        "later: failed NoMailbox",
        "refused: Incorrect apikey",
    ],
    "email_sendgrid": [
        "to ana@example.org: We open at nine.",
        "event: delivered",
        "in thread 1@example.org: Thank you!",
        "rooms: 1",
        "without the token: 401",
    ],
    "edit_delete_messages": [
        "Correction: See you at 9 | [Message deleted]",
        "somebody else's edit: not_original_author",
    ],
    "hook_inject_welcome": ["Hello? | Welcome! A person answers within the hour. | Anybody"],
    "hook_logging_analytics": ["13  words", "1  refused: no shouting"],
    "hook_moderation": ["bob saw: Hello | Write to [address]", "refused by: spam"],
    "http_webhook": [
        "on the timeline: 1",
        "to user-1: It left this morning.",
        "an old signature: 401",
        "410: http_410 try again: False",
    ],
    "location_sharing": ["WhatsApp got: location", "SMS got: [Location: Eiffel Tower"],
    "messenger_bot": [
        "challenge: 200",
        "buttons: Yes, please, No, thanks",
        "pressed: TABLE",
        r"reaction: \N{HEAVY BLACK HEART}",
        "a day later: graph_10",
    ],
    "multichannel_bridge": ["mail     hello from web | hello from sms | hello from whatsapp"],
    "presence_tracking": ["online: bob"],
    "quickstart": ["to ana's browser: We open at nine.", "3  delivered  assistant"],
    "rate_limiting": ["sent in order: text 0, text 1, text 2", "paced: True"],
    "rcs_telnyx": [
        "+14155550111: RCS False, sent by sms",
        "without fallback: telnyx_40315",
        "cards: Soup, Fish",
        "tapped: Soup, please",
        "signals: IS_TYPING, READ",
    ],
    "rcs_twilio": [
        "to: +14155550100, rcs:+14155550100, +14155550100",
        "pressed confirm-8pm: text",
        "delivered by sms",
        "read by rcs",
    ],
    "realtime_openai": [
        "called: opening_hours {'day': 'Monday'}",
        "assistant: On Monday we open at nine.",
        "the link is back",
        "assistant: You're welcome.",
    ],
    "reactions": ["score: {'party': 2}"],
    "read_receipts": ["unread: [3, 1, 0]", "receipt: bob read message 1"],
    "rich_content_buttons": ["buttons in the browser: Yes, No", "Answer YES or NO."],
    "room_lifecycle": [
        "statuses: paused, closed, active, archived",
        "a message to the closed room: room_closed",
    ],
    "serve_app": [
        "the same again: 200",
        "forged: 401",
        "a status: 204",
        "stored: ['Are you open?']",
        "ready while leaving: 503",
        "ended in order: True",
    ],
    "sms_sinch": ["batches: 2", "status: failed Expired", "forged: 401"],
    "sms_telnyx": [
        "busy: rate_limit 3.0",
        "pieces: [670, 90]",
        "status: failed Not routable",
        "forged: 401",
    ],
    "sms_voicemeup": ["without the token: refused", "pieces: 2", "alone: ['And here']"],
    "sms_twilio": [
        "webhook: 200 <Response/>",
        "status: delivered",
        "forged: 401",
        "keyword: stop",
        "after STOP: twilio_21610",
    ],
    "teams_bot": [
        "the bot said: We open at ten.",
        "corrected to: We open at nine.",
        "reaction: \U0001f44d",
        "a token for another bot: 401",
    ],
    "voice_deepgram": ["final:   Do you open on Sundays?", "connections: 2"],
    "voice_elevenlabs": ["refused: quota_exceeded retry: False", "while it is written: 2.1 s"],
    "voice_loopback": ["heard of the answer: 750 ms of 2000", "recording: 2700 ms"],
    "voice_room": ["the caller spoke over the answer", "heard of the first answer: We open at"],
    "voice_twilio_call": ["key 0 after 500 ms, stopped: True", "without a signature: 4401"],
    "voice_websocket": [
        "interrupted: True after 1000 ms of 10000",
        "the stranger was closed with 4401",
    ],
    "websocket_chat": [
        "bob heard ana: Hello Bob!",
        "ana saw that bob types",
        "sent twice, stored once: True",
        "bob came back to ana: Are you there?",
        "the stranger was closed with 4401",
    ],
    "whatsapp_cloud": [
        "picture: 16 bytes",
        "choices: XS, S, M, L, XL",
        "status: read",
        "chosen: M",
        "a day later: graph_131047",
        "template sent: True",
    ],
    "whatsapp_personal": [
        "text: The boat is ready.",
        "image: Here she is",
        "text: Sails at nine",
        "while away: WhatsApp personal source not connected",
    ],
    "typing_indicators": ["ana: typing_start, ana: typing_stop", "channel_attached, message"],
}


_VENDORS = (
    "ANTHROPIC", "DEEPGRAM", "ELASTICEMAIL", "ELEVENLABS", "GEMINI", "GOOGLE", "HTTP_WEBHOOK",
    "MESSENGER", "OPENAI", "SENDGRID", "SINCH", "TEAMS", "TELNYX", "TWILIO", "VLLM",
    "VOICEMEUP", "WHATSAPP",
)  # fmt: skip


def _offline() -> dict[str, str]:
    """Return the environment without the keys that would make an example ask its vendor."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_VENDORS)}


def run(
    script: Path, *options: str, words: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a script by itself, every warning an error, and return how it ended."""
    return subprocess.run(
        [sys.executable, "-W", "error", *options, str(script), *words],
        cwd=EXAMPLES.parent,
        env={**_offline(), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


class TestExamples:
    """Each program in examples/ does what it says."""

    def test_none_is_forgotten_here(self) -> None:
        assert sorted(OUTCOMES) == sorted(path.stem for path in EXAMPLES.glob("*.py"))

    @pytest.mark.parametrize("name", sorted(OUTCOMES))
    def test_it_prints_its_outcome(self, name: str) -> None:
        done = run(EXAMPLES / f"{name}.py")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        for text in OUTCOMES[name]:
            assert text in done.stdout


class Workers:
    """Processes of ``examples/many_workers`` on servers of a test.

    Attributes:
        lines: What the workers have printed, in order.
    """

    def __init__(self, dsn: str, redis_url: str) -> None:
        self._env = {**os.environ, "DATABASE_URL": dsn, "REDIS_URL": redis_url}
        self._all: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self.lines: list[str] = []

    async def start(self) -> asyncio.subprocess.Process:
        """Start one worker, and wait until it is ready."""
        process = await self._run(WORKER)
        self._all.append(process)
        self._readers.append(asyncio.create_task(self._read(process)))
        await self.until(lambda: f"worker {process.pid}: ready" in self.lines)
        return process

    async def ask(self, *words: str) -> str:
        """Run one command; return what it printed."""
        process = await self._run(WORKER, *words)
        printed, _ = await process.communicate()
        assert process.returncode == 0, self.lines
        return printed.decode().strip()

    async def _run(self, *words: str | Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            *words,
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.lines.append(line.decode().rstrip())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until what was printed says something."""
        async with asyncio.timeout(SECONDS / 2):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End every worker that still runs."""
        for process in self._all:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await asyncio.gather(*self._readers)


class TestManyWorkers:
    """Workers on one database, as processes of their own."""

    @pytest.fixture
    async def workers(self, postgres_dsn: str, redis_url: str) -> AsyncIterator[Workers]:
        """No workers yet."""
        workers = Workers(postgres_dsn, redis_url)
        yield workers
        await workers.close()

    async def test_two_share_the_work_and_one_goes_on_alone(self, workers: Workers) -> None:
        """Each message is sent once; one worker is killed, the other told to end."""
        first, second = await asyncio.gather(workers.start(), workers.start())
        await workers.ask("open", "shop", "+15550100")
        for number in range(3):
            await workers.ask("say", "shop", f"number {number}")
        await workers.until(lambda: len(self._sent(workers)) == 3)
        assert await workers.ask("stats") == "workers: 2, left to do: 0, dead letters: 0"
        first.kill()
        await first.wait()
        await workers.ask("say", "shop", "number 3")
        await workers.until(lambda: len(self._sent(workers)) == 4)
        assert self._sent(workers) == [f"to +15550100: number {n}" for n in range(4)]
        second.terminate()
        assert await second.wait() == 0
        await workers.until(lambda: workers.lines[-1] == f"worker {second.pid}: done")

    async def test_a_wrong_command_explains_itself(self, workers: Workers) -> None:
        """Nothing is connected to for a typing error."""
        done = await asyncio.to_thread(run, WORKER, words=("sing",))
        assert done.returncode == 2
        assert "python worker.py say ROOM TEXT" in done.stderr

    def test_the_compose_file_fits_the_program(self) -> None:
        """It sets what the program reads, for each of its services."""
        described = yaml.safe_load((WORKER.parent / "docker-compose.yml").read_text("utf-8"))
        services = described["services"]
        read = re.findall(r'os\.environ\["(\w+)"\]', WORKER.read_text("utf-8"))
        for name in ("worker", "ask"):
            assert set(services[name]["environment"]) == set(read)
            assert set(services[name]["depends_on"]) < set(services)
            for url in services[name]["environment"].values():
                assert urlsplit(url).hostname in services
        assert {"database", "locks"} < set(services)

    @staticmethod
    def _sent(workers: Workers) -> list[str]:
        return [line.partition(": ")[2] for line in workers.lines if ": to " in line]


class TestDemo:
    """The demo notices when something is not as it should be."""

    def test_a_gate_that_lets_everything_through_is_noticed(self, tmp_path: Path) -> None:
        broken = tmp_path / "demo.py"
        text = (EXAMPLES / "demo.py").read_text(encoding="utf-8")
        assert "        gates.install(kit)\n" in text
        broken.write_text(text.replace("        gates.install(kit)\n", ""), encoding="utf-8")
        (tmp_path / "_demo").symlink_to(EXAMPLES / "_demo", target_is_directory=True)
        done = run(broken)
        assert done.returncode == 1
        assert "Charge 4111 1111 1111 1111 please." in done.stdout + done.stderr
