"""Deepgram: whole recordings, as the contract has them."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from roomkit.exceptions import (
    ConfigurationError,
    InvalidInputError,
    MissingDependencyError,
    ProviderError,
    UnsafeURLError,
)
from roomkit.models.content import AudioContent
from roomkit.simulators import cut, error, not_json, slow
from roomkit.simulators.deepgram import DeepgramSimulator
from roomkit.voice.audio_frame import AudioFrame
from roomkit.voice.base import AudioChunk
from roomkit.voice.stt.base import STTProvider
from roomkit.voice.stt.deepgram import DeepgramConfig, DeepgramSTTProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KEY = "MADE-UP-DEEPGRAM-KEY"
SPEECH = AudioChunk(b"\x01\x02" * 800)
SAID = {"results": {"channels": [{"alternatives": [{"transcript": " Hello there. "}]}]}}


def answering(
    body: Any = SAID, seen: list[httpx.Request] | None = None, **config: Any
) -> DeepgramSTTProvider:
    """Return a provider whose vendor always answers the same."""

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(200, json=body, request=request)

    transport = httpx.MockTransport(handle)
    return DeepgramSTTProvider(DeepgramConfig(KEY, **config), transport=transport)


async def asked(audio: Any, **config: Any) -> httpx.Request:
    """Return the request that goes out for a recording."""
    seen: list[httpx.Request] = []
    provider = answering(seen=seen, **config)
    assert await provider.transcribe(audio) == "Hello there."
    await provider.close()
    return seen[0]


@pytest.fixture
async def sim() -> AsyncIterator[DeepgramSimulator]:
    """The vendor."""
    async with DeepgramSimulator() as sim:
        yield sim


@pytest.fixture
async def provider(sim: DeepgramSimulator) -> AsyncIterator[DeepgramSTTProvider]:
    """The provider, at the vendor."""
    provider = DeepgramSTTProvider(DeepgramConfig(**sim.settings))
    yield provider
    await provider.close()


class TestConfig:
    """The settings."""

    def test_the_defaults(self) -> None:
        """Names, order and defaults are the contract's."""
        config = DeepgramConfig("k")
        assert (config.model, config.language, config.endpointing) == ("nova-2", "en", 300)
        assert (config.punctuate, config.diarize, config.smart_format) == (True, False, True)
        assert (config.filler_words, config.interim_results) == (False, True)
        assert config.base_url == "https://api.deepgram.com/v1"
        assert config.keepalive_seconds == 5.0

    def test_the_provider(self) -> None:
        """It is a streaming recogniser with a name, and needs no package to be made."""
        provider = answering()
        assert isinstance(provider, STTProvider)
        assert provider.name == "DeepgramSTT"
        assert provider.supports_streaming

    def test_no_key_in_representations(self) -> None:
        """Neither the config nor the provider shows the key."""
        config = DeepgramConfig(KEY)
        assert KEY not in repr(config) + repr(DeepgramSTTProvider(config))

    @pytest.mark.parametrize(
        "wrong", [{"timeout": 0}, {"first_answer_seconds": -1}, {"idle_seconds": 0}]
    )
    def test_times_are_positive(self, wrong: dict[str, float]) -> None:
        """A time limit of nothing is refused at once."""
        with pytest.raises(ConfigurationError):
            DeepgramSTTProvider(DeepgramConfig(KEY), **wrong)

    def test_a_key_no_header_can_carry(self) -> None:
        """A line break in the key is refused, and the text does not quote it."""
        with pytest.raises(ConfigurationError) as caught:
            DeepgramSTTProvider(DeepgramConfig("abcdef\nghi"))
        assert "abcdef" not in str(caught.value)

    async def test_without_httpx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first request names the package, the class and the extra."""
        monkeypatch.setitem(sys.modules, "httpx", None)
        with pytest.raises(MissingDependencyError, match=r"DeepgramSTTProvider.*httpx"):
            await DeepgramSTTProvider(DeepgramConfig(KEY)).transcribe(SPEECH)


class TestRequests:
    """What goes out."""

    async def test_raw_audio(self) -> None:
        """PCM goes out raw with encoding, rate and channels; the flags are words."""
        request = await asked(AudioChunk(b"\x00\x01" * 8, 8000, 2))
        assert (request.method, request.url.path) == ("POST", "/v1/listen")
        assert request.headers["authorization"] == f"Token {KEY}"
        assert request.headers["content-type"] == "audio/raw"
        assert dict(request.url.params) == {
            "model": "nova-2",
            "language": "en",
            "punctuate": "true",
            "diarize": "false",
            "smart_format": "true",
            "filler_words": "false",
            "encoding": "linear16",
            "sample_rate": "8000",
            "channels": "2",
        }
        assert request.content == b"\x00\x01" * 8

    async def test_a_frame(self) -> None:
        """A frame has no format: it is PCM of its own rate."""
        request = await asked(AudioFrame(b"\x00\x01" * 8, 24000))
        assert request.url.params["sample_rate"] == "24000"

    async def test_something_with_data_only(self) -> None:
        """Anything with ``data``, rate and channels will do."""
        request = await asked(SimpleNamespace(data=b"\0\0", sample_rate=16000, channels=1))
        assert request.headers["content-type"] == "audio/raw"

    @pytest.mark.parametrize("form", ["mp3", "wav", "ogg"])
    async def test_formats_that_describe_themselves(self, form: str) -> None:
        """They go out as they are, without encoding."""
        request = await asked(AudioChunk(b"abc", format=form))
        assert request.headers["content-type"] == f"audio/{form}"
        assert "encoding" not in request.url.params

    async def test_telephone_audio(self) -> None:
        """mu-law says so, else nobody could read it."""
        request = await asked(AudioChunk(b"abc", 8000, format="ulaw"))
        assert request.url.params["encoding"] == "mulaw"

    async def test_extra_parameters(self) -> None:
        """Further parameters are encoded, lists repeated, booleans words."""
        extra = {"keyterm": ["R\u00f6m & Kit", "two"], "numerals": True, "none": None}
        request = await asked(SPEECH, extra_params=extra)
        assert request.url.params.get_list("keyterm") == ["R\u00f6m & Kit", "two"]
        assert request.url.params["numerals"] == "true"
        assert "none" not in request.url.params

    async def test_another_server(self) -> None:
        """``api_base`` replaces scheme, host and port; the path of ``base_url`` stays."""
        request = await asked(SPEECH, base_url="https://eu.x/v9/", api_base="http://sim:1")
        assert str(request.url).startswith("http://sim:1/v9/listen?")

    async def test_no_audio_no_request(self) -> None:
        """Nothing to hear is an empty text, and the vendor is not asked."""
        seen: list[httpx.Request] = []
        assert await answering(seen=seen).transcribe(AudioChunk(b"")) == ""
        assert seen == []

    @pytest.mark.parametrize(
        "audio",
        [AudioChunk(b"ab", 0), AudioChunk(b"ab", channels=0), AudioFrame(b"abcd", sample_width=4)],
    )
    async def test_audio_that_cannot_be(self, audio: Any) -> None:
        """A rate, channels or width that cannot be are refused before anything is sent."""
        seen: list[httpx.Request] = []
        with pytest.raises(InvalidInputError):
            await answering(seen=seen).transcribe(audio)
        assert seen == []


class TestURLs:
    """Recordings that lie elsewhere."""

    async def test_a_data_url_is_read_here(self) -> None:
        """[P-x] our own TTS gives data: URLs: they are decoded, not fetched."""
        url = f"data:audio/mpeg;base64,{base64.b64encode(b'ID3abc').decode()}"
        request = await asked(AudioContent(url=url, mime_type="audio/mpeg"))
        assert request.headers["content-type"] == "audio/mpeg"
        assert request.content == b"ID3abc"

    async def test_pcm_in_a_data_url(self) -> None:
        """PCM with a rate is raw audio of that rate."""
        request = await asked(AudioContent(url="data:audio/L16;rate=8000,%00%01"))
        assert request.url.params["sample_rate"] == "8000"
        assert request.content == b"\x00\x01"

    @pytest.mark.parametrize(
        "url",
        ["data:audio/pcm;base64,AAAA", "data:audio/wav;base64,A", "data:nothing"],
    )
    async def test_data_urls_that_say_too_little(self, url: str) -> None:
        """PCM without a rate would be heard wrong; what is no base64 not at all."""
        with pytest.raises(InvalidInputError):
            await answering().transcribe(SimpleNamespace(url=url))

    async def test_a_data_url_that_is_too_long(self) -> None:
        """More than 10 MiB is refused, before it is decoded when that shows."""
        for size in (11, 40):
            audio = SimpleNamespace(url="data:audio/wav," + "a" * (size * 1024 * 1024))
            with pytest.raises(InvalidInputError, match="10 MiB"):
                await answering().transcribe(audio)

    async def test_private_hosts_are_not_asked(self, sim: DeepgramSimulator) -> None:
        """A URL that came with a message must not lead into our own network."""
        with pytest.raises(UnsafeURLError):
            await answering().transcribe(AudioContent(url=f"{sim.api_base}/secret.wav"))
        assert not sim.requests

    async def test_a_url_is_fetched(self) -> None:
        """The bytes go on with the type their server gives them."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/flac\r\n")
            writer.write(b"Content-Length: 4\r\nConnection: close\r\n\r\nfLaC")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        seen: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json=SAID, request=request)

        async with server:
            provider = DeepgramSTTProvider(
                DeepgramConfig(KEY), transport=httpx.MockTransport(handle), media_hosts=[host]
            )
            assert await provider.transcribe(AudioContent(url=f"http://{host}/a")) != ""
        assert seen[0].headers["content-type"] == "audio/flac"
        assert seen[0].content == b"fLaC"


class TestAnswers:
    """What comes back."""

    @pytest.mark.parametrize(
        "body",
        [
            {},
            [],
            {"results": None},
            {"results": {"channels": []}},
            {"results": {"channels": [{"alternatives": [{"transcript": 7}]}]}},
        ],
    )
    async def test_no_transcript(self, body: Any, caplog: pytest.LogCaptureFixture) -> None:
        """An answer without a transcript is an empty text and one warning."""
        assert await answering(body).transcribe(SPEECH) == ""
        assert [r.levelname for r in caplog.records if r.name.startswith("roomkit")] == ["WARNING"]

    async def test_at_the_simulator(
        self, sim: DeepgramSimulator, provider: DeepgramSTTProvider
    ) -> None:
        """A recording is heard over a real connection."""
        sim.hear("We open at nine.")
        assert await provider.transcribe(SPEECH) == "We open at nine."
        assert await provider.transcribe(SPEECH) == ""

    @pytest.mark.parametrize(
        ("status", "retryable"),
        [
            *((status, False) for status in (400, 401, 402, 403, 404, 501)),
            *((status, True) for status in (408, 429, 500, 503, 504)),
        ],
    )
    async def test_a_refusal(
        self,
        sim: DeepgramSimulator,
        provider: DeepgramSTTProvider,
        status: int,
        retryable: bool,
    ) -> None:
        """Every error status is a ProviderError that says whether to try again."""
        sim.script(error(status))
        with pytest.raises(ProviderError) as caught:
            await provider.transcribe(SPEECH)
        assert caught.value.status_code == status
        assert caught.value.retryable is retryable
        assert caught.value.provider == "deepgram"
        assert caught.value.request_id == "req-refused"
        assert caught.value.error_type

    async def test_a_wait(self, sim: DeepgramSimulator, provider: DeepgramSTTProvider) -> None:
        """The time the vendor asks to wait is passed on."""
        sim.script(error(429, retry_after=7))
        with pytest.raises(ProviderError) as caught:
            await provider.transcribe(SPEECH)
        assert caught.value.retry_after == 7

    @pytest.mark.parametrize(
        ("step", "retryable"), [(cut, True), (not_json, False), (lambda: slow(30), True)]
    )
    async def test_no_good_answer(
        self, sim: DeepgramSimulator, step: Callable[[], Any], retryable: bool
    ) -> None:
        """Half an answer, garbage and none at all are ProviderErrors."""
        config = DeepgramConfig(**sim.settings)
        provider = DeepgramSTTProvider(config, timeout=0.3)
        sim.script(step())
        with pytest.raises(ProviderError) as caught:
            await provider.transcribe(SPEECH)
        assert caught.value.retryable is retryable
        await provider.close()

    async def test_an_endless_answer(self) -> None:
        """An answer that never ends is given up, not kept."""

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1024 * 1024

        transport = httpx.MockTransport(lambda r: httpx.Response(200, content=endless()))
        provider = DeepgramSTTProvider(DeepgramConfig(KEY), transport=transport)
        with pytest.raises(ProviderError, match="longer than any speech"):
            await provider.transcribe(SPEECH)

    async def test_nobody_there(self) -> None:
        """An error to connect may be tried again."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{sock.getsockname()[1]}"
            provider = DeepgramSTTProvider(DeepgramConfig(KEY, api_base=nobody))
            with pytest.raises(ProviderError) as caught:
                await provider.transcribe(SPEECH)
            await provider.close()
        assert caught.value.retryable

    async def test_no_secret_gets_out(
        self, sim: DeepgramSimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Errors and logs (DEBUG too) hold no key, even when the vendor quotes it."""
        caplog.set_level(logging.DEBUG)
        wrong = DeepgramSTTProvider(DeepgramConfig("WRONG-KEY-123", api_base=sim.api_base))
        sim.script(error(400, code="WRONG-KEY-123"))
        for _ in range(2):
            with pytest.raises(ProviderError) as caught:
                await wrong.transcribe(SPEECH)
            assert "WRONG-KEY-123" not in str(caught.value)
        await wrong.close()
        assert "WRONG-KEY-123" not in caplog.text

    async def test_cancellation_passes(
        self, sim: DeepgramSimulator, provider: DeepgramSTTProvider
    ) -> None:
        """A cancelled call ends at once, and the provider goes on."""
        sim.script(slow(30))
        sim.hear("afterwards")
        task = asyncio.create_task(provider.transcribe(SPEECH))
        await sim.struck()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await provider.transcribe(SPEECH) == "afterwards"

    async def test_closing(self, sim: DeepgramSimulator, provider: DeepgramSTTProvider) -> None:
        """Closing twice does nothing; a client that was given stays open."""
        await provider.close()
        await provider.close()
        async with httpx.AsyncClient() as client:
            given = DeepgramSTTProvider(DeepgramConfig(**sim.settings), client=client)
            sim.hear("given")
            assert await given.transcribe(SPEECH) == "given"
            await given.close()
            assert not client.is_closed
