"""Callers at sockets who vanish without a word: ``idle_timeout``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.testing import ManualClock
from roomkit.voice.backends.twilio import TwilioMediaStream
from roomkit.voice.backends.websocket import WebSocketVoiceBackend
from roomkit.voice.base import VoiceSession, VoiceSessionState
from tests.test_voice._backend_clients import Client, anybody, client_of, line_to, until

IDLE = 30.0
MEDIA = json.dumps({"event": "media", "media": {"track": "inbound", "payload": "//8="}})


class Watched:
    """A backend whose time the test turns.

    Attributes:
        ended: Sessions whose client was said to have gone.
    """

    def __init__(self, kind: type[WebSocketVoiceBackend], **options: Any) -> None:
        self.clock = ManualClock()
        if kind is TwilioMediaStream:
            options["auth_token"] = None
        self.backend = kind(authenticate=anybody, clock=self.clock, **options)
        self.ended: list[VoiceSession] = []
        self.backend.on_session_ended(self.ended.append)

    async def watched(self) -> VoiceSession:
        """Return the session, once its client is waited for."""
        await until(lambda: self.backend.list_sessions("r") and self.clock.sleepers)
        return self.backend.list_sessions("r")[0]


async def begin(client: Client, kind: type[WebSocketVoiceBackend]) -> None:
    """Open the call as the client of a backend does."""
    if kind is TwilioMediaStream:
        await client.send(json.dumps({"event": "connected", "protocol": "Call"}))
        form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {"streamSid": "MZ1", "callSid": "CA1", "mediaFormat": form}
        await client.send(json.dumps({"event": "start", "start": start, "streamSid": "MZ1"}))
    else:
        await client.say("start")


@pytest.mark.parametrize("kind", [WebSocketVoiceBackend, TwilioMediaStream])
async def test_a_caller_who_vanished(kind: type[WebSocketVoiceBackend]) -> None:
    """The call ends so long after their last sign, once, and the socket is closed."""
    world = Watched(kind, idle_timeout=IDLE)
    async with line_to(world.backend) as url, client_of(url) as client:
        await begin(client, kind)
        session = await world.watched()
        await world.clock.advance(IDLE - 1)
        assert session.state is VoiceSessionState.ACTIVE
        await world.clock.advance(1)
        assert await client.closed() == 4409
        await until(lambda: world.ended)
        assert world.ended == [session]
        assert session.state is VoiceSessionState.ENDED
        await world.backend.close()
        assert world.ended == [session]
        assert not world.clock.sleepers


SIGNS: dict[str, tuple[type[WebSocketVoiceBackend], str | bytes]] = {
    "audio": (WebSocketVoiceBackend, bytes(640)),
    "a message": (WebSocketVoiceBackend, json.dumps({"type": "mark", "name": "here"})),
    "nonsense": (WebSocketVoiceBackend, "?"),
    "media": (TwilioMediaStream, MEDIA),
}


@pytest.mark.parametrize("sign", sorted(SIGNS))
async def test_a_sign(sign: str) -> None:
    """Whatever comes counts, and the time is counted from there."""
    kind, message = SIGNS[sign]
    world = Watched(kind, idle_timeout=IDLE)
    async with line_to(world.backend) as url, client_of(url) as client:
        await begin(client, kind)
        session = await world.watched()
        await world.clock.advance(IDLE - 1)
        await client.send(message)
        # What makes no sense is counted: then what came before it has been read too.
        await client.send("?")
        seen = 2 if message == "?" else 1
        await until(lambda: (stats := world.backend.stats(session)) and stats.malformed == seen)
        await world.clock.advance(IDLE - 1)
        assert session.state is VoiceSessionState.ACTIVE
        await world.clock.advance(1)
        assert await client.closed() == 4409
        await until(lambda: world.ended == [session])


async def test_what_we_say_is_no_sign() -> None:
    """A client that only listens, and answers no marks, is one that has vanished."""
    world = Watched(WebSocketVoiceBackend, idle_timeout=IDLE)
    async with line_to(world.backend) as url, client_of(url, answers=False) as client:
        await begin(client, WebSocketVoiceBackend)
        session = await world.watched()
        await world.clock.advance(IDLE - 1)
        await world.backend.send_audio(session, bytes(640))
        await until(lambda: client.audio)
        await world.clock.advance(1)
        assert await client.closed() == 4409


async def test_without_it_nobody_is_watched() -> None:
    """By default silence is no reason to end a call."""
    world = Watched(WebSocketVoiceBackend)
    async with line_to(world.backend) as url, client_of(url) as client:
        await client.start()
        [session] = world.backend.list_sessions("r")
        await world.clock.advance(100_000)
        await client.say("stop")
        assert await client.closed() == 1000
        assert world.ended == [session]


async def test_a_session_we_end_is_watched_no_more() -> None:
    """Nothing waits for a client that was sent away."""
    world = Watched(WebSocketVoiceBackend, idle_timeout=IDLE)
    async with line_to(world.backend) as url, client_of(url) as client:
        await begin(client, WebSocketVoiceBackend)
        await world.backend.disconnect(await world.watched())
        assert await client.closed() == 1000
        await until(lambda: not world.clock.sleepers)
        await world.clock.advance(IDLE)
        assert world.ended == []


@pytest.mark.parametrize("seconds", [0, -1])
def test_what_makes_no_sense(seconds: float) -> None:
    """It is more than nothing."""
    with pytest.raises(InvalidInputError):
        WebSocketVoiceBackend(authenticate=anybody, idle_timeout=seconds)
