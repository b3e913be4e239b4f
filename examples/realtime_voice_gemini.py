"""A shop's telephone with Gemini: it hears, looks things up, speaks, and is never cut off.

A caller at a WebSocket asks when the shop opens. The model calls a tool and answers in sound,
while the room reads along. The caller then talks over a long answer, which stops at once. At last
the vendor says that it will close the connection, as it does every ten minutes: a new one takes
its place between two turns, and the model still knows what was said.

With GEMINI_API_KEY (or GOOGLE_API_KEY) set the model is the vendor's (GEMINI_LIVE_MODEL names
another one), which hears a tone instead of words. Without, a simulator on this machine plays it.

    python examples/realtime_voice_gemini.py
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit import HookExecution, HookTrigger, RoomKit, TextContent
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.providers.gemini.realtime import DEFAULT_LIVE_MODEL, GeminiLiveProvider
from roomkit.simulators.gemini_live import GeminiLiveSimulator, LiveTurn, tone
from roomkit.voice.realtime.ws_transport import WebSocketRealtimeTransport

if TYPE_CHECKING:
    from roomkit.voice.realtime import RealtimeSession

ROOM = "call-1"
TOOLS = [
    {
        "name": "opening_hours",
        "description": "When the shop opens on a day",
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
    }
]
# Sessions of sound end after 15 minutes, unless the oldest part may be forgotten.
SETTINGS = {"context_window_compression": True, "silence_duration_ms": 500}


async def look_up(session: RealtimeSession, name: str, arguments: dict[str, Any]) -> Any:
    """Answer what the model asks."""
    print("called:", name, arguments)
    return {"opens": "nine"}


class Caller:
    """Somebody at the other end of a WebSocket: speaks in tones, counts what is heard."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._news = asyncio.Condition()
        self.said: list[str] = []
        self.heard_ms = 0.0
        self.cleared = 0

    async def listen(self) -> None:
        """Take what comes until the call ends."""
        async for frame in self._socket:
            message = json.loads(frame)
            async with self._news:
                if message["type"] == "audio":
                    self.heard_ms += len(base64.b64decode(message["data"])) / 48
                elif message["type"] == "clear_audio":
                    self.cleared += 1
                elif message["type"] == "transcription" and message["is_final"]:
                    print(f"{message['role']}: {message['text']}")
                    self.said.append(message["role"])
                self._news.notify_all()

    async def until(self, true: Any) -> None:
        """Wait until something of what comes is so."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(true)

    async def answered(self, count: int) -> None:
        """Wait until the model has answered so often."""
        await self.until(lambda: self.said.count("assistant") >= count)

    async def speak(self) -> None:
        """Say something for half a second, then be quiet: frames of 20 ms at 16 kHz."""
        sound = tone(500, rate=16000) + bytes(16 * 2 * 700)
        for start in range(0, len(sound), 640):
            await self._socket.send(sound[start : start + 640])
            await asyncio.sleep(0.002)


async def make_provider(
    stack: AsyncExitStack,
) -> tuple[GeminiLiveProvider, GeminiLiveSimulator | None]:
    """Return the vendor's model, or one played by a simulator."""
    if key := os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY"):
        model = os.environ.get("GEMINI_LIVE_MODEL", DEFAULT_LIVE_MODEL)
        return GeminiLiveProvider(api_key=key, model=model), None
    vendor = await stack.enter_async_context(GeminiLiveSimulator())
    vendor.hears("When do you open on Monday?", "And on Sunday?", "Thank you.", "Goodbye.")
    hours = LiveTurn(calls=(("opening_hours", {"day": "Monday"}),))
    story = LiveTurn("On Sundays, now that is a long story", hold=True)
    vendor.answers(hours, "On Monday we open at nine.", story, "You're welcome.", "Goodbye, Ana.")
    return GeminiLiveProvider(**vendor.settings), vendor


async def talk(caller: Caller, vendor: GeminiLiveSimulator | None) -> None:
    """Play the call."""
    await caller.speak()
    await caller.answered(1)
    if vendor is None:
        return
    heard = caller.heard_ms
    await caller.speak()
    await caller.until(lambda: caller.heard_ms > heard)
    await caller.speak()
    await caller.answered(3)
    print("interrupted:", caller.cleared == 1)
    await vendor.go_away(10)
    await vendor.arrived("setup", 2)
    await caller.speak()
    await caller.answered(4)
    print("connections:", vendor.handshakes)
    print("the model knows:", " / ".join(text for role, text in vendor.known if role == "user"))


async def main() -> None:
    """Take one call."""
    async with AsyncExitStack() as stack:
        provider, vendor = await make_provider(stack)
        kit = await stack.enter_async_context(RoomKit())

        @kit.hook(HookTrigger.ON_SPEECH_START, execution=HookExecution.ASYNC)
        async def speaks(session: Any, context: Any) -> None:
            print("the caller speaks up")

        kit.register_channel(
            RealtimeVoiceChannel(
                "phone",
                provider=provider,
                transport=WebSocketRealtimeTransport(),
                system_prompt="You answer the telephone of a shop.",
                voice="Puck",
                tools=TOOLS,
                tool_handler=look_up,
            )
        )
        await kit.create_room(ROOM)
        await kit.attach_channel(ROOM, "phone")

        async def take(socket: Any) -> None:
            settings = {"provider_config": SETTINGS}
            await kit.connect_realtime_voice(ROOM, "ana", "phone", socket, metadata=settings)
            await socket.wait_closed()

        server = await stack.enter_async_context(serve(take, "127.0.0.1", 0))
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as socket:
            caller = Caller(socket)
            listening = asyncio.create_task(caller.listen())
            await talk(caller, vendor)
        await listening
        timeline = await kit.get_timeline(ROOM)
        said = [event.content.body for event in timeline if isinstance(event.content, TextContent)]
        print("in the room:", " / ".join(said))


if __name__ == "__main__":
    asyncio.run(main())
