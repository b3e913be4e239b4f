"""``roomkit sim`` for vendors of live conversations: it tells what comes, never what was said."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.providers.gemini.realtime import GeminiLiveProvider
from roomkit.providers.openai.realtime import OpenAIRealtimeProvider
from roomkit.simulators._live_journal import Journal
from roomkit.voice.base import AudioChunk
from roomkit.voice.realtime import RealtimeSession
from roomkit.voice.stt.deepgram import DeepgramConfig, DeepgramSTTProvider
from roomkit.voice.tts.elevenlabs import ElevenLabsConfig, ElevenLabsTTSProvider
from tests.test_voice._cloud import sound, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE = 30.0
CANARY = "canary"


class Command:
    """The command, running.

    Attributes:
        settings: What it said a provider is to be given.
        lines: What it said since.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.settings: dict[str, Any] = {}
        self.lines: list[str] = []

    async def line(self) -> str:
        """Return the next line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def until(self, fits: Callable[[str], object]) -> str:
        """Read lines until one fits."""
        while True:
            line = await self.line()
            assert line or not self.process.stdout.at_eof(), self.lines  # type: ignore[union-attr]
            self.lines.append(line)
            if fits(line):
                return line

    async def ended(self, number: int = 1) -> str:
        """Read lines until a conversation has ended."""
        return await self.until(lambda line: line.startswith(f"connection {number} ended"))


@asynccontextmanager
async def sim(vendor: str) -> AsyncIterator[Command]:
    """Run the command for a vendor; it ends with 0 when told to."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "roomkit", "sim", vendor, "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    command = Command(process)
    try:
        said = json.loads(await command.line())
        assert said["vendor"] == vendor
        command.settings = said["settings"]
        yield command
        assert not [line for line in command.lines if CANARY in line]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("vendor", ["openai_realtime", "gemini_live"])
async def test_live_models(vendor: str) -> None:
    """A line for the connection, one for each kind of message, one for the end."""
    kind = {"openai_realtime": OpenAIRealtimeProvider, "gemini_live": GeminiLiveProvider}[vendor]
    said, sound_, text = {
        "openai_realtime": (
            "session.update", "input_audio_buffer.append", "conversation.item.create"
        ),
        "gemini_live": ("setup", "realtimeInput", "clientContent"),
    }[vendor]  # fmt: skip
    async with sim(vendor) as command:
        provider = kind(**command.settings)
        session = RealtimeSession("s", "r", "pat", "live")
        await provider.connect(session)
        for _ in range(3):
            await provider.send_audio(session, bytes(640))
        await provider.inject_text(session, CANARY)
        await command.until(lambda line: line.endswith(text))
        await provider.close()
        counted = await command.ended()
        assert command.lines[0].startswith("connection 1: /")
        kinds = [line.removeprefix("connection 1: ") for line in command.lines[1:-1]]
        assert kinds[:3] == [said, sound_, text]
        assert len(set(kinds)) == len(kinds)
        for part in (f"1 {said}", f"3 {sound_}", f"1 {text}"):
            assert part in counted


async def test_a_refused_model() -> None:
    """A wrong key is seen on both sides."""
    async with sim("openai_realtime") as command:
        provider = OpenAIRealtimeProvider(**{**command.settings, "api_key": "sk-wrong"})
        with pytest.raises(Exception, match="401"):
            await provider.connect(RealtimeSession("s", "r", "pat", "live"))
        await command.until(lambda line: line == "a connection was refused with 401")
        await provider.close()


async def test_deepgram() -> None:
    """Recordings are requests, live audio is a conversation."""
    async with sim("deepgram") as command:
        stt = DeepgramSTTProvider(DeepgramConfig(**command.settings))
        await stt.transcribe(AudioChunk(bytes(32000)))
        assert await command.until(bool) == "POST /v1/listen"
        assert [r async for r in stt.transcribe_stream(stream(sound(200)))] == []
        await stt.close()
        counted = await command.ended()
        assert command.lines[1:-1] == [
            "connection 1: /v1/listen",
            "connection 1: audio",
            "connection 1: CloseStream",
        ]
        assert "1 CloseStream" in counted


async def test_elevenlabs() -> None:
    """What is to be said is counted, not shown."""
    async with sim("elevenlabs") as command:
        tts = ElevenLabsTTSProvider(
            ElevenLabsConfig(**command.settings, output_format="pcm_24000")
        )
        assert [chunk async for chunk in tts.synthesize_stream(CANARY)]
        assert (await command.until(bool)).startswith("POST /v1/text-to-speech/")
        assert [c async for c in tts.synthesize_stream_input(stream([f"The {CANARY} sings. "]))]
        await tts.close()
        counted = await command.ended()
        assert command.lines[2:-1] == ["connection 1: text"]
        assert counted.endswith(" text")


async def test_what_is_no_kind() -> None:
    """A client's own words never become lines, and many kinds do not become many lines."""
    journal = Journal()
    talk = journal.talk("/")
    for kind in ("my name is Ana", "", "a\nb", "x" * 65, "ü"):
        talk.took(kind)
    for number in range(100):
        talk.took(f"kind_{number}")
    talk.ended()
    count, lines = await journal.after(0)
    assert len(lines) == count < 40
    assert lines[:3] == ["connection 1: /", "connection 1: other", "connection 1: kind_0"]
    assert "Ana" not in "".join(lines)
    assert await journal.after(count - 1) == (count, lines[-1:])


async def test_lines_that_come_while_somebody_waits() -> None:
    """Who reads along misses nothing but what is older than the newest thousand lines."""
    journal = Journal()
    waiting = asyncio.create_task(journal.after(0))
    await asyncio.sleep(0)
    journal.note("one")
    assert await waiting == (1, ["one"])
    for number in range(2000):
        journal.note(str(number))
    count, lines = await journal.after(1)
    assert (count, len(lines), lines[-1]) == (2001, 1000, "1999")
