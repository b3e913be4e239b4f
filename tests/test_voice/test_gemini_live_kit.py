"""A caller at a WebSocket, a kit and Gemini's simulator: whole calls."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit import RoomKit
from roomkit._clock import ManualClock
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.providers.gemini.realtime import GeminiLiveProvider
from roomkit.simulators.gemini_live import GeminiLiveSimulator, LiveTurn, tone
from roomkit.voice.realtime.ws_transport import WebSocketRealtimeTransport
from tests.support.kits import ROOM, Ears, messages, open_room, texts
from tests.test_voice._realtime import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.realtime import RealtimeSession

ASK = [{"name": "hours", "description": "d", "parameters": {"type": "object"}}]


class Phone:
    """A call, from its caller to the vendor's simulator."""

    def __init__(self, kit: RoomKit, sim: GeminiLiveSimulator, **options: Any) -> None:
        self.kit = kit
        self.sim = sim
        self.ears = Ears(kit)
        self.clock = ManualClock()
        self.session: RealtimeSession | None = None
        self.frames: list[dict[str, Any]] = []
        self.socket: Any = None
        self.reading: asyncio.Task[None] | None = None
        provider = GeminiLiveProvider(**sim.settings, clock=self.clock)
        transport = WebSocketRealtimeTransport()
        self.channel = RealtimeVoiceChannel(
            "live", provider=provider, transport=transport, **options
        )

    async def accept(self, ws: Any) -> None:
        """Take the call."""
        self.session = await self.kit.connect_realtime_voice(ROOM, "pat", "live", ws)
        await ws.wait_closed()

    async def listen(self, socket: Any) -> None:
        """Write down what the caller is sent."""
        self.socket = socket
        async for frame in socket:
            self.frames.append(json.loads(frame))

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """Return the caller's frames of one kind."""
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def audio(self) -> bytes:
        """All audio the caller has heard."""
        return b"".join(base64.b64decode(frame["data"]) for frame in self.sent("audio"))

    async def ask(self) -> None:
        """Speak for 0.4 seconds in frames of 20 ms, then be quiet for 0.7."""
        sound = tone(400, rate=16000) + bytes(16 * 2 * 700)
        for start in range(0, len(sound), 640):
            await self.socket.send(sound[start : start + 640])
            await asyncio.sleep(0)


@asynccontextmanager
async def phoning(**options: Any) -> AsyncIterator[Phone]:
    """A caller who is connected."""
    async with GeminiLiveSimulator() as sim, RoomKit() as kit:
        phone = Phone(kit, sim, **options)
        await open_room(kit, phone.channel)
        serving = serve(phone.accept, "127.0.0.1", 0, compression=None, close_timeout=1)
        async with serving as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", compression=None) as socket:
                phone.reading = asyncio.create_task(phone.listen(socket))
                await until(lambda: phone.session and phone.socket)
                yield phone
        await phone.reading


async def test_a_question_a_tool_and_the_answer() -> None:
    """The caller hears the whole answer; the room reads both sides."""

    async def hours(session: RealtimeSession, name: str, arguments: dict[str, Any]) -> Any:
        return {"opens": 9}

    async with phoning(tools=ASK, tool_handler=hours) as phone:
        phone.sim.hears("When do you open?")
        phone.sim.answers(LiveTurn(calls=(("hours", {}),)), "At nine.")
        await phone.ask()
        await until(lambda: len(phone.audio) == 8 * 60 * 48)
        await until(
            lambda: any(
                f["is_final"] and f["role"] == "assistant" for f in phone.sent("transcription")
            )
        )
        assert phone.session is not None
        await phone.channel.end_session(phone.session)
        assert phone.audio == tone(8 * 60)
        assert phone.sim.of("toolResponse")[0]["functionResponses"][0]["response"] == {"opens": 9}
        assert texts(await messages(phone.kit)) == ["When do you open?", "At nine."]


async def test_a_connection_the_vendor_closes_is_not_noticed() -> None:
    """The caller stays, nothing is told, the next question is answered."""
    async with phoning() as phone:
        await phone.ask()
        await until(lambda: phone.audio)
        await phone.sim.go_away(10)
        await until(lambda: phone.sim.handshakes == 2)
        await phone.sim.connected(1)
        heard = len(phone.audio)
        await phone.ask()
        await until(lambda: len(phone.audio) > heard)
        assert phone.ears.of("voice_disconnected") == []
        assert phone.sent("session_ended") == []


async def test_a_link_lost_for_good_is_never_silent() -> None:
    """The caller is told and hung up on; the room hears it once, with the reason."""
    async with phoning() as phone:
        phone.sim.refuse(403)
        phone.sim.cut()
        await until(lambda: phone.clock.sleepers)
        await phone.clock.advance(1)
        await asyncio.wait_for(phone.socket.wait_closed(), 5)
        await until(lambda: phone.ears.of("voice_disconnected"))
        told = phone.ears.of("voice_disconnected")
        assert [event.data["reason"] for event in told] == ["connection_lost"]
        assert phone.frames[-1] == {"type": "session_ended", "code": "connection_lost"}


async def test_a_caller_who_hangs_up_ends_the_link() -> None:
    """The vendor's session does not run on."""
    async with phoning() as phone:
        await phone.socket.close()
        await phone.sim.connected(0)
        await until(lambda: phone.ears.of("voice_disconnected"))
    assert len(phone.ears.of("voice_disconnected")) == 1


async def test_one_caller_ends_only_their_own_session() -> None:
    """The other goes on being heard."""
    async with phoning() as phone:
        async with connect(
            f"ws://127.0.0.1:{phone.socket.remote_address[1]}", compression=None
        ) as other:
            first = phone.session
            await until(lambda: phone.session is not first)
            await phone.sim.connected(2)
            await other.close()
        await phone.sim.connected(1)
        await phone.ask()
        await until(lambda: phone.audio)


async def test_nothing_is_left_of_a_call() -> None:
    """No task outlives the kit, whatever state the call was in."""
    before = asyncio.all_tasks()
    async with phoning() as phone:
        phone.sim.answers(LiveTurn("x" * 50, hold=True))
        await phone.ask()
        await until(lambda: phone.audio)
        phone.sim.cut()
        await until(lambda: phone.clock.sleepers)
    await until(lambda: asyncio.all_tasks() == before)
    assert phone.session is not None
    assert phone.session.state == "ended"
    assert phone.sim.connections == 0
