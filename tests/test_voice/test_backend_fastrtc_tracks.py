"""The FastRTC backend, on a fake FastRTC: clients FastRTC itself sends to."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from roomkit.testing import ManualClock
from roomkit.voice.base import AudioChunk, VoiceSessionState
from tests.test_voice._backend_clients import endless, until
from tests.test_voice._fake_fastrtc import Client, CloseStream, samples
from tests.test_voice._fastrtc_backend import MS, RATE, Desk
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def clock() -> ManualClock:
    """Time of its own."""
    return ManualClock()


@pytest.fixture
async def desk(clock: ManualClock) -> AsyncIterator[Desk]:
    """A mounted backend."""
    desk = Desk(clock)
    yield desk
    await desk.close()


class TestTracks:
    """WebRTC clients and telephone calls are sent to by FastRTC, from ``emit``."""

    @pytest.mark.parametrize("kind", ["webrtc", "phone"])
    async def test_paced_by_the_clock(self, desk: Desk, clock: ManualClock, kind: str) -> None:
        """20 ms at a time, 0.2 s ahead; nothing over a socket."""
        client, session = await desk.call(kind=kind)
        sound = tone(440, 1000, rate=RATE)
        await desk.backend.send_audio(session, sound)
        await until(lambda: len(client.pcm()) >= 200 * MS)
        await clock.advance(0)
        assert len(client.pcm()) == 220 * MS
        await clock.advance(0.5)
        assert len(client.pcm()) in range(700 * MS, 741 * MS)
        assert desk.backend.played_ms(session) == 500
        await clock.advance(0.6)
        assert client.pcm() == sound
        assert not desk.backend.is_playing(session)
        assert client.emitted[0][0] == RATE
        if client.websocket is not None:
            assert client.websocket.sent == []

    async def test_cancelled(self, desk: Desk, clock: ManualClock) -> None:
        """What FastRTC has not got, and what it has queued, is dropped."""
        client, session = await desk.call(kind="webrtc")
        await desk.backend.send_audio(session, tone(440, 1000, rate=RATE))
        await clock.advance(0.1)
        before = len(client.pcm())
        assert await desk.backend.cancel_audio(session)
        await clock.advance(1)
        assert len(client.pcm()) == before
        assert client.cleared == 1
        assert desk.backend.played_ms(session) == 100
        await desk.backend.send_audio(session, tone(330, 20, rate=RATE))
        await clock.advance(0.1)
        assert client.pcm()[before:] == tone(330, 20, rate=RATE)

    async def test_a_telephone_is_told_to_clear(self, desk: Desk, clock: ManualClock) -> None:
        """With the name of its stream, as Twilio wants it."""
        client, session = await desk.call("MZ1", kind="phone")
        await desk.backend.send_audio(session, tone(440, 1000, rate=RATE))
        await clock.advance(0.1)
        assert await desk.backend.cancel_audio(session)
        assert client.websocket is not None
        assert client.websocket.sent == [{"event": "clear", "streamSid": "MZ1"}]
        await desk.backend.send_transcription(session, "Hello")
        assert len(client.websocket.sent) == 1

    async def test_endless_audio_is_bounded(self, clock: ManualClock) -> None:
        """``send_audio`` waits at the bound, until it is cancelled."""
        desk = Desk(clock, max_queued_ms=500)
        _, session = await desk.call(kind="webrtc")
        gone = asyncio.Event()
        yielded: list[int] = []

        async def stream() -> AsyncIterator[AudioChunk]:
            async for chunk in endless(gone, AudioChunk(bytes(100 * MS), RATE)):
                yielded.append(1)
                yield chunk

        source = stream()
        sending = asyncio.create_task(desk.backend.send_audio(session, source))
        await until(lambda: len(yielded) >= 7)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(yielded) <= 10
        assert not sending.done()
        await desk.backend.cancel_audio(session)
        await sending
        await desk.close()

    async def test_text_over_the_data_channel(self, desk: Desk) -> None:
        """As JSON."""
        client, session = await desk.call(kind="webrtc")
        await desk.backend.send_transcription(session, "Hello")
        assert json.loads(client.handler.messages[0])["data"] == {"text": "Hello", "role": "user"}

    async def test_the_client_goes(self, desk: Desk) -> None:
        """FastRTC calls ``shutdown``; a cancelled ``emit`` alone means nothing here."""
        client, session = await desk.call(kind="webrtc")
        client.emitting.cancel()
        await asyncio.wait([client.emitting])
        assert session.state is VoiceSessionState.ACTIVE
        await client.leave()
        assert desk.ended == [session]

    async def test_the_client_goes_while_its_session_is_made(self, desk: Desk) -> None:
        """The session ends at once, and is told to have ended."""
        client = Client(desk.stream, "slow", kind="webrtc")
        desk.clients.append(client)
        hearing = asyncio.create_task(client.hear(samples(bytes(960))))
        await until(lambda: desk.asked)
        await client.leave()
        desk.slow.set()
        await hearing
        assert [session.state for session in desk.ended] == [VoiceSessionState.ENDED]
        assert desk.backend.list_sessions("r") == []

    async def test_we_end_it(self, desk: Desk) -> None:
        """FastRTC is told once, the connection is closed, and nobody told."""
        client, session = await desk.call(kind="webrtc")
        await desk.backend.disconnect(session)
        assert client.pc.closed
        await until(lambda: client.emitted)
        for _ in range(100):
            await asyncio.sleep(0)
        assert [type(each) for each in client.emitted] == [CloseStream]
        assert desk.ended == []

    async def test_a_lost_network(self, desk: Desk, clock: ManualClock) -> None:
        """FastRTC may drop a client without a word: found in 20 s, and its task ended."""
        client, session = await desk.call(kind="webrtc")
        del desk.stream.pcs["w1"]
        await clock.advance(21)
        await until(lambda: desk.ended == [session])
        await asyncio.wait([client.emitting], timeout=5)
        assert client.emitting.cancelled()
