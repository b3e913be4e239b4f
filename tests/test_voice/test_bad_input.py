"""Voice under bad input: garbage, silence, torn samples, ends nobody announces.

Whatever comes is logged once a session and counted, memory stays within a bound, and the
session ends or goes on by the documented rule. What other files already prove is not repeated:

===============================================  =============================================
attack                                           where
===============================================  =============================================
Deepgram: HTML, JSON of any shape, no first or   ``test_deepgram_faults``: ``TestSilence``,
last answer, late answers, endless utterances    ``TestNonsense`` and what follows
Deepgram: rates, odd and compressed audio        ``test_deepgram``, ``test_deepgram_live``
ElevenLabs: no base64, no handshake, no audio,   ``test_elevenlabs_live``, ``test_elevenlabs``
stalling audio, torn samples
backends: nonsense, floods, torn samples,        ``test_backend_bad_input``, with one set of
audio of every wrong kind, endless both ways     tests for all that speak over a WebSocket
backends: a start that asks for what cannot be   ``test_backend_websocket``,
                                                 ``test_backend_twilio``
===============================================  =============================================
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from roomkit.exceptions import InvalidInputError, ProviderError
from roomkit.providers.openai.realtime import OpenAIRealtimeProvider
from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator, tone
from roomkit.voice.realtime import RealtimeSession, RealtimeSessionState
from roomkit.voice.tts.elevenlabs import ElevenLabsConfig, ElevenLabsTTSProvider
from tests.reliability._calls import until
from tests.support.kits import texts
from tests.test_voice._cloud import server, stream
from tests.test_voice._realtime import live
from tests.test_voice._voice_rooms import heard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GREETING = [
    {"type": "session.created", "session": {"id": "sess_1"}},
    {"type": "session.updated", "session": {"id": "sess_1"}},
]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged at WARNING and above."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def saying(*frames: str | bytes) -> Callable[[Any], Awaitable[None]]:
    """Return a server that greets as OpenAI does, says these frames and then listens."""

    async def talk(connection: Any) -> None:
        for event in GREETING:
            await connection.send(json.dumps(event))
        for frame in frames:
            await connection.send(frame)
        async for _ in connection:
            pass

    return talk


def said(text: str) -> str:
    """Return the event of a whole answer."""
    return json.dumps({"type": "response.output_audio_transcript.done", "transcript": text})


class TestOpenAIRealtime:
    """OpenAI Realtime: garbage is passed over, torn samples are put together."""

    async def test_garbage_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """A server that talks nonsense for long fills no log, and what it means is heard."""
        bad = json.dumps({"type": "response.output_audio.delta", "delta": "%%%"})
        nonsense: list[str | bytes] = ["<html>", "7", "[]", "null", b"\xff\xfe", "[" * 50_000, bad]
        told: list[str] = []
        async with server(saying(*nonsense * 20, said("Still here."))) as base:
            provider = OpenAIRealtimeProvider(api_key="sk-made-up", api_base=base)
            provider.on_transcription(lambda _, text, role, final: told.append(text))
            session = RealtimeSession("s", "r", "pat", "live")
            await provider.connect(session)
            await until(lambda: told)
            assert session.state is RealtimeSessionState.ACTIVE
            await provider.close()
        assert len(warnings(caplog)) == 2
        assert all(record.__dict__["session_id"] == "s" for record in caplog.records
                   if record.levelno >= logging.WARNING)  # fmt: skip

    async def test_samples_cut_in_two_come_out_whole(self) -> None:
        """Deltas end anywhere; no piece that is passed on does."""
        sound = tone(100)
        cuts = [sound[:1], sound[1:778], sound[778:1555], sound[1555:]]
        deltas = [
            json.dumps(
                {"type": "response.output_audio.delta", "delta": base64.b64encode(c).decode()}
            )
            for c in cuts
        ]
        pieces: list[bytes] = []
        async with server(saying(*deltas)) as base:
            provider = OpenAIRealtimeProvider(api_key="sk-made-up", api_base=base)
            provider.on_audio(lambda _, audio: pieces.append(audio))
            await provider.connect(RealtimeSession("s", "r", "pat", "live"))
            await until(lambda: sum(map(len, pieces)) >= len(sound))
            await provider.close()
        assert b"".join(pieces) == sound
        assert all(len(piece) % 2 == 0 for piece in pieces)

    async def test_callers_samples_cut_in_two(self) -> None:
        """At the vendor's own rate too: half a sample would make noise of all that follows."""
        async with OpenAIRealtimeSimulator() as sim:
            provider = OpenAIRealtimeProvider(**sim.settings)
            errors: list[str] = []
            provider.on_error(lambda _, code, message: errors.append(message))
            session = RealtimeSession("s", "r", "pat", "live")
            await provider.connect(session, input_sample_rate=24000)
            sound = tone(400) + bytes(48000)
            for start in range(0, len(sound), 777):
                await provider.send_audio(session, sound[start : start + 777])
            await sim.arrived("input_audio_buffer.append", len(sound) // 777)
            await until(lambda: sim.heard)
            await provider.close()
        assert errors == []
        assert sim.heard[0].startswith(tone(400)[:9600])

    @pytest.mark.parametrize("name", ["keepalive_seconds", "send_timeout"])
    def test_times_are_positive(self, name: str) -> None:
        """A limit of nothing would end every link."""
        with pytest.raises(InvalidInputError, match=name):
            OpenAIRealtimeProvider(api_key="sk-made-up", **{name: 0})


def humming(body: bytes, kind: str = "audio/basic") -> ElevenLabsTTSProvider:
    """Return a synthesiser whose vendor answers everything with this."""
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, content=body, headers={"content-type": kind})
    )
    config = ElevenLabsConfig("MADE-UP-KEY", output_format="pcm_24000")
    return ElevenLabsTTSProvider(config, transport=transport)


class TestElevenLabs:
    """ElevenLabs: what is no audio is never played, and silence is told."""

    @pytest.mark.parametrize(
        "kind", ["text/html; charset=utf-8", "application/json", "Text/Plain"]
    )
    async def test_a_page_instead_of_audio(self, kind: str) -> None:
        """A proxy's page would be heard as noise: it is an error, whole and streamed."""
        tts = humming(b"<html>Log in to the network</html>", kind)
        with pytest.raises(ProviderError, match="no audio"):
            await tts.synthesize("hello")
        with pytest.raises(ProviderError, match="no audio"):
            [chunk async for chunk in tts.synthesize_stream("hello")]
        await tts.close()

    async def test_an_empty_answer(self) -> None:
        """A text with words that comes back as nothing was not spoken."""
        tts = humming(b"")
        with pytest.raises(ProviderError, match="no audio") as caught:
            await tts.synthesize("hello")
        assert caught.value.retryable
        with pytest.raises(ProviderError, match="no audio"):
            [chunk async for chunk in tts.synthesize_stream("hello")]
        await tts.close()

    async def test_a_text_that_has_no_sound(self) -> None:
        """Nothing for dots alone is no failure."""
        tts = humming(b"")
        chunks = [chunk async for chunk in tts.synthesize_stream(" ... ")]
        assert [(chunk.data, chunk.is_final) for chunk in chunks] == [(b"", True)]
        await tts.close()

    @pytest.mark.parametrize("last", [{"isFinal": True}, {"audio": "", "isFinal": True}, None])
    async def test_a_conversation_without_a_sound(self, last: dict[str, Any] | None) -> None:
        """A final message, or a proper goodbye, without any audio before it is an error."""

        async def talk(connection: Any) -> None:
            async for frame in connection:
                if json.loads(frame)["text"] == "":
                    if last is not None:
                        await connection.send(json.dumps(last))
                    await connection.close()

        async with server(talk) as base:
            config = ElevenLabsConfig("MADE-UP-KEY", output_format="pcm_24000", api_base=base)
            tts = ElevenLabsTTSProvider(config)
            with pytest.raises(ProviderError, match="no audio"):
                [chunk async for chunk in tts.synthesize_stream_input(stream(["hello "]))]
            silent = [chunk async for chunk in tts.synthesize_stream_input(stream(["... "]))]
        assert [chunk.is_final for chunk in silent] == [True]

    async def test_a_final_message_that_comes_late(self) -> None:
        """Audio is passed on as it comes; who waits for the end waits no longer than ``idle``."""
        piece = base64.b64encode(bytes(480)).decode()

        async def talk(connection: Any) -> None:
            async for frame in connection:
                if json.loads(frame)["text"] == "":
                    await connection.send(json.dumps({"audio": piece}))

        async with server(talk) as base:
            config = ElevenLabsConfig("MADE-UP-KEY", output_format="pcm_24000", api_base=base)
            tts = ElevenLabsTTSProvider(config, idle_seconds=0.1)
            chunks = tts.synthesize_stream_input(stream(["hello "]))
            assert (await anext(chunks)).data == bytes(480)
            with pytest.raises(ProviderError, match="does not answer") as caught:
                await anext(chunks)
        assert caught.value.retryable


class TestRealtimeSessions:
    """What a caller may make a session keep is bounded in bytes, not only in frames."""

    async def test_huge_frames(self, caplog: pytest.LogCaptureFixture) -> None:
        """A model that takes nothing: 50 frames of a megabyte are not kept."""
        async with live() as world:
            go = asyncio.Event()
            taken: list[int] = []

            async def slow(session: RealtimeSession, audio: bytes) -> None:
                taken.append(len(audio))
                await go.wait()

            world.provider.send_audio = slow  # type: ignore[method-assign]
            for _ in range(40):
                await world.transport.simulate_client_audio(world.session, bytes(1024 * 1024))
            await until(lambda: taken)
            stats = world.channel.stats(world.session)
            assert stats is not None
            assert stats.frames_in >= 35
            go.set()
            await until(lambda: len(taken) == 40 - stats.frames_in)
            assert sum("a frame was dropped" in text for text in warnings(caplog)) == 1

    async def test_one_huge_frame_is_heard(self) -> None:
        """Beyond the bound it goes through when nothing else waits; then the bound is whole."""
        async with live() as world:
            go, taken = asyncio.Event(), []

            async def slow(session: RealtimeSession, audio: bytes) -> None:
                taken.append(len(audio))
                await go.wait()

            world.provider.send_audio = slow  # type: ignore[method-assign]
            sizes = [8 * 1024 * 1024, 3 * 1024 * 1024, 640, 640]
            for size in sizes:
                await world.transport.simulate_client_audio(world.session, bytes(size))
                await until(lambda: taken)
            go.set()
            await until(lambda: len(taken) == len(sizes))
            stats = world.channel.stats(world.session)
            assert stats is not None
            assert stats.frames_in == 0


class TestText:
    """What a vendor writes may be no text a database takes."""

    async def test_halves_of_characters_in_a_transcript(self) -> None:
        """Surrogates and NUL are made good; the transcript is in the room."""
        async with live() as world:
            await world.provider.simulate_transcription(world.session, "a\ud800b\x00c", "user")
            body = texts(await heard(world.kit))[0]
            assert body.startswith("a")
            assert body.encode("utf-8")
            assert "\x00" not in body
