"""The FastRTC transport of live sessions against the real FastRTC, over real sockets.

See test_real_fastrtc.py for the environment this needs.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.simulators import served
from roomkit.testing.conformance.realtime_transport import (
    RealtimeClient,
    RealtimeTransportConformance,
)
from roomkit.voice.realtime.base import RealtimeSession
from roomkit.voice.realtime.fastrtc_transport import (
    FastRTCRealtimeTransport,
    mount_fastrtc_realtime,
)
from tests.fastrtc._clients import (
    NEEDS_FASTRTC,
    Browser,
    Page,
    close_to,
    exact,
    make_app,
    page_at,
    spoken,
)
from tests.test_voice._backend_clients import until
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from roomkit.voice.realtime import RealtimeAudioTransport

pytestmark = NEEDS_FASTRTC

MS = 48
"""Bytes of a millisecond of what is heard."""
LIMIT = 3


class Desk:
    """A served transport that gives every client a session.

    Attributes:
        sessions: By the name of their client.
        heard: What each client said.
        left: Those told to have left.
    """

    def __init__(self) -> None:
        self.transport = FastRTCRealtimeTransport()
        self.sessions: dict[str, RealtimeSession] = {}
        self.heard: dict[str, bytes] = {}
        self.left: list[str] = []
        self.url = ""
        self.transport.on_client_connected(self._begin)
        self.transport.on_audio_received(self._hear)
        self.transport.on_client_disconnected(lambda session: self.left.append(session.id))
        app = make_app()
        mount_fastrtc_realtime(app, self.transport, concurrency_limit=LIMIT)
        self.app = app
        self.stream: Any = vars(self.transport)["_stream"]

    async def _begin(self, name: str) -> None:
        session = RealtimeSession(name, "room", "ana", "live")
        await self.transport.accept(session, name)
        self.sessions[name] = session

    def _hear(self, session: RealtimeSession, audio: bytes) -> None:
        self.heard[session.id] = self.heard.get(session.id, b"") + audio

    def page(
        self, name: Any, route: str = "websocket/offer", *, start: bool = True
    ) -> AbstractAsyncContextManager[Page]:
        """Connect a page, or a telephone by ``telephone/handler``."""
        return page_at(self.url, name, route, start=start)

    async def session_of(self, name: str) -> RealtimeSession:
        """Wait for a client's session."""
        await until(lambda: name in self.sessions)
        return self.sessions[name]

    def empty(self) -> bool:
        """Whether FastRTC remembers nobody."""
        return not self.stream.connections and not self.stream.pcs


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A transport mounted on a FastAPI app, served by uvicorn."""
    desk = Desk()
    async with served(desk.app) as url:
        desk.url = f"{url}/rtc-realtime"
        yield desk
        await desk.transport.close()
        await until(desk.empty)


class TestPages:
    """WebSocket clients."""

    async def test_two_at_once(self, desk: Desk) -> None:
        """Sound both ways as G.711 at the transport's rates, and messages; none is mixed up."""
        async with desk.page("w1") as one, desk.page("w2") as two:
            first, second = await desk.session_of("w1"), await desk.session_of("w2")
            await one.speak(tone(300, 20))
            await two.speak(tone(500, 20))
            await until(lambda: len(desk.heard) == 2)
            assert close_to(tone(300, 20), desk.heard["w1"])
            assert close_to(tone(500, 20), desk.heard["w2"])
            low, high = tone(300, 200, rate=24000), tone(500, 200, rate=24000)
            await desk.transport.send_audio(first, low)
            await desk.transport.send_audio(second, high)
            await desk.transport.send_message(first, {"type": "speaking", "who": "user"})
            await until(lambda: len(one.heard()) >= len(low) and len(two.heard()) >= len(high))
            assert close_to(low, one.heard())
            assert close_to(high, two.heard())
            assert {"type": "speaking", "who": "user"} in one.said
            assert {"type": "speaking", "who": "user"} not in two.said

    async def test_a_long_answer_does_not_fall_behind(self, desk: Desk) -> None:
        """FastRTC's own pause behind each piece must not be longer than the piece."""
        async with desk.page("w1") as page:
            session = await desk.session_of("w1")
            sound = tone(440, 3000, rate=24000)
            begin = asyncio.get_running_loop().time()
            await desk.transport.send_audio(session, sound)
            await until(lambda: len(page.heard()) >= len(sound))
            assert asyncio.get_running_loop().time() - begin > 2.5
            assert close_to(sound, page.heard())
            sizes = {len(spoken([each])) for each in page.said if "media" in each}
            assert sizes == {60 * MS}

    async def test_interrupted(self, desk: Desk) -> None:
        """Of an answer of half a minute only the beginning is sent."""
        async with desk.page("w1") as page:
            session = await desk.session_of("w1")
            await desk.transport.send_audio(session, tone(440, 30_000, rate=24000))
            await until(page.heard)
            await desk.transport.send_message(session, {"type": "clear_audio"})
            await until(lambda: {"type": "clear_audio"} in page.said)
            at = page.said.index({"type": "clear_audio"})
            again = tone(330, 60, rate=24000)
            await desk.transport.send_audio(session, again)
            await until(lambda: close_to(again, page.heard()[-len(again) :]))
            assert len(page.heard()) < 2000 * MS
            # One piece may have been on its way.
            assert len(page.said) - at <= 3

    @pytest.mark.parametrize("how", ["stop", "drop", "leave", "garbage"])
    async def test_who_leaves_is_noticed(self, desk: Desk, how: str) -> None:
        """Although FastRTC does not say so; the other page stays, and the name is free."""
        async with desk.page("w1") as one, desk.page("w2") as two:
            await desk.session_of("w1")
            second = await desk.session_of("w2")
            if how == "stop":
                await one.send("stop")
            elif how == "garbage":
                await one.tell("no object")
            elif how == "leave":
                await one.leave()
            else:
                one.drop()
            await until(lambda: desk.left)
            assert desk.left == ["w1"]
            await desk.transport.send_audio(second, tone(440, 60, rate=24000))
            await until(two.heard)
            del desk.sessions["w1"]
            async with desk.page("w1"):
                await desk.session_of("w1")

    async def test_we_end_it(self, desk: Desk) -> None:
        """The page is closed, its place is free again, and nobody told."""
        for _ in range(LIMIT + 1):
            async with desk.page("w1") as page:
                session = await desk.session_of("w1")
                await page.speak(bytes(640))
                await desk.transport.disconnect(session)
                await page.speak(bytes(640))
                await until(lambda page=page: page.closed)
            del desk.sessions["w1"]
            await until(desk.empty)
        assert desk.left == []

    async def test_a_stranger(self, desk: Desk) -> None:
        """Who speaks before its start, or has no name, is not heard and disturbs nobody."""
        async with (
            desk.page("w1") as page,
            desk.page({"a": 1}),
            desk.page("", start=False) as mute,
        ):
            await mute.speak(bytes(640))
            await desk.session_of("w1")
            await page.speak(bytes(640))
            await until(lambda: desk.heard)
            assert list(desk.sessions) == ["w1"]
            await mute.leave()

    async def test_one_too_many(self, desk: Desk) -> None:
        """FastRTC refuses the page, we the telephone; the others go on."""
        async with AsyncExitStack() as stack:
            for number in range(LIMIT):
                await stack.enter_async_context(desk.page(f"w{number}"))
                await desk.session_of(f"w{number}")
            for route in ("websocket/offer", "telephone/handler"):
                async with desk.page("late", route) as page:
                    await until(lambda page=page: page.closed)
            assert sorted(desk.sessions) == ["w0", "w1", "w2"]
            assert desk.left == []


class TestTelephones:
    """Calls by ``telephone/handler``."""

    async def test_sound_both_ways(self, desk: Desk) -> None:
        """At 8 kHz on the line, whatever our rates; an interruption in Twilio's own form."""
        async with desk.page("MZ1", "telephone/handler") as page:
            session = await desk.session_of("MZ1")
            await page.speak(tone(440, 20, rate=8000))
            await until(lambda: desk.heard)
            assert len(desk.heard["MZ1"]) == 640
            await desk.transport.send_audio(session, tone(440, 200, rate=24000))
            await until(lambda: len(page.heard()) >= 3200)
            assert len(page.heard()) == 3200
            await desk.transport.send_audio(session, tone(440, 5000, rate=24000))
            await desk.transport.send_message(session, {"type": "clear_audio"})
            await until(lambda: {"event": "clear", "streamSid": "MZ1"} in page.said)
            await page.send("stop")
            await until(lambda: desk.left == ["MZ1"])


class TestBrowsers:
    """WebRTC clients."""

    async def test_sound_both_ways(self, desk: Desk) -> None:
        """It is heard, hears the answer, reads the messages, and its leaving is noticed."""
        browser = Browser()
        await browser.connect(desk.url, "b1")
        session = await desk.session_of("b1")
        await until(lambda: "b1" in desk.heard)
        await desk.transport.send_audio(session, tone(440, 2000, rate=24000))
        await desk.transport.send_message(session, {"type": "speaking", "who": "user"})
        await until(lambda: browser.loud > 1000)
        await until(lambda: {"type": "speaking", "who": "user"} in browser.texts)
        await desk.transport.send_message(session, {"type": "clear_audio"})
        await until(lambda: {"type": "clear_audio"} in browser.texts)
        await browser.close()
        await until(lambda: desk.left == ["b1"])

    async def test_beside_a_page(self, desk: Desk) -> None:
        """Who leaves leaves alone."""
        browser = Browser()
        await browser.connect(desk.url, "b1")
        await desk.session_of("b1")
        async with desk.page("w1") as page:
            session = await desk.session_of("w1")
            await browser.close()
            await until(lambda: desk.left == ["b1"])
            await desk.transport.send_audio(session, tone(440, 60, rate=24000))
            await until(page.heard)

    async def test_we_end_it(self, desk: Desk) -> None:
        """The connection is closed, its place free, and nobody told."""
        browser = Browser()
        await browser.connect(desk.url, "b1")
        session = await desk.session_of("b1")
        await until(lambda: "b1" in desk.heard)
        await desk.transport.disconnect(session)
        await until(lambda: browser.state == "closed")
        await until(desk.empty)
        await browser.close()
        assert desk.left == []

    async def test_a_lost_network(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """A browser that vanishes without a word is found by its missing answers."""
        import aioice.ice

        monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.05)
        monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)
        browser = Browser()
        await browser.connect(desk.url, "b1")
        session = await desk.session_of("b1")
        await until(lambda: "b1" in desk.heard)
        # So that emit is asked again, whatever FastRTC tells, before its idle wait is over.
        await desk.transport.send_audio(session, tone(440, 60_000, rate=24000))
        browser.vanish()
        await until(lambda: desk.left == ["b1"])
        await browser.close()


class Caller(RealtimeClient):
    """A page, as the suite drives one."""

    def __init__(self, name: str, page: Page) -> None:
        self.connection = name
        self._page = page

    async def say(self, audio: bytes) -> None:
        await self._page.speak(audio)

    async def leave(self) -> None:
        await self._page.leave()

    def audio(self) -> bytes:
        return self._page.heard()

    def messages(self) -> list[dict[str, Any]]:
        return [each for each in self._page.said if "type" in each]


class TestConformance(RealtimeTransportConformance):
    """It does what every transport must; the sound is compared as mu-law carries it."""

    @pytest.fixture(autouse=True)
    async def server(self) -> AsyncIterator[None]:
        """A server, one a test."""
        self.transport = FastRTCRealtimeTransport()
        self.came: list[str] = []
        self.transport.on_client_connected(self.came.append)
        app = make_app()
        mount_fastrtc_realtime(app, self.transport)
        async with served(app) as url, AsyncExitStack() as self.stack:
            self.url = f"{url}/rtc-realtime"
            yield

    async def make_transport(self) -> RealtimeAudioTransport:
        return self.transport

    async def make_client(self, transport: RealtimeAudioTransport) -> RealtimeClient:
        name = f"w{len(self.came)}"
        page = await self.stack.enter_async_context(page_at(self.url, name))
        await until(lambda: name in self.came)
        return Caller(name, page)

    async def test_audio_comes_in_order(self, transport: RealtimeAudioTransport) -> None:
        """Of the session it belongs to, to plain and async callbacks."""
        heard, later = bytearray(), bytearray()

        async def hear_later(session: RealtimeSession, audio: bytes) -> None:
            await asyncio.sleep(0)
            later.extend(audio)

        transport.on_audio_received(lambda _, audio: heard.extend(audio))
        transport.on_audio_received(hear_later)
        client = await self.make_client(transport)
        await transport.accept(self.session(), client.connection)
        pieces = [exact(bytes([0, number]) * 160) for number in range(20)]
        for piece in pieces:
            await client.say(piece)
        await self.until(lambda: len(later) == 6400)
        assert bytes(heard) == bytes(later) == b"".join(pieces)

    async def test_audio_goes_out_in_order(self, transport: RealtimeAudioTransport) -> None:
        """All of it."""
        client = await self.make_client(transport)
        session = self.session()
        await transport.accept(session, client.connection)
        pieces = [exact(bytes([0, number]) * 480) for number in range(10)]
        for piece in pieces:
            await transport.send_audio(session, piece)
        await self.until(lambda: len(client.audio()) >= 9600)
        assert client.audio() == b"".join(pieces)
