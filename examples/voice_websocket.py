"""Voice over a WebSocket: a client sends PCM and hears an answer it can interrupt.

A real server and a real client on this machine. The client shows its token in its first frame, as
a browser must; it sends a mark back for what it has played, so the server knows what was heard.

    python examples/voice_websocket.py
"""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from roomkit.voice.backends.websocket import (
    VoiceCaller,
    VoiceHandshake,
    WebSocketVoiceBackend,
)

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession

TOKENS = {"token-of-ana": "ana"}
"""Made up for the example; a real program asks its sessions or its identity provider."""


def authenticate(shake: VoiceHandshake) -> VoiceCaller | None:
    """Return who a client is by its token, and the room it speaks in."""
    for token, person in TOKENS.items():
        if hmac.compare_digest(token.encode(), (shake.token or "").encode()):
            return VoiceCaller(participant_id=person, room_id="lobby")
    return None


class Client:
    """Somebody with a microphone. It plays in no time, and has heard enough after a second."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._interrupted = False
        self.heard_ms = 0

    async def speak(self) -> None:
        """Speak for a second."""
        for _ in range(50):
            await self._socket.send(bytes(640))

    async def listen(self) -> None:
        """Play what comes, return the marks, interrupt after a second; until it is over."""
        async for message in self._socket:
            if isinstance(message, bytes):
                self.heard_ms += len(message) // 32
                continue
            frame: dict[str, Any] = json.loads(message)
            if frame["type"] == "mark" and not self._interrupted:
                await self._socket.send(message)
                if self.heard_ms >= 1000:
                    self._interrupted = True
                    await self._socket.send('{"type": "clear"}')
            elif frame["type"] == "transcription":
                print("the client is shown:", frame["text"])


async def main() -> None:
    """Let a client call and interrupt the answer; refuse a stranger."""
    backend = WebSocketVoiceBackend(authenticate=authenticate, channel_id="voice")
    frames: list[AudioFrame] = []

    async def listen(session: VoiceSession, frame: AudioFrame) -> None:
        frames.append(frame)
        if len(frames) == 50:
            print("heard:", round((frame.timestamp_ms or 0) + frame.duration_ms), "ms")
            await backend.send_audio(session, bytes(32 * 10_000))

    async def interrupted(session: VoiceSession) -> None:
        played = backend.played_ms(session)
        print("interrupted:", await backend.cancel_audio(session), "after", played, "ms of 10000")
        await backend.send_transcription(session, "Yes?", "assistant")
        await backend.disconnect(session)

    backend.on_audio_received(listen)
    backend.on_barge_in(interrupted)

    async with serve(backend.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}/voice"

        async with connect(url) as socket:
            start = {"type": "start", "codec": "pcm_s16le", "sample_rate": 16000}
            await socket.send(json.dumps({**start, "token": "token-of-ana"}))
            print("answer to the start:", json.loads(await socket.recv())["type"])
            client = Client(socket)
            await client.speak()
            await client.listen()
            print("sent ahead by at most a second:", client.heard_ms <= 2000)

        async with connect(url) as socket:
            await socket.send(json.dumps({"type": "start", "token": "guessed"}))
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                print("the stranger was closed with", closed.rcvd.code if closed.rcvd else None)
        await backend.close()


if __name__ == "__main__":
    asyncio.run(main())
