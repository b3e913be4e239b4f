"""Telephone calls through Twilio Media Streams, from Twilio's side of the socket."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.exceptions import InvalidInputError
from roomkit.voice.audio import mulaw_to_pcm16, pcm16_to_mulaw
from roomkit.voice.backends.twilio import (
    TwilioMediaStream,
    is_twilio_stream,
    twilio_stream_signature,
)
from roomkit.voice.backends.websocket import VoiceCaller, VoiceHandshake
from roomkit.voice.base import VoiceCapability, VoiceSession, VoiceSessionState
from tests.test_voice._backend_clients import Client, anybody, client_of, line_to, until
from tests.test_voice._signals import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.voice.audio_frame import AudioFrame

TOKEN = "tw_auth_token_0123456789abcdef01"
URL = "wss://calls.example.org/calls"
STREAM = "MZ00000000000000000000000000000001"


def started(**start: Any) -> dict[str, Any]:
    """Return Twilio's start message."""
    return {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": STREAM,
        "start": {
            "accountSid": "AC1",
            "streamSid": STREAM,
            "callSid": "CA1",
            "tracks": ["inbound"],
            "customParameters": {"room": "r"},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            **start,
        },
    }


def media(pcm: bytes, at: int, track: str = "inbound") -> str:
    """Return a media message."""
    payload = base64.b64encode(pcm16_to_mulaw(pcm)).decode()
    return json.dumps(
        {
            "event": "media",
            "streamSid": STREAM,
            "media": {"track": track, "chunk": "1", "timestamp": str(at), "payload": payload},
        }
    )


@asynccontextmanager
async def phone(
    backend: TwilioMediaStream, *, answers: bool = True, headers: dict[str, str] | None = None
) -> AsyncIterator[Client]:
    """Call; the start has been said."""
    async with line_to(backend) as url, client_of(url, answers=answers, headers=headers) as client:
        await client.send(json.dumps({"event": "connected", "protocol": "Call"}))
        await client.send(json.dumps(started()))
        yield client


async def the_session(backend: TwilioMediaStream) -> VoiceSession:
    """Return the session of the call."""
    await until(lambda: backend.list_sessions("r"))
    return backend.list_sessions("r")[0]


def played(client: Client) -> bytes:
    """Return what the phone got, decoded."""
    payloads = [each["media"]["payload"] for each in client.said if each["event"] == "media"]
    return b"".join(mulaw_to_pcm16(base64.b64decode(payload)) for payload in payloads)


class TestCall:
    """A call, message by message."""

    async def test_who_calls(self) -> None:
        """The application gets the call's id and its parameters."""
        seen: list[VoiceHandshake] = []

        def who(shake: VoiceHandshake) -> VoiceCaller:
            seen.append(shake)
            return VoiceCaller("caller", shake.parameters["room"], {"call": shake.call_id})

        backend = TwilioMediaStream(auth_token=None, authenticate=who)
        async with phone(backend):
            session = await the_session(backend)
            assert session.metadata["call"] == "CA1"
            assert session.metadata["input_sample_rate"] == 8000
        assert (seen[0].call_id, seen[0].stream_id) == ("CA1", STREAM)
        assert (seen[0].codec, seen[0].sample_rate, seen[0].room) == ("mulaw", 8000, "r")
        assert backend.name == "TwilioMediaStream"
        assert backend.capabilities == (
            VoiceCapability.INTERRUPTION | VoiceCapability.DTMF_SIGNALING
        )

    async def test_speech_comes_in(self) -> None:
        """Decoded, with Twilio's time since the first frame; our own track is not heard."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        heard: list[AudioFrame] = []
        backend.on_audio_received(lambda _, frame: heard.append(frame))
        sound = tone(440, 20, rate=8000)
        async with phone(backend) as client:
            await client.send(media(sound, 105))
            await client.send(media(sound, 125, "outbound"))
            await client.send(media(sound, 165))
            await until(lambda: len(heard) == 2)
        assert [frame.timestamp_ms for frame in heard] == [0, 60]
        assert heard[0].data == mulaw_to_pcm16(pcm16_to_mulaw(sound))
        assert heard[0].sample_rate == 8000

    async def test_speech_goes_out(self) -> None:
        """Media messages of 20 ms, a mark each 100 ms, and the position from the marks."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        sound = tone(440, 500, rate=8000)
        async with phone(backend) as client:
            session = await the_session(backend)
            await backend.send_audio(session, sound)
            await until(lambda: not backend.is_playing(session))
            assert backend.played_ms(session) == 500
        assert played(client) == mulaw_to_pcm16(pcm16_to_mulaw(sound))
        assert client.kinds().count("mark") == 5
        assert {each["streamSid"] for each in client.said} == {STREAM}

    async def test_an_interruption(self) -> None:
        """Clear goes out; the marks Twilio then returns count for nothing."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        async with phone(backend, answers=False) as client:
            session = await the_session(backend)
            await backend.send_audio(session, tone(440, 3000, rate=8000))
            await until(lambda: client.kinds().count("mark") == 10)
            marks = [each for each in client.said if each["event"] == "mark"]
            await client.send(json.dumps(marks[1]))
            await until(lambda: backend.played_ms(session) == 200)
            assert await backend.cancel_audio(session)
            await until(lambda: client.kinds()[-1] == "clear")
            assert client.said[-1] == {"event": "clear", "streamSid": STREAM}
            heard: list[str] = []
            backend.on_dtmf(lambda _, digit: heard.append(digit))
            for mark in marks[2:]:
                await client.send(json.dumps(mark))
            await client.send(json.dumps({"event": "dtmf", "dtmf": {"digit": "1"}}))
            await until(lambda: heard)
            assert backend.played_ms(session) == 200

    async def test_keys(self) -> None:
        """Telephone keys are reported, in order; what is no key is not."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        keys: list[str] = []
        backend.on_dtmf(lambda _, digit: keys.append(digit))
        async with phone(backend) as client:
            for digit in ("4", "2", "12", "#"):
                dtmf = {"track": "inbound_track", "digit": digit}
                await client.send(json.dumps({"event": "dtmf", "dtmf": dtmf}))
            await until(lambda: len(keys) == 3)
        assert keys == ["4", "2", "#"]

    async def test_the_caller_hangs_up(self) -> None:
        """The session ends and is reported."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        ended: list[VoiceSession] = []
        backend.on_session_ended(ended.append)
        async with phone(backend) as client:
            await the_session(backend)
            await client.send(json.dumps({"event": "stop", "stop": {"callSid": "CA1"}}))
            assert await client.closed() == 1000
            await until(lambda: ended)
        assert ended[0].state is VoiceSessionState.ENDED

    async def test_we_hang_up(self) -> None:
        """Only what Twilio understands is sent: the socket is closed, nothing else."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        async with phone(backend) as client:
            session = await the_session(backend)
            await backend.send_transcription(session, "Hello")
            await backend.disconnect(session)
            assert await client.closed() == 1000
            assert client.said == []

    @pytest.mark.parametrize(
        "start",
        [
            {"mediaFormat": {"encoding": "audio/opus"}},
            {"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000}},
            {"mediaFormat": "mulaw"},
            {"customParameters": ["room"]},
            {"customParameters": {str(n): "x" for n in range(51)}},
            {"streamSid": 7},
            {"streamSid": "x" * 201},
        ],
    )
    async def test_a_start_that_is_not_twilios(self, start: dict[str, Any]) -> None:
        """It is closed, without a word Twilio would not know."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        async with line_to(backend) as url, client_of(url) as client:
            await client.send(json.dumps(started(**start)))
            assert await client.closed() == 4400
            assert client.said == []

    async def test_malformed_messages(self) -> None:
        """Counted, and the call goes on."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        heard: list[AudioFrame] = []
        backend.on_audio_received(lambda _, frame: heard.append(frame))
        async with phone(backend) as client:
            session = await the_session(backend)
            wrong: list[Any] = [
                {"event": "media"},
                {"event": "media", "media": {"payload": 7}},
                {"event": "media", "media": {"payload": "a"}},
                {"event": "mark", "mark": {}},
                started(),
            ]
            for each in wrong:
                await client.send(json.dumps(each))
            await client.send(b"\0")
            for timestamp in (None, "x", "-5", "9" * 30, ["1"]):
                found = json.loads(media(bytes(320), 0))
                found["media"]["timestamp"] = timestamp
                await client.send(json.dumps(found))
            await until(lambda: len(heard) == 5)
            stats = backend.stats(session)
            assert stats is not None
            assert stats.malformed == 6
        assert [frame.timestamp_ms for frame in heard] == [0, 20, 40, 60, 80]


class TestSignature:
    """Who may open a stream."""

    def test_a_worked_vector(self) -> None:
        """HMAC-SHA1 over the URL alone, in base64: the JSON vector of the webhook pages."""
        url = (
            "https://hooks.example.org/json?bodySHA256="
            "519fc2b588347bac1152bde011188f69b00767d44fdd33f765daff96ba3e7f1e"
        )
        assert twilio_stream_signature(TOKEN, url) == "oLyh8vILfFa6nosroG3oUKR9lzI="
        assert is_twilio_stream(TOKEN, url, "oLyh8vILfFa6nosroG3oUKR9lzI=")

    @pytest.mark.parametrize(
        "signed",
        [
            URL,
            f"{URL}/",
            "wss://calls.example.org:443/calls",
            "wss://calls.example.org:443/calls/",
        ],
    )
    def test_forms_of_one_url(self, signed: str) -> None:
        """With or without its port and a slash at the end, whichever side writes it."""
        assert is_twilio_stream(TOKEN, URL, twilio_stream_signature(TOKEN, signed))
        assert is_twilio_stream(TOKEN, signed, twilio_stream_signature(TOKEN, URL))

    @pytest.mark.parametrize(
        "signature",
        [
            None,
            "",
            "x",
            "é\ud800",
            twilio_stream_signature("other", URL),
            twilio_stream_signature(TOKEN, URL + "x"),
            twilio_stream_signature(TOKEN, URL).lower(),
        ],
    )
    def test_what_is_not_twilios(self, signature: str | None) -> None:
        """Refused, never an exception."""
        assert not is_twilio_stream(TOKEN, URL, signature)

    def test_an_empty_token_signs_nothing(self) -> None:
        """Nobody gets in by a secret that was never set."""
        assert not is_twilio_stream("", URL, twilio_stream_signature("", URL))
        assert not is_twilio_stream([""], "no url", twilio_stream_signature("", "no url"))

    async def test_unsigned_requests_are_refused(self) -> None:
        """Before anything is read; a signed one gets in, with the old token too."""
        backend = TwilioMediaStream(
            auth_token=["new", TOKEN], public_url=URL, authenticate=anybody
        )
        good = {"X-Twilio-Signature": twilio_stream_signature(TOKEN, URL)}
        async with line_to(backend) as url:
            async with client_of(url) as client:
                assert await client.closed() == 4401
            async with client_of(url, headers=good) as client:
                await client.send(json.dumps(started()))
                await the_session(backend)

    def test_what_cannot_be_checked(self) -> None:
        """A token needs the URL, and must be one; it is in no repr."""
        for wrong in ({"auth_token": "", "public_url": URL}, {"auth_token": TOKEN}):
            with pytest.raises(InvalidInputError, match="public_url"):
                TwilioMediaStream(authenticate=anybody, **wrong)
        backend = TwilioMediaStream(auth_token=TOKEN, public_url=URL, authenticate=anybody)
        assert TOKEN not in repr(backend)

    async def test_two_calls_at_once(self) -> None:
        """Each has its own stream and hears its own sound."""
        backend = TwilioMediaStream(auth_token=None, authenticate=anybody)
        async with line_to(backend) as url, client_of(url) as first, client_of(url) as second:
            for client, room in ((first, "r"), (second, "q")):
                await client.send(
                    json.dumps(started(streamSid=f"MZ-{room}", customParameters={"room": room}))
                )
            await until(lambda: backend.list_sessions("r") and backend.list_sessions("q"))
            sounds = {"r": tone(300, 100, rate=8000), "q": tone(500, 60, rate=8000)}
            await asyncio.gather(
                *(
                    backend.send_audio(backend.list_sessions(room)[0], sound)
                    for room, sound in sounds.items()
                )
            )
            await until(lambda: len(played(first)) == 1600 and len(played(second)) == 960)
            assert {each["streamSid"] for each in first.said} == {"MZ-r"}
            assert {each["streamSid"] for each in second.said} == {"MZ-q"}
