"""What tests of Gemini Live share: a call with the simulator, and everything it is told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from roomkit.providers.gemini.realtime import GeminiLiveProvider
from roomkit.simulators.gemini_live import GeminiLiveSimulator
from roomkit.voice.realtime import RealtimeSessionState
from tests.test_voice._realtime import until
from tests.test_voice._realtime_calls import LiveCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


class Call(LiveCall[GeminiLiveProvider, GeminiLiveSimulator]):
    """A provider connected to a simulator."""

    def __init__(self, sim: GeminiLiveSimulator, **options: Any) -> None:
        super().__init__(GeminiLiveProvider, sim, **options)

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
