"""The FastRTC backend against the real FastRTC, over real sockets.

``scripts/fastrtc.sh`` (``make test-fastrtc``) runs this in an environment of its own, since
FastRTC holds back packages that the other tests want new; elsewhere it is skipped.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.simulators import served
from roomkit.testing.conformance._sound import frames
from roomkit.testing.conformance.voice_backend import VoiceBackendConformance
from roomkit.voice.backends.fastrtc import FastRTCVoiceBackend, mount_fastrtc_voice
from roomkit.voice.base import VoiceSession, VoiceSessionState
from tests.fastrtc._clients import NEEDS_FASTRTC, Browser, Page, close_to, exact, make_app, page_at
from tests.test_voice._backend_clients import until
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.backends.base import VoiceBackend

pytestmark = NEEDS_FASTRTC


class Desk:
    """A served backend."""

    def __init__(self, url: str, backend: FastRTCVoiceBackend) -> None:
        self.url = f"{url}/fastrtc"
        self.backend = backend
        self.heard: list[AudioFrame] = []
        self.ended: list[VoiceSession] = []
        backend.on_audio_received(lambda _, frame: self.heard.append(frame))
        backend.on_session_ended(self.ended.append)

    def page(
        self, name: Any, route: str = "websocket/offer", *, start: bool = True
    ) -> AbstractAsyncContextManager[Page]:
        """Connect a page, or a telephone by ``telephone/handler``."""
        return page_at(self.url, name, route, start=start)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A backend mounted on a FastAPI app, served by uvicorn."""
    app = make_app()
    backend = FastRTCVoiceBackend(input_sample_rate=16000, output_sample_rate=16000)

    async def session(websocket_id: str) -> VoiceSession:
        return await backend.connect(websocket_id, "ana", "voice")

    mount_fastrtc_voice(app, backend, session_factory=session)
    async with served(app) as url:
        yield Desk(url, backend)
        await backend.close()


async def session_of(desk: Desk, page: Page, name: str) -> VoiceSession:
    """Let a page speak until it has a session."""
    await page.speak(bytes(640))
    await until(lambda: desk.backend.list_sessions(name))
    return desk.backend.list_sessions(name)[0]


class TestPages:
    """WebSocket clients."""

    async def test_sound_both_ways(self, desk: Desk) -> None:
        """At the backend's rates, as G.711; text beside it; the loop goes on meanwhile."""
        async with desk.page("w1") as page:
            session = await session_of(desk, page, "w1")
            sound = tone(440, 20)
            await page.speak(sound)
            await until(lambda: len(desk.heard) == 2)
            frame = desk.heard[1]
            assert (frame.sample_rate, len(frame.data)) == (16000, len(sound))
            assert close_to(exact(sound), frame.data)
            await desk.backend.send_audio(session, sound)
            await desk.backend.send_transcription(session, "Hello")
            await until(lambda: len(page.said) == 2)
            assert page.heard() == exact(sound)
            assert page.said[1]["data"] == {"text": "Hello", "role": "user"}
            await desk.backend.send_audio(session, tone(440, 30_000))
            assert await desk.backend.cancel_audio(session)
            await until(lambda: page.said[-1] == {"event": "clear"})

    @pytest.mark.parametrize("how", ["stop", "drop"])
    async def test_who_leaves_is_noticed(self, desk: Desk, how: str) -> None:
        """Although FastRTC does not say so; the other page stays."""
        async with desk.page("w1") as one, desk.page("w2") as two:
            first = await session_of(desk, one, "w1")
            second = await session_of(desk, two, "w2")
            if how == "stop":
                await one.send("stop")
            else:
                one.drop()
            await until(lambda: desk.ended)
            assert desk.ended == [first]
            assert second.state is VoiceSessionState.ACTIVE
            await desk.backend.send_audio(second, tone(440, 20))
            await until(two.heard)

    async def test_we_end_it(self, desk: Desk) -> None:
        """The page is closed, the server goes on."""
        async with desk.page("w1") as page:
            session = await session_of(desk, page, "w1")
            await desk.backend.disconnect(session)
            await until(lambda: page.closed)
        assert desk.ended == []
        async with desk.page("w2") as page:
            await session_of(desk, page, "w2")


class TestTelephones:
    """Calls by ``telephone/handler``, which FastRTC itself sends to from ``emit``."""

    async def test_sound_both_ways(self, desk: Desk) -> None:
        """At 8 kHz, whatever the backend's rates, with the name of the stream."""
        async with desk.page("MZ1", "telephone/handler") as page:
            session = await session_of(desk, page, "MZ1")
            assert desk.heard[0].sample_rate == 16000
            await desk.backend.send_audio(session, tone(440, 200))
            await until(lambda: len(page.heard()) >= 3200)
            assert page.said[0]["streamSid"] == "MZ1"
            assert len(page.heard()) == 3200
            await page.send("stop")
            await until(lambda: desk.ended == [session])


class TestBrowsers:
    """WebRTC clients, which the reference could never answer."""

    async def test_sound_both_ways(self, desk: Desk) -> None:
        """It is heard, hears the answer, and its leaving is noticed."""
        browser = Browser()
        await browser.connect(desk.url, "b1")
        await until(lambda: desk.heard)
        session = desk.backend.list_sessions("b1")[0]
        assert desk.heard[0].channels == 1
        await desk.backend.send_audio(session, tone(440, 1000))
        await until(lambda: browser.loud > 1000)
        assert desk.backend.is_playing(session)
        assert await desk.backend.cancel_audio(session)
        await browser.close()
        await until(lambda: desk.ended == [session])

    async def test_we_end_it(self, desk: Desk) -> None:
        """The browser's connection is closed, and its place is free."""
        browser = Browser()
        await browser.connect(desk.url, "b1")
        await until(lambda: desk.heard)
        await desk.backend.disconnect(desk.backend.list_sessions("b1")[0])
        await until(lambda: browser.state == "closed")
        stream = vars(desk.backend)["_stream"]
        await until(lambda: not stream.pcs and not stream.connections)
        await browser.close()
        assert desk.ended == []


class TestConformance(VoiceBackendConformance):
    """It does what every backend must, with pages at real sockets."""

    @pytest.fixture(autouse=True)
    async def server(self) -> AsyncIterator[None]:
        """A server, one a test."""
        app = make_app()
        self.backend = FastRTCVoiceBackend(
            input_sample_rate=16000, output_sample_rate=16000, interruptible=True
        )
        self.pages: dict[str, Page] = {}

        async def session(websocket_id: str) -> VoiceSession:
            room, participant, _ = websocket_id.split("/")
            return await self.backend.connect(room, participant, "voice")

        mount_fastrtc_voice(app, self.backend, session_factory=session)
        async with served(app) as url, AsyncExitStack() as self.stack:
            self.url = f"{url}/fastrtc"
            yield

    async def make_backend(self) -> VoiceBackend:
        """Return the one that is mounted."""
        return self.backend

    async def open_session(
        self, backend: VoiceBackend, room_id: str = "room-1", participant_id: str = "bob"
    ) -> VoiceSession:
        """Let a page speak until it has a session."""
        before = {each.id for each in backend.list_sessions(room_id)}
        name = f"{room_id}/{participant_id}/{len(self.pages)}"
        page = await self.stack.enter_async_context(page_at(self.url, name))
        await page.speak(bytes(640))
        found: list[VoiceSession] = []

        def came() -> bool:
            found[:] = [each for each in backend.list_sessions(room_id) if each.id not in before]
            return bool(found)

        await until(came)
        self.pages[found[0].id] = page
        return found[0]

    async def speak(
        self, backend: VoiceBackend, session: VoiceSession, audio: list[AudioFrame]
    ) -> bool:
        """Send frames."""
        for frame in audio:
            await self.pages[session.id].speak(frame.data)
        return True

    async def test_frames_come_in_order(self, backend: VoiceBackend) -> None:
        """To the one callback this backend keeps: the last."""
        first: list[bytes] = []
        seen: list[tuple[str, bytes]] = []
        backend.on_audio_received(lambda _, frame: first.append(frame.data))

        async def listen(session: VoiceSession, frame: AudioFrame) -> None:
            await asyncio.sleep(0)
            seen.append((session.id, frame.data))

        backend.on_audio_received(listen)
        session = await self.open_session(backend)
        given = list(frames(exact(tone(440, 400)), 16000))
        await self.speak(backend, session, given)
        await until(lambda: len(seen) > len(given))
        assert {session_id for session_id, _ in seen} == {session.id}
        pairs = zip(given, seen[1:], strict=True)
        assert all(close_to(frame.data, data) for frame, (_, data) in pairs)
        assert first == []
