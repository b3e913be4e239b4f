"""Calls over WebSockets, from a real client's side."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import ConflictError, InvalidInputError
from roomkit.testing import ManualClock
from roomkit.voice.audio import pcm16_to_mulaw
from roomkit.voice.backends.websocket import (
    VoiceCaller,
    VoiceHandshake,
    WebSocketVoiceBackend,
)
from roomkit.voice.base import AudioChunk, VoiceCapability, VoiceSession, VoiceSessionState
from tests.test_voice._backend_clients import (
    Client,
    anybody,
    client_of,
    endless,
    line_to,
    until,
)
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.audio_frame import AudioFrame

MS = 32
"""Bytes of a millisecond at 16 kHz."""


class Call:
    """A backend with one client in a session."""

    def __init__(self, backend: WebSocketVoiceBackend, client: Client, heard: list[Any]) -> None:
        self.backend = backend
        self.client = client
        self.heard = heard
        self.session = backend.list_sessions("r")[0]

    def pcm(self) -> bytes:
        """Return what the client got."""
        return b"".join(self.client.audio)


class Calls:
    """Makes calls, and ends them with the test."""

    def __init__(self) -> None:
        self._stack: list[Any] = []

    async def __call__(self, *, answers: bool = True, **options: Any) -> Call:
        start = options.pop("start", {})
        backend = WebSocketVoiceBackend(authenticate=anybody, **options)
        heard: list[AudioFrame] = []
        backend.on_audio_received(lambda _, frame: heard.append(frame))
        url = await self._enter(line_to(backend))
        client = await self._enter(client_of(url, answers=answers))
        await client.start(**start)
        return Call(backend, client, heard)

    async def _enter(self, context: Any) -> Any:
        self._stack.append(context)
        return await context.__aenter__()

    async def close(self) -> None:
        """End what was made, last first."""
        while self._stack:
            await self._stack.pop().__aexit__(None, None, None)


@pytest.fixture
async def call() -> AsyncIterator[Calls]:
    """Makes calls."""
    calls = Calls()
    yield calls
    await calls.close()


async def chunks(*parts: AudioChunk) -> AsyncIterator[AudioChunk]:
    """Yield chunks."""
    for part in parts:
        yield part


class TestStart:
    """How a client gets a session, or does not."""

    async def test_a_start_makes_a_session(self, call: Calls) -> None:
        """The client is told its session; the session knows its rates and room."""
        one = await call(start={"codec": "pcm_s16le", "sample_rate": 24000, "room": "r"})
        assert one.client.said[0] == {
            "type": "ready",
            "session_id": one.session.id,
            "codec": "pcm_s16le",
            "sample_rate": 24000,
        }
        assert one.session.state is VoiceSessionState.ACTIVE
        assert one.session.participant_id == "ana"
        assert one.session.metadata == {"input_sample_rate": 24000, "output_sample_rate": 24000}
        assert one.backend.get_session(one.session.id) is one.session
        assert one.backend.capabilities == VoiceCapability.INTERRUPTION | VoiceCapability.BARGE_IN
        assert one.backend.name == "WebSocket"

    @pytest.mark.parametrize(
        ("start", "code"),
        [
            ({"codec": "opus"}, "unsupported_codec"),
            ({"codec": ["mulaw"]}, "unsupported_codec"),
            ({"sample_rate": 96000}, "unsupported_sample_rate"),
            ({"sample_rate": True}, "unsupported_sample_rate"),
            ({"sample_rate": "16000"}, "unsupported_sample_rate"),
            ({"room": 7}, "bad_room"),
        ],
    )
    async def test_a_start_that_asks_too_much(self, start: Any, code: str) -> None:
        """The client is told why, and closed."""
        backend = WebSocketVoiceBackend(authenticate=anybody)
        async with line_to(backend) as url, client_of(url) as client:
            await client.say("start", **start)
            assert await client.closed() == 4400
            assert client.said == [{"type": "error", "code": code}]

    @pytest.mark.parametrize("first", ["{", "[]", b"\0\0", "[" * 30_000, "x" * 40_000])
    async def test_no_start_at_all(self, first: str | bytes) -> None:
        """Whatever comes first and is no start closes the client; nothing else suffers."""
        backend = WebSocketVoiceBackend(authenticate=anybody)
        async with line_to(backend) as url, client_of(url) as client:
            await client.send(first)
            assert await client.closed() == 4400
            async with client_of(url) as other:
                assert (await other.start())["type"] == "ready"

    async def test_who_says_nothing_is_closed(self) -> None:
        """A socket is not held for a client that never starts."""
        backend = WebSocketVoiceBackend(authenticate=anybody, start_timeout=0.05)
        async with line_to(backend) as url, client_of(url) as client:
            assert await client.closed() == 4408

    async def test_a_slow_authentication_is_bounded(self) -> None:
        """It counts as part of the start."""

        async def never(_: VoiceHandshake) -> VoiceCaller | None:
            await asyncio.Event().wait()
            return None

        backend = WebSocketVoiceBackend(authenticate=never, start_timeout=0.05)
        async with line_to(backend) as url, client_of(url) as client:
            await client.say("start")
            assert await client.closed() == 4408

    async def test_authentication_sees_the_handshake(self) -> None:
        """Path, headers, token and room; and neither token nor headers in its repr."""
        seen: list[VoiceHandshake] = []

        async def refuse(shake: VoiceHandshake) -> None:
            seen.append(shake)

        backend = WebSocketVoiceBackend(authenticate=refuse)
        async with line_to(backend) as url, client_of(url, headers={"X-Who": "bob"}) as client:
            await client.say("start", codec="mulaw", room="lobby", token="t0ken")
            assert await client.closed() == 4401
        shake = seen[0]
        assert (shake.path, shake.headers["x-who"]) == ("/calls", "bob")
        assert (shake.room, shake.token, shake.codec) == ("lobby", "t0ken", "mulaw")
        assert shake.sample_rate == 8000
        assert "t0ken" not in repr(shake)
        assert "bob" not in repr(shake)

    @pytest.mark.parametrize("where", ["authenticate", "session_factory"])
    async def test_failing_code_lets_nobody_in(
        self, where: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged by its kind, without its text."""

        async def fail(_: Any) -> Any:
            raise RuntimeError("s3cret")

        options: dict[str, Any] = {"authenticate": anybody, where: fail}
        backend = WebSocketVoiceBackend(**options)
        with caplog.at_level(logging.INFO):
            async with line_to(backend) as url, client_of(url) as client:
                await client.say("start")
                assert await client.closed() == 1011
        assert "RuntimeError" in caplog.text
        assert "s3cret" not in caplog.text

    async def test_no_session_for_a_caller(self) -> None:
        """A factory may refuse; somebody else's session is refused as well."""
        made: list[VoiceSession | None] = [None, VoiceSession("x", "r", "p", "voice")]

        async def factory(_: VoiceCaller) -> VoiceSession | None:
            return made.pop(0)

        backend = WebSocketVoiceBackend(authenticate=anybody, session_factory=factory)
        async with line_to(backend) as url:
            for code in (4403, 1011):
                async with client_of(url) as client:
                    await client.say("start")
                    assert await client.closed() == code

    async def test_a_session_made_for_nobody_is_ended(self) -> None:
        """When the factory fails after its session was made, the session does not stay."""
        ended: list[VoiceSession] = []

        async def factory(caller: VoiceCaller) -> VoiceSession | None:
            await backend.connect(caller.room_id, caller.participant_id, "voice")
            raise RuntimeError

        backend = WebSocketVoiceBackend(authenticate=anybody, session_factory=factory)
        backend.on_session_ended(ended.append)
        async with line_to(backend) as url, client_of(url) as client:
            await client.say("start")
            assert await client.closed() == 1011
            assert backend.list_sessions("r") == []
        assert [each.state for each in ended] == [VoiceSessionState.ENDED]

    async def test_one_too_many(self, call: Calls) -> None:
        """The next client is told to come later, and the next session is refused."""
        one = await call(max_sessions=1)
        with pytest.raises(ConflictError, match="max_sessions"):
            await one.backend.connect("r", "bob", "voice")
        async with line_to(one.backend) as url, client_of(url) as client:
            assert await client.closed() == 1013

    def test_bounds_that_make_no_sense(self) -> None:
        """They are refused where they are given."""
        for wrong in ({"max_sessions": 0}, {"lead_ms": 100}, {"send_timeout": 0}):
            with pytest.raises(InvalidInputError):
                WebSocketVoiceBackend(authenticate=anybody, **wrong)

    async def test_what_is_no_connection(self) -> None:
        """The error says what would be one."""
        backend = WebSocketVoiceBackend(authenticate=anybody)
        with pytest.raises(InvalidInputError, match="Starlette"):
            await backend.serve(object())


class TestListening:
    """What the client says."""

    async def test_frames_arrive_in_order(self, call: Calls) -> None:
        """With their rate and their place in the session."""
        one = await call()
        for number in range(5):
            await one.client.send(bytes([number, 0]) * 320)
        await until(lambda: len(one.heard) == 5)
        assert [frame.data[0] for frame in one.heard] == list(range(5))
        assert [frame.timestamp_ms for frame in one.heard] == [0, 20, 40, 60, 80]
        assert {(f.sample_rate, f.channels, f.sample_width) for f in one.heard} == {(16000, 1, 2)}

    async def test_half_a_sample_waits_for_its_other_half(self, call: Calls) -> None:
        """A client that cuts its bytes anywhere is heard all the same; empty audio is none."""
        one = await call()
        sound = tone(440, 20)
        for part in (b"", sound[:5], sound[5:6], sound[6:]):
            await one.client.send(part)
        await until(lambda: sum(len(frame.data) for frame in one.heard) == len(sound))
        assert b"".join(frame.data for frame in one.heard) == sound
        assert len(one.heard) == 3

    async def test_mulaw(self, call: Calls) -> None:
        """It is decoded on its way in and encoded on its way out."""
        one = await call(start={"codec": "mulaw"})
        await one.client.send(pcm16_to_mulaw(tone(440, 20, rate=8000)))
        await until(lambda: one.heard)
        assert (one.heard[0].sample_rate, len(one.heard[0].data)) == (8000, 320)
        await one.backend.send_audio(one.session, one.heard[0].data)
        await until(lambda: one.client.audio)
        assert one.client.audio[0] == pcm16_to_mulaw(tone(440, 20, rate=8000))

    async def test_slow_callbacks_lose_the_oldest(
        self, call: Calls, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The queue is bounded; what was dropped is counted, and logged once."""
        one = await call(queue_frames=3)
        gate = asyncio.Event()
        heard: list[int] = []

        async def slow(_: VoiceSession, frame: AudioFrame) -> None:
            await gate.wait()
            heard.append(frame.data[0])

        one.backend.on_audio_received(slow)
        for number in range(10):
            await one.client.send(bytes([number, 0]) * 320)

        def dropped() -> int:
            stats = one.backend.stats(one.session)
            assert stats is not None
            return stats.dropped_frames

        await until(lambda: dropped() == 6)
        gate.set()
        await until(lambda: len(heard) == 4)
        assert heard == [0, 7, 8, 9]
        assert caplog.text.count("frames are dropped") == 1

    async def test_a_failing_callback_stops_nobody(
        self, call: Calls, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither the others nor the next frame; also one that was cancelled from within."""
        one = await call()
        later: list[AudioFrame] = []

        async def cancelled(_: VoiceSession, frame: AudioFrame) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        one.backend.on_audio_received(lambda *_: 1 / 0)
        one.backend.on_audio_received(cancelled)
        one.backend.on_audio_received(lambda _, frame: later.append(frame))
        for _ in range(3):
            await one.client.send(bytes(640))
        await until(lambda: len(later) == 3)
        stats = one.backend.stats(one.session)
        assert stats is not None
        assert stats.callback_failures == 6
        assert caplog.text.count("a voice callback failed") == 2

    async def test_malformed_messages_are_counted(
        self, call: Calls, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One log line, and the call goes on."""
        one = await call()
        for wrong in ("{", "3", '{"type": "mark"}', '{"type": "start"}', '{"type": "wave"}'):
            await one.client.send(wrong)
        await one.client.send(bytes(640))
        await until(lambda: one.heard)
        stats = one.backend.stats(one.session)
        assert stats is not None
        assert stats.malformed == 4
        assert caplog.text.count("cannot be used") == 1

    async def test_too_large_a_frame_ends_the_call(self, call: Calls) -> None:
        """No client decides how much memory it takes."""
        one = await call(max_frame_bytes=1000)
        await one.client.send(bytes(1002))
        assert await one.client.closed() == 1009
        await until(lambda: one.session.state is VoiceSessionState.ENDED)
        assert not one.heard

    async def test_a_client_that_stops_its_playback(self, call: Calls) -> None:
        """Whoever asks sees the playback it interrupts; then the rest is dropped."""
        one = await call(answers=False)
        seen: list[bool] = []
        one.backend.on_barge_in(lambda session: seen.append(one.backend.is_playing(session)))
        await one.backend.send_audio(one.session, bytes(3000 * MS))
        await one.client.say("clear")
        await until(lambda: seen)
        assert seen == [True]
        await until(lambda: not one.backend.is_playing(one.session))

    async def test_what_answers_the_interruption_is_kept(self, call: Calls) -> None:
        """A callback may cancel by itself and say something new: that is not dropped."""
        one = await call(answers=False)

        async def answer(session: VoiceSession) -> None:
            assert await one.backend.cancel_audio(session)
            one.client.audio.clear()
            await one.backend.send_audio(session, tone(330, 100))

        one.backend.on_barge_in(answer)
        await one.backend.send_audio(one.session, bytes(3000 * MS))
        await until(lambda: len(one.pcm()) == 1000 * MS)
        await one.client.say("clear")
        await until(lambda: one.pcm() == tone(330, 100))
        assert one.backend.is_playing(one.session)


class TestPlayback:
    """What the client is to hear."""

    async def test_it_comes_in_frames_and_is_paced_by_marks(self, call: Calls) -> None:
        """A client that answers nothing gets no more than the lead; then the rest."""
        one = await call(answers=False)
        await one.backend.send_audio(one.session, tone(440, 3000))
        assert one.backend.is_playing(one.session)
        await until(lambda: len(one.pcm()) == 1000 * MS)
        assert {len(frame) for frame in one.client.audio} == {20 * MS}
        marks = [each for each in one.client.said if each["type"] == "mark"]
        assert len(marks) == 10
        assert one.backend.played_ms(one.session) == 0
        await one.client.say("mark", name=marks[4]["name"])
        await until(lambda: one.backend.played_ms(one.session) == 500)
        await until(lambda: len(one.pcm()) == 1500 * MS)
        stats = one.backend.stats(one.session)
        assert stats is not None
        assert stats.queued_ms == 1500

    async def test_to_its_end(self, call: Calls) -> None:
        """What came is what was sent, the last piece shorter; then nothing is playing."""
        one = await call()
        sound = tone(440, 1510)
        await one.backend.send_audio(one.session, sound)
        await until(lambda: not one.backend.is_playing(one.session))
        assert one.pcm() == sound
        assert one.backend.played_ms(one.session) == 1510

    async def test_cancelled(self, call: Calls) -> None:
        """The queue is dropped, the client told; a late mark of the old playback says nothing."""
        one = await call(answers=False)
        await one.backend.send_audio(one.session, bytes(3000 * MS))
        await until(lambda: len(one.pcm()) == 1000 * MS)
        marks = [each["name"] for each in one.client.said if each["type"] == "mark"]
        await one.client.say("mark", name=marks[2])
        await until(lambda: one.backend.played_ms(one.session) == 300)
        assert await one.backend.cancel_audio(one.session)
        assert not one.backend.is_playing(one.session)
        assert not await one.backend.cancel_audio(one.session)
        await until(lambda: "clear" in one.client.kinds())
        assert one.backend.played_ms(one.session) == 300
        for name in marks[3:]:
            await one.client.say("mark", name=name)
        await one.client.send(bytes(640))
        await until(lambda: one.heard)
        assert one.backend.played_ms(one.session) == 300
        one.client.answers = True
        one.client.audio.clear()
        await one.backend.send_audio(one.session, tone(330, 200))
        await until(lambda: one.backend.played_ms(one.session) == 200)
        assert one.pcm() == tone(330, 200)

    async def test_endless_audio_is_bounded(self, call: Calls) -> None:
        """``send_audio`` waits at the bound; a cancellation lets it go and closes the stream."""
        one = await call(answers=False, max_queued_ms=500)
        gone = asyncio.Event()
        stream = endless(gone, AudioChunk(bytes(100 * MS)))
        sending = asyncio.create_task(one.backend.send_audio(one.session, stream))
        await until(lambda: len(one.pcm()) == 1000 * MS)

        def queued() -> int:
            stats = one.backend.stats(one.session)
            assert stats is not None
            return stats.queued_ms

        await until(lambda: queued() >= 500)
        assert queued() <= 600
        assert not sending.done()
        assert await one.backend.cancel_audio(one.session)
        async with asyncio.timeout(5):
            await sending
        assert gone.is_set()
        assert queued() == 0

    async def test_streams_do_not_mix(self, call: Calls) -> None:
        """A second one waits for the first; a cancellation drops both."""
        one = await call()
        pieces = [AudioChunk(tone(hertz, 40)) for hertz in (300, 300, 500, 500)]
        await asyncio.gather(
            one.backend.send_audio(one.session, chunks(*pieces[:2])),
            one.backend.send_audio(one.session, chunks(*pieces[2:])),
        )
        await until(lambda: not one.backend.is_playing(one.session))
        assert one.pcm() == b"".join(each.data for each in pieces)

    async def test_another_rate_is_resampled(self, call: Calls) -> None:
        """Torn samples and stereo included: the length is right to the sample."""
        one = await call()
        sound = tone(440, 200, rate=24000)
        await one.backend.send_audio(
            one.session,
            chunks(
                AudioChunk(sound[:2401], 24000), AudioChunk(sound[2401:], 24000, is_final=True)
            ),
        )
        await until(lambda: not one.backend.is_playing(one.session))
        assert 200 * MS <= len(one.pcm()) <= 203 * MS

    async def test_what_cannot_be_played(
        self, call: Calls, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Compressed audio and impossible rates are dropped, with one error for the stream."""
        one = await call()
        await one.backend.send_audio(
            one.session,
            chunks(
                AudioChunk(b"ID3", format="mp3"),
                AudioChunk(b"\0\0", sample_rate=0),
                AudioChunk(b"\0\0", channels=0),
                AudioChunk(b""),
                AudioChunk(tone(440, 20)),
                AudioChunk(b"\1"),
            ),
        )
        await until(lambda: not one.backend.is_playing(one.session))
        assert one.pcm() == tone(440, 20)
        assert caplog.text.count("cannot be played") == 1

    async def test_a_client_that_knows_no_marks(
        self, call: Calls, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After the lead and some patience the audio counts as heard, and goes on."""
        clock = ManualClock()
        one = await call(answers=False, clock=clock)
        await one.backend.send_audio(one.session, bytes(1500 * MS))
        await until(lambda: len(one.pcm()) == 1000 * MS)
        await until(lambda: clock.sleepers)
        await clock.advance(3.1)
        await until(lambda: len(one.pcm()) == 1500 * MS)
        await until(lambda: clock.sleepers)
        await clock.advance(3.1)
        await until(lambda: not one.backend.is_playing(one.session))
        assert caplog.text.count("does not answer marks") == 1

    async def test_text_beside_the_audio(self, call: Calls) -> None:
        """What was said is shown to the client."""
        one = await call()
        await one.backend.send_transcription(one.session, "Hello", "assistant")
        await until(lambda: "transcription" in one.client.kinds())
        assert one.client.said[-1] == {
            "type": "transcription",
            "text": "Hello",
            "role": "assistant",
        }


class TestEnding:
    """How a call ends."""

    @pytest.mark.parametrize("how", ["drop", "leave", "stop"])
    async def test_the_client_goes(self, call: Calls, how: str) -> None:
        """The session ends once, everybody who wants to know is told once, nothing is left."""
        one = await call()
        ended: list[str] = []
        one.backend.on_session_ended(lambda session: ended.append(session.id))
        one.backend.on_session_ended(one.backend.disconnect)
        await one.backend.send_audio(one.session, bytes(3000 * MS))
        if how == "drop":
            one.client.drop()
        elif how == "leave":
            await one.client.leave()
        else:
            await one.client.say("stop")
        await until(lambda: ended)
        assert one.session.state is VoiceSessionState.ENDED
        assert one.backend.get_session(one.session.id) is None
        assert one.backend.list_sessions("r") == []
        await one.backend.send_audio(one.session, bytes(640))
        await one.backend.send_transcription(one.session, "Hello")
        assert not await one.backend.cancel_audio(one.session)
        assert not one.backend.is_playing(one.session)
        assert one.backend.played_ms(one.session) is None
        assert one.backend.stats(one.session) is None
        await one.backend.close()
        assert ended == [one.session.id]

    async def test_we_end_it(self, call: Calls) -> None:
        """The client is told and closed; nobody is told what they did themselves."""
        one = await call()
        ended: list[VoiceSession] = []
        one.backend.on_session_ended(ended.append)
        await one.backend.disconnect(one.session)
        await one.backend.disconnect(one.session)
        assert await one.client.closed() == 1000
        assert one.client.kinds()[-1] == "stop"
        assert one.session.state is VoiceSessionState.ENDED
        await one.backend.close()
        assert ended == []

    async def test_a_callback_ends_its_own_call(self, call: Calls) -> None:
        """It may: nothing waits for itself, and the client is closed."""
        one = await call()
        done: list[bool] = []

        async def hang_up(session: VoiceSession, _: AudioFrame) -> None:
            await one.backend.disconnect(session)
            done.append(True)

        one.backend.on_audio_received(hang_up)
        await one.client.send(bytes(640))
        assert await one.client.closed() == 1000
        await until(lambda: done)

    async def test_one_leaver_ends_only_his_session(self, call: Calls) -> None:
        """The other one is still heard."""
        one = await call()
        async with line_to(one.backend) as url, client_of(url) as other:
            await other.start(room="other")
            second = one.backend.list_sessions("other")[0]
            one.client.drop()
            await until(lambda: one.session.state is VoiceSessionState.ENDED)
            await other.send(bytes(640))
            await until(lambda: one.heard)
            assert second.state is VoiceSessionState.ACTIVE

    async def test_closing_the_backend(self, call: Calls) -> None:
        """Everybody is told to go, also who has not started yet; then nobody gets in."""
        one = await call()
        async with line_to(one.backend) as url, client_of(url) as waiting:
            await one.backend.close()
            await one.backend.close()
            assert await one.client.closed() == 1001
            assert await waiting.closed() == 1001
            async with client_of(url) as late:
                assert await late.closed() == 1001
        with pytest.raises(ConflictError, match="closed"):
            await one.backend.connect("r", "bob", "voice")

    async def test_cancelling_the_server_task(self) -> None:
        """It passes, and the session is ended on the way."""
        backend = WebSocketVoiceBackend(authenticate=anybody)
        ended: list[VoiceSession] = []
        backend.on_session_ended(ended.append)
        served: list[asyncio.Task[None]] = []

        class Recorder(WebSocketVoiceBackend):
            async def serve(self, connection: Any) -> None:
                task = asyncio.current_task()
                assert task is not None
                served.append(task)
                await backend.serve(connection)

        recorder = Recorder(authenticate=anybody)
        async with line_to(recorder) as url, client_of(url) as client:
            await client.start()
            served[0].cancel()
            await asyncio.wait(served)
            assert served[0].cancelled()
            assert len(ended) == 1
        await backend.close()
