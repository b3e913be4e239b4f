"""A live model behind FastRTC: callers in browsers, or at a WebSocket, speak with it.

The model looks something up with a tool and answers in sound; the room reads along. With
OPENAI_API_KEY set it is the vendor's (OPENAI_REALTIME_MODEL names another one), else a simulator
on this machine plays it.

    python examples/realtime_voice_fastrtc.py                 one call, played by a program
    python examples/realtime_voice_fastrtc.py --serve 8000    a page with a microphone

FastRTC wants an environment of its own: pip install 'roomkit[fastrtc]' uvicorn websockets
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from _fastrtc.caller import calling
from _fastrtc.program import make_app, run

from roomkit import RoomKit, TextContent
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.providers.openai.realtime import DEFAULT_REALTIME_MODEL, OpenAIRealtimeProvider
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator, RealtimeTurn
from roomkit.voice.realtime.fastrtc_transport import (
    FastRTCRealtimeTransport,
    mount_fastrtc_realtime,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.models.framework_event import FrameworkEvent
    from roomkit.voice.realtime import RealtimeSession

ROOM = "call-1"
TOOLS = [
    {
        "name": "opening_hours",
        "description": "When the shop opens on a day",
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
    }
]

connected, gone = asyncio.Event(), asyncio.Event()
"""Set when the model and the caller are joined, and when the caller has gone."""


async def run_tool(session: RealtimeSession, name: str, arguments: dict[str, Any]) -> Any:
    """Answer what the model asks."""
    print("called:", name, arguments)
    return {"opens": "nine"}


async def make_provider(stack: AsyncExitStack) -> OpenAIRealtimeProvider:
    """Return the vendor's model, or one played by a simulator."""
    if key := os.environ.get("OPENAI_API_KEY"):
        model = os.environ.get("OPENAI_REALTIME_MODEL", DEFAULT_REALTIME_MODEL)
        return OpenAIRealtimeProvider(api_key=key, model=model)
    vendor = await stack.enter_async_context(OpenAIRealtimeSimulator())
    vendor.hears("When do you open on Monday?")
    look_up = RealtimeTurn(calls=(("opening_hours", {"day": "Monday"}),))
    vendor.answers(look_up, "On Monday we open at nine.")
    return OpenAIRealtimeProvider(**vendor.settings)


async def build() -> tuple[Any, Callable[[], Awaitable[None]]]:
    """Return the app, and what ends everything behind it."""
    stack = AsyncExitStack()
    provider = await make_provider(stack)
    kit = await stack.enter_async_context(RoomKit())
    transport = FastRTCRealtimeTransport()
    kit.register_channel(
        RealtimeVoiceChannel(
            "phone",
            provider=provider,
            transport=transport,
            system_prompt="You answer the telephone of a shop.",
            tools=TOOLS,
            tool_handler=run_tool,
        )
    )
    await kit.create_room(ROOM)
    await kit.attach_channel(ROOM, "phone")

    async def begin(client: str) -> None:
        # The id is the client's own choice: a real program finds out here who it is.
        await kit.connect_realtime_voice(ROOM, f"caller-{client[:8]}", "phone", client)
        connected.set()

    @kit.on("voice_disconnected")
    async def ended(event: FrameworkEvent) -> None:
        for stored in await kit.get_timeline(ROOM):
            if isinstance(stored.content, TextContent):
                print("in the room:", stored.content.body)
        gone.set()

    transport.on_client_connected(begin)
    app = make_app("/rtc-realtime")
    mount_fastrtc_realtime(app, transport)
    return app, stack.aclose


async def play(url: str) -> None:
    """Ask, hear the answer, hang up."""
    async with calling(f"{url}/rtc-realtime", "ana", 16000) as caller:
        await asyncio.wait_for(connected.wait(), 20)
        await caller.speak()
        await caller.until(lambda: caller.texts("assistant"))
        await caller.until(lambda: caller.heard)
        print("the caller hears the answer")
    await asyncio.wait_for(gone.wait(), 20)
    print("hung up, and the room knows")


if __name__ == "__main__":
    run("A live model behind FastRTC.", build, play)
