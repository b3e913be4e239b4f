"""Both FastRTC transports in an app as its own tests would drive it: Starlette's TestClient.

See test_real_fastrtc.py for the environment this needs.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from roomkit import RoomKit
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.voice.backends.fastrtc import FastRTCVoiceBackend, mount_fastrtc_voice
from roomkit.voice.realtime import MockRealtimeProvider
from roomkit.voice.realtime.fastrtc_transport import (
    FastRTCRealtimeTransport,
    mount_fastrtc_realtime,
)
from tests.fastrtc._clients import NEEDS_FASTRTC, close_to, make_app, media, spoken
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession
    from roomkit.voice.realtime import RealtimeSession

pytestmark = NEEDS_FASTRTC

PATIENCE = 20
LOW, HIGH = tone(300, 60), tone(500, 60)
"""60 ms at 16 kHz, which both use both ways."""


class Guests:
    """Who is on the line, as the app's thread tells the test's.

    Attributes:
        greeted: Whether guests get a session by coming; else they get it by their first word.
        came: Those who got a session.
        left: Those who have gone.
    """

    def __init__(self) -> None:
        self.greeted = False
        self.came: list[str] = []
        self.left: list[str] = []
        self._news = threading.Condition()

    def note(self, names: list[str], name: str) -> None:
        """Note that somebody has come or gone."""
        with self._news:
            names.append(name)
            self._news.notify_all()

    def wait(self, names: list[str], name: str) -> None:
        """Wait until somebody has come or gone."""
        with self._news:
            assert self._news.wait_for(lambda: name in names, PATIENCE)


class Echo(MockRealtimeProvider):
    """A model that says what it hears."""

    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        await self.simulate_audio(session, audio)


def with_backend(app: Any, guests: Guests) -> Any:
    """Mount a voice backend that says what it hears; return FastRTC's stream."""
    backend = FastRTCVoiceBackend(input_sample_rate=16000, output_sample_rate=16000)

    async def session(websocket_id: str) -> VoiceSession:
        return await backend.connect("room", websocket_id, "voice")

    async def answer(session: VoiceSession, frame: AudioFrame) -> None:
        await backend.send_audio(session, frame.data)

    backend.on_audio_received(answer)
    backend.on_session_ended(lambda session: guests.note(guests.left, session.participant_id))
    mount_fastrtc_voice(app, backend, path="/sound", session_factory=session)
    return vars(backend)["_stream"]


def with_transport(app: Any, guests: Guests) -> Any:
    """Mount a realtime transport in front of a model that says what it hears."""
    guests.greeted = True
    transport = FastRTCRealtimeTransport(input_sample_rate=16000, output_sample_rate=16000)
    kit = RoomKit()
    channel = RealtimeVoiceChannel(
        "live", provider=Echo(), transport=transport, output_sample_rate=16000
    )
    kit.register_channel(channel)

    async def begin(webrtc_id: str) -> None:
        if not await kit.store.get_room("room"):
            await kit.create_room("room")
            await kit.attach_channel("room", "live")
        await kit.connect_realtime_voice("room", webrtc_id, "live", webrtc_id)
        guests.note(guests.came, webrtc_id)

    transport.on_client_connected(begin)
    transport.on_client_disconnected(
        lambda session: guests.note(guests.left, session.participant_id)
    )
    mount_fastrtc_realtime(app, transport, path="/sound")
    return vars(transport)["_stream"]


@pytest.fixture(params=[with_backend, with_transport])
def line(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Guests, Any]]:
    """A client of an app, its guests, and FastRTC's stream."""
    from starlette.testclient import TestClient

    app, guests = make_app(), Guests()
    stream = request.param(app, guests)
    with TestClient(app) as client:
        yield client, guests, stream


def told(socket: Any, sound: bytes) -> bytes:
    """Say something until it is answered; return the answer, at least as long."""
    messages: list[dict[str, Any]] = []
    socket.send_json(media(sound))
    while len(spoken(messages)) < len(sound):
        messages.append(socket.receive_json())
    return spoken(messages)


def started(line: tuple[Any, Guests, Any], socket: Any, name: str) -> None:
    """Say who somebody is, and wait until they may speak."""
    _, guests, _ = line
    socket.send_json({"event": "start", "websocket_id": name})
    socket.send_json({"event": "ping"})
    assert socket.receive_json() == {"event": "pong"}
    if guests.greeted:
        guests.wait(guests.came, name)


def test_two_clients(line: tuple[Any, Guests, Any]) -> None:
    """Mu-law both ways, each its own; who leaves leaves alone, and nothing stays behind."""
    client, guests, stream = line
    address = "/sound/websocket/offer"
    with client.websocket_connect(address) as one:
        started(line, one, "one")
        with client.websocket_connect(address) as two:
            started(line, two, "two")
            assert close_to(LOW, told(one, LOW))
            assert close_to(HIGH, told(two, HIGH))
            assert sorted(stream.connections) == ["one", "two"]
        guests.wait(guests.left, "two")
        assert guests.left == ["two"]
        assert list(stream.connections) == ["one"]
        assert close_to(LOW, told(one, LOW))
    guests.wait(guests.left, "one")
    assert guests.left == ["two", "one"]
    assert not stream.connections
