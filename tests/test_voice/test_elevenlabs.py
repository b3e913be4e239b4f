"""ElevenLabs: whole recordings and audio in pieces. The rows of contract 5.3 have a test each."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.exceptions import (
    ConfigurationError,
    InvalidInputError,
    MissingDependencyError,
    ProviderError,
)
from roomkit.simulators import cut, error, not_json, slow
from roomkit.simulators.elevenlabs import ElevenLabsSimulator, speech
from roomkit.voice.tts._elevenlabs_audio import Audio
from roomkit.voice.tts.base import TTSProvider
from roomkit.voice.tts.elevenlabs import (
    ElevenLabsConfig,
    ElevenLabsTTSProvider,
    ElevenLabsVoice,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roomkit.voice.base import AudioChunk

KEY = "MADE-UP-ELEVENLABS-KEY"
TEXT = "Hello, we open at nine."


def answering(
    body: bytes = b"ID3abc", seen: list[httpx.Request] | None = None, **config: Any
) -> ElevenLabsTTSProvider:
    """Return a provider whose vendor always answers the same."""

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(200, content=body, request=request)

    transport = httpx.MockTransport(handle)
    return ElevenLabsTTSProvider(ElevenLabsConfig(KEY, **config), transport=transport)


@pytest.fixture
async def sim() -> AsyncIterator[ElevenLabsSimulator]:
    """The vendor."""
    async with ElevenLabsSimulator() as sim:
        yield sim


@pytest.fixture
async def provider(sim: ElevenLabsSimulator) -> AsyncIterator[ElevenLabsTTSProvider]:
    """The provider, at the vendor, for live voice."""
    config = ElevenLabsConfig(**sim.settings, output_format="pcm_24000")
    provider = ElevenLabsTTSProvider(config)
    yield provider
    await provider.close()


async def spoken(provider: ElevenLabsTTSProvider, text: str = TEXT) -> list[AudioChunk]:
    """Return every chunk of a stream."""
    return [chunk async for chunk in provider.synthesize_stream(text)]


class TestConfig:
    """The settings."""

    def test_the_defaults(self) -> None:
        """Names, order and defaults are the contract's."""
        config = ElevenLabsConfig("k")
        assert (config.voice_id, config.model_id) == (
            "21m00Tcm4TlvDq8ikWAM",
            "eleven_multilingual_v2",
        )
        assert (config.stability, config.similarity_boost, config.style) == (0.5, 0.75, 0.0)
        assert (config.output_format, config.optimize_streaming_latency) == ("mp3_44100_128", 3)
        voice = ElevenLabsVoice("v", "Ana")
        assert (voice.category, voice.labels) == ("premade", {})

    def test_the_provider(self) -> None:
        """It is a synthesiser with a name and a voice, and needs no package to be made."""
        provider = answering(voice_id="Ana1")
        assert isinstance(provider, TTSProvider)
        assert (provider.name, provider.default_voice) == ("ElevenLabsTTS", "Ana1")
        assert provider.streams
        assert provider.supports_streaming_input
        assert not answering(model_id="eleven_v3").supports_streaming_input

    def test_no_key_in_representations(self) -> None:
        """Neither the config nor the provider shows the key."""
        config = ElevenLabsConfig(KEY)
        assert KEY not in repr(config) + repr(ElevenLabsTTSProvider(config))

    @pytest.mark.parametrize("name", ["flush_seconds", "keepalive_seconds", "idle_seconds"])
    def test_times_are_positive(self, name: str) -> None:
        """A time limit of nothing is refused at once."""
        with pytest.raises(ConfigurationError):
            ElevenLabsTTSProvider(ElevenLabsConfig(KEY), **{name: 0.0})

    async def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first request names the package, the class and the extra."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(MissingDependencyError, match=r"ElevenLabsTTSProvider.*httpx"):
            await ElevenLabsTTSProvider(ElevenLabsConfig(KEY)).synthesize("hi")


class TestRequests:
    """What goes out."""

    async def test_a_recording(self) -> None:
        """The request has the text, the model and the voice's settings."""
        seen: list[httpx.Request] = []
        await answering(seen=seen).synthesize(TEXT)
        request = seen[0]
        assert request.url.path == "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM"
        assert dict(request.url.params) == {"output_format": "mp3_44100_128"}
        assert request.headers["xi-api-key"] == KEY
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.content) == {
            "text": TEXT,
            "model_id": "eleven_multilingual_v2",
            "voice_settings": {
                "stability": 0.5,
                "similarity_boost": 0.75,
                "style": 0.0,
                "use_speaker_boost": True,
            },
        }

    async def test_a_stream(self) -> None:
        """A stream has its own path and asks for little delay."""
        seen: list[httpx.Request] = []
        await spoken(answering(seen=seen, output_format="pcm_16000"))
        assert seen[0].url.path.endswith("/stream")
        assert dict(seen[0].url.params) == {
            "output_format": "pcm_16000",
            "optimize_streaming_latency": "3",
        }

    async def test_speed_and_language(self) -> None:
        """They go along when they are set."""
        seen: list[httpx.Request] = []
        await answering(seen=seen, speed=1.1, language_code="fr").synthesize("bonjour")
        body = json.loads(seen[0].content)
        assert (body["voice_settings"]["speed"], body["language_code"]) == (1.1, "fr")

    async def test_another_server(self) -> None:
        """``api_base`` replaces scheme, host and port; the path of ``base_url`` stays."""
        seen: list[httpx.Request] = []
        provider = answering(seen=seen, base_url="https://eu.x/v9/", api_base="http://sim:1")
        await provider.synthesize("hi", voice="Ana1")
        assert str(seen[0].url).startswith("http://sim:1/v9/text-to-speech/Ana1?")

    @pytest.mark.parametrize("voice", ["../voices", "a/b", "..", "a?b", "a b", "x" * 200])
    async def test_a_voice_that_is_a_path(self, voice: str) -> None:
        """What is no voice id would lead to another path: it is refused."""
        seen: list[httpx.Request] = []
        with pytest.raises(InvalidInputError, match="list_voices"):
            await answering(seen=seen).synthesize("hi", voice=voice)
        assert seen == []

    async def test_nothing_to_say(self) -> None:
        """A blank text is no recording, and a stream of nothing but its end."""
        seen: list[httpx.Request] = []
        provider = answering(seen=seen, output_format="pcm_24000")
        with pytest.raises(InvalidInputError, match="nothing to say"):
            await provider.synthesize("  \n")
        assert [(c.data, c.is_final) for c in await spoken(provider, " ")] == [(b"", True)]
        assert seen == []

    async def test_half_a_surrogate(self) -> None:
        """Text that no request can carry is mended, not raised."""
        seen: list[httpx.Request] = []
        await answering(seen=seen).synthesize("a\ud800b")
        assert json.loads(seen[0].content)["text"] == "a?b"


class TestRecordings:
    """What ``synthesize`` gives."""

    async def test_the_content(self) -> None:
        """A data: URL with type, transcript and an estimated duration."""
        content = await answering(b"ID3abc").synthesize("one two three four five")
        assert content.url == f"data:audio/mpeg;base64,{base64.b64encode(b'ID3abc').decode()}"
        assert (content.mime_type, content.transcript) == ("audio/mpeg", "one two three four five")
        assert content.duration_seconds == pytest.approx(2.0)

    @pytest.mark.parametrize(
        ("output_format", "mime"),
        [
            ("mp3_22050_32", "audio/mpeg"),
            ("pcm_24000", "audio/pcm"),
            ("ulaw_8000", "audio/basic"),
            ("wav_44100", "audio/wav"),
            ("opus_48000_64", "audio/ogg"),
            ("new_1", "audio/mpeg"),
        ],
    )
    async def test_types(self, output_format: str, mime: str) -> None:
        """Every format has its type."""
        content = await answering(output_format=output_format).synthesize("hi")
        assert content.mime_type == mime
        assert content.url.startswith(f"data:{mime};base64,")

    async def test_voices(self, sim: ElevenLabsSimulator, provider: ElevenLabsTTSProvider) -> None:
        """The account's voices are asked for once."""
        voices = await provider.list_voices()
        assert voices[0] == ElevenLabsVoice(
            "21m00Tcm4TlvDq8ikWAM", "Rachel", "premade", {"accent": "american"}
        )
        voices.clear()
        assert len(await provider.list_voices()) == 2
        assert len(sim.requests) == 1

    @pytest.mark.parametrize("body", [b"[]", b"{}", b'{"voices": 3}', b"<html>"])
    async def test_no_voices(self, body: bytes) -> None:
        """A list that is none is an error, and not kept."""
        with pytest.raises(ProviderError, match="no voices"):
            await answering(body).list_voices()

    async def test_odd_voices(self) -> None:
        """Entries without an id are left out, labels of any type become text."""
        data = {"voices": [7, {}, {"voice_id": "v", "name": None, "labels": {"age": 3}}]}
        voices = await answering(json.dumps(data).encode()).list_voices()
        assert voices == [ElevenLabsVoice("v", "", "premade", {"age": "3"})]


class TestStreams:
    """What ``synthesize_stream`` gives."""

    async def test_pieces(self) -> None:
        """Pieces of 4096 bytes, none of them final, then an empty final chunk."""
        body = bytes(range(256)) * 40
        chunks = await spoken(answering(body, output_format="pcm_24000"))
        assert [len(chunk.data) for chunk in chunks] == [4096, 4096, 2048, 0]
        assert [chunk.is_final for chunk in chunks] == [False, False, False, True]
        assert b"".join(chunk.data for chunk in chunks) == body

    @pytest.mark.parametrize(
        ("output_format", "rate", "form"),
        [
            ("mp3_24000_48", 24000, "mp3"),
            ("mp3_44100_192", 44100, "mp3"),
            ("mp3_22050_32", 22050, "mp3"),
            ("pcm_8000", 8000, "pcm_s16le"),
            ("pcm_24000", 24000, "pcm_s16le"),
            ("pcm_48000", 48000, "pcm_s16le"),
            ("ulaw_8000", 8000, "ulaw"),
            ("alaw_8000", 8000, "alaw"),
            ("opus_48000_64", 48000, "opus"),
            ("wav_16000", 16000, "wav"),
            ("strange", 44100, "mp3"),
        ],
    )
    async def test_rates_are_parsed(self, output_format: str, rate: int, form: str) -> None:
        """[P-x] rate and format of a chunk are those of the output format."""
        chunks = await spoken(answering(output_format=output_format))
        assert {(c.sample_rate, c.format, c.channels) for c in chunks} == {(rate, form, 1)}

    async def test_odd_bytes_are_carried(
        self, sim: ElevenLabsSimulator, provider: ElevenLabsTTSProvider
    ) -> None:
        """[P-x] samples cut in two on their way come out whole (the simulator cuts at 1001)."""
        chunks = await spoken(provider)
        assert all(len(chunk.data) % 2 == 0 for chunk in chunks)
        assert b"".join(chunk.data for chunk in chunks) == speech(TEXT, "pcm_24000")
        assert sim.sent[0].text == TEXT

    @given(st.lists(st.binary(max_size=9)))
    def test_any_cut(self, pieces: list[bytes]) -> None:
        """However a stream is cut, what goes out is even and everything but half a sample."""
        audio = Audio("pcm_16000")
        out = [audio.whole(piece) for piece in pieces]
        whole = b"".join(pieces)
        assert all(len(piece) % 2 == 0 for piece in out)
        assert b"".join(out) == whole[: len(whole) // 2 * 2]

    async def test_mp3_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """Live voice cannot play mp3: one warning says what to set."""
        provider = answering()
        await spoken(provider)
        await spoken(provider)
        told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert len(told) == 1
        assert "pcm_24000" in told[0]
        caplog.clear()
        await spoken(answering(output_format="pcm_16000"))
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]

    async def test_leaving_early(
        self, sim: ElevenLabsSimulator, provider: ElevenLabsTTSProvider
    ) -> None:
        """Closing the iterator ends the request; the provider goes on."""
        long = "word " * 400
        async with aclosing(provider.synthesize_stream(long)) as chunks:  # type: ignore[type-var]
            async for _ in chunks:
                break
        assert (await spoken(provider))[-1].is_final


class TestFailures:
    """What goes wrong."""

    @pytest.mark.parametrize(
        ("status", "retryable"),
        [
            *((status, False) for status in (400, 401, 403, 404, 422)),
            *((status, True) for status in (429, 500, 503)),
        ],
    )
    @pytest.mark.parametrize("streamed", [True, False])
    async def test_a_refusal(
        self,
        sim: ElevenLabsSimulator,
        provider: ElevenLabsTTSProvider,
        status: int,
        retryable: bool,
        streamed: bool,
    ) -> None:
        """Every error status is a ProviderError that says whether to try again."""
        sim.script(error(status, retry_after=3))
        with pytest.raises(ProviderError) as caught:
            await (spoken(provider) if streamed else provider.synthesize(TEXT))
        assert (caught.value.status_code, caught.value.retryable) == (status, retryable)
        assert (caught.value.provider, caught.value.retry_after) == ("elevenlabs", 3)
        assert caught.value.request_id == "req-refused"

    async def test_the_vendors_own_words(
        self, sim: ElevenLabsSimulator, provider: ElevenLabsTTSProvider
    ) -> None:
        """The vendor's code is told, with what helps."""
        sim.script(error(401, code="quota_exceeded"))
        with pytest.raises(ProviderError, match="no characters left") as caught:
            await provider.synthesize(TEXT)
        assert caught.value.error_type == "quota_exceeded"

    async def test_an_unknown_voice(self, provider: ElevenLabsTTSProvider) -> None:
        """A voice the account lacks is told as such."""
        with pytest.raises(ProviderError, match=r"404.*voice_not_found.*check the voice"):
            await provider.synthesize(TEXT, voice="nobody")

    @pytest.mark.parametrize(
        "detail", [None, "Not Found", [{"msg": TEXT}], {"status": 7, "message": TEXT}, 3]
    )
    async def test_refusals_of_any_shape(self, detail: Any) -> None:
        """Whatever the body is, the error is one, and quotes nothing that was to be said."""
        transport = httpx.MockTransport(lambda r: httpx.Response(422, json={"detail": detail}))
        provider = ElevenLabsTTSProvider(ElevenLabsConfig(KEY), transport=transport)
        with pytest.raises(ProviderError) as caught:
            await provider.synthesize(TEXT)
        assert TEXT not in str(caught.value)

    async def test_a_stream_that_breaks_off(
        self, sim: ElevenLabsSimulator, provider: ElevenLabsTTSProvider
    ) -> None:
        """Audio that ends in the middle is an error that may be tried again, not an end."""
        sim.script(cut())
        with pytest.raises(ProviderError, match="connection to ElevenLabs") as caught:
            await spoken(provider)
        assert caught.value.retryable

    async def test_no_first_audio(self, sim: ElevenLabsSimulator) -> None:
        """A vendor that does not begin is given up after the first limit."""
        config = ElevenLabsConfig(**sim.settings, output_format="pcm_24000")
        provider = ElevenLabsTTSProvider(config, first_answer_seconds=0.2)
        sim.script(slow(30))
        with pytest.raises(ProviderError, match=r"within 0\.2 seconds") as caught:
            await spoken(provider)
        assert caught.value.retryable
        await provider.close()

    async def test_audio_that_stalls(self) -> None:
        """A vendor that falls silent in the middle is given up after the idle limit."""

        async def stalls() -> AsyncIterator[bytes]:
            yield b"\1\0" * 2048
            await asyncio.Event().wait()

        transport = httpx.MockTransport(lambda r: httpx.Response(200, content=stalls()))
        config = ElevenLabsConfig(KEY, output_format="pcm_24000")
        provider = ElevenLabsTTSProvider(config, transport=transport, idle_seconds=0.1)
        chunks: list[AudioChunk] = []
        with pytest.raises(ProviderError, match=r"within 0\.1 seconds"):
            chunks.extend([chunk async for chunk in provider.synthesize_stream(TEXT)])
        await provider.close()

    async def test_a_slow_listener(self, sim: ElevenLabsSimulator) -> None:
        """The limits are for the vendor: who plays in real time is not cut off."""
        config = ElevenLabsConfig(**sim.settings, output_format="pcm_24000")
        provider = ElevenLabsTTSProvider(config, first_answer_seconds=0.5, idle_seconds=0.05)
        data = b""
        async for chunk in provider.synthesize_stream(TEXT):
            if not data:
                await asyncio.sleep(0.6)
            data += chunk.data
        assert data == speech(TEXT, "pcm_24000")
        await provider.close()

    @pytest.mark.parametrize("step", [not_json, cut])
    async def test_voices_that_cannot_be_read(
        self,
        sim: ElevenLabsSimulator,
        provider: ElevenLabsTTSProvider,
        step: Callable[[], Any],
    ) -> None:
        """Garbage and half an answer are errors; the next call asks again."""
        sim.script(step())
        with pytest.raises(ProviderError):
            await provider.list_voices()
        assert len(await provider.list_voices()) == 2

    async def test_no_secret_gets_out(
        self, sim: ElevenLabsSimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Errors and logs (DEBUG too) hold neither key nor text."""
        caplog.set_level(logging.DEBUG)
        config = ElevenLabsConfig("WRONG-KEY-123", api_base=sim.api_base)
        wrong = ElevenLabsTTSProvider(config)
        sim.script(error(400, code="WRONG-KEY-123"))
        for _ in range(2):
            with pytest.raises(ProviderError) as caught:
                await wrong.synthesize(TEXT)
            assert "WRONG-KEY-123" not in str(caught.value)
        await wrong.close()
        assert "WRONG-KEY-123" not in caplog.text
        assert TEXT not in caplog.text
