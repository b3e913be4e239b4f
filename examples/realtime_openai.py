"""A telephone call with a model that hears and speaks, and a room that reads along.

A caller at a WebSocket asks when the shop opens. The model looks it up with a tool and answers in
sound; both sides of the talk stand in the room. Then a colleague writes a line in the room, and
the model says it to the caller. At last the vendor cuts the link: it comes back, the caller stays.

With OPENAI_API_KEY set the model is the vendor's (OPENAI_REALTIME_MODEL names another one), which
hears a tone instead of words. Without, a simulator on this machine plays it.

    python examples/realtime_openai.py
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

from roomkit import RoomKit, TextContent, WebSocketChannel
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.providers.openai.realtime import DEFAULT_REALTIME_MODEL, OpenAIRealtimeProvider
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator, RealtimeTurn, tone
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


async def run_tool(session: RealtimeSession, name: str, arguments: dict[str, Any]) -> Any:
    """Answer what the model asks."""
    print("called:", name, arguments)
    return {"opens": "nine"}


class Caller:
    """Somebody at the other end of a WebSocket: speaks in tones, counts what is heard."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._turns: asyncio.Queue[str] = asyncio.Queue()
        self.heard_ms = 0.0

    async def listen(self) -> None:
        """Take what comes until the call ends."""
        async for frame in self._socket:
            message = json.loads(frame)
            if message["type"] == "audio":
                self.heard_ms += len(base64.b64decode(message["data"])) / 48
            elif message["type"] == "transcription" and message["is_final"]:
                print(f"{message['role']}: {message['text']}")
                if message["role"] == "assistant":
                    self._turns.put_nowait(message["text"])

    async def speak(self) -> None:
        """Say something for half a second, then be quiet: frames of 20 ms at 16 kHz."""
        sound = tone(500, rate=16000) + bytes(16 * 2 * 800)
        for start in range(0, len(sound), 640):
            await self._socket.send(sound[start : start + 640])
            await asyncio.sleep(0.002)

    async def answered(self) -> None:
        """Wait for the model's next answer."""
        await asyncio.wait_for(self._turns.get(), 20)


async def make_provider(
    stack: AsyncExitStack,
) -> tuple[OpenAIRealtimeProvider, OpenAIRealtimeSimulator | None]:
    """Return the vendor's model, or one played by a simulator."""
    if key := os.environ.get("OPENAI_API_KEY"):
        model = os.environ.get("OPENAI_REALTIME_MODEL", DEFAULT_REALTIME_MODEL)
        return OpenAIRealtimeProvider(api_key=key, model=model), None
    vendor = await stack.enter_async_context(OpenAIRealtimeSimulator())
    vendor.hears("When do you open on Monday?", "Thank you.")
    look_up = RealtimeTurn(calls=(("opening_hours", {"day": "Monday"}),))
    vendor.answers(
        look_up, "On Monday we open at nine.", "Your parcel is here.", "You're welcome."
    )
    return OpenAIRealtimeProvider(**vendor.settings), vendor


async def talk(kit: RoomKit, caller: Caller, vendor: OpenAIRealtimeSimulator | None) -> None:
    """Play the call."""
    await caller.speak()
    await caller.answered()
    await kit.send_event(ROOM, "desk", TextContent(body="Tell them that their parcel is here."))
    await caller.answered()
    if vendor is None:
        return
    vendor.cut()
    await vendor.connected(0)
    await vendor.connected(1)
    print("the link is back")
    # It is told what was said before, and then it listens.
    await vendor.arrived("conversation.item.create", 6)
    await caller.speak()
    await caller.answered()


async def main() -> None:
    """Take one call."""
    async with AsyncExitStack() as stack:
        provider, vendor = await make_provider(stack)
        kit = await stack.enter_async_context(RoomKit())
        kit.register_channel(
            RealtimeVoiceChannel(
                "phone",
                provider=provider,
                transport=WebSocketRealtimeTransport(),
                system_prompt="You answer the telephone of a shop.",
                tools=TOOLS,
                tool_handler=run_tool,
            )
        )
        kit.register_channel(WebSocketChannel("desk"))
        await kit.create_room(ROOM)
        for channel_id in ("phone", "desk"):
            await kit.attach_channel(ROOM, channel_id)

        async def take(socket: Any) -> None:
            await kit.connect_realtime_voice(ROOM, "ana", "phone", socket)
            await socket.wait_closed()

        server = await stack.enter_async_context(serve(take, "127.0.0.1", 0))
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as socket:
            caller = Caller(socket)
            listening = asyncio.create_task(caller.listen())
            await talk(kit, caller, vendor)
        await listening
        print(f"heard {caller.heard_ms / 1000:.1f} seconds of speech")
        timeline = await kit.get_timeline(ROOM)
        said = [event.content.body for event in timeline if isinstance(event.content, TextContent)]
        print("in the room:", " / ".join(said))


if __name__ == "__main__":
    asyncio.run(main())
