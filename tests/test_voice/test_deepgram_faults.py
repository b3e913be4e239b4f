"""Deepgram: connections that break, servers that are silent, late, wrong or endless (T15)."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.exceptions import ProviderError
from roomkit.simulators import cut, error, not_json
from roomkit.simulators.deepgram import DeepgramSimulator, Hangup, Heard
from roomkit.voice.base import AudioChunk
from roomkit.voice.stt.deepgram import DeepgramConfig, DeepgramSTTProvider
from tests.test_voice._cloud import halting, mute, server, sound, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from roomkit.voice.base import TranscriptionResult

KEY = "MADE-UP-DEEPGRAM-KEY"
METADATA = {"type": "Metadata", "duration": 1.0}


def provider(api_base: str, **options: Any) -> DeepgramSTTProvider:
    """Return a provider with short limits that gives up at once."""
    config = DeepgramConfig(KEY, api_base=api_base, keepalive_seconds=0.05)
    limits = {"first_answer_seconds": 0.3, "idle_seconds": 0.3, "reconnects": 0, **options}
    return DeepgramSTTProvider(config, **limits)


async def finals(stt: DeepgramSTTProvider, chunks: Iterable[AudioChunk]) -> list[str]:
    """Return the final texts of a stream."""
    return [r.text async for r in stt.transcribe_stream(stream(chunks)) if r.is_final]


async def gather(results: AsyncIterator[TranscriptionResult]) -> list[TranscriptionResult]:
    """Return every result."""
    return [result async for result in results]


def segment(
    text: str, start: float, seconds: float, *, final: bool = True, ends: bool = True
) -> str:
    """Return a Results message."""
    word = {"word": text, "start": start, "end": start + seconds}
    return json.dumps(
        {
            "type": "Results",
            "start": start,
            "duration": seconds,
            "is_final": final,
            "speech_final": ends,
            "channel": {"alternatives": [{"transcript": text, "words": [word]}]},
        }
    )


class TestReconnecting:
    """A lost connection is taken up again; nothing is missing and nothing comes twice."""

    async def test_audio_is_said_again(self) -> None:
        """Only what no closed segment covers is sent again, and times go on."""
        chunks, got = sound(600), []

        async def talk(connection: Any) -> None:
            audio = bytearray()
            got.append(audio)
            async for frame in connection:
                if isinstance(frame, str):
                    if "CloseStream" in frame:
                        await connection.send(segment("two", 0.0, len(audio) / 32000))
                        await connection.send(json.dumps(METADATA))
                    continue
                audio += frame
                if len(got) == 1 and len(audio) == 640 * 15:
                    await connection.send(segment("one", 0.0, 0.2))
                    connection.transport.close()

        # The rest comes only once the first connection is gone: else its end decides the time.
        go = asyncio.Event()
        async with server(talk) as base:
            stt = provider(base, reconnects=1)
            results = []
            source = halting(chunks[:15], go, chunks[15:])
            async for result in stt.transcribe_stream(source):
                results.append(result)
                go.set()
        assert [r.text for r in results if r.is_final] == ["one", "two"]
        assert bytes(got[1]) == b"".join(chunk.data for chunk in chunks[10:])
        assert results[-1].words[0]["start"] == pytest.approx(0.2)
        assert results[-1].words[0]["end"] == pytest.approx(0.6)

    @pytest.mark.parametrize(
        "misfortune",
        [
            lambda sim: sim.script(cut()),
            lambda sim: sim.script(error(503)),
            lambda sim: sim.script(error(429, retry_after=0.01)),
            lambda sim: sim.hang_up(Hangup(1011, "NET-0000")),
            lambda sim: sim.hang_up(Hangup(1012, "restarting", after=2)),
            lambda sim: sim.hang_up(Hangup(1000, after=1)),
            lambda sim: sim.hang_up(Hangup(frame='{"type": "Error", "variant": "NET-0000"}')),
        ],
    )
    async def test_a_loss_that_passes(
        self, misfortune: Callable[[DeepgramSimulator], None]
    ) -> None:
        """However it was lost, everything is heard once."""
        async with DeepgramSimulator() as sim:
            misfortune(sim)
            sim.hear("one", "two", "three")
            stt = DeepgramSTTProvider(DeepgramConfig(**sim.settings))
            assert await finals(stt, sound(1200)) == ["one", "two", "three"]
            assert len(sim.requests) == 2

    async def test_it_gives_up(self, caplog: pytest.LogCaptureFixture) -> None:
        """After so many attempts without progress the last error comes out."""
        async with DeepgramSimulator() as sim:
            sim.hang_up(*[Hangup(1011, "NET-0000")] * 5)
            stt = DeepgramSTTProvider(DeepgramConfig(**sim.settings), reconnects=2)
            with pytest.raises(ProviderError, match="NET-0000") as caught:
                await finals(stt, sound(1200))
            assert len(sim.requests) == 3
        assert caught.value.retryable
        assert sum("opened again" in record.message for record in caplog.records) == 2

    async def test_answers_without_progress_do_not_count(self) -> None:
        """A server that closes segments of nothing and drops us is not asked for ever."""
        asked = []

        async def talk(connection: Any) -> None:
            asked.append(1)
            await connection.recv()
            await connection.send(segment("", 0.0, 0.0))
            await connection.close(1011)

        async with server(talk) as base:
            with pytest.raises(ProviderError):
                await finals(provider(base, reconnects=2), sound(100))
        assert len(asked) == 3

    async def test_what_cannot_be_said_again(self) -> None:
        """Compressed audio cannot be cut at a moment: its loss is told, not papered over."""
        async with DeepgramSimulator() as sim:
            sim.hang_up(Hangup(1011, "NET-0000"))
            sim.hear("one")
            stt = DeepgramSTTProvider(DeepgramConfig(**sim.settings))
            chunks = [AudioChunk(b"OggS" * 1000, 48000, format="ogg")]
            with pytest.raises(ProviderError):
                await finals(stt, chunks)
            assert len(sim.requests) == 1

    async def test_audio_beyond_the_bound(self) -> None:
        """More unheard audio than is kept cannot be said again: that is an error, no gap."""
        asked = []

        async def talk(connection: Any) -> None:
            asked.append(1)
            size = 0
            while size < 32000 * 40:
                size += len(await connection.recv())
            connection.transport.abort()

        async with server(talk) as base:
            stt = provider(base, reconnects=2, first_answer_seconds=10, idle_seconds=10)
            second = AudioChunk(b"\1\0" * 16000)
            with pytest.raises(ProviderError):
                await finals(stt, [second] * 45)
        assert asked == [1]

    async def test_the_missing_goodbye(self) -> None:
        """When everything was heard, a broken goodbye is no failure."""

        async def talk(connection: Any) -> None:
            async for frame in connection:
                if isinstance(frame, str):
                    await connection.send(segment("all", 0.0, 0.1))
                    connection.transport.close()

        async with server(talk) as base:
            assert await finals(provider(base), sound(100)) == ["all"]


class TestSilence:
    """Every wait has an end."""

    async def test_no_handshake(self) -> None:
        """A server that accepts the connection and is mute is given up."""
        async with mute() as base:
            with pytest.raises(ProviderError, match=r"within 0\.3 seconds") as caught:
                await finals(provider(base), sound(20))
        assert caught.value.retryable

    async def test_no_first_answer(self) -> None:
        """A server that takes audio and never answers is given up while audio flows."""

        async def talk(connection: Any) -> None:
            async for _ in connection:
                pass

        async def endless() -> AsyncIterator[AudioChunk]:
            while True:
                await asyncio.sleep(0.01)
                yield sound(20)[0]

        async with server(talk) as base:
            with pytest.raises(ProviderError, match="does not answer") as caught:
                await gather(provider(base).transcribe_stream(endless()))
        assert caught.value.retryable

    async def test_no_last_answer(self) -> None:
        """A missing final message is an error: words may be missing."""

        async def talk(connection: Any) -> None:
            async for frame in connection:
                if isinstance(frame, bytes):
                    await connection.send(segment("one", 0.0, 0.02, ends=False))

        async with server(talk) as base:
            with pytest.raises(ProviderError, match="does not answer any more"):
                await finals(provider(base), sound(60))

    async def test_a_late_last_answer(self) -> None:
        """What comes late but in time is heard: each answer gives the idle time anew."""

        async def talk(connection: Any) -> None:
            async for frame in connection:
                if isinstance(frame, str) and "CloseStream" in frame:
                    for number in range(4):
                        await asyncio.sleep(0.15)
                        await connection.send(segment(f"part{number}", 0.0, 0.01))
                    await connection.send(json.dumps(METADATA))

        async with server(talk) as base:
            got = await finals(provider(base), sound(60))
        assert got == ["part0", "part1", "part2", "part3"]

    async def test_chatter_is_no_progress(self) -> None:
        """A server that goes on with messages nobody asked for is given up all the same."""

        async def talk(connection: Any) -> None:
            async for frame in connection:
                while "CloseStream" in str(frame):
                    await connection.send('{"type": "Weather"}')
                    await asyncio.sleep(0.02)

        async with server(talk) as base:
            with pytest.raises(ProviderError, match="does not answer any more"):
                await finals(provider(base), sound(60))

    async def test_a_server_that_stops_reading(self) -> None:
        """Audio nobody takes is not piled up: sending has a limit."""

        done = asyncio.Event()

        async def talk(connection: Any) -> None:
            connection.transport.pause_reading()
            await done.wait()
            connection.transport.abort()

        size = 0

        async def much() -> AsyncIterator[AudioChunk]:
            nonlocal size
            while True:
                size += 64000
                yield AudioChunk(b"\1\0" * 32000)

        async with server(talk, close_timeout=0.1) as base:
            stt = provider(base, first_answer_seconds=5.0)
            with pytest.raises(ProviderError, match="stopped reading"):
                await gather(stt.transcribe_stream(much()))
            done.set()
        assert size < 64 * 1024 * 1024

    async def test_a_pause_owes_no_answer(self) -> None:
        """Silence longer than the limits is fine while nobody speaks."""
        alive = asyncio.Event()

        async def talk(connection: Any) -> None:
            count = 0
            async for frame in connection:
                count += "KeepAlive" in str(frame)
                if count == 10:
                    alive.set()
                if "CloseStream" in str(frame):
                    await connection.send(segment("there", 0.0, 0.04))
                    await connection.send(json.dumps(METADATA))

        async with server(talk) as base:
            source = halting(sound(20), alive, sound(20))
            results = await gather(provider(base).transcribe_stream(source))
        assert [r.text for r in results] == ["there"]

    async def test_a_slow_listener(self) -> None:
        """Who reads slowly loses nothing, and is not taken for a silent server."""

        async def talk(connection: Any) -> None:
            async for frame in connection:
                if isinstance(frame, bytes):
                    await connection.send(segment("x", 0.0, 0.0, ends=False, final=False))
                else:
                    await connection.send(json.dumps(METADATA))

        async def paced() -> AsyncIterator[AudioChunk]:
            for chunk in sound(1000):
                await asyncio.sleep(0.01)
                yield chunk

        async with server(talk) as base:
            count = 0
            async for _ in provider(base).transcribe_stream(paced()):
                count += 1
                if count == 1:
                    await asyncio.sleep(0.4)
        assert count == 50


class TestGarbage:
    """Servers that are not Deepgram."""

    @pytest.mark.parametrize("frame", ["<html>", "[1]", "null", "1" * 5000, b"\0\1", "[" * 100000])
    async def test_frames_that_are_no_messages(self, frame: str | bytes) -> None:
        """Who answers so does not speak the protocol; asking again would not help."""

        async def talk(connection: Any) -> None:
            await connection.send(frame)
            await connection.wait_closed()

        async with server(talk) as base:
            with pytest.raises(ProviderError, match="does not speak Deepgram") as caught:
                await finals(provider(base, reconnects=2), sound(20))
        assert not caught.value.retryable

    async def test_a_page_instead(self) -> None:
        """The simulator's not_json is such a server."""
        async with DeepgramSimulator() as sim:
            sim.script(not_json())
            stt = DeepgramSTTProvider(DeepgramConfig(**sim.settings))
            with pytest.raises(ProviderError, match="does not speak"):
                await finals(stt, sound(20))

    @given(
        st.dictionaries(
            st.sampled_from(
                ["channel", "channel_index", "start", "duration", "is_final", "speech_final"]
            ),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(
                        st.sampled_from(["alternatives", "transcript", "words", "confidence"]),
                        inner,
                        max_size=3,
                    )
                ),
                max_leaves=8,
            ),
        )
    )
    def test_results_of_any_shape(self, data: dict[str, Any]) -> None:
        """A message of wrong types counts as empty; nothing is raised."""
        from roomkit.voice.stt._deepgram_results import Utterances, read_segment

        utterances = Utterances()
        utterances.add(read_segment(data, 1.0))
        for result in utterances.end_all():
            assert isinstance(result.text, str)

    async def test_an_error_frame(self) -> None:
        """[P-x] an Error frame ends the stream with what the vendor says."""
        frame = json.dumps(
            {"type": "Error", "variant": "SchemaError", "description": "no such thing"}
        )
        async with DeepgramSimulator() as sim:
            sim.hang_up(Hangup(1008, frame=frame))
            stt = DeepgramSTTProvider(DeepgramConfig(**sim.settings))
            with pytest.raises(ProviderError, match="no such thing") as caught:
                await finals(stt, sound(1200))
        assert (caught.value.error_type, caught.value.retryable) == ("SchemaError", False)

    async def test_undecodable_audio(self) -> None:
        """DATA-0000 is for good: the same audio would be refused again."""
        async with DeepgramSimulator() as sim:
            sim.hang_up(Hangup(1008, "DATA-0000"))
            stt = DeepgramSTTProvider(DeepgramConfig(**sim.settings))
            with pytest.raises(ProviderError, match="DATA-0000") as caught:
                await finals(stt, sound(1200))
        assert not caught.value.retryable

    async def test_redirects_are_not_followed(self) -> None:
        """The key goes to nobody but the server of the config."""
        async with DeepgramSimulator() as sim:
            target = sim.api_base.replace("http", "ws")

            def elsewhere(connection: Any, request: Any) -> Any:
                answer = connection.respond(HTTPStatus.FOUND, "")
                answer.headers["Location"] = f"{target}/v1/listen"
                return answer

            async def talk(connection: Any) -> None:
                await connection.wait_closed()

            async with server(talk, process_request=elsewhere) as base:
                with pytest.raises(ProviderError) as caught:
                    await finals(provider(base), sound(20))
            assert caught.value.status_code == 302
            assert not sim.requests

    async def test_an_endless_utterance(self) -> None:
        """An utterance without an end is given out before it fills the memory."""

        async def talk(connection: Any) -> None:
            await connection.recv()
            for _ in range(30):
                await connection.send(segment("w" * 1000, 0.0, 0.0, ends=False))
            async for frame in connection:
                if isinstance(frame, str):
                    await connection.send(json.dumps(METADATA))

        async with server(talk) as base:
            texts = await finals(provider(base), sound(100))
        assert len(texts) == 2
        assert max(map(len, texts)) < 25_000

    async def test_no_secret_gets_out(self, caplog: pytest.LogCaptureFixture) -> None:
        """A reason that quotes the key is told without it; logs (DEBUG too) have no key."""
        caplog.set_level(logging.DEBUG)

        async def talk(connection: Any) -> None:
            await connection.close(1008, f"bad key {KEY}")

        async with server(talk) as base:
            with pytest.raises(ProviderError) as caught:
                await finals(provider(base), sound(1000))
        assert KEY not in str(caught.value)
        client = [r.getMessage() for r in caplog.records if r.name != "websockets.server"]
        assert KEY not in "".join(client)

    async def test_nobody_there(self) -> None:
        """An error to connect may be tried again."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            base = f"http://127.0.0.1:{sock.getsockname()[1]}"
            with pytest.raises(ProviderError, match="connection to Deepgram failed") as caught:
                await finals(provider(base), sound(20))
        assert caught.value.retryable


async def test_segments_cut_in_two() -> None:
    """An utterance that is told in parts over two connections comes out whole."""
    async with DeepgramSimulator() as sim:
        sim.hear(Heard("one two three four", seconds=0.8, segments=2))
        sim.hang_up(Hangup(1011, "NET-0000", after=3))
        stt = DeepgramSTTProvider(DeepgramConfig(**sim.settings))
        assert await finals(stt, sound(1000)) == ["one two three four"]
        assert len(sim.sockets) == 2
