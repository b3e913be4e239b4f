"""The backends in this package do what every backend must."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

from roomkit.testing import ManualClock
from roomkit.testing.conformance.voice_backend import VoiceBackendConformance
from roomkit.voice.audio import WavAudio, pcm16_to_mulaw
from roomkit.voice.backends.fastrtc import FastRTCVoiceBackend
from roomkit.voice.backends.loopback import LoopbackVoiceBackend
from roomkit.voice.backends.twilio import TwilioMediaStream
from roomkit.voice.backends.websocket import VoiceCaller, VoiceHandshake, WebSocketVoiceBackend
from tests.test_voice._backend_clients import until

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.backends.base import VoiceBackend
    from roomkit.voice.base import VoiceSession


def who(shake: VoiceHandshake) -> VoiceCaller:
    """Believe what the client says."""
    room, _, participant = (shake.room or "").partition("/")
    return VoiceCaller(participant, room)


class Pipe:
    """A connection without a network whose client answers every mark."""

    def __init__(self, *messages: str | bytes) -> None:
        self._queue: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        for message in messages:
            self._queue.put_nowait(message)

    def __aiter__(self) -> Pipe:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._queue.get()
        if message is None:
            raise StopAsyncIteration
        return message

    def say(self, message: str | bytes) -> None:
        """Send a message of the client."""
        self._queue.put_nowait(message)

    async def send(self, message: str | bytes) -> None:
        """Take a message for the client."""
        if isinstance(message, str):
            found = json.loads(message)
            if "mark" in (found.get("type"), found.get("event")):
                self._queue.put_nowait(message)

    async def close(self, code: int = 1000) -> None:
        """End it."""
        self._queue.put_nowait(None)


class _Served(VoiceBackendConformance):
    """A backend whose sessions need a client."""

    pipes: dict[str, Pipe]

    def start(self, room_id: str, participant_id: str) -> str:
        """Return a client's first message."""
        return json.dumps({"type": "start", "room": f"{room_id}/{participant_id}"})

    def sound(self, pcm: bytes) -> str | bytes:
        """Return a client's audio."""
        return pcm

    async def open_session(
        self, backend: VoiceBackend, room_id: str = "room-1", participant_id: str = "bob"
    ) -> VoiceSession:
        """Connect a client; its call is over when the backend closes."""
        assert isinstance(backend, WebSocketVoiceBackend)
        pipe = Pipe(self.start(room_id, participant_id))
        before = {session.id for session in backend.list_sessions(room_id)}
        self.serving.append(asyncio.create_task(backend.serve(pipe)))
        found: list[VoiceSession] = []

        def came() -> bool:
            found[:] = [each for each in backend.list_sessions(room_id) if each.id not in before]
            return bool(found)

        await until(came)
        self.pipes[found[0].id] = pipe
        return found[0]

    async def speak(
        self, backend: VoiceBackend, session: VoiceSession, audio: list[AudioFrame]
    ) -> bool:
        """Send frames."""
        for frame in audio:
            self.pipes[session.id].say(self.sound(frame.data))
        return True

    async def make_backend(self) -> VoiceBackend:
        """Return a backend without clients."""
        self.pipes: dict[str, Pipe] = {}
        self.serving: list[asyncio.Task[None]] = []
        return self.build()

    def build(self) -> WebSocketVoiceBackend:
        """Return a backend."""
        return WebSocketVoiceBackend(authenticate=who)


class TestWebSocket(_Served):
    """The plain protocol."""


class TestTwilio(_Served):
    """Twilio's."""

    def build(self) -> WebSocketVoiceBackend:
        """Return a backend."""
        return TwilioMediaStream(auth_token=None, authenticate=who)

    def start(self, room_id: str, participant_id: str) -> str:
        """Return Twilio's first message."""
        parameters = {"room": f"{room_id}/{participant_id}"}
        start = {"streamSid": "MZ1", "callSid": "CA1", "customParameters": parameters}
        return json.dumps({"event": "start", "streamSid": "MZ1", "start": start})

    def sound(self, pcm: bytes) -> str:
        """Return a media message."""
        payload = base64.b64encode(pcm16_to_mulaw(pcm)).decode()
        return json.dumps({"event": "media", "media": {"payload": payload}})


class TestLoopback(VoiceBackendConformance):
    """The one without a network."""

    async def make_backend(self) -> VoiceBackend:
        """Return a backend on a time of its own."""
        self.clock = ManualClock()
        return LoopbackVoiceBackend(clock=self.clock)

    async def speak(
        self, backend: VoiceBackend, session: VoiceSession, audio: list[AudioFrame]
    ) -> bool:
        """Play the frames in."""
        assert isinstance(backend, LoopbackVoiceBackend)
        sound = WavAudio(b"".join(frame.data for frame in audio), audio[0].sample_rate, 1)
        speaking = asyncio.create_task(backend.speak(session, sound))
        await self.clock.advance(10)
        await speaking
        return True


class _Page:
    """A page whose socket takes everything."""

    async def send_json(self, message: Any) -> None:
        """Take a message."""

    async def close(self) -> None:
        """Close."""


class TestFastRTC(VoiceBackendConformance):
    """FastRTC's, with pages that speak its WebSocket protocol."""

    async def make_backend(self) -> VoiceBackend:
        """Return a backend."""
        return FastRTCVoiceBackend(interruptible=True)

    async def open_session(
        self, backend: VoiceBackend, room_id: str = "room-1", participant_id: str = "bob"
    ) -> VoiceSession:
        """Return a session whose page FastRTC knows."""
        session = await backend.connect(room_id, participant_id, "voice")
        vars(backend)["_websockets"][session.id] = _Page()
        return session
