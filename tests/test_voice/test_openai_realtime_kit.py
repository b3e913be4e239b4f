"""A whole call: a caller at a socket, the channel, OpenAI's simulator, and the room."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit import RoomKit, TextContent
from roomkit._clock import ManualClock
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.providers.openai.realtime import OpenAIRealtimeProvider
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator, RealtimeTurn, tone
from roomkit.testing import SimpleChannel
from roomkit.voice.realtime.ws_transport import WebSocketRealtimeTransport
from tests.support.kits import ROOM, Ears, messages, open_room, texts
from tests.test_voice._realtime import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.realtime import RealtimeSession


class Caller:
    """Somebody at a WebSocket.

    Attributes:
        frames: What they got, audio as bytes.
    """

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.frames: list[Any] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for frame in self.socket:
            message = json.loads(frame)
            audio = message.get("type") == "audio"
            self.frames.append(base64.b64decode(message["data"]) if audio else message)

    @property
    def audio(self) -> bytes:
        """All audio, joined."""
        return b"".join(frame for frame in self.frames if isinstance(frame, bytes))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages of one type."""
        return [f for f in self.frames if isinstance(f, dict) and f["type"] == kind]

    async def speak(self, milliseconds: int = 400) -> None:
        """Say something in frames of 20 ms, and be quiet for 0.7 seconds."""
        sound = tone(milliseconds, rate=16000) + bytes(16 * 2 * 700)
        for start in range(0, len(sound), 640):
            await self.socket.send(sound[start : start + 640])
            await asyncio.sleep(0)


class World:
    """A kit with a realtime channel, and its vendor.

    Attributes:
        sessions: Those begun, oldest first.
    """

    def __init__(self, kit: RoomKit, sim: OpenAIRealtimeSimulator, **options: Any) -> None:
        self.kit = kit
        self.sim = sim
        self.ears = Ears(kit)
        self.clock = ManualClock()
        self.sessions: list[RealtimeSession] = []
        self.channel = RealtimeVoiceChannel(
            "live",
            provider=OpenAIRealtimeProvider(**sim.settings, clock=self.clock),
            transport=WebSocketRealtimeTransport(),
            **options,
        )

    async def take(self, ws: Any) -> None:
        """Accept a caller."""
        self.sessions.append(await self.kit.connect_realtime_voice(ROOM, "pat", "live", ws))
        await ws.wait_closed()


@asynccontextmanager
async def calling(**options: Any) -> AsyncIterator[tuple[World, Caller]]:
    """A caller who is connected."""
    async with OpenAIRealtimeSimulator() as sim, RoomKit() as kit:
        world = World(kit, sim, **options)
        await open_room(kit, world.channel)
        async with serve(world.take, "127.0.0.1", 0, compression=None, close_timeout=1) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", compression=None) as socket:
                caller = Caller(socket)
                await until(lambda: world.sessions)
                yield world, caller


async def test_a_question_and_its_answer() -> None:
    """The caller hears the whole answer; the room reads both sides."""
    async with calling() as (world, caller):
        world.sim.hears("When do you open?")
        world.sim.answers("At nine.")
        await caller.speak()
        await until(lambda: len(caller.audio) == 8 * 60 * 48)
        await until(lambda: len(caller.of("transcription")) == 4)
        await world.channel.end_session(world.sessions[0])
        assert caller.audio == tone(8 * 60)
        assert texts(await messages(world.kit)) == ["When do you open?", "At nine."]
        assert caller.of("clear_audio")


async def test_a_tool_on_the_way() -> None:
    """Called with its arguments; the result leads to the answer."""
    asked: list[Any] = []

    async def hours(session: RealtimeSession, name: str, arguments: dict[str, Any]) -> Any:
        asked.append((name, arguments))
        return {"opens": 9}

    tools = [{"name": "hours", "description": "d", "parameters": {"type": "object"}}]
    async with calling(tools=tools, tool_handler=hours) as (world, caller):
        world.sim.answers(RealtimeTurn(calls=(("hours", {"day": "Monday"}),)), "At nine.")
        await caller.speak()
        await until(lambda: any(m["text"] == "At nine." for m in caller.of("transcription")))
        assert asked == [("hours", {"day": "Monday"})]
        outputs = [event["item"] for event in world.sim.of("conversation.item.create")]
        assert outputs[0]["output"] == '{"opens": 9}'


async def test_what_is_written_in_the_room_is_spoken_about() -> None:
    """Text of another channel reaches the model as ``system``."""
    async with calling() as (world, caller):
        world.kit.register_channel(SimpleChannel("chat"))
        await world.kit.attach_channel(ROOM, "chat")
        await world.kit.send_event(ROOM, "chat", TextContent(body="The parcel is here."))
        await until(lambda: caller.audio)
        item = world.sim.of("conversation.item.create")[0]["item"]
        assert (item["role"], item["content"][0]["text"]) == ("system", "The parcel is here.")


async def test_a_lost_link_comes_back_within_the_call() -> None:
    """The caller stays connected and is answered afterwards."""
    async with calling() as (world, caller):
        world.sim.cut()
        await until(lambda: world.clock.sleepers)
        await world.clock.advance(0.5)
        await until(lambda: world.sessions[0].state == "active")
        await caller.speak()
        await until(lambda: caller.audio)
        assert world.ears.of("voice_disconnected") == []


async def test_a_link_lost_for_good_is_never_silent() -> None:
    """The caller is told and hung up on; the room hears it once, with the reason."""
    async with calling() as (world, caller):
        world.sim.refuse(401)
        world.sim.cut()
        await until(lambda: world.clock.sleepers)
        await world.clock.advance(0.5)
        await asyncio.wait_for(caller.socket.wait_closed(), 5)
        await caller.reading
        assert caller.frames[-1] == {"type": "session_ended", "code": "connection_closed"}
        await until(lambda: world.ears.of("voice_disconnected"))
        told = world.ears.of("voice_disconnected")
        assert [event.data["reason"] for event in told] == ["connection_closed"]


async def test_a_caller_who_hangs_up_ends_the_link() -> None:
    """The vendor's session does not run on."""
    async with calling() as (world, caller):
        await caller.socket.close()
        await world.sim.connected(0)
        await until(lambda: world.ears.of("voice_disconnected"))
    assert len(world.ears.of("voice_disconnected")) == 1


async def test_nothing_is_left_of_a_call() -> None:
    """No task outlives the kit, whatever state the call was in."""
    before = asyncio.all_tasks()
    async with calling() as (world, caller):
        world.sim.answers(RealtimeTurn("x" * 200, hold=True))
        await caller.speak()
        await until(lambda: caller.audio)
        world.sim.cut()
        await until(lambda: world.clock.sleepers)
    await caller.reading
    await until(lambda: asyncio.all_tasks() == before)
    assert world.sessions[0].state == "ended"
    assert world.sim.connections == 0
