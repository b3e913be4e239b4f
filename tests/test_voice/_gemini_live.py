"""What tests of Gemini Live share: a call with the simulator, and everything it is told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from roomkit._clock import ManualClock
from roomkit.providers.gemini.realtime import GeminiLiveProvider
from roomkit.simulators.gemini_live import GeminiLiveSimulator, tone
from roomkit.voice.realtime import RealtimeSession, RealtimeSessionState
from tests.test_voice._realtime import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RATE = 16000
QUIET = bytes(RATE * 2)
KINDS = (
    "audio",
    "transcription",
    "speech_start",
    "speech_end",
    "tool_call",
    "response_start",
    "response_end",
    "error",
)

TOOL = {
    "name": "weather",
    "description": "d",
    "parameters": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "additionalProperties": False,
    },
}


def knows(model: str, field: str) -> bool:
    """Tell whether the installed SDK, which may be the oldest, knows a field."""
    from google.genai import types

    return field in getattr(types, model).model_fields


class Heard:
    """Everything a provider tells, by kind, in order."""

    def __init__(self, provider: GeminiLiveProvider) -> None:
        self.all: list[tuple[Any, ...]] = []
        for kind in KINDS:
            getattr(provider, f"on_{kind}")(self._note(kind))

    def _note(self, kind: str) -> Any:
        def note(session: RealtimeSession, *values: Any) -> None:
            self.all.append((kind, *values))

        return note

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """Return what was told of one kind, without the kind."""
        return [tuple(values) for told, *values in self.all if told == kind]

    @property
    def audio(self) -> bytes:
        """All audio together."""
        return b"".join(values[0] for values in self.of("audio"))

    @property
    def finals(self) -> list[tuple[str, str]]:
        """Final transcripts: role and text."""
        return [(role, text) for text, role, final in self.of("transcription") if final]

    @property
    def kinds(self) -> list[str]:
        """What was told, without audio and transcripts."""
        return [kind for kind, *_ in self.all if kind not in ("audio", "transcription")]


class Call:
    """A provider connected to a simulator."""

    def __init__(self, sim: GeminiLiveSimulator, **options: Any) -> None:
        self.sim = sim
        self.clock = ManualClock()
        self.provider = GeminiLiveProvider(**{**sim.settings, "clock": self.clock, **options})
        self.heard = Heard(self.provider)
        self.session = RealtimeSession("s-1", "room", "pat", "live")

    async def connect(self, **settings: Any) -> None:
        """Connect the session."""
        await self.provider.connect(self.session, **settings)

    async def speak(self, milliseconds: int = 400) -> None:
        """Say something, then be quiet for a second."""
        await self.provider.send_audio(self.session, tone(milliseconds, rate=RATE))
        await self.provider.send_audio(self.session, QUIET)

    async def answered(self, count: int = 1) -> None:
        """Wait until the model has answered so often."""
        await until(lambda: len(self.heard.of("response_end")) >= count)

    async def settled(self) -> None:
        """Wait until the provider has a handle that knows of all that was said."""
        await until(lambda: self.known_handle)
        # What comes after the handle has been told: the handle has been read.
        mark = {"serverContent": {"inputTranscription": {"text": "  "}}}
        before = len(self.heard.all)
        await self.sim.emit(mark)
        await until(lambda: len(self.heard.all) > before)

    @property
    def known_handle(self) -> bool:
        """Whether the vendor has given a handle that knows all that was said."""
        handles = list(self.sim.memory.values())
        return bool(handles) and handles[-1] == self.sim.known

    async def cut(self) -> None:
        """Lose the link, and wait until the provider pauses before the next one."""
        self.sim.cut()
        await until(lambda: self.clock.sleepers)

    async def back(self) -> None:
        """Let the pause pass, and wait until the link is back."""
        await self.clock.advance(6)
        await until(lambda: self.session.state is RealtimeSessionState.ACTIVE)
        await self.sim.connected(1)


@asynccontextmanager
async def calling(
    settings: dict[str, Any] | None = None, sim: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Call]:
    """A simulator and a connected session."""
    async with GeminiLiveSimulator(**(sim or {})) as server:
        call = Call(server, **options)
        await call.connect(**(settings or {}))
        try:
            yield call
        finally:
            await call.provider.close()
