"""ElevenLabs: audio for a text that is still being written (``stream-input``)."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.exceptions import InvalidInputError, MissingDependencyError, ProviderError
from roomkit.simulators import cut, error, not_json
from roomkit.simulators.elevenlabs import ElevenLabsSimulator, Hangup, speech
from roomkit.voice.tts._elevenlabs_text import WholeWords
from roomkit.voice.tts.elevenlabs import ElevenLabsConfig, ElevenLabsTTSProvider
from tests.test_voice._cloud import halting, mute, server, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from roomkit.voice.base import AudioChunk

KEY = "MADE-UP-ELEVENLABS-KEY"


@pytest.fixture
async def sim() -> AsyncIterator[ElevenLabsSimulator]:
    """The vendor."""
    async with ElevenLabsSimulator() as sim:
        yield sim


def at(api_base: str, **options: Any) -> ElevenLabsTTSProvider:
    """Return a provider for live voice; config fields and keywords may be mixed."""
    known = {"model_id", "output_format", "language_code"}
    fields = {name: options.pop(name) for name in list(options) if name in known}
    config = ElevenLabsConfig(KEY, api_base=api_base, **{"output_format": "pcm_16000", **fields})
    return ElevenLabsTTSProvider(config, **options)


async def spoken(
    provider: ElevenLabsTTSProvider, pieces: Iterable[str], voice: str | None = None
) -> list[AudioChunk]:
    """Return every chunk."""
    source = stream(pieces)
    return [chunk async for chunk in provider.synthesize_stream_input(source, voice=voice)]


async def gather(chunks: AsyncIterator[AudioChunk]) -> list[AudioChunk]:
    """Return every chunk."""
    return [chunk async for chunk in chunks]


def joined(chunks: Iterable[AudioChunk]) -> bytes:
    """Return the audio."""
    return b"".join(chunk.data for chunk in chunks)


class TestProtocol:
    """What goes over the socket."""

    async def test_a_text(self, sim: ElevenLabsSimulator) -> None:
        """Blank and settings first, whole words with a blank behind, an empty text last."""
        chunks = await spoken(at(sim.api_base), ["Hel", "lo, we", " open ", "at nine."])
        first, *middle, last = sim.sockets[0].messages
        assert first["text"] == " "
        assert first["voice_settings"]["stability"] == 0.5
        assert [message["text"] for message in middle] == ["Hello, ", "we open ", "at ", "nine. "]
        assert last == {"text": ""}
        assert joined(chunks) == speech("Hello, we open at nine. ", "pcm_16000")

    async def test_the_handshake(self, sim: ElevenLabsSimulator) -> None:
        """Path, query and header are the vendor's."""
        await spoken(at(sim.api_base, language_code="en"), ["hi"], voice="AZnzlk1XvdvUeBnXmlld")
        request = sim.sockets[0].request
        assert request.path == "/v1/text-to-speech/AZnzlk1XvdvUeBnXmlld/stream-input"
        assert request.query == {
            "model_id": "eleven_multilingual_v2",
            "output_format": "pcm_16000",
            "optimize_streaming_latency": "3",
            "language_code": "en",
        }
        assert request.headers["xi-api-key"] == KEY

    async def test_no_secret_in_the_first_message(self, sim: ElevenLabsSimulator) -> None:
        """[P-x] the key is in the header; no message repeats it."""
        await spoken(at(sim.api_base), ["hello"])
        assert not any(KEY in text or "api" in text for text in sim.sockets[0].texts)

    async def test_flush(self, sim: ElevenLabsSimulator) -> None:
        """When the text pauses, what was written is spoken at once."""
        go = asyncio.Event()
        source = halting(["Let me see."], go, [" Nine."])
        chunks = at(sim.api_base, flush_seconds=0.02).synthesize_stream_input(source)
        async with aclosing(chunks) as audio:  # type: ignore[type-var]
            first = await anext(audio)
            assert first.data
            go.set()
            rest = await gather(audio)
        assert {"text": "see. ", "flush": True} in sim.sockets[0].messages
        whole = speech("Let me see. ", "pcm_16000") + speech("Nine. ", "pcm_16000")
        assert first.data + joined(rest) == whole

    async def test_keep_alive(self) -> None:
        """While no text comes, blanks keep the vendor from leaving."""
        go = asyncio.Event()
        async with ElevenLabsSimulator(patience=0.5) as sim:
            provider = at(sim.api_base, flush_seconds=0.02, keepalive_seconds=0.05)
            source = halting(["Wait."], go, [" Done."])
            speaking = asyncio.create_task(gather(provider.synthesize_stream_input(source)))
            blank = {"text": " "}

            def kept(sockets: list[Any]) -> bool:
                return bool(sockets) and sockets[0].messages.count(blank) >= 12

            await sim.heard(kept)
            go.set()
            assert (await speaking)[-1].is_final
            assert sim.sent[0].text == "Wait. Done. "

    async def test_without_keep_alive(self) -> None:
        """A vendor that has waited too long says so: an error that may be tried again."""
        async with ElevenLabsSimulator(patience=0.05) as sim:
            source = halting(["Wait."], asyncio.Event())
            with pytest.raises(ProviderError, match="input_timeout_exceeded") as caught:
                await gather(at(sim.api_base).synthesize_stream_input(source))
        assert caught.value.retryable

    @pytest.mark.parametrize("pieces", [[], [""], [" ", "\n", ""]])
    async def test_nothing_to_say(self, sim: ElevenLabsSimulator, pieces: list[str]) -> None:
        """Without a word there is no connection, only the last chunk."""
        chunks = await spoken(at(sim.api_base), pieces)
        assert [(chunk.data, chunk.is_final) for chunk in chunks] == [(b"", True)]
        assert not sim.requests

    async def test_a_voice_that_is_a_path(self, sim: ElevenLabsSimulator) -> None:
        """What is no voice id is refused before anything is sent."""
        with pytest.raises(InvalidInputError):
            await spoken(at(sim.api_base), ["hi"], voice="../voices")
        assert not sim.requests

    async def test_without_websockets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first iteration names the package, the class and the extra."""
        monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
        with pytest.raises(MissingDependencyError, match=r"ElevenLabsTTSProvider.*websocket"):
            await spoken(at("http://127.0.0.1:1"), ["hi"])

    async def test_models_that_cannot(self, sim: ElevenLabsSimulator) -> None:
        """Models not served there speak sentence by sentence; one chunk is the last."""
        chunks = await spoken(at(sim.api_base, model_id="eleven_v3"), ["One. T", "wo."])
        assert [message.text for message in sim.sent] == ["One.", "Two."]
        assert [chunk.is_final for chunk in chunks].count(True) == 1
        assert chunks[-1].is_final
        assert joined(chunks) == speech("One.", "pcm_16000") + speech("Two.", "pcm_16000")


class TestAudio:
    """What comes out."""

    @pytest.mark.parametrize(
        "last",
        [
            {"isFinal": True, "audio": None},
            {"isFinal": True},
            {"isFinal": True, "audio": ""},
            None,
        ],
    )
    async def test_the_last_message(self, last: dict[str, Any] | None) -> None:
        """[P-x] isFinal with audio null, without audio, or only a goodbye: one final chunk."""
        piece = base64.b64encode(b"\1\0\2").decode()

        async def talk(connection: Any) -> None:
            async for frame in connection:
                if json.loads(frame)["text"] == "":
                    await connection.send(json.dumps({"audio": piece, "isFinal": None}))
                    await connection.send(json.dumps({"audio": piece}))
                    if last is not None:
                        await connection.send(json.dumps(last))
                    await connection.close()

        async with server(talk) as base:
            chunks = await spoken(at(base), ["hi"])
        # Half a sample of the first message waits for its other half in the second.
        assert [chunk.data for chunk in chunks] == [b"\1\0", b"\2\1\0\2", b""]
        assert [chunk.is_final for chunk in chunks] == [False, False, True]

    async def test_audio_in_the_last_message(self) -> None:
        """Audio and isFinal together are one chunk."""

        async def talk(connection: Any) -> None:
            async for frame in connection:
                if json.loads(frame)["text"] == "":
                    piece = base64.b64encode(b"\1\0").decode()
                    await connection.send(json.dumps({"audio": piece, "isFinal": True}))
                    await connection.wait_closed()

        async with server(talk) as base:
            chunks = await spoken(at(base), ["hi"])
        assert [(chunk.data, chunk.is_final) for chunk in chunks] == [(b"\1\0", True)]

    async def test_a_slow_listener(self, sim: ElevenLabsSimulator) -> None:
        """Audio is played in its own time: nobody is cut off for that."""
        provider = at(sim.api_base, first_answer_seconds=0.5, idle_seconds=0.1)
        data = b""
        async for chunk in provider.synthesize_stream_input(stream(["word " * 40])):
            if not data:
                await asyncio.sleep(0.5)
            data += chunk.data
        assert data == speech("word " * 40, "pcm_16000")

    async def test_audio_nobody_takes(self) -> None:
        """What is read ahead is bounded: a vendor that floods us has to wait."""
        sent, stalled = 0, asyncio.Event()

        async def talk(connection: Any) -> None:
            nonlocal sent
            frame = json.dumps({"audio": base64.b64encode(b"\1\0" * 32_000).decode()})
            try:
                while True:
                    async with asyncio.timeout(0.5):
                        await connection.send(frame)
                    sent += len(frame)
            except TimeoutError:
                stalled.set()

        async with server(talk, close_timeout=0.1) as base:
            source = halting(["hi "], asyncio.Event())
            chunks = at(base).synthesize_stream_input(source)
            async with aclosing(chunks) as audio:  # type: ignore[type-var]
                assert (await anext(audio)).data
                await stalled.wait()
        assert sent < 32 * 1024 * 1024

    async def test_leaving_early(self, sim: ElevenLabsSimulator) -> None:
        """Closing the iterator ends the conversation and every task of it."""
        before = asyncio.all_tasks()
        source = halting(["word " * 40], asyncio.Event())
        chunks = at(sim.api_base).synthesize_stream_input(source)
        async with aclosing(chunks) as audio:  # type: ignore[type-var]
            assert (await anext(audio)).data
        await sim.heard(lambda sockets: sockets[0].closed)
        left = {task for task in asyncio.all_tasks() - before if "speech" in task.get_name()}
        assert left == set()

    async def test_cancellation_passes(self, sim: ElevenLabsSimulator) -> None:
        """A cancelled speaker ends at once."""
        source = halting(["word "], asyncio.Event())
        chunks = at(sim.api_base).synthesize_stream_input(source)
        speaking = asyncio.create_task(gather(chunks))
        await sim.heard(lambda sockets: bool(sockets) and len(sockets[0].texts) >= 2)
        speaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await speaking


class TestWords:
    """Where a growing text is cut."""

    @given(st.lists(st.text(max_size=30)))
    def test_nothing_is_lost(self, pieces: list[str]) -> None:
        """Whatever the pieces, all of the text is said, in order, up to blanks."""
        words = WholeWords()
        said = [words.add(piece) for piece in pieces]
        said.append(words.rest())
        assert "".join("".join(said).split()) == "".join("".join(pieces).split())
        assert all(text[-1:].isspace() for text in said if text)

    def test_half_a_word_waits(self) -> None:
        """A word is said once something shows that it is whole."""
        words = WholeWords()
        assert words.add("Hel") == ""
        assert words.pause() == ""
        assert words.add("lo wor") == "Hello "
        assert words.rest() == "wor "

    def test_texts_without_blanks(self) -> None:
        """Chinese is cut at its punctuation; what has no end is said after 200 characters."""
        words = WholeWords()
        assert words.add("\u4f60\u597d\u3002\u6211") == "\u4f60\u597d\u3002 "
        assert len(words.add("x" * 200)) > 200

    def test_a_finished_sentence(self) -> None:
        """A pause after a full stop brings the sentence, quotation marks included."""
        words = WholeWords()
        assert words.add("Done.\u201d") == ""
        assert words.pause() == "Done.\u201d "


class TestFailures:
    """What goes wrong."""

    async def test_sender_errors_end_it(self, sim: ElevenLabsSimulator) -> None:
        """[P-x] what the text's source raises comes out at once, not after a time-out."""

        async def broken() -> AsyncIterator[str]:
            yield "Hello "
            raise LookupError("no model")

        with pytest.raises(LookupError, match="no model"):
            async with asyncio.timeout(5):
                await gather(at(sim.api_base).synthesize_stream_input(broken()))
        await sim.heard(lambda sockets: sockets[0].closed)

    @pytest.mark.parametrize(("status", "retryable"), [(401, False), (429, True), (503, True)])
    async def test_a_refusal(self, sim: ElevenLabsSimulator, status: int, retryable: bool) -> None:
        """A refused handshake is a ProviderError with the vendor's code."""
        sim.script(error(status))
        with pytest.raises(ProviderError) as caught:
            await spoken(at(sim.api_base), ["hi"])
        assert (caught.value.status_code, caught.value.retryable) == (status, retryable)
        assert caught.value.error_type

    @pytest.mark.parametrize(
        ("code", "retryable"), [("quota_exceeded", False), ("system_busy", True)]
    )
    async def test_an_error_message(
        self, sim: ElevenLabsSimulator, code: str, retryable: bool
    ) -> None:
        """An error in the conversation ends it with the vendor's code, never with the text."""
        frame = json.dumps({"message": "about hello", "error": code, "code": 1008})
        sim.hang_up(Hangup(1008, "about hello", frame=frame))
        with pytest.raises(ProviderError, match=code) as caught:
            await spoken(at(sim.api_base), ["hello"])
        assert caught.value.retryable is retryable
        assert "hello" not in str(caught.value)

    async def test_audio_that_breaks_off(self, sim: ElevenLabsSimulator) -> None:
        """A broken connection is an error, and not taken up: words would come twice."""
        sim.script(cut())
        with pytest.raises(ProviderError, match="1011") as caught:
            await spoken(at(sim.api_base), ["hello"])
        assert caught.value.retryable
        assert len(sim.requests) == 1

    async def test_a_goodbye_too_early(self) -> None:
        """A proper goodbye before the text has ended is no end."""

        async def talk(connection: Any) -> None:
            await connection.recv()
            await connection.close()

        async with server(talk) as base:
            source = halting(["hi "], asyncio.Event())
            with pytest.raises(ProviderError, match="too early") as caught:
                await gather(at(base).synthesize_stream_input(source))
        assert caught.value.retryable

    async def test_no_handshake(self) -> None:
        """A server that is mute is given up."""
        async with mute() as base:
            with pytest.raises(ProviderError, match=r"within 0\.2 seconds"):
                await spoken(at(base, first_answer_seconds=0.2), ["hi"])

    async def test_no_audio(self) -> None:
        """A server that takes the text and never speaks is given up; chatter does not help."""

        async def talk(connection: Any) -> None:
            async for frame in connection:
                while json.loads(frame)["text"] == "":
                    await connection.send('{"audio": null, "isFinal": null}')
                    await asyncio.sleep(0.02)

        async with server(talk) as base:
            with pytest.raises(ProviderError, match="does not answer") as caught:
                await spoken(at(base, first_answer_seconds=0.2), ["hi"])
        assert caught.value.retryable

    @pytest.mark.parametrize(
        "frame",
        ["<html>", "[]", b"\1", '{"audio": "???"}', '{"audio": 7}', '{"audio": "\u00e4"}'],
    )
    async def test_garbage(self, frame: str | bytes) -> None:
        """Messages that are none are an error that no repeat mends."""

        async def talk(connection: Any) -> None:
            await connection.send(frame)
            await connection.wait_closed()

        async with server(talk) as base:
            with pytest.raises(ProviderError) as caught:
                await spoken(at(base), ["hi"])
        assert not caught.value.retryable

    async def test_a_page_instead(self, sim: ElevenLabsSimulator) -> None:
        """The simulator's not_json is such a server."""
        sim.script(not_json())
        with pytest.raises(ProviderError, match="does not speak ElevenLabs"):
            await spoken(at(sim.api_base), ["hi"])

    async def test_no_secret_gets_out(
        self, sim: ElevenLabsSimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Logs (DEBUG too) hold neither key nor text."""
        caplog.set_level(logging.DEBUG)
        sim.script(error(401))
        with pytest.raises(ProviderError):
            await spoken(at(sim.api_base), ["hello secret"])
        await spoken(at(sim.api_base), ["hello secret"])
        ours = [r.getMessage() for r in caplog.records if not r.name.startswith("uvicorn")]
        assert KEY not in "".join(ours)
        assert "secret" not in "".join(ours)
