"""The connections a backend serves: websockets (see the other tests), ASGI and Starlette's."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus

from roomkit.simulators import served
from roomkit.voice.backends.twilio import TwilioMediaStream
from roomkit.voice.backends.websocket import VoiceHandshake, WebSocketVoiceBackend
from roomkit.voice.base import VoiceSession, VoiceSessionState
from tests.test_voice._backend_clients import anybody, client_of, until
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.voice.audio_frame import AudioFrame

pytestmark = pytest.mark.timeout(30)


class State(Enum):
    """As of Starlette."""

    CONNECTING = 0
    CONNECTED = 1


class StarletteLike:
    """What a Starlette WebSocket shows of itself: scope, receive, send, application_state."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.application_state = State.CONNECTING

    async def accept(self) -> None:
        """Accept, as an endpoint does before it hands the socket on."""
        assert (await self.receive())["type"] == "websocket.connect"
        await self.send({"type": "websocket.accept"})
        self.application_state = State.CONNECTED


def plain(backend: WebSocketVoiceBackend) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Return an app that hands on the ASGI tuple."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await backend.serve((scope, receive, send))

    return app


def endpoint(
    backend: WebSocketVoiceBackend, accepted: bool
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Return an app that hands on a WebSocket like Starlette's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        socket = StarletteLike(scope, receive, send)
        if accepted:
            await socket.accept()
        await backend.serve(socket)

    return app


class TestAsgi:
    """A real server, uvicorn, in front."""

    @pytest.mark.parametrize("kind", ["plain", "starlette", "accepted"])
    async def test_a_call(self, kind: str) -> None:
        """Sound goes both ways, and the end is noticed."""
        seen: list[VoiceHandshake] = []

        def who(shake: VoiceHandshake) -> Any:
            seen.append(shake)
            return anybody(shake)

        backend = WebSocketVoiceBackend(authenticate=who)
        heard: list[AudioFrame] = []
        ended: list[VoiceSession] = []
        backend.on_audio_received(lambda _, frame: heard.append(frame))
        backend.on_session_ended(ended.append)
        app = plain(backend) if kind == "plain" else endpoint(backend, kind == "accepted")
        async with (
            served(app) as url,
            client_of(f"ws{url[4:]}/calls?x=1", headers={"X-Who": "bob"}) as client,
        ):
            await client.start()
            await client.send(tone(440, 20))
            await until(lambda: heard)
            session = backend.list_sessions("r")[0]
            await backend.send_audio(session, tone(440, 100))
            await until(lambda: not backend.is_playing(session))
            assert b"".join(client.audio) == tone(440, 100)
            client.drop()
            await until(lambda: ended)
        assert session.state is VoiceSessionState.ENDED
        assert (seen[0].path, seen[0].headers["x-who"]) == ("/calls", "bob")
        await backend.close()

    async def test_we_close(self) -> None:
        """The client gets the code."""
        backend = WebSocketVoiceBackend(authenticate=anybody)
        async with served(plain(backend)) as url, client_of(f"ws{url[4:]}") as client:
            await client.start()
            await backend.close()
            assert await client.closed() == 1001

    async def test_refused_before_it_is_accepted(self) -> None:
        """An unsigned Twilio request gets HTTP 403 and no WebSocket at all."""
        backend = TwilioMediaStream(
            auth_token="t", public_url="wss://example.org", authenticate=anybody
        )
        async with served(plain(backend)) as url:
            with pytest.raises(InvalidStatus, match="403"):
                async with client_of(f"ws{url[4:]}"):
                    pass
        await backend.close()


class Broken:
    """A connection that fails where it is told to.

    Args:
        fails: ``send``, ``receive`` or ``hangs``: a client that takes nothing.
    """

    def __init__(self, fails: str) -> None:
        self._fails = fails
        self._messages = ['{"type": "start"}']
        self.closed: list[int] = []

    def __aiter__(self) -> Broken:
        return self

    async def __anext__(self) -> str:
        if self._messages:
            return self._messages.pop()
        if self._fails == "receive":
            raise OSError("reset by 203.0.113.7")
        await asyncio.Event().wait()
        raise StopAsyncIteration

    async def send(self, message: str | bytes) -> None:
        """Send, or not."""
        if self._fails == "send":
            raise OSError("reset by 203.0.113.7")
        if self._fails == "hangs":
            await asyncio.Event().wait()

    async def close(self, code: int) -> None:
        """Close, with an error."""
        self.closed.append(code)
        raise OSError


class TestBroken:
    """Sockets that fail in other ways than by a good-bye."""

    @pytest.mark.parametrize("fails", ["send", "receive", "hangs"])
    async def test_the_session_ends(self, fails: str, caplog: pytest.LogCaptureFixture) -> None:
        """Whichever side breaks: the session ends, told once, and nothing is left running."""
        backend = WebSocketVoiceBackend(authenticate=anybody, send_timeout=0.05)
        ended: list[VoiceSession] = []
        backend.on_session_ended(ended.append)
        socket = Broken(fails)
        before = asyncio.all_tasks()
        await backend.serve(socket)
        assert [each.state for each in ended] == [VoiceSessionState.ENDED]
        assert socket.closed == [1000]
        assert asyncio.all_tasks() == before
        assert "203.0.113.7" not in caplog.text

    async def test_a_server_that_says_nonsense(self) -> None:
        """No ``websocket.connect`` where one must be: nobody is served."""
        backend = WebSocketVoiceBackend(authenticate=anybody)
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.receive", "text": "x"}

        async def send(message: Any) -> None:
            sent.append(message)

        await backend.serve(({"type": "websocket"}, receive, send))
        assert sent == []
