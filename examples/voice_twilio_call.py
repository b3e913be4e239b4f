"""A telephone call through Twilio Media Streams, with Twilio's side played by this program.

The caller speaks, is answered, presses a key in the middle of the answer and thereby stops it, and
hangs up. A stream nobody at Twilio has signed does not get in.

For real calls serve ``backend`` under a public wss:// URL and have the call's TwiML say
``<Connect><Stream url="wss://..."><Parameter name="room" value="..."/></Stream></Connect>``.

    python examples/voice_twilio_call.py
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from roomkit.voice.audio import pcm16_to_mulaw
from roomkit.voice.backends.twilio import TwilioMediaStream, twilio_stream_signature
from roomkit.voice.backends.websocket import VoiceCaller, VoiceHandshake

if TYPE_CHECKING:
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession

AUTH_TOKEN = "made-up-auth-token"
PUBLIC_URL = "wss://calls.example.org/stream"


def authenticate(shake: VoiceHandshake) -> VoiceCaller:
    """Put a call into the room its TwiML names; Twilio's signature was checked before."""
    return VoiceCaller("caller", shake.parameters["room"], {"call_id": shake.call_id})


class Phone:
    """Twilio's side of a stream: it plays what it gets, and returns marks."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.played_ms = 0
        self.pending: list[dict[str, Any]] = []
        self.cleared = 0

    async def send(self, event: str, **fields: Any) -> None:
        """Send a message of the stream."""
        await self._socket.send(json.dumps({"event": event, "streamSid": "MZ1", **fields}))

    async def start(self, room: str) -> None:
        """Open the stream of a call."""
        await self.send("connected", protocol="Call", version="1.0.0")
        form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        parameters = {"room": room}
        start = {"streamSid": "MZ1", "callSid": "CA1", "customParameters": parameters}
        await self.send("start", start={**start, "mediaFormat": form})

    async def speak(self, count: int) -> None:
        """Send frames of 20 ms."""
        payload = base64.b64encode(pcm16_to_mulaw(bytes(320))).decode()
        for number in range(count):
            media = {"track": "inbound", "timestamp": str(20 * number), "payload": payload}
            await self.send("media", media=media)

    async def play(self) -> None:
        """Play what comes. A key is pressed after half a second; nothing plays after it."""
        async for message in self._socket:
            found = json.loads(message)
            match found["event"]:
                case "media":
                    self.played_ms += len(base64.b64decode(found["media"]["payload"])) // 8
                case "mark" if self.played_ms <= 500:
                    await self.send("mark", mark=found["mark"])
                    if self.played_ms == 500:
                        await self.send("dtmf", dtmf={"track": "inbound_track", "digit": "0"})
                case "mark":
                    self.pending.append(found["mark"])
                case "clear":
                    self.cleared += 1
                    # Twilio returns the marks of what it dropped; they must not count as heard.
                    for mark in self.pending:
                        await self.send("mark", mark=mark)
                    await self.send("stop", stop={"callSid": "CA1"})


async def main() -> None:
    """Take a call."""
    backend = TwilioMediaStream(
        auth_token=AUTH_TOKEN, public_url=PUBLIC_URL, authenticate=authenticate
    )
    over = asyncio.Event()
    frames: list[AudioFrame] = []

    async def listen(session: VoiceSession, frame: AudioFrame) -> None:
        frames.append(frame)
        if len(frames) == 25:
            print("call", session.metadata["call_id"], "in room", session.room_id)
            await backend.send_audio(session, bytes(16 * 5000))

    async def key(session: VoiceSession, digit: str) -> None:
        heard = backend.played_ms(session)
        stopped = await backend.cancel_audio(session)
        print("key", digit, "after", heard, "ms, stopped:", stopped)

    def ended(session: VoiceSession) -> None:
        print("the caller hung up:", session.state)
        over.set()

    backend.on_audio_received(listen)
    backend.on_dtmf(key)
    backend.on_session_ended(ended)

    async with serve(backend.serve, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"
        signature = twilio_stream_signature(AUTH_TOKEN, PUBLIC_URL)
        headers = {"X-Twilio-Signature": signature}
        async with connect(url, additional_headers=headers) as socket:
            phone = Phone(socket)
            await phone.start("support")
            await phone.speak(25)
            await phone.play()
            await over.wait()
            print("cleared:", phone.cleared, "frames heard:", len(frames))
        async with connect(url) as socket:
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                print("without a signature:", closed.rcvd.code if closed.rcvd else None)
        await backend.close()


if __name__ == "__main__":
    asyncio.run(main())
