"""A voice session ended at each of its states, in each way there is (T15).

Afterwards it is ENDED and stays so, its end was told once, the other caller's call goes on,
and no task or socket is left, although whatever was under way never comes to its end.
"""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from roomkit import AIChannel, ChannelCategory, HookExecution, HookTrigger, RoomKit
from roomkit._clock import ManualClock
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.channels.voice import VoiceChannel
from roomkit.exceptions import InvalidInputError
from roomkit.simulators.openai_realtime import tone
from roomkit.voice.backends.websocket import VoiceCaller, WebSocketVoiceBackend
from roomkit.voice.base import VoiceSessionState
from roomkit.voice.pipeline import AudioPipelineConfig
from roomkit.voice.realtime.ws_transport import WebSocketRealtimeTransport
from tests.reliability._calls import Relay, nothing_left, until
from tests.reliability._live_vendors import LONGEST_PAUSE, VENDORS, LiveVendor
from tests.reliability._speakers import (
    Gate,
    Loudness,
    Parrot,
    Speller,
    Writer,
    frame,
    repeated,
    spoken,
    utterance,
    written,
)
from tests.support.kits import Ears, messages, texts
from tests.test_voice._backend_clients import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.base import VoiceSession
    from roomkit.voice.realtime import RealtimeSession

MINE, OTHER = "mine", "other"


class House:
    """A kit with a voice channel at a real socket; two rooms, a model in each.

    Attributes:
        sessions: Room to session, as connected.
        letting_in: Passed before a caller has a session.
        started: Rooms in which speech has begun.
    """

    def __init__(self, kit: RoomKit) -> None:
        self.kit = kit
        self.ears = Ears(kit)
        self.sessions: dict[str, VoiceSession] = {}
        self.letting_in = Gate()
        self.started: list[str] = []
        self.backend = WebSocketVoiceBackend(
            authenticate=lambda shake: VoiceCaller(f"{shake.room}-caller", shake.room or ""),
            session_factory=self._connect,
            send_timeout=0.2,
        )
        self.backend.on_session_ended(kit.disconnect_voice)
        self.stt, self.ai, self.tts = Writer(), Parrot(), Speller()
        self.channel = VoiceChannel(
            "voice",
            backend=self.backend,
            stt=self.stt,
            tts=self.tts,
            pipeline=AudioPipelineConfig(vad=Loudness()),
            stt_timeout=30,
            tts_timeout=30,
        )

        @kit.hook(HookTrigger.ON_SPEECH_START, HookExecution.ASYNC)
        async def started(session: Any, context: Any) -> None:
            self.started.append(context.room.id)

    async def _connect(self, caller: VoiceCaller) -> VoiceSession:
        session: VoiceSession = await self.kit.connect_voice(
            caller.room_id, caller.participant_id, "voice", metadata=dict(caller.metadata)
        )
        self.sessions[caller.room_id] = session
        await self.letting_in.passed()
        return session

    async def furnish(self) -> None:
        """Make the rooms."""
        self.kit.register_channel(self.channel)
        self.kit.register_channel(AIChannel("ai", self.ai))
        for each in (MINE, OTHER):
            await self.kit.create_room(each)
            await self.kit.attach_channel(each, "voice")
            await self.kit.attach_channel(each, "ai", category=ChannelCategory.INTELLIGENCE)

    async def call(self, room_id: str, url: str, *, answers: bool = True) -> Client:
        """Call; wait until there is a session."""
        client = Client(await connect(url, compression=None, close_timeout=0.05), answers=answers)
        await client.say("start", codec="pcm_s16le", sample_rate=16000, room=room_id)
        await until(lambda: room_id in self.sessions)
        return client

    def ended(self, room_id: str) -> int:
        """Return how often the end of a room's session was told."""
        return len([e for e in self.ears.of("voice_disconnected") if e.room_id == room_id])


async def say(client: Client, value: int, frames: int = 2) -> None:
    """Speak."""
    for each in utterance(value, frames):
        await client.send(each.data)


async def bring_to(world: House, state: str, client: Client) -> None:
    """Bring the first caller's session into a state, and hold it there."""
    gates = {"transcribing": world.stt, "thinking": world.ai, "speaking": world.tts}
    part = gates.get(state)
    if state == "listening":
        await client.send(frame(5).data)
        await until(lambda: world.started)
    elif part is not None:
        part.gate.shut()
        await say(client, 5)
        await until(lambda: part.gate.waiting)
    elif state == "playing":
        await say(client, 5)
        await until(lambda: b"".join(client.audio) == spoken(repeated(written(5, 2))))
        assert world.backend.is_playing(world.sessions[MINE])


async def end(world: House, how: str, client: Client) -> None:
    """End the first caller's session."""
    if how == "leaves":
        await client.leave()
    elif how == "drops":
        client.drop()
    elif how == "disconnected":
        await world.kit.disconnect_voice(world.sessions[MINE])
    else:
        await world.kit.close(drain_timeout=0.05)


STATES = ["connecting", "idle", "listening", "transcribing", "thinking", "speaking", "playing"]


class TestVoiceChannel:
    """VoiceChannel with WebSocketVoiceBackend."""

    @pytest.mark.parametrize("how", ["leaves", "drops", "disconnected", "closed"])
    @pytest.mark.parametrize("state", STATES)
    async def test_ended_at(self, state: str, how: str) -> None:
        """One leaver ends only his session, whatever was under way."""
        async with nothing_left(), RoomKit() as kit:
            world = House(kit)
            await world.furnish()
            async with serve(
                world.backend.serve, "127.0.0.1", 0, compression=None, close_timeout=0.05
            ) as server:
                url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
                other = await world.call(OTHER, url)
                if state == "connecting":
                    world.letting_in.shut()
                client = await world.call(MINE, url, answers=state != "playing")
                await bring_to(world, state, client)
                session = world.sessions[MINE]
                assert session.state is VoiceSessionState.ACTIVE
                await end(world, how, client)
                world.letting_in.open()
                await until(lambda: session.state is VoiceSessionState.ENDED)
                if how == "closed":
                    assert world.channel.sessions == []
                else:
                    await self._others_go_on(world, other, session)
                await client.leave()
                await other.leave()
                await asyncio.gather(client.reader, other.reader)
                await kit.close()
                assert world.tts.open_streams == 0

    async def _others_go_on(self, world: House, other: Client, session: VoiceSession) -> None:
        await until(lambda: world.ended(MINE))
        assert world.ended(MINE) == 1
        assert world.channel.sessions == [world.sessions[OTHER]]
        assert not world.backend.is_playing(session)
        for part in (world.stt, world.ai, world.tts):
            part.gate.open()
        await say(other, 77)
        answer = spoken(repeated(written(77, 2)))
        await until(lambda: b"".join(other.audio) == answer)
        assert written(77, 2) in texts(await messages(world.kit, OTHER))
        assert written(77, 2) not in texts(await messages(world.kit, MINE))
        assert world.ended(OTHER) == 0
        # Ended is terminal: nothing brings the session back, and nothing is told again.
        binding = await world.kit.get_binding(MINE, "voice")
        with pytest.raises(InvalidInputError, match="ended"):
            world.channel.bind_session(session, MINE, binding)
        await world.kit.disconnect_voice(session)
        assert session.state is VoiceSessionState.ENDED
        assert world.ended(MINE) == 1


class Studio:
    """A kit with a realtime channel: callers at real sockets, the model behind a relay.

    Attributes:
        sessions: Room, or name, to session, once connected.
        tool: Passed before a tool returns.
    """

    def __init__(self, kit: RoomKit, vendor: LiveVendor, sim: Any, relay: Relay) -> None:
        self.kit = kit
        self.vendor = vendor
        self.sim = sim
        self.relay = relay
        self.ears = Ears(kit)
        self.clock = ManualClock()
        self.sessions: dict[str, RealtimeSession] = {}
        self.failed: list[Exception] = []
        self.tool = Gate()
        self.channel = RealtimeVoiceChannel(
            "live",
            provider=vendor.behind(relay, sim, clock=self.clock),
            transport=WebSocketRealtimeTransport(),
            tools=[{"name": "wait", "description": "d", "parameters": {"type": "object"}}],
            tool_handler=self._tool,
        )

    async def _tool(self, session: Any, name: str, arguments: dict[str, Any]) -> str:
        await self.tool.passed()
        return "done"

    async def take(self, ws: Any) -> None:
        """Accept a caller; the path is the room, the query a name among the sessions."""
        room_id, _, name = ws.request.path.strip("/").partition("?")
        try:
            self.sessions[name or room_id] = await self.kit.connect_realtime_voice(
                room_id, f"{room_id}-caller", "live", ws
            )
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            self.failed.append(exc)
            return
        await ws.wait_closed()

    def ended(self, room_id: str) -> int:
        """Return how often the end of a room's session was told."""
        return len([e for e in self.ears.of("voice_disconnected") if e.room_id == room_id])


class Talker:
    """A caller at a realtime socket; it reads all the time.

    Attributes:
        audio: What was heard.
    """

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.audio = b""
        self.messages: list[dict[str, Any]] = []
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                message = json.loads(text)
                if message["type"] == "audio":
                    self.audio += base64.b64decode(message["data"])
                else:
                    self.messages.append(message)
        except Exception:  # noqa: BLE001 - a line that broke is what some tests want
            return

    async def speak(self, *, whole: bool = True) -> None:
        """Say something; whole, be quiet afterwards."""
        await self.socket.send(tone(200, rate=16000))
        if whole:
            await self.socket.send(bytes(32 * 600))


@asynccontextmanager
async def studio(name: str) -> AsyncIterator[tuple[Studio, str]]:
    """The kit with a vendor's model, and the URL callers come to."""
    vendor = VENDORS[name]
    async with (
        nothing_left(),
        vendor.simulator(**vendor.simulated) as sim,
        Relay(sim.api_base) as relay,
        RoomKit() as kit,
    ):
        world = Studio(kit, vendor, sim, relay)
        kit.register_channel(world.channel)
        for each in (MINE, OTHER):
            await kit.create_room(each)
            await kit.attach_channel(each, "live")
        async with serve(
            world.take, "127.0.0.1", 0, compression=None, close_timeout=0.05
        ) as server:
            yield world, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await kit.close()


async def dial(url: str, room_id: str) -> Talker:
    """Call a room."""
    return Talker(await connect(f"{url}/{room_id}", compression=None, close_timeout=0.05))


async def drive(world: Studio, state: str, talker: Talker) -> None:
    """Bring the first caller's session into a state, and hold it there."""
    if state == "listening":
        await talker.speak(whole=False)
        await until(lambda: [m for m in talker.messages if m["type"] == "clear_audio"])
    elif state == "thinking":
        world.sim.answers(world.vendor.turn(hold=True))
        await talker.speak()
        await until(lambda: world.sim.heard)
    elif state == "speaking":
        world.sim.answers(world.vendor.turn("A long story", hold=True))
        await talker.speak()
        await until(lambda: talker.audio)
    elif state == "tool":
        world.tool.shut()
        world.sim.answers(world.vendor.turn(calls=(("wait", {}),)))
        await talker.speak()
        await until(lambda: world.tool.waiting)
    elif state == "reconnecting":
        world.relay.refuse()
        world.relay.cut()
        await until(lambda: world.clock.sleepers)


async def finish(world: Studio, how: str, talker: Talker) -> None:
    """End the first caller's session."""
    if how == "leaves":
        await talker.socket.close()
    elif how == "drops":
        talker.socket.transport.abort()
    elif how == "disconnected":
        await world.kit.disconnect_realtime_voice(world.sessions[MINE])
    elif how == "closed":
        await world.kit.close()
    else:
        world.sim.refuse(401, 401)
        world.relay.refuse(False)
        world.relay.cut()
        await until(lambda: world.clock.sleepers)
        await world.clock.advance(LONGEST_PAUSE)


LIVE = ["idle", "listening", "thinking", "speaking", "tool", "reconnecting"]


@pytest.mark.parametrize("vendor", sorted(VENDORS))
class TestRealtimeVoiceChannel:
    """RealtimeVoiceChannel with a socket in front and a vendor behind."""

    @pytest.mark.parametrize("how", ["leaves", "drops", "disconnected", "closed", "vendor"])
    @pytest.mark.parametrize("state", LIVE)
    async def test_ended_at(self, vendor: str, state: str, how: str) -> None:
        """One end, told once; nothing is left at the caller's side, ours or the vendor's."""
        async with studio(vendor) as (world, url):
            talker = await dial(url, MINE)
            await until(lambda: MINE in world.sessions)
            session = world.sessions[MINE]
            await drive(world, state, talker)
            await finish(world, how, talker)
            await until(lambda: session.state == "ended" and not world.channel.sessions)
            if how != "closed":
                await until(lambda: world.ended(MINE))
                await world.kit.disconnect_realtime_voice(session)
            assert world.ended(MINE) <= 1
            assert session.state == "ended"
            await world.sim.connected(0)
            await asyncio.wait_for(talker.reader, 5)
            if how == "vendor":
                assert talker.messages[-1]["type"] == "session_ended"

    @pytest.mark.parametrize("how", ["leaves", "drops", "refused", "closed"])
    async def test_ended_while_connecting(self, vendor: str, how: str) -> None:
        """Nobody is told of a session that never was."""
        async with studio(vendor) as (world, url):
            world.relay.stall()
            talker = await dial(url, MINE)
            await until(lambda: world.channel.sessions and world.relay.lines)
            session = world.channel.sessions[0]
            assert session.state == "connecting"
            if how == "refused":
                world.relay.cut()
            else:
                await finish(world, how, talker)
            async with asyncio.timeout(3):
                await until(lambda: not world.channel.sessions and session.state == "ended")
                await until(lambda: world.failed)
            assert world.ears.of("voice_connected") == []
            assert world.ended(MINE) == 0
            await talker.socket.close()
            await talker.reader

    async def test_one_leaver(self, vendor: str) -> None:
        """The other caller, in the middle of an answer, hears the rest of it."""
        async with studio(vendor) as (world, url):
            talker, other = await dial(url, MINE), await dial(url, OTHER)
            await until(lambda: len(world.sessions) == 2)
            world.sim.answers(world.vendor.turn("A long story", hold=True))
            await other.speak()
            await until(lambda: other.audio)
            talker.socket.transport.abort()
            await until(lambda: world.ended(MINE))
            await world.sim.release()
            await until(lambda: [m for m in other.messages if m.get("text") == "A long story"])
            assert world.ended(OTHER) == 0
            assert world.channel.sessions == [world.sessions[OTHER]]
            await other.socket.close()
            await asyncio.gather(talker.reader, other.reader)
