"""Deepgram: live audio, at the simulator. The rows of contract 4.3 have a test each."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import InvalidInputError, MissingDependencyError, ProviderError
from roomkit.simulators import error
from roomkit.simulators.deepgram import DeepgramSimulator, Heard
from roomkit.voice.base import AudioChunk
from roomkit.voice.stt.deepgram import DeepgramConfig, DeepgramSTTProvider
from tests.test_voice._cloud import RATE, halting, sound, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from roomkit.voice.base import TranscriptionResult


@pytest.fixture
async def sim() -> AsyncIterator[DeepgramSimulator]:
    """The vendor."""
    async with DeepgramSimulator() as sim:
        yield sim


def at(sim: DeepgramSimulator, **config: Any) -> DeepgramSTTProvider:
    """Return a provider at the vendor."""
    return DeepgramSTTProvider(DeepgramConfig(**{**sim.settings, **config}))


async def heard(
    provider: DeepgramSTTProvider, chunks: Iterable[AudioChunk]
) -> list[TranscriptionResult]:
    """Return every result of a stream."""
    return [result async for result in provider.transcribe_stream(stream(chunks))]


def told(results: Iterable[TranscriptionResult]) -> list[tuple[str, bool]]:
    """Return texts and whether they are final."""
    return [(result.text, result.is_final) for result in results]


class TestHandshake:
    """What is asked for before the first audio."""

    async def test_the_parameters(self, sim: DeepgramSimulator) -> None:
        """The query has the config and the format; the key is in the header alone."""
        await heard(at(sim, diarize=True), sound(20))
        request = sim.sockets[0].request
        assert request.query == {
            "model": "nova-2",
            "language": "en",
            "punctuate": "true",
            "diarize": "true",
            "smart_format": "true",
            "filler_words": "false",
            "interim_results": "true",
            "endpointing": "300",
            "vad_events": "true",
            "encoding": "linear16",
            "sample_rate": "16000",
            "channels": "1",
        }
        assert request.headers["authorization"] == "Token MADE-UP-DEEPGRAM-KEY"

    @pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (24000, 1), (48000, 2)])
    async def test_rate_from_chunks(
        self, sim: DeepgramSimulator, rate: int, channels: int
    ) -> None:
        """[P-x] rate and channels are those of the first chunk, not always 16000."""
        await heard(at(sim), sound(40, rate, channels))
        query = sim.sockets[0].request.query
        assert (query["sample_rate"], query["channels"]) == (str(rate), str(channels))

    async def test_query_is_encoded(self, sim: DeepgramSimulator) -> None:
        """[P-x] the query is URL-encoded: a blank or an ampersand breaks nothing."""
        extra = {"keyterm": "R\u00f6m & Kit=yes"}
        await heard(at(sim, extra_params=extra), sound(20))
        assert sim.sockets[0].request.query["keyterm"] == "R\u00f6m & Kit=yes"

    async def test_formats(self, sim: DeepgramSimulator) -> None:
        """mu-law is named; a format that describes itself is not."""
        await heard(at(sim), [AudioChunk(b"\xff" * 160, 8000, format="ulaw")])
        await heard(at(sim), [AudioChunk(b"OggS", 48000, format="ogg")])
        queries = [each.request.query for each in sim.sockets]
        assert queries[0]["encoding"] == "mulaw"
        assert "encoding" not in queries[1]

    async def test_nothing_to_hear(self, sim: DeepgramSimulator) -> None:
        """A stream without audio gives nothing and opens no connection."""
        for chunks in ([], [AudioChunk(b"")], [AudioChunk(b"", is_final=True)]):
            assert await heard(at(sim), chunks) == []
        assert not sim.requests

    @pytest.mark.parametrize(("status", "retryable"), [(401, False), (400, False), (402, False)])
    async def test_a_refusal(self, sim: DeepgramSimulator, status: int, retryable: bool) -> None:
        """A refused handshake is a ProviderError with the vendor's words, asked once."""
        sim.script(error(status))
        with pytest.raises(ProviderError) as caught:
            await heard(at(sim), sound(20))
        assert (caught.value.status_code, caught.value.retryable) == (status, retryable)
        assert caught.value.request_id == "req-refused"
        assert len(sim.requests) == 1

    async def test_a_refusal_that_passes(self, sim: DeepgramSimulator) -> None:
        """A busy vendor is asked again; no audio is lost meanwhile."""
        sim.script(error(503))
        sim.hear("hello")
        assert told(await heard(at(sim), sound(400)))[-1] == ("hello", True)
        assert bytes(sim.sockets[0].audio) == b"".join(c.data for c in sound(400))

    async def test_without_websockets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first iteration names the package, the class and the extra."""
        monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
        with pytest.raises(MissingDependencyError, match=r"DeepgramSTTProvider.*websocket"):
            await heard(DeepgramSTTProvider(DeepgramConfig("k")), sound(20))


class TestAudio:
    """What goes over the socket."""

    @pytest.mark.parametrize("marked", [True, False])
    async def test_close_stream(self, sim: DeepgramSimulator, marked: bool) -> None:
        """[P-x] CloseStream ends the audio, with an ``is_final`` chunk and without one."""
        chunks = sound(100)
        if marked:
            chunks.append(AudioChunk(b"", is_final=True))
        await heard(at(sim), chunks)
        assert sim.sockets[0].messages == [{"type": "CloseStream"}]
        assert bytes(sim.sockets[0].audio) == b"".join(c.data for c in chunks)

    async def test_what_comes_after_the_last(self, sim: DeepgramSimulator) -> None:
        """Nothing behind an ``is_final`` chunk is sent; its own audio is."""
        last = AudioChunk(b"\7\7" * 320, is_final=True)
        await heard(at(sim), [*sound(40), last, *sound(40)])
        assert bytes(sim.sockets[0].audio) == b"".join(c.data for c in sound(40)) + last.data

    async def test_no_empty_frames(self, sim: DeepgramSimulator) -> None:
        """An empty chunk is no frame: the vendor would take it for the end."""
        sim.hear(Heard("all of it", seconds=0.2))
        chunks = [*sound(100), AudioChunk(b""), *sound(100)]
        assert told(await heard(at(sim), chunks))[-1] == ("all of it", True)
        assert sim.sockets[0].messages == [{"type": "CloseStream"}]

    async def test_keep_alive(self, sim: DeepgramSimulator) -> None:
        """[P-x] a pause is bridged by KeepAlive as a text frame, again and again."""
        go = asyncio.Event()
        provider = at(sim, keepalive_seconds=0.02)
        source = halting(sound(40), go, sound(40))
        listening = asyncio.create_task(_all(provider.transcribe_stream(source)))
        await sim.heard(lambda sockets: bool(sockets) and len(sockets[0].texts) >= 3)
        go.set()
        await listening
        *alive, end = sim.sockets[0].messages
        assert alive == [{"type": "KeepAlive"}] * len(alive)
        assert end == {"type": "CloseStream"}
        assert len(sim.sockets[0].audio) == 4 * 640

    async def test_without_keep_alive_it_would_end(self) -> None:
        """The vendor closes a silent stream with NET-0001: that is what KeepAlive is for."""
        go = asyncio.Event()
        async with DeepgramSimulator(patience=0.05) as sim:
            provider = DeepgramSTTProvider(DeepgramConfig(**sim.settings), reconnects=0)
            with pytest.raises(ProviderError, match="1011: NET-0001") as caught:
                await _all(provider.transcribe_stream(halting(sound(40), go)))
        assert caught.value.retryable
        assert caught.value.error_type == "NET-0001"

    @pytest.mark.parametrize(
        "other",
        [AudioChunk(b"ab", 8000), AudioChunk(b"ab", channels=2), AudioChunk(b"a", format="ulaw")],
    )
    async def test_chunks_of_another_kind(self, sim: DeepgramSimulator, other: AudioChunk) -> None:
        """A chunk unlike the first cannot go into the same stream."""
        with pytest.raises(InvalidInputError, match="resample"):
            await heard(at(sim), [*sound(40), other])

    async def test_a_source_that_fails(self, sim: DeepgramSimulator) -> None:
        """What the source raises comes out, whatever it is, and nothing is tried again."""

        async def broken(exc: Exception) -> AsyncIterator[AudioChunk]:
            yield sound(20)[0]
            raise exc

        for raised in (LookupError("no microphone"), ProviderError("upstream", retryable=True)):
            with pytest.raises(type(raised)) as caught:
                await _all(at(sim).transcribe_stream(broken(raised)))
            assert caught.value is raised
        assert len(sim.sockets) == 2


class TestUtterances:
    """What comes out. [P-x] an utterance is its segments up to speech_final or UtteranceEnd."""

    async def test_interim_and_final(self, sim: DeepgramSimulator) -> None:
        """What may change comes first, the whole with confidence and words last."""
        sim.hear("We open at nine.")
        results = await heard(at(sim), sound(400))
        assert told(results) == [("We open", False), ("We open at nine.", True)]
        assert results[-1].confidence == pytest.approx(0.98)
        assert [word["word"] for word in results[-1].words] == ["we", "open", "at", "nine"]

    async def test_speech_final_ends_it(self, sim: DeepgramSimulator) -> None:
        """Closed segments are joined; only the one with speech_final is final."""
        sim.hear(Heard("one two three four", seconds=0.8, segments=2), "next")
        results = await heard(at(sim, interim_results=False), sound(1200))
        assert told(results) == [
            ("one two", False),
            ("one two three four", True),
            ("next", True),
        ]
        assert [word["word"] for word in results[1].words] == ["one", "two", "three", "four"]

    async def test_utterance_end_ends_it(self, sim: DeepgramSimulator) -> None:
        """UtteranceEnd makes what was closed final, for noise that hides the silence."""
        sim.hear(Heard("one two", segments=2, ends="utterance_end"), "next")
        provider = at(sim, utterance_end_ms=1000)
        finals = [r.text for r in await heard(provider, sound(800)) if r.is_final]
        assert finals == ["one two", "next"]

    async def test_an_empty_segment_ends_it(self, sim: DeepgramSimulator) -> None:
        """speech_final counts also on a segment in which nothing is said."""
        sim.hear(Heard("one two", ends="empty_segment"), "next")
        finals = [r.text for r in await heard(at(sim), sound(800)) if r.is_final]
        assert finals == ["one two", "next"]

    async def test_the_end_of_the_stream_ends_it(self, sim: DeepgramSimulator) -> None:
        """What was closed but never ended is final when the stream is over."""
        sim.hear(Heard("one two", ends="never"))
        results = await heard(at(sim), sound(400))
        assert told(results)[-1] == ("one two", True)

    async def test_the_rest_is_flushed(self, sim: DeepgramSimulator) -> None:
        """CloseStream brings the words the vendor had not told yet."""
        sim.hear(Heard("cut off here", seconds=5))
        assert told(await heard(at(sim), sound(400))) == [
            ("cut off here", False),
            ("cut off here", True),
        ]

    async def test_silence_says_nothing(self, sim: DeepgramSimulator) -> None:
        """Empty transcripts are no results."""
        assert await heard(at(sim), sound(3000)) == []

    async def test_while_somebody_speaks(self, sim: DeepgramSimulator) -> None:
        """Results come while the audio still flows; leaving early ends everything."""
        sim.hear("hello")
        go = asyncio.Event()
        before = asyncio.all_tasks()
        source = halting(sound(400), go)
        async with aclosing(at(sim).transcribe_stream(source)) as results:  # type: ignore[type-var]
            async for result in results:
                if result.is_final:
                    break
        assert result.text == "hello"
        await sim.heard(lambda sockets: sockets[0].closed)
        left = {task for task in asyncio.all_tasks() - before if "speech" in task.get_name()}
        assert left == set()

    async def test_cancellation_passes(self, sim: DeepgramSimulator) -> None:
        """A cancelled listener ends at once and closes its socket."""
        go = asyncio.Event()
        listening = asyncio.create_task(_all(at(sim).transcribe_stream(halting(sound(40), go))))
        await sim.heard(lambda sockets: bool(sockets) and len(sockets[0].audio) > 0)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        await sim.heard(lambda sockets: sockets[0].closed)

    async def test_two_streams_at_once(self, sim: DeepgramSimulator) -> None:
        """Two streams of one provider are two conversations."""
        provider = at(sim)
        await asyncio.gather(heard(provider, sound(40)), heard(provider, sound(80)))
        assert sorted(len(each.audio) for each in sim.sockets) == [RATE * 2 // 25, RATE * 4 // 25]


async def _all(results: AsyncIterator[TranscriptionResult]) -> list[TranscriptionResult]:
    return [result async for result in results]
