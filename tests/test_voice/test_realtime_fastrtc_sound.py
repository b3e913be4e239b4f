"""The FastRTC transport of live sessions, on a fake FastRTC: sound, messages, a conversation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from roomkit import RoomKit
from roomkit.channels.realtime_voice import RealtimeVoiceChannel
from roomkit.testing import ManualClock
from roomkit.voice.realtime import MockRealtimeProvider
from tests.test_voice._backend_clients import until
from tests.test_voice._fake_fastrtc import Samples, samples
from tests.test_voice._fastrtc_desk import CLEAR, KINDS, MESSAGE, MS, RATE, Desk, shown, turns
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.realtime import RealtimeSession


@pytest.fixture
def clock() -> ManualClock:
    """Time of its own."""
    return ManualClock()


@pytest.fixture
async def desk(clock: ManualClock) -> AsyncIterator[Desk]:
    """A mounted transport."""
    desk = Desk(clock)
    yield desk
    await desk.close()


class TestListening:
    """What callers say."""

    async def test_floats_and_other_rates(self, desk: Desk) -> None:
        """Louder than full scale stays loud; another rate is converted; no samples, nothing."""
        client, _ = await desk.call()
        loud = Samples([0.5, -0.5, 1.5, -1.5], "float32")
        await client.hear(loud, Samples([]))
        assert [audio for _, audio in desk.heard] == [
            Samples([16383, -16383, 32767, -32767]).tobytes()
        ]
        for _ in range(10):
            await client.hear(samples(tone(440, 20, rate=48000)), rate=48000)
        converted = b"".join(audio for _, audio in desk.heard[1:])
        assert len(converted) in range(190 * 32, 201 * 32)

    async def test_too_long_a_frame(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """It is dropped: no client decides how much memory it takes. Logged once."""
        client, _ = await desk.call()
        await client.hear(*[samples(bytes(4 * 16000 + 2))] * 3, samples(bytes(4 * 16000)))
        assert [len(audio) for _, audio in desk.heard] == [4 * 16000]
        assert caplog.text.count("are dropped") == 1

    async def test_a_slow_listener(self, clock: ManualClock) -> None:
        """It holds up nobody: the oldest frames are dropped and counted."""
        desk = Desk(clock, queue_frames=5)
        go = asyncio.Event()
        late: list[bytes] = []

        async def listen(session: RealtimeSession, audio: bytes) -> None:
            await go.wait()
            late.append(audio)

        desk.transport.on_audio_received(listen)
        client, session = await desk.call()
        frames = [bytes([number, 0]) * 320 for number in range(20)]
        await client.hear(*[samples(frame) for frame in frames])
        assert desk.transport.dropped_frames(session) == 14
        go.set()
        await until(lambda: len(late) == 6)
        assert late == [frames[0], *frames[15:]]
        await desk.close()

    async def test_a_failing_listener(self, desk: Desk) -> None:
        """It stops nobody."""

        def fail(session: RealtimeSession, audio: bytes) -> None:
            raise RuntimeError

        desk.transport.on_audio_received(fail)
        client, _ = await desk.call()
        await client.hear(*[samples(bytes(640))] * 3)
        assert len(desk.heard) == 3


class TestSpeaking:
    """What callers hear: queued here, fetched by FastRTC with ``emit``."""

    @pytest.mark.parametrize("kind", KINDS)
    async def test_paced_by_the_clock(self, desk: Desk, clock: ManualClock, kind: str) -> None:
        """At most 0.2 s and a piece ahead, at the output rate, nothing lost."""
        client, session = await desk.call(kind=kind)
        sound = tone(440, 1200, rate=RATE)
        await desk.transport.send_audio(session, sound)
        await until(lambda: len(client.pcm()) >= 200 * MS)
        await turns()
        assert len(client.pcm()) in range(200 * MS, 261 * MS)
        await clock.advance(0.5)
        assert len(client.pcm()) in range(680 * MS, 761 * MS)
        await clock.advance(1)
        assert client.pcm() == sound
        assert {rate for rate, _ in client.emitted} == {RATE}
        assert shown(client) == []

    @pytest.mark.parametrize(("kind", "ms"), [("websocket", 60), ("webrtc", 20), ("phone", 20)])
    async def test_the_length_of_a_piece(
        self, desk: Desk, clock: ManualClock, kind: str, ms: int
    ) -> None:
        """FastRTC pauses 20 ms behind each piece for a WebSocket, so they must be longer."""
        client, session = await desk.call(kind=kind)
        await desk.transport.send_audio(session, bytes(600 * MS))
        await clock.advance(1)
        assert {len(audio.tobytes()) for _, audio in client.emitted} == {ms * MS}

    async def test_torn_samples_and_a_short_end(self, desk: Desk, clock: ManualClock) -> None:
        """Samples cut in two come out whole; the end is filled up, as FastRTC hands on 20 ms."""
        client, session = await desk.call(kind="webrtc")
        sound = tone(440, 50, rate=RATE)
        for start in range(0, len(sound), 97):
            await desk.transport.send_audio(session, sound[start : start + 97])
        await desk.transport.send_audio(session, b"")
        await clock.advance(1)
        assert client.pcm() == sound + bytes(10 * MS)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_interrupted(self, desk: Desk, clock: ManualClock, kind: str) -> None:
        """What was not heard is dropped here and in FastRTC, and the client is told."""
        client, session = await desk.call(kind=kind)
        await desk.transport.send_audio(session, tone(440, 2000, rate=RATE) + b"\0")
        await clock.advance(0.1)
        before = len(client.pcm())
        await desk.transport.send_message(session, CLEAR)
        assert client.cleared == 1
        own_form = {"event": "clear", "streamSid": "w1"}
        assert shown(client) == [own_form if kind == "phone" else CLEAR]
        await clock.advance(1)
        assert len(client.pcm()) == before
        again = tone(330, 60, rate=RATE)
        await desk.transport.send_audio(session, again)
        await clock.advance(1)
        assert client.pcm()[before:] == again

    async def test_an_idle_emit_waits(self, desk: Desk, clock: ManualClock) -> None:
        """It does not answer at once for ever, which would stop the event loop."""
        client, _ = await desk.call()
        await turns(200)
        assert client.emits == 0
        await clock.advance(21)
        await until(lambda: client.emits == 1)
        assert client.emitted == []

    async def test_endless_audio_is_bounded(self, clock: ManualClock) -> None:
        """``send_audio`` waits at the bound, until there is room, or it is cleared."""
        desk = Desk(clock, max_queued_ms=400)
        client, session = await desk.call(kind="webrtc")
        piece = bytes(100 * MS)
        sent = 0

        async def endless() -> None:
            nonlocal sent
            while True:
                await desk.transport.send_audio(session, piece)
                sent += 1

        sending = asyncio.create_task(endless())
        await until(lambda: sent >= 6)
        await turns(200)
        assert sent <= 7
        await clock.advance(1)
        assert sent in range(15, 18)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        waiting = asyncio.create_task(desk.transport.send_audio(session, piece))
        await turns()
        assert not waiting.done()
        await desk.transport.send_message(session, CLEAR)
        await waiting
        await desk.transport.send_audio(session, bytes(900 * MS))
        waiting = asyncio.create_task(desk.transport.send_audio(session, piece))
        await turns()
        await client.leave()
        await asyncio.wait_for(waiting, 5)
        await desk.close()


class TestMessages:
    """What callers are shown."""

    @pytest.mark.parametrize("kind", ["websocket", "webrtc"])
    async def test_as_they_are(self, desk: Desk, kind: str) -> None:
        """Over the socket, or the data channel."""
        client, session = await desk.call(kind=kind)
        await desk.transport.send_message(session, MESSAGE)
        assert shown(client) == [MESSAGE]

    async def test_a_telephone_shows_nothing(self, desk: Desk) -> None:
        """Twilio would take it for a mistake."""
        client, session = await desk.call(kind="phone")
        await desk.transport.send_message(session, MESSAGE)
        assert shown(client) == []

    async def test_no_data_channel(self, desk: Desk) -> None:
        """Nothing is sent, and nothing fails."""
        client, session = await desk.call(kind="webrtc")
        client.handler.set_channel(None)
        await desk.transport.send_message(session, MESSAGE)
        assert shown(client) == []

    async def test_a_full_data_channel(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """Texts are dropped; the call goes on, and the log has none of them."""
        client, session = await desk.call(kind="webrtc")
        client.channel.bufferedAmount = 2 * 1024 * 1024
        await desk.transport.send_message(session, MESSAGE)
        assert shown(client) == []
        assert desk.left == []
        assert "sending to a caller failed" in caplog.text
        assert "Gr" not in caplog.text

    async def test_what_json_cannot_carry(self, desk: Desk) -> None:
        """Is the sender's mistake, and no sign of a client that left."""
        _, session = await desk.call()
        with pytest.raises(TypeError):
            await desk.transport.send_message(session, {"type": object()})
        assert desk.left == []

    @pytest.mark.parametrize("how", ["fails", "hangs"])
    async def test_a_socket_that_takes_nothing(
        self, clock: ManualClock, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its client has left: told once, the socket closed; the log has no address."""
        desk = Desk(clock, send_timeout=0.05)
        client, session = await desk.call()
        assert client.websocket is not None
        setattr(client.websocket, how, True)
        await desk.transport.send_message(session, MESSAGE)
        await until(lambda: desk.left == [session])
        assert client.websocket.closed
        await client.leave()
        await turns()
        assert desk.left == [session]
        assert "203.0.113.7" not in caplog.text
        await desk.close()


async def test_a_conversation(clock: ManualClock) -> None:
    """Joined to a model by the channel: sound both ways, interruption, and the end."""
    desk = Desk(clock)
    model = MockRealtimeProvider()
    kit = RoomKit()
    kit.register_channel(RealtimeVoiceChannel("live", provider=model, transport=desk.transport))
    await kit.create_room("room")
    await kit.attach_channel("room", "live")
    sessions: list[RealtimeSession] = []

    async def begin(webrtc_id: str) -> None:
        sessions.append(await kit.connect_realtime_voice("room", "ana", "live", webrtc_id))

    desk.transport.on_client_connected(begin)
    client = await desk.client("b1", "webrtc")
    await until(lambda: sessions)
    (session,) = sessions
    await client.hear(samples(tone(440, 20)))
    await until(lambda: model.sent_audio == [(session.id, tone(440, 20))])
    await model.simulate_audio(session, tone(440, 2000, rate=RATE))
    await until(lambda: len(client.pcm()) > 100 * MS)
    await model.simulate_speech_start(session)
    await until(lambda: CLEAR in shown(client))
    assert client.cleared == 1
    before = len(client.pcm())
    await clock.advance(3)
    assert len(client.pcm()) == before
    await client.leave()
    await until(lambda: "disconnect" in [call.method for call in model.calls])
    await kit.close()
